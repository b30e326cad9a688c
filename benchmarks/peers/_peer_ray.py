"""Ray Tune: `tune.grid_search` on this machine's cores, one a trial, each a Python loop over the jitted JAX step.

Actors are reused from trial to trial, or else each trial would start a Python of its own, import JAX and compile, which
takes seconds. Within a `fit` each actor does so once; the next `fit` starts new ones, so that all its calls compile.
"""

import functools
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the old one is silent when asked to be

import jax
import ray  # pyright: ignore[reportMissingImports]
from _processes import CORES
from measuring.handwritten import digits, peers
from ray import tune  # pyright: ignore[reportMissingImports]

# Ray forks only to execute another program.
warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)


def loops(width: int, steps: int) -> dict[str, Callable[[Sequence[float]], list[float]]]:
    """One way only; Ray itself is started beforehand."""
    if not ray.is_initialized():
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # actors import what this process does
        ray.init(num_cpus=CORES, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    return {"actors reused": functools.partial(_fit, width, steps)}


def _fit(width: int, steps: int, rates: Sequence[float]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        grid = {"learning_rate": tune.grid_search(list(rates)), "width": width, "steps": steps}
        tuner = tune.Tuner(
            tune.with_resources(_trainable, {"cpu": 1}),
            param_space=grid,
            tune_config=tune.TuneConfig(metric="loss", mode="min", reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        return [(result.metrics or {})["loss"] for result in tuner.fit()]


def _trainable(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": _train(config["width"], config["steps"])(config["learning_rate"])}


@functools.cache
def _train(width: int, steps: int) -> Callable[[float], float]:
    """Kept by the actor's process from trial to trial, so that it compiles once."""
    loop, key = peers(digits(width), steps).loop, jax.random.key(0)
    return lambda rate: float(loop([rate], [key])[-1])
