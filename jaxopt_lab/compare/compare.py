"""`jl.compare`: which optimizer is better on which task, and how sure is that?"""

import itertools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxopt_lab.checking import check_count, check_flag, check_known, check_number, quoted
from jaxopt_lab.compare import words
from jaxopt_lab.compare.decide import Tuned, decide
from jaxopt_lab.compare.ranges import described, spaces_of
from jaxopt_lab.compare.study import Study, study
from jaxopt_lab.compare.verdict import Verdict
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, concerning
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.sweep.arguments import Optimizers, made_task, named_factories
from jaxopt_lab.sweep.budget import Budget, check_budget_of
from jaxopt_lab.sweep.checks import check_out, check_untraced
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks import TASKS
from jaxopt_lab.tasks.about import ABOUT
from jaxopt_lab.tasks.task import Task

TaskLike = Task | str | Callable[..., Task]


def compare(
    optimizers: Optimizers,
    tasks: TaskLike | Iterable[TaskLike] | Mapping[str, TaskLike],
    budget: int = 64,
    seeds: int = 20,
    *,
    tuning_seeds: int = 3,
    steps: Budget | Mapping[str, Budget] | None = None,
    metric: str | Mapping[str, str] | None = None,
    priors: Mapping[str, Mapping[str, Any]] | None = None,
    widen: bool = True,
    reference: str | None = None,
    alpha: float = 0.05,
    key: int = 0,
    out: str | Path | None = None,
    memory: int | float | None = None,
    cluster: str | None = None,
    progress: bool | Callable[[Progress], None] = False,
    cache: bool = True,
) -> Verdict:
    """Tune optimizers with equal budgets, run what was selected with fresh seeds, and say which one is better.

        verdict = jl.compare({"adam": jl.adam, "lion": optax.lion}, tasks=["digits_mlp", "digits_cnn"])
        print(verdict)
        verdict.table()

    On each task, `budget` configurations of each optimizer are drawn at random from its prior, independently, and run
    with the tuning seeds; the one with the best mean by the validation metric is selected, and run with `seeds` fresh
    seeds, the same for all optimizers. "Better" takes two things: the selected configurations differ on the fresh seeds
    (paired, on test data where there are any), and tuning anew would favour the same optimizer. The p-values are
    corrected by Holm's method over all pairs and tasks. If the best configurations of some optimizer lie on the edge of
    its prior, all optimizers draw once more, this one from a wider range, with a warning.

    Args:
        optimizers: Two or more: as for `jl.sweep`, by name or as factories, of this package, Optax or your own.
        tasks: One or more: names in `jl.TASKS`, tasks, functions that make them, or a dict of these by name.
        budget: The number of configurations of each optimizer on each task, >= 2. From 16 on, a large difference can be
            decided; 64 is usual.
        seeds: The number of fresh seeds, >= 2.
        tuning_seeds: The number of seeds that configurations are selected by.
        steps: The budget of a trial: as for `jl.sweep`, or a dict by task. By default that of the built-in task
            (`jaxopt-lab list tasks`); a task of your own needs it.
        metric: What configurations are selected by, or a dict by task: "accuracy" means that on validation data. It is
            compared on test data where there are any. By default the task's main metric.
        priors: What to draw from, by optimizer, in place of its prior: a dict of ranges, lists or numbers. An optimizer
            of another package has that of its namesake here, if there is one (`jl.prior`).
        widen: Whether to draw again from a wider range where the best lies on an edge.
        reference: Compare each optimizer with this one alone; by default all pairs.
        alpha: The chance of any false verdict, 0 < alpha < 1.
        key: The random key of the draws, an integer >= 0.
        out: A new folder, or that of the same comparison, to resume it; it has a run folder for each sweep, and the
            verdict's tables.
        memory: As for `jl.sweep`.
        cluster: As for `jl.sweep`.
        progress: As for `jl.sweep`.
        cache: As for `jl.sweep`.

    Raises:
        TypeError, ValueError: An argument is invalid: there are fewer than two optimizers, one has no prior, a task of
            your own has no budget; or as `jl.sweep`.
        RunError: The folder is in use, damaged, of another comparison, or cannot be written.
        KeyboardInterrupt: Ctrl-C; with `out`, the same call goes on with the comparison.

    """
    check_untraced("jl.compare")
    with concerning("optimizers"):
        factories = named_factories(optimizers)
        if len(factories) < 2:
            raise ArgumentValueError(f"A comparison needs two optimizers or more, got {', '.join(factories)} alone.")
    with concerning("tasks"):
        made = _tasks(tasks)
    budget = check_count("budget", budget, least=2)
    seeds, tuning_seeds = check_count("seeds", seeds, least=2), check_count("tuning_seeds", tuning_seeds)
    key = check_count("key", key, least=0)
    if not 0 < check_number("alpha", alpha) < 1:
        raise ArgumentValueError(f"alpha must be between 0 and 1, got {alpha!r}.")
    check_flag("widen", widen)
    if reference is not None:
        check_known("reference", reference, factories)
    with concerning("priors"):
        spaces, sources = spaces_of(factories, priors)
    with concerning("steps"):
        budgets = {name: check_budget_of("steps", _steps(name, steps, made)) for name in made}
    selected_by = {name: _by_task("metric", metric, name, made) for name in made}
    folder = None if check_out(out) is None else Folder(str(out))
    options = {"memory": memory, "cluster": cluster, "progress": progress, "cache": cache}

    def sweeps(name: str) -> Callable[..., Results]:
        """Return what sweeps tables of configurations on a task."""

        def run(tables: Mapping[str, Configurations], seeds: Sequence[int], part: str, **more: Any) -> Results:
            where = None if folder is None else folder.url(f"{_file_name(name, made)}/{part}")
            found = sweep(factories, made[name], tables, steps=budgets[name], seeds=seeds, out=where, **options, **more)
            if found.dataset.attrs["interrupted"]:  # what a part of the trials would select is no verdict
                raise KeyboardInterrupt("The comparison was interrupted. With out=, the same call goes on with it.")
            return found

        return run

    studies = {
        name: study(
            name,
            spaces,
            sweeps(name),
            budget=budget,
            tuning_seeds=tuning_seeds,
            seeds=seeds,
            metric=selected_by[name],
            widen=widen,
            key=key,
        )
        for name in made
    }
    verdict = concluded(studies, tuple(factories), sources, reference, alpha)
    if warned := words.warnings_of(verdict):
        warnings.warn("\n".join(warned), UserWarning, stacklevel=2)
    if folder is not None:
        for name, text in {
            "verdict.csv": verdict.table().to_csv(index=False),
            "priors.csv": verdict.priors().to_csv(index=False),
            "scores.csv": verdict.scores().to_csv(index=False),
            "verdict.txt": f"{verdict}\n",
        }.items():
            folder.write(name, text.encode())
    return verdict


def concluded(
    studies: Mapping[str, Study],
    optimizers: tuple[str, ...],
    sources: Mapping[str, Mapping[str, str]],
    reference: str | None,
    alpha: float,
) -> Verdict:
    """Give the verdict on studies."""
    pairs = (
        list(itertools.combinations(optimizers, 2))
        if reference is None
        else [(name, reference) for name in optimizers if name != reference]
    )
    tuned = {
        task: {name: Tuned(*study.tuned(name), study.scores(name)) for name in optimizers}
        for task, study in studies.items()
    }
    rows = decide(tuned, pairs, {task: study.greater_is_better for task, study in studies.items()}, alpha)
    rows["metric"] = [studies[task].reported for task in rows["task"]]
    for side in ("a", "b"):
        rows[f"prior_{side}"] = [
            described(studies[task].spaces[name]) for task, name in zip(rows["task"], rows[side], strict=True)
        ]
    return Verdict(studies, optimizers, alpha, rows, sources)


def _tasks(given: TaskLike | Iterable[TaskLike] | Mapping[str, TaskLike]) -> dict[str, Task]:
    """Return the tasks by name."""
    tasks: Any = given
    if isinstance(tasks, Mapping):
        named = {name: made_task(task) for name, task in tasks.items()}
        if wrong := [name for name in named if not isinstance(name, str) or not name]:
            raise ArgumentTypeError(f"Tasks are named by non-empty strings, got the name {quoted(wrong[0])}.")
    else:
        alone = isinstance(tasks, Task | str | bytes) or callable(tasks) or not isinstance(tasks, Iterable)
        several: Any = [tasks] if alone else tasks
        listed = [made_task(task) for task in several]
        named = {task.name: task for task in listed}
        if len(named) < len(listed):
            raise ArgumentValueError(
                f"Two tasks share a name: {[task.name for task in listed]}. Pass a dict of names, or rename one."
            )
    if not named:
        raise ArgumentValueError("No task was given: name one, for example 'digits_mlp'.")
    return named


def _steps(name: str, steps: Any, made: Mapping[str, Task]) -> Any:
    """Return the budget given for a task, or its own."""
    task = made[name]
    given = _by_task("steps", steps, name, made)
    if given is not None:
        return given
    known = ABOUT.get(task.factory) or ABOUT.get(TASKS.get(task.name))
    if known is None:
        raise ArgumentValueError(f"Task {name!r} is not built in, so it has no usual budget: give steps=.")
    return known.steps


def _by_task(what: str, given: Any, name: str, made: Mapping[str, Any]) -> Any:
    """Return what is given for one task: the same for all, or an entry of a dict."""
    if not isinstance(given, Mapping):
        return given
    if unknown := [key for key in given if key not in made]:
        raise ArgumentValueError(f"{what} has {quoted(unknown[0])}, which is not compared on: {', '.join(made)} are.")
    return given.get(name)


def _file_name(name: str, made: Mapping[str, Any]) -> str:
    """Return the name of a task's folder."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip(".") or "task"
    return plain if plain == name else f"{plain}-{list(made).index(name) + 1}"
