"""Simultaneous confidence bands of a distribution function, from the ranks of a sample alone.

The j-th smallest of n independent draws from any continuous distribution function F has F(x_j) ~ Beta(j, n + 1 - j). A
band gives each of the n values the highest-density interval of one mass, the critical mass, which is such that all n
hold at once with the wanted confidence (Learned-Miller & DeStefano 2008, "A Probabilistic Upper Bound on Differential
Entropy", as in Lourie et al. 2023, https://arxiv.org/abs/2311.09480). The critical mass depends on n and the confidence
alone. It is simulated, as by the package opda; those of common sizes are shipped, others are kept on disk once known.
"""

import contextlib
import functools
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxopt_lab.cache_folder import cache_folder
from jaxopt_lab.checking import check_count, check_number
from jaxopt_lab.errors import ArgumentValueError

SIMULATED, SEED = 100_000, 0  # samples, and the seed of the generator that draws them
GRID = 64  # masses that simulated samples are first compared with
BLOCK = 2**22  # numbers drawn at a time
SHIPPED = Path(__file__).parent / "weights" / "critical.json"
STORED = "bands.json"


def check_confidence(confidence: float) -> float:
    """Return a confidence as a float. Raises TypeError or ValueError where it is not between 0 and 1."""
    if not 0 < (number := check_number("confidence", confidence)) < 1:
        raise ArgumentValueError(f"confidence must be between 0 and 1, got {confidence!r}: for example .95.")
    return number


def levels(n: int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of a distribution function between the order statistics of n draws.

    Args:
        n: The number of independent draws, at least 2.
        confidence: The chance that all bounds hold at once, between 0 and 1.

    Returns:
        Two increasing arrays of shape (n + 1,): at index j the least and the greatest value that the distribution
        function may have between the j-th smallest draw and the next (index 0: below the smallest).

    Raises:
        TypeError, ValueError: An argument is invalid.

    """
    return _levels(n, critical_mass(n, confidence))


@functools.lru_cache(maxsize=64)
def _levels(n: int, mass: float) -> tuple[np.ndarray, np.ndarray]:
    from opda.utils import beta_highest_density_interval

    ranks = np.arange(1, n + 1)
    low, high = beta_highest_density_interval(ranks, n + 1 - ranks, mass)
    both = np.clip([0.0, *low], 0, 1), np.clip([*high, 1.0], 0, 1)
    for bound in both:
        bound.setflags(write=False)  # all callers share it
    return both


def critical_mass(n: int, confidence: float) -> float:
    """Return the mass that the interval of each order statistic has, for all n to hold at once.

    It is shipped for a confidence of .95 and n up to 128, and some n up to 2048. Others are simulated once, in some 5
    seconds for each 100 draws, and kept in the cache folder (`JAXOPT_LAB_CACHE`) where there is one. With 100,000
    simulated samples, the chance that a band of confidence .95 fails is .05 to within .002 (at three standard errors).

    Raises:
        TypeError, ValueError: n is not an integer of at least 2, or the confidence is not between 0 and 1.

    """
    return _critical_mass(check_count("n", n, least=2), check_confidence(confidence))


@functools.lru_cache(maxsize=4096)
def _critical_mass(n: int, confidence: float) -> float:
    key = f"{confidence!r}/{n}"
    if (known := shipped().get(key) or _read().get(key)) is not None:
        return known
    mass = simulated_mass(n, confidence)
    _remember(key, mass)
    return mass


@functools.cache
def shipped() -> dict[str, float]:
    """Return the masses that come with the package, by "confidence/n"; made by benchmarks/statistics/weights.py."""
    return json.loads(SHIPPED.read_text("utf-8"))["masses"]


def shipped_sizes(confidence: float) -> list[int]:
    """Return the numbers of draws whose masses are shipped for a confidence, in increasing order."""
    keys = (key.split("/") for key in shipped())
    return sorted(int(n) for given, n in keys if given == repr(float(confidence)))


def simulated_mass(n: int, confidence: float) -> float:
    """Simulate the critical mass: the quantile, over samples, of the mass that covers a sample's every value.

    The result is that of `opda` 0.8 with a generator of the same seed. Most samples are only compared with intervals
    of a grid of masses; those near the quantile are drawn again and treated exactly.
    """
    from opda.utils import beta_highest_density_coverage, beta_highest_density_interval

    ranks = np.arange(1, n + 1)
    # The mass lies between that of one interval alone and that of n by Bonferroni's inequality.
    tails = -math.log1p(-confidence) + np.linspace(-0.1, math.log(n) + 0.1, GRID)
    low, high = beta_highest_density_interval(ranks[:, None], n + 1 - ranks[:, None], -np.expm1(-tails))
    edges = np.concatenate([low[:, ::-1], high], axis=1)  # ascending
    # How many of the grid's masses are too small to cover each sample.
    outside = lambda u: np.abs(np.stack([np.searchsorted(*pair) for pair in zip(edges, u, strict=True)]) - GRID)
    cells = np.concatenate([outside(block).max(axis=0) for block in _samples(n)])

    position = confidence * (SIMULATED - 1)  # of the quantile among sorted samples
    first, share = int(position), position - int(position)
    up_to = np.cumsum(np.bincount(cells, minlength=GRID + 1))
    nearest = np.searchsorted(up_to, [first, first + 1], side="right")
    chosen = (cells >= nearest[0]) & (cells <= nearest[1])
    near = np.concatenate([u[:, own] for u, own in zip(_samples(n), _blocks(n, chosen), strict=True)], axis=1)
    covering = np.zeros(near.shape[1])
    for rank, u in zip(ranks, near, strict=True):
        covering = np.maximum(covering, beta_highest_density_coverage(rank, n + 1 - rank, u))
    first -= int(np.count_nonzero(cells < nearest[0]))
    below, above = np.sort(covering)[first : first + 2]
    return float(below + share * (above - below))


def _samples(n: int) -> Iterator[np.ndarray]:
    """Yield the simulated samples of n uniform draws, block by block and sorted, each of shape (n, samples)."""
    generator = np.random.default_rng(SEED)
    for block in _blocks(n, np.arange(SIMULATED)):
        u = generator.random((len(block), n))
        u.sort(axis=1)
        yield np.ascontiguousarray(u.T)


def _blocks(n: int, of_samples: np.ndarray) -> list[np.ndarray]:
    """Cut what there is for each simulated sample into the blocks in which they are drawn."""
    rows = max(1, BLOCK // n)
    return [of_samples[at : at + rows] for at in range(0, SIMULATED, rows)]


def _read() -> dict[str, float]:
    """Return the masses on disk. A file that is absent or damaged is harmless in a cache."""
    folder = cache_folder()
    try:
        found = json.loads((folder / STORED).read_text("utf-8")) if folder else {}
    except (OSError, ValueError):
        return {}
    valid = lambda mass: isinstance(mass, float) and 0 < mass < 1
    return {key: mass for key, mass in found.items() if valid(mass)} if isinstance(found, dict) else {}


def _remember(key: str, mass: float) -> None:
    """Store a mass; do nothing where the cache is off or cannot be written."""
    if (folder := cache_folder()) is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        masses = _read() | {key: mass}
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, suffix=".json", encoding="utf-8") as file:
            json.dump(masses, file)
        os.replace(file.name, folder / STORED)
