"""Findings: a figure that theory or a publication gives, beside the one computed here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of `jaxopt-lab verify theory` or `verify published`.

    Attributes:
        what: What is measured.
        theory: The formula, or where the figure is printed.
        expected: The figure.
        measured: The same from a computation that does not know it.
        bound: The largest relative error that passes; an absolute one where the figure is 0.
        why: Why the error may be that large.
        source: Who proved or published it.

    """

    what: str
    theory: str
    expected: float
    measured: float
    bound: float
    why: str
    source: str

    @property
    def error(self) -> float:
        """The relative error; the absolute one where the figure is 0."""
        return abs(self.measured - self.expected) / (abs(self.expected) or 1.0)

    @property
    def passed(self) -> bool:
        return self.error <= self.bound  # False where it is NaN
