"""Does a sweep take the memory that its plan predicts? Run: python benchmarks/scale/memory.py

For sweeps of several sizes: the plan's prediction (running chunks, data, and what is kept of all trials), and the peak
of a fresh process that runs the sweep, less the peak of one that runs the same programs for hardly any trials: what
Python, JAX and the compiler take is not the sweep's. (Nor is what labelling the results imports: both import it first,
or it would count as the small one's peak.) The digits network, chunks of many trials. Twice: as the C library comes,
which keeps some of what it is given back, and told to keep nothing, which shows what the sweep itself holds.

And convolutional networks, whose convolutions are made products of patches: trained many at once, and one by one and
evaluated on 10,000 held-out images, at once and within a budget that cuts them into batches. Of these, the peak of a
process on Linux that has compiled all before, less what it held then.
"""

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import ranged, spread
from measuring.convolutional import digits_conv
from measuring.handwritten import digits

import jaxopt_lab as jl

SCALE = 1024 if sys.platform != "darwin" else 1  # of ru_maxrss
KEEP_NOTHING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}  # of glibc
SIZES = ((256, 512, 256), (32, 8192, 2048), (512, 256, 64), (256, 2048, 256))  # width, trials, trials at once
HELD_OUT = 10_000  # images
BUDGETS = (2**34, 2**27)  # bytes
PATCHES = ((64, 16), (128, 64))  # trials, trials at once


def arguments(width: int, trials: int, chunk: int) -> tuple[tuple, dict]:
    """Of `jl.sweep` and `jl.plan`."""
    space = {"learning_rate": np.geomspace(1e-4, 1e-1, trials)}
    return (jl.adam, digits(width), space), {"steps": 32, "chunk": chunk, "strategy": "scan", "memory": 2**34}


def predicted(width: int, trials: int, chunk: int) -> int:
    """Return the plan's prediction of the peak, in bytes."""
    positional, named = arguments(width, trials, chunk)
    forecast = jl.plan(*positional, **named)
    return forecast.peak_bytes


def convolutional(memory: int) -> tuple[tuple, dict]:
    """Of `jl.sweep` and `jl.plan`, within so much memory."""
    task = digits_conv()
    held_out = tuple(np.resize(x, (HELD_OUT, *x.shape[1:])) for x in task.train)
    task = dataclasses.replace(task, validation=held_out)
    space = {"learning_rate": np.geomspace(1e-4, 1e-2, 8)}
    return (jl.adam, task, space), {"steps": 4, "evaluate": 2, "strategy": "steps_each", "memory": memory}


def patched(trials: int, chunk: int) -> tuple[tuple, dict]:
    """Of `jl.sweep` and `jl.plan`, for networks that are trained many at once."""
    space = {"learning_rate": np.geomspace(1e-4, 1e-2, trials)}
    return (jl.adam, digits_conv(), space), {"steps": 8, "chunk": chunk, "strategy": "scan", "memory": 2**34}


CONVOLUTIONAL: dict[str, Callable[..., tuple[tuple, dict]]] = {"held out": convolutional, "patches": patched}


def peak(kind: str, *sizes: int, thrifty: bool) -> int:
    """Measure the peak of a fresh process, in bytes."""
    command = [sys.executable, __file__, "--once", kind, *map(str, sizes)]
    environment = os.environ | {"JAXOPT_LAB_CACHE": "off"} | (KEEP_NOTHING if thrifty else {})
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def extra(size: tuple[int, int, int], thrifty: bool) -> int:
    """Measure the part of the peak that the trials take, in bytes."""
    return peak("digits", *size, thrifty=thrifty) - peak("digits", size[0], 2, 1, thrifty=thrifty)


def of_convolutions(kind: str, *sizes: int, repeats: int, **said: int) -> dict:
    """Measure convolutional networks: `sizes` are arguments of the function of this kind, and `said` tells of them."""
    measured = [peak(kind, *sizes, thrifty=True) for _ in range(repeats)]
    positional, named = CONVOLUTIONAL[kind](*sizes)
    forecast = jl.plan(*positional, **named)
    ratio = spread(forecast.peak_bytes / one for one in measured)
    rules = {name: count for group in forecast.groups for name, count in group.rules.items()}
    told = f"{forecast.peak_bytes / 2**20:,.0f} MiB, {ranged(ratio, '.2f')} x measured; rewritten: {rules}"
    print(f"{kind} {said}: {told}", flush=True)
    return said | {"predicted": forecast.peak_bytes, "measured": spread(measured), "predicted_over_measured": ratio}


def of_process(name: str) -> int:
    """Bytes that Linux says this process holds (VmRSS), or has held at the most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        import xarray  # noqa: F401

        kind, *sizes = options.once
        if kind == "digits":
            positional, named = arguments(*map(int, sizes))
            jl.sweep(*positional, **named)
            print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * SCALE))
            return
        positional, named = CONVOLUTIONAL[kind](*map(int, sizes))
        jl.plan(*positional, **named)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = of_process("VmRSS")
        jl.sweep(*positional, **named)
        print(json.dumps(of_process("VmHWM") - before))
        return
    repeats = options.repeats
    # These come first, since the peak of a process counts from what its parent holds.
    measured = {
        size: {thrifty: [extra(size, thrifty) for _ in range(repeats)] for thrifty in (True, False)} for size in SIZES
    }
    rows = [of_convolutions("held out", budget, repeats=repeats, images=HELD_OUT, memory=budget) for budget in BUDGETS]
    rows += [
        of_convolutions("patches", *sizes, repeats=repeats, networks=sizes[0], at_once=sizes[1]) for sizes in PATCHES
    ]
    for size, found in measured.items():
        says = predicted(*size) - predicted(size[0], 2, 1)
        ratios = {thrifty: spread(says / one for one in taken) for thrifty, taken in found.items()}
        row = {"width": size[0], "trials": size[1], "at_once": size[2], "predicted": says}
        row |= {"measured": spread(found[True]), "predicted_over_measured": ratios[True]}
        rows.append(row | {"as_malloc_comes": spread(found[False]), "predicted_over_that": ratios[False]})
        told = f"{says / 2**20:,.0f} MiB, {ranged(ratios[True], '.2f')} x measured"
        print(f"width {size[0]}, {size[1]} trials: {told}; as malloc comes {ranged(ratios[False], '.2f')}", flush=True)
    print(timing.save("memory", rows))


if __name__ == "__main__":
    main()
