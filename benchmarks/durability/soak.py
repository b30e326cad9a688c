"""Does a sweep survive being killed, again and again? Run: python benchmarks/durability/soak.py

A sweep with halving is killed by SIGKILL at a random moment after its first save, started again, killed again, until it
is done; then a new one, until so many kills have been made. Each that is done is compared with an undisturbed one, byte
by byte. Where every segment is saved (checkpoint=0), what was lost at a kill is counted: the trial-steps that the
process had reported, less those that its manifest points to, in segments of a chunk. (Two chunks run at once.)
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _soak_sweep

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import numpy as np
from measuring import timing
from measuring.compare import spread

import jaxopt_lab as jl
from jaxopt_lab.store.manifest import parse

PROGRAM = Path(__file__).with_name("_soak_sweep.py")


def committed(folder: Path) -> int:
    """Trial-steps that the folder's manifest points to."""
    total, begins = 0, (0, *_soak_sweep.RUNGS)
    with contextlib.suppress(FileNotFoundError):
        for unit, entry in parse((folder / "manifest.json").read_bytes()).units.items():
            rung = int(unit.split("-")[1])
            total += _soak_sweep.TRIALS[rung] * (min(entry.step, begins[rung + 1]) - begins[rung])
    return total


def differing_bytes(found: jl.Results, expected: jl.Results) -> int:
    """Count the bytes of arrays and parameters that differ."""
    pairs = [(found.dataset[name].values, expected.dataset[name].values) for name in expected.dataset.variables]
    leaves = lambda results: jax.tree.leaves([params for _, params in results.final_params])
    pairs += zip(leaves(found), leaves(expected), strict=True)
    as_bytes = lambda x: np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8)
    return sum(int((as_bytes(a) != as_bytes(b)).sum()) for a, b in pairs)


def attempt(folder: Path, checkpoint: str, chance: random.Random, longest: float, kill: bool) -> tuple[bool, int]:
    """Run until done or killed; return which, and the trial-steps that were lost."""
    progress, before = folder.with_suffix(".progress"), committed(folder)
    progress.write_text("")
    with subprocess.Popen([sys.executable, str(PROGRAM), str(folder), checkpoint, str(progress)]) as process:
        while process.poll() is None and committed(folder) == before:  # importing, and loading programs
            time.sleep(0.005)
        if kill:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, longest))
            process.kill()
        killed = process.wait() == -signal.SIGKILL
    if not killed and process.returncode:
        raise RuntimeError(f"The sweep failed, with status {process.returncode}.")
    reported = [int(line) for line in progress.read_text().split()]
    return not killed, max(0, (reported[-1] if reported else 0) - (committed(folder) - before))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, began = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jaxopt_lab-soak-") as where:
        os.environ["JAXOPT_LAB_CACHE"] = f"{where}/cache"
        expected, runs, kills, finished = _soak_sweep.sweep(), 0, 0, True
        longest = timing.once(_soak_sweep.sweep)
        lost: dict[str, list[float]] = {"0": [], "-": []}
        differing, folder, checkpoint, attempts = 0, Path(), "-", []
        while kills < options.kills or not finished:
            if finished:
                folder, checkpoint, runs = Path(where) / f"run{runs}", ("0", "-")[runs % 2], runs + 1
                attempts.append(0)
            finished, gone = attempt(folder, checkpoint, chance, longest, kills < options.kills)
            if finished:
                differing += differing_bytes(jl.load(folder), expected)
            else:
                kills, attempts[-1] = kills + 1, attempts[-1] + 1
                lost[checkpoint].append(gone / (_soak_sweep.TRIALS[0] * _soak_sweep.SEGMENT))
            print(f"{kills} kills, {runs - (not finished)} runs done, {differing} bytes differ", flush=True)
    figures = {
        "kills": kills,
        "runs": runs,
        "kills_a_run": attempts,
        "differing_bytes": differing,
        "lost_segments": {
            "every segment saved": spread(lost["0"]) if lost["0"] else None,
            "at the default interval": spread(lost["-"]) if lost["-"] else None,
        },
        "undisturbed_seconds": longest,
        "seconds": time.monotonic() - began,
    }
    print(figures)
    timing.save("soak", figures)


if __name__ == "__main__":
    main()
