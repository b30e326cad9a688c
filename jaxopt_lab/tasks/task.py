"""Task: the objective to minimise, and its data."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_lab.checking import check_count, check_known, check_number, nearest, quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks._examples import check_examples
from jaxopt_lab.tasks.direction import direction_of
from jaxopt_lab.tasks.sampling import batch_indices
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.tracing.calling import calling
from jaxopt_lab.tracing.settings import settings
from jaxopt_lab.types import Batch, Key, Params, random_key

LOSS = "loss"  # the objective's name among the metrics
LOSS_CURVE = "train_loss"  # the first of a trial's curves
IN_FORCE = "_in_force"  # suffix of the curves of hyperparameters that change during a trial
SPLITS = ("train", "validation", "test")
QUARTILES = ("_q25", "_q75")  # suffixes of quartile columns in leaderboards
LONGEST_NAME = 200  # bytes of a metric's name: file systems take 255


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """An objective, its data, and how they are split.

    Args:
        name: Its name in results and pictures.
        init: Pure `init(key) -> params`, any pytree of floating-point arrays.
        loss: Pure `loss(params, batch) -> scalar`, the mean over the batch's examples; or `-> (scalar, aux)`, where aux
            is a dict of further scalars, each of which becomes a training curve under its name.
        train: A pytree of arrays with a leading example axis; or None for a deterministic objective, whose loss gets
            None as its batch; or a function `key -> batch` for endless synthetic data.
        validation: Like `train`; None where there is none. A function is called once, with the key of seed 0.
        test: Like `validation`, with the key of seed 1.
        metrics: `(params, batch) -> scalar` by name, evaluated on validation and test data. `jl.maximize(metric)` or
            `jl.minimize(metric)` states which way one is better; else the last words of its name do (accuracy, f1, auc,
            r2, score ...; loss, error, mse, brier_score ...). A metric without a direction cannot select anything.
        batch_size: Examples per training step; None takes all of them. Each epoch visits the examples in a new order.
        minimum: The smallest training loss (over all of `train`), where known.
        predict: `(params, inputs) -> outputs`, where batches are pairs (inputs, targets).
        factory: The function that made the task. It is set automatically.
        arguments: The arguments that `factory` was called with. They are set automatically.
        main_metric: The metric on validation data by which the best configuration, leaderboards, stop rules and
            pictures select by default. By default the loss: the training loss where there are no validation data.

    Raises:
        TypeError: Something that must be callable, or a string, is not, or data are not arrays of numbers.
        ValueError: Data are empty, not finite or of unequal length, the batch is larger than the data, a metric's name
            is taken, or the main metric has no direction.

    """

    name: str
    init: Callable[[Key], Params]
    loss: Callable[[Params, Batch], Any]
    train: Any
    validation: Any = None
    test: Any = None
    metrics: Mapping[str, Callable[[Params, Batch], Any]] = dataclasses.field(default_factory=dict)
    batch_size: int | None = None
    minimum: float | None = None
    predict: Callable[[Params, Any], Any] | None = None
    factory: "Callable[..., Task] | None" = dataclasses.field(default=None, repr=False)
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    main_metric: str = LOSS

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
        if self.predict is not None and not callable(self.predict):
            raise ArgumentTypeError(f"Task {self.name!r}: predict must be a function, got {quoted(self.predict)}.")
        if self.minimum is not None:
            check_number(f"Task {self.name!r}: minimum", self.minimum)
        self._check_metrics()
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
        """The splits as pytrees of arrays, which programs take as an argument; None for endless training data."""
        train = None if callable(self.train) else self.train
        if not (callable(self.validation) or callable(self.test)):
            return train, self.validation, self.test
        if settings() not in self._made:
            fixed = lambda split, seed: split(random_key(seed)) if callable(split) else split
            self._made[settings()] = fixed(self.validation, 0), fixed(self.test, 1)
        return train, *self._made[settings()]

    @functools.cached_property
    def _made(self) -> dict[Any, tuple[Any, Any]]:
        """Validation and test data that functions made, by JAX's settings, on which they depend."""
        return {}

    def loss_and_aux(self, params: Params, batch: Batch) -> tuple[Any, Mapping[str, Any]]:
        """Return the loss of a batch, and the further scalars that the loss function returns, by name."""
        result = self.loss(params, batch)
        return result if isinstance(result, tuple) else (result, {})

    @functools.cached_property
    def aux(self) -> tuple[str, ...]:
        """The names of the further scalars that the loss returns."""
        return tuple(jax.eval_shape(self.loss_and_aux, *shapes(self))[1])

    def batch(self, train: Any, key: Key, step: jax.Array) -> Batch:
        """Return the batch of `step`, a pure function of (key, step); `train` is `data[0]`."""
        return self.take(train, self.draw(key, step))

    def draw(self, key: Key, step: jax.Array) -> Any:
        """Draw the batch of `step`: return a key, the examples' indices, or None where every batch is the same.

        Separate from `take`, so that a training loop can draw for many steps at once.
        """
        if callable(self.train):
            return jax.random.fold_in(key, step)
        if self.batch_size is None:
            return None
        return batch_indices(key, step, jax.tree.leaves(self.train)[0].shape[0], self.batch_size)

    def take(self, train: Any, draw: Any) -> Batch:
        """Return the batch that `draw` describes."""
        if draw is None:
            return train
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


def check_name(what: str, name: str) -> None:
    """Raise where results cannot have `what`, a metric or a curve, under this name."""
    if not name or not name.isprintable() or set(name) & set("/\\") or len(name.encode()) > LONGEST_NAME:
        raise ArgumentValueError(
            f"{what} cannot be called {name!r:.80}: results have a file of that name, so it must have 1 to "
            f"{LONGEST_NAME} bytes, all printable, and no slash."
        )
    if name.endswith(QUARTILES):
        raise ArgumentValueError(f"{what} cannot be called {name!r}: leaderboards use this suffix for quartiles.")


def check_curve_name(what: str, name: Any) -> None:
    """Raise where `name`, given to a scalar that the loss returns, cannot be the name of a curve."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"{what}: the names of further scalars must be strings, got {name!r}.")
    check_name(f"{what}: a further scalar", name)
    if name == LOSS_CURVE or name.startswith(("validation_", "test_")) or name.endswith(IN_FORCE):
        raise ArgumentValueError(
            f"{what}: a further scalar cannot be called {name!r}: results use that name. Rename it."
        )


@remembered(maxsize=256)
def shapes(task: Task) -> tuple[Any, Any]:
    """Return the shapes and types of a trial's parameters and batch."""
    key = random_key(0)
    batch = lambda train: task.batch(train, key, jnp.int32(0))
    return jax.eval_shape(task.init, key), jax.eval_shape(batch, task.data[0])


def count_examples(task: Task, split: str) -> int | None:
    """Count the examples of a split; None where it is not in arrays. Raises where the data are unusable."""
    data = getattr(task, split)
    if data is None or callable(data):
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
