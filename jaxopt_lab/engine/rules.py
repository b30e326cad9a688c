"""Rules that end trials early by comparing them: successive halving, Hyperband, the median rule, and plateaus.

A rule decides on the host, at each rung, when all trials that it compares have reached it. The decisions of the rules
here depend only on the losses at the rungs; ties go to the configuration with the lower number.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from jaxopt_lab.checking import MOST, check_count, check_flag, check_number
from jaxopt_lab.engine.stopping import Decision, Rung, StopRule
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError

MOST_BRACKETS = 1000  # an eta near 1 would make more, to no purpose


@dataclasses.dataclass(frozen=True)
class Halving(StopRule):
    """See `halving`."""

    eta: float
    min_steps: int
    metric: str | None = None
    across: bool = False
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
        # The paper's n = ceil((most + 1) / (s + 1) * eta^s) trials in bracket s, as shares of all configurations.
        shares = np.array([self.eta**s / (s + 1) for s in range(most, -1, -1)])
        counts = np.floor(configs * shares / shares.sum()).astype(int)
        counts[0] += configs - counts.sum()
        # A fixed random order, so that every bracket covers the whole grid.
        order = np.random.default_rng(0).permutation(configs)
        for s, members in zip(range(most, -1, -1), np.split(order, np.cumsum(counts)[:-1]), strict=True):
            if len(members):
                rungs = _rungs(math.ceil(steps / self.eta**s), self.eta, len(members), steps)
                yield np.sort(members), rungs


@dataclasses.dataclass(frozen=True)
class MedianStop(StopRule):
    """See `median_stop`."""

    interval: int
    min_steps: int
    metric: str | None = None
    across: bool = False
    status: str = dataclasses.field(default="stopped", init=False)

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        count = max(0, steps - self.min_steps) // self.interval
        check_count(f"The rungs of {steps} steps, one every {self.interval},", count, least=0, most=MOST)
        yield np.arange(configs), np.arange(self.min_steps, steps, self.interval)

    def decide(self, rung: Rung) -> Decision:
        rows, ends = np.flatnonzero(rung.racing.any(axis=1)), np.zeros_like(rung.racing)
        values = np.median(rung.history[:, rows], axis=2)
        ends[rows] = (values.min(axis=0) > _median_of_others(values.mean(axis=0)))[:, None]
        return Decision(ends & rung.racing)


@dataclasses.dataclass(frozen=True)
class Plateau(StopRule):
    """See `plateau`."""

    patience: int
    min_improvement: float
    metric: str | None = None
    status: str = dataclasses.field(default="plateau", init=False)

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        check_count(
            f"The rungs of {steps} steps, one every {self.patience},", steps // self.patience, least=0, most=MOST
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


def halving(eta: float = 4, *, min_steps: int, metric: str | None = None, across: bool = False) -> Halving:
    """Successive halving: after min_steps, eta min_steps, ... steps, only the best 1/eta of configurations continue.

    Each optimizer's configurations are compared with each other, by the median over seeds of `metric`, and all seeds of
    a configuration continue or stop together. Those that stop keep their curves so far; their status is stopped.

    Args:
        eta: The factor by which each rung reduces the number of configurations, > 1.
        min_steps: The first rung, >= 1; in examples, where the budget is one of examples.
        metric: A loss or metric that the sweep evaluates; by default the task's main metric (its `main_metric`, else
            validation loss, else training loss).
        across: Whether to compare the configurations of all optimizers with each other, rather than of each one: the
            best optimizers then get most of the steps.

    Source: Jamieson & Talwalkar 2016, "Non-stochastic best arm identification and hyperparameter optimization",
    https://arxiv.org/abs/1502.07943.

    Raises:
        TypeError: eta or min_steps is not a number.
        ValueError: eta <= 1 or min_steps < 1.

    """
    across = check_flag("across", across)
    return Halving(_eta(eta), check_count("min_steps", min_steps), _metric(metric), across)


def hyperband(eta: float = 3, *, min_steps: int, metric: str | None = None, across: bool = False) -> Hyperband:
    """Hyperband: brackets of successive halving, from one that starts at `min_steps` to one that stops nothing.

    Each optimizer's configurations are distributed to the brackets in the paper's proportions, in a fixed random order.

    Args:
        eta: As in `halving`.
        min_steps: The earliest rung of any bracket. Rungs are at steps / eta, steps / eta^2, ... down to this, rounded
            up.
        metric: As in `halving`.
        across: As in `halving`.

    Source: Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization", Algorithm 1,
    https://arxiv.org/abs/1603.06560.

    Raises:
        TypeError: eta or min_steps is not a number.
        ValueError: eta <= 1 or min_steps < 1.

    """
    across = check_flag("across", across)
    return Hyperband(_eta(eta), check_count("min_steps", min_steps), _metric(metric), across)


def median_stop(
    interval: int, *, min_steps: int | None = None, metric: str | None = None, across: bool = False
) -> MedianStop:
    """Median stopping rule: a configuration ends at a rung where its best is worse than the median running average.

    Rungs are at min_steps, min_steps + interval, ... steps. At each, of every configuration that is still in the race
    (those that have ended by themselves included), by its medians over seeds of `metric` at the rungs so far: its best
    value is compared with the median, over the others, of the mean of their values. It ends where it is worse; where
    it is equal, it continues. All seeds of a configuration continue or stop together; the status of those that stop is
    stopped. Vizier's rule takes the averages of trials that have ended; here all trials reach a rung together, and
    those that earlier rungs have ended no longer count.

    Args:
        interval: Steps between two rungs, >= 1; examples, where the budget is one of examples.
        min_steps: The first rung, >= 1; by default `interval`. Every trial is left until then.
        metric: As in `halving`.
        across: As in `halving`.

    Source: Golovin et al. 2017, "Google Vizier: a service for black-box optimization", section 3.2.2,
    https://doi.org/10.1145/3097983.3098043.

    Raises:
        TypeError: interval or min_steps is not an integer.
        ValueError: interval < 1 or min_steps < 1.

    """
    interval = check_count("interval", interval)
    first = interval if min_steps is None else check_count("min_steps", min_steps)
    return MedianStop(interval, first, _metric(metric), check_flag("across", across))


def plateau(patience: int, *, min_improvement: float = 1e-3, metric: str | None = None) -> Plateau:
    """Plateau: a trial ends when `patience` steps have not improved it; it is checked every `patience` steps.

    A trial ends if the metric is not better than its best at all earlier checks by at least the share
    `min_improvement` of that best. It keeps its last value from there on; its status is plateau.

    Args:
        patience: Steps between two checks, >= 1.
        min_improvement: The relative improvement required, >= 0.
        metric: As in `halving`. A training loss is that of one batch, so a task without held-out data needs patience.

    Raises:
        TypeError: patience or min_improvement is not a number.
        ValueError: patience < 1 or min_improvement < 0.

    """
    least = check_number("min_improvement", min_improvement, least=0.0)
    return Plateau(check_count("patience", patience), least, _metric(metric))


RULE_CLASSES = (Halving, Hyperband, MedianStop, Plateau)  # identified by their settings alone
RULES = {"halving": halving, "hyperband": hyperband, "median_stop": median_stop, "plateau": plateau}


def _rungs(first: int, eta: float, configs: int, steps: int) -> np.ndarray:
    """Return first, eta first, ... before the last step, as long as more than one configuration is left."""
    rungs, at = [], float(first)
    while at < steps and configs > 1:
        if math.ceil(at) not in rungs[-1:]:  # an eta near 1 would repeat a step
            rungs.append(math.ceil(at))
            configs = _kept(configs, eta)
        # An eta near 1 passes a rung after many multiplications; make all but the last of them at once.
        at *= eta ** max(1, math.floor(math.log(rungs[-1] / at) / math.log(eta)))
    return np.array([rung for rung in rungs if rung < steps], int)


def _kept(configs: int, eta: float) -> int:
    return max(1, math.floor(configs / eta))


def _median_of_others(values: np.ndarray) -> np.ndarray:
    """Return for each value the median of the others; infinity where there are none."""
    n = len(values) - 1
    if n < 1:
        return np.full(len(values), np.inf)
    ascending, rank = np.sort(values), np.empty(len(values), int)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    of_others = lambda place: ascending[place + (place >= rank)]  # the others in order leave out its own rank
    return (of_others((n - 1) // 2) + of_others(n // 2)) / 2


def _worst(losses: np.ndarray, racing: np.ndarray, eta: float) -> np.ndarray:
    """Mark all seeds of all configurations except the best 1/eta of those still in the race."""
    rows = np.flatnonzero(racing.any(axis=1))
    order = np.argsort(np.median(losses[rows], axis=1), kind="stable")
    ends = np.zeros_like(racing)
    ends[rows[order[_kept(len(rows), eta) :]]] = True
    return ends & racing


def _eta(eta: float) -> float:
    eta = check_number("eta", eta)
    if eta <= 1:
        raise ArgumentValueError(f"eta must be > 1: at a rung only the best 1/eta continue; got {eta:g}.")
    return eta


def _metric(metric: str | None) -> str | None:
    if metric is not None and not isinstance(metric, str):
        raise ArgumentTypeError(f"metric must be the name of a loss or metric, got {metric!r}.")
    return metric
