"""Hand-written loops over Optax for a task whose loss may name a key and a state, with learning rates and seeds."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_lab as jl
from jaxopt_lab.tasks.calls import evaluate
from jaxopt_lab.tasks.seeding import draws, initial
from jaxopt_lab.types import random_key

Train = Callable[[np.ndarray, np.ndarray, int], Any]
"""`train(learning_rates, seeds, steps)` trains their product, and returns losses: (learning rate, seed, step)."""


def handwritten(task: jl.Task, one_core: bool) -> dict[str, Train]:
    """The ways over Optax by name, freshly jitted, on one core each or on all."""
    data = jax.tree.map(jnp.asarray, task.train)
    options = {"xla_cpu_multi_thread_eigen": False} if one_core else {}

    def start(seed):
        params, state = initial(task, random_key(seed))
        return params, state, optax.adam(0.0).init(params)  # which does not depend on the learning rate

    def drawn_for(seed, steps):
        indices, keys = draws(task, random_key(seed), jnp.int32(0), steps)
        return indices, keys.loss

    def step(carry, learning_rate, drawn):
        params, state, moments = carry
        indices, key = drawn

        def loss_of(params):
            seen = evaluate(task, params, task.take(data, indices), state, key)
            return seen.loss, seen.state

        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, moments = optax.adam(learning_rate).update(grads, moments, params)
        return (optax.apply_updates(params, updates), state, moments), loss

    def train(learning_rate, seed, steps):
        body = lambda carry, drawn: step(carry, learning_rate, drawn)
        return jax.lax.scan(body, start(seed), drawn_for(seed, steps))[1]

    def own(learning_rates, seeds, steps):
        rates, repeated = jnp.repeat(learning_rates, len(seeds)), jnp.tile(seeds, len(learning_rates))
        losses = jax.vmap(lambda rate, seed: train(rate, seed, steps))(rates, repeated)
        return losses.reshape(len(learning_rates), len(seeds), steps)

    def shared(learning_rates, seeds, steps):
        of_seed = lambda seed: jax.vmap(lambda rate: train(rate, seed, steps), out_axes=0)(learning_rates)
        return jax.vmap(of_seed, out_axes=1)(seeds)

    jitted = lambda function, **more: jax.jit(function, compiler_options=options, **more)
    scan_one, scan_own, scan_shared = (jitted(f, static_argnums=2) for f in (train, own, shared))
    start_one, draw_all = jax.jit(start), jax.jit(drawn_for, static_argnums=1)
    step_at = lambda carry, rate, drawn, t: step(carry, rate, jax.tree.map(lambda x: x[t], drawn))
    step_one = jitted(step_at, donate_argnums=0)

    def scan(learning_rates, seeds, steps):
        return [[scan_one(rate, seed, steps) for seed in seeds] for rate in learning_rates]

    def loop(learning_rates, seeds, steps):
        drawn = [draw_all(seed, steps) for seed in seeds]

        def trial(rate, seed, drawn):
            carry, losses = start_one(seed), []
            for t in range(steps):
                carry, loss = step_one(carry, rate, drawn, t)
                losses.append(loss)
            return losses

        pairs = list(zip(seeds, drawn, strict=True))
        return [[trial(rate, seed, drawn) for seed, drawn in pairs] for rate in learning_rates]

    return {"vmapped scan": scan_own, "vmapped scan, shared": scan_shared, "scan": scan, "loop": loop}


def in_threads(train: Train, threads: int) -> Train:
    """Make the same way with a part of the learning rates in each thread."""

    def threaded(learning_rates, seeds, steps):
        # Waiting inside the threads: on a CPU a call returns before its computation ends.
        run = lambda part: jax.block_until_ready(train(part, seeds, steps))
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(run, np.array_split(learning_rates, threads)))
        return [losses for part in parts for losses in part]

    return threaded
