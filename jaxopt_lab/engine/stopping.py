"""What a stop rule is: what it sees at a rung, what it decides, and what it must be."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError

ENDINGS = ("stopped", "plateau")  # statuses that a rule may give


class Rung(NamedTuple):
    """What a rule sees at a rung. Arrays have leading axes (configurations, seeds), over all trials that it compares.

    Attributes:
        number: The rung's number, from 0.
        step: Steps that the trials have made; training examples that they saw, where the budget is one of examples.
        history: Shape (rungs so far, configurations, seeds): the metric at each rung. Lower is better (a metric of
            which more is better has its sign changed); +inf where there is no value, as where a trial has diverged.
        racing: Which trials no earlier rung has ended, including those that have ended by themselves.
        running: Which of these have not ended by themselves.
        values: The numeric hyperparameters of each trial by name; NaN where its configuration has none of that name.

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
        ends: Which trials end here (bool). A trial that has already ended by itself leaves the comparison.
        source: The configuration from whose trial of the same seed each trial continues (positions along the first
            axis): it takes over that trial's whole state, but keeps its own batches. None: each from its own state. A
            source must be running, and of the same structure (optimizer and structural values).
        values: New values of numeric hyperparameters by name, for all trials that continue; only names in the rule's
            `changes`.

    """

    ends: np.ndarray
    source: np.ndarray | None = None
    values: Mapping[str, np.ndarray] = {}


@runtime_checkable
class StopRule(Protocol):
    """A rule that compares trials at certain steps and decides which continue, and how: the protocol of `stop=`.

    Your own rule derives from this class, or has the same attributes and methods. Its decisions must depend only on its
    own settings and on the rung, so that a run that resumes makes the same decisions. Make it a frozen dataclass: a run
    folder identifies the rule by its settings and its code.

    Attributes:
        metric: The loss or metric that it compares, as the sweep evaluates it; None for the task's main metric.
        status: The status of trials that it ends: "stopped" or "plateau".
        changes: The numeric hyperparameters that it may change. Each has a curve in the results, NAME_in_force.

    A rule with a further attribute `across` that is true compares all optimizers with each other: `brackets` then
    divides the configurations of all of them, in the order of their numbers. Without it, each optimizer's are compared
    among themselves.

    """

    metric: str | None = None
    status: str = "stopped"
    changes: tuple[str, ...] = ()

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Divide an optimizer's configurations into brackets: yield each one's positions and rungs.

        `steps` is the budget of a trial, and rungs are numbers of steps; of examples, where the budget is one of those.
        """
        ...

    def decide(self, rung: Rung) -> Decision:
        """Decide, at a rung, what happens to the trials of a bracket."""
        ...

    def kept(self, configs: int) -> int:
        """Return how many of `configs` configurations continue after a rung at most; by default all."""
        return configs


def check_rule(rule: Any) -> StopRule | None:
    """Check that `rule` has what a stop rule needs, or is None, and return it."""
    if rule is None:
        return None
    if not isinstance(rule, StopRule) or isinstance(rule, type):
        raise ArgumentTypeError(
            f"stop must be jl.halving(...), jl.hyperband(...), jl.median_stop(...), jl.plateau(...), or an object with "
            f"the methods of jl.StopRule, got {quoted(rule)}."
        )
    if rule.status not in ENDINGS:
        wanted = " or ".join(map(repr, ENDINGS))
        raise ArgumentValueError(f"The status of a stop rule must be {wanted}, got {quoted(rule.status)}.")
    if not isinstance(rule.changes, tuple | list) or not all(isinstance(name, str) for name in rule.changes):
        raise ArgumentTypeError(
            f"The changes of a stop rule must be a tuple of hyperparameters' names, got {quoted(rule.changes)}."
        )
    return rule


def compares_across(rule: StopRule) -> bool:
    """Return whether a rule compares all optimizers with each other."""
    return bool(getattr(rule, "across", False))


def brackets_of(rule: StopRule, configs: int, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return a rule's brackets, each as the positions of its configurations and its rungs.

    Raises:
        ArgumentValueError: A configuration is in no bracket or in several, or rungs do not ascend from 1 to below the
            last step.

    """
    what = f"{type(rule).__name__}.brackets({configs}, {steps})"
    found = [(np.asarray(members), np.asarray(rungs)) for members, rungs in rule.brackets(configs, steps)]
    for members, rungs in found:
        if any(x.ndim != 1 or (x.size and x.dtype.kind not in "iu") for x in (members, rungs)):
            raise ArgumentValueError(f"{what} must give two lists of integers for each bracket.")
        if len(rungs) and (rungs[0] < 1 or rungs[-1] >= steps or (np.diff(rungs) <= 0).any()):
            raise ArgumentValueError(
                f"{what}: rungs must ascend from 1 to below {steps}, got {quoted(rungs.tolist())}."
            )
    found = [(members.astype(int), rungs.astype(int)) for members, rungs in found]
    if sorted(np.concatenate([members for members, _ in found]).tolist() if found else []) != list(range(configs)):
        raise ArgumentValueError(f"{what} must put each of the {configs} configurations into exactly one bracket.")
    return found
