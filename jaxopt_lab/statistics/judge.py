"""A verdict on a table of scores: for each pair of optimizers and each task, which one is better, and how sure."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_flag, check_known, check_number
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.statistics import tally
from jaxopt_lab.statistics.pairs import Pair, holm, paired, seeds_needed, unpaired

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("optimizer", "task", "seed", "score")


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """Verdicts on pairs of optimizers, task by task.

    Attributes:
        rows: As `table`, with a column `way`: 1 where a is better, -1 where b is.
        alpha: The chance of any false verdict "better" in the whole table is at most this.
        higher_is_better: Whether greater scores are better.

    """

    rows: "pd.DataFrame"
    alpha: float
    higher_is_better: bool

    def table(self) -> "pd.DataFrame":
        """Return a row for each task and pair.

        Columns: `task`, `a`, `b`; `verdict`, which one is better: "a", "b" or "undecided", and `better`, its name;
        `effect`, the mean of a - b over seeds in the score's units (the median where some scores are infinite), with
        its 95 % interval `low`, `high`; `p`; `p_corrected` by Holm's method over the whole table, by which the verdict
        is given; `seeds_needed`, how many seeds would find a difference of this size with a chance of 80 %, at a level
        divided by the rows of the table; `seeds`; `spread`, the standard deviation of a - b; `test`; and `median`,
        `median_low`, `median_high`: the median of a - b with an interval that also holds for skewed differences (from
        six seeds on).
        """
        return self.rows.drop(columns="way")

    def counts(self) -> "pd.DataFrame":
        """Return for each pair the tasks on which a is better, undecided or worse, also without correction."""
        return tally.counts(self.rows, self.alpha)

    def over_tasks(self) -> "pd.DataFrame":
        """Return a verdict for each pair with tasks as the unit: see `jaxopt_lab.statistics.tally.over_tasks`."""
        return tally.over_tasks(self.rows, self.alpha)

    def __repr__(self) -> str:
        return self.table().to_string(index=False, float_format="{:.4g}".format)


def judge(table: Any, *, higher_is_better: bool, reference: str | None = None, alpha: float = 0.05) -> Judgement:
    """Say for each pair of optimizers, task by task, which one is better: of runs from anywhere.

        jl.judge(pd.read_csv("runs.csv"), higher_is_better=True).table()

    Scores of shared seeds are compared by a paired t-test; where seeds are not shared, by Welch's; where some scores
    are infinite, as of runs that failed, by ranks. Holm's method corrects for all rows of the answer, so that with a
    chance of 1 - alpha no "better" in it is false. It counts the luck of seeds alone, not that of tuning.

    Args:
        table: A DataFrame, or a mapping of columns, with columns optimizer, task, seed and score; others are ignored.
        higher_is_better: Whether greater scores are better.
        reference: Compare each optimizer with this one alone; by default all pairs.
        alpha: The chance of any false verdict, 0 < alpha < 1.

    Raises:
        TypeError: The table is not one.
        ValueError: A column is missing, a score is NaN, a seed occurs twice, an optimizer has fewer than two seeds for
            a task or no task in common with another, or there is nothing to compare.

    """
    import pandas as pd

    check_flag("higher_is_better", higher_is_better)
    if not 0 < check_number("alpha", alpha) < 1:
        raise ArgumentValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    if not isinstance(table, pd.DataFrame | Mapping):
        raise ArgumentTypeError(f"judge needs a DataFrame or a mapping of columns, got {type(table).__name__}.")
    frame = _checked(pd.DataFrame(table))
    names = list(dict.fromkeys(frame["optimizer"]))
    if reference is not None:
        check_known("reference", reference, names)
    pairs = (
        list(itertools.combinations(names, 2))
        if reference is None
        else [(n, reference) for n in names if n != reference]
    )
    if not pairs:
        raise ArgumentValueError(f"There is nothing to compare: the only optimizer is {names[0]!r}.")
    scores: dict[Any, Any] = {
        key: own.set_index("seed")["score"].astype(float)
        for key, own in frame.groupby(["task", "optimizer"], sort=False)
    }
    found: list[tuple[Any, str, str, Pair]] = []
    for a, b in pairs:
        shared = [task for task in dict.fromkeys(frame["task"]) if (task, a) in scores and (task, b) in scores]
        if not shared:
            raise ArgumentValueError(f"{a!r} and {b!r} have no task in common.")
        found += [(task, a, b, _compared(task, a, b, scores[task, a], scores[task, b])) for task in shared]
    corrected = holm(np.asarray([pair.p for *_, pair in found]))
    sign = 1 if higher_is_better else -1
    rows = []
    for (task, a, b, pair), p in zip(found, corrected.tolist(), strict=True):
        way = float(np.sign(sign * pair.effect))
        verdict = str(tally.decided(np.asarray(way), np.asarray(p), alpha))
        needed = seeds_needed(pair.effect, pair.spread, alpha / len(found))
        rows.append(
            {
                "task": task, "a": a, "b": b, "verdict": verdict, "better": str(tally.named(verdict, a, b)),
                "effect": pair.effect, "low": pair.low,
                "high": pair.high, "p": pair.p, "p_corrected": p, "seeds_needed": needed, "seeds": pair.n,
                "spread": pair.spread, "test": pair.test, "median": pair.median, "median_low": pair.median_low,
                "median_high": pair.median_high, "way": way,
            }
        )  # fmt: skip
    return Judgement(pd.DataFrame(rows), alpha, higher_is_better)


def _checked(frame: "pd.DataFrame") -> "pd.DataFrame":
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ArgumentValueError(
            f"The table has no column {', '.join(missing)}. It has {', '.join(map(str, frame.columns))}; rename some."
        )
    frame = frame.loc[:, list(COLUMNS)]
    if not len(frame):
        raise ArgumentValueError("The table has no rows.")
    if frame["score"].dtype.kind not in "iuf":
        raise ArgumentTypeError(f"The column score must be numbers, got {frame['score'].dtype}.")
    if frame.isna().any(axis=None):
        row = frame[frame.isna().any(axis=1)].iloc[0].to_dict()
        raise ArgumentValueError(
            f"A value is missing or NaN, in {row}. A run that failed scores -inf, or +inf where less is better."
        )
    if (twice := frame.duplicated(["optimizer", "task", "seed"])).any():
        row = frame[twice].iloc[0].to_dict()
        raise ArgumentValueError(f"A seed occurs twice for an optimizer and task, in {row}.")
    return frame


def _compared(task: Any, a: str, b: str, of_a: "pd.Series", of_b: "pd.Series") -> Pair:
    for name, scores in ((a, of_a), (b, of_b)):
        if len(scores) < 2:
            raise ArgumentValueError(f"{name!r} has one seed on {task!r}: how sure a verdict is takes two or more.")
    if set(of_a.index) == set(of_b.index):
        return paired(of_a.to_numpy(), of_b.reindex(of_a.index).to_numpy())
    return unpaired(of_a.to_numpy(), of_b.to_numpy())
