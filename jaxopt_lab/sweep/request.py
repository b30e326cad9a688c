"""A request: what a sweep is asked for, checked. Its fields are the one table of options.

The Python functions have these arguments, a spec file these keys, and the command line shows their meanings.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jaxopt_lab.checking import check_count, check_flag, check_known, check_number, check_seeds
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.engine.stopping import StopRule, check_rule
from jaxopt_lab.engine.strategy import STRATEGIES
from jaxopt_lab.errors import ArgumentValueError, concerning
from jaxopt_lab.sweep.arguments import Optimizers, made_task, named_factories, spaces_by_optimizer
from jaxopt_lab.sweep.checks import check_cluster, check_diverged_above, check_memory, check_out
from jaxopt_lab.sweep.options import option, options
from jaxopt_lab.sweep.space import Space, configurations
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory


def _count(least: int = 1) -> Callable[[str, Any], int]:
    return lambda name, value: check_count(name, value, least)


def _number(least: float | None = None) -> Callable[[str, Any], float]:
    return lambda name, value: check_number(name, value) if least is None else check_number(name, value, least)


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _strategy(name: str, value: Any) -> str:
    check_known(name, value, STRATEGIES)
    return value


def _progress(name: str, value: Any) -> Any:
    return value if callable(value) else check_flag(name, value)


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to run. Its values are checked; `optimizers`, `task` and `space` are what the arguments come to.

    Raises:
        ArgumentTypeError, ArgumentValueError: An argument is none; both say which, and what to do.

    """

    optimizers: Optimizers = dataclasses.field(
        metadata=option(
            lambda _, value: named_factories(value),
            """An optimizer factory, or a list or dict (name -> factory) of them: this package's, Optax's, or any
            function of keyword hyperparameters that returns an (init, update) pair. Strings name this package's.""",
        )
    )
    task: Task | str | Callable[..., Task] = dataclasses.field(
        metadata=option(
            lambda _, value: made_task(value),
            "What to minimise: a task, the name of one in `jl.TASKS`, or a function that makes one.",
        )
    )
    space: Space | Mapping[str, Space] = dataclasses.field(
        metadata=option(
            lambda _, value: value,  # which needs to know the optimizers: see `__post_init__`
            """Hyperparameters to vary: numbers, lists, `jl.log`, `jl.linear`; `jl.static([...])` for structural values,
            among them the task's own arguments as "task.NAME". A dict means the product; `jl.zipped`, `jl.random` and
            `jl.sobol` combine otherwise. For several optimizers, one space for all or a dict from optimizer to
            space.""",
        )
    )
    _: dataclasses.KW_ONLY
    steps: int = dataclasses.field(metadata=option(_count(), "The budget of each trial, >= 1.", True))
    seeds: int | Iterable[int] = dataclasses.field(
        default=1, metadata=option(lambda _, value: check_seeds(value), "How many (0, 1, ...), or which.", True)
    )
    target: float | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_number()),
            "A trial ends, reached, when its training loss (of the step's batch) is at or below this.",
            True,
        ),
    )
    tolerance: float | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_number(0.0)),
            "A trial ends, converged, when a step's Euclidean norm is at or below this.",
            True,
        ),
    )
    diverged_above: float | str | None = dataclasses.field(
        default="auto",
        metadata=option(
            lambda _, value: check_diverged_above(value),
            """A training loss above this means diverged, as a non-finite one does; None: no finite loss does. By
            default ("auto") a loss that is more than 1e6 (1 + |first loss|) above the trial's first does.""",
            True,
        ),
    )
    nonfinite: int = dataclasses.field(
        default=0,
        metadata=option(
            _count(0),
            """How many steps in a row are skipped because their loss or gradient is not finite. A skipped step leaves
            parameters and optimizer as they are; the results' `skipped_steps` counts them. One more in a row means
            diverged. By default 0: the first non-finite loss does.""",
            True,
        ),
    )
    record: int | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_count()),
            """Record the training loss and the loss's other curves every so many steps; the last step is always
            recorded. By default at most 200 points, fewer where the curves of all trials would take more than
            256 MiB.""",
            True,
        ),
    )
    evaluate: int | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_count()),
            "Evaluate validation and test data every so many steps, and after the last. By default 20 times.",
            True,
        ),
    )
    stop: StopRule | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_rule(value),
            """A rule that ends trials early by comparing them: `jl.halving`, `jl.hyperband`, `jl.plateau`, or an object
            of your own with the methods of `jl.StopRule`.""",
            True,
        ),
    )
    strategy: str | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_strategy),
            """How trials run: "scan" (many at once, a compiled loop over steps), "steps" (many at once, a compiled step
            called again and again), "scan_each" or "steps_each" (each trial alone). By default the first, or whatever
            is measured to be faster where a tenth of the predicted run pays for measuring.""",
            True,
        ),
    )
    chunk: int | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_count()),
            "How many trials run at once at most; by default as many as caches and memory allow.",
            True,
        ),
    )
    memory: int | float | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_memory(value),
            """What the sweep may take, in bytes, of the accelerators' memory or else of the host's: the data on the
            devices, running chunks, and results on the host. Chunks are as large as it allows; held-out data are
            evaluated in batches where they do not fit at once. A float below 1 is a share of what is free. By default
            half of the host's, or .8 of the accelerators'.""",
            True,
        ),
    )
    cache: bool = dataclasses.field(
        default=True,
        metadata=option(
            check_flag,
            """Whether compiled programs and measured strategies are kept in the user's cache folder, so that the next
            process starts faster. The environment variable JAXOPT_LAB_CACHE names another folder, or is "off".""",
        ),
    )

    def __post_init__(self):
        for name, known in options(type(self)).items():
            with concerning(name):
                object.__setattr__(self, name, known.check(getattr(self, name)))
        spaces = {}
        with concerning("space"):
            for name, space in spaces_by_optimizer(self.space, self.factories).items():
                with concerning(name):
                    spaces[name] = configurations(space)
        object.__setattr__(self, "space", spaces)

    @property
    def factories(self) -> Mapping[str, OptimizerFactory]:
        """The optimizers by name."""
        return cast(Mapping[str, OptimizerFactory], self.optimizers)

    @property
    def made_task(self) -> Task:
        """The task, however it was given."""
        return cast(Task, self.task)

    @property
    def tables(self) -> Mapping[str, Configurations]:
        """The configurations of each optimizer, by name."""
        return cast(Mapping[str, Configurations], self.space)

    @property
    def named_seeds(self) -> Sequence[int]:
        """The seeds themselves."""
        return cast(Sequence[int], self.seeds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRequest(Request):
    """What is to run, where its results go, and who is told of its progress."""

    progress: bool | Callable[[Progress], None] = dataclasses.field(
        default=False,
        metadata=option(
            _progress, "Whether to show the progress; or a function to call with it several times a second."
        ),
    )
    out: str | Path | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_out(value),
            """A run folder, a local one or a URL that fsspec knows ("s3://..."): results, and where trials stand, are
            kept there while they run. However that ends, the same call goes on from there, and comes to the results of
            an undisturbed run to the last bit; a complete run is loaded. `jl.load` reads it meanwhile.""",
        ),
    )
    checkpoint: float | None = dataclasses.field(
        default=None,
        metadata=option(
            _or_none(_number(0.0)),
            """Seconds between two saves to `out`; 0 saves every segment before the next one begins. By default as often
            as costs at most 1.5 % of the time.""",
        ),
    )
    allow_different_version: bool = dataclasses.field(
        default=False,
        metadata=option(
            check_flag,
            "Go on with a run folder that other versions of the packages, or another device, began.",
        ),
    )
    cluster: str | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_cluster(value),
            """Run on a Ray cluster, a chunk of trials on each of its cores or accelerators: "auto", or its address.""",
        ),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.checkpoint is not None and self.out is None:
            raise ArgumentValueError(
                "checkpoint says how often to save to a run folder: name one with out=.", about=("checkpoint",)
            )
