"""How fast does a user's own convolutional network train? Run: python benchmarks/speed/conv.py

Two 3 x 3 convolutions (`lax.conv_general_dilated`, 16 and 32 channels), a mean-pool and a linear head on 8 x 8 digits,
as a user would write them; Adam, batch 64, float32. `jl.sweep` is timed whole, as a user calls it, without held-out
data. The others are bare loops over Optax:

- loop: a Python loop over one jitted step, a trial after the other;
- vmapped step: a Python loop over one jitted step of all trials;
- scan: `jit(scan)`, a trial after the other;
- vmapped scan: `jit(vmap(scan))` over all trials;
- loop and vmapped step, 2 threads: each thread has half of the trials.

On a CPU a convolution inside a scan is ten times slower than outside. So each way trains as many steps as its speed
allows in about `--seconds`, which is what ours takes for all of them: for a second, this kind of machine is faster than
it stays. What they are compared by is their rate.
"""

import argparse
import concurrent.futures
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring import timing
from measuring.compare import OURS, Way, compare, ranged, show
from measuring.convolutional import digits_conv
from measuring.handwritten import BATCH

import jaxopt_lab as jl

PROBE = 2  # steps of the run that estimates a way's speed
ONE_BY_ONE, FEW = ("loop", "scan"), 4  # ways that train a trial after the other, and how many they train

Train = Callable[[np.ndarray, jax.Array, int], Any]
"""`train(learning_rates, keys, steps)` trains a trial for each pair, and returns losses."""


def handwritten(task: jl.Task) -> dict[str, Train]:
    """The loops over Optax by name."""
    x, y = (jnp.asarray(a) for a in task.train)

    def start(key):
        params = task.init(key)
        return params, optax.adam(0.0).init(params)  # which does not depend on the learning rate

    def step(params, state, learning_rate, key, t):
        index = jax.random.randint(jax.random.fold_in(key, t), (BATCH,), 0, len(x))
        loss, grads = jax.value_and_grad(task.loss)(params, (x[index], y[index]))
        updates, state = optax.adam(learning_rate).update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def train(learning_rate, key, steps):
        def body(carry, t):
            params, state, loss = step(carry[0], carry[1], learning_rate, key, t)
            return (params, state), loss

        return jax.lax.scan(body, start(key), jnp.arange(steps))[1]

    def train_all(learning_rates, keys, steps):
        return jax.vmap(lambda rate, key: train(rate, key, steps))(learning_rates, keys)

    start_one, start_all = jax.jit(start), jax.jit(jax.vmap(start))
    step_one = jax.jit(step, donate_argnums=(0, 1))
    step_all = jax.jit(jax.vmap(step, (0, 0, 0, 0, None)), donate_argnums=(0, 1))
    scan_one = jax.jit(train, static_argnums=2)
    scan_all = jax.jit(train_all, static_argnums=2)

    def loop(learning_rates, keys, steps):
        losses = []
        for learning_rate, key in zip(learning_rates, keys, strict=True):
            params, state = start_one(key)
            for t in range(steps):
                params, state, loss = step_one(params, state, learning_rate, key, t)
                losses.append(loss)
        return losses

    def vmapped_step(learning_rates, keys, steps):
        losses = []
        params, state = start_all(keys)
        for t in range(steps):
            params, state, loss = step_all(params, state, learning_rates, keys, t)
            losses.append(loss)
        return losses

    def scan(learning_rates, keys, steps):
        return [scan_one(rate, key, steps) for rate, key in zip(learning_rates, keys, strict=True)]

    return {
        "loop": loop,
        "loop, 2 threads": _in_two_threads(loop),
        "vmapped step": vmapped_step,
        "vmapped step, 2 threads": _in_two_threads(vmapped_step),
        "scan": scan,
        "vmapped scan": scan_all,
    }


def _in_two_threads(train: Train) -> Train:
    def threaded(learning_rates, keys, steps):
        half = len(keys) // 2
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            # Waiting inside the threads: on a CPU a call returns before its computation ends.
            run = lambda part: jax.block_until_ready(train(learning_rates[part], keys[part], steps))
            return list(pool.map(run, (slice(half), slice(half, None))))

    return threaded


def measure(trials: int, seeds: int, steps: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Rates of every way, each of which trains up to `steps` steps, fewer where they would take over `seconds`."""
    task = digits_conv()
    rates = np.geomspace(1e-4, 1e-2, trials // seeds).astype("float32")
    flat = np.tile(rates, seeds), jnp.repeat(jax.random.split(jax.random.key(0), seeds), len(rates), axis=0)
    few = slice(min(FEW, trials))

    def ours(steps):
        jl.sweep(jl.adam, task, {"learning_rate": rates}, steps=steps, seeds=seeds)

    trainings: dict[str, tuple[Callable[[int], Any], int]] = {OURS: (ours, trials)}
    for name, train in handwritten(task).items():
        some = (flat[0][few], flat[1][few]) if name in ONE_BY_ONE else flat
        trainings[name] = (lambda n, train=train, some=some: train(*some, n)), len(some[0])
    ways = {}
    for name, (train, count) in trainings.items():
        probe = lambda train=train: train(PROBE)
        first, again = timing.once(probe), timing.once(probe)  # with threads, the first finds what loop has compiled
        n = int(np.clip(seconds / again * PROBE, PROBE, steps))
        ways[name] = Way(lambda train=train, n=n: train(n), count * n, first)
    return {"trials": trials, "seeds": seeds, "most_steps": steps, **compare(ways, repeats)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200, help="at most so many")
    parser.add_argument("--seconds", type=float, default=7.0, help="of one run of one way, about")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    row = measure(**vars(options))
    show(f"conv, {row['trials']} trials", row)
    best = row["best_peer"]
    print(f"ours against the best of them, {best}: {ranged(row['ways'][best]['ratio'], '.2f')} times its rate")
    print(timing.save("conv", row))


if __name__ == "__main__":
    main()
