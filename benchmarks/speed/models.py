"""How fast do real models train, and what do a key, a state and numbers cost? Run: python benchmarks/speed/models.py

Models of measuring/networks.py: a character transformer of 30,000 parameters; two convolutions with max-pooling; the
same with batch statistics (a state) and dropout (a key), with average or max-pooling; an LSTM as an inner scan; a
physics-informed network (second derivatives) and an autoencoder. Adam, float32, no held-out data. `jl.sweep` is timed
whole, as a user calls it; "the sweep, as written" is `jl.sweep(..., rewrite=False)`, so their ratio is what rewriting
gains. The others are in measuring/loops.py, over Optax, of the same starts, batches and keys, drawn before the loop:

- vmapped scan: `jit(vmap(scan))` over all trials, each with its own batches;
- vmapped scan, shared: the same, nested, so that the learning rates of a seed share batches and dropout masks;
- scan: `jit(scan)`, one trial after the other;
- loop: a Python loop over one jitted step whose state is donated, one trial after the other;
- torch.func, eager and compiled: all trials in one stack in PyTorch, on all cores, of the transformer and of the
  convolutions; left out where PyTorch is not installed. Compiling needs a C++ compiler.

"N threads": each of as many threads as there are cores has a part of the learning rates, and its programs use one core,
as ours do. A way trains as many steps as its speed allows in about `--seconds`, and at most `--steps`; at most 2,000
and 1,000 of the last two models, whose steps take microseconds. The script fails where the loss of a way's last step
differs from ours by more than a thousandth. `--models` measures some models again; the other figures stay in the file.
"compile" is the first call less a second one; for ours, what the sweep reports, with the time to measure strategies.
"rewriting": the time to compile our loop, over that of the same loop as written, in turns, when all has run before.

The cost of what a loss may name: the digits network (width 32, batch 64) as it is, against the same network with a loss
that names a key, a state, a number, or all three, and hardly uses them. With `--before CHECKOUT`, a sweep of the plain
network is also timed on another checkout, in turns with this one: a process each, with the same interpreter.
"""

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import jax.numpy as jnp
import numpy as np
from measuring import timing
from measuring.compare import OURS, Way, compare, ranged, show, spread
from measuring.handwritten import BATCH, digits
from measuring.limits import matmul_rate, product_flops_per_step
from measuring.loops import handwritten, in_threads
from measuring.networks import (
    batch_norm_network,
    character_lstm,
    character_transformer,
    convolutional_network,
    training_alone,
)

import jaxopt_lab as jl

MODELS: dict[str, Callable[[], jl.Task]] = {
    "transformer": character_transformer,
    "convolutions": convolutional_network,
    "batch norm": batch_norm_network,
    "max-pooling": lambda: batch_norm_network(max_pooling=True),
    "lstm": character_lstm,
    "pinn": lambda: training_alone(jl.tasks.pinn(), 64),
    "autoencoder": lambda: training_alone(jl.tasks.digits_autoencoder(), BATCH),
}
STEPS = {"pinn": 2000, "autoencoder": 1000}  # at most, where a step takes microseconds; of the others `--steps`
WRITTEN = "the sweep, as written"  # with rewrite=False
COMPILED = 5  # times that the loop is compiled, rewritten and as written
PROBE = 2  # steps of the run that estimates a way's speed
AGREEMENT = 1e-3  # between the losses of the last step: float32, summed in other orders
RATES = 1e-4, 1e-3  # training amplifies rounding, faster at higher rates: in 150 steps to 1e-4 with batch statistics
THREADS = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else 1
WIDTH, NAMING_SEEDS = 32, 4  # of the sweeps that name a key, a state and numbers


def measure(name: str, trials: int, seeds: int, steps: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Rates and compile seconds of all ways to train a model, and how far their last losses are from ours."""
    task = MODELS[name]()
    rates = np.geomspace(*RATES, trials // seeds).astype("float32")
    numbers, threads = np.arange(seeds, dtype=np.int32), min(THREADS, len(rates))
    options: dict[str, Any] = {"steps": steps, "seeds": seeds}
    ours = lambda **more: jl.sweep(jl.adam, task, {"learning_rate": rates}, **options, **more)
    found = []
    first = timing.once(lambda: found.append(ours(cache=False)))
    compiling = {OURS: found[0].dataset.attrs["compile_seconds"] + found[0].dataset.attrs["probe_seconds"]}
    ways = {OURS: Way(lambda: ours() and None, trials * steps, first)}
    losses = ours(record=1).dataset["train_loss"].to_numpy()
    differences: dict[str, float] = {}
    (strategy,) = json.loads(found[0].dataset.attrs["strategies"])
    if strategy["rewrite"]:
        other = dataclasses.replace(task, name=WRITTEN)  # so that it compiles all of its programs, too
        written = lambda **more: jl.sweep(jl.adam, other, {"learning_rate": rates}, **more, **options, rewrite=False)
        first = timing.once(lambda: found.append(written(cache=False)))
        told = found[-1].dataset.attrs
        compiling[WRITTEN] = told["compile_seconds"] + told["probe_seconds"]
        ways[WRITTEN] = Way(lambda: written() and None, trials * steps, first)
        last = written(record=1).dataset["train_loss"].to_numpy()[..., -1]
        differences[WRITTEN] = float(np.max(np.abs(last / losses[..., -1] - 1)))
    rewriting = compiling_rewritten(task, strategy, {"learning_rate": rates}, options)

    trainings = handwritten(task, one_core=threads > 1)
    if threads > 1:
        trainings = {f"{key}, {threads} threads": in_threads(train, threads) for key, train in trainings.items()}
        trainings = {"vmapped scan": handwritten(task, one_core=False)["vmapped scan"], **trainings}
    if importlib.util.find_spec("torch") is not None:
        from measuring.torch_func import LOSSES, stacked

        trainings |= stacked(name, task, THREADS) if name in LOSSES else {}
    for key, train in trainings.items():
        probe = lambda train=train: train(rates, numbers, PROBE)
        first, again = timing.once(probe), timing.once(probe)
        n = int(np.clip(seconds / again * PROBE, PROBE, steps))
        run = lambda train=train, n=n: train(rates, numbers, n)
        ways[key], compiling[key] = Way(run, trials * n, first), first - again
        last = np.asarray(jax.device_get(run()), float)[..., -1]
        differences[key] = float(np.max(np.abs(last / losses[..., n - 1] - 1)))
        if not differences[key] <= AGREEMENT:
            raise RuntimeError(f"{name}: {key} trains otherwise than ours: its losses are {differences[key]:.1e} off")
    flops = product_flops_per_step(task)
    compared = compare(ways, repeats, {"product": lambda: matmul_rate() / flops}, own=[WRITTEN])
    row = {"model": name, "trials": trials, "seeds": seeds, "steps": steps, **compared, **rewriting}
    for key, way in row["ways"].items():
        way |= {"compile": round(compiling[key], 3), "difference": float(f"{differences.get(key, 0.0):.2g}")}
    return row | {"strategies": json.loads(found[0].dataset.attrs["strategies"])}


def compiling_rewritten(
    task: jl.Task, strategy: dict[str, Any], space: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Return what rewriting adds to the time to compile the loop that a sweep chose, where it was rewritten."""
    if not strategy["rewrite"]:
        return {}
    loop = strategy["loop"] + ("_each" if strategy["seeds"] * strategy["configs"] == 1 else "")
    turns = []
    for turn in range(COMPILED):
        took = {}
        for rewrite in (True, False) if turn % 2 else (False, True):
            anew = dataclasses.replace(task, name=f"{task.name} {turn} {rewrite}")  # no program is known by this name
            found = jl.sweep(jl.adam, anew, space, **options, strategy=loop, rewrite=rewrite, cache=False)
            took[rewrite] = found.dataset.attrs["compile_seconds"]
        turns.append(took[True] / took[False])
    return {"rewriting": spread(turns)}


def naming() -> dict[str, tuple[jl.Task, dict[str, float]]]:
    """The digits network by what its loss names, and what the space then adds."""
    plain = digits(WIDTH)
    mean = lambda old, new: 0.9 * old + 0.1 * new
    noise = lambda key: 1e-6 * jax.random.uniform(key)
    with_state = lambda key: (plain.init(key), jnp.zeros([]))

    def with_key(params, batch, *, key):
        return plain.loss(params, batch) + noise(key)

    def stateful(params, batch, *, state):
        loss = plain.loss(params, batch)
        return loss, mean(state, loss)

    def weighted(params, batch, *, weight=1.0):
        return weight * plain.loss(params, batch)

    def with_all(params, batch, *, key, state, weight=1.0):
        loss = weight * plain.loss(params, batch) + noise(key)
        return loss, mean(state, loss)

    one = {"task.weight": 1.0}
    return {
        OURS: (plain, {}),
        "a key": (dataclasses.replace(plain, loss=with_key), {}),
        "a state": (dataclasses.replace(plain, init=with_state, loss=stateful), {}),
        "a number": (dataclasses.replace(plain, loss=weighted), one),
        "all three": (dataclasses.replace(plain, init=with_state, loss=with_all), one),
    }


def sweep_of(task: jl.Task, more: dict[str, float], trials: int, seeds: int, steps: int) -> Callable[[], jl.Results]:
    """A sweep of Adam over learning rates."""
    space = {"learning_rate": np.geomspace(1e-4, 1e-1, trials // seeds).astype("float32"), **more}
    return lambda: jl.sweep(jl.adam, task, space, steps=steps, seeds=seeds)


def measure_naming(trials: int, seeds: int, steps: int, repeats: int) -> dict[str, Any]:
    """Rates of the digits network, by what its loss names; `ratio` is the time over the plain one's."""
    ways, chosen = {}, {}
    for name, (task, more) in naming().items():
        run = sweep_of(task, more, trials, seeds, steps)
        first = timing.once(lambda run=run, name=name: chosen.update({name: run()}))
        ways[name] = Way(lambda run=run: run() and None, trials * steps, first)
    strategies = {name: json.loads(results.dataset.attrs["strategies"]) for name, results in chosen.items()}
    row = {"trials": trials, "seeds": seeds, "steps": steps, "width": WIDTH}
    return row | compare(ways, repeats) | {"strategies": strategies}


@contextlib.contextmanager
def process_of(checkout: Path, *numbers: int) -> Iterator[Callable[[], float]]:
    """Start a process that sweeps the plain network with a checkout's package: a function that measures one sweep."""
    command = [sys.executable, str(Path(__file__).with_name("_plain_sweep.py")), str(checkout), *map(str, numbers)]
    with tempfile.TemporaryDirectory(prefix="jaxopt_lab-") as cache:
        environment = os.environ | {"JAXOPT_LAB_CACHE": cache, "PYTHONPATH": str(checkout)}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, cwd=checkout, text=True, stdin=pipe, stdout=pipe) as process:
            asking, answers = process.stdin, process.stdout
            assert asking is not None
            assert answers is not None

            def once() -> float:
                print(file=asking, flush=True)
                return float(answers.readline())

            yield once
            asking.close()  # ends it


def measure_before(checkout: Path, trials: int, seeds: int, steps: int, repeats: int) -> dict[str, Any]:
    """Rates of the plain network on this checkout and another, in turns; `ratio`: our time over the other's."""
    here, numbers = Path(__file__).parents[2], (trials, seeds, steps)
    seconds: dict[str, list[float]] = {"now": [], "before": []}
    with process_of(here, *numbers) as now, process_of(checkout.resolve(), *numbers) as before:
        first = {"now": now(), "before": before()}
        for turn in range(repeats):
            both = [("now", now), ("before", before)]
            for name, once in both if turn % 2 else reversed(both):
                seconds[name].append(once())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
    ratios = (a / b for a, b in zip(seconds["now"], seconds["before"], strict=True))
    rows = {
        name: {
            "first": first[name],
            "seconds": spread(took),
            "trial_steps_per_second": spread(trials * steps / s for s in took),
        }
        for name, took in seconds.items()
    }
    return {"commit": commit, "trials": trials, "seeds": seeds, "steps": steps, "ratio": spread(ratios), "ways": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=[*MODELS])
    parser.add_argument("--trials", type=int, default=16, help="of a model")
    parser.add_argument("--seeds", type=int, default=2, help="of a model")
    parser.add_argument("--steps", type=int, default=150, help="of a model, at most")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one run of one way, about")
    parser.add_argument("--naming-trials", type=int, default=256)
    parser.add_argument("--naming-steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, to compare the plain network with")
    parser.add_argument("--quick", action="store_true", help="a short run of everything, whose figures are not written")
    options = parser.parse_args()
    if options.quick:
        quick = {"trials": 8, "steps": 20, "seconds": 0.5, "naming_trials": 64, "naming_steps": 100, "repeats": 2}
        vars(options).update(quick)
    path = timing.RESULTS / f"models-{jax.default_backend()}.json"
    figures: dict[str, Any] = json.loads(path.read_text())["figures"] if path.exists() else {}
    known = {row["model"]: row for row in figures.get("models", [])}
    for name in options.models:
        most = STEPS[name] if name in STEPS and not options.quick else options.steps
        known[name] = measure(name, options.trials, options.seeds, most, options.seconds, options.repeats)
        show_model(known[name])
    figures["models"] = [known[name] for name in MODELS if name in known]
    if set(options.models) != set(MODELS):
        if not options.quick:
            print(timing.save("models", figures))
        return
    naming_sizes = options.naming_trials, NAMING_SEEDS, options.naming_steps
    figures["naming"] = measure_naming(*naming_sizes, options.repeats)
    show_naming(figures["naming"])
    if options.before:
        figures["before"] = measure_before(options.before, *naming_sizes, options.repeats)
        then = figures["before"]
        print(f"names nothing: time of now over {then['commit']}'s: {ranged(then['ratio'], '.3f')}, to be at most 1.05")
    if not options.quick:
        print(timing.save("models", figures))


def show_model(row: dict[str, Any]) -> None:
    """Print a model's ways, how long they compile, and the comparison with the best of them."""
    show(f"{row['model']}, {row['trials']} trials", row)
    for name, way in row["ways"].items():
        print(f"  {name}: compiles in {way['compile']:.1f} s; last losses within {way['difference']:.0e} of ours")
    if "rewriting" in row:
        print(f"  our loop compiles in {ranged(row['rewriting'], '.2f')} times the time of the same loop as written")
    best = row["best_peer"]
    print(f"  ours against the best of them, {best}: {ranged(row['ways'][best]['ratio'], '.2f')} times its rate")
    print("  ours:", "; ".join(f"{s['loop']} of {s['seeds']} x {s['configs']}" for s in row["strategies"]), flush=True)


def show_naming(row: dict[str, Any]) -> None:
    """Print the time of the digits network with a loss that names more, over the plain one's."""
    for name, way in row["ways"].items():
        if name != OURS:
            print(
                f"a loss that names {name}: {ranged(way['ratio'], '.3f')} times the time, to be at most 1.05",
                flush=True,
            )


if __name__ == "__main__":
    main()
