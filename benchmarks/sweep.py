"""How fast is a sweep against the loops that people write? Run: python benchmarks/sweep.py

Adam on the digits network, batch 64, float32, without evaluation on held-out data. `jl.sweep` is timed whole, as a user
calls it: checks, chunks, recording, divergence guard and labelled dataset. The peers are bare loops over Optax:

- vmap: `jit(vmap(scan))` over (learning rate, key), each trial with batches of its own;
- shared: the same, nested, so that all learning rates of a seed share its batches, as they do in a sweep;
- loop: a Python loop over one jitted step with the learning rate as an argument, for a few trials.
"""

import argparse
import dataclasses

import _timing
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_lab as jl

BATCH = 64


def peers(task: jl.Task, steps: int):
    """The loops over Optax, for any task with training data in arrays."""
    x, y = (jnp.asarray(a) for a in task.train)

    def step(params, state, learning_rate, key, t):
        index = jax.random.randint(jax.random.fold_in(key, t), (BATCH,), 0, len(x))
        loss, grads = jax.value_and_grad(task.loss)(params, (x[index], y[index]))
        updates, state = optax.adam(learning_rate).update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def train(learning_rate, key):
        params = task.init(key)

        def body(carry, t):
            params, state, loss = step(carry[0], carry[1], learning_rate, key, t)
            return (params, state), loss

        return jax.lax.scan(body, (params, optax.adam(learning_rate).init(params)), jnp.arange(steps))[1]

    vmap = jax.jit(jax.vmap(train))
    shared = jax.jit(jax.vmap(jax.vmap(train, (0, None)), (None, 0)))
    jitted = jax.jit(step)

    def loop(learning_rates, keys):
        losses = []
        for learning_rate, key in zip(learning_rates, keys, strict=True):
            params = task.init(key)
            state = optax.adam(learning_rate).init(params)
            for t in range(steps):
                params, state, loss = jitted(params, state, learning_rate, key, t)
                losses.append(loss)
        return losses

    return vmap, shared, loop


def measure(trials: int, width: int, steps: int, seeds: int, repeats: int) -> dict:
    """Trial-steps per second of each way, and the ratio of ours to it."""
    task = dataclasses.replace(jl.tasks.digits_mlp(width=width, batch_size=BATCH), validation=None, test=None)
    rates = np.geomspace(1e-4, 1e-1, trials // seeds).astype("float32")
    keys = jax.random.split(jax.random.key(0), seeds)
    vmap, shared, loop = peers(task, steps)
    flat = jnp.tile(rates, seeds), jnp.repeat(keys, len(rates), axis=0)
    few = 2
    ways = {
        "jaxopt_lab": lambda: jl.sweep(jl.adam, task, {"learning_rate": rates}, steps=steps, seeds=seeds) and None,
        "vmap": lambda: np.asarray(vmap(*flat)),
        "shared": lambda: np.asarray(shared(jnp.asarray(rates), keys)),
        "loop": lambda: loop(rates[:few], keys[np.arange(few) * 0]),
    }
    timed = _timing.interleaved(ways, repeats)
    row = {"trials": trials, "width": width, "steps": steps, "seeds": seeds, "seconds": timed}
    work = {name: (few if name == "loop" else trials) * steps for name in ways}
    row["trial_steps_per_second"] = {name: round(work[name] / timed[name]["median"]) for name in ways}
    ours = row["trial_steps_per_second"]["jaxopt_lab"]
    row["ratio"] = {name: round(ours / rate, 2) for name, rate in row["trial_steps_per_second"].items()}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[256])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for width in options.widths:
        for trials in options.trials:
            rows.append(measure(trials, width, options.steps, options.seeds, options.repeats))
            rate, ratio = rows[-1]["trial_steps_per_second"], rows[-1]["ratio"]
            print(f"width {width}, {trials} trials: " + ", ".join(f"{n} {rate[n]:,} ({ratio[n]} x)" for n in rate))
    print(_timing.save("sweep", rows))


if __name__ == "__main__":
    main()
