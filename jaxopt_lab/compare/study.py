"""The study of a task: every optimizer tuned with equally many random draws, and the selected ones run again."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from jaxopt_lab.checking import check_known
from jaxopt_lab.compare.ranges import Space, edges, widened
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.errors import concerning
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import default_metric, greater_is_better, metrics, score
from jaxopt_lab.sweep.space import random
from jaxopt_lab.tasks.names import SPLITS

ONLY_ENDS = 2**30  # a stride beyond any budget: the first and the last step alone
Sweep = Callable[..., Results]  # (tables, seeds, name of its folder, **options)


@dataclasses.dataclass(frozen=True)
class Edge:
    """A range on whose end the best configurations lie.

    Attributes:
        optimizer, hyperparameter: Whose.
        end: "low" or "high".
        wider: Whether a wider range was drawn from in turn; otherwise the study's own ends here.

    """

    optimizer: str
    hyperparameter: str
    end: str
    wider: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """What is known of one task.

    Attributes:
        task: Its name.
        metric: What configurations are selected by.
        reported: What is compared: the same on test data, where there are any.
        greater_is_better: Whether greater values of both are better.
        spaces: What each optimizer's configurations were drawn from in the end.
        edges: Ranges that the best configurations lie on the edge of.
        tuning: The sweep of all configurations over the tuning seeds.
        selected: The number of the selected configuration in `tuning`, by optimizer.
        fresh: The sweep of the selected configurations over fresh seeds; `config` numbers them by optimizer.

    """

    task: str
    metric: str
    reported: str
    greater_is_better: bool
    spaces: Mapping[str, Space]
    edges: tuple[Edge, ...]
    tuning: Results
    selected: Mapping[str, int]
    fresh: Results

    def tuned(self, optimizer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what its configurations were selected by, and their reported scores: means over the tuning seeds."""
        rows = self.tuning.dataset["optimizer"].values == optimizer
        return _means(self.tuning, self.metric)[rows], _means(self.tuning, self.reported)[rows]

    def scores(self, optimizer: str) -> np.ndarray:
        """Return the reported score of its selected configuration for each fresh seed."""
        rows = self.fresh.dataset["optimizer"].values == optimizer
        return score(self.fresh.dataset, self.reported).values[rows][0]


def study(
    task: str,
    spaces: Mapping[str, Space],
    sweep: Sweep,
    *,
    budget: int,
    tuning_seeds: int,
    seeds: int,
    metric: str | None,
    widen: bool,
    key: int,
) -> Study:
    """Tune every optimizer on a task, and run what was selected again.

    Where the best configurations of any optimizer lie on the edge of a range, all of them draw once more, these from
    wider ranges, and the first draws are not used: so budgets stay equal, and draws independent.

    Args:
        task: Its name.
        spaces: What to draw from, by optimizer.
        sweep: Runs tables of configurations on the task.
        budget: The configurations of each optimizer.
        tuning_seeds: The number of seeds that they are selected by.
        seeds: The number of seeds that the selected ones are run with.
        metric: What to select by; None for the task's main metric.
        widen: Whether to draw once more.
        key: The random key of the draws.

    """
    tuning, tables, found = _tuned(task, spaces, sweep, budget, tuning_seeds, metric, key, 1)
    marked = []
    if widen and found:
        wider = {name: dict(space) for name, space in spaces.items()}
        for name, hyperparameter, end in found:
            values = widened(wider[name][hyperparameter], end)
            if values is not None:
                wider[name][hyperparameter] = values
                marked.append(Edge(name, hyperparameter, end, True))
        if marked:
            spaces = wider
            tuning, tables, found = _tuned(task, spaces, sweep, budget, tuning_seeds, metric, key, 2)
    marked += [Edge(*edge, False) for edge in found]
    metric = default_metric(tuning.dataset) if metric is None else _named(tuning, metric)
    selected, chosen = {}, {}
    for name, table in tables.items():
        rows = np.flatnonzero(tuning.dataset["optimizer"].values == name)
        best = int(np.argmax(_oriented(tuning, metric)[rows]))
        selected[name] = int(tuning.dataset["config"].values[rows[best]])
        columns = {column: [values[best]] for column, values in table.columns.items()}
        chosen[name] = dataclasses.replace(table, columns=columns, kind="zipped")
    fresh = sweep(chosen, list(range(tuning_seeds, tuning_seeds + seeds)), "fresh", keep_top=None)
    return Study(
        task=task,
        metric=metric,
        reported=reported(tuning, metric),
        greater_is_better=greater_is_better(tuning.dataset, metric),
        spaces=spaces,
        edges=tuple(marked),
        tuning=tuning,
        selected=selected,
        fresh=fresh,
    )


def reported(results: Results, metric: str) -> str:
    """Return the name of a metric on test data, where there are any."""
    split, _, name = metric.partition("_")
    tested = f"test_{name}"
    return tested if split in SPLITS and tested in metrics(results.dataset) else metric


def _tuned(
    task: str,
    spaces: Mapping[str, Space],
    sweep: Sweep,
    budget: int,
    seeds: int,
    metric: str | None,
    key: int,
    turn: int,
) -> tuple[Results, dict[str, Configurations], list[tuple[str, str, str]]]:
    """Draw and run configurations; return also whose best ones lie on which ends of their ranges."""
    tables = {}
    for name, space in spaces.items():
        with concerning("priors", name):
            tables[name] = random(space, budget, _seed(key, task, name, turn))
    tuning = sweep(tables, list(range(seeds)), f"tuning-{turn}", record=ONLY_ENDS, evaluate=ONLY_ENDS, keep_top=0)
    values = _oriented(tuning, default_metric(tuning.dataset) if metric is None else _named(tuning, metric))
    found = []
    for name, table in tables.items():
        rows = tuning.dataset["optimizer"].values == name
        found += [(name, *edge) for edge in edges(spaces[name], table, values[rows])]
    return tuning, tables, found


def _named(results: Results, metric: str) -> str:
    """Return a metric's name in the results: "accuracy" means that on validation data."""
    known = metrics(results.dataset)
    name = metric if metric in known else f"validation_{metric}"
    if name not in known:
        with concerning("metric"):
            check_known("metric", metric, known)
    return name


def _oriented(results: Results, metric: str) -> np.ndarray:
    """Return the means over seeds, greater being better."""
    return _means(results, metric) * (1 if greater_is_better(results.dataset, metric) else -1)


def _means(results: Results, metric: str) -> np.ndarray:
    """Return the mean over seeds of each configuration's score: the worst where a trial failed."""
    return score(results.dataset, metric).values.mean(axis=1)


def _seed(key: int, task: str, optimizer: str, turn: int) -> int:
    """Return a seed for the draws of an optimizer: the same whatever else is compared."""
    named = zlib.crc32(f"{task}\n{optimizer}\n{turn}".encode())
    return int(np.random.SeedSequence([key, named]).generate_state(1)[0]) >> 1
