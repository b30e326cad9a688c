"""What searches found against random search, of `search.py`; what matrix methods cost, of `matrices.py`."""

from typing import Any

from _figures import figures

METHODS = {"sobol": "Sobol points", "tpe": "TPE", "cmaes": "CMA-ES", "halving": "halving", "pbt": "populations"}


def searched() -> list[str]:
    """Of each task at the largest budget, the best found; of each method and budget, on how many tasks it is better."""
    found = figures("search-cpu")
    tasks = found["quality"]
    budgets = list(next(iter(tasks.values()))["best"]["random"])
    largest = budgets[-1]
    lines = [
        f"The best found with {largest} whole trials, the median of {found['repeats']} repeats, and the chance to beat "
        "random search (95 %):",
        "",
        f"| task, steps of a trial | random search | {' | '.join(METHODS.values())} |",
        "|---|" + "---|" * (1 + len(METHODS)),
    ]
    for task, row in tasks.items():
        best = {method: by_budget[largest] for method, by_budget in row["best"].items()}
        cells = [f"{task}, {row['steps']}", f"{best['random']['median']:.4g}"]
        cells += [
            f"{x['median']:.4g}; {x['better']:.2f} ({x['better_low']:.2f} to {x['better_high']:.2f})"
            for x in (best[method] for method in METHODS if method in best)
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Tasks of {len(tasks)} on which the interval of that chance lies above a half, and below it:",
        "",
        f"| budget | {' | '.join(METHODS.values())} |",
        "|---|" + "---|" * len(METHODS),
    ]
    for budget in budgets:
        counts = [_decided(tasks, method, budget) for method in METHODS]
        lines.append(f"| {budget} | {' | '.join(counts)} |")
    return [*lines, "", "![Chance to find better than random search](results/search-cpu.png)"]


def _decided(tasks: dict[str, Any], method: str, budget: str) -> str:
    rows = [row["best"][method][budget] for row in tasks.values() if method in row["best"]]
    above, below = sum(x["better_low"] > 0.5 for x in rows), sum(x["better_high"] < 0.5 for x in rows)
    return f"{above} above, {below} below"


def matrices() -> list[str]:
    """Of each method: milliseconds of a step, our rate over the peers', bytes of state, cost of amortised bases."""
    found = figures("matrices-cpu")
    lines = [
        "| method | ms a step | over PyTorch's | over Optax's Muon | state | over the ideal cost |",
        "|" + "---|" * 6,
    ]
    for name, row in found["methods"].items():
        ratio = row["ratio"]
        cells = [
            name,
            f"{1e3 * row['seconds']['ours']['median']:.1f}",
            *(_spread(ratio.get(w)) for w in ("torch", "optax")),
        ]
        cells += [f"{row['state']:.2f}", _spread(row.get("amortised"))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(ratio: dict[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"


SEARCH = """
Where learning does not pay: with 16 whole trials, Sobol points, TPE and CMA-ES do not beat random search on any of
these tasks; TPE's first ten suggestions are random draws, and a round is an eighth of the largest budget. With 64, TPE
does on four of six tasks, and CMA-ES on three. Halving finds better on four tasks from 16 trials on, and worse on the
noisy quadratic, where high learning rates lead at a quarter of the steps and lose in the end. Populations gain most
where the learning rate should fall while training goes on, which no constant configuration can do. Intervals are not
corrected for their number: of twenty searches that are no better, one would seem to differ.
"""
SECONDS = """
All evaluate a configuration at the end of its training only, and all have the same sampler with the same seed, so they
begin with the same ten configurations, whose losses are checked to be the same. Qualities are what our search has found
after each of its four rounds, in the median of 20 repeats. The expected time to a quality is what all repeats took
until they reached it or had spent their budget, over the number of those that did. The table has its geometric mean
over the qualities, with an interval by the bootstrap over repeats. Optuna's TPE takes 2 to 5 ms for each suggestion,
whoever trains: about .1 s of a search.

On digits_mlp, 20 repeats are too few to say whether Ray Tune takes 20 times as long: they differ too much in how soon
they are lucky. Our ratio is lowest for the first quality, because a round of 16 configurations has to end before any of
them is known. Large rounds hardly need more configurations than small ones: in rounds of 1, 4, 8, 16 and 32, the first
quality took 9 to 17 of them, and the last 49 to 74, in no order (24 and 40 repeats with other seeds).

Two faults of earlier figures are corrected. When Optuna ran by itself, it took the distances of momenta from 1 for the
momenta, and so searched another space, a worse one. And Ray's clock began when its first trial had ended; now it begins
with that trial, when all actors are ready.
"""
MATRICES = """
48 matrices of 128 x 128. The state is in multiples of the parameters; the last column is the cost of a new basis every
ten steps over the ideal one, at most 1.3 by the aim. Aimed at were 1.5 times the rate of PyTorch's and of Optax's Muon.
PyTorch's Shampoo ran for more than five minutes.

What stands in the way, each looked for once:

- Muon and its kin: the 720 products of a step take 31 ms by themselves, in float32 and one after the other, which is
  how XLA multiplies them fastest; that is nine tenths of Muon's step.
- PyTorch's Muon, NorMuon, AdaMuon and SCION multiply in bfloat16. This processor (AVX512-BF16) does so at twice the
  rate of float32; on one that emulates it, ours were 22 to 25 times as fast. XLA has no such kernel for a CPU: with
  `ns_dtype="bfloat16"` ours take 48 ms, and flags that turn on oneDNN, XNNPACK or YNN for products change nothing.
- SOAP and SPlus: LAPACK is most of a step with a new basis (JAX's profiler). JAX calls SciPy's OpenBLAS, and PyTorch
  has MKL. Matrices are decomposed one after the other on a CPU, since JAX's kernels for stacks can wait for each other
  for ever; that takes .5 to 2 times as long.

PSGD was 1.28 times as fast as PyTorch's while XLA multiplied its stacks in batches; now a CPU takes its matrices one
after the other, too. For SOAP and KL-Shampoo that makes no difference, and Shampoo loses by it.
"""
