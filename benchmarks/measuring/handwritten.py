"""Hand-written training loops over Optax, for any task with training data in arrays."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import jaxopt_lab as jl

BATCH = 64


class Peers(NamedTuple):
    """Ways to train Adam at many learning rates; `learning_rates` and `keys` have an entry a trial, but for `shared`.

    Attributes:
        vmap: `jit(vmap(scan))` over (learning rate, key), each trial with batches of its own -> losses (trial, step).
        shared: The same, nested, so that all learning rates of a key share its batches -> losses (key, rate, step).
        loop: A Python loop over one jitted step that takes the learning rate as an argument -> a list of losses.
        rebuild: What is most often written: for each trial a new `optax.adam(learning_rate)` and a newly jitted step
            around it, which compiles again -> a list of losses.

    """

    vmap: Callable[..., Any]
    shared: Callable[..., Any]
    loop: Callable[..., Any]
    rebuild: Callable[..., Any]


def peers(task: jl.Task, steps: int) -> Peers:
    """All of them, freshly jitted: their first calls compile."""
    train = one_trial(task, steps)
    vmap = jax.jit(jax.vmap(train))
    shared = jax.jit(jax.vmap(jax.vmap(train, (0, None)), (None, 0)))
    step, jitted = _step(task), jax.jit(_step(task))

    def loop(learning_rates, keys):
        return [loss for rate, key in zip(learning_rates, keys, strict=True) for loss in steps_of(jitted, rate, key)]

    def rebuild(learning_rates, keys):
        losses = []
        for rate, key in zip(learning_rates, keys, strict=True):
            constant = jax.jit(lambda params, state, _, key, t, rate=float(rate): step(params, state, rate, key, t))
            losses += steps_of(constant, rate, key)
        return losses

    def steps_of(jitted, rate, key):
        params = task.init(key)
        state, losses = optax.adam(rate).init(params), []
        for t in range(steps):
            params, state, loss = jitted(params, state, rate, key, t)
            losses.append(loss)
        return losses

    return Peers(vmap, shared, loop, rebuild)


def one_trial(task: jl.Task, steps: int) -> Callable[..., jax.Array]:
    """A trial as a pure function (learning rate, key) -> the loss of every step."""
    step = _step(task)

    def train(learning_rate, key):
        def body(carry, t):
            params, state, loss = step(*carry, learning_rate, key, t)
            return (params, state), loss

        params = task.init(key)
        return jax.lax.scan(body, (params, optax.adam(learning_rate).init(params)), jnp.arange(steps))[1]

    return train


@functools.cache
def digits(width: int) -> jl.Task:
    """The digits network without held-out data, so that nothing but training is timed."""
    return dataclasses.replace(jl.tasks.digits_mlp(width=width, batch_size=BATCH), validation=None, test=None)


def batch_size(task: jl.Task) -> int:
    """Examples a step."""
    return task.batch_size or len(task.train[0])


def _step(task: jl.Task) -> Callable[..., Any]:
    """A step of Adam on a batch drawn uniformly, with replacement."""
    x, y = (jnp.asarray(a) for a in task.train)

    def step(params, state, learning_rate, key, t):
        index = jax.random.randint(jax.random.fold_in(key, t), (batch_size(task),), 0, len(x))
        loss, grads = jax.value_and_grad(task.loss)(params, (x[index], y[index]))
        updates, state = optax.adam(learning_rate).update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    return step
