"""What do recording, progress, the divergence guard and segments cost? Run: python benchmarks/speed/overhead.py

Adam on the digits network, batch 64, float32, without held-out data. `jl.sweep` is timed whole, with its default
recording and a progress callback. Against it: the same chunks of trials, run by a Python thread a core, of a bare
`jit(vmap(loop))` over all steps that returns the last loss alone: the same optimizer, the same starts and batches, the
engine's loop (which orders axes) and nothing else. The batches are drawn inside the loop, or all before it; the
faster of the two counts. Aim: 0.95 of it.
"""

import argparse
import concurrent.futures
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring import timing
from measuring.compare import OURS, Way, compare, ranged, show
from measuring.handwritten import digits

import jaxopt_lab as jl
from jaxopt_lab.engine.compile.program import loop_on
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.tuning.cutting import first_strategy
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.tasks.seeding import batch_key, draws, initial_params


def chunk_shape(plan: Plan) -> tuple[int, int]:
    """Return the (seeds, configurations) that the plan would run at once."""
    return first_strategy(plan, plan.groups[0]).shape


def bare(plan: Plan, draw_before: bool) -> Callable[[], np.ndarray]:
    """Train what the plan plans, which has one group.

    Returns:
        A function of nothing that gives the training loss of the last step, before its update: (configurations, seeds).

    """
    group, task, steps = plan.groups[0], plan.groups[0].structure.task, plan.steps
    shape = chunk_shape(plan)
    pieces = lambda n, size: [np.arange(i, min(i + size, n)) for i in range(0, n, size)]
    chunks = list(itertools.product(pieces(len(plan.seeds), shape[0]), pieces(len(group.configs), shape[1])))
    data = jax.tree.map(jnp.asarray, task.data[0])
    loop = loop_on(jax.default_backend(), own=False)
    threads = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else 1

    def train(values, start, key, drawn, data):
        optimizer = group.structure.optimizer(values)

        def step(t, carry):
            params, state, _ = carry
            draw = jax.tree.map(lambda x: x[t], drawn) if draw_before else task.draw(batch_key(key), t)
            loss, grads = jax.value_and_grad(task.loss)(params, task.take(data, draw))
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state, loss

        carry = start, optimizer.init(start), jnp.zeros([])
        return loop(0, steps, step, carry)[2]

    def train_seed(values, seed, data):
        key = jax.random.key(seed)
        start = initial_params(task, key)
        drawn = draws(task, key, jnp.int32(0), steps)[0] if draw_before else None
        return jax.vmap(lambda values: train(values, start, key, drawn, data))(values)

    def train_all(values, seeds, data):
        if len(seeds) == 1:  # an axis of one would cost a tenth
            return train_seed(values, seeds[0], data)[None]
        return jax.vmap(train_seed, (None, 0, None))(values, seeds, data)

    program = jax.jit(train_all)

    def padded(x, length):  # the last chunk may be smaller; one shape, one program
        return np.concatenate([x, np.repeat(x[-1:], length - len(x), axis=0)])

    def run_chunk(chunk):
        seeds, configs = chunk
        values = {name: np.float32(padded(v[configs], shape[1])) for name, v in group.values.items()}
        return np.asarray(program(values, padded(plan.seeds[seeds], shape[0]), data))[: len(seeds), : len(configs)]

    def run():
        losses = np.empty((len(plan.seeds), len(group.configs)))
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for chunk, found in zip(chunks, pool.map(run_chunk, chunks), strict=True):
                losses[np.ix_(*chunk)] = found
        return losses.T

    return run


def measure(trials: int, width: int, steps: int, seeds: int, repeats: int) -> dict:
    """Rates of the sweep and of the bare engines, and how far their last losses are apart."""
    task = digits(width)
    space = {"learning_rate": np.geomspace(1e-4, 1e-1, trials // seeds).astype("float32")}
    plan = plan_sweep(jl.adam, task, space, steps=steps, seeds=seeds)
    sweep = lambda **more: jl.sweep(jl.adam, task, space, steps=steps, seeds=seeds, **more)
    runs = {
        OURS: lambda: sweep(progress=lambda _: None) and None,
        "ours, last loss only, no progress": lambda: sweep(record=steps) and None,
        "bare, drawing inside": bare(plan, draw_before=False),
        "bare, drawing before": bare(plan, draw_before=True),
    }
    row = {"trials": trials, "width": width, "steps": steps, "seeds": seeds, "chunk": chunk_shape(plan)}
    row |= compare({name: Way(run, trials * steps) for name, run in runs.items()}, repeats)
    row["best_peer"] = max(
        (name for name in runs if name.startswith("bare")),
        key=lambda name: row["ways"][name]["trial_steps_per_second"]["median"],
    )
    # The bare engines are worth comparing with only if they train the same trials.
    losses = sweep(record=1).dataset["train_loss"].sel(step=steps - 1).to_numpy()
    row["difference"] = {
        name: float(np.median(np.abs(run() / losses - 1))) for name, run in runs.items() if name.startswith("bare")
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    row = measure(**vars(options))
    show(f"{row['trials']} trials x {row['steps']} steps", row)
    best = row["best_peer"]
    print(f"time of {best!r} over ours: {ranged(row['ways'][best]['ratio'], '.3f')}, to be 0.95 or more")
    print("median relative difference of last losses: ", row["difference"])
    print(timing.save("overhead", row))


if __name__ == "__main__":
    main()
