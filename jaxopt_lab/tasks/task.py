"""Task: the objective to minimise, and its data."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxopt_lab.checking import check_count, check_known, check_number, nearest, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks._examples import check_examples
from jaxopt_lab.tasks.asked import FIRST, NAMES, asked
from jaxopt_lab.tasks.direction import direction_of
from jaxopt_lab.tasks.feeds import Feed
from jaxopt_lab.tasks.names import LOSS, SPLITS, check_name
from jaxopt_lab.tasks.sampling import batch_indices
from jaxopt_lab.tasks.streams import Stream, feed_of, read_in
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import calling
from jaxopt_lab.tracing.settings import settings
from jaxopt_lab.types import Batch, Key, random_key

AUGMENTING = 2**32 - 1  # distinguishes augmentation from the epochs and steps that batches are drawn by


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """An objective, its data, and how they are split.

    After a bare `*`, a loss may name:

    - `key`: a random key, a function of seed and step and the same for all configurations of a seed, other than those
      of the batch and the optimizer; None on held-out data.
    - `training`: True in a training step, False on held-out data.
    - `state`: arrays that it keeps from step to step, such as batch statistics. `init` then returns `(params, state)`,
      and the loss `(loss, state)` or `(loss, state, aux)`. The optimizer never sees the state. It is saved with the
      parameters, and on held-out data what the loss returns for it is ignored.
    - any number with a default, a hyperparameter: a space has it as `task.NAME`, and one program runs all values. So
      may `init`. On held-out data the loss has the defaults, so that losses of different values can be compared.
    - anything else with a default, a structural hyperparameter (`jl.static`), which also holds on held-out data.

    Args:
        name: Its name in results and pictures.
        init: Pure `init(key) -> params`, any pytree of floating-point arrays; `-> (params, state)` where the loss has
            a state.
        loss: Pure `loss(params, batch) -> scalar`, the mean over the batch's examples; or `-> (scalar, aux)`, where aux
            is a dict of further scalars, each of which becomes a training curve under its name. What else it needs, it
            names after a bare `*`: see above.
        train: A pytree of arrays with a leading example axis; or None for a deterministic objective, whose loss gets
            None as its batch; or a function `key -> batch` for endless synthetic data; or `jl.stream(make)` for batches
            of a loader or generator. With a `batch_size`, stored arrays (`np.memmap`, Zarr, HDF5 and others that are
            indexed by example) are read batch by batch, so they may be larger than memory.
        validation: Like `train`; None where there is none. A function is called once, with the key of seed 0.
        test: Like `validation`, with the key of seed 1.
        metrics: `(params, batch) -> scalar` by name, evaluated on validation and test data; one may name `state`.
            `jl.maximize(metric)` or `jl.minimize(metric)` states which way one is better; else the last words of its
            name do (accuracy, f1, auc, r2, score ...; loss, error, mse, brier_score ...). A metric without a direction
            cannot select anything.
        batch_size: Examples per training step; None takes all of them. Each epoch visits the examples in a new order.
        minimum: The smallest training loss (over all of `train`), where known.
        predict: `(params, inputs) -> outputs`, where batches are pairs (inputs, targets); it may name `state`.
        factory: The function that made the task. It is set automatically.
        arguments: The arguments that `factory` was called with. They are set automatically.
        main_metric: The metric on validation data by which the best configuration, leaderboards, stop rules and
            pictures select by default. By default the loss: the training loss where there are no validation data.
        augment: `(key, batch) -> batch`, applied to every training batch, never to validation or test data. The key is
            a function of seed and step, so all configurations of a seed see the same batches.
        given: Structural values for what the functions name after a bare `*`. They are set automatically.
        numbers: Values of numeric hyperparameters of `init` and `loss`. They are set automatically.
        rebuild: `params -> model`, or `(params, *, state) -> model` where the loss has a state: the model of another
            library, for evaluation. It is set by `jl.nnx_task` and its like; `results.model()` calls it.

    Raises:
        TypeError: Something that must be callable, or a string, is not, or data are not arrays of numbers.
        ValueError: Data are empty, not finite or of unequal length, the batch is larger than the data, a metric's name
            is taken, or the main metric has no direction.

    """

    name: str
    init: Callable[..., Any]
    loss: Callable[..., Any]
    train: Any
    validation: Any = None
    test: Any = None
    metrics: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    batch_size: int | None = None
    minimum: float | None = None
    predict: Callable[..., Any] | None = None
    factory: "Callable[..., Task] | None" = dataclasses.field(default=None, repr=False)
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    main_metric: str = LOSS
    augment: Callable[[Key, Batch], Batch] | None = None
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    rebuild: Callable[..., Any] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"A task's name must be a non-empty string, got {self.name!r}.")
        if not isinstance(self.metrics, Mapping):
            raise ArgumentTypeError(
                f"Task {self.name!r}: metrics must be a dict of functions, got {quoted(self.metrics)}."
            )
        for what, function in {"init": self.init, "loss": self.loss, **self.metrics}.items():
            if not callable(function):
                raise ArgumentTypeError(f"Task {self.name!r}: {what} must be a function, got {function!r}.")
        for what, function in {"predict": self.predict, "augment": self.augment}.items():
            if function is not None and not callable(function):
                raise ArgumentTypeError(f"Task {self.name!r}: {what} must be a function, got {quoted(function)}.")
        if self.augment is not None and self.train is None:
            raise ArgumentValueError(f"Task {self.name!r}: augment needs training data. Give train=, or leave it out.")
        if isinstance(self.minimum, Tracer):  # within a program, which does not need it
            object.__setattr__(self, "minimum", None)
        if self.minimum is not None:
            check_number(f"Task {self.name!r}: minimum", self.minimum)
        self._check_metrics()
        for split, whole in read_in(self).items():
            object.__setattr__(self, split, whole)
        examples = {split: count_examples(self, split) for split in SPLITS}
        if self.batch_size is None:
            return
        object.__setattr__(self, "batch_size", check_count(f"Task {self.name!r}: batch_size", self.batch_size))
        if examples["train"] is None:
            raise ArgumentValueError(f"Task {self.name!r}: batch_size needs training data in arrays; leave it None.")
        if self.batch_size > examples["train"]:
            raise ArgumentValueError(
                f"Task {self.name!r}: batch_size {self.batch_size} is larger than the {examples['train']} training "
                "examples. Choose a smaller one, or None for the full batch."
            )

    @functools.cached_property
    def feed(self) -> Feed | None:
        """The training data as the host reads them; None where programs take them as an argument, or generate them."""
        return feed_of(self.train, self.batch_size)

    def _check_metrics(self) -> None:
        where = f"Task {self.name!r}:"
        for name in self.metrics:
            if not isinstance(name, str):
                raise ArgumentTypeError(f"{where} the names of metrics must be strings, got {name!r}.")
            if name == LOSS:
                raise ArgumentValueError(
                    f"{where} a metric cannot be called 'loss': that is the task's own loss. Rename it."
                )
            check_name(f"{where} a metric", name)
        if self.main_metric not in (known := [LOSS, *self.metrics]):
            raise ArgumentValueError(
                f"{where} unknown main_metric {self.main_metric!r}. {nearest(str(self.main_metric), known)}"
            )
        if self.main_metric == LOSS:
            return
        if self.validation is None:
            raise ArgumentValueError(
                f"{where} main_metric {self.main_metric!r} needs validation data to be evaluated on. Give validation=, "
                "or leave main_metric out."
            )
        if direction_of(self.main_metric, self.metrics[self.main_metric]) is None:
            raise ArgumentValueError(
                f"{where} nothing says whether more or less of main_metric {self.main_metric!r} is better: write "
                f"metrics={{{self.main_metric!r}: jl.maximize(...)}} or jl.minimize(...)."
            )

    @property
    def data(self) -> tuple[Any, Any, Any]:
        """The splits as pytrees of arrays, which programs take as an argument.

        The training data are None where they are generated, or where the host reads them: see `feed`.
        """
        train = None if callable(self.train) or self.feed is not None else self.train
        if not (callable(self.validation) or callable(self.test)):
            return train, self.validation, self.test
        if settings() not in self._made:
            fixed = lambda split, seed: split(random_key(seed)) if callable(split) else split
            with jax.ensure_compile_time_eval():  # within a trace, they are data all the same
                self._made[settings()] = fixed(self.validation, 0), fixed(self.test, 1)
        return train, *self._made[settings()]

    @functools.cached_property
    def _made(self) -> dict[Any, tuple[Any, Any]]:
        """Validation and test data that functions made, by JAX's settings, on which they depend."""
        return {}

    @functools.cached_property
    def hyperparameters(self) -> dict[str, Any]:
        """What `loss` and `init` name for themselves, with the defaults."""
        found = {**asked(self.init, FIRST["init"]), **asked(self.loss, FIRST["loss"])}
        return {name: default for name, default in found.items() if name not in NAMES}

    @functools.cached_property
    def is_stateful(self) -> bool:
        """Whether the loss has a state."""
        return "state" in asked(self.loss, FIRST["loss"])

    @functools.cached_property
    def is_random(self) -> bool:
        """Whether the loss asks for a random key."""
        return "key" in asked(self.loss, FIRST["loss"])

    def batch(self, train: Any, key: Key, step: jax.Array) -> Batch:
        """Return the batch of `step`, a pure function of (key, step).

        `train` is `data[0]`; where the host reads the data, it is the batch of `step` before `augment`.
        """
        return self.take(train, self.draw(key, step))

    def draw(self, key: Key, step: jax.Array) -> Any:
        """Draw the batch of `step`: return a key, the examples' indices, or None.

        None means that every batch is the same, or that the host reads them: see `feed`. With `augment`, also return
        its key. Separate from `take`, so that a training loop can draw for many steps at once.
        """
        drawn = None
        if callable(self.train):
            drawn = jax.random.fold_in(key, step)
        elif self.batch_size is not None and self.feed is None:
            drawn = batch_indices(key, step, jax.tree.leaves(self.train)[0].shape[0], self.batch_size)
        if self.augment is None:
            return drawn
        return drawn, jax.random.fold_in(jax.random.fold_in(key, AUGMENTING), step)

    def take(self, train: Any, draw: Any) -> Batch:
        """Return the batch that `draw` describes; where the host reads the data, `draw` has the batch in its place."""
        if self.augment is not None:
            drawn, key = draw
            return self.augment(key, self._examples(train, drawn))
        return self._examples(train, draw)

    def _examples(self, train: Any, draw: Any) -> Batch:
        if draw is None:
            return train
        if self.feed is not None:
            return draw
        return self.train(draw) if callable(self.train) else jax.tree.map(lambda x: jnp.asarray(x)[draw], train)

    def replace(self, **arguments: Any) -> "Task":
        """Make the same task with other arguments: `jl.tasks.digits_mlp().replace(width=64)`.

        Raises:
            ValueError: The task was not made by a task function, or that function has no such argument.

        """
        if self.factory is None:
            raise ArgumentValueError(
                f"Task {self.name!r} was made directly, so it has no arguments to change ({', '.join(arguments)}). "
                "Pass a function that makes the task instead of the task."
            )
        return remake(self.factory, {**self.arguments, **arguments})


def count_examples(task: Task, split: str) -> int | None:
    """Count the examples of a split; None where it is not in arrays. Raises where the data are unusable."""
    data = getattr(task, split)
    if data is None or callable(data) or isinstance(data, Stream):
        return None
    return check_examples(f"Task {task.name!r}: {split} data", data)


def remake(factory: Callable[..., Task], arguments: Mapping[str, Any]) -> Task:
    """Call `factory(**arguments)` and record both in the task. Raises ValueError where an argument is unknown."""
    parameters = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in arguments:
            check_known(f"argument of task {getattr(factory, '__name__', factory)!r}:", name, parameters)
    name = getattr(factory, "__name__", type(factory).__name__)
    with calling(f"The task function {name!r}"):
        task = factory(**arguments)
    if not isinstance(task, Task):
        raise ArgumentTypeError(f"{name} must return a jl.Task, got {type(task).__name__}.")
    if task.factory is None:
        task = dataclasses.replace(task, factory=factory, arguments=dict(arguments))
    return task


def task_function(make: Callable[..., Task]) -> Callable[..., Task]:
    """Decorate a task function: its tasks record their arguments, and equal arguments return the same object."""
    signature = inspect.signature(make)

    @remembered(maxsize=32)
    def remembering(**arguments):
        return dataclasses.replace(make(**arguments), factory=made, arguments=arguments)

    @functools.wraps(make)
    def made(*args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentTypeError(f"Task function {make.__name__!r} takes {signature}: {error}.") from None
        bound.apply_defaults()
        return remembering(**bound.arguments)

    return made
