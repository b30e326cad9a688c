"""One trial, pure: (optimizer, task, seed) -> curve. The only training loop; nothing here knows of other trials."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxopt_lab.optimizers import filled
from jaxopt_lab.tasks.task import SPLITS, Task
from jaxopt_lab.types import Batch, Key, Params
from jaxopt_lab.updating import updated

ENDINGS = ("completed", "reached", "converged", "diverged", "interrupted", "stopped", "plateau", "failed")
STATUSES = ("running", *ENDINGS)
RUNNING, COMPLETED, REACHED, CONVERGED, DIVERGED, INTERRUPTED, STOPPED, PLATEAU, FAILED = range(len(STATUSES))


class Skips(NamedTuple):
    in_a_row: Int[Array, ""]  # steps skipped since the last one that was not
    total: Int[Array, ""]  # steps skipped so far

    def counted(self, sound: Array) -> "Skips":
        """With one more step, which is skipped unless it is sound."""
        return Skips(jnp.where(sound, 0, self.in_a_row + 1), self.total + ~sound)


class TrialState(NamedTuple):
    params: Params
    optimizer: Any  # the optimizer's state, as long as the trial runs
    status: Int[Array, ""]  # index into STATUSES
    steps: Int[Array, ""]  # steps made, skipped ones included; where the trial diverged, the number of that step
    loss: Float[Array, ""]  # the last finite training loss; +inf once diverged
    bound: Float[Array, ""]  # a training loss above it is divergence; +inf before the first finite one has set it
    skips: Skips | None  # where the trial may skip steps


class Stop(NamedTuple):
    """When a trial ends before its budget.

    Attributes:
        target: A training loss (of the step's batch) at or under it means reached.
        tolerance: A step whose Euclidean norm is at or under it means converged; None never asks.
        rise: A training loss more than rise * (1 + |first loss|) above the first means diverged.
        ceiling: So does a training loss above it.
        skips: How many steps in a row with a loss or gradient that is not finite are skipped before the next one means
            diverged; None skips none, and looks at the loss alone.

    """

    target: Float[Array, ""] | float = -jnp.inf
    tolerance: Float[Array, ""] | float | None = None
    rise: Float[Array, ""] | float = jnp.inf
    ceiling: Float[Array, ""] | float = jnp.inf
    skips: Int[Array, ""] | np.integer | int | None = None

    def bound(self, first: Float[Array, ""]) -> Float[Array, ""]:
        """What training losses may rise to from the first one, which is finite."""
        return first + self.rise * (1 + jnp.abs(first))


NEVER = Stop()
RISE = 1e6  # a sweep's, unless it is told otherwise


def initial_params(task: Task, key: Key) -> Params:
    """Where every trial of the task and key starts, whatever its optimizer."""
    return jax.tree.map(jnp.asarray, task.init(jax.random.fold_in(key, 0)))


def batch_key(key: Key) -> Key:
    """What the batches of a trial are drawn by, whatever its optimizer."""
    return jax.random.fold_in(key, 1)


def noise_key(key: Key) -> Key:
    """What an optimizer's own random numbers are drawn by."""
    return jax.random.fold_in(key, 2)


def draws(task: Task, key: Key, first: Int[Array, ""], length: int) -> Any:
    """The task's draws and the optimizer's keys for `length` steps from `first` on, stacked, for `Trial.advance`.

    Apart from the loop over steps, where drawing would cost a GPU dear, and from the optimizer, which it does not ask.
    """
    draw = lambda t: (task.draw(batch_key(key), t), jax.random.fold_in(noise_key(key), t))
    return jax.vmap(draw)(first + jnp.arange(length, dtype=jnp.int32))


def answers_elsewhere(optimizer_state: Any) -> bool:
    """Whether the method's answer is not the point at which it takes gradients: see `answer`."""
    return bool(_answering(optimizer_state))


def answer(optimizer_state: Any, params: Params) -> Params:
    """The parameters that a method would be used with: its own, or what its state makes of them.

    A state says so by a method `evaluation_params(params)`, wherever it is in a chain.
    """
    for state in _answering(optimizer_state):
        params = state.evaluation_params(params) if hasattr(state, "evaluation_params") else _of_optax(state, params)
    return params


def _answering(optimizer_state: Any) -> list[Any]:
    answers = lambda x: hasattr(x, "evaluation_params") or type(x).__name__ == "ScheduleFreeState"  # Optax's
    return [x for x in jax.tree.leaves(optimizer_state, is_leaf=answers) if answers(x)]


def _of_optax(state: Any, params: Params) -> Params:
    from optax.contrib import schedule_free_eval_params

    return schedule_free_eval_params(state, params)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training run as pure functions of its state.

    `data` is `task.data`; `key` is the trial's, `random_key(seed)`: initial parameters and batches are folded from
    it, so that all configurations of a seed share both.
    """

    optimizer: optax.GradientTransformation
    task: Task
    stop: Stop = NEVER

    def start(self, params: Params) -> TrialState:
        """The state before the first step, from `initial_params`."""
        zero, infinity = jnp.zeros([], jnp.int32), jnp.full([], jnp.inf, float)
        skips = None if self.stop.skips is None else Skips(zero, zero)
        return TrialState(params, self.optimizer.init(params), zero + RUNNING, zero, infinity, infinity, skips)

    def step(self, state: TrialState, t: Int[Array, ""], batch: Batch, key: Key) -> tuple[TrialState, Array]:
        """Step number `t`, from 0, `key` for random numbers of the optimizer's own; and the training loss before it.

        A loss that ends the trial leaves the parameters alone, as does every step after, and as does a skipped step.
        """
        # Optax's line searches hand on what they get; within optax.partition a method sees some parameters only.
        objective = filled(lambda params, key=None, obj_fn=None: self.task.loss(params, batch), state.params)
        loss, grads = jax.value_and_grad(objective)(state.params)
        loss, grads = jnp.asarray(loss), jax.tree.map(_ascent, grads)  # a constant loss may be a Python number
        extra = {"value": loss, "grad": grads, "value_fn": objective, "obj_fn": objective, "key": key}
        updates, optimizer_state = updated(self.optimizer, grads, state.optimizer, state.params, extra)
        params = optax.apply_updates(state.params, updates)
        first = jnp.isinf(state.loss) & jnp.isfinite(loss)
        bound = jnp.where(first, self.stop.bound(loss.astype(state.bound.dtype)), state.bound)
        skips = None if state.skips is None else state.skips.counted(jnp.isfinite(loss) & _all_finite(grads))
        status, last_loss = self._judge(state, loss, skips)
        moves = running = status == RUNNING
        seen = last_loss
        if skips is not None and state.skips is not None:
            seen = jnp.where(running & ~jnp.isfinite(loss), jnp.inf, last_loss)
            skips = _choose(running, skips, state.skips)
            moves = running & (skips.in_a_row == 0)
        if self.stop.tolerance is not None:
            status = jnp.where(moves & (optax.tree.norm(updates) <= self.stop.tolerance), CONVERGED, status)
        if skips is not None or answers_elsewhere(optimizer_state):
            optimizer_state = _choose(moves, optimizer_state, state.optimizer)
        state = TrialState(
            params=_choose(moves, params, state.params),
            optimizer=optimizer_state,  # else nobody asks of it once the trial has ended, so it need not stay
            status=status,
            steps=jnp.where(running, t + 1, state.steps),
            loss=last_loss,
            bound=bound,
            skips=skips,
        )
        return state, seen

    def advance(
        self,
        state: TrialState,
        draws: Any,
        first: Int[Array, ""],
        count: Int[Array, ""] | int,
        data: Any,
        length: int,
        offset: Int[Array, ""] | int = 0,
        loop: Callable[..., Any] = jax.lax.fori_loop,
    ) -> tuple[TrialState, Float[Array, " length"]]:
        """`count` steps from `first` on, at most `length`, and the training loss before each; NaN for those not made.

        `draws[offset:]` are `draws(task, key, first, length)`. A `count` that the compiler knows spares an accelerator
        to ask its host at each turn whether to go on. `loop` is `jax.lax.fori_loop`, or does as it does.
        """

        def turn(i, carry):
            state, losses = carry
            drawn, key = jax.tree.map(lambda x: x[i + offset], draws)
            state, loss = self.step(state, first + i, self.task.take(data[0], drawn), key)
            return state, losses.at[i].set(loss)

        return loop(0, count, turn, (state, jnp.full((length,), jnp.nan, state.loss.dtype)))

    def evaluate(self, state: TrialState, key: Key, t: Int[Array, ""], data: Any) -> dict[str, Any]:
        """Status and training loss after `t` steps (of batch `t`), and losses and metrics on the held-out splits.

        Held-out splits at the method's `answer`, the training loss where its gradients are taken. `state.optimizer` may
        be left out where both are the same. Where the step that follows would be skipped, the training loss is the last
        finite one. A diverged trial's losses are +inf and its metrics NaN, whatever its frozen parameters would give.
        """
        loss = jnp.asarray(self.task.loss(state.params, self.task.batch(data[0], batch_key(key), t)))
        skips = None if state.skips is None else state.skips.counted(jnp.isfinite(loss))
        status, train_loss = self._judge(state, loss, skips)
        return {"status": status, "train_loss": train_loss} | self.evaluate_held_out(state, status, data[1:])

    def evaluate_held_out(self, state: TrialState, status: Int[Array, ""], held_out: Any) -> dict[str, Any]:
        """Losses and metrics on (validation, test) data of a trial that `evaluate` found to have this status."""
        params, diverged, values = answer(state.optimizer, state.params), status == DIVERGED, {}
        for split, batch in zip(SPLITS[1:], held_out, strict=True):
            if batch is None:
                continue
            values[f"{split}_loss"] = jnp.where(diverged, jnp.inf, self.task.loss(params, batch))
            for name, metric in self.task.metrics.items():
                values[f"{split}_{name}"] = jnp.where(diverged, jnp.nan, metric(params, batch))
        return values

    def _judge(self, state: TrialState, loss: Array, skips: Skips | None) -> tuple[Array, Array]:
        """The status after seeing `loss`, and the last finite loss: a trial that had stopped keeps both.

        `skips` counts the step that the loss is of as one to be skipped, if it is.
        """
        finite, running = jnp.isfinite(loss), state.status == RUNNING
        reached = finite & (loss <= self.stop.target)
        lost, last = ~finite, loss
        if skips is not None and self.stop.skips is not None:
            lost, last = skips.in_a_row > self.stop.skips, jnp.where(finite, loss, state.loss)
        diverged = ~reached & (lost | (loss > state.bound) | (loss > self.stop.ceiling))
        status = jnp.where(reached, REACHED, jnp.where(diverged, DIVERGED, RUNNING))
        last = jnp.where(running, jnp.where(diverged, jnp.inf, last), state.loss)
        return jnp.where(running, status, state.status).astype(jnp.int32), last.astype(state.loss.dtype)


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), new, old)


def _ascent(gradient: Array) -> Array:
    """The direction of steepest ascent: JAX's gradient, which for a complex parameter is its conjugate."""
    return jnp.conj(gradient) if jnp.iscomplexobj(gradient) else gradient


def _all_finite(tree: Any) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))
