"""Do searches and populations survive being killed? Run: python benchmarks/durability/searches.py

A search with TPE and a population that changes its hyperparameters, each killed by SIGKILL at a random moment, started
again, killed again, until so many kills have been made; then the results are compared with undisturbed ones, byte by
byte. Needs the extra `optuna`.
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
from typing import Any

import _soak_search
from soak import differing_bytes

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

from measuring import timing

import jaxopt_lab as jl

PROGRAM = Path(__file__).with_name("_soak_search.py")
READY = 1.5  # times the undisturbed run's duration, within which a process is killed: it also imports and resumes


def measure(kind: str, kills: int, chance: random.Random, where: Path) -> dict[str, Any]:
    """Kill one kind of search so often that many kills were made; count the bytes that differ in the end."""
    expected = _soak_search.run(kind)
    longest = timing.once(lambda: _soak_search.run(kind) and None)
    made, runs, differing, attempts = 0, 0, 0, 0
    while made < kills:
        folder, runs, finished = where / f"{kind}{runs}", runs + 1, False
        while not finished:
            attempts += 1
            began = before(folder)
            with subprocess.Popen([sys.executable, str(PROGRAM), kind, str(folder)]) as process:
                while process.poll() is None and before(folder) == began:  # importing, and loading programs
                    time.sleep(0.005)
                if made < kills:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(chance.uniform(0, READY * longest))
                    process.kill()
                finished = process.wait() == 0
                made += process.returncode == -signal.SIGKILL
            if not finished and process.returncode != -signal.SIGKILL:
                raise RuntimeError(f"The {kind} failed, with status {process.returncode}.")
        differing += differing_bytes(jl.load(folder), expected)
        print(f"{kind}: {made} kills, {runs} runs done, {differing} bytes differ", flush=True)
    return {
        "kills": made,
        "runs": runs,
        "attempts": attempts,
        "differing_bytes": differing,
        "undisturbed_seconds": longest,
    }


def before(folder: Path) -> float:
    """Return when something was last written to the folder."""
    return max((path.stat().st_mtime for path in folder.rglob("manifest.json")), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="jaxopt_lab-soak-") as where:
        os.environ["JAXOPT_LAB_CACHE"] = f"{where}/cache"
        figures = {kind: measure(kind, options.kills, chance, Path(where)) for kind in _soak_search.KINDS}
    print(timing.save("searches", figures))


if __name__ == "__main__":
    main()
