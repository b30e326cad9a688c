"""Which methods beat AdamW, and how sure is that? Run: python benchmarks/honesty/leaderboard.py

The second worked example of `jl.compare`: every method of this package against AdamW, on small tasks, by random draws
from the priors: budget 32, three tuning seeds, 20 fresh seeds. It writes the page docs/leaderboard.md and the table
results/leaderboard-verdicts.csv. `--out` names a folder for the sweeps, so that a run that was interrupted goes on.
"""

import argparse
import functools
import sys
import textwrap
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.verdicts import made_by, over_tasks, points, table

import jaxopt_lab as jl
from jaxopt_lab.formats import number
from jaxopt_lab.statistics.tally import UNDECIDED

REFERENCE = "adamw"
WITH = {"shampoo": {"update_interval": 10}}  # its eigenvectors at every step, the default, would take most of the time
STEPS = {"noisy_quadratic": 1000, "deep_linear": 500, "digits_mlp": 300, "digits_autoencoder": 300}
PAGE = Path(__file__).parents[2] / "docs" / "leaderboard.md"


def listed(names: Sequence[str]) -> str:
    """Return names as a list within a sentence."""
    return ", ".join(f"`{name}`" for name in names) if names else "none"


def on_each_task(verdict: jl.Verdict) -> list[str]:
    """Say for each task which methods are better than the reference, and which are worse."""
    rows: Any = verdict.table()
    said = []
    for task in verdict.studies:
        of_task = rows[rows["task"] == task]
        better = of_task[of_task["better"] == of_task["a"]].sort_values("p_corrected")["a"]
        worse = of_task[of_task["better"] == of_task["b"]].sort_values("p_corrected")["a"]
        undecided = int((of_task["verdict"] == UNDECIDED).sum())
        said.append(
            f"On `{task}`, better than `{REFERENCE}`: {listed(list(better))}. Worse: {listed(list(worse))}. "
            f"Of the other {undecided}, nothing can be said."
        )
    return said


def cell(row: Any, study: Any) -> str:
    """Return a method's mean score on a task, with a sign where the verdict is decided."""
    sign = {"a": " (+)", "b": " (-)"}.get(row["verdict"], "")
    return number(float(np.mean(study.scores(row["a"])))) + sign


def page(verdict: jl.Verdict, seconds: float | None) -> str:
    rows: Any = verdict.table()
    ranks, scores = verdict.ranks(), verdict.profile_scores()
    decided = int((rows["verdict"] != UNDECIDED).sum())
    alone = int((rows["verdict_of_these_configurations"] != UNDECIDED).sum())
    cells = {(row["task"], row["a"]): cell(row, verdict.studies[row["task"]]) for row in rows.to_dict("records")} | {
        (task, REFERENCE): number(float(np.mean(study.scores(REFERENCE)))) for task, study in verdict.studies.items()
    }
    ranked = [
        [
            *(f"`{row['optimizer']}`", f"{row['rank']:.1f}", f"{row['low']:.0f} to {row['high']:.0f}"),
            f"{scores[row['optimizer']]:.2f}",
            *(cells[task, row["optimizer"]] for task in verdict.studies),
        ]
        for row in ranks.to_dict("records")
    ]
    reported = [f"{task} ({study.reported})" for task, study in verdict.studies.items()]
    return f"""# All methods against AdamW

{textwrap.fill(verdict.methods(), 120)}

{made_by("benchmarks/honesty/leaderboard.py", seconds)}
All rows: [leaderboard-verdicts.csv](../benchmarks/results/leaderboard-verdicts.csv). What each method is, and what its
learning rate and the rest were drawn from: [All optimizers](optimizers/index.md).

## What can be said

{
        points(
            f"Of {len(rows)} comparisons with `{REFERENCE}`, {decided} are decided. By the luck of seeds alone, "
            f"{alone} would be, of the configurations that one random search has found; another search might well find "
            "others.",
            *on_each_task(verdict),
            over_tasks(verdict),
        )
    }

## Leaderboard

{textwrap.fill(LEADERBOARD, 120)}

{table(["method", "mean rank", "95 %", "profile", *reported], ranked)}
## Limits

{points(*LIMITS)}
"""


LEADERBOARD = (
    "Methods by mean rank over tasks, with its 95 % interval, tasks being the unit; the share of tasks whose target is "
    "reached, averaged over 1 to 4 times the fewest steps (the target is 95 % of the best improvement on the start; "
    "Dolan & More 2002); and the mean score of the selected configuration on each task over 20 fresh seeds, less being "
    f'better: (+) is decided to be better than `{REFERENCE}`, (-) to be worse, no sign means undecided, and "-" that '
    "some seeds diverged. An order of rows without a sign is mostly luck."
)
LIMITS = (
    "These tasks take seconds on a laptop. Methods for large batches, for mixed precision or for matrices of a "
    "transformer cannot show here what they are made for.",
    "Budgets are equal in steps, not in seconds or gradients: a step of a method of matrices costs more than one of "
    "AdamW, and steps of L-BFGS, SAM and Sophia take several gradients.",
    "A verdict is of a method with its prior. Methods of more hyperparameters have more to tune with the same budget. "
    "Ranges were not widened where the best configurations lay on an edge.",
    "Learning rates are constant, except where a method has a schedule of its own. Shampoo renews its roots every ten "
    "steps.",
    "Undecided does not mean equal: it means that so many configurations and seeds cannot tell.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tasks", nargs="+", choices=STEPS, default=[*STEPS])
    parser.add_argument("--only", nargs="+", help=f"methods beside {REFERENCE}, to make it smaller")
    parser.add_argument("--out", help="a folder for the sweeps, to go on in")
    parser.add_argument("--quick", action="store_true", help="few steps and seeds; writes neither page nor table")
    options = parser.parse_args()
    steps = {task: 4 if options.quick else STEPS[task] for task in options.tasks}
    budget, seeds = (2, 2) if options.quick else (options.budget, options.seeds)
    names = jl.OPTIMIZERS if options.only is None else [REFERENCE, *options.only]
    factories = {name: functools.partial(jl.OPTIMIZERS[name], **WITH.get(name, {})) for name in names}
    began, resumed = time.perf_counter(), options.out is not None and Path(options.out).exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of edges, which the page tells of
        verdict = jl.compare(
            factories, options.tasks, budget, seeds, steps=steps, widen=False, reference=REFERENCE, out=options.out
        )
    print(verdict)
    if not options.quick:
        verdict.table().to_csv(timing.RESULTS / "leaderboard-verdicts.csv", index=False, float_format="%.6g")
        PAGE.write_text(page(verdict, None if resumed else time.perf_counter() - began))
        print(PAGE)


if __name__ == "__main__":
    main()
