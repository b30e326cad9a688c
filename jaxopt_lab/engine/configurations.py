"""The table of configurations of one optimizer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxopt_lab.labels import ABSENT


@dataclasses.dataclass(frozen=True)
class Configurations:
    """A table of configurations: one column per hyperparameter, one row per configuration.

    Attributes:
        columns: Values by name, all of one length. Numbers are floats, which programs take as arguments; ABSENT where a
            configuration lacks a hyperparameter, which then has its default.
        static: The names whose values are structural, which programs are compiled for.
        kind: How the table was made: product, zipped, random, sobol or search.
        described: The space in words, by name.

    """

    columns: Mapping[str, Sequence[Any]]
    static: frozenset[str]
    kind: str
    described: Mapping[str, str]

    def present(self, name: str) -> list[Any]:
        """Return a hyperparameter's values, of those configurations that have it."""
        return [value for value in self.columns[name] if value is not ABSENT]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 1
