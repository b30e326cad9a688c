"""`results.confirm()`: a sweep's best configurations with fresh seeds, and whether the best one really is the best."""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.checking import check_count, check_flag, check_known, check_number
from jaxopt_lab.compare.study import reported
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.formats import number, short
from jaxopt_lab.results.best import Best, best, best_at
from jaxopt_lab.results.files import load
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, median_score, score
from jaxopt_lab.statistics.judge import Judgement, judge
from jaxopt_lab.statistics.tally import UNDECIDED
from jaxopt_lab.store.axes import examples_per_step, unequal_examples, unequal_gradients, unit_of
from jaxopt_lab.sweep.arguments import Optimizers
from jaxopt_lab.sweep.made import Made
from jaxopt_lab.sweep.request import SweepRequest
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

FINALISTS = 5  # of a sweep's only optimizer
LIMITS = (
    "This is about the selected configurations: tuned anew, another optimizer might win. jl.compare and jaxopt-lab "
    "compare count that too."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Confirmation:
    """The best configuration of each optimizer of a sweep, or the best ones of its only optimizer, with fresh seeds.

    Attributes:
        best: The optimizer whose configuration was the best of the sweep. It is compared with each other one.
        selected: The best configuration of each optimizer, by name, the best one first. Those of a sweep's only
            optimizer are named by their numbers: "adam #17".
        judgement: The verdicts: see `table`.
        fresh: The results of the fresh seeds.
        names: The name of each configuration of `fresh`.
        metric: What is compared: the metric that selected, on test data where there are any.
        left_out: Optimizers that are not compared, since their steps see another number of examples than most: that
            number, and the others'.

    """

    best: str
    selected: dict[str, Best]
    judgement: Judgement
    fresh: Results
    names: tuple[str, ...]
    metric: str
    left_out: Mapping[str, tuple[int, int]]

    def table(self) -> "pd.DataFrame":
        """Return a row for each other optimizer, `a`, against the best one, `b`: see `jl.Judgement.table`."""
        return self.judgement.table()

    def scores(self) -> "pd.DataFrame":
        """Return a row for each name and fresh seed, as `jl.judge` takes them."""
        return _scores(self.fresh, self.names, self.metric)

    def sentences(self) -> list[str]:
        """Return the verdict in words, a sentence each."""
        rows, what = self.judgement.rows.to_dict("records"), self.metric.replace("_", " ")
        seeds, values = self.fresh.dataset.sizes["seed"], self.scores().set_index("optimizer")["score"]
        among = " among those compared" if self.left_out else ""
        said = [
            f"{self.best} was the best of the sweep{among}. With {seeds} fresh seeds, its mean {what} is "
            f"{number(values[self.best].mean())}."
        ]
        for verdict, says in (("b", "It is better than {}."), ("a", "It is worse than {}.")):
            if names := [_with_p(row) for row in rows if row["verdict"] == verdict]:
                said.append(says.format(_listed(names)))
        if open_rows := [row for row in rows if row["verdict"] == UNDECIDED]:
            said.append(f"Undecided: {_listed([_gap(row) for row in open_rows])}.{_more(open_rows)}")
        return said + _said_left_out(self.left_out)

    def warnings(self) -> list[str]:
        """Return what a reader has to know before believing it."""
        found = []
        for what, differ in (("examples", unequal_examples), ("gradients", unequal_gradients)):
            if (taken := differ(self.fresh.dataset)) is not None:
                found.append(f"Budgets are equal in steps, not in {what}: trials take {taken}.")
        edges = [f"{name} ({', '.join(best.on_edge)})" for name, best in self.selected.items() if best.on_edge]
        if edges:
            found.append(
                f"Selected at an end of the range that was tried, so better ones may lie beyond: {_listed(edges)}."
            )
        return found

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.fresh.dataset.attrs['task']}: {' '.join(self.sentences())}", *self.warnings(), LIMITS]
        )

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(line)}</p>" for line in str(self).splitlines())


def _scores(fresh: Results, names: Sequence[str], metric: str) -> "pd.DataFrame":
    import pandas as pd

    values = score(fresh.dataset, metric).values
    rows = [
        {"optimizer": name, "task": fresh.dataset.attrs["task"], "seed": seed, "score": value}
        for name, own in zip(names, values.tolist(), strict=True)
        for seed, value in zip(fresh.dataset["seed"].values.tolist(), own, strict=True)
    ]
    return pd.DataFrame(rows)


def _with_p(row: dict[Any, Any]) -> str:
    p = row["p_corrected"]
    return f"{row['a']} (p {'< .001' if p < 1e-3 else f'= {short(p, 2)}'})"


def _gap(row: dict[Any, Any]) -> str:
    if not math.isfinite(row["effect"]):
        return f"{row['a']}, where some scores are infinite"
    if row["effect"] == 0:
        return f"{row['a']}, whose scores do not differ"
    ends = " to ".join(number(row[end]) if math.isfinite(row[end]) else f"{row[end]:g}" for end in ("low", "high"))
    p = f"corrected p = {short(row['p_corrected'], 2)}"
    return f"{row['a']} ({row['a']} minus {row['b']}: {short(row['effect'])}, 95 %: {ends}, {p})"


def _more(rows: list[dict[Any, Any]]) -> str:
    """Say how many seeds would decide the undecided ones."""
    needed = [row["seeds_needed"] for row in rows if math.isfinite(row["seeds_needed"])]
    counts = " to ".join(f"{count:,.0f}" for count in sorted({min(needed), max(needed)})) if needed else ""
    size = "a difference of this size" if len(needed) == 1 else "differences of this size"
    return f" About {counts} seeds would decide {size}." if needed else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _only(table: Configurations, rows: Sequence[int]) -> Configurations:
    """Return the table of some of the configurations."""
    columns = {column: [values[row] for row in rows] for column, values in table.columns.items()}
    return dataclasses.replace(table, columns=columns, kind="zipped")


def confirm(
    run: Results | str | Path,
    seeds: int = 20,
    *,
    top: int | None = None,
    names: Iterable[str] | None = None,
    unequal: bool = False,
    metric: str | None = None,
    alpha: float = 0.05,
    task: Task | Callable[..., Task] | None = None,
    optimizers: Optimizers | None = None,
    out: str | Path | None = None,
    memory: int | float | None = None,
    cluster: str | None = None,
    progress: bool | Callable[[Progress], None] = False,
    cache: bool = True,
) -> Confirmation:
    """Run the best configuration of each optimizer of a sweep with fresh seeds, and say whether the best one holds.

    Of a sweep or search of one optimizer, run its best configurations.

        print(results.confirm())

    What a sweep selected looks better on the seeds that selected it than it is. Fresh seeds, the same for all
    optimizers, have no such bias. The winner of the sweep is compared with each other optimizer by a paired t-test,
    corrected by Holm's method, on test data where there are any.

    It counts the luck of seeds, not that of tuning: it is about these configurations. `jl.compare` asks which
    *optimizer* is better.

    Args:
        run: The sweep's results, or their folder.
        seeds: The number of fresh seeds, >= 2; they follow the largest seed of the sweep.
        top: How many to compare, >= 2: the best optimizers of the sweep, by default all; or of its only optimizer the
            best configurations, by default five.
        names: Which optimizers of the sweep to compare, two or more; by default all that have a best configuration.
        unequal: Whether to compare optimizers also where their steps see unequal numbers of examples. Without it, those
            that see another number than most of the others are left out, which the verdict says.
        metric: What configurations are selected by; by default the main metric.
        alpha: The chance of any false verdict, 0 < alpha < 1.
        task: The sweep's task, where it is not one of `jl.TASKS`.
        optimizers: Factories of the sweep's optimizers that are not this package's, by name.
        out: As for `jl.sweep`.
        memory: As for `jl.sweep`.
        cluster: As for `jl.sweep`.
        progress: As for `jl.sweep`.
        cache: As for `jl.sweep`.

    Raises:
        TypeError, ValueError: An argument is invalid, there are fewer than two optimizers to compare, or the task or an
            optimizer is not what the sweep was made of; or as `jl.sweep`.
        RunError: The folder is damaged, in use, or cannot be written.
        KeyboardInterrupt: Ctrl-C; with `out`, the same call goes on.

    """
    results = run if isinstance(run, Results) else load(run)
    dataset, seeds = results.dataset, check_count("seeds", seeds, least=2)
    if not 0 < check_number("alpha", alpha) < 1:
        raise ArgumentValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    if top is not None:
        check_count("top", top, least=2)
    metric = default_metric(dataset) if metric is None else metric
    higher = greater_is_better(dataset, metric)
    known = list(dict.fromkeys(dataset["optimizer"].values.tolist()))
    for name in names or ():
        check_known("names: optimizer", name, known)
    if len(known) == 1 and names is None:
        found = _finalists(dataset, metric, FINALISTS if top is None else top)
    else:
        found = {name: best(dataset, metric, name) for name in (known if names is None else dict.fromkeys(names))}
    selected = {name: one for name, one in found.items() if math.isfinite(one.value)}
    left_out = {} if check_flag("unequal", unequal) else _unequal(dataset, selected)
    selected = {name: one for name, one in selected.items() if name not in left_out}
    if len(selected) < 2:
        raise ArgumentValueError(
            f"A comparison needs two {'configurations' if len(known) == 1 else 'optimizers'} or more with a finite "
            f"median {metric}, and there is "
            f"{', '.join(selected) or 'none'}. {' '.join(_said_left_out(left_out))}".rstrip()
        )
    ranked = sorted(selected, key=lambda name: selected[name].value * (-1 if higher else 1))
    selected = {name: selected[name] for name in ranked[:top]}
    made = Made.of(results, optimizers, task)
    made.check_problem(dataset)
    tables, called = {}, []
    for name, table in made.tables(dataset).items():
        row_of = {config: row for row, config in enumerate(_configs(dataset, name).tolist())}
        own = [key for key, one in selected.items() if one.optimizer == name]
        called += own
        if own:
            tables[name] = _only(table, [row_of[selected[key].config] for key in own])
    first = int(dataset["seed"].values.max()) + 1
    request = made.request(dataset, tables, list(range(first, first + seeds)), out=None if out is None else str(out))
    options = {field.name: getattr(request, field.name) for field in dataclasses.fields(SweepRequest)}
    how = {"memory": memory, "cluster": cluster, "progress": progress, "cache": cache}
    fresh = sweep(**{**options, "strategy": None, "diagnostics": None, "keep_top": None, **how})
    if fresh.dataset.attrs["interrupted"]:
        raise KeyboardInterrupt("The fresh seeds were interrupted. With out=, the same call goes on with them.")
    what = reported(fresh, metric)
    judgement = judge(_scores(fresh, called, what), higher_is_better=higher, reference=ranked[0], alpha=alpha)
    return Confirmation(ranked[0], selected, judgement, fresh, tuple(called), what, left_out)


def _finalists(dataset: "xr.Dataset", metric: str, top: int) -> dict[str, Best]:
    """Return the best configurations of a sweep's only optimizer, by optimizer and number."""
    scores = median_score(dataset, metric) * (-1 if greater_is_better(dataset, metric) else 1)
    found = [best_at(dataset, metric, row) for row in np.argsort(scores, kind="stable")[:top].tolist()]
    return {f"{one.optimizer} #{one.config}": one for one in found}


def _unequal(dataset: "xr.Dataset", selected: Mapping[str, Best]) -> dict[str, tuple[int, int]]:
    """Return the optimizers whose steps see another number of examples than most, with that number and the others'."""
    each = examples_per_step(dataset)
    if each is None or unit_of(dataset) != "step":
        return {}
    seen = {name: int(each[dataset["config"].values == one.config][0]) for name, one in selected.items()}
    usual = collections.Counter(seen.values()).most_common(1)
    return {name: (count, usual[0][0]) for name, count in seen.items() if count != usual[0][0]}


def _said_left_out(left_out: Mapping[str, tuple[int, int]]) -> list[str]:
    return [
        f"{name} is left out: its steps see {count:,} examples, where those of the others see {usual:,}."
        for name, (count, usual) in left_out.items()
    ]


def _configs(dataset: "xr.Dataset", optimizer: str) -> np.ndarray:
    return dataset["config"].values[dataset["optimizer"].values == optimizer]
