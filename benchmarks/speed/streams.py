"""What do batches from the host cost, against arrays that a program indexes? Run: python benchmarks/speed/streams.py

The digits network, Adam, float32, many learning rates by a few seeds, with the same batches from four places:

- arrays: in memory, indexed inside the program;
- stream: a generator that indexes the same arrays with NumPy, as a loader does, read ahead on the host;
- memmap: the same arrays in files, mapped into memory, indexed on the host;
- slow stream: the generator, which sleeps before each batch for as long as the device needs for its step, so that half
  of the time is hidden if reading and training overlap; `hidden` is the share of the waiting that costs no time.

`ratio` is the time over that of arrays, turn by turn. The losses must agree to a thousandth, or the script fails. The
memory: what a sweep of a stream of wide batches takes in a process of its own, where glibc returns what is freed and
where it does not (its default), and what the plan says.

Aim: a stream at most 1.10, and memory within 10 % of the plan. TABLE.md says what was tried and what is left.
"""

import argparse
import json
import os
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
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}  # glibc then returns what is freed


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


def wide_sweep(steps: int) -> dict[str, int]:
    """Sweep a task whose batches take 2 MiB; return the bytes that this takes, and what the plan says."""
    make = lambda seed: (np.random.default_rng((seed, i)).random(WIDE, np.float32) for i in range(steps + 1))
    loss = lambda w, x: jnp.mean((x @ w - 1) ** 2)
    task = jl.Task("wide", lambda key: jax.random.normal(key, WIDE[1:]), loss, jl.stream(make))
    space = {"learning_rate": np.geomspace(1e-6, 1e-5, 8)}
    plan = jl.plan(jl.sgd, task, space, steps=steps, seeds=2)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = held("VmRSS")
    jl.sweep(jl.sgd, task, space, steps=steps, seeds=2)
    return {"taken": held("VmHWM") - before, "planned": plan.peak_bytes}


def held(what: str) -> int:
    """Return the bytes that Linux says this process holds (VmRSS), or has held at the most (VmHWM)."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(what))
    return int(line.split()[1]) * 1024


def peak(steps: int, **environment: str) -> dict[str, int]:
    """Return what a process of its own takes for a sweep of wide batches, and what the plan says."""
    command, own = [sys.executable, __file__, "--peak", str(steps)], {**os.environ, **environment}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=own)
    return json.loads(done.stdout.splitlines()[-1])


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
        wide_sweep(1)
        print(json.dumps(wide_sweep(options.peak)))
        return
    row = measure(options.width, options.rates, options.seeds, options.steps, options.repeats)
    for name, way in row["ways"].items():
        print(
            f"{name}: {ranged(way['seconds'], '.2f')} s, {ranged(way['ratio'], '.3f')} times that of arrays", flush=True
        )
    print(f"slow stream: {ranged(row['ways']['slow stream']['hidden'], '.2f')} of the waiting is hidden")
    usual, strict = peak(options.wide), peak(options.wide, **RETURNED)
    memory = {**strict, "taken_by_default": usual["taken"], "read": 2 * (options.wide + 1) * WIDE[0] * WIDE[1] * 4}
    print("memory:", ", ".join(f"{count / 2**20:.0f} MiB {name.replace('_', ' ')}" for name, count in memory.items()))
    print(timing.save("streams", {"speed": row, "memory": memory}))


if __name__ == "__main__":
    main()
