"""A request: the checked arguments of a sweep. Its fields are the one table of options.

The Python functions take them as arguments, a spec file has them as keys, and the command line shows their meanings.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from jaxopt_lab.checking import check_flag, check_seeds
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.engine.stopping import StopRule, check_rule
from jaxopt_lab.engine.strategy import STRATEGIES
from jaxopt_lab.errors import ArgumentValueError, concerning
from jaxopt_lab.sweep.arguments import Optimizers, known_task, named_factories, spaces_by_optimizer
from jaxopt_lab.sweep.budget import Budget, check_budget_of
from jaxopt_lab.sweep.checks import check_cluster, check_diverged_above, check_memory, check_out
from jaxopt_lab.sweep.checks_diagnostics import check_diagnostics
from jaxopt_lab.sweep.options import count, number, one_of, option, options, or_none, progress_or_flag
from jaxopt_lab.sweep.space import Space, configurations
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory


@dataclasses.dataclass(frozen=True)
class Request:
    """What to run. All values are checked; `optimizers`, `task` and `space` are converted.

    Raises:
        ArgumentTypeError, ArgumentValueError: An argument is invalid; the message says which one, and what to do.

    """

    optimizers: Optimizers = dataclasses.field(
        metadata=option(
            lambda _, value: named_factories(value),
            """An optimizer factory, or a list or dict (name -> factory) of them: this package's, Optax's, or any
            function of keyword hyperparameters that returns an (init, update) pair. Strings name this package's. One
            that names `steps` after a bare `*` is given the budget of a trial, unless the space gives it.""",
        )
    )
    task: Task | str | Callable[..., Task] = dataclasses.field(
        metadata=option(
            lambda _, value: known_task(value),
            "What to minimise: a task, the name of one in `jl.TASKS`, or a function that makes one.",
        )
    )
    space: Space | Mapping[str, Space] = dataclasses.field(
        metadata=option(
            lambda _, value: value,  # its check needs the optimizers: see `__post_init__`
            """Hyperparameters to vary: numbers, lists, `jl.log`, `jl.linear`; `jl.static([...])` for structural values,
            including arguments of the task as "task.NAME". A dict means the product of all values; `jl.zipped`,
            `jl.random` and `jl.sobol` combine them in other ways. For several optimizers: one space for all, or a dict
            from optimizer to space.""",
        )
    )
    _: dataclasses.KW_ONLY
    steps: Budget = dataclasses.field(
        metadata=option(
            check_budget_of,
            """The budget of each trial, >= 1. `jl.examples(50_000)` or `jl.epochs(10)` give trials of every batch size
            equally many training examples: curves are then by examples, rungs of a stop rule are numbers of examples,
            and strides are in steps of the largest batch.""",
            True,
        )
    )
    seeds: int | Iterable[int] = dataclasses.field(
        default=1, metadata=option(lambda _, value: check_seeds(value), "A count (seeds 0, 1, ...), or a list.", True)
    )
    target: float | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(number()),
            'A trial ends with status "reached" when its training loss (of the step\'s batch) is at most this.',
            True,
        ),
    )
    tolerance: float | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(number(0.0)),
            'A trial ends with status "converged" when the Euclidean norm of an update is at most this.',
            True,
        ),
    )
    diverged_above: float | str | None = dataclasses.field(
        default="auto",
        metadata=option(
            lambda _, value: check_diverged_above(value),
            """A trial diverges when its training loss is above this, as when it is not finite; None: no finite loss
            counts as diverged. By default ("auto"), the bound is 1e6 (1 + |first loss|) above the trial's first
            loss.""",
            True,
        ),
    )
    nonfinite: int = dataclasses.field(
        default=0,
        metadata=option(
            count(0),
            """How many successive steps may be skipped because their loss or gradient is not finite. A skipped step
            leaves parameters and optimizer state unchanged; the results' `skipped_steps` counts them. A trial diverges
            at one more in a row. By default 0: it diverges at its first non-finite loss.""",
            True,
        ),
    )
    record: int | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(count()),
            """Record the training loss, and the loss's further curves, every `record` steps; the last step is always
            recorded. By default at most 200 points, fewer where the curves of all trials would take more than
            256 MiB.""",
            True,
        ),
    )
    diagnostics: Iterable[str] | Mapping[str, Any] | None = dataclasses.field(
        default=None,
        metadata=option(
            check_diagnostics,
            """Further curves of each trial: a list of "update_ratio", "gradient_norm", "update_norm", "cosine",
            "sharpness", "preconditioned_sharpness", "noise_scale", "learning_rate", or a dict from name to the stride
            in steps. A dict may also name functions of your own, `(params, grads, updates, state, batch) -> scalar`, or
            pairs (function, stride). By default they are measured at the steps that `record` has, both kinds of
            sharpness and noise_scale at about 20 of them; between two measurements a curve keeps its value. See
            `jl.diagnostics`.""",
            True,
        ),
    )
    evaluate: int | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(count()),
            "Evaluate validation and test data every `evaluate` steps, and after the last. By default 20 times.",
            True,
        ),
    )
    stop: StopRule | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_rule(value),
            "A rule that ends trials early by comparing them: `jl.halving` and others, or your own `jl.StopRule`.",
            True,
        ),
    )
    keep: str = dataclasses.field(
        default="last",
        metadata=option(
            one_of("last", "best"),
            """Which parameters of each trial are kept: of its "last" step, or of its "best" evaluated step, by the main
            metric on validation data; see `Results.best(at="best")`.""",
            True,
        ),
    )
    keep_top: int | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(count(0)),
            """Keep parameters of only this many configurations of each optimizer, the best by the main metric. By
            default of all where these take at most 256 MiB, else of as many of the best as fit into that.""",
            True,
        ),
    )
    strategy: str | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(one_of(*STRATEGIES)),
            """How trials run: "scan" (many at once, a compiled loop over steps), "steps" (many at once, a compiled step
            called repeatedly), "scan_each" or "steps_each" (one trial at a time). By default the first, or whichever is
            measured to be fastest where measuring costs at most a tenth of the predicted run.""",
            True,
        ),
    )
    chunk: int | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(count()),
            "The largest number of trials that run at once; by default as many as caches and memory allow.",
            True,
        ),
    )
    rewrite: bool = dataclasses.field(
        default=True,
        metadata=option(
            check_flag,
            """Whether the task's loss and metrics may be rewritten to operations that a CPU runs faster, such as
            convolutions as matrix products: the same numbers but for the order of sums. See `jl.rewritten`.""",
            True,
        ),
    )
    memory: int | float | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_memory(value),
            """The memory budget in bytes, of the accelerators or else of the host: for the data on the devices, running
            chunks, and results on the host. Chunks are as large as it allows; held-out data are evaluated in batches
            where they do not fit at once. A float below 1 is a share of free memory. By default half of the host's, or
            .8 of the accelerators'.""",
            True,
        ),
    )
    cache: bool = dataclasses.field(
        default=True,
        metadata=option(
            check_flag,
            """Whether to keep compiled programs and measured strategies in the user's cache folder, so that the next
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
                    spaces[name] = self._converted(space)
        object.__setattr__(self, "space", spaces)

    _converted: ClassVar[Callable[[Space], Any]] = staticmethod(configurations)  # what becomes of an optimizer's space

    @property
    def factories(self) -> Mapping[str, OptimizerFactory]:
        """The optimizers by name."""
        return cast(Mapping[str, OptimizerFactory], self.optimizers)

    @property
    def tables(self) -> Mapping[str, Configurations]:
        """The configurations of each optimizer, by name."""
        return cast(Mapping[str, Configurations], self.space)

    @property
    def named_seeds(self) -> Sequence[int]:
        """The seeds as a list."""
        return cast(Sequence[int], self.seeds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRequest(Request):
    """What to run, where its results go, and who is told of its progress."""

    progress: bool | Callable[[Progress], None] = dataclasses.field(
        default=False,
        metadata=option(
            progress_or_flag,
            "Whether to show the progress; or a function to call with it (a `jl.Progress`) several times a second.",
        ),
    )
    out: str | Path | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_out(value),
            """A run folder, local or at a URL that fsspec supports ("s3://..."): results and the state of trials are
            saved there while they run. However the run ends, the same call resumes it and gives bit for bit the results
            of an uninterrupted run; a complete run is loaded. `jl.load` reads partial results meanwhile.""",
        ),
    )
    checkpoint: float | None = dataclasses.field(
        default=None,
        metadata=option(
            or_none(number(0.0)),
            """Seconds between two saves to `out`; 0 saves every segment before the next one begins. By default, saving
            takes at most 1.5 % of the time.""",
        ),
    )
    allow_different_version: bool = dataclasses.field(
        default=False,
        metadata=option(
            check_flag,
            "Resume a run folder that was started with other versions of the packages or on another device.",
        ),
    )
    cluster: str | None = dataclasses.field(
        default=None,
        metadata=option(
            lambda _, value: check_cluster(value),
            """A Ray cluster to run on, with a chunk of trials on each core or accelerator: "auto", or its address.""",
        ),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.checkpoint is not None and self.out is None:
            raise ArgumentValueError(
                "checkpoint says how often to save to a run folder: name the folder with out=.", about=("checkpoint",)
            )
