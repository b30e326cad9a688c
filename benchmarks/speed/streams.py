"""What do batches from the host cost, against arrays that a program indexes? Run: python benchmarks/speed/streams.py

The digits network, Adam, float32, many learning rates by a few seeds, with the same batches from four places:

- arrays: in memory, indexed inside the program;
- stream: a generator that indexes the same arrays with NumPy, as a loader does, read ahead on the host;
- memmap: the same arrays in files, mapped into memory, indexed on the host;
- slow stream: the generator, which sleeps before each batch for as long as the device needs for its step, so that half
  of the time is hidden if reading and training overlap; `hidden` is the share of the waiting that costs no time.

`ratio` is the time over that of arrays, turn by turn. The losses must agree to a thousandth, or the script fails. The
memory: a sweep of a stream of wide batches in a process of its own, its peak over that of an empty one, and the plan's.

Aim: a stream at most 1.10. What it took: the stream's batches are float64, as NumPy makes them, and are converted to
JAX's type as they come, not after they were stacked: 150 to 45 us of CPU time a batch beside training, as large arrays
are new memory, which costs most. And segments have 128 steps: with 32, 64, 128 and 256, a stream takes 1.18, 1.12, 1.08
and 1.07 times the CPU time of arrays (medians of five turns), but a chunk waits for its first segment. What is left:
iterator, copy, checks, checksum and stacking, 25 us a batch alone on a core. Chunks wait for their first segments for
0.12 s of the threads' 17.5 s (one traced sweep of segments of 64 steps), so reading a chunk's first segment while the
one before runs could gain about 1 %, and is not done.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from measuring import timing
from measuring.compare import ranged, spread
from measuring.handwritten import BATCH, digits

import jaxopt_lab as jl
from jaxopt_lab.tasks.sampling import batch_indices, batch_key
from jaxopt_lab.types import random_key

WIDE = 64, 8192  # a batch of 2 MiB, for the memory


def fed(task: jl.Task, steps: int, folder: Path, seconds: float) -> dict[str, jl.Task]:
    """Return the task with its batches from each place; `seconds` is how long the slow stream sleeps for a batch."""
    images, labels = map(np.asarray, task.train)

    @jax.jit
    def drawn(seed):
        one = lambda t: batch_indices(batch_key(random_key(seed)), t, len(images), BATCH)
        return jax.vmap(one)(jnp.arange(steps + 1))

    rows: dict[int, np.ndarray] = {}

    def make(seed, wait=0.0):
        if seed not in rows:
            rows[seed] = np.asarray(drawn(seed))
        for at in rows[seed]:
            if wait:
                time.sleep(wait)
            yield images[at], labels[at]

    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    mapped = tuple(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "labels"))
    streamed = lambda wait: dataclasses.replace(
        task, train=jl.stream(lambda seed: make(seed, wait)), batch_size=None, factory=None
    )
    return {
        "arrays": task,
        "stream": streamed(0.0),
        "memmap": dataclasses.replace(task, train=mapped, factory=None),
        "slow stream": streamed(seconds),
    }


def measure(width: int, rates: int, seeds: int, steps: int, repeats: int) -> dict[str, Any]:
    task = digits(width)
    space = {"learning_rate": np.geomspace(1e-4, 1e-2, rates).astype("float32")}
    sweep = lambda task: jl.sweep(jl.adam, task, space, steps=steps, seeds=seeds, record=50)
    sweep(task)
    alone = timing.once(lambda: sweep(task) and None)
    wait = alone / (steps * seeds)
    with tempfile.TemporaryDirectory() as folder:
        ways = fed(task, steps, Path(folder), wait)
        losses = {name: sweep(one).dataset["train_loss"].values for name, one in ways.items()}
        for name, found in losses.items():
            if not np.allclose(found, losses["arrays"], rtol=1e-3):
                raise RuntimeError(f"{name} trains otherwise than arrays")
        turns = []
        for turn in range(repeats):
            names = [*ways][turn % len(ways) :] + [*ways][: turn % len(ways)]
            turns.append({name: timing.once(lambda name=name: sweep(ways[name]) and None) for name in names})
    rows = {
        name: {
            "seconds": spread(turn[name] for turn in turns),
            "ratio": spread(turn[name] / turn["arrays"] for turn in turns),
        }
        for name in ways
    }
    slept = wait * (steps + 1) * seeds
    rows["slow stream"]["hidden"] = spread(1 - (turn["slow stream"] - turn["stream"]) / slept for turn in turns)
    return {"width": width, "trials": rates * seeds, "seeds": seeds, "steps": steps, "ways": rows}


def wide_sweep(steps: int) -> Any:
    """Sweep a task whose batches take 2 MiB; return the plan."""
    make = lambda seed: (np.random.default_rng((seed, i)).random(WIDE, np.float32) for i in range(steps + 1))
    loss = lambda w, x: jnp.mean((x @ w - 1) ** 2)
    task = jl.Task("wide", lambda key: jax.random.normal(key, WIDE[1:]), loss, jl.stream(make))
    space = {"learning_rate": np.geomspace(1e-6, 1e-5, 8)}
    plan = jl.plan(jl.sgd, task, space, steps=steps, seeds=2)
    jl.sweep(jl.sgd, task, space, steps=steps, seeds=2)
    return plan


def peak(*arguments: str) -> dict[str, int]:
    """Return what a process of this script prints: its peak, and the plan's."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--rates", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--wide", type=int, default=400, help="steps of the sweep whose memory is measured")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak is not None:
        few, plan = wide_sweep(1), wide_sweep(options.peak) if options.peak > 1 else None
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"peak": kilobytes * 1024, "planned": (plan or few).peak_bytes}))
        return
    row = measure(options.width, options.rates, options.seeds, options.steps, options.repeats)
    for name, way in row["ways"].items():
        print(
            f"{name}: {ranged(way['seconds'], '.2f')} s, {ranged(way['ratio'], '.3f')} times that of arrays", flush=True
        )
    print(f"slow stream: {ranged(row['ways']['slow stream']['hidden'], '.2f')} of the waiting is hidden")
    empty, whole = peak("--peak", "1"), peak("--peak", str(options.wide))
    taken, read = whole["peak"] - empty["peak"], 2 * (options.wide + 1) * WIDE[0] * WIDE[1] * 4
    memory = {"taken": taken, "planned": whole["planned"], "read": read}
    print(f"memory: {taken / 2**20:.0f} MiB taken, {whole['planned'] / 2**20:.0f} planned, {read / 2**20:.0f} read")
    print(timing.save("streams", {"speed": row, "memory": memory}))


if __name__ == "__main__":
    main()
