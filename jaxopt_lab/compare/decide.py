"""From scores to verdicts: which of two optimizers is better, counting the luck of seeds and that of tuning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxopt_lab.statistics.luck import Chance, chance_to_win, draws_needed
from jaxopt_lab.statistics.pairs import holm, paired, seeds_needed
from jaxopt_lab.statistics.tally import decided, named

if TYPE_CHECKING:
    import pandas as pd


class Tuned(NamedTuple):
    """An optimizer's scores on one task.

    Attributes:
        selected_by: What each configuration was selected by: its mean over the tuning seeds, of shape (n,).
        scores: The reported score of each, likewise.
        fresh: The reported score of the selected one for each fresh seed, of shape (seeds,).

    """

    selected_by: np.ndarray
    scores: np.ndarray
    fresh: np.ndarray


def decide(
    tuned: Mapping[str, Mapping[str, Tuned]],
    pairs: Sequence[tuple[str, str]],
    greater_is_better: Mapping[str, bool],
    alpha: float = 0.05,
) -> "pd.DataFrame":
    """Give a verdict for each task and pair.

    A verdict that counts the luck of tuning asks two questions, and both must be answered alike: do the selected
    configurations differ on fresh seeds (a paired t-test), and would the same optimizer win if both were tuned anew
    (`chance_to_win`)? Its p-value is the larger one of theirs, or 1 where they point apart; corrected by Holm's method
    over all rows, the chance of any false verdict is at most alpha.

    Args:
        tuned: By task, by optimizer.
        pairs: Which optimizers to compare.
        greater_is_better: By task.
        alpha: The chance of any false verdict.

    Returns:
        A row a task and pair: see `Verdict.table`; without what says where the configurations come from.

    """
    import pandas as pd

    keys = [(task, a, b) for task in tuned for a, b in pairs]
    differences = [paired(tuned[task][a].fresh, tuned[task][b].fresh) for task, a, b in keys]
    chances = [_chance(tuned[task][a], tuned[task][b], greater_is_better[task]) for task, a, b in keys]
    ways = np.asarray(
        [np.sign(d.effect) * (1 if greater_is_better[k[0]] else -1) for k, d in zip(keys, differences, strict=True)]
    )
    by_seeds = np.asarray([difference.p for difference in differences])
    agree = (ways != 0) & (ways == np.sign([chance.value - 0.5 for chance in chances]))
    p = np.where(agree, np.maximum(by_seeds, [chance.p for chance in chances]), 1.0)
    corrected, of_these = holm(p), holm(by_seeds)
    verdicts, of_these_configurations = (decided(ways, p, alpha).tolist() for p in (corrected, of_these))
    level = alpha / len(keys)
    rows: list[dict[str, Any]] = []
    for i, (task, a, b) in enumerate(keys):
        difference, chance, of_a, of_b = differences[i], chances[i], tuned[task][a], tuned[task][b]
        draws = min(len(of_a.scores), len(of_b.scores))
        rows.append(
            {
                "task": task, "a": a, "b": b, "verdict": verdicts[i], "better": str(named(verdicts[i], a, b)),
                "effect": difference.effect, "low": difference.low, "high": difference.high,
                "median": difference.median, "median_low": difference.median_low, "median_high": difference.median_high,
                "p": p[i], "p_corrected": corrected[i],
                "seeds_needed": seeds_needed(difference.effect, difference.spread, level),
                "verdict_of_these_configurations": of_these_configurations[i],
                "p_of_these_configurations": of_these[i],
                "chance": chance.value, "chance_low": chance.low, "chance_high": chance.high, "chance_p": chance.p,
                "chance_budget": chance.budget, "configurations_needed": draws_needed(chance, draws, level),
                "score_a": float(np.mean(of_a.fresh)), "score_b": float(np.mean(of_b.fresh)),
                "seeds": difference.n, "configurations": draws, "spread": difference.spread, "test": difference.test,
                "way": ways[i],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _chance(of_a: Tuned, of_b: Tuned, greater_is_better: bool) -> Chance:
    sign = 1 if greater_is_better else -1
    return chance_to_win(sign * of_a.selected_by, sign * of_a.scores, sign * of_b.selected_by, sign * of_b.scores)
