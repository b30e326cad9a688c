"""Rules that end trials early by what they have reached: successive halving, Hyperband, and plateaus.

A rule looks at its rungs, on the host, when all trials that it compares have reached the rung. What the rules here
decide depends on the losses there and on nothing else; ties go to the configuration with the lower number.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxopt_lab.checking import MOST, check_count, check_number, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError

MOST_BRACKETS = 1000  # of an eta near 1, which has no use for more


class Rung(NamedTuple):
    """What a rule sees at a rung. Arrays have leading axes (configurations, seeds), of all that it compares.

    Attributes:
        number: Of the rung, from 0.
        step: Steps that the trials have made.
        history: Shape (rungs so far, configurations, seeds): the metric at each, least is best (a metric of which more
            is better comes with the opposite sign), +inf where there is nothing to compare: where a trial has diverged.
        racing: Which trials no earlier rung has ended; among them are those that have ended by themselves.
        running: Which of these have not ended by themselves.
        values: The numeric hyperparameters of each trial by name; NaN where its optimizer is given none of that name.

    """

    number: int
    step: int
    history: np.ndarray
    racing: np.ndarray
    running: np.ndarray
    values: Mapping[str, np.ndarray]


class Decision(NamedTuple):
    """What a rule decides at a rung. Arrays have the shape (configurations, seeds).

    Attributes:
        ends: Which trials end here (bool). Of a trial that has ended by itself, this takes it out of the comparison.
        source: From which configuration's trial of the same seed each goes on (positions along the first axis): its
            parameters and all else that a trial stands at, but batches stay the trial's own. None: each from its own.
            A source must be running, and of the same structure (optimizer and structural values).
        values: New values of numeric hyperparameters by name, for all that go on; only of names in the rule's
            `changes`.

    """

    ends: np.ndarray
    source: np.ndarray | None = None
    values: Mapping[str, np.ndarray] = {}


@runtime_checkable
class StopRule(Protocol):
    """A rule that looks at trials at certain steps and decides which go on, and how: the protocol of `stop=`.

    A rule of your own derives from this class, or has what it has. What it decides must depend on its own settings and
    on what it is shown alone, so that a run that was broken off comes to the same decisions. Make it a frozen
    dataclass: a run folder knows the rule by its settings and its code.

    Attributes:
        metric: The loss or metric that it compares, as the sweep evaluates it; None for the task's main metric.
        status: What trials that it ends are called: "stopped" or "plateau".
        changes: The numeric hyperparameters that it may change. Each has a curve in the results, NAME_in_force.

    """

    metric: str | None = None
    status: str = "stopped"
    changes: tuple[str, ...] = ()

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Divide an optimizer's configurations: for each bracket, which ones it compares, and its rungs (steps)."""
        ...

    def decide(self, rung: Rung) -> Decision:
        """Decide at a rung what becomes of the trials of a bracket."""
        ...

    def kept(self, configs: int) -> int:
        """Return the most of so many configurations that go on after a rung; by default all."""
        return configs


@dataclasses.dataclass(frozen=True)
class Halving(StopRule):
    """See `halving`."""

    eta: float
    min_steps: int
    metric: str | None = None
    status: str = dataclasses.field(default="stopped", init=False)

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        yield np.arange(configs), _rungs(self.min_steps, self.eta, configs, steps)

    def decide(self, rung: Rung) -> Decision:
        return Decision(_worst(rung.history[-1], rung.racing, self.eta))

    def kept(self, configs: int) -> int:
        return _kept(configs, self.eta)


@dataclasses.dataclass(frozen=True)
class Hyperband(Halving):
    """See `hyperband`: halving, in brackets that begin at different rungs."""

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        most = max(0, math.floor(math.log(steps / self.min_steps) / math.log(self.eta) + 1e-9))
        check_count(f"The brackets of {steps} steps by an eta of {self.eta:g}", most, least=0, most=MOST_BRACKETS)
        # The paper's n = ceil((most + 1) / (s + 1) * eta^s) trials in bracket s, as shares of what there is.
        shares = np.array([self.eta**s / (s + 1) for s in range(most, -1, -1)])
        counts = np.floor(configs * shares / shares.sum()).astype(int)
        counts[0] += configs - counts.sum()
        # A fixed order without pattern, so that every bracket sees all of a grid.
        order = np.random.default_rng(0).permutation(configs)
        for s, members in zip(range(most, -1, -1), np.split(order, np.cumsum(counts)[:-1]), strict=True):
            if len(members):
                rungs = _rungs(math.ceil(steps / self.eta**s), self.eta, len(members), steps)
                yield np.sort(members), rungs


@dataclasses.dataclass(frozen=True)
class Plateau(StopRule):
    """See `plateau`."""

    patience: int
    min_improvement: float
    metric: str | None = None
    status: str = dataclasses.field(default="plateau", init=False)

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        check_count(
            f"The looks at {steps} steps, one every {self.patience},", steps // self.patience, least=0, most=MOST
        )
        yield np.arange(configs), np.arange(self.patience, steps, self.patience)

    def decide(self, rung: Rung) -> Decision:
        history, racing = rung.history, rung.racing
        if len(history) < 2:
            return Decision(np.zeros_like(racing))
        best = history[:-1].min(axis=0)
        finite = np.where(np.isfinite(best), best, 0.0)  # from infinity, anything is an improvement
        improved = (history[-1] < best) & (history[-1] <= best - self.min_improvement * np.abs(finite))
        return Decision(racing & ~improved)


def halving(eta: float = 4, *, min_steps: int, metric: str | None = None) -> Halving:
    """Successive halving: after `min_steps`, `eta` times as many, ... only the best 1/eta of configurations go on.

    Each optimizer's configurations are compared among themselves, by the median over seeds of `metric`, and all seeds
    of a configuration go on or stop together. Those that stop keep their curves up to there; their status is stopped.

    Args:
        eta: How many times fewer go on, > 1.
        min_steps: The first rung, >= 1.
        metric: A loss or metric that the sweep evaluates; by default what the task chooses by (its `main_metric`, else
            validation loss, else training loss).

    Source: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization",
    https://arxiv.org/abs/1502.07943.

    Raises:
        TypeError: eta or min_steps is not a number.
        ValueError: eta <= 1 or min_steps < 1.

    """
    return Halving(_eta(eta), check_count("min_steps", min_steps), _metric(metric))


def hyperband(eta: float = 3, *, min_steps: int, metric: str | None = None) -> Hyperband:
    """Hyperband: brackets of successive halving, from one that starts at `min_steps` to one that stops nothing.

    Each optimizer's configurations are dealt out to the brackets in the paper's proportions, in a fixed random order.

    Args:
        eta: As in `halving`.
        min_steps: No bracket looks earlier. Rungs are at steps / eta, steps / eta^2, ... as far down as that, rounded
            up.
        metric: As in `halving`.

    Source: Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization", Algorithm 1,
    https://arxiv.org/abs/1603.06560.

    Raises:
        TypeError: eta or min_steps is not a number.
        ValueError: eta <= 1 or min_steps < 1.

    """
    return Hyperband(_eta(eta), check_count("min_steps", min_steps), _metric(metric))


def plateau(patience: int, *, min_improvement: float = 1e-3, metric: str | None = None) -> Plateau:
    """A trial ends when `patience` steps have not improved it: it is looked at every so many steps.

    It ends where the metric is not better than the best at all earlier looks, or better by less than the share
    `min_improvement` of it. The trial keeps its last value from there on; its status is plateau.

    Args:
        patience: Steps between two looks, >= 1.
        min_improvement: Relative, >= 0.
        metric: As in `halving`. A training loss is that of one batch: a task without held-out data wants patience.

    Raises:
        TypeError: patience or min_improvement is not a number.
        ValueError: patience < 1 or min_improvement < 0.

    """
    least = check_number("min_improvement", min_improvement, least=0.0)
    return Plateau(check_count("patience", patience), least, _metric(metric))


def check_rule(rule: Any) -> StopRule | None:
    """Check that `rule` has what a stop rule needs, or is None, and return it."""
    if rule is None or (isinstance(rule, StopRule) and not isinstance(rule, type)):
        return rule
    raise ArgumentTypeError(
        f"stop must be jl.halving(...), jl.hyperband(...), jl.plateau(...), or an object with the methods of "
        f"jl.StopRule, got {quoted(rule)}."
    )


RULES = {"halving": halving, "hyperband": hyperband, "plateau": plateau}


def _rungs(first: int, eta: float, configs: int, steps: int) -> np.ndarray:
    """first, eta first, ... before the last step, as long as there is more than one configuration to choose from."""
    rungs, at = [], float(first)
    while at < steps and configs > 1:
        if math.ceil(at) not in rungs[-1:]:  # an eta near 1 would look at one step more than once
            rungs.append(math.ceil(at))
            configs = _kept(configs, eta)
        # An eta near 1 comes past a rung in many steps, all but the last of them at once.
        at *= eta ** max(1, math.floor(math.log(rungs[-1] / at) / math.log(eta)))
    return np.array([rung for rung in rungs if rung < steps], int)


def _kept(configs: int, eta: float) -> int:
    return max(1, math.floor(configs / eta))


def _worst(losses: np.ndarray, racing: np.ndarray, eta: float) -> np.ndarray:
    """All seeds of all configurations but the best 1/eta of those still in the race."""
    rows = np.flatnonzero(racing.any(axis=1))
    order = np.argsort(np.median(losses[rows], axis=1), kind="stable")
    ends = np.zeros_like(racing)
    ends[rows[order[_kept(len(rows), eta) :]]] = True
    return ends & racing


def _eta(eta: float) -> float:
    eta = check_number("eta", eta)
    if eta <= 1:
        raise ArgumentValueError(f"eta must be > 1: at a rung only the best 1/eta go on; got {eta:g}.")
    return eta


def _metric(metric: str | None) -> str | None:
    if metric is not None and not isinstance(metric, str):
        raise ArgumentTypeError(f"metric must be the name of a loss or metric, got {metric!r}.")
    return metric
