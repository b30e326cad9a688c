"""A rule that repeats what another rule made of a trial's hyperparameters."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from jaxopt_lab.engine.stopping import Decision, Rung, StopRule


@dataclasses.dataclass(frozen=True)
class Scripted(StopRule):
    """Set hyperparameters at given steps; no trial ends.

    Attributes:
        steps: Where, in ascending order.
        values: Their new values there, by name.

    """

    steps: tuple[int, ...]
    values: Sequence[tuple[str, tuple[float, ...]]]
    metric: str | None = "train_loss"

    @property
    def changes(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple(name for name, _ in self.values)

    def brackets(self, configs: int, steps: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        yield np.arange(configs), np.asarray(self.steps, int)

    def decide(self, rung: Rung) -> Decision:
        shape = rung.racing.shape
        return Decision(np.zeros(shape, bool), None, {name: np.full(shape, x[rung.number]) for name, x in self.values})
