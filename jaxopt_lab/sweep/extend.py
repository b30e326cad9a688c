"""More of a sweep later: more seeds, more configurations, more steps, without repeating what is done."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import check_seeds
from jaxopt_lab.diagnostics import Own
from jaxopt_lab.engine.configurations import Configurations
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import Progress, evaluation_names
from jaxopt_lab.engine.run.backend import InProcess
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.engine.structure import BUDGET
from jaxopt_lab.engine.tuning.cutting import segment_length
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, RunError
from jaxopt_lab.results.concat import concat
from jaxopt_lab.results.files import PARTS, load_alone, parts_of
from jaxopt_lab.results.results import Results
from jaxopt_lab.store import manifest as manifests
from jaxopt_lab.store.axes import unit_of
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.lengthen import lengthen
from jaxopt_lab.sweep.arguments import Optimizers, made_task
from jaxopt_lab.sweep.budget import Budget, check_budget_of
from jaxopt_lab.sweep.checks import takes_budget
from jaxopt_lab.sweep.collect import collect
from jaxopt_lab.sweep.display import reporting
from jaxopt_lab.sweep.durable import identified, run_durably
from jaxopt_lab.sweep.made import Made
from jaxopt_lab.sweep.planning import planned
from jaxopt_lab.sweep.space import Space
from jaxopt_lab.tasks.task import Task

LENGTH = ("steps", "recorded steps", "evaluated steps", "segment")  # parts of a run's identity that its length decides


def extend(
    run: Results | str | Path,
    *,
    seeds: int | Iterable[int] | None = None,
    steps: Budget | None = None,
    space: Space | Mapping[str, Space] | None = None,
    optimizers: Optimizers | None = None,
    task: Task | Callable[..., Task] | None = None,
    diagnostics: Mapping[str, Own] | None = None,
    progress: bool | Callable[[Progress], None] = False,
) -> Results:
    """Add seeds, configurations or steps to a sweep that has ended. Only what is new is run.

    A run folder is extended in place, and `jl.load` then returns all of it. However an extension ends, the same call
    resumes it, and until it is complete the folder holds the results before. Where programs are the same, the results
    are those of one sweep of everything, to the last bit.

    Args:
        run: A run folder, or results in memory, which stay as they are.
        seeds: The seeds that there are to be in the end: a count or a list, with those of the sweep among them.
        steps: The budget that trials are to have in the end, in the sweep's unit. Trials go on from their states, which
            run folders keep where they take at most 256 MiB. Curves go on at the same stride.
        space: Further configurations, as for `jl.sweep`; those that the sweep already has are not run again.
        optimizers: The optimizers of the sweep, or of `space`, that are not this package's: as for `jl.sweep`.
        task: The sweep's task, where it is not one of `jl.TASKS`.
        diagnostics: The sweep's diagnostics that are functions of your own, by name.
        progress: As for `jl.sweep`.

    Raises:
        TypeError, ValueError: An argument is invalid, or the sweep cannot be extended so: a stop rule compared its
            trials, an optimizer's schedule knows the budget, or trials were interrupted or have failed.
        RunError: The run folder is in use, damaged, not complete, or has no states of its trials.

    """
    if seeds is None and steps is None and space is None:
        raise ArgumentValueError("jl.extend needs something to add: give seeds=, steps= or space=.")
    folder = None if isinstance(run, Results) else Folder(run)
    parts = [run] if isinstance(run, Results) else _parts(run, task)
    made = Made.of(parts[0], optimizers, task, diagnostics)
    with jax.enable_x64(parts[0].dataset.attrs["dtype"] == "float64"), reporting(progress) as report:
        for part in parts:
            made.check(part.dataset)
        if steps is not None:
            if folder is None:
                raise ArgumentValueError(
                    "jl.extend(steps=...) goes on from the states of trials, which results in memory do not have: "
                    'sweep with out= a run folder, and extend that. out="memory://NAME" is one that leaves no files.'
                )
            places, budget = [folder.url(), *parts_of(folder.url())], check_budget_of("steps", steps)
            for i in reversed(range(len(parts))):  # the folder itself comes last: its budget is that of the whole
                parts[i] = _longer(places[i], parts[i], made, budget, report)
                if parts[i].dataset.attrs["interrupted"]:
                    return parts[i]
        whole = concat(parts) if len(parts) > 1 else parts[0]
        have = whole.dataset["seed"].values.tolist()
        wanted = have if seeds is None else check_seeds(seeds)
        if missing := [seed for seed in have if seed not in wanted]:
            raise ArgumentValueError(
                f"seeds are those that there are to be in the end, and lack {missing}: name all, or give a count."
            )
        if space is not None and (more := made.new_tables(whole.dataset, space)):
            whole = concat([whole, _more(whole, made, more, have, folder, report)])
        new = [seed for seed in wanted if seed not in have]
        if new and not whole.dataset.attrs["interrupted"]:
            whole = concat([whole, _more(whole, made, made.tables(whole.dataset), new, folder, report)])
    return whole


def _parts(run: str | Path, task: Any) -> list[Results]:
    """Load a run folder and what extends it, each by itself."""
    given = None if task is None else made_task(task)
    return [load_alone(run, given), *(load_alone(part, given) for part in parts_of(run))]


def _more(
    whole: Results,
    made: Made,
    tables: Mapping[str, Configurations],
    seeds: list[int],
    folder: Folder | None,
    report: Callable[[Progress], None],
) -> Results:
    """Sweep these tables and seeds as the whole was; in a run folder of its own inside that of the whole."""
    out = None
    if folder is not None:
        done = len(parts_of(folder.url()))  # the next one may have been begun
        out = folder.url(f"{PARTS}/{done + 1:04d}")
    request = made.request(whole.dataset, tables, seeds, out=out)
    plan = planned(request)
    unit = plan.unit
    points = whole.dataset[unit].values, whole.dataset[f"eval_{unit}"].values
    plan = _recorded_at(plan, *points, whole)
    if out is not None:
        return run_durably(plan, request, report, lambda _: InProcess())
    return collect(plan, execute(plan, report))


def _longer(place: str, part: Results, made: Made, steps: Budget, report: Callable[[Progress], None]) -> Results:
    """Let the trials of a run folder go on to a longer budget."""
    dataset, tables = part.dataset, made.tables(part.dataset)
    unit, seeds = unit_of(dataset), dataset["seed"].values.tolist()
    if isinstance(steps, int) != (unit == "step"):
        raise ArgumentTypeError(
            f"The budget of the sweep is in {'steps' if unit == 'step' else unit}, so steps= must be "
            f"{'an integer' if unit == 'step' else 'jl.examples(...) or jl.epochs(...)'}, got {steps!r}."
        )
    for name, table in tables.items():
        if takes_budget(made.factories[name]) and BUDGET not in table.columns:
            raise ArgumentValueError(
                f"{name} follows a schedule that knows the budget: with more steps, the steps that its trials have "
                "made would have been others. Start a longer sweep in another folder."
            )
    if failed := int((dataset["status"] == "failed").sum()):
        raise ArgumentValueError(
            f"{failed} trials have failed, and have no state to go on from. Start a longer sweep in another folder."
        )
    total = int(dataset.attrs["steps" if unit == "step" else unit])
    request = made.request(dataset, tables, seeds, steps, place)
    plan, record, evaluate = planned(request), dataset[unit].values, dataset[f"eval_{unit}"].values
    if plan.steps < total:
        raise ArgumentValueError(
            f"steps is the budget that trials are to have in the end, and they have {total:,} {plan.units} already: "
            f"give more than that, got {plan.steps:,}."
        )
    if plan.steps == total:  # an extension that was interrupted had come to this folder
        return part
    measured = bool(evaluation_names(plan))
    points = _further(record, plan.steps), _further(evaluate, plan.steps) if measured else np.array([0, plan.steps])
    plan = _recorded_at(plan, *points, part)
    manifest = manifests.read(Folder(place))
    if manifest is None or not manifest.before:  # else an extension was interrupted in this folder
        before, now = (
            {k: v for k, v in x.items() if k not in LENGTH} for x in (_identity(place, manifest), identified(plan))
        )
        if lines := manifests.differences(before, now):
            raise RunError(f"{place} holds a different run: {'; '.join(lines)}.")
        known = {"steps": total, "record": record.tolist(), "evaluate": evaluate.tolist()}
        lengthen(place, identified(plan), known)
    return run_durably(plan, request, report, lambda _: InProcess())


def _identity(place: str, manifest: manifests.Manifest | None) -> dict[str, Any]:
    if manifest is None:
        raise RunError(f"{place} is not a run folder, which keeps the states of trials: sweep with out=.")
    return manifest.identity


def _further(points: np.ndarray, total: int) -> np.ndarray:
    """Return points at the same stride, up to a larger total; the last one before may have been off the stride."""
    return np.append(np.arange(0, total, points[1] - points[0]), total)


def _recorded_at(plan: Plan, record: np.ndarray, evaluate: np.ndarray, like: Results) -> Plan:
    """Return the plan with these recorded and evaluated points, and the strides of a sweep's diagnostics."""
    plan = dataclasses.replace(plan, record_steps=record.astype(np.int32), eval_steps=evaluate.astype(np.int32))
    strides = json.loads(like.dataset.attrs.get("diagnostics", "{}"))
    own = tuple(dataclasses.replace(one, stride=strides[one.name]) for one in plan.diagnostics)
    plan = dataclasses.replace(plan, diagnostics=own)
    return dataclasses.replace(plan, segment_length=segment_length(plan))
