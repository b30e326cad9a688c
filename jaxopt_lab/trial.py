"""One trial, pure: (optimizer, task, seed) -> curve. The only training loop; nothing here knows of other trials."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxopt_lab.tasks.task import SPLITS, Task
from jaxopt_lab.types import Batch, Key, Params

ENDINGS = ("completed", "reached", "converged", "diverged", "interrupted", "stopped", "plateau", "failed")
STATUSES = ("running", *ENDINGS)
RUNNING, COMPLETED, REACHED, CONVERGED, DIVERGED, INTERRUPTED, STOPPED, PLATEAU, FAILED = range(len(STATUSES))


class TrialState(NamedTuple):
    params: Params
    optimizer: Any  # the optimizer's state, as long as the trial runs
    status: Int[Array, ""]  # index into STATUSES
    steps: Int[Array, ""]  # updates applied; where the trial diverged, its first step with a non-finite loss
    loss: Float[Array, ""]  # the last training loss; +inf once diverged


class Stop(NamedTuple):
    """When a trial ends before its budget.

    Attributes:
        target: A training loss (of the step's batch) at or under it means reached.
        tolerance: A step whose Euclidean norm is at or under it means converged; None never asks.

    """

    target: Float[Array, ""] | float = -jnp.inf
    tolerance: Float[Array, ""] | float | None = None


NEVER = Stop()


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

    `data` is `task.data`; `key` is the trial's, `jax.random.key(seed)`: initial parameters and batches are folded from
    it, so that all configurations of a seed share both.
    """

    optimizer: optax.GradientTransformation
    task: Task
    stop: Stop = NEVER

    def start(self, params: Params) -> TrialState:
        """The state before the first step, from `initial_params`."""
        zero = jnp.zeros([], jnp.int32)
        return TrialState(params, self.optimizer.init(params), zero + RUNNING, zero, jnp.full([], jnp.inf, float))

    def step(self, state: TrialState, t: Int[Array, ""], batch: Batch, key: Key) -> TrialState:
        """Step number `t`, from 0, `key` for random numbers of the optimizer's own.

        A loss that ends the trial leaves the parameters alone, as does every step after.
        """
        objective = lambda params, key=None: self.task.loss(
            params, batch
        )  # Optax's line searches hand on what they get
        loss, grads = jax.value_and_grad(objective)(state.params)
        update = optax.with_extra_args_support(self.optimizer).update
        updates, optimizer_state = update(
            grads, state.optimizer, state.params, value=loss, grad=grads, value_fn=objective, key=key
        )
        params = optax.apply_updates(state.params, updates)
        status, loss = self._judge(state.status, state.loss, loss)
        running = status == RUNNING
        if self.stop.tolerance is not None:
            status = jnp.where(running & (optax.tree.norm(updates) <= self.stop.tolerance), CONVERGED, status)
        if answers_elsewhere(optimizer_state):
            optimizer_state = _choose(running, optimizer_state, state.optimizer)
        return TrialState(
            params=_choose(running, params, state.params),
            optimizer=optimizer_state,  # else nobody asks of it once the trial has ended, so it need not stay
            status=status,
            steps=jnp.where(running, t + 1, state.steps),
            loss=loss,
        )

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
            state = self.step(state, first + i, self.task.take(data[0], drawn), key)
            return state, losses.at[i].set(state.loss)

        return loop(0, count, turn, (state, jnp.full((length,), jnp.nan, state.loss.dtype)))

    def evaluate(self, state: TrialState, key: Key, t: Int[Array, ""], data: Any) -> dict[str, Any]:
        """Status and training loss after `t` steps (of batch `t`), and losses and metrics on the held-out splits.

        Held-out splits at the method's `answer`, the training loss where its gradients are taken. `state.optimizer` may
        be left out where both are the same. A diverged trial's losses are +inf and its metrics NaN, whatever its frozen
        parameters would give.
        """
        batch = self.task.batch(data[0], batch_key(key), t)
        status, train_loss = self._judge(state.status, state.loss, self.task.loss(state.params, batch))
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

    def _judge(self, status: Array, last_loss: Array, loss: Array) -> tuple[Array, Array]:
        """The status after seeing `loss`, and the loss to report: a trial that had stopped keeps both."""
        finite = jnp.isfinite(loss)
        verdict = jnp.where(finite, jnp.where(loss <= self.stop.target, REACHED, RUNNING), DIVERGED)
        running = status == RUNNING
        status = jnp.where(running, verdict, status).astype(jnp.int32)
        return status, jnp.where(running, jnp.where(finite, loss, jnp.inf), last_loss).astype(last_loss.dtype)


def _choose(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), new, old)
