"""A naive sweep: loops over steps and trials, written from the documentation of each field.

Nothing here is vectorised, cut into chunks or compiled beyond one training step, and nothing comes from the engine.
`test_against_naive.py` compares every sweep with it.
"""

import dataclasses
import itertools
import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_lab as jl
from jaxopt_lab.engine.rules import Hyperband, Plateau
from jaxopt_lab.sweep.hyperparameter import Static
from jaxopt_lab.sweep.ranges import Range
from jaxopt_lab.sweep.space import Configurations
from jaxopt_lab.tasks.seeding import batch_key, initial_params, noise_key
from jaxopt_lab.trial import answer

SPLITS = ("validation", "test")
GREATER = ("accuracy", "reward")  # metrics of which more is better
NEAR = 1e-9  # two numbers closer than this, relatively, may come in either order after other rounding


class TooCloseError(Exception):
    """What happens next depends on rounding: a loss at its target, a tie that is not exact."""


def examples_of(task: jl.Task) -> int | None:
    """Return how many examples a batch has."""
    batch = task.train(jax.random.key(0)) if callable(task.train) else task.train
    return task.batch_size or (None if batch is None else len(jax.tree.leaves(batch)[0]))


@dataclasses.dataclass
class Trial:
    """One training run, and everything known about it."""

    optimizer: str
    config: int
    seed: int
    values: dict[str, Any]  # numeric hyperparameters
    static: dict[str, Any]  # structural ones
    task: jl.Task
    step: Any  # one compiled training step
    params: Any = None
    state: Any = None
    status: str = "running"
    taken: int = 0  # updates applied
    first_bad: int = -1
    rung: int = -1
    skipped: int = 0  # steps passed over for a loss or gradient that was not finite
    in_a_row: int = 0
    bound: float | None = None  # a training loss above it is divergence; None before the first finite one
    loss: float = math.inf  # the last finite training loss
    ahead: Any = None  # what the step at hand would lead to
    curve: list[float] = dataclasses.field(default_factory=list)
    held_out: dict[tuple[str, int], float] = dataclasses.field(default_factory=dict)
    compared: list[float] = dataclasses.field(default_factory=list)  # at each rung; least is best


def gradients_of(trial: Trial) -> int:
    """Return how many gradients a trial has evaluated; -1 with a line search, or where it matters which it skipped."""
    if trial.optimizer in ("lbfgs", "searched"):
        return -1
    if trial.optimizer == "sophia":
        estimates = len([t for t in range(trial.taken) if t % trial.values["update_interval"] == 0])
        return -1 if trial.skipped else trial.taken + 2 * estimates
    return trial.taken * (2 if trial.optimizer == "sam" else 1)


@dataclasses.dataclass
class Expected:
    """What a sweep's dataset and parameters should be.

    Attributes:
        arrays: Each variable of the dataset by name, with axes (config, seed) and perhaps one of steps.
        coords: Each of its coordinates, hyperparameters apart.
        hyperparameters: One dict a configuration.
        rungs: The list in `attrs["rungs"]`.
        params: By (config, seed).

    """

    arrays: dict[str, np.ndarray]
    coords: dict[str, list[Any]]
    hyperparameters: list[dict[str, Any]]
    rungs: list[dict[str, Any]] | None
    params: dict[tuple[int, int], Any]


class Loop:
    """The naive loop. Its arguments are those of `jl.sweep`, and two more.

    `exact`: the task's arithmetic has no rounding. `nudge`: a relative change of the initial parameters.
    """

    def __init__(
        self, optimizers, task, space, *, steps, seeds=1, target=None, tolerance=None, record=None, evaluate=None,
        stop=None, diverged_above="auto", nonfinite=0, exact=False, nudge=0.0,
    ):  # fmt: skip
        self.steps, self.target, self.tolerance, self.stop, self.exact = steps, target, tolerance, stop, exact
        self.diverged_above, self.nonfinite = diverged_above, nonfinite
        self.seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
        self.rows = []
        for name in optimizers:
            own = space[name] if any(isinstance(s, dict | Configurations) for s in space.values()) else space
            self.rows += [(name, *row) for row in table(own)]
        self.tasks = [task.replace(**inner(static)) if inner(static) else task for _, _, static in self.rows]
        self.trials = []
        for config, ((name, values, static), own) in enumerate(zip(self.rows, self.tasks, strict=True)):
            outer = {n: v for n, v in static.items() if not n.startswith("task.")}
            for seed in self.seeds:
                trial = Trial(name, config, seed, values, static, own, jitted(optimizers[name], own, outer))
                key = jax.random.key(seed)
                trial.params = jax.tree.map(lambda w: w * (1 + nudge), initial_params(own, key))
                trial.state = optimizers[name](**values, **outer).init(trial.params)
                self.trials.append(trial)
        self.names = {
            f"{split}_{what}": (split, what)
            for split in SPLITS
            if getattr(task, split) is not None
            for what in ("loss", *task.metrics)
        }
        self.pools = list(self.brackets(optimizers))
        rungs = {rung for *_, pool_rungs in self.pools for rung in pool_rungs}
        self.recorded = points(record, steps, 200)
        self.evaluated = sorted({*points(evaluate, steps, 20 if self.names else 1), *rungs})

    def brackets(self, optimizers):
        """(optimizer, bracket, its trials, its rungs): what a rule compares with each other."""
        for name in optimizers:
            configs = [config for config, (owner, *_) in enumerate(self.rows) if owner == name]
            groups = [(range(len(configs)), [])] if self.stop is None else divided(self.stop, len(configs), self.steps)
            for bracket, (members, rungs) in enumerate(groups):
                chosen = {configs[i] for i in members}
                yield name, bracket, [t for t in self.trials if t.config in chosen], rungs

    def run(self) -> Expected:
        decisions = [d for pool in self.pools for d in self.race(*pool)]
        shape = len(self.rows), len(self.seeds)
        of_all = lambda get: np.array([get(t) for t in self.trials]).reshape(*shape, -1)
        arrays = {"train_loss": of_all(lambda t: [t.curve[s] for s in self.recorded])}
        for name in self.names:
            arrays[name] = of_all(lambda t, name=name: [t.held_out[name, s] for s in self.evaluated])
        for name, get in {
            "status": lambda t: t.status,
            "first_bad_step": lambda t: t.first_bad,
            "steps_taken": lambda t: t.taken,
            "examples_seen": lambda t: t.taken * (examples_of(t.task) or 0),
            "gradients_taken": gradients_of,
            "rung": lambda t: t.rung,
            "skipped_steps": lambda t: t.skipped,
        }.items():
            arrays[name] = of_all(get)[..., 0]
        counted = all(examples_of(t.task) for t in self.trials)
        for name, given in {"rung": self.stop, "skipped_steps": self.nonfinite, "examples_seen": counted}.items():
            if not given:
                del arrays[name]
        return Expected(
            arrays,
            {"config": list(range(shape[0])), "seed": self.seeds, "step": self.recorded, "eval_step": self.evaluated}
            | {"optimizer": [name for name, *_ in self.rows]},
            [values | static for _, values, static in self.rows],
            None if self.stop is None else decisions,
            {(t.config, t.seed): answer(t.state, t.params) for t in self.trials},
        )

    def race(self, optimizer, bracket, trials, rungs):
        """Train the trials of a pool in parallel; yields the rule's decisions."""
        racing = list(trials)  # those that the rule has not ended
        running = bool(trials)  # since the last rung
        for t in range(self.steps + 1):
            for trial in trials:
                self.look(trial, t)
            if t in rungs and running:
                ends = self.judged(racing)
                cut_off = [trial for trial in ends if trial.status == "running"]
                for trial in cut_off:
                    trial.status, trial.rung = self.stop.status, rungs.index(t)
                    trial.curve[t] = math.nan if trial.status == "stopped" else trial.loss
                known = {"optimizer": optimizer, "bracket": bracket, "rung": rungs.index(t), "step": t}
                known |= {"compared": len(racing), "ended": len(cut_off)}
                racing = [trial for trial in racing if trial not in ends]
                yield known | {"worst_kept": self.worst(racing)}
                running = any(trial.status == "running" for trial in trials)
            for trial in trials:
                if trial.status == "running" and t < self.steps:
                    self.move(trial, t)
        for trial in trials:
            if trial.status == "running":
                trial.status = "completed"

    def look(self, trial: Trial, t: int) -> None:
        """The loss of the batch of step t, what it means, and held-out losses and metrics where they are due."""
        shown = math.nan if trial.status == "stopped" else trial.loss
        if trial.status == "running":
            shown = self.seen(trial, t)
        trial.curve.append(shown)
        if t in self.evaluated:
            self.evaluate(trial, t)

    def seen(self, trial: Trial, t: int) -> float:
        """Look at the loss of a trial that runs; returns what is recorded of it."""
        trial.ahead = trial.step(trial.values, trial.params, trial.state, trial.seed, t)
        loss = float(trial.ahead["loss"])
        if not math.isfinite(loss):
            if trial.in_a_row == self.nonfinite:
                return self.diverge(trial, t)
            return trial.loss if t == self.steps else math.inf  # to be skipped
        trial.loss = loss
        if trial.bound is None:
            trial.bound = self.bound(loss)
        if self.target is not None and self.not_above(loss, self.target):
            trial.status = "reached"
        elif not self.not_above(loss, trial.bound):
            return self.diverge(trial, t)
        return loss

    def move(self, trial: Trial, t: int) -> None:
        """Apply the update of step t, or skip it."""
        sound = math.isfinite(trial.ahead["loss"]) and (self.nonfinite == 0 or bool(trial.ahead["finite"]))
        if not sound and trial.in_a_row == self.nonfinite:
            trial.curve[t] = self.diverge(trial, t)
            return
        trial.taken = t + 1
        if not sound:
            trial.in_a_row, trial.skipped = trial.in_a_row + 1, trial.skipped + 1
            return
        trial.in_a_row, trial.params, trial.state = 0, trial.ahead["params"], trial.ahead["state"]
        if self.tolerance is not None and self.not_above(float(trial.ahead["norm"]), self.tolerance):
            trial.status = "converged"

    def diverge(self, trial: Trial, t: int) -> float:
        trial.status, trial.first_bad, trial.loss = "diverged", t, math.inf
        return trial.loss

    def bound(self, first: float) -> float:
        """Return the bound above which a training loss is divergence."""
        if self.diverged_above == "auto":
            return first + 1e6 * (1 + abs(first))
        return math.inf if self.diverged_above is None else self.diverged_above

    def evaluate(self, trial: Trial, t: int) -> None:
        found = {} if trial.status in ("stopped", "diverged") else held_out(trial.task, trial.params, trial.state)
        for name, (_, what) in self.names.items():
            worst = math.inf if trial.status == "diverged" and what == "loss" else math.nan
            trial.held_out[name, t] = float(found.get(name, worst))

    def judged(self, racing: list[Trial]) -> list[Trial]:
        """Return the trials that the rule ends at this rung, among those that it has not ended before."""
        name = self.compared_by
        for trial in racing:
            value = trial.loss if name == "train_loss" else trial.held_out[name, max(k[1] for k in trial.held_out)]
            trial.compared.append(math.inf if math.isnan(value) else self.sign * value)
        if isinstance(self.stop, Plateau):
            return [trial for trial in racing if self.is_flat(trial.compared)]
        configs = sorted({trial.config for trial in racing})
        median = {c: float(np.median([t.compared[-1] for t in racing if t.config == c])) for c in configs}
        order = sorted(configs, key=lambda c: (median[c], c))
        kept = max(1, math.floor(len(configs) / self.stop.eta))
        if kept < len(order) and not self.counts:
            self.tell_apart(median[order[kept - 1]], median[order[kept]])
        return [trial for trial in racing if trial.config in order[kept:]]

    def is_flat(self, compared: list[float]) -> bool:
        """Whether the last value is not better, by at least the share, than the best before."""
        if len(compared) < 2:
            return False
        best, now = min(compared[:-1]), compared[-1]
        if not math.isfinite(best):
            return not now < best
        bound = best - self.stop.min_improvement * abs(best)
        if not self.counts:
            self.tell_apart(now, bound)
        return not (now < best and now <= bound)

    def worst(self, kept: list[Trial]) -> float | None:
        worst = max((trial.compared[-1] for trial in kept), default=math.inf)
        return self.sign * worst if math.isfinite(worst) else None

    @property
    def compared_by(self) -> str:
        return self.stop.metric or ("validation_loss" if "validation_loss" in self.names else "train_loss")

    @property
    def counts(self) -> bool:
        """Whether what is compared is a count, whose ties are exact."""
        return self.compared_by.endswith("accuracy")

    @property
    def sign(self) -> int:
        return -1 if self.compared_by.endswith(GREATER) else 1

    def not_above(self, value: float, bound: float) -> bool:
        self.tell_apart(value, bound)
        return value <= bound

    def tell_apart(self, a: float, b: float) -> None:
        """Raise where rounding could change the order of two numbers."""
        if not self.exact and math.isfinite(a) and math.isfinite(b) and abs(a - b) <= NEAR * (abs(a) + abs(b)):
            raise TooCloseError


def table(space) -> list[tuple[dict[str, float], dict[str, Any]]]:
    """(numeric values, structural values) of each configuration: a product, the last name varying fastest."""
    if isinstance(space, Configurations):
        columns, structural = space.columns, space.static
        rows = [{n: c[i] for n, c in columns.items()} for i in range(len(space))]
    else:
        structural = {n for n, v in space.items() if isinstance(v, Static)}
        listed = {n: v.values if n in structural else numbers(v) for n, v in space.items()}
        rows = [dict(zip(listed, row, strict=True)) for row in itertools.product(*listed.values())]
    part = lambda row, which: {n: v for n, v in row.items() if (n in structural) == which}
    return [(part(row, False), part(row, True)) for row in rows]


def numbers(values) -> list[float]:
    if isinstance(values, Range):
        ends = values.low, values.high, values.count
        return (np.geomspace if values.spacing == "log" else np.linspace)(*ends).tolist()
    return [float(v) for v in (values if isinstance(values, list) else [values])]


def inner(static: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the task."""
    return {n.removeprefix("task."): v for n, v in static.items() if n.startswith("task.")}


def points(stride, steps, most) -> list[int]:
    """Return every `stride`-th step and the last; by default `most` of them."""
    return [*range(0, steps, stride or math.ceil(steps / most)), steps]


def divided(stop, configs, steps):
    """The brackets of a rule: which configurations, and the steps at which they are compared."""
    if isinstance(stop, Plateau):
        return [(range(configs), list(range(stop.patience, steps, stop.patience)))]
    if isinstance(stop, Hyperband):  # how it deals configurations out is its own affair, fixed for each count
        return [(members.tolist(), rungs.tolist()) for members, rungs in stop.brackets(configs, steps)]
    rungs, at, left = [], stop.min_steps, configs
    while math.ceil(at) < steps and left > 1:
        if math.ceil(at) not in rungs:
            rungs.append(math.ceil(at))
            left = max(1, math.floor(left / stop.eta))
        at *= stop.eta
    return [(range(configs), rungs)]


_STEPS: dict[Any, Any] = {}  # compiled functions, by what they are compiled of


def jitted(factory, task, static):
    """One training step, compiled once for each optimizer and its structural values."""
    about = factory, task, tuple((name, type(v), v) for name, v in static.items())
    if about in _STEPS:
        return _STEPS[about]
    train, *_ = task.data

    @jax.jit
    def step(values, params, state, seed, t):
        key = jax.random.key(seed)
        batch = task.batch(train, batch_key(key), t)
        objective = lambda params, key=None: task.loss(params, batch)
        loss, grads = jax.value_and_grad(objective)(params)
        update = optax.with_extra_args_support(factory(**values, **static)).update
        extra = {"value": loss, "grad": grads, "value_fn": objective, "key": jax.random.fold_in(noise_key(key), t)}
        updates, state = update(grads, state, params, **extra)
        finite = [jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]
        norm = jnp.sqrt(sum(jnp.sum(u**2) for u in jax.tree.leaves(updates)))
        params = optax.apply_updates(params, updates)
        return {"loss": loss, "finite": jnp.all(jnp.stack(finite)), "params": params, "state": state, "norm": norm}

    _STEPS[about] = lambda values, params, state, seed, t: step(values, params, state, np.int32(seed), np.int32(t))
    return _STEPS[about]


def held_out(task, params, state):
    """Losses and metrics on held-out data at the method's answer."""
    if task not in _STEPS:
        data_of = dict(zip(SPLITS, task.data[1:], strict=True))

        @jax.jit
        def all_of(params):
            found = {}
            for split, data in data_of.items():
                if data is not None:
                    found[f"{split}_loss"] = task.loss(params, data)
                    found |= {f"{split}_{name}": metric(params, data) for name, metric in task.metrics.items()}
            return found

        _STEPS[task] = all_of
    return _STEPS[task](answer(state, params))


def differences(results: jl.Results, expected: Expected, rtol: float = 1e-9, atol: float = 1e-12) -> list[str]:
    """Describe how the results differ from those expected; losses and parameters may differ by rounding."""
    dataset, found = results.dataset, []
    variables = set(expected.arrays)
    if set(dataset.data_vars) != variables:
        found.append(f"variables: {sorted(dataset.data_vars)}, expected {sorted(variables)}")
    for name, values in expected.coords.items():
        held = any(name.startswith(SPLITS) for name in expected.arrays)
        if dataset[name].values.tolist() != values and (held or name != "eval_step"):
            found.append(f"{name}: {dataset[name].values.tolist()}, expected {values}")
    if found:
        return found
    for name in {name for row in expected.hyperparameters for name in row}:
        values = [row.get(name, math.nan) for row in expected.hyperparameters]  # NaN where an optimizer has none
        if repr(dataset[name].values.tolist()) != repr(values):  # by type, too: 1 is not True
            found.append(f"{name}: {dataset[name].values.tolist()}, expected {values}")
    for name in sorted(variables):
        ours, theirs = dataset[name].values, expected.arrays[name]
        if theirs.dtype.kind == "f":
            wrong = ~np.isclose(ours, theirs, rtol=rtol, atol=atol, equal_nan=True)
        else:
            wrong = ours != theirs
        along = {"step": expected.coords["step"], "eval_step": expected.coords["eval_step"]}
        for at in np.argwhere(wrong)[:4]:
            where = f"[config {at[0]}, seed {expected.coords['seed'][at[1]]}"
            where += f", step {along[str(dataset[name].dims[2])][at[2]]}]" if len(at) > 2 else "]"
            found.append(f"{name}{where}: {ours[tuple(at)]}, expected {theirs[tuple(at)]}")
    if expected.rungs is not None:
        found += rung_differences(json.loads(dataset.attrs["rungs"]), expected.rungs, rtol)
    for (config, seed), params in expected.params.items():
        for ours, theirs in zip(*map(jax.tree.leaves, (results.params(config, seed), params)), strict=True):
            if not np.allclose(ours, theirs, rtol=10 * rtol, atol=10 * atol, equal_nan=True):
                found.append(f"params[config {config}, seed {seed}]: {ours}, expected {theirs}")
    return found


def alike(one: Expected, other: Expected, rtol: float = 1e-9) -> bool:
    """Return whether two outcomes of the naive loop are the same except for rounding."""
    close = lambda a, b: np.allclose(a, b, rtol=rtol, atol=1e-12, equal_nan=True)
    pairs = ((one.arrays[name], other.arrays[name]) for name in one.arrays)
    return all(close(a, b) if a.dtype.kind == "f" else (a == b).all() for a, b in pairs)


def rung_differences(ours, theirs, rtol) -> list[str]:
    """Between two lists of decisions."""
    near = lambda a, b: a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=rtol))
    if len(ours) != len(theirs):
        return [f"rungs: {ours}, expected {theirs}"]
    return [
        f"rungs[{i}]: {a}, expected {b}"
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
        if a | {"worst_kept": None} != b | {"worst_kept": None} or not near(a["worst_kept"], b["worst_kept"])
    ]
