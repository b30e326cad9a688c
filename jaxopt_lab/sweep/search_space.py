"""Search spaces as the unit cube: each hyperparameter, also one of a branch, is a coordinate from 0 to 1."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, concerning
from jaxopt_lab.labels import ABSENT, label, same
from jaxopt_lab.sweep.hyperparameter import Choice, Static, check_name, described, values_of
from jaxopt_lab.sweep.ranges import Range
from jaxopt_lab.sweep.values import as_float, check_mapping, is_number, structural

SLACK = 1e-9  # of a range, by which rounding may leave it


class Dimension(NamedTuple):
    """A coordinate of a search space.

    Attributes:
        name: The hyperparameter.
        values: A range of numbers, or the values of which one is chosen.
        static: Whether the values are structural.
        branch: The branch that it is in: the position of its choice among the dimensions, and the number of the
            choice's value beside which it is present; None where it always is.

    """

    name: str
    values: Range | tuple[Any, ...]
    static: bool
    branch: tuple[int, int] | None


class SearchSpace:
    """A space to draw from, as coordinates from 0 to 1: what a method of `jl.search` gets to know of it.

    Attributes:
        dimensions: Its coordinates, in the order of the space; those of a choice's branches follow the choice.
        described: The space in words, by hyperparameter.

    """

    dimensions: tuple[Dimension, ...]
    described: Mapping[str, str]

    def __init__(self, space: Mapping[str, Any]):
        check_mapping("A search space", space)
        found: list[Dimension] = []
        words: dict[str, list[str]] = {}
        _collect(space, None, found, words)
        self.dimensions = tuple(found)
        self.described = {name: " or ".join(dict.fromkeys(said)) for name, said in words.items()}
        paths = [self._path(at) for at in range(len(found))]
        for at, one in enumerate(found):
            for other in (i for i in range(at) if found[i].name == one.name):
                with concerning(one.name):
                    if not any(paths[other].get(choice, number) != number for choice, number in paths[at].items()):
                        raise ArgumentValueError(
                            f"{one.name} is in the space twice: leave it out of the branch, or put it into each branch."
                        )
                    if found[other].static != one.static:
                        raise ArgumentTypeError(f"{one.name} is structural in one branch and numeric in another.")

    def __len__(self) -> int:
        return len(self.dimensions)

    def at(self, points: Any) -> list[dict[str, Any]]:
        """Return the configurations at points of the unit cube.

        Args:
            points: Shape (n, dimensions), from 0 to 1: a range's low end to its high end in its own spacing; of values
                to choose from, each has an equal share. Coordinates of branches that are not chosen do not matter.

        Raises:
            TypeError, ValueError: They are not such points.

        """
        columns = self.columns(points)
        return [
            {name: values[i] for name, values in columns.items() if values[i] is not ABSENT} for i in range(len(points))
        ]

    def columns(self, points: Any) -> dict[str, list[Any]]:
        """Return the values at points by hyperparameter: ABSENT where a configuration's branch does not have it."""
        points = np.asarray(points, float)
        if points.ndim != 2 or points.shape[1] != len(self) or not ((points >= 0) & (points <= 1)).all():
            raise ArgumentValueError(
                f"Points of this space have shape (n, {len(self)}) and are from 0 to 1, got {quoted(points)}."
            )
        columns: dict[str, list[Any]] = {}
        chosen: list[np.ndarray] = []  # the number of the chosen value; -1 where the dimension is absent
        for (name, values, _, branch), unit in zip(self.dimensions, points.T, strict=True):
            there = np.ones(len(unit), bool) if branch is None else chosen[branch[0]] == branch[1]
            if isinstance(values, Range):
                drawn, picks = values.at(unit), np.where(there, 0, -1)
            else:
                picks = np.minimum((unit * len(values)).astype(int), len(values) - 1)
                drawn, picks = [values[i] for i in picks.tolist()], np.where(there, picks, -1)
            chosen.append(picks)
            if there.all():
                columns[name] = drawn
            else:
                column = columns.setdefault(name, [ABSENT] * len(unit))
                for i in np.flatnonzero(there).tolist():
                    column[i] = drawn[i]
        return columns

    def table(self, configurations: Sequence[Mapping[str, Any]], kind: str) -> Configurations:
        """Return configurations of this space as a table.

        Raises:
            TypeError, ValueError: One is not of this space.

        """
        rows = [self._checked(one) for one in configurations]
        columns = {name: [row.get(name, ABSENT) for row in rows] for name in self.described}
        return Configurations(columns, self.static, kind, self.described)

    @property
    def static(self) -> frozenset[str]:
        """The hyperparameters whose values are structural."""
        return frozenset(one.name for one in self.dimensions if one.static)

    def _checked(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration with the space's own values."""
        if not isinstance(configuration, Mapping):
            raise ArgumentTypeError(f"A configuration is a dict of hyperparameters, got {quoted(configuration)}.")
        found: dict[str, Any] = {}
        chosen: list[int] = []
        for name, values, static, branch in self.dimensions:
            if branch is not None and chosen[branch[0]] != branch[1]:
                chosen.append(-1)
                continue
            if name not in configuration:
                raise ArgumentValueError(f"The configuration {quoted(configuration)} lacks {name}.")
            number, found[name] = _matched(name, configuration[name], values, static)
            chosen.append(number)
        if more := [name for name in configuration if name not in found]:
            raise ArgumentValueError(
                f"The configuration {quoted(configuration)} has {more[0]!r}, which the space does not have beside its "
                "other values."
            )
        return found

    def _path(self, at: int) -> dict[int, int]:
        """Return the choices that a dimension depends on, each with the number of its value."""
        path, branch = {}, self.dimensions[at].branch
        while branch is not None:
            path[branch[0]] = branch[1]
            branch = self.dimensions[branch[0]].branch
        return path


def _collect(
    space: Mapping[str, Any], branch: tuple[int, int] | None, found: list[Dimension], words: dict[str, list[str]]
) -> None:
    """Append the dimensions of a space, and of the branches of its choices."""
    for name, value in space.items():
        check_name(name)
        words.setdefault(name, []).append(described(name, value))
        if isinstance(value, Range):
            found.append(Dimension(name, value, False, branch))
        elif isinstance(value, Choice):
            with concerning(name):
                found.append(Dimension(name, tuple(structural(name, v) for v in value.values), True, branch))
            at = len(found) - 1
            for number, inner in enumerate(value.spaces):
                _collect(inner, (at, number), found, words)
        else:
            found.append(Dimension(name, tuple(values_of(name, value)), isinstance(value, Static), branch))


def _matched(name: str, value: Any, values: Range | tuple[Any, ...], static: bool) -> tuple[int, Any]:
    """Return the number of a value among those of the space, and the space's own; of a range, 0 and the number."""
    if not static and not is_number(value):
        raise ArgumentTypeError(f"{name} = {quoted(value)} is not a number.")
    if isinstance(values, Range):
        number = as_float(value)
        if not values.holds(number, SLACK):
            raise ArgumentValueError(f"{name} = {quoted(value)} is outside of its range, {values}.")
        return 0, number
    equal = (lambda x: same(x, value)) if static else (lambda x: x == as_float(value))
    for i, known in enumerate(values):
        if equal(known):
            return i, known
    raise ArgumentValueError(
        f"{name} = {quoted(value)} is not among its values: {quoted(', '.join(map(label, values)))}."
    )
