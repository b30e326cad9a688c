"""Population-based training: hyperparameters that change while a population trains."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_lab.checking import MOST, check_count, check_number, quoted
from jaxopt_lab.engine.stopping import Decision, Rung, StopRule
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.sweep.ranges import Range

FACTORS = (0.8, 1.2)  # the paper's
OWN = 0x706274  # so that its draws are not those of a generator with the same seed, which drew the configurations


@dataclasses.dataclass(frozen=True)
class Explored:
    """How a hyperparameter is explored: by one of two factors, or drawn anew from a range, which also bounds it."""

    name: str
    factors: tuple[float, float]
    range: Range | None

    def explored(self, values: np.ndarray, rng: np.random.Generator, anew: np.ndarray) -> np.ndarray:
        """Perturb values, and draw those `anew` where there is a range."""
        factors = rng.choice(self.factors, values.shape)
        drawn = rng.random(values.shape)
        if self.range is None:
            return values * factors
        off = 1.0 if self.range.spacing == "one_minus" else 0.0  # what is multiplied: the distance from 1, or from 0
        moved = np.clip(off - (off - values) * factors, self.range.low, self.range.high)
        return np.where(anew, np.reshape(self.range.at(drawn.ravel()), values.shape), moved)


@dataclasses.dataclass(frozen=True)
class PopulationBased(StopRule):
    """See `pbt`."""

    interval: int
    quantile: float
    explores: tuple[Explored, ...]
    anew: float
    seed: int
    metric: str | None = None

    @property
    def changes(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(one.name for one in self.explores)

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        count = max(0, math.ceil(steps / self.interval) - 1)
        check_count(f"The rungs of {steps} steps, one every {self.interval},", count, least=0, most=MOST)
        yield np.arange(configs), np.arange(1, count + 1) * self.interval

    def decide(self, rung: Rung) -> Decision:
        """Let the worst share of each seed's population continue from its best, with explored hyperparameters."""
        rng = np.random.default_rng((OWN, self.seed, rung.number))
        losses, shape = np.where(rung.running, rung.history[-1], np.inf), rung.racing.shape
        source = np.tile(np.arange(shape[0])[:, None], shape[1])
        picks = rng.random(shape)
        for structure, seed in itertools.product(np.unique(rung.structures), range(shape[1])):
            members = np.flatnonzero(rung.racing[:, seed] & (rung.structures == structure))
            order = members[np.argsort(losses[members, seed], kind="stable")]
            best = order[: max(1, math.floor(self.quantile * len(order)))]
            best = best[np.isfinite(losses[best, seed])]
            worst = order[len(order) - math.floor(self.quantile * len(order)) :]
            worst = np.union1d(worst, order[~rung.running[order, seed]])  # one that has diverged has nothing to lose
            if len(best):
                source[worst, seed] = best[(picks[worst, seed] * len(best)).astype(int)]
        moved = source != np.arange(shape[0])[:, None]
        values = {}
        for one in self.explores:
            anew = rng.random(shape) < self.anew
            if (now := rung.values.get(one.name)) is not None:
                theirs = np.take_along_axis(now, source, 0)
                values[one.name] = np.where(moved, one.explored(theirs, rng, anew), now)
        return Decision(np.zeros(shape, bool), source, values)


def pbt(
    *,
    interval: int,
    quantile: float = 0.25,
    perturb: str | Sequence[str] | Mapping[str, tuple[float, float]] = (),
    resample: Mapping[str, Range] | None = None,
    resample_probability: float = 0.25,
    metric: str | None = None,
    seed: int = 0,
) -> PopulationBased:
    """Population-based training: every `interval` steps, the worst trials continue from the best, with other values.

        jl.sweep(
            jl.adam, task, jl.random({"learning_rate": jl.log(1e-4, 1e-1)}, 64, key=0), steps=2000,
            stop=jl.pbt(interval=100, perturb="learning_rate"),
        )

    The configurations of an optimizer with the same structural values are a population, one for each seed. At each
    rung, those that have diverged, and the share `quantile` that is worst by `metric`, each take over the parameters,
    the optimizer's state and the model's state of a trial drawn from the best share. Their hyperparameters are those of
    that trial, each multiplied by one of two factors, or drawn anew from its range. All trials keep their seed's
    batches. The results have a curve of each hyperparameter (`NAME_in_force`), what it was after each rung
    (`NAME_after_rung`), and from whom a trial continued (`continued_from`); `results.lineage()` and
    `results.plot.lineage()` show the schedule that led to the best trial.

    The trials of a population are not independent of each other: compare populations, by seed.

    Args:
        interval: Steps between two rungs, >= 1; in examples, where the budget is one of examples.
        quantile: The share of a population that is replaced, and the share that replaces it, in (0, 0.5].
        perturb: The hyperparameters to perturb: a name, names, or a dict from name to the two factors, by default 0.8
            and 1.2. They must be numeric and in the space.
        resample: Ranges to draw from, by name: `jl.log`, `jl.linear` or `jl.one_minus`, without a count. They also
            bound perturbed values. In a `jl.one_minus` range, the distance from 1 is perturbed: give momenta one.
        resample_probability: How often a hyperparameter that has a range is drawn from it instead, in [0, 1].
        metric: A loss or metric that the sweep evaluates; by default the task's main metric.
        seed: Of the rule's own draws, >= 0.

    Source: Jaderberg et al. 2017, "Population based training of neural networks", https://arxiv.org/abs/1711.09846,
    with truncation selection and the perturbation of section 4.1.1.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or there is no hyperparameter to change.

    """
    share = check_number("quantile", quantile)
    if not 0 < share <= 0.5:
        raise ArgumentValueError(f"quantile must be in (0, 0.5]: the best replace the worst; got {share:g}.")
    probability = check_number("resample_probability", resample_probability, least=0.0)
    if probability > 1:
        raise ArgumentValueError(f"resample_probability must be in [0, 1], got {probability:g}.")
    ranges = {} if resample is None else resample
    if not isinstance(ranges, Mapping):
        raise ArgumentTypeError(f"resample must be a dict from hyperparameters to ranges, got {quoted(ranges)}.")
    for name, one in ranges.items():
        if not isinstance(one, Range):
            raise ArgumentTypeError(
                f"resample[{name!r}] must be a range, such as jl.log(1e-4, 1e-1), got {quoted(one)}."
            )
    factors = _factors(perturb)
    names = dict.fromkeys([*factors, *ranges])
    if not names:
        raise ArgumentValueError('pbt changes no hyperparameter: name some, such as perturb="learning_rate".')
    explores = tuple(Explored(name, factors.get(name, FACTORS), ranges.get(name)) for name in names)
    return PopulationBased(
        check_count("interval", interval), share, explores, probability, check_count("seed", seed, least=0), metric
    )


def _factors(perturb: Any) -> dict[str, tuple[float, float]]:
    if isinstance(perturb, str):
        return {perturb: FACTORS}
    if isinstance(perturb, Mapping):
        found = {}
        for name, pair in perturb.items():
            if not isinstance(pair, Sequence) or len(pair) != 2:
                raise ArgumentTypeError(
                    f"perturb[{name!r}] must be two factors, such as (0.8, 1.2), got {quoted(pair)}."
                )
            found[name] = tuple(check_number(f"perturb[{name!r}]", factor, least=0.0) for factor in pair)
        return found
    if not isinstance(perturb, Sequence) or not all(isinstance(name, str) for name in perturb):
        raise ArgumentTypeError(
            f"perturb must be names of hyperparameters, or a dict of factors, got {quoted(perturb)}."
        )
    return dict.fromkeys(perturb, FACTORS)
