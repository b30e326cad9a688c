"""One trial as a pure function: (optimizer, task, seed) -> curves. The only training loop; it handles one trial."""

import dataclasses
import enum
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxopt_lab import diagnostics as measuring
from jaxopt_lab.tasks import calls
from jaxopt_lab.tasks.names import IN_FORCE, LOSS, LOSS_CURVE, SPLITS
from jaxopt_lab.tasks.seeding import Keys, batch_key, loss_key
from jaxopt_lab.tasks.seeding import initial_params as initial_params
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import Batch, Key, Params
from jaxopt_lab.updating import answer as answer
from jaxopt_lab.updating import answers_elsewhere as answers_elsewhere
from jaxopt_lab.updating import extras, updated


class Status(enum.IntEnum):
    """The status of a trial; `text` is its name in results and tables."""

    RUNNING = 0
    COMPLETED = 1
    REACHED = 2
    CONVERGED = 3
    DIVERGED = 4
    INTERRUPTED = 5
    STOPPED = 6
    PLATEAU = 7
    FAILED = 8

    @property
    def text(self) -> str:
        return self.name.lower()


STATUSES = tuple(status.text for status in Status)


class Skips(NamedTuple):
    in_a_row: Int[Array, ""]  # steps skipped since the last step that was made
    total: Int[Array, ""]  # steps skipped so far

    def counted(self, sound: Array) -> "Skips":
        """Count one more step, which is skipped unless it is sound."""
        return Skips(jnp.where(sound, 0, self.in_a_row + 1), self.total + ~sound)


Info = dict[str, Array]
"""Named scalars of a step: its training loss, the loss's further scalars, diagnostics, hyperparameters in force."""


class TrialState(NamedTuple):
    params: Params
    model: Any  # the loss's own state, such as batch statistics; None where it has none
    optimizer: Any  # the optimizer's state, valid while the trial runs
    status: Int[Array, ""]  # a `Status`
    steps: Int[Array, ""]  # steps made, including skipped ones; for a diverged trial, the number of its first bad step
    info: Info  # the last values: the last finite training loss, +inf once diverged; others NaN before the first step
    bound: Float[Array, ""]  # a training loss above it is divergence; +inf until the first finite loss sets it
    skips: Skips | None  # None where the trial may not skip steps
    values: Mapping[str, Float[Array, ""]]  # its numeric hyperparameters by name, which a stop rule may change
    best: Any = None  # what is kept of its best step: see `engine.keeping`; None where its last parameters are kept
    watched: Any = None  # what diagnostics keep from step to step; None where they keep nothing

    @property
    def loss(self) -> Float[Array, ""]:
        """The last finite training loss; +inf once diverged."""
        return self.info[LOSS_CURVE]


class Seen(NamedTuple):
    """The result of an evaluation: the status, the info of the next step, losses and metrics by name."""

    status: Int[Array, ""]
    info: Info
    held_out: dict[str, Array]


class Stop(NamedTuple):
    """When a trial ends before its budget.

    Attributes:
        target: The trial is reached when its training loss (of the step's batch) is at most this.
        tolerance: The trial is converged when the Euclidean norm of an update is at most this; None disables the check.
        rise: The trial diverges when its training loss is more than rise * (1 + |first loss|) above the first.
        ceiling: The trial diverges when its training loss is above this.
        skips: How many successive steps with a non-finite loss or gradient are skipped before the next one counts as
            divergence; None skips none, and checks the loss only.

    """

    target: Float[Array, ""] | float = -jnp.inf
    tolerance: Float[Array, ""] | float | None = None
    rise: Float[Array, ""] | float = jnp.inf
    ceiling: Float[Array, ""] | float = jnp.inf
    skips: Int[Array, ""] | np.integer | int | None = None

    def bound(self, first: Float[Array, ""]) -> Float[Array, ""]:
        """Return the largest training loss that is not divergence, given the first one, which is finite."""
        return first + self.rise * (1 + jnp.abs(first))


NEVER = Stop()
RISE = 1e6  # the default of a sweep


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training run as pure functions of its state.

    `data` is `task.data`, and `key` is `random_key(seed)`: all configurations of a seed share parameters and batches.

    Attributes:
        optimizer: The (init, update) pair.
        task: The task to minimise.
        stop: When the trial ends before its budget.
        in_force: Hyperparameters that change, by name: functions from the optimizer's step count to the value.
        diagnostics: What is measured in its steps, beside the loss.
        preconditioner: A function of the optimizer's state that gives the diagonal which divides its step, if known.

    """

    optimizer: optax.GradientTransformation
    task: Task
    stop: Stop = NEVER
    in_force: Mapping[str, Callable[[Array], Any]] = dataclasses.field(default_factory=dict)
    diagnostics: tuple[measuring.Diagnostic, ...] = ()
    preconditioner: Callable[[Any], Params] | None = None

    def start(self, params: Params, model: Any = None, values: Mapping[str, Any] | None = None) -> TrialState:
        """Make the state before the first step, with the loss's state; `values` are numeric hyperparameters by name."""
        zero, infinity = jnp.zeros([], jnp.int32), jnp.full([], jnp.inf, float)
        skips = None if self.stop.skips is None else Skips(zero, zero)
        further = *calls.aux(self.task), *measuring.curves(self.diagnostics, params)
        unknown = {name: jnp.full([], jnp.nan, float) for name in further}
        return TrialState(
            params=params,
            model=model,
            optimizer=self.optimizer.init(params),
            status=zero + Status.RUNNING,
            steps=zero,
            info={LOSS_CURVE: infinity, **unknown, **self._in_force(zero)},
            bound=infinity,
            skips=skips,
            values=dict(values or {}),
            watched=measuring.start(self.diagnostics),
        )

    def step(self, state: TrialState, t: Int[Array, ""], batch: Batch, keys: Keys) -> tuple[TrialState, Info]:
        """Make step `t` (from 0); return the state and the prior info.

        A step whose loss ends the trial leaves the parameters and the loss's state unchanged, and so do all later steps
        and skipped ones.
        """
        see = lambda params: calls.evaluate(self.task, params, batch, state.model, keys.loss)

        def with_others(params):
            seen = see(params)
            return seen.loss, (seen.state, seen.aux)

        (loss, (model, aux)), grads = jax.value_and_grad(with_others, has_aux=True)(state.params)
        loss, grads = jnp.asarray(loss), jax.tree.map(_ascent, grads)  # a constant loss may be a Python number
        model = jax.tree.map(lambda new, old: jnp.asarray(new).astype(old.dtype), model, state.model)
        extra = extras(lambda params: see(params).loss, state.params, loss, grads, keys.optimizer)
        updates, optimizer_state = updated(self.optimizer, grads, state.optimizer, state.params, extra)
        params = optax.apply_updates(state.params, updates)
        first = jnp.isinf(state.loss) & jnp.isfinite(loss)
        bound = jnp.where(first, self.stop.bound(loss.astype(state.bound.dtype)), state.bound)
        skips = None if state.skips is None else state.skips.counted(jnp.isfinite(loss) & _all_finite(grads))
        measured, watched = self._measured(state, t, keys, grads, updates, optimizer_state, batch)
        status, info = self._judge(state, loss, {**aux, **measured}, skips)
        moves = running = status == Status.RUNNING
        seen = info
        if skips is not None and state.skips is not None:
            seen = info | {LOSS_CURVE: jnp.where(running & ~jnp.isfinite(loss), jnp.inf, info[LOSS_CURVE])}
            skips = _choose(running, skips, state.skips)
            moves = running & (skips.in_a_row == 0)
        if self.stop.tolerance is not None:
            status = jnp.where(moves & (optax.tree.norm(updates) <= self.stop.tolerance), Status.CONVERGED, status)
        if skips is not None or answers_elsewhere(optimizer_state):
            optimizer_state = _choose(moves, optimizer_state, state.optimizer)
        steps = jnp.where(running, t + 1, state.steps)
        state = state._replace(
            params=_choose(moves, params, state.params),
            model=_choose(moves, model, state.model),
            optimizer=optimizer_state,  # otherwise unused once the trial has ended, so it may change
            status=status,
            steps=steps,
            info=info | self._in_force(steps if skips is None else steps - skips.total),
            bound=bound,
            skips=skips,
            watched=watched,
        )
        return state, seen

    def advance(
        self,
        state: TrialState,
        draws: tuple[Any, Keys],
        first: Int[Array, ""],
        count: Int[Array, ""] | int,
        data: Any,
        length: int,
        offset: Int[Array, ""] | int = 0,
        loop: Callable[..., Any] = jax.lax.fori_loop,
    ) -> tuple[TrialState, Info]:
        """Make `count` steps (at most `length`) from `first` on; return the state, and curves of the info before each.

        Curves are NaN for steps not made. `draws[offset:]` are `draws(task, key, first, length)`. With a constant
        `count`, an accelerator need not ask its host at each iteration whether to continue. `loop`: as `fori_loop`.
        """

        def turn(i, carry, trial=self):
            state, curves = carry
            drawn, keys = jax.tree.map(lambda x: x[i + offset], draws)
            state, info = trial.step(state, first + i, self.task.take(data[0], drawn), keys)
            return state, {name: curve.at[i].set(info[name]) for name, curve in curves.items()}

        curves = {name: jnp.full((length,), jnp.nan, x.dtype) for name, x in state.info.items()}
        values, best, state = state.values, state.best, state._replace(values={}, best=None)  # no step changes them
        plain = functools.partial(turn, trial=dataclasses.replace(self, diagnostics=()))
        bad = lambda state: jnp.where(state.status == Status.DIVERGED, state.steps, jnp.iinfo(jnp.int32).max)
        state, curves = measuring.advanced(self.diagnostics, plain, turn, (state, curves), first, count, loop, bad)
        return state._replace(values=values, best=best), curves

    def evaluate(self, state: TrialState, key: Key, t: Int[Array, ""], data: Any) -> Seen:
        """Evaluate status and info after `t` steps (on batch `t`), and losses and metrics on the held-out splits.

        Held-out splits are evaluated at the method's `answer`, the training loss at the point of its gradients.
        `state.optimizer` may be None where both are the same. Where the next step would be skipped, the training loss
        is the last finite one. A diverged trial's losses are +inf and its metrics NaN, whatever its parameters give.
        """
        batch = self.task.batch(data[0], batch_key(key), t)
        loss, _, aux = calls.evaluate(self.task, state.params, batch, state.model, loss_key(self.task, key, t))
        skips = None if state.skips is None else state.skips.counted(jnp.isfinite(jnp.asarray(loss)))
        held = {n: x for n, x in state.info.items() if n not in (LOSS_CURVE, *aux) and not n.endswith(IN_FORCE)}
        status, info = self._judge(state, jnp.asarray(loss), {**aux, **held}, skips)
        return Seen(status, info, self.evaluate_held_out(state, status, data[1:]))

    def evaluate_held_out(self, state: TrialState, status: Int[Array, ""], held_out: Any) -> dict[str, Any]:
        """Evaluate losses and metrics on (validation, test) data, for a trial with this status from `evaluate`."""
        params, diverged, values = answer(state.optimizer, state.params), status == Status.DIVERGED, {}
        for split, batch in zip(SPLITS[1:], held_out, strict=True):
            if batch is None:
                continue
            for name in (LOSS, *self.task.metrics):
                lost = jnp.inf if name == LOSS else jnp.nan
                found = calls.measure(self.task, name, params, batch, state.model)
                values[f"{split}_{name}"] = jnp.where(diverged, lost, found)
        return values

    def _judge(self, state: TrialState, loss: Array, aux: Mapping[str, Any], skips: Skips | None) -> tuple[Array, Info]:
        """Return the status after `loss`, which `skips` has counted, and the last values; an ended trial keeps both."""
        finite, running = jnp.isfinite(loss), state.status == Status.RUNNING
        reached = finite & (loss <= self.stop.target)
        lost, last, above = ~finite, loss, (loss > state.bound) | (loss > self.stop.ceiling)
        if skips is not None and self.stop.skips is not None:  # an infinite loss may be skipped, so it is not above
            lost, last, above = skips.in_a_row > self.stop.skips, jnp.where(finite, loss, state.loss), above & finite
        diverged = ~reached & (lost | above)
        status = jnp.where(reached, Status.REACHED, jnp.where(diverged, Status.DIVERGED, Status.RUNNING))
        last = jnp.where(running, jnp.where(diverged, jnp.inf, last), state.loss)
        info = state.info | {LOSS_CURVE: last.astype(state.loss.dtype)}
        for name, value in aux.items():
            kept = jnp.where(running, jnp.where(diverged, jnp.nan, value), state.info[name])
            info[name] = kept.astype(state.info[name].dtype)
        return jnp.where(running, status, state.status).astype(jnp.int32), info

    def _measured(self, state: TrialState, t: Array, keys: Keys, *seen: Any) -> tuple[Info, Any]:
        """Return the diagnostics' values in step `t`, and what they keep; `seen` comes after params in their `Step`."""
        loss = lambda params, batch: calls.evaluate(self.task, params, batch, state.model, keys.loss).loss
        gradient = lambda params, batch: jax.tree.map(_ascent, jax.grad(loss)(params, batch))
        step = measuring.Step(state.params, *seen, gradient=gradient, preconditioner=self.preconditioner)
        return measuring.measured(self.diagnostics, step, t, state.info, state.watched)

    def _in_force(self, taken: Int[Array, ""]) -> Info:
        """Return the values of changing hyperparameters after the optimizer has taken `taken` steps."""
        return {f"{name}{IN_FORCE}": jnp.asarray(at(taken), float) for name, at in self.in_force.items()}


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), new, old)


def _ascent(gradient: Array) -> Array:
    """Return the direction of steepest ascent: JAX's gradient, or its conjugate for a complex parameter."""
    return jnp.conj(gradient) if jnp.iscomplexobj(gradient) else gradient


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
