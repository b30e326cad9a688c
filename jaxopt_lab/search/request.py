"""The checked arguments of a search: those of a sweep, and how configurations are suggested."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from jaxopt_lab.checking import check_known, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, Code, concerning
from jaxopt_lab.search.methods import Random, SearchMethod, Sobol
from jaxopt_lab.search.samplers import SAMPLERS, optuna
from jaxopt_lab.sweep.options import count, option
from jaxopt_lab.sweep.request import SweepRequest
from jaxopt_lab.sweep.search_space import SearchSpace
from jaxopt_lab.sweep.space import Space

OWN = ("method", "budget", "batch", "key")  # the options of a search that a sweep does not have
METHODS = {"random": Random, "sobol": Sobol, **{f"optuna:{name}": partial(optuna, name) for name in SAMPLERS}}


def check_method(name: str, method: Any) -> SearchMethod:
    """Check that it is a method of search, or the name of one, and return it."""
    if isinstance(method, str):
        check_known("method of search:", method, METHODS)
        return METHODS[method]()
    if not isinstance(method, SearchMethod) or isinstance(method, type):
        raise ArgumentTypeError(
            f'{name} must be "random", "sobol", jl.optuna(...), or an object with the methods of jl.SearchMethod, got '
            f"{quoted(method)}."
        )
    return method


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchRequest(SweepRequest):
    """What to search, with which method; its `space` is a `SearchSpace` for each optimizer."""

    method: SearchMethod | str = dataclasses.field(
        default="sobol",
        metadata=option(
            check_method,
            """What suggests configurations: "random", "sobol", `jl.optuna("tpe")` (by name "optuna:tpe") and others of
            Optuna, or an object of your own with the methods of `jl.SearchMethod`.""",
            True,
        ),
    )
    budget: int = dataclasses.field(
        default=512,
        metadata=option(
            count(), "How many configurations of each optimizer to suggest, >= 1; a repeated one counts.", True
        ),
    )
    batch: int = dataclasses.field(
        default=64,
        metadata=option(
            count(),
            """How many of them make up a round, >= 1: they are suggested without the results of each other. A method
            that learns does better with many small rounds, and a sweep is faster with few large ones.""",
            True,
        ),
    )
    key: int = dataclasses.field(
        default=0,
        metadata=option(
            count(0),
            "The random key of the suggestions; each optimizer has its own stream.",
            True,
        ),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.stop is not None and self.stop.changes:
            raise ArgumentValueError(
                f"The stop rule changes {', '.join(self.stop.changes)} while trials run, so that a trial's loss is not "
                "that of its suggested configuration, which a method of search must be told.",
                advice="Sweep with this rule: it is a search of its own.",
                about=("stop",),
            )

    @property
    def suggests(self) -> SearchMethod:
        """The method, also where it was given by name."""
        return cast(SearchMethod, self.method)

    @property
    def spaces(self) -> Mapping[str, SearchSpace]:
        """The space of each optimizer, by name."""
        return cast(Mapping[str, SearchSpace], self.space)

    @staticmethod
    def _converted(space: Space) -> Any:
        if not isinstance(space, Mapping):
            raise ArgumentTypeError(
                "A search draws from a dict of hyperparameters, not from a table of configurations.",
                advice="Leave out jl.zipped, jl.random or jl.sobol.",
            )
        found = SearchSpace(space)
        if not len(found):
            raise ArgumentValueError(
                Code("jl.search", "search"), " has nothing to search: the space is empty. Name a hyperparameter."
            )
        return found

    def round(self, **changes: Any) -> SweepRequest:
        """Return the request of one round, a sweep."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(SweepRequest)}
        with concerning("method"):
            return SweepRequest(**{**fields, "progress": False, **changes})
