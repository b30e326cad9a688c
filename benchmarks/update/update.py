"""How fast is an update alone, against Optax's? Run: python benchmarks/update/update.py

Every optimizer that both have, float32: the update and its application, jitted, parameters and state donated, at
10^4, 10^6 and 3.2 10^7 parameters in four matrices, and in trees of 100 and 1,000 leaves of 64. In turns, each time in
another order: Optax's (`optax`) and ours (`tree`), jitted alike; of matrices also both as sweeps compile them, with
`jl.compiler_options` (`optax told`, `told`), and Optax's once more (`again`), which tells what the machine makes of
equal programs; of small leaves also ours with parameters held flat (`flat`: `jl.flat`), the gradients being given leaf
by leaf all the same; and adding in place to as many bytes as the method holds, and at 3.2 10^7 to a GiB at the least,
which is what the machine's memory can read and write: fewer would stay in a cache that these leave. Every turn begins
with another of several compiled programs, and with all arrays at other places: where either is in memory decides a
tenth of the time and more. Compile times are of several fresh compiles in turns, at 10^4 parameters; Python's tracing
is apart.

Of rates and compile times over Optax's: medians over the turns, with the interval that holds the true median in 95 of
100 cases (`low`, `high`: order statistics, nothing assumed of how times scatter). Equal programs are above 1 half the
time; `high` under 1 is slower.

`share`: bytes of the parameters, the gradients and the state, each read once, and of what is written, per second, over
those of adding in place. XLA on a CPU makes a kernel of every array that is written, so that a method with state reads
more than that; fused.py has them in one. A thousand leaves take Optax's methods seconds to trace and compile: `AT_1000`
stand for all.

With kernels of microseconds, what XLA's threads make of them outweighs the work: 10^4 parameters are measured with
`--one-core` as well. `--only` measures some methods again, `--sizes` and `--leaves` some
problems; other figures stay in the file.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from _pairs import Pair, twins
from measuring import timing
from measuring.compare import spread

import jaxopt_lab as jl

SIZES = (10**4, 10**6, 32 * 10**6)
LEAVES = (100, 1000)
AT_1000 = ("sgd", "momentum", "rmsprop", "adam", "adamw", "lion", "schedule_free_adamw", "lamb")
CAPPED: dict[str, int] = dict.fromkeys(("muon", "galore", "lbfgs"), 10**6)
"""Beyond, matrix products and decompositions last minutes, and twenty copies of the parameters fill the memory."""
LARGE = 10**7  # parameters that no cache holds
SHUFFLE = random.Random(0)
SECONDS, TURNS = 3.0, 9  # for a row's turns, and how many there are at the least
MEMORY = 2**30  # bytes that no cache holds
OURS = ("flat", "tree", "told", "fused")


def size_of(tree: Any) -> int:
    """Bytes of a tree of arrays."""
    return sum(x.nbytes for x in jax.tree.leaves(tree))


class Step:
    """A jitted update with what it is called on: parameters and state move from call to call."""

    def __init__(self, optimizer: Any, tree: Any, flat: bool = False, options: Any = None):
        optimizer = optax.with_extra_args_support(optimizer)
        joined: Callable[[Any], Any] = jl.flat if flat else lambda tree: tree
        loss = lambda params, key=None: jnp.asarray(sum(jnp.vdot(w, w) for w in jax.tree.leaves(params)) / 2)

        def step(params, state, grads, key):
            grads = joined(grads)
            extras = {"value": jnp.float32(1.0), "grad": grads, "value_fn": loss, "key": key, "obj_fn": loss}
            extras["grad_fn"] = lambda params, i: jax.grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, **extras)
            return optax.apply_updates(params, updates), state

        self.grads, self.key = jax.tree.map(lambda w: 0.01 * jnp.ones_like(w), tree), jax.random.key(0)
        params = joined(jax.tree.map(jnp.copy, tree))
        self.size = sum(w.size for w in jax.tree.leaves(params))
        self.held = (params, jax.jit(optimizer.init)(params))
        self.first = jax.tree.map(jnp.copy, self.held) if self.size < LARGE else None  # a second set would not fit
        # One that nobody has traced.
        self.jitted = lambda: jax.jit(lambda *args: step(*args), donate_argnums=(0, 1), compiler_options=options)
        self.state_bytes = size_of(self.held[1])
        self.bytes = 2 * size_of(params) + size_of(self.grads) + 2 * self.state_bytes
        self.programs: list[Any] = []  # as often as it was compiled
        self.trace_seconds: list[float] = []
        self.compile_seconds: list[float] = []

    def compile(self) -> None:
        began = time.perf_counter()
        lowered = self.jitted().lower(*self.held, self.grads, self.key)
        traced = time.perf_counter()
        self.programs.append(lowered.compile())
        self.trace_seconds.append(traced - began)
        self.compile_seconds.append(time.perf_counter() - traced)

    def start_elsewhere(self) -> Any:
        """From the start (large ones from where they are), program and arrays being at other places in memory."""
        self.program = SHUFFLE.choice(self.programs)
        self.held, self.grads = jax.tree.map(jnp.copy, (self.first or self.held, self.grads))
        return self.held, self.grads

    def run(self, calls: int) -> Any:
        for _ in range(calls):
            self.held = self.program(*self.held, self.grads, self.key)
        return self.held


class Addition:
    """Adding in place to as many bytes as a step's parameters, gradients and state: two passes through memory.

    Beside large parameters, to more than a cache holds.
    """

    def __init__(self, step: Step):
        size = size_of((step.held, step.grads))
        self.held = jnp.ones((max(size, MEMORY) if step.size >= LARGE else size) // 4)
        self.add = jax.jit(lambda x: x + 1, donate_argnums=0)
        self.bytes = 2 * self.held.nbytes

    def start_elsewhere(self) -> Any:
        self.held = jnp.copy(self.held)
        return self.held

    def run(self, calls: int) -> Any:
        for _ in range(calls):
            self.held = self.add(self.held)
        return self.held


def measure(steps: dict[str, Step], repeats: int, compiles: int) -> dict[str, Any]:
    """Seconds a call of each, rates over Optax's, trace and compile times, share of adding in place."""
    shuffled = lambda names: SHUFFLE.sample(list(names), len(names))  # a fixed order would favour who comes after whom
    for _ in range(compiles):
        for name in shuffled(steps):
            steps[name].compile()
    size, adding = steps["optax"].size, Addition(steps["optax"])
    runs: dict[str, Any] = {**steps, "in_place": adding}
    calls = max(3, min(100, 10**7 // size))
    adding.run(2)

    def turn() -> dict[str, float]:
        seconds = {}
        for name in shuffled(runs):
            between = [jax.device_put(np.zeros(SHUFFLE.randrange(1, 2**14))) for _ in range(3)]  # so that places differ
            jax.block_until_ready(runs[name].start_elsewhere())
            timing.once(lambda name=name: runs[name].run(2))  # so that each begins with its own arrays in the cache
            seconds[name] = timing.once(lambda name=name: runs[name].run(calls)) / calls
            del between
        return seconds

    turns, began = [], time.perf_counter()
    while len(turns) < TURNS or (len(turns) < repeats and time.perf_counter() - began < SECONDS):
        turns.append(turn())
    of = lambda value: {name: value(name) for name in steps}
    over = lambda name: sure(turn["optax"] / turn[name] for turn in turns)
    pairs = lambda name: zip(steps[name].compile_seconds, steps["optax"].compile_seconds, strict=True)
    return {
        "turns": len(turns),
        "seconds": of(lambda name: spread(turn[name] for turn in turns)),
        "ratio": of(over),
        "share": of(lambda n: spread(steps[n].bytes / adding.bytes * turn["in_place"] / turn[n] for turn in turns)),
        "in_place": spread(adding.bytes / turn["in_place"] for turn in turns),
        "trace_seconds": of(lambda name: spread(steps[name].trace_seconds)),
        "compile_seconds": of(lambda name: spread(steps[name].compile_seconds)),
        "compile_ratio": of(lambda name: sure(ours / optax for ours, optax in pairs(name))),
        "state_bytes_per_parameter": of(lambda name: steps[name].state_bytes / size),
    }


def sure(values: Iterable[float]) -> dict[str, float]:
    """A spread, and where the median of all such values lies, at 95 %: `low` to `high`."""
    values = list(values)
    if len(values) < 6:
        return spread(values)  # no interval of so few is that sure
    within = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return spread(values) | {"low": float(f"{within.low:.5g}"), "high": float(f"{within.high:.5g}")}


def matrices(size: int) -> Any:
    """Four matrices, twice as high as wide, with so many elements in all."""
    wide = max(1, round((size / 8) ** 0.5))
    return [0.1 * jnp.ones((2 * wide, wide)) for _ in range(4)]


def rows(name: str, pair: Pair, options: argparse.Namespace) -> dict[str, Any]:
    """All measurements of a method, by problem."""
    ours, twin = (factory() for factory in pair)
    found = {}
    where = " one core" if options.one_core else ""
    problems = {f"{size:.0e}{where}": matrices(size) for size in options.sizes if size <= CAPPED.get(name, size)}
    problems |= {f"{n} leaves": [0.1 * jnp.ones(64)] * n for n in options.leaves if n < 1000 or name in AT_1000}
    for problem, tree in problems.items():
        steps = {"optax": Step(twin, tree)}
        small = "leaves" in problem
        if steps["optax"].size <= 10**5 and flattens(ours, tree):
            steps["flat"] = Step(ours, tree, flat=True)
        if len(tree) < 1000 or "flat" not in steps:
            steps["tree"] = Step(ours, tree)
        if not small:
            told = jl.compiler_options()
            steps["told"], steps["again"] = Step(ours, tree, options=told), Step(twin, tree)
            if steps["optax"].size < LARGE:
                steps["optax told"] = Step(twin, tree, options=told)
        compiles = 15 if problem == "1e+04" else 3
        found[problem] = measure(steps, options.repeats, compiles)
    return found


def flattens(optimizer: Any, tree: Any) -> bool:
    held: Any = jl.flat(tree)
    try:
        jax.eval_shape(lambda: optimizer.init(held))
    except ValueError:  # it measures each tensor by itself
        return False
    return True


def line(found: dict[str, Any]) -> str:
    """Of each problem and form of ours: rate over Optax's; share of adding in place, or compile time over Optax's."""
    cells = []
    for problem, row in found.items():
        for form in (form for form in row["ratio"] if form in OURS):
            text = f"{problem} {form} {row['ratio'][form]['median']:.2f}"
            of_copy, compiling = row["share"][form]["median"], row["compile_ratio"][form]["median"]
            compiled = "leaves" in problem or "1e+04" in problem
            cells.append(f"{text} c{compiling:.2f}" if compiled else f"{text} s{of_copy:.2f}")
    return " | ".join(cells)


def summary(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By problem and form: `median`, `least` and `most` over all methods of rates over Optax's, and of compiling."""
    kinds: dict[str, list[float]] = {}
    for found in figures.values():
        for problem, row in found.items():
            for form in (form for form in row["ratio"] if form != "optax"):
                kinds.setdefault(f"{problem} {form}", []).append(row["ratio"][form]["median"])
                if problem == "1e+04":
                    kinds.setdefault(f"compile {form}", []).append(row["compile_ratio"][form]["median"])
    return {kind: spread(values) for kind, values in kinds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="measure these methods, and leave the others' figures as they are")
    parser.add_argument("--repeats", type=int, default=61, help="turns at the most")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--leaves", type=int, nargs="*", default=LEAVES)
    parser.add_argument("--one-core", action="store_true", help="on one core, as problems of their own")
    options = parser.parse_args()
    if options.one_core:  # before JAX looks how many there are
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    path, known = timing.RESULTS / f"update-{jax.default_backend()}.json", twins()
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"no pair of {sorted(unknown)}: give some of {', '.join(known)}")
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    figures = {name: found for name, found in figures.items() if name in known}
    print("rate over Optax's (sNN: share of adding in place; cNN: compile time over Optax's)")
    for name in options.only or known:
        again = rows(name, known[name], options)
        figures[name] = figures.get(name, {}) | again
        print(f"{name}: {line(again)}", flush=True)
        timing.save("update", figures)
    for kind, seen in summary(figures).items():
        print(f"{kind}: {seen['median']:.2f} ({seen['least']:.2f} to {seen['most']:.2f})")


if __name__ == "__main__":
    main()
