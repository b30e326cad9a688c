"""The table of configurations of one optimizer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Configurations:
    """A table of configurations: one column per hyperparameter, one row per configuration.

    Attributes:
        columns: Values by name, all of one length. Numbers are floats, which programs take as arguments.
        static: The names whose values are structural, which programs are compiled for.
        kind: How the table was made: product, zipped, random or sobol.
        described: The space in words, by name.

    """

    columns: Mapping[str, Sequence[Any]]
    static: frozenset[str]
    kind: str
    described: Mapping[str, str]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 1
