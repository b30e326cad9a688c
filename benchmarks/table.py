"""What was aimed at and what was found, from the committed figures. Run: python benchmarks/table.py

Writes TABLE.md from results/*.json; `--print` writes to the terminal alone.
"""

import math
import sys
from collections.abc import Mapping
from typing import NamedTuple

from _figures import HERE, figures, where
from _search_tables import MATRICES, SEARCH, SECONDS, matrices, searched
from _update_tables import ONE_KERNEL, UPDATE, fused, updates

MET, SHORT = "yes", "**no**"
OURS, WRITTEN = "jaxopt_lab", "the sweep, as written"
NETWORKS = {
    "transformer": "character transformers",
    "convolutions": "convolutional networks with max-pooling",
    "batch norm": "convolutional networks with batch statistics",
    "max-pooling": "of these with max-pooling and dropout",
    "lstm": "LSTMs",
    "pinn": "physics-informed networks",
    "autoencoder": "autoencoders",
}
AIMS = {"transformer": None, "convolutions": 2.0, "batch norm": None, "max-pooling": 1.4}  # over the best of the others


class Row(NamedTuple):
    """A figure that was aimed at.

    Attributes:
        what: Was measured.
        aim: The least, or most, that was wanted; None: nothing was.
        found: Median, least and most.
        unit: Written after the figures.
        most: Whether `aim` is the most that was wanted.
        near: The figure should be within `aim` of one instead.

    """

    what: str
    aim: float | None
    found: Mapping[str, float]
    unit: str = " x"
    most: bool = False
    near: bool = False

    def line(self) -> str:
        median, unit = self.found["median"], self.unit
        form = ",.0f" if median >= 100 else ".1f" if median >= 10 else ".2f"
        found = f"{median:{form}}{unit} ({self.found['least']:{form}} to {self.found['most']:{form}})"
        if self.aim is None:
            return f"| {self.what} | | {found} | |"
        met = abs(median - 1) <= self.aim if self.near else median <= self.aim if self.most else median >= self.aim
        aim = (
            f"within {self.aim:g} of 1" if self.near else f"{'at most' if self.most else 'at least'} {self.aim:g}{unit}"
        )
        return f"| {self.what} | {aim} | {found} | {MET if met else SHORT} |"


class Section(NamedTuple):
    """Rows of one benchmark, and what there is to say of them."""

    name: str  # of the script and of the figures' file
    rows: list[Row]
    said: str = ""


def one(value: float) -> dict[str, float]:
    return dict.fromkeys(("median", "least", "most"), value)


def on_a_cpu() -> list[Section]:
    narrow, wide = figures("sweep-cpu")
    over = lambda row, name: row["ways"][name]["ratio"]
    peers, conv, growth, halving = (figures(f"{name}-cpu") for name in ("peers", "conv", "growth", "halving"))
    overhead, startup = figures("overhead-cpu"), figures("startup-cpu")
    first_look = startup["first_look"]
    many = growth["trials"][-1]
    return [
        Section(
            "sweep",
            [
                Row("256 networks of width 32, over `jit(vmap(scan))`", 2.5, over(narrow, "vmap")),
                Row("the same, hand-written so that learning rates share batches", None, over(narrow, "shared")),
                Row("share of what a large matrix product runs at", 0.75, narrow["limits"]["product"]["share"], ""),
                Row("width 256, over `jit(vmap(scan))`", 1.7, over(wide, "vmap")),
                Row("the same, sharing batches", 1.7, over(wide, "shared")),
                Row("share of a large matrix product", None, wide["limits"]["product"]["share"], ""),
                Row("width 32, over a loop that builds the optimizer anew", 200, over(narrow, "rebuild")),
                Row("width 32, over a loop of one jitted step", 20, over(narrow, "loop")),
            ],
            SHARE_OF_PRODUCT,
        ),
        Section(
            "peers",
            [
                Row("over Optuna, in memory, the same jitted step", 20, over(peers, "optuna")),
                Row("over Optuna whose objective is one compiled scan", None, over(peers, "optuna_scan")),
                Row("over Ray Tune", 50, over(peers, "ray_tune")),
                Row("over a PyTorch loop", 20, over(peers, "torch")),
                Row("over `torch.compile`", None, over(peers, "torch_compiled")),
                Row("over `torch.func`", 3, over(peers, "torch_func")),
                Row("over `torch.func`, compiled", None, over(peers, "torch_func_compiled")),
                Row("over hyperoptax", None, over(peers, "hyperoptax")),
            ],
            PEERS,
        ),
        Section("conv", [Row(f"over the best of six ({conv['best_peer']})", 0.95, over(conv, conv["best_peer"]))]),
        Section("models", real_models(), MODELS),
        Section(
            "growth",
            [
                Row(
                    f"{many['trials']:,} logistic regressions: rate over the best of fewer",
                    0.95,
                    many["ratio_to_best_smaller"],
                ),
                Row("memory at the peak", None, one(many["memory"]["peak"]), " MiB"),
            ],
            "![Cost by trials, steps and width](results/growth-cpu.png)",
        ),
        Section(
            "halving",
            [
                Row("share of the saving that is possible, warm", 0.9, halving["warm"]["saving_over_ideal"], ""),
                *(
                    Row(f"cold, {c['steps']} steps, over no halving", 1.0, c["full_over_halved"])
                    for c in halving["cold"]
                ),
            ],
        ),
        Section("overhead", [Row("over a bare loop", 0.95, over(overhead, overhead["best_peer"]))]),
        Section(
            "memory",
            [
                Row(f"{held(row)}: predicted over measured", 0.1, row["predicted_over_measured"], "", near=True)
                for row in figures("memory-cpu")
            ],
        ),
        Section("streams", streams(), STREAMS),
        Section("seconds", sooner(), SECONDS),
        Section(
            "population", [Row("rate of a population over the plain sweep", 0.85, figures("population-cpu")["rate"])]
        ),
        Section("diagnostics", diagnostics(), DIAGNOSTICS),
        Section("honesty", honesty(), HONESTY),
        Section(
            "startup",
            [
                Row("`jaxopt-lab run` of the first look, cold", 30, first_look["cold"], " s", most=True),
                Row("its second start", 15, first_look["second"], " s", most=True),
                Row("`import jaxopt_lab` over `import jax, optax`", 1.1, startup["import"]["ratio"], most=True),
            ],
            IMPORT,
        ),
    ]


MODELS = """
What stands between these and the best hand-written way was looked for in turns of 15 to 21 runs each, on one core. A
trial's loop alone, jitted as the hand-written one is, makes 0.99 of its steps (0.89 to 1.10) for the transformer and
1.00 (0.90 to 1.05) for the convolutional network; one compiled step of the latter, called from Python, 0.97 (0.85 to
1.06). So the programs are as fast as those by hand. Chunks of two, three and four transformers made 1.00, 0.95 and 0.91
of the rate of single ones: where fewer than four trials fit into the cache, each now runs alone. The best way by hand
is the luckiest of five or, where PyTorch has the model too, of seven.
Tried as further rewrites, and left, in multiples of the time: sums over a row as products with ones (0.9 to 1.3), sums
by halving (1.0 to 1.7), patches along one axis with a sum over the other (1.3), a filter's product with examples first
(1.5), inner scans unrolled (2 and more).
The physics-informed network ran at half the rate of the best by hand while the loop kept all arrays with examples
last, also those of its first layer, whose products contract one number and are multiplied element by element.
What made the convolutional network fast: images stay in the order of their convolutions through slices, padding,
joining and reshaping (a sweep 1.2 times as fast); the gradient of a pooled maximum is one comparison in place of the
sum of four slices' gradients (a step on one core 1.83 to 1.33 ms); and of two wide matrices the higher one comes first
in a product, which turns a filter's gradient such that neither it nor the next two products read columns (to 0.9 ms,
of which products are 0.65).
With AVX-512 these figures were lower at first (1.35 times the best of the others, where an earlier processor had 2.37).
Slices of patches were written in merged axes, in which LLVM does not see that they are contiguous, so it read them by
gathers, 42 us in place of 7 for each of eight. Now they keep the axes of images, and a step takes 0.7 ms in place of
1.0. `XLA_FLAGS=--xla_cpu_max_isa=AVX2`, which avoids gathers too, gains no more than another 4 %.
Patches take most of the time that rewriting adds to compiling: for one convolution of 3 x 3 with its gradient, LLVM
compiles copies in 350 ms, and products in 40. Slices along one axis after the other, 6 in place of 9, take three
quarters of that. One gather in place of all slices compiles in a sixth of the time, but XLA then merges axes again, and
a step takes 1.4 times as long. A loop over the slices is slower, too, and compiles no sooner.
All that a sweep compiles and measures differs by more than the same loop does: as written, the convolutional network
runs by a single compiled step, which compiles sooner, and ours comes first in its process.
"""


STREAMS = """
It was 1.23 (1.15 to 1.32), then 1.13 with segments of 128 steps in place of 64 and batches that begin at multiples of
64 bytes, so that programs use them without a copy. Now each batch is copied, converted and checked in its place among
the stacked ones (90 to 80 us of CPU time where memory is new, 50 where it is not), old batches make room before new
ones are read, and segments have 256 steps. What is left is the iterator, 5 to 15 us a batch here, the pages of new
memory, and the first segment of the first chunk, which nothing hides.
"""
HONESTY = """
`verdict` counts the luck of tuning; by seeds alone, configurations that were selected are compared as if they were the
optimizers, which is wrong more often the more unequal two searches end. Ranges are exact 95 % intervals. The interval
of a mean difference fails where differences are skewed; that of the median, which is given beside it, does not.
The time of three optimizers on two tasks is mostly that of 636 trials of `digits_cnn`. It was 187 s with channels last
in that network's arrays, and 206 s while starts and draws were compiled at LLVM's highest level.
"""


def held(row: Mapping[str, float]) -> str:
    """Say what a row of `memory.py` measured."""
    if "images" in row:
        return (
            f"{row['images']:,} images held out from a convolutional network, {row['memory'] / 2**20:,.0f} MiB allowed"
        )
    if "networks" in row:
        return f"{row['networks']} convolutional networks, {row['at_once']} at once"
    return f"width {row['width']}, {row['trials']:,} trials, {row['at_once']} at once"


def streams() -> list[Row]:
    found = figures("streams-cpu")
    ways, memory = found["speed"]["ways"], found["memory"]
    return [
        Row(f"time of a {name}, over arrays in memory", most, ways[name]["ratio"], most=True)
        for name, most in (("stream", 1.1), ("memmap", None))
    ] + [
        Row(
            "predicted memory of a stream of wide batches, over measured",
            0.1,
            one(memory["planned"] / memory["taken"]),
            near=True,
        )
    ]


def sooner() -> list[Row]:
    rows, found = [], figures("seconds-cpu")
    for task, row in found["tasks"].items():
        for way, called in (("optuna", "Optuna by itself"), ("ray", "Ray Tune")):
            if way in row["ways"]:
                what = f"{task}, {row['budget']} configurations of {row['steps']} steps, over {called}"
                rows.append(Row(what, None, row["ways"][way]["ratio_of_all"]))
                ratio = row["ways"][way]["ratio"]
                low, high = (math.inf if ratio[end] is None else ratio[end] for end in ("low", "high"))
                interval = {"median": ratio["median"], "least": low, "most": high}
                rows.append(Row("the same, expected time to a quality (95 %)", 20, interval))
    return rows


def diagnostics() -> list[Row]:
    ways = figures("diagnostics-cpu")["ways"]
    aims = {"jaxopt_lab": None, "all but sharpness": 1.1} | dict.fromkeys(("sharpness", "preconditioned_sharpness"))
    return [
        Row(f"time with {name.replace('_', ' ')}", aims.get(name, 1.1), way["ratio"], most=True)
        for name, way in ways.items()
        if name != "jaxopt_lab" and "never" not in name
    ]


DIAGNOSTICS = """
Factors in the time of a sweep of 10,000 steps, each diagnostic at its default stride. With a branch in every step, all
but sharpness took 1.22 times the time, and 1.19 where none was ever due: XLA no longer computed updates together with
parameters, and each curve took some kernels a step. Steps between measurements now have a loop of their own.
"""


def honesty() -> list[Row]:
    found = figures("honesty-cpu")
    rows = []
    for name, columns in found["names"].items():
        for column, aim in (("verdict", 0.05), ("verdict_of_these_configurations", None)):
            if column in columns:
                by = ": a false verdict" if column == "verdict" else ": by seeds alone"
                rows.append(Row(f"{name}{by}", aim, columns[column], "", most=True))
    rows.append(Row("one configuration, on other seeds: by seeds alone", None, found["fixed"], "", most=True))
    for name, row in found["power"].items():
        rows.append(Row(f"a planted seed's deviation is found, {row['seeds']} seeds, {name}", 0.8, row["found"], ""))
    for what, row in (found["coverage"] | found["tuning"]).items():
        aim = None if what.startswith("mean difference") and "lognormal" in what else 0.93
        rows.append(Row(f"coverage: {what}", aim, row, ""))
    for seeds, row in found["curse"].items():
        rows.append(Row(f"bias of the best of 30 equal configurations {seeds}, in seeds' deviations", None, row, ""))
    for what, row in found["special"].items():
        chance = {"median": row["chance"], "least": row["chance_low"], "most": row["chance_high"]}
        rows.append(Row(f"chance to win, {what} (verdict: {row['verdict']})", None, chance, ""))
    if "seconds" in found:
        what = "three optimizers, two tasks, budget 64, 20 seeds"
        rows.append(Row(what, 180, found["seconds"], " s", most=True))
    return rows


def real_models() -> list[Row]:
    found = figures("models-cpu")
    rows = []
    for row in found["models"]:
        model, best = f"{row['trials']} {NETWORKS[row['model']]}", row["best_peer"]
        ways, aim = row["ways"], AIMS.get(row["model"], 1.0)
        others = len(ways.keys() - {OURS, WRITTEN})
        vmapped = 2.8 if row["model"] == "transformer" else None
        rows.append(Row(f"{model}, over `jit(vmap(scan))`", vmapped, ways["vmapped scan"]["ratio"]))
        rows.append(Row(f"over the best of {others} ({best})", aim, ways[best]["ratio"]))
        share = 0.38 if row["model"] == "transformer" else None
        if "limits" in row:
            rows.append(
                Row("share of what a large matrix product runs at", share, row["limits"]["product"]["share"], "")
            )
        if WRITTEN in ways:
            rows.append(Row("over the sweep as written", None, ways[WRITTEN]["ratio"]))
            compiling = ways[OURS]["compile"] / ways[WRITTEN]["compile"]
            rows.append(Row("all that it compiles and measures, over the same as written", None, one(compiling)))
        if "rewriting" in row:
            rows.append(Row("time to compile, over the same loop as written", 1.1, row["rewriting"], most=True))
    for name, way in found["naming"]["ways"].items():
        if name != OURS:
            rows.append(
                Row(f"time where the loss names {name}, over one that names nothing", 1.05, way["ratio"], most=True)
            )
    if "before" in found:
        before = found["before"]
        what = f"time where it names nothing, over that of commit {before['commit']}"
        rows.append(Row(what, 1.05, before["ratio"], most=True))
    return rows


def on_a_gpu() -> list[Section]:
    rows = figures("gpu-mlp-gpu")
    adam, conv = figures("gpu-adam-gpu"), figures("gpu-conv-gpu")
    best = lambda row: row["ways"][row["best_peer"]]["ratio"]
    largest = [row for row in figures("gpu-largest-gpu") if "seconds" in row][-1]
    loop = next(row for row in rows if row["trials"] == 4096)["ways"]["loop"]["ratio"]
    return [
        Section(
            "gpu",
            [
                *(
                    Row(f"{row['trials']:,} networks of width 32, over `jit(vmap(scan))`", 1.0, best(row))
                    for row in rows
                ),
                Row("4,096 of them, over a loop of one jitted step", 100, loop),
                Row(
                    f"{conv['trials']} convolutional networks, over the best of six ({conv['best_peer']})",
                    None,
                    best(conv),
                ),
                Row("Adam on 10^8 parameters: bandwidth over a copy's", 0.9, adam["ratio_to"]["copy"]),
                Row("over Optax's Adam", None, adam["ratio_to"]["optax"]),
                Row(f"{largest['trials']:,} networks, {largest['steps']} steps", None, one(largest["seconds"]), " s"),
            ],
            GPU,
        )
    ]


SHARE_OF_PRODUCT = """
Where a step's time goes at width 32 (JAX's profiler, one core, 32 networks): the first layer's two products run as
fast as a large one and take a quarter of it; the second layer's three, of 10 outputs, take another quarter, two of them
at a sixth of that rate; the rest is bound by the cache: bias and ReLU, masks, moments and parameters, of each of which
XLA's CPU makes a kernel of its own. Tried, and left: the second layer's weights turned beforehand (those products 1.8
times as fast on JAX 0.10, .7 to 1.0 on 0.12), products as sums by element (no gain), chunks of 8 to 64 (5 % between
them).
"""
PEERS = """
Optuna's two threads together run at 1.4 times the rate of one bare loop of a jitted step (see sweep), Ray Tune's two
processes at .6 of it, its own work included: a sweep gains over them what it gains over that loop, divided by that.
"""
IMPORT = """
What is left of the import are our own files, a fifth of a millisecond each, and `jaxtyping`; nothing heavy is in it
(`-X importtime`; `jax.extend`, which brings Pallas along, is now imported with the first program).

The cold first look compiles 81 programs, two at a time: 27 loops of training, of which 9 are for fresh seeds, and their
starts, draws and evaluations. Of the 55 seconds that threads spend on them, XLA takes 36, JAX's tracing 8 and its
lowering 3. In the second start XLA's programs come from a cache; tracing, imports, pictures and training are left.
Tried with XLA's options, on a sweep of a small network: of LLVM's optimisation, level 1 saves nothing, and level 0
half, of which slower training takes back more; one part for LLVM in place of 32, and cheaper passes, save nothing
beyond noise. Without XLA's emitters of fused loops, programs compile in two thirds of the time, but train at 0.75 of
the rate and draw batches at a quarter of it. The starts of trials, which run once, are compiled that way: they have the
same bits.
"""
GPU = """
A sweep takes 5 to 9 ms on the host that a bare loop does not: checks, threads, labels, final parameters. Of 16
networks that is more than what its faster steps gain in 1,000 of them. On the device, a step took, in microseconds
(H100; 16, 256, 1,024 and 4,096 networks; the bare loop 24, 36, 90 and 346):

| program | 16 | 256 | 1,024 | 4,096 |
|---|---|---|---|---|
| batches of their own, kernels one after the other | 25 | 36 | 85 | 337 |
| the same, kernels side by side (chosen up to about a hundred) | 19 | 34 | 86 | 333 |
| shared batches, axes in the order that suits products | 21 | 37 | 83 | 312 |
| the same, the compiler held to these orders (chosen beyond) | 21 | 32 | 80 | 290 |
| four steps a turn (twice as long to compile: left) | 20 | 33 | 81 | 277 |
| batches of their own, a segment as one graph (of thousands of kernels: left) | 18 | 32 | 80 | |

Dependent launch (PDL), more streams and kernels of several results made no difference; parameters raveled into one
vector cost a fifth and more.
"""


def table() -> str:
    lines = ["# What was aimed at, and what was found", ""]
    lines += [
        "Made by `python benchmarks/table.py` from [results](results). Medians, least and most of several turns, each",
        "against its peers in the same turn: machines are shared and noisy, which ratios bear better than seconds.",
        "What each script measures, and how long it takes: [README.md](README.md).",
    ]
    for section in (*on_a_cpu(), *on_a_gpu()):
        lines += [
            "",
            f"## {section.name}",
            "",
            where(section.name),
            "",
            "| what | aim | found | met |",
            "|---|---|---|---|",
        ]
        lines += [row.line() for row in section.rows]
        if section.said:
            lines += ["", section.said.strip()]
    lines += ["", "## update", "", where("update"), "", *updates(), "", UPDATE.strip()]
    lines += ["", "## fused", "", where("fused"), "", *fused(), "", ONE_KERNEL.strip()]
    lines += ["", "## matrices", "", where("matrices"), "", *matrices(), "", MATRICES.strip()]
    lines += ["", "## search", "", where("search"), "", *searched(), "", SEARCH.strip()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv[1:]:
        print(table(), end="")
    else:
        (HERE / "TABLE.md").write_text(table())
        print(HERE / "TABLE.md")
