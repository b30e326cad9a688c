"""Repeat one trial of a sweep: its parameters, its full curve, and the difference from the stored curve."""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.checking import check_count, quoted
from jaxopt_lab.diagnostics import LEARNING_RATE, NAMES, Own
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.structure import BUDGET
from jaxopt_lab.labels import present, same, tuples
from jaxopt_lab.optimizers import OPTIMIZERS
from jaxopt_lab.results.files import load
from jaxopt_lab.results.lineage import Leg, legs, takeovers
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.score import hyperparameters
from jaxopt_lab.store.axes import unit_of
from jaxopt_lab.store.identity import of_another_problem, problem, versions
from jaxopt_lab.sweep.arguments import made_task
from jaxopt_lab.sweep.checks import takes_budget
from jaxopt_lab.sweep.hyperparameter import Static, static
from jaxopt_lab.sweep.made import rewrote
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.sweep.scripted import Scripted
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.calls import evaluate, examples_per_step, shapes
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.types import OptimizerFactory, random_key

if TYPE_CHECKING:
    import xarray as xr

WITHOUT_END = ("stopped", "interrupted", "plateau")  # trials that did not end by themselves


@dataclasses.dataclass(frozen=True)
class Rerun:
    """A trial that was repeated.

    Attributes:
        params: Its final parameters, as NumPy arrays in the task's own tree.
        dataset: Its results, with the training loss of every step: dims `step` and `eval_step`.
        largest_difference: The largest relative difference from the stored training losses at any stored step; of a
            trial that continued from another's state, after it did so for the last time.
        tolerance: The largest difference to expect, since another program ran it and rounding errors grow from step to
            step: half of the digits of the lowest precision among the parameters and the loss (.09 in bfloat16, 3.5e-4
            in float32, 1.5e-8 in float64). Chaotic training may exceed it.

    """

    params: Any
    dataset: "xr.Dataset"
    largest_difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.largest_difference <= self.tolerance


def rerun(
    run: Results | str | Path,
    config: int,
    seed: int,
    *,
    task: Task | Callable[..., Task] | None = None,
    optimizer: OptimizerFactory | None = None,
    values: Mapping[str, Any] | None = None,
    diagnostics: Mapping[str, Own] | None = None,
) -> Rerun:
    """Repeat one trial of a sweep by itself, up to the step that it reached there.

    A trial that continued from others (`jl.pbt`) is repeated along its lineage, from the start.

    Args:
        run: The sweep's results, or their folder.
        config: The number of the trial's configuration.
        seed: The trial's seed.
        task: The sweep's task, where it is not one of `jl.TASKS`.
        optimizer: The factory of the trial's optimizer, where its name in the sweep is not one of this package's.
        values: Structural hyperparameters that cannot be read back (functions, for example), by name.
        diagnostics: The sweep's diagnostics that are functions of your own, by name; without them, their curves are
            left out.

    Raises:
        ValueError: There is no such trial, an argument is missing, or an argument differs from the sweep's: another
            loss, other data, another optimizer.
        RunError: The folder is damaged.

    """
    results = run if isinstance(run, Results) else load(run)
    dataset = results.dataset
    config, seed = check_count("config", config, least=0), check_count("seed", seed, least=0)
    if values is not None and not isinstance(values, Mapping):
        raise TypeError(f"values must be a dict of structural hyperparameters, got {quoted(values)}.")
    for name, number in (("config", config), ("seed", seed)):
        if number not in dataset[name].values:
            raise ValueError(f"There is no {name} {number!r}: there are {dataset[name].values.tolist()!s:.200}.")
    trial = dataset.sel(config=config, seed=seed)
    name = str(trial["optimizer"].values)
    factory = OPTIMIZERS.get(name) if optimizer is None else optimizer
    if factory is None:
        raise ValueError(f"{name!r} is not one of this package's optimizers: pass its factory, as optimizer=...")
    base = results.task if task is None else made_task(task)
    if base is None:
        raise ValueError(f"The task {dataset.attrs['task']!r} is not among jl.TASKS: pass it, as task=...")
    number = dataset.attrs["dtype"]
    lineage = legs(dataset, config, seed)
    space = _space(dataset, lineage[0].config, values or {})
    with jax.enable_x64(number == "float64"):
        per_step = _per_step(dataset, {name: factory}, base, space | _numbers(space, factory))
    budget = -(-int(dataset.attrs["steps" if per_step is None else "examples"]) // (per_step or 1))
    steps = int(trial["steps_taken"]) if str(trial["status"].values) in WITHOUT_END else budget
    if steps == 0:
        raise ValueError(f"Configuration {config} with seed {seed} made no step, so there is nothing to repeat.")
    if takes_budget(factory):  # the sweep's, also where the trial was stopped before
        space.setdefault(BUDGET, static([budget]))
    numbers = _numbers(space, factory)
    what, options = (
        ({name: factory}, base, space | numbers),
        {
            "steps": steps,
            "seeds": [seed],
            "target": dataset.attrs.get("target"),
            "tolerance": dataset.attrs.get("tolerance"),
            "diverged_above": _bound(dataset.attrs.get("diverged_above", "auto")),
            "nonfinite": dataset.attrs.get("nonfinite", 0),
            "record": 1,
            "strategy": "scan_each",
            "rewrite": rewrote(dataset),
            "stop": _scripted(lineage, steps, per_step or 1),
            "diagnostics": _diagnostics(dataset, per_step or 1, diagnostics or {}),
        },
    )
    with jax.enable_x64(number == "float64"):
        plan = plan_sweep(*what, **options)
        _refuse_another(dataset, _with_static(plan, numbers))
        again = sweep(*what, **options)
        tolerance = _tolerance(plan.groups[0].structure.task)
    one = again.dataset.isel(config=0, seed=0)
    curve = trial["train_loss"]
    at = -(-curve[curve.dims[-1]].values // (per_step or 1))
    own = (at <= steps) & (at > max((-(-rung // (per_step or 1)) for rung in takeovers(lineage)), default=-1))
    stored = curve.values[own]
    return Rerun(
        params=again.params(0, seed),
        dataset=one,
        largest_difference=_difference(stored, one["train_loss"].sel(step=at[own]).values),
        tolerance=tolerance,
    )


def _per_step(dataset: "xr.Dataset", *what: Any) -> int | None:
    """Return how many examples a step of the trial sees, where the sweep's budget is one of examples."""
    if unit_of(dataset) == "step":
        return None
    (optimizers, task, space) = what
    given = {BUDGET: static([1])} if takes_budget(next(iter(optimizers.values()))) else {}
    return examples_per_step(plan_sweep(optimizers, task, given | space, steps=1).groups[0].structure.task)


def _diagnostics(dataset: "xr.Dataset", per_step: int, own: Mapping[str, Own]) -> dict[str, Any]:
    """Return the diagnostics of the sweep with their strides in the trial's steps, as far as these are whole."""
    found = {}
    for name, stride in json.loads(dataset.attrs.get("diagnostics", "{}")).items():
        if name == LEARNING_RATE:
            found[name] = None
        elif stride % per_step == 0 and name in (*NAMES, *own):
            found[name] = stride // per_step if name in NAMES else (own[name], stride // per_step)
    return found


def _scripted(lineage: list[Leg], steps: int, per_step: int) -> Scripted | None:
    """Return a rule that gives a single trial the hyperparameters of a lineage."""
    rungs = [(-(-leg.start // per_step), leg.values) for leg in lineage[1:]]
    rungs = [(rung, values) for rung, values in rungs if rung < steps]
    if not rungs or not rungs[0][1]:
        return None
    values = [(name, tuple(values[name] for _, values in rungs)) for name in rungs[0][1]]
    return Scripted(tuple(rung for rung, _ in rungs), tuple(values))


def _bound(stored: Any) -> Any:
    return None if stored == "none" else stored


def _with_static(plan: Plan, values: Mapping[str, Any]) -> Plan:
    """Make some numbers of a one-trial plan structural values, as they were in the sweep."""
    (group,) = plan.groups
    names = tuple(name for name in group.structure.names if name not in values)
    static = (*group.structure.static, *values.items())
    structure = dataclasses.replace(group.structure, names=names, static=static)
    return dataclasses.replace(plan, groups=[dataclasses.replace(group, structure=structure)])


def _refuse_another(dataset: "xr.Dataset", plan: Plan) -> None:
    """Raise ValueError where a one-trial plan has another problem than the dataset."""
    if "problem" not in dataset.attrs:
        return
    try:
        before, versions_then = (json.loads(dataset.attrs.get(name, "null")) for name in ("problem", "versions"))
    except (ValueError, RecursionError):
        before, versions_then = None, None
    if lines := of_another_problem(before, problem(plan), versions_then == versions()):
        raise ValueError(
            f"This is not a trial of the sweep: {'; '.join(lines)}. Pass the task, optimizer and values that the sweep "
            "ran with, under the same JAX settings."
        )


def _tolerance(task: Task) -> float:
    """Return half of the digits of the lowest precision among the parameters and the loss, as a tolerance."""
    once = lambda params, batch, model: evaluate(task, params, batch, model, random_key(0)).loss
    found = [x.dtype for x in jax.tree.leaves((shapes(task).params, jax.eval_shape(once, *shapes(task))))]
    found += [jnp.result_type(float)]
    return float(np.sqrt(max(float(jnp.finfo(x).eps) for x in found if jnp.issubdtype(x, jnp.inexact))))


def _space(dataset: "xr.Dataset", config: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration's values as a space."""
    row, space = int(np.flatnonzero(dataset["config"].values == config)[0]), {}
    structural = json.loads(dataset.attrs["structural"]).get(str(dataset["optimizer"].values[row]), {})
    for name, column in hyperparameters(dataset).items():
        if not present(column[row : row + 1])[0]:
            continue
        called = column[row : row + 1].tolist()[0]
        if name in given:
            space[name] = static([given[name]])
        elif name not in structural:
            space[name] = called
        else:
            known = [value for label, value in structural[name] if same(label, called)]
            if not known:
                raise ValueError(f"{name} = {called} cannot be read back: pass it, as values={{{name!r}: ...}}.")
            space[name] = static([tuples(known[0])])
    return space


def _numbers(space: Mapping[str, Any], factory: OptimizerFactory) -> dict[str, Any]:
    """Return numbers that were structural only because None was among the values: alone, they are numeric."""
    values = {name: value.values[0] for name, value in space.items() if isinstance(value, Static)}
    return {name: x for name, x in values.items() if type(x) in (int, float) and _is_numeric(factory, name)}


def _is_numeric(factory: OptimizerFactory, name: str) -> bool:
    """Return whether the hyperparameter is numeric in one of this package's optimizers."""
    parameter = inspect.signature(factory).parameters.get(name)
    return factory in OPTIMIZERS.values() and parameter is not None and parameter.kind is not parameter.KEYWORD_ONLY


def _difference(stored: np.ndarray, again: np.ndarray) -> float:
    """Return the largest relative difference; infinite where only one of two values is finite.

    Compares up to the last stored number: a trial that was ended at a step has no loss there.
    """
    known = np.flatnonzero(~np.isnan(stored))
    stored, again = (curve[: known[-1] + 1 if len(known) else 0] for curve in (stored, again))
    finite = np.isfinite(stored)
    if not (finite == np.isfinite(again)).all():
        return np.inf
    gap = np.abs(stored[finite] - again[finite])
    return float(np.max(gap / np.maximum(np.abs(stored[finite]), np.finfo(stored.dtype).tiny), initial=0.0))
