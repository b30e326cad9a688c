"""How does the cost of a sweep grow? Run: python benchmarks/scale/growth.py

With the number of trials (logistic regression, full batch, 50 steps), with the steps of each (the same, 256 trials) and
with the size of the model (digits network, batch 64, 64 trials of 100 steps); Adam, float32. `jl.sweep` is timed whole
and warm, all sizes of a series in turns; a small sweep runs several times in a turn. For each number of trials, a fresh
process that does nothing but import the package and run this one sweep, cold, says what memory it took at its peak.

Writes the figures, and beside them a picture.
"""

import argparse
import dataclasses
import json
import math
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import numpy as np
from measuring import timing
from measuring.compare import ranged, spread
from measuring.handwritten import digits

import jaxopt_lab as jl

SEEDS = 4
TURN_SECONDS = 0.3  # of a sweep that is faster, as many as fill this are timed together
MIB = 2**20
TITLES = {
    "trials": "Logistic regression, {steps:,} steps",
    "steps": "Logistic regression, {trials:,} trials",
    "width": "Digits network, {trials:,} trials of {steps:,} steps",
}


@dataclasses.dataclass(frozen=True)
class Point:
    """One sweep of a series: so many trials, steps of each, and units of the network (0: logistic regression)."""

    trials: int = 256
    steps: int = 50
    width: int = 0

    def sweep(self) -> None:
        task = digits(self.width) if self.width else jl.tasks.breast_cancer()  # neither holds data out
        rates = np.geomspace(1e-4, 1e-1, self.trials // SEEDS)
        jl.sweep(jl.adam, task, {"learning_rate": rates}, steps=self.steps, seeds=SEEDS)


def measure(points: Mapping[int, Point], repeats: int) -> list[dict[str, Any]]:
    """Seconds of a sweep and trial-steps a second at each size, and the rate over the best at a smaller size.

    A larger network does more in a step, so where widths differ there is no such ratio.
    """
    first = {size: timing.once(point.sweep) for size, point in points.items()}
    calls = {size: math.ceil(TURN_SECONDS / timing.once(point.sweep)) for size, point in points.items()}
    turn = lambda size, point: timing.once(lambda: [point.sweep() for _ in range(calls[size])]) / calls[size]
    turns = [{size: turn(size, point) for size, point in points.items()} for _ in range(repeats)]
    rates = {size: [p.trials * p.steps / seconds[size] for seconds in turns] for size, p in points.items()}
    best, rows = None, []
    for size, point in points.items():
        row = {"size": size, **dataclasses.asdict(point), "first": first[size], "sweeps_a_turn": calls[size]}
        row |= {"seconds": spread(t[size] for t in turns), "trial_steps_per_second": spread(rates[size])}
        if best is not None and not point.width:
            ratio = spread(mine / other for mine, other in zip(rates[size], rates[best], strict=True))
            row["ratio_to_best_smaller"] = {"size": best, **ratio}
        if best is None or np.median(rates[size]) > np.median(rates[best]):
            best = size
        rows.append(row)
    return rows


def peak_memory(trials: int) -> dict[str, float]:
    """Peak memory of a fresh process that runs one sweep of so many trials, in MiB."""
    # Linux counts the starting process's memory as the started one's peak, so start it from a small one.
    command = [sys.executable, __file__, "--peak", str(trials)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def print_peak(point: Point) -> None:
    """Run in the fresh process: the sweep, and what it took."""
    resident = lambda: round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB, 1)
    jl.tasks.breast_cancer()
    jax.block_until_ready(jax.numpy.zeros(1))  # the backend takes memory of its own
    found = {"before": resident()}
    point.sweep()
    found["peak"] = resident()
    device = jax.devices()[0].memory_stats()  # None on a CPU
    print(json.dumps(found | ({"device_peak": round(device["peak_bytes_in_use"] / MIB, 1)} if device else {})))


SMALL = 8  # font size of legends and notes


def plot(series: Mapping[str, list[dict[str, Any]]], path: Path) -> None:
    """Seconds against size, one panel a series, with the line of a cost in proportion."""
    from matplotlib.figure import Figure

    from jaxopt_lab.report.plots.looks import COLOURS

    figure = Figure(figsize=(12.5, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(series), squeeze=False)[0]
    for ax, (name, rows) in zip(panels, series.items(), strict=True):
        sizes = np.array([row["size"] for row in rows])
        work = np.array([row["parameters"] for row in rows]) if name == "width" else sizes
        median, least, most = (np.array([row["seconds"][k] for row in rows]) for k in ("median", "least", "most"))
        ax.errorbar(
            sizes,
            median,
            (median - least, most - median),
            color=COLOURS[0],
            marker="o",
            markersize=4,
            linewidth=1.5,
            capsize=2.5,
            label="jl.sweep, warm: median, least to most",
        )
        proportional = f"in proportion to {'parameters' if name == 'width' else name}, at the best rate"
        ax.plot(sizes, work * (median / work).min(), "--", color="0.55", linewidth=1.2, label=proportional, zorder=1)
        if "memory" in rows[0]:
            for row, x, y in zip(rows, sizes, median, strict=True):
                text = f"{row['memory']['peak'] / 1024:.2f} GiB"
                style = {"ha": "right", "va": "bottom", "fontsize": SMALL - 1, "color": COLOURS[1]}
                ax.annotate(text, (x, y), (-4, 3), textcoords="offset points", **style)
            ax.plot([], [], "s", color=COLOURS[1], markersize=4, label="peak memory of a process with this one sweep")
        ax.set(xscale="log", yscale="log")
        ax.margins(x=0.2)
        ax.set_ylim(top=ax.get_ylim()[1] * (ax.get_ylim()[1] / ax.get_ylim()[0]) ** 0.3)  # room for the legend
        handles, labels = (x[-1:] + x[:-1] for x in ax.get_legend_handles_labels())  # what was measured comes first
        ax.legend(handles, labels, loc="upper left", frameon=False, fontsize=SMALL)
        ax.set_title(TITLES[name].format(**rows[0]), loc="left", fontsize=10)
        ax.set_xlabel({"trials": "trials", "steps": "steps of a trial", "width": "hidden units"}[name])
        ax.set_xticks(sizes, [f"{n // 1000}k" if n >= 10_000 else f"{n:,}" for n in sizes.tolist()])
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")
        ax.grid(which="major", color="0.92")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("time of a whole sweep (s)")
    figure.savefig(path)


def _parameters(width: int) -> int:
    leaves = jax.tree.leaves(jax.eval_shape(digits(width).init, jax.random.key(0)))
    return sum(math.prod(leaf.shape) for leaf in leaves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[64, 256, 1024, 4096, 16384, 100_000])
    parser.add_argument("--steps", type=int, nargs="*", default=[50, 150, 500, 1500, 5000])
    parser.add_argument("--widths", type=int, nargs="*", default=[8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print_peak(Point(trials=options.peak))
        return
    memory = {n: peak_memory(n) for n in options.trials}  # first, while this process is small
    every = {
        "trials": {n: Point(trials=n) for n in options.trials},
        "steps": {n: Point(steps=n) for n in options.steps},
        "width": {n: Point(64, 100, n) for n in options.widths},
    }
    series: dict[str, list[dict[str, Any]]] = {}
    for name, points in every.items():
        if not points:
            continue
        series[name] = measure(points, options.repeats)
        for row in series[name]:
            if name == "trials":
                row["memory"] = memory[row["size"]]
            if name == "width":
                row["parameters"] = _parameters(row["size"])
            _show(name, row)
        path = timing.save("growth", series)
        plot(series, path.with_suffix(".png"))
    print(path, path.with_suffix(".png"))


def _show(name: str, row: dict[str, Any]) -> None:
    text = f"{name} {row['size']:,}: {ranged(row['seconds'], '.3g')} s"
    text += f", {ranged(row['trial_steps_per_second'], ',.0f')} trial-steps/s"
    if "ratio_to_best_smaller" in row:
        ratio = row["ratio_to_best_smaller"]
        text += f", {ranged(ratio, '.2f')} of the rate at {ratio['size']:,}"
    if "memory" in row:
        text += f"; memory {row['memory']['before']:.0f} MiB before, {row['memory']['peak']:.0f} at the peak"
    print(f"{text}; first call {row['first']:.1f} s", flush=True)


if __name__ == "__main__":
    main()
