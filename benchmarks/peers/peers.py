"""How fast is a sweep against other libraries? Run: python benchmarks/peers/peers.py

The digits network (32 units by default), Adam at many learning rates, batch 64, float32, without held-out data.
`jl.sweep` is timed whole, as a user calls it. Each peer is written as its documentation would have it, in one file,
_peer_*.py, with batches drawn by its own library. Where that leaves a choice (threads, processes, how many at a time)
all are tried, and the fastest takes part in the turns.

Slower peers train fewer trials: rates are compared, in trial-steps/s. `best_loss` is the smallest last training loss of
a peer's trials, of one batch: it shows that all of them train. A peer whose packages are missing is skipped.

It takes about ten minutes and an idle machine: what waits for threads, as PyTorch's operators do, loses more to a
neighbour than others, many times over.
"""

import argparse
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.compare import OURS, Way, compare, show
from measuring.handwritten import digits

import jaxopt_lab as jl

TRIALS_MULTIPLE = 64  # so that whatever trains some at a time has none left over


class Peer(NamedTuple):
    """Where its ways to train are, the packages that they need, and its number of trials as a share of ours."""

    module: str
    function: str
    packages: tuple[str, ...]
    share: float = 1.0


PEERS = {
    "hyperoptax": Peer("_peer_hyperoptax", "searches", ("hyperoptax",)),
    "torch_func": Peer("_peer_torch_func", "stacked", ("torch",)),
    "torch_func_compiled": Peer("_peer_torch_func", "compiled", ("torch",)),
    "torch": Peer("_peer_torch", "loops", ("torch",), 1 / 8),
    "torch_compiled": Peer("_peer_torch", "compiled", ("torch",), 1 / 8),
    "optuna": Peer("_peer_optuna", "loops", ("optuna",), 1 / 8),
    "optuna_scan": Peer("_peer_optuna", "scans", ("optuna",), 1 / 8),
    "ray_tune": Peer("_peer_ray", "loops", ("ray[tune]",)),
}

Run = Callable[[Sequence[float]], Any]  # learning rates -> the last training loss of every trial


class Chosen(NamedTuple):
    """The fastest of a peer's ways, with the rates of all ways, or the reasons why they failed."""

    way: Way
    name: str
    tried: dict[str, float | str]
    best_loss: float


def ours(width: int, steps: int) -> dict[str, Run]:
    """A sweep over learning rates with one seed: all trials of a sweep share their batches."""

    def sweep(rates):
        results = jl.sweep(jl.adam, digits(width), {"learning_rate": rates}, steps=steps)
        return results.dataset.train_loss.values[..., -1]

    return {"jl.sweep": sweep}


def choose(ways: dict[str, Run], trials: int, steps: int) -> Chosen:
    """Call each way, which compiles it, and twice more to compare."""
    rates = np.geomspace(1e-4, 1e-1, trials).tolist()
    found, tried = {}, {}
    for name, run in ways.items():
        losses: list[Any] = []
        try:
            first = timing.once(lambda run=run, losses=losses: losses.append(run(rates)))
            again = min(timing.once(lambda run=run: run(rates)) for _ in range(2))
        except Exception as error:  # such as no C++ compiler for torch.compile
            tried[name] = f"{type(error).__name__}: {str(error)[:200]}"
            continue
        last = np.asarray(losses[0], float)
        tried[name] = round(last.size * steps / again)
        found[name] = Chosen(Way(functools.partial(run, rates), last.size * steps, first), name, tried, np.nanmin(last))
    if not found:
        raise RuntimeError(f"no way works: {tried}")
    return found[max(found, key=lambda name: tried[name])]


def prepare(names: list[str], trials: int, width: int, steps: int) -> dict[str, Chosen]:
    """Prepare our own way and those peers whose packages are installed."""
    chosen = {OURS: choose(ours(width, steps), trials, steps)}
    for name in names:
        peer = PEERS[name]
        try:
            ways = getattr(importlib.import_module(peer.module), peer.function)(width, steps)
            chosen[name] = choose(ways, max(2, round(trials * peer.share)), steps)
        except ImportError as error:
            packages = " ".join(repr(package) for package in peer.packages)
            print(f"{name} is skipped ({error}): python -m pip install {packages}", flush=True)
            continue
        except RuntimeError as error:
            print(f"{name} is skipped: {error}", flush=True)
            continue
        print(f"{name}: " + "; ".join(f"{way} {rate}" for way, rate in chosen[name].tried.items()), flush=True)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=256, help=f"a multiple of {TRIALS_MULTIPLE}")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    if options.trials < 1 or options.trials % TRIALS_MULTIPLE:
        parser.error(f"--trials must be a multiple of {TRIALS_MULTIPLE}, got {options.trials}")
    chosen = prepare(options.only, options.trials, options.width, options.steps)
    if len(chosen) == 1:
        parser.exit(1, "There is nobody to compare with.\n")
    compared = compare({name: one.way for name, one in chosen.items()}, options.repeats)
    for name, one in chosen.items():
        compared["ways"][name] |= {"way": one.name, "tried": one.tried, "best_loss": float(one.best_loss)}
    packages = sorted({p.partition("[")[0] for name in chosen if name != OURS for p in PEERS[name].packages})
    figures = vars(options) | {"versions": {p: importlib.metadata.version(p) for p in packages}} | compared
    show(f"MLP-{options.width}", figures)
    print(timing.save("peers", figures))


if __name__ == "__main__":
    main()
