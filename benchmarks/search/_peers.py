"""Optuna and Ray Tune, each driving a Python loop over a jitted step; Ray's actors import this module."""

import functools
import logging
import math
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the old one is silent when asked to be

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _tasks import SPACE, TASKS

import jaxopt_lab as jl
from jaxopt_lab.trial import batch_key, initial_params
from jaxopt_lab.types import random_key

SEEDS = 3  # that a configuration is tried with
MOST_SECONDS_TO_START = 120  # all of Ray's actors
Run = tuple[np.ndarray, np.ndarray]  # when each trial's loss was known, in seconds, and these losses


def sampler(seed: int) -> Any:
    """Return Optuna's TPE with its own defaults."""
    from optuna.samplers import TPESampler  # pyright: ignore[reportMissingImports]

    return TPESampler(seed=seed)


def optuna(name: str, steps: int, budget: int, seed: int) -> Run:
    """Let Optuna drive the jitted step."""
    import optuna  # pyright: ignore[reportMissingImports]

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seconds: list[float] = []
    losses: list[float] = []

    def objective(trial):
        _suggest(trial)
        losses.append(_trained(name, steps, trial.params))
        seconds.append(time.perf_counter() - began)
        return losses[-1]

    study = optuna.create_study(sampler=sampler(seed))
    began = time.perf_counter()
    study.optimize(objective, n_trials=budget)
    return np.array(seconds), np.array(losses)


def ray(name: str, steps: int, budget: int, seed: int) -> Run:
    """Let Ray Tune drive it, with Optuna's TPE."""
    import ray  # pyright: ignore[reportMissingImports]
    from ray import tune  # pyright: ignore[reportMissingImports]
    from ray.tune.search import ConcurrencyLimiter  # pyright: ignore[reportMissingImports]
    from ray.tune.search.optuna import OptunaSearch  # pyright: ignore[reportMissingImports]

    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    cores = len(os.sched_getaffinity(0))
    if not ray.is_initialized():
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # actors import what this process does
        ray.init(num_cpus=cores, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    method = OptunaSearch(_suggest, sampler=sampler(seed), metric="loss", mode="min")
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            tune.with_resources(functools.partial(_trainable, name, steps, cores, folder), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=budget,
                search_alg=ConcurrencyLimiter(method, cores),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        told = [r.metrics for r in tuner.fit() if r.metrics is not None]
    seconds, losses = np.array(sorted((row["ended"], row["loss"]) for row in told)).T
    return seconds - min(row["began"] for row in told), losses


def _trainable(name: str, steps: int, actors: int, folder: str, config: dict[str, Any]) -> dict[str, float]:
    _wait_for_actors(name, actors, folder)
    began = time.time()
    return {"loss": _trained(name, steps, config), "began": began, "ended": time.time()}


@functools.cache
def _wait_for_actors(name: str, actors: int, folder: str) -> None:
    """Compile in a new actor's process, and wait until all have, so that the clock leaves that out."""
    _trained(name, 1, {key: known.high for key, known in SPACE.items()})
    Path(folder, f"ready {os.getpid()}").touch()
    latest = time.monotonic() + MOST_SECONDS_TO_START
    while len(list(Path(folder).glob("ready *"))) < actors:
        if time.monotonic() > latest:
            raise TimeoutError(f"Ray Tune has started fewer than {actors} actors in {MOST_SECONDS_TO_START} s")
        time.sleep(0.01)


def _suggest(trial: Any) -> None:
    """Let Optuna suggest a configuration, which the trial's parameters then have; momenta by their distance from 1."""
    for name, known in SPACE.items():
        if known.spacing == "one_minus":
            trial.suggest_float(f"1 - {name}", 1 - known.high, 1 - known.low, log=True)
        else:
            trial.suggest_float(name, known.low, known.high, log=True)


def _trained(name: str, steps: int, suggested: Mapping[str, float]) -> float:
    """Train a network for each seed, in a loop over the jitted step; return the mean of the validation losses."""
    distances = {key.removeprefix("1 - "): 1 - value for key, value in suggested.items() if key.startswith("1 - ")}
    given = {key: value for key, value in suggested.items() if not key.startswith("1 - ")} | distances
    train, evaluate, start = _jitted(name)
    losses = []
    for seed in range(SEEDS):
        key = random_key(seed)
        params, state = start(key)
        for t in range(steps):
            params, state = train(params, state, given, key, t)
        losses.append(evaluate(params))
    loss = float(sum(losses)) / SEEDS
    return loss if math.isfinite(loss) else math.inf


@functools.cache
def task(name: str) -> jl.Task:
    return TASKS[name][0]()


@functools.cache
def _jitted(name: str) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return the step, the validation loss and the start of a trial, each jitted once for all hyperparameters.

    Parameters and batches are those of `jl.search`, so that a configuration has the same loss.
    """
    made = task(name)
    data, held_out = (jax.tree.map(jnp.asarray, part) for part in (made.train, made.validation))

    @jax.jit
    def train(params, state, given, key, t):
        grads = jax.grad(made.loss)(params, made.batch(data, batch_key(key), t))
        updates, state = optax.adam(**given).update(grads, state, params)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def start(key):
        params = initial_params(made, key)
        return params, optax.adam(1.0).init(params)

    return train, jax.jit(lambda params: made.loss(params, held_out)), start
