"""`jl.search`: configurations that a method suggests round by round, each round one sweep.

A round asks the method of each optimizer for a batch of configurations, runs them all as one sweep, and tells each
method how its own have ended. Rounds are plans of the first round's shape: the same recorded and evaluated steps, the
same segments, and the strategies that it chose, so its programs serve the later rounds, whose chunks are padded where
they have fewer configurations. The results of a search are those of its rounds, merged along configurations, which are
numbered in the order in which they were suggested; their space is of kind "search".

In a run folder, the first round is the folder's own run, and round n is a run folder of its own inside it,
`more/000n`, as `jl.extend` has them. Nothing of a method's state is stored. A search that resumes asks its methods
again: rounds that are complete are loaded, and told again, and the identity of each run folder has the configurations
that it holds, to the last bit, so a method that suggests others is refused.
"""

import dataclasses
import json

from jaxopt_lab.cluster.backend import Cluster, connected
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.plan import Plan, Reused
from jaxopt_lab.engine.strategy import Strategy, stored_strategy
from jaxopt_lab.errors import concerning
from jaxopt_lab.results.concat import joined
from jaxopt_lab.results.files import PARTS
from jaxopt_lab.results.results import Results
from jaxopt_lab.search.progress import Whole
from jaxopt_lab.search.request import SearchRequest
from jaxopt_lab.search.suggested import Suggested
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.sweep.arguments import made_task
from jaxopt_lab.sweep.display import reporting
from jaxopt_lab.sweep.durable import write_table
from jaxopt_lab.sweep.options import asked
from jaxopt_lab.sweep.planning import planned
from jaxopt_lab.sweep.sweep import run
from jaxopt_lab.tasks.task import Task


@asked("jl.search", SearchRequest)
def search(request: SearchRequest) -> Results:  # noqa: D417
    """Search for good hyperparameters: a method suggests configurations from the results of earlier ones.

        results = jl.search(jl.adam, task, jl.prior(jl.adam), method=jl.optuna("tpe"), steps=1000, seeds=2)
        results.confirm(top=5, seeds=20)

    It runs rounds of `batch` configurations. Each is one sweep, and its programs are compiled once for all rounds. All
    optimizers get the same budget, and each has a method of its own, which knows nothing of the others. A method is
    told the mean over seeds of the main metric at the end of training, and infinity where a trial diverged: see
    `jl.SearchMethod`. A stop rule compares the trials of a round.

    Suggested configurations are no independent draws, so `tuning_curves` refuses them; and the best of many looks
    better than it is, so run the finalists again on fresh seeds, with `results.confirm`.

    Args:
        {arguments}

    Returns:
        The results of all rounds. Configurations are numbered in the order in which they were suggested; one that was
        suggested again is not run again.

    Raises:
        TypeError, ValueError: An argument is invalid, a method suggests something that is not in the space; or as
            `jl.sweep`.
        KeyboardInterrupt: Ctrl-C before the first round has begun; later, the results so far are returned.
        RunError: As `jl.sweep`; or a method suggests other configurations than the run folder has.
        ClusterError, ImportError: As `jl.sweep`.

    """
    with concerning("task"):
        task = made_task(request.task)
    suggested = {name: Suggested(name, request.suggests, space, request.key) for name, space in request.spaces.items()}
    trials = request.budget * len(suggested) * len(request.named_seeds)
    with connected(request.cluster) as cluster, reporting(request.progress) as report:
        rounds, whole = _Rounds(request, task, cluster), Whole(report, trials)
        interrupted = False
        try:
            for first in range(0, request.budget, request.batch):
                count = min(request.batch, request.budget - first)
                tables = {name: table for name, own in suggested.items() if (table := own.ask(count)) is not None}
                results = rounds.run(tables, whole) if tables else None
                if results is not None and results.dataset.attrs["interrupted"]:
                    break
                for own in suggested.values():
                    own.tell(results)
        except KeyboardInterrupt:  # between two rounds
            if not rounds.results:
                raise
            interrupted = True
    found = joined(rounds.results)
    found.dataset.attrs["interrupted"] = int(interrupted or found.dataset.attrs["interrupted"])
    if request.out is not None:
        write_table(found, Folder(request.out))  # of all rounds, in place of the first one's
    return found


class _Rounds:
    """The rounds of a search so far."""

    def __init__(self, request: SearchRequest, task: Task, cluster: Cluster | None):
        self.results: list[Results] = []
        self._request, self._task, self._cluster = request, task, cluster
        self._folder = None if request.out is None else Folder(request.out)
        self._first: Plan | None = None
        self._reused: dict[Reused, None] = {}

    def run(self, tables: dict[str, Configurations], whole: Whole) -> Results:
        """Run a round's configurations, or load them from the run folder."""
        number, factories = len(self.results), self._request.factories
        inside = f"{PARTS}/{number:04d}" if number else ""
        out = None if self._folder is None else self._folder.url(inside)
        optimizers = {name: factories[name] for name in tables}
        request = self._request.round(optimizers=optimizers, task=self._task, space=tables, out=out)
        plan = planned(request) if self._cluster is None else self._cluster.planned(planned(request))
        plan = dataclasses.replace(plan, reused=tuple(self._reused))
        if self._first is not None:
            same = ("record_steps", "eval_steps", "segment_length", "diagnostics")
            plan = dataclasses.replace(plan, **{name: getattr(self._first, name) for name in same})
        self._first = self._first or plan
        results = run(plan, request, self._cluster, whole.begin(plan))
        self.results.append(results)
        whole.end()
        self._reused |= dict.fromkeys(_strategies(plan, results))
        return results


def _strategies(plan: Plan, results: Results) -> list[Reused]:
    """Return how the groups of a round ran; a group that failed has no strategy."""
    names = [field.name for field in dataclasses.fields(Strategy)]
    found = []
    for group, table in zip(plan.groups, json.loads(results.dataset.attrs["strategies"]), strict=True):
        strategy = stored_strategy({name: table[name] for name in names if name in table})
        if strategy is not None:
            found.append(Reused(group.structure, len(group.configs), strategy))
    return found
