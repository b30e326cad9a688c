"""All that is measured on a GPU, in one command of less than nine minutes. Run: python benchmarks/speed/gpu.py

- mlp: the digits network (32 units, batch 64, 1,000 steps, Adam) with 16 to 65,536 trials: whole `jl.sweep`, warm,
  against bare loops over Optax (see measuring/handwritten.py): vmap, shared, and a Python loop over one jitted step.
- adam: Adam's update alone, jitted, on 10^8 parameters with buffers donated; it reads w, m, v, g and writes w, m, v.
  Against Optax's and against the bandwidth of a copy; and the rate of a matrix product, for reference.
- conv: a user's convolutional network against hand-written ways (see conv.py).
- largest: the largest sweep that fits: trials are doubled until one fails or the time is up.

Each section runs in a process of its own, so that it has the device's memory to itself, and writes a file of its own
after each row, so that a run that is cut off keeps what it has. `--only adam conv` chooses. `--small` makes everything
small enough for a CPU and writes to a temporary folder: it shows that all of this works, and no more.
"""

import argparse
import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import conv
import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring import timing
from measuring.compare import OURS, Way, compare, ranged, show, spread
from measuring.handwritten import digits, peers
from measuring.limits import copy_bandwidth, matmul_rate

import jaxopt_lab as jl

WIDTH, SEEDS = 32, 4
FEW = 2  # trials of the Python loop: it trains one after the other, so its rate does not depend on how many
ALL_SECONDS = 520  # for all sections together

Save = Callable[[Any], object]
"""Called with the figures of a section so far."""


def mlp(small: bool, save: Save) -> None:
    sizes, steps, repeats = ([16, 64], 20, 2) if small else ([16, 256, 4096, 16_384, 65_536], 1000, 5)
    task = digits(WIDTH)
    vmap, shared, loop, *_ = peers(task, steps)
    rows = []
    for trials in sizes:
        rates = np.geomspace(1e-4, 1e-1, trials // SEEDS).astype("float32")
        keys = jax.random.split(jax.random.key(0), SEEDS)
        flat = jnp.tile(rates, SEEDS), jnp.repeat(keys, len(rates), axis=0)
        space = {"learning_rate": rates}
        runs = {
            OURS: lambda space=space: jl.sweep(jl.adam, task, space, steps=steps, seeds=SEEDS) and None,
            "vmap": lambda flat=flat: np.asarray(vmap(*flat)),
            "shared": lambda rates=rates, keys=keys: np.asarray(shared(jnp.asarray(rates), keys)),
            "loop": lambda rates=rates, keys=keys: loop(rates[:FEW], keys[np.zeros(FEW, int)]),
        }
        ways = {name: Way(run, (FEW if name == "loop" else trials) * steps) for name, run in runs.items()}
        turns = min(repeats, 3) if trials > 50_000 else repeats
        rows.append({"trials": trials, "width": WIDTH, "steps": steps, "seeds": SEEDS, **compare(ways, turns)})
        save(rows)
        show(f"MLP-{WIDTH}, {trials:,} trials", rows[-1])


def adam(small: bool, save: Save) -> None:
    n, calls, repeats = (10**6, 3, 2) if small else (10**8, 20, 7)
    grads = jnp.full(n, 0.5)

    def prepared(optimizer):
        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(params, state, grads):
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        params = jnp.ones(n)
        held = [(params, optimizer.init(params))]

        def run():  # several calls, so that what one costs the host hides behind the one before
            for _ in range(calls):
                held[0] = step(*held[0], grads)
            return held[0]

        return run

    runs = {OURS: prepared(jl.adam(1e-3)), "optax": prepared(optax.adam(1e-3))}
    first = {name: timing.once(run) for name, run in runs.items()}
    moved = 7 * grads.nbytes * calls / 1e9
    copied, size = (2**20, 200) if small else (2**33, 16_384)
    turns, flops = [], []
    for _ in range(repeats):
        rates = {name: moved / timing.once(run) for name, run in runs.items()}
        turns.append(rates | {"copy": copy_bandwidth(copied) / 1e9})
        flops.append(matmul_rate(size))
    figures: dict[str, Any] = {"parameters": n, "first": first, "matmul_flops": spread(flops)}
    figures["gigabytes_per_second"] = {name: spread(turn[name] for turn in turns) for name in turns[0]}
    figures["ratio_to"] = {name: spread(turn[OURS] / turn[name] for turn in turns) for name in ("copy", "optax")}
    save(figures)
    for name, rate in figures["gigabytes_per_second"].items():
        of = f", ours {ranged(figures['ratio_to'][name], '.2f')} times that" if name in figures["ratio_to"] else ""
        print(f"Adam, {n:,} parameters, {name}: {ranged(rate, '.0f')} GB/s{of}")
    teraflops = spread(rate / 1e12 for rate in flops)
    print(f"matrix product, float32 at JAX's own precision: {ranged(teraflops, '.3g')} TFLOP/s")


def convolutions(small: bool, save: Save) -> None:
    trials, steps, seconds, repeats = (4, 2, 0.1, 1) if small else (256, 100, 1.0, 3)
    row = conv.measure(trials, min(SEEDS, trials // 2), steps, seconds, repeats)
    save(row)
    show(f"conv, {trials} trials", row)


def largest(small: bool, save: Save) -> None:
    trials, steps, limit = (64, 20, 30.0) if small else (2**16, 50, 90.0)
    began, last, rows = time.perf_counter(), 0.0, []
    while time.perf_counter() - began + 2 * last < limit:  # twice the trials take twice the time
        space = {"learning_rate": np.geomspace(1e-4, 1e-1, trials)}
        row: dict[str, Any] = {"trials": trials, "steps": steps}
        try:
            last = timing.once(lambda space=space: jl.sweep(jl.adam, digits(WIDTH), space, steps=steps) and None)
        except Exception as error:  # of whatever kind: that is where it ends
            rows.append(row | {"failed": f"{type(error).__name__}: {str(error)[:500]}"})
            save(rows)
            print(f"largest, {trials:,} trials: {rows[-1]['failed']}", flush=True)
            break
        stats = jax.devices()[0].memory_stats() or {}  # none on a CPU
        rows.append(row | {"seconds": last, "peak_bytes": stats.get("peak_bytes_in_use")})
        save(rows)
        peak = f"{stats['peak_bytes_in_use'] / 2**30:.2f} GiB" if stats else "unknown"
        print(f"largest, {trials:,} trials x {steps} steps: {last:.1f} s, device memory {peak} at the peak", flush=True)
        trials *= 2


SECTIONS = {"mlp": mlp, "adam": adam, "conv": convolutions, "largest": largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=ALL_SECONDS, help="for all sections together")
    options = parser.parse_args()
    if options.small:
        timing.RESULTS = Path(tempfile.gettempdir()) / "jaxopt_lab-small"
    if len(options.only) == 1:
        (name,) = options.only
        SECTIONS[name](options.small, lambda figures: timing.save(f"gpu-{name}", figures))
        print(timing.RESULTS / f"gpu-{name}-{jax.default_backend()}.json")
        return
    end = time.perf_counter() + options.seconds
    for name in options.only:
        command = [sys.executable, __file__, "--only", name, *(["--small"] if options.small else [])]
        began = time.perf_counter()
        try:
            code = subprocess.run(command, timeout=max(1.0, end - began), check=False).returncode
        except subprocess.TimeoutExpired:
            code = "no code: the time was up"
        print(f"{name} ended with {code} after {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
