"""How fast is a sweep against the loops that people write? Run: python benchmarks/speed/sweep.py

Adam on the digits network, batch 64, float32, without evaluation on held-out data. `jl.sweep` is timed whole, as a user
calls it: checks, chunks, recording, divergence guard and labelled dataset. The peers are bare loops over Optax, in
measuring/handwritten.py: vmap, shared, loop, and rebuild, which compiles for each trial, so its warm calls do too.

Two limits are measured in the same turns. "product": trial-steps/s if a step were its matrix products alone, at the
rate of a large one. "copy": trial-steps/s if a step were Adam's update alone, with parameters and moments in memory, at
the rate of a copy; chunks that stay in a cache may exceed it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import jax.numpy as jnp
import numpy as np
from measuring import timing
from measuring.compare import OURS, Way, compare, ranged, show
from measuring.handwritten import digits, peers
from measuring.limits import adam_bytes_per_step, copy_bandwidth, flops_per_step, matmul_rate

import jaxopt_lab as jl

FEW = 2  # trials of the Python loops: they train one after the other, so their rate does not depend on how many


def measure(trials: int, width: int, steps: int, seeds: int, repeats: int) -> dict:
    """Rates, ratios and shares of one size of sweep."""
    task = digits(width)
    rates = np.geomspace(1e-4, 1e-1, trials // seeds).astype("float32")
    keys = jax.random.split(jax.random.key(0), seeds)
    vmap, shared, loop, rebuild = peers(task, steps)
    flat = jnp.tile(rates, seeds), jnp.repeat(keys, len(rates), axis=0)
    first_keys = keys[np.zeros(FEW, int)]
    all_steps, few_steps = len(rates) * seeds * steps, FEW * steps
    ways = {
        OURS: Way(lambda: jl.sweep(jl.adam, task, {"learning_rate": rates}, steps=steps, seeds=seeds), all_steps),
        "vmap": Way(lambda: np.asarray(vmap(*flat)), all_steps),
        "shared": Way(lambda: np.asarray(shared(jnp.asarray(rates), keys)), all_steps),
        "loop": Way(lambda: loop(rates[:FEW], first_keys), few_steps),
        "rebuild": Way(lambda: rebuild(rates[:FEW], first_keys), few_steps),
    }
    flops, moved = flops_per_step(task), adam_bytes_per_step(task)
    limits = {"product": lambda: matmul_rate() / flops, "copy": lambda: copy_bandwidth() / moved}
    row = {"trials": len(rates) * seeds, "width": width, "steps": steps, "seeds": seeds}
    row |= {"flops_per_step": flops, "adam_bytes_per_step": moved}
    return row | compare(ways, repeats, limits)


def show_limits(row: dict) -> None:
    """Print one line a limit."""
    for name, amount, unit in (("product", "flops_per_step", "GFLOP/s"), ("copy", "adam_bytes_per_step", "GB/s")):
        limit = row["limits"][name]
        rate = limit["rate"]["median"] * row[amount] / 1e9
        print(
            f"  ours as a share of the {name}: {ranged(limit['share'], '.3f')}; it runs at {rate:.1f} {unit}",
            flush=True,
        )


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
            show(f"width {width}, {trials} trials", rows[-1])
            show_limits(rows[-1])
    print(timing.save("sweep", rows))


if __name__ == "__main__":
    main()
