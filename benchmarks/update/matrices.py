"""What do methods of matrices cost, against PyTorch's and Optax's? Run: python benchmarks/update/matrices.py

A transformer's projections: 48 square matrices of `--width`, float32, with gradients that are given. Of a method, the
mean time of a step over twenty steps, so that a basis that is made anew every ten steps counts twice; in turns, warm:

- ours: one jitted update and its application, with parameters and state donated;
- optax: Optax's Muon, jitted alike;
- torch: the same method as `torch.optim` or the package `pytorch_optimizer` has it, eager, on all cores, with the
  options closest to ours. Where PyTorch is not installed, these rows are left out.

`ratio`: how many times faster ours is. `state`: bytes of the state over those of the parameters. `amortised`: the time
with a basis every ten steps over the ideal one, which is that of a step without a new basis and a tenth of what a
basis costs: the difference to a new one at every step.

Aims: 1.5 times the rate of PyTorch's methods and of Optax's Muon; 1.3 times the ideal cost. `--only NAME...` measures
some of them; the others keep their committed figures.
"""

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import numpy as np
import optax
import optax.contrib
from measuring import timing
from measuring.compare import ranged, spread

import jaxopt_lab as jl

COUNT, STEPS, RATE = 48, 20, 1e-3
NEVER = 10**6  # steps, of which none is reached
OURS: dict[str, Callable[[], Any]] = {
    "muon": lambda: jl.muon(RATE),
    "normuon": lambda: jl.normuon(RATE),
    "adamuon": lambda: jl.adamuon(RATE),
    "scion": lambda: jl.scion(RATE),
    "dion": lambda: jl.dion(RATE),
    "dion2": lambda: jl.dion2(RATE),
    "soap": lambda: jl.soap(RATE),
    "shampoo": lambda: jl.shampoo(RATE, update_interval=10),
    "klshampoo": lambda: jl.klshampoo(RATE),
    "psgd_kron": lambda: jl.psgd_kron(RATE, update_probability=1.0),
    "splus": lambda: jl.splus(RATE),
    "mars": lambda: jl.mars(RATE),
    "mars_shampoo": lambda: jl.mars(RATE, form="shampoo"),
}
AMORTISED: dict[str, Callable[[int], Any]] = {
    "soap": lambda k: jl.soap(RATE, update_interval=k),
    "shampoo": lambda k: jl.shampoo(RATE, update_interval=k, start=1),
    "klshampoo": lambda k: jl.klshampoo(RATE, update_interval=k),
    "splus": lambda k: jl.splus(RATE, update_interval=k),
}
OPTAX: dict[str, Callable[[], Any]] = dict.fromkeys(
    ("muon", "normuon", "adamuon"), lambda: optax.contrib.muon(RATE)
)  # the three orthogonalise alike
Stepping = Callable[[], None]  # takes STEPS steps


def matrices(width: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return parameters and gradients."""
    rng = np.random.default_rng(0)
    draw = lambda: [(rng.normal(size=(width, width)) * width**-0.5).astype(np.float32) for _ in range(COUNT)]
    return draw(), draw()


def in_jax(optimizer: Any, width: int) -> tuple[Stepping, float]:
    """Return a way that takes steps, and the bytes of its state over those of the parameters."""
    params, grads = (jax.tree.map(jax.numpy.asarray, part) for part in matrices(width))

    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    one = jax.jit(step, donate_argnums=(0, 1), compiler_options=jl.compiler_options())
    state = jax.jit(optimizer.init)(params)
    size = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
    held, share = [params, state], size(state) / size(params)

    def run():
        for _ in range(STEPS):
            held[:] = one(*held, grads)
        jax.block_until_ready(held)

    return run, share


def in_torch(name: str, width: int) -> Stepping | None:
    """Return the way of PyTorch's method of this name, where there is one."""
    import pytorch_optimizer as more  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    alone = lambda make: lambda params: make([{"params": params, "use_muon": True}])
    made: dict[str, Callable[[Any], Any]] = {
        "muon": lambda params: torch.optim.Muon(params, lr=RATE),
        "normuon": alone(lambda groups: more.NorMuon(groups, lr=RATE)),
        "adamuon": alone(lambda groups: more.AdaMuon(groups, lr=RATE)),
        "scion": lambda params: more.SCION(params, lr=RATE),
        "soap": lambda params: more.SOAP(params, lr=RATE, precondition_frequency=10),
        "shampoo": lambda params: more.Shampoo(params, lr=RATE, momentum=0.9, preconditioning_compute_steps=10),
        "psgd_kron": lambda params: more.Kron(params, lr=RATE, pre_conditioner_update_probability=1.0),
        "splus": lambda params: more.SPlus(params, lr=RATE),
        "mars": lambda params: more.MARS(params, lr=RATE),
        "mars_shampoo": lambda params: more.MARS(params, lr=RATE, mars_type="shampoo"),
    }
    if name not in made:
        return None
    params, grads = ([torch.tensor(x) for x in part] for part in matrices(width))
    given = [g.clone() for g in grads]
    for w, g in zip(params, given, strict=True):
        w.grad = g
    optimizer = made[name](params)

    def run():
        for _ in range(STEPS):
            for written, g in zip(given, grads, strict=True):  # some of these methods write over a gradient
                written.copy_(g)
            optimizer.step()

    return run


def in_turns(ways: dict[str, Stepping], repeats: int) -> list[dict[str, float]]:
    """Return seconds of a step of each way, turn by turn."""
    for run in ways.values():
        run()  # compiles
    turns, order = [], [*ways]
    for _ in range(repeats):
        turns.append({name: timing.once(ways[name]) / STEPS for name in order})
        order = [*order[1:], order[0]]
    return turns


def row(name: str, width: int, repeats: int, with_torch: bool) -> dict[str, Any]:
    """Measure one method."""
    began = time.perf_counter()
    ours, state = in_jax(OURS[name](), width)
    ways, failed = {"ours": ours}, None
    if name in OPTAX:
        ways["optax"] = in_jax(OPTAX[name](), width)[0]
    if with_torch and (peer := in_torch(name, width)) is not None:
        try:
            peer()
            ways["torch"] = peer
        except RuntimeError as error:  # a decomposition that did not converge
            failed = f"{type(error).__name__}: {error}"[:200]
    turns = in_turns(ways, repeats)
    found: dict[str, Any] = {
        "seconds": {way: spread(turn[way] for turn in turns) for way in ways},
        "ratio": {way: spread(turn[way] / turn["ours"] for turn in turns) for way in ways if way != "ours"},
        "state": round(state, 3),
    }
    if failed is not None:
        found["torch failed"] = failed
    if (make := AMORTISED.get(name)) is not None:
        intervals = {"every": 1, "tenth": 10, "never": NEVER}
        timed = in_turns({way: in_jax(make(k), width)[0] for way, k in intervals.items()}, repeats)
        ideal = lambda turn: turn["never"] + (turn["every"] - turn["never"]) / 10
        found["amortised"] = spread(turn["tenth"] / ideal(turn) for turn in timed)
    return found | {"took": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=OURS, default=[*OURS])
    parser.add_argument("--quick", action="store_true", help="small matrices, whose figures are not written")
    options = parser.parse_args()
    if options.quick:
        options.width, options.repeats = 16, 2
    with_torch = all(importlib.util.find_spec(name) for name in ("torch", "pytorch_optimizer"))
    path = timing.RESULTS / "matrices-cpu.json"
    known = json.loads(path.read_text())["figures"]["methods"] if path.exists() and not options.quick else {}
    for name in options.only:
        found = known[name] = row(name, options.width, options.repeats, with_torch)
        told = [f"{1e3 * found['seconds']['ours']['median']:.2f} ms a step, {found['state']:.2f} of the parameters"]
        told += [f"{ranged(ratio, '.2f')} times as fast as {way}" for way, ratio in found["ratio"].items()]
        if "torch failed" in found:
            told.append(found["torch failed"])
        if "amortised" in found:
            told.append(f"{ranged(found['amortised'], '.2f')} times the ideal cost")
        print(f"{name}: {'; '.join(told)} ({found['took']} s)", flush=True)
        if not options.quick:  # after each, since all of them take most of an hour where PyTorch is installed
            timing.save("matrices", {"width": options.width, "count": COUNT, "methods": known})


if __name__ == "__main__":
    main()
