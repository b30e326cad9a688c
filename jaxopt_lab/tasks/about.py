"""What is said of a built-in task: its kind, its usual budget, and what is known of its solution."""

import dataclasses
from collections.abc import Callable
from typing import Any

KINDS = {
    "quadratic": "quadratics, for which theory is exact",
    "test function": "test functions, without data",
    "theory": "constructions of a theorem or a counterexample",
    "linear": "linear models on real data, convex, with certified minima",
    "matrix": "matrix problems, not convex, with known minima",
    "network": "networks on real data, by accuracy or loss on held-out data",
    "sequence": "models of sequences",
    "physics": "differential equations",
    "control": "reinforcement learning",
}


@dataclasses.dataclass(frozen=True)
class About:
    """What is said of a built-in task.

    Attributes:
        kind: One of `KINDS`.
        steps: The budget of a trial that its author would give, in steps.
        reference: What is known of the solution, and from where: a minimum, or a score that training should reach.
        score: The score, of the task's main metric, where the reference is one; None where it is `Task.minimum`.

    """

    kind: str
    steps: int
    reference: str
    score: float | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"Unknown kind of task {self.kind!r}. Known: {', '.join(KINDS)}.")


ABOUT: dict[Any, About] = {}
"""By task function: see `about`."""


def about(kind: str, steps: int, reference: str, score: float | None = None) -> Callable[[Any], Any]:
    """Decorate a task function with what is said of its tasks: see `About`."""

    def noted(make: Any) -> Any:
        ABOUT[make] = About(kind, steps, reference, score)
        return make

    return noted
