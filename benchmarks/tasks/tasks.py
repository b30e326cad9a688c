"""How large is each task, what does a step cost, and what does training reach? Run: python benchmarks/tasks/tasks.py

Each built-in task is trained for its usual budget by SGD, heavy ball and Adam, with nine learning rates and three seeds
each, float32. The cost of a step is that of one of the 27 trials of Adam, as measured in the sweep: the time of a chunk
shared by its trials. What is reached is the best median over seeds of the task's main metric (its training loss, for
tasks without held-out data), beside the known minimum or the score that is given as reference. Writes
`docs/tasks.md` as well.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import jax
import numpy as np
from measuring import timing

import jaxopt_lab as jl
from jaxopt_lab.results.score import default_metric, direction
from jaxopt_lab.tasks.about import ABOUT, KINDS
from jaxopt_lab.tasks.calls import shapes
from jaxopt_lab.tasks.reddi import projected
from jaxopt_lab.tasks.task import count_examples

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
METHODS = {"sgd": jl.sgd, "momentum": jl.momentum, "adam": jl.adam}
HEAD = """\
# Tasks

`jl.TASKS`, and `jaxopt-lab list tasks`. Each is trained for its usual budget by SGD, heavy ball and Adam, with nine
learning rates from 1e-4 to 1e4 and three seeds; *reached* is the best median over seeds, by the method in brackets. A
step of one trial takes the time given on a core of the machine, where 27 trials run at once, in float32. A training
loss is that of the last batch, which by chance may lie below the minimum over all data; and where most seeds end in a
local minimum, so does the median. Made by `python benchmarks/tasks/tasks.py`.
"""


def measured(name: str) -> dict[str, Any]:
    """Train a task, and describe it."""
    make, about = jl.TASKS[name], ABOUT[jl.TASKS[name]]
    task = make()
    boxed = lambda factory: lambda learning_rate: projected(factory(learning_rate))
    methods = {n: boxed(f) if name == "reddi" else f for n, f in METHODS.items()}
    space = {"learning_rate": np.geomspace(1e-4, 1e4, 9).tolist()}
    fixed = task.train is None and len({str(task.init(jax.random.key(seed))) for seed in (0, 1)}) == 1
    seeds = 1 if fixed or name == "wilson" else 3  # nothing depends on the seed
    results = jl.sweep(methods, task, space, steps=about.steps, seeds=seeds, evaluate=max(1, about.steps // 10))
    metric, dataset = default_metric(results.dataset), results.dataset
    best = results.best()
    strategies = {s["optimizer"]: s for s in json.loads(dataset.attrs["strategies"])}
    at = int(np.flatnonzero(dataset["config"].values == best.config)[0])
    return {
        "kind": about.kind,
        "parameters": sum(x.size for x in jax.tree.leaves(shapes(task).params)),
        "examples": count_examples(task, "train"),
        "milliseconds": strategies["adam"]["step_seconds"] * 1e3,
        "steps": about.steps,
        "metric": metric,
        "direction": direction(dataset, metric),
        "score": about.score,
        "known": task.minimum if about.score is None else about.score,
        "reached": best.value,
        "by": str(dataset["optimizer"].values[at]),
        "learning_rate": float(dataset["learning_rate"].values[at]),
        "reference": about.reference,
        "seconds": dataset.attrs["run_seconds"],
    }


def page(found: dict[str, dict[str, Any]]) -> str:
    """Return the tasks' page, in Markdown."""
    head = "| task | parameters | examples | ms a step | steps | main metric | known | reached | reference |"
    lines = [HEAD]
    for kind, meaning in KINDS.items():
        lines += [f"\n## {meaning[0].upper()}{meaning[1:]}\n", head, "|---|--:|--:|--:|--:|---|--:|--:|---|"]
        for name, row in found.items():
            if row["kind"] == kind:
                way = "least" if row["direction"] == "min" else "greatest"
                cells = [
                    f"`{name}`",
                    f"{row['parameters']:,}",
                    "" if row["examples"] is None else f"{row['examples']:,}",
                    f"{row['milliseconds']:.2g}",
                    f"{row['steps']:,}",
                    f"{row['metric'].replace('_', ' ')}, {way}",
                    _known(row),
                    f"{row['reached']:.4g} ({row['by']}, {row['learning_rate']:.0e})",
                    row["reference"],
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _known(row: dict[str, Any]) -> str:
    """Return the minimum or the reference score; a minimum is of the training loss."""
    if row["known"] is None:
        return ""
    of_training = row["score"] is None and row["metric"] != "train_loss"
    return f"{row['known']:.4g}{' (training loss)' if of_training else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=list(jl.TASKS), help="names of tasks; then no page is written")
    only = parser.parse_args().only
    found = {}
    for name in only:
        found[name] = measured(name)
        row = found[name]
        print(
            f"{name}: {row['milliseconds']:.3g} ms, {row['metric']} {row['reached']:.4g} of {row['known']} by", end=" "
        )
        print(f"{row['by']} {row['learning_rate']:.0e}, {row['seconds']:.0f} s", flush=True)
    if len(found) == len(jl.TASKS):
        PAGE.write_text(page(found), "utf-8")
        print(timing.save("tasks", found))


if __name__ == "__main__":
    main()
