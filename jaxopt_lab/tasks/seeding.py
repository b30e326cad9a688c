"""What a trial draws from its seed's key: initial parameters, batches, and the keys of the optimizer and the loss."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.tasks.calls import start
from jaxopt_lab.tasks.sampling import batch_key as batch_key
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import Key, Params


def initial(task: Task, key: Key) -> tuple[Params, Any]:
    """Return the initial parameters, and the loss's initial state, of all trials of the task and key."""
    return jax.tree.map(jnp.asarray, start(task, jax.random.fold_in(key, 0)))


def initial_params(task: Task, key: Key) -> Params:
    """Return the initial parameters of all trials of the task and key, which do not depend on the optimizer."""
    return initial(task, key)[0]


def noise_key(key: Key) -> Key:
    """Return the key for an optimizer's own random numbers."""
    return jax.random.fold_in(key, 2)


def loss_key(task: Task, key: Key, t: Int[Array, ""]) -> Key | None:
    """Return the loss's key for step `t`, which does not depend on the optimizer; None where it asks for none."""
    return jax.random.fold_in(jax.random.fold_in(key, 3), t) if task.is_random else None


class Keys(NamedTuple):
    """The random keys of a step."""

    optimizer: Key
    loss: Key | None


def draws(task: Task, key: Key, first: Int[Array, ""], length: int) -> tuple[Any, Keys]:
    """Draw batches and keys for `length` steps from `first` on, stacked, for `Trial.advance`.

    This is separate from the loop over steps, in which drawing is slow on a GPU, and does not depend on the optimizer.
    """

    def draw(t: Int[Array, ""]) -> tuple[Any, Keys]:
        keys = Keys(jax.random.fold_in(noise_key(key), t), loss_key(task, key, t))
        return task.draw(batch_key(key), t), keys

    return jax.vmap(draw)(first + jnp.arange(length, dtype=jnp.int32))
