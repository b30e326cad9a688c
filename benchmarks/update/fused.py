"""How much of the machine's memory bandwidth does an update reach in one kernel? Run: python benchmarks/update/fused.py

Every optimizer that both have, float32, in a process where XLA may give a kernel several results: Optax's, and ours
plain (`tree`) and as `jl.fused` makes it, ours compiled with `jl.compiler_options`; parameters and state donated, 10^6
and 3.2 10^7 parameters in four matrices. In turns, each time in another order, beside Optax's once more (`again`) and
adding in place, as in `update.py`. Optax's gains by the flag itself, so its rate here is above that of `update.py`.

`share`: bytes of the parameters, the gradients and the state, each read once, and of what is written, per second, over
those of adding in place. `--only` measures some methods again; other figures stay in the file.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from jaxopt_lab.optimizers.wrappers.fused import FLAGS

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"  # before anything compiles

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

from _pairs import Pair, twins
from measuring import timing
from update import Step, line, matrices, measure

import jaxopt_lab as jl

SIZES = (10**6, 32 * 10**6)
APART = ("muon", "galore", "lbfgs", "sam")  # products of matrices and gradients of their own, not memory, take the time


def rows(pair: Pair, options: argparse.Namespace) -> dict:
    """All measurements of a method, by size."""
    ours, twin = (factory() for factory in pair)
    found, told = {}, jl.compiler_options()
    for size in options.sizes:
        tree = matrices(size)
        steps = {"optax": Step(twin, tree), "again": Step(twin, tree), "tree": Step(ours, tree, options=told)}
        steps["fused"] = Step(jl.fused(ours), tree, options=told)
        found[f"{size:.0e}"] = measure(steps, options.repeats, compiles=3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = {name: pair for name, pair in twins().items() if name not in APART}
    parser.add_argument("--only", nargs="+", choices=known, help="measure these methods, and leave the others' figures")
    parser.add_argument("--repeats", type=int, default=15, help="turns at the most")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options = parser.parse_args()
    path = timing.RESULTS / "fused-cpu.json"
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    for name in options.only or known:
        again = rows(known[name], options)
        figures[name] = figures.get(name, {}) | again
        print(f"{name}: {line(again)}", flush=True)
        timing.save("fused", figures)


if __name__ == "__main__":
    main()
