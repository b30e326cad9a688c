"""Verdicts on pairs, counted over tasks, and with tasks as the unit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxopt_lab.statistics.pairs import holm, signed_rank

if TYPE_CHECKING:
    import pandas as pd

UNDECIDED = "undecided"


def decided(ways: np.ndarray, p: np.ndarray, alpha: float) -> np.ndarray:
    """Return which one of each pair is better: "a", "b" or "undecided".

    Args:
        ways: 1 where a is better, -1 where b is, 0 where neither is.
        p: How sure that is.
        alpha: The largest p that decides.

    """
    return np.where((p <= alpha) & (ways != 0), np.where(ways > 0, "a", "b"), UNDECIDED)


def named(verdicts: Any, a: Any, b: Any) -> np.ndarray:
    """Return the name of the better one of each pair, or "undecided"."""
    return np.where(verdicts == "a", a, np.where(verdicts == "b", b, UNDECIDED))


def counts(rows: "pd.DataFrame", alpha: float) -> "pd.DataFrame":
    """Count for each pair the tasks on which a is better, undecided or worse, with and without correction.

    Args:
        rows: A row a task and pair, with columns `a`, `b`, `way` (1 where a is better), `p` and `p_corrected`.
        alpha: The largest p that decides.

    """
    import pandas as pd

    found = []
    for a, b, own in _pairs(rows):
        ways, row = own["way"].to_numpy(float), {"a": a, "b": b}
        for suffix, p in (("", own["p_corrected"]), ("_uncorrected", own["p"])):
            sure = p.to_numpy(float) <= alpha
            row |= {
                f"better{suffix}": int((sure & (ways > 0)).sum()),
                f"undecided{suffix}": int((~sure | (ways == 0)).sum()),
                f"worse{suffix}": int((sure & (ways < 0)).sum()),
            }
        found.append(row)
    return pd.DataFrame(found)


def over_tasks(rows: "pd.DataFrame", alpha: float) -> "pd.DataFrame":
    """Return a verdict for each pair with tasks as the unit: would it hold on another task of this kind?

    The differences of a task are divided by their standard deviation, so that tasks compare, and the signed-rank test
    asks whether their sign is one over tasks.

    Args:
        rows: A row a task and pair, with columns `a`, `b`, `way` (1 where a is better), `effect` and `spread`.
        alpha: The chance of any false verdict.

    Returns:
        A row a pair: `a`, `b`; `verdict`, which is "a", "b" or "undecided", and `better`, the name; `tasks`, `a_better`
        and `b_better` (by the sign of the effect); `p`, and `p_corrected` by Holm's method over pairs. With five tasks
        or fewer no pair can be decided at .05.

    """
    import pandas as pd

    found = []
    for a, b, own in _pairs(rows):
        ways, spread = own["way"].to_numpy(float), own["spread"].to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes = np.where(spread > 0, np.abs(own["effect"].to_numpy(float)) / spread, np.inf)
        signed = np.where(ways == 0, 0.0, ways * sizes)
        way = float(np.median(np.clip(signed, -1e300, 1e300)))
        better, worse = int((ways > 0).sum()), int((ways < 0).sum())
        found.append([a, b, way, len(own), better, worse, signed_rank(signed)])
    table = pd.DataFrame(found, columns=["a", "b", "verdict", "tasks", "a_better", "b_better", "p"])
    table["p_corrected"] = holm(table["p"].to_numpy())
    table["verdict"] = decided(table["verdict"].to_numpy(), table["p_corrected"].to_numpy(), alpha)
    table.insert(3, "better", named(table["verdict"], table["a"], table["b"]))
    return table


def _pairs(rows: "pd.DataFrame") -> "Iterator[tuple[str, str, pd.DataFrame]]":
    """Yield each pair with its rows."""
    pairs: Any = rows.groupby(["a", "b"], sort=False)
    yield from ((a, b, own) for (a, b), own in pairs)
