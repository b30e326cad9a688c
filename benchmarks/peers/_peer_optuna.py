"""Optuna: a study with a grid sampler, whose objective trains one network in JAX.

`n_jobs` means threads, which its documentation warns of Python's lock; where the objective keeps the processor busy it
advises several processes on one storage, on one machine a journal file. All of these are tried.
"""

import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import optuna  # pyright: ignore[reportMissingImports]
import optuna.storages.journal  # pyright: ignore[reportMissingImports]
from _processes import CORES, pool
from measuring.handwritten import digits, one_trial, peers

optuna.logging.set_verbosity(optuna.logging.WARNING)


def loops(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """Trials are Python loops over a jitted step."""
    return _variants(width, steps, scan=False)


def scans(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """Trials are one program each, all steps inside: not what its examples do, but what its users could."""
    return _variants(width, steps, scan=True)


def _variants(width, steps, scan):
    in_threads = lambda jobs: functools.partial(_in_threads, _objective(width, steps, scan), jobs)
    return {
        "1 thread": in_threads(1),
        f"{CORES} threads": in_threads(CORES),
        f"{CORES} processes": functools.partial(_in_processes, width, steps, scan),
    }


def _objective(width, steps, scan):
    key, task = jax.random.key(0), digits(width)
    if scan:
        program = jax.jit(one_trial(task, steps))
        train = lambda rate: program(rate, key)[-1]
    else:
        loop = peers(task, steps).loop
        train = lambda rate: loop([rate], [key])[-1]
    return lambda trial: float(train(trial.suggest_float("learning_rate", 1e-6, 1e2, log=True)))


def _sampler(rates):
    return optuna.samplers.GridSampler({"learning_rate": list(rates)})


def _losses(study):
    return [trial.value for trial in study.trials if trial.value is not None]


def _in_threads(objective, jobs, rates):
    study = optuna.create_study(sampler=_sampler(rates))
    study.optimize(objective, n_trials=len(rates), n_jobs=jobs)
    return _losses(study)


def _in_processes(width, steps, scan, rates):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "journal")
        optuna.create_study(study_name="rates", storage=_journal(path), sampler=_sampler(rates))
        share = len(rates) // CORES
        list(pool().map(functools.partial(_work, path, width, steps, scan, rates), [share] * CORES))
        return _losses(optuna.load_study(study_name="rates", storage=_journal(path)))


def _work(path, width, steps, scan, rates, trials):
    study = optuna.load_study(study_name="rates", storage=_journal(path), sampler=_sampler(rates))
    study.optimize(_kept_objective(width, steps, scan), n_trials=trials)


_kept_objective = functools.cache(_objective)  # by a process that lives on, so that it compiles once


def _journal(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
