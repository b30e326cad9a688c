"""How long until something happens? Run: python benchmarks/start/startup.py

Two questions, each answered by fresh processes in turns:

- import: `import jaxopt_lab` against `import jax, optax`, which it cannot do without.
- first_look: `jaxopt-lab run`, quiet, whole: with an empty cache of compiled programs (cold), and once more with the
  cache that the cold one left (second).

`--steps` and `--seeds` make the first look smaller, to see that all of this works.
"""

import argparse
import compileall
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

from measuring import timing
from measuring.compare import ranged, spread

IMPORTS = {"jaxopt_lab": "import jaxopt_lab", "jax_optax": "import jax, optax"}


def seconds(*arguments: str, **environment: str) -> float:
    """How long this Python takes from start to end. Raises CalledProcessError where it fails."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imports(repeats: int) -> dict[str, Any]:
    """Seconds of either import, the start of Python included, and their ratio turn by turn; the first turn is left out.

    (It may have to read the packages from disk.) Our byte code is made before, as an installer makes it of what it
    installs, of JAX too; of a working tree nobody has.
    """
    spec = importlib.util.find_spec("jaxopt_lab")
    for folder in (spec and spec.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)
    turns = [{name: seconds("-c", code) for name, code in IMPORTS.items()} for _ in range(repeats + 1)][1:]
    figures: dict[str, Any] = {name: spread(turn[name] for turn in turns) for name in IMPORTS}
    figures["ratio"] = spread(turn["jaxopt_lab"] / turn["jax_optax"] for turn in turns)
    return figures | {"ratio_of_medians": figures["jaxopt_lab"]["median"] / figures["jax_optax"]["median"]}


def first_look(repeats: int, smaller: list[str]) -> dict[str, Any]:
    """Seconds of a first look with an empty cache and, right after it, with the cache that it left."""
    turns = [_cold_and_second(smaller) for _ in range(repeats)]
    figures: dict[str, Any] = {name: spread(turn[name] for turn in turns) for name in turns[0]}
    figures["ratio"] = spread(turn["cold"] / turn["second"] for turn in turns)
    return figures


def _cold_and_second(smaller: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = ["-c", "from jaxopt_lab.cli.app import main; main()", "run", "--quiet", *smaller, "--out"]
        cache = str(Path(folder) / "cache")
        runs = ("cold", "second")
        return {run: seconds(*command, str(Path(folder) / run), JAXOPT_LAB_CACHE=cache) for run in runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--import-repeats", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3, help="of the first look, each a minute or two")
    parser.add_argument("--steps", type=int, help="of the first look, instead of its own")
    parser.add_argument("--seeds", type=int, help="of the first look, instead of its own")
    options = parser.parse_args()
    imported = imports(options.import_repeats)
    for name, code in IMPORTS.items():
        print(f"{code}: {ranged(imported[name], '.2f')} s")
    print(f"ratio of the medians: {imported['ratio_of_medians']:.3f}", flush=True)
    smaller = [f"--{name}={value}" for name in ("steps", "seeds") if (value := getattr(options, name)) is not None]
    looked = first_look(options.repeats, smaller)
    for run in ("cold", "second"):
        print(f"first look, {run}: {ranged(looked[run], '.1f')} s")
    print(timing.save("startup", {"import": imported, "first_look": {"smaller": smaller} | looked}))


if __name__ == "__main__":
    main()
