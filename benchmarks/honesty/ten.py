"""Which of ten optimizers is best on ten small tasks, and how sure is that? Run: python benchmarks/honesty/ten.py

The worked example of `jl.compare`: budget 64, three tuning seeds, 20 fresh seeds, all pairs. It writes the page
docs/comparison.md and the tables results/ten-verdicts.csv and results/ten-priors.csv. `--out` names a folder for the
sweeps, so that a run that was interrupted goes on.
"""

import argparse
import sys
import textwrap
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # where `measuring` is

import numpy as np
from measuring import timing
from measuring.verdicts import made_by, over_tasks, points, table

import jaxopt_lab as jl
from jaxopt_lab.formats import number
from jaxopt_lab.statistics.tally import UNDECIDED

OPTIMIZERS = (
    *("sgd", "momentum", "adagrad", "rmsprop", "adam"),
    *("nadam", "adamw", "radam", "lion", "schedule_free_adamw"),
)
TASKS = (
    *("noisy_quadratic", "quadratic_deep", "styblinski_tang", "linear_regression", "breast_cancer"),
    *("diabetes", "digits_softmax", "matrix_factorization", "deep_linear", "digits_mlp"),
)
PAGE = Path(__file__).parents[2] / "docs" / "comparison.md"


def decided_for(verdict: jl.Verdict, name: str, task: str) -> str:
    """Return decided wins minus decided losses of an optimizer on a task."""
    rows: Any = verdict.table()
    rows = rows[(rows["task"] == task) & ((rows["a"] == name) | (rows["b"] == name)) & (rows["verdict"] != UNDECIDED)]
    wins = int((rows["better"] == name).sum())
    balance = 2 * wins - len(rows)
    return f"{balance:+d}" if balance else "0"


def page(verdict: jl.Verdict, seconds: float) -> str:
    rows: Any = verdict.table()
    ranks, scores = verdict.ranks(), verdict.profile_scores()
    decided = int((rows["verdict"] != UNDECIDED).sum())
    alone = int((rows["verdict_of_these_configurations"] != UNDECIDED).sum())
    wider = verdict.priors()["wider"].ne("").sum()
    ranked = [
        [
            *(f"`{row['optimizer']}`", f"{row['rank']:.1f}", f"{row['low']:.1f} to {row['high']:.1f}"),
            *(f"{scores[row['optimizer']]:.2f}", *(decided_for(verdict, row["optimizer"], task) for task in TASKS)),
        ]
        for row in ranks.to_dict("records")
    ]
    scored = [
        [f"`{name}`", *(number(float(np.mean(study.scores(name)))) for study in verdict.studies.values())]
        for name in ranks["optimizer"]
    ]
    reported = [f"{task} ({study.reported})" for task, study in verdict.studies.items()]
    return f"""# Ten optimizers on ten small tasks

{textwrap.fill(verdict.methods(), 120)}

{made_by("benchmarks/honesty/ten.py", seconds)}
All rows: [ten-verdicts.csv](../benchmarks/results/ten-verdicts.csv); what was drawn from, with sources:
[ten-priors.csv](../benchmarks/results/ten-priors.csv).

## What can be said

{
        points(
            f"Of {len(rows)} comparisons, {decided} are decided. By the luck of seeds alone, {alone} would be, of the "
            "configurations that one random search has found; another search might well find others.",
            over_tasks(verdict),
            f"The best mean rank is that of {ranks['optimizer'][0]}, {ranks['rank'][0]:.1f} "
            f"({ranks['low'][0]:.1f} to {ranks['high'][0]:.1f}).",
        )
    }

## Ranks

{textwrap.fill(RANKS, 120)}

{table(["optimizer", "mean rank", "95 %", "profile", *TASKS], ranked)}
## Scores

The mean over {int(rows["seeds"].min())} fresh seeds of the selected configuration; less is better. "-": some diverged.

{table(["optimizer", *reported], scored)}
## Limits

{
        points(
            *LIMITS,
            f"{wider} ranges were widened, as the best configurations lay on their edge; there, all drew once more.",
        )
    }
"""


RANKS = (
    "Mean rank over tasks with its 95 % interval, tasks being the unit; the share of tasks whose target is reached, "
    "averaged over 1 to 4 times the fewest steps (the target is 95 % of the best improvement on the start; Dolan & "
    "More 2002); and on each task, decided wins minus decided losses against the nine others."
)
LIMITS = (
    "These tasks take seconds on a laptop. They do not predict how optimizers rank on language models, where data are "
    "not repeated, batches are large and schedules matter.",
    "A verdict is of an optimizer with its prior: with ranges closer to the optimum, any of them is easier to tune.",
    "Budgets are equal in steps. Learning rates are constant, except where an optimizer has a schedule of its own.",
    "The chance to win counts configurations as drawn anew, but its three tuning seeds are the same ones.",
    "Undecided does not mean equal: it means that so many configurations and seeds cannot tell.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", help="a folder for the sweeps, to go on in")
    options = parser.parse_args()
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the page tells of them
        verdict = jl.compare(OPTIMIZERS, TASKS, options.budget, options.seeds, out=options.out)
    verdict.table().to_csv(timing.RESULTS / "ten-verdicts.csv", index=False, float_format="%.6g")
    verdict.priors().to_csv(timing.RESULTS / "ten-priors.csv", index=False)
    PAGE.write_text(page(verdict, time.perf_counter() - began))
    print(PAGE)


if __name__ == "__main__":
    main()
