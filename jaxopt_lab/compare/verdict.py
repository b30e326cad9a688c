"""The verdict of a comparison."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.compare import words
from jaxopt_lab.compare.ranges import described
from jaxopt_lab.compare.study import Study
from jaxopt_lab.errors import ArgumentValueError
from jaxopt_lab.labels import label, present
from jaxopt_lab.results.score import hyperparameters
from jaxopt_lab.statistics import tally
from jaxopt_lab.statistics.aggregates import mean_ranks
from jaxopt_lab.statistics.profiles import performance_profile, profile_score, speed_up, steps_to_target
from jaxopt_lab.sweep.ranges import Range

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (
    *(
        "task",
        "a",
        "b",
        "verdict",
        "better",
        "effect",
        "low",
        "high",
        "median",
        "median_low",
        "median_high",
        "p",
        "p_corrected",
    ),
    *("seeds_needed", "verdict_of_these_configurations", "p_of_these_configurations", "chance", "chance_low"),
    *("chance_high", "chance_p", "chance_budget", "configurations_needed", "metric", "score_a", "score_b", "seeds"),
    *("configurations", "test", "prior_a", "prior_b"),
)
REACHED = 0.95  # of the best improvement on the start: the target of a task


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
    """What `jl.compare` found.

    Attributes:
        studies: The study of each task: its sweeps, `tuning` and `fresh`, and what was selected.
        optimizers: The names of the optimizers.
        alpha: The chance of any false verdict in `table()` is at most this.
        rows: As `table()`, with columns `way` (1 where a is better, -1 where b is) and `spread`.
        sources: The source of each range, by optimizer and hyperparameter.
        plot: Pictures of it.
        report: Writes its page: `report("verdict.html")`.

    """

    studies: Mapping[str, Study]
    optimizers: tuple[str, ...]
    alpha: float
    rows: "pd.DataFrame" = dataclasses.field(repr=False)
    sources: Mapping[str, Mapping[str, str]] = dataclasses.field(repr=False)
    plot: ClassVar[Any]  # registered by the package from `jaxopt_lab.report`
    report: ClassVar[Any]

    def table(self) -> "pd.DataFrame":
        """Return a row for each task and pair of optimizers.

        Columns:

        - `task`, `a`, `b`; `verdict`: which one is better, "a", "b" or "undecided"; `better`: its name. It counts the
          luck of seeds and that of tuning, by `p_corrected`.
        - `effect`: the mean of a - b over fresh seeds, of the reported `metric` on test data, with its 95 % interval
          `low`, `high`: that of these two configurations (a median where some scores are infinite). `score_a` and
          `score_b` are the means.
        - `median`, with `median_low` and `median_high`: that of a - b over fresh seeds. Its interval holds for any
          distribution, from six seeds on; that of the mean does not where differences are skewed, as of an optimizer
          that rarely goes badly wrong.
        - `p`: the larger p-value of two: that the selected configurations do not differ on fresh seeds, and that
          tuning anew is as likely to favour the other one; 1 where these two point apart. `p_corrected`, by Holm's
          method over the table.
        - `seeds_needed`: how many fresh seeds would find a difference of this size with a chance of 80 %, at a level
          divided by the rows of the table; `configurations_needed`: about how many draws would, for the luck of tuning.
        - `verdict_of_these_configurations`, `p_of_these_configurations` (corrected): by seeds alone. Another search
          might select other configurations, so it says nothing of the optimizers.
        - `chance`: that a beats b when each is tuned anew with `chance_budget` configurations, with its 95 % interval
          `chance_low`, `chance_high`, and the p-value `chance_p`: see `jaxopt_lab.statistics.luck.chance_to_win`.
        - `seeds`, `configurations`: how many there are; `test`: of the fresh seeds.
        - `prior_a`, `prior_b`: what was drawn from, since a verdict depends on it.
        """
        return self.rows.loc[:, list(SHOWN)].copy()

    def priors(self) -> "pd.DataFrame":
        """Return what each hyperparameter was drawn from on each task, with its source, and the selected value.

        `wider` says at which end the range was widened, and `edge` at which end of the final one the best
        configurations lie.
        """
        import pandas as pd

        rows = []
        for task, study in self.studies.items():
            columns = hyperparameters(study.tuning.dataset)
            for optimizer, space in study.spaces.items():
                at = int(np.flatnonzero(study.tuning.dataset["config"].values == study.selected[optimizer])[0])
                for name, values in space.items():
                    ranged = isinstance(values, Range)
                    ends = {
                        wider: ", ".join(
                            edge.end
                            for edge in study.edges
                            if (edge.optimizer, edge.hyperparameter, edge.wider) == (optimizer, name, wider)
                        )
                        for wider in (True, False)
                    }
                    value = columns[name][at] if name in columns else values
                    rows.append(
                        {
                            "task": task, "optimizer": optimizer, "hyperparameter": name,
                            "low": values.low if ranged else np.nan, "high": values.high if ranged else np.nan,
                            "spacing": values.spacing if ranged else "", "drawn_from": described({name: values}),
                            "source": self.sources[optimizer].get(name, ""), "wider": ends[True], "edge": ends[False],
                            "selected": value if present(np.asarray([value], object))[0] else label(value),
                        }
                    )  # fmt: skip
        return pd.DataFrame(rows)

    def methods(self) -> str:
        """Return a paragraph that says how the comparison was made, for a paper."""
        return words.methods(self)

    def counts(self) -> "pd.DataFrame":
        """Return for each pair the tasks on which a is better, undecided or worse, also without correction."""
        return tally.counts(self.rows, self.alpha)

    def over_tasks(self) -> "pd.DataFrame":
        """Return a verdict for each pair with tasks as the unit: see `jaxopt_lab.statistics.tally.over_tasks`.

        Every task has draws of its own, so this counts the luck of tuning too.
        """
        return tally.over_tasks(self.rows, self.alpha)

    def scores(self) -> "pd.DataFrame":
        """Return a row for each task, optimizer and fresh seed, as `jl.judge` takes them."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"optimizer": optimizer, "task": task, "seed": seed, "score": value}
                for task, study in self.studies.items()
                for optimizer in self.optimizers
                for seed, value in zip(
                    study.fresh.dataset["seed"].values.tolist(), study.scores(optimizer).tolist(), strict=True
                )
            ]
        )

    def ranks(self) -> "pd.DataFrame":
        """Return the mean rank of each optimizer over tasks, best first, with a 95 % interval over tasks.

        Optimizers are ranked on each task by the mean score over fresh seeds; equals share a rank. Columns:
        `optimizer`, `rank`, `low`, `high` (infinite with one task), and the rank on each task.
        """
        import pandas as pd

        means = [
            [(1 if study.greater_is_better else -1) * study.scores(name).mean() for study in self.studies.values()]
            for name in self.optimizers
        ]
        mean, low, high, each = mean_ranks(np.asarray(means))
        table = pd.DataFrame({"optimizer": self.optimizers, "rank": mean, "low": low, "high": high})
        table = pd.concat([table, pd.DataFrame(each, columns=list(self.studies))], axis=1)
        return table.sort_values("rank", kind="stable", ignore_index=True)

    def steps_to_target(self) -> "pd.DataFrame":
        """Return the median steps to the target over fresh seeds, by optimizer and task; infinity where it was missed.

        The target of a task is 95 % of the best optimizer's improvement on the start, by the metric that selects, in
        the median over seeds. With a budget of examples, these are counted.
        """
        import pandas as pd

        found = {}
        for task, study in self.studies.items():
            curve = study.fresh.dataset[study.metric].transpose("config", "seed", ...)
            sign = -1 if study.greater_is_better else 1
            losses = np.where(np.isnan(curve.values), np.inf, sign * curve.values)
            names = study.fresh.dataset["optimizer"].values.tolist()
            starts, ends = np.median(losses[..., 0], axis=1), np.median(losses[..., -1], axis=1)
            start, best = float(starts[np.isfinite(starts)].min(initial=np.inf)), float(ends.min())
            target = start - REACHED * (start - best) if best < start < np.inf else -np.inf
            steps = np.median(steps_to_target(curve[curve.dims[-1]].values, losses, target), axis=1)
            found[task] = {name: float(steps[names.index(name)]) for name in self.optimizers}
        return pd.DataFrame(found, index=list(self.optimizers), columns=list(self.studies))

    def speed_up(self, reference: str) -> "pd.DataFrame":
        """Return how many times fewer steps each optimizer needs than the reference, by task.

        See `jaxopt_lab.statistics.profiles.speed_up`: per fresh seed, by the metric that selects. Columns: `task`,
        `optimizer`, `speed_up`, and its 95 % interval `low`, `high`, which takes six seeds.

        Raises:
            ValueError: The reference is not one of the optimizers.

        """
        import pandas as pd

        check_known("reference", reference, self.optimizers)
        rows = []
        for task, study in self.studies.items():
            curve = study.fresh.dataset[study.metric].transpose("config", "seed", ...)
            losses, names = (
                curve.values * (-1 if study.greater_is_better else 1),
                study.fresh.dataset["optimizer"].values,
            )
            steps, of = curve[curve.dims[-1]].values, lambda name, x=losses, y=names: x[y == name][0]
            for name in self.optimizers:
                if name != reference:
                    found = speed_up(steps, of(reference), of(name))
                    rows.append(
                        {"task": task, "optimizer": name, "speed_up": found[0], "low": found[1], "high": found[2]}
                    )
        return pd.DataFrame(rows)

    def profile(self, ratios: Any = None) -> "pd.DataFrame":
        """Return performance profiles: the share of tasks whose target each optimizer reaches, by cost.

        Dolan & More 2002, of `steps_to_target`. The index is the ratio to the fewest steps, the columns are optimizers.

        Args:
            ratios: To the fewest steps, >= 1; by default 100 from 1 to 4.

        """
        import pandas as pd

        ratios = np.linspace(1, 4, 100) if ratios is None else np.asarray(ratios, float)
        if ratios.ndim != 1 or not (ratios >= 1).all():
            raise ArgumentValueError(f"ratios must be numbers of at least 1, got {ratios!r:.100}.")
        costs = np.maximum(self.steps_to_target().to_numpy(), 1)
        shares = performance_profile(costs, ratios)
        return pd.DataFrame(shares.T, index=pd.Index(ratios, name="ratio"), columns=list(self.optimizers))

    def profile_scores(self) -> "dict[str, float]":
        """Return the mean of each optimizer's profile over ratios from 1 to 4, as AlgoPerf scores submissions."""
        costs = np.maximum(self.steps_to_target().to_numpy(), 1)
        return dict(zip(self.optimizers, profile_score(costs).tolist(), strict=True))

    def __str__(self) -> str:
        return words.summary(self)

    def __repr__(self) -> str:
        return words.summary(self)

    def _repr_html_(self) -> str:
        return words.as_html(self)
