"""The public `sweep`: checks everything on the host, then space -> plan -> engine -> results."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxopt_lab.checking import check_number
from jaxopt_lab.cluster.backend import connected
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.engine.run.execute import execute
from jaxopt_lab.engine.run.execution import Execution
from jaxopt_lab.engine.stopping import StopRule
from jaxopt_lab.engine.tuning.forecast import Forecast, forecast
from jaxopt_lab.results.results import Results
from jaxopt_lab.sweep.arguments import Optimizers
from jaxopt_lab.sweep.checks import (
    check_call,
    check_takes,
)
from jaxopt_lab.sweep.collect import collect
from jaxopt_lab.sweep.display import reporting
from jaxopt_lab.sweep.durable import run_durably
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.sweep.space import Space
from jaxopt_lab.tasks.task import Task


def sweep(
    optimizers: Optimizers,
    task: Task | str | Callable[..., Task],
    space: Space | Mapping[str, Space],
    *,
    steps: int,
    seeds: int | Iterable[int] = 1,
    target: float | None = None,
    tolerance: float | None = None,
    diverged_above: float | str | None = "auto",
    nonfinite: int = 0,
    record: int | None = None,
    evaluate: int | None = None,
    stop: StopRule | None = None,
    strategy: str | None = None,
    chunk: int | None = None,
    memory: int | float | None = None,
    cache: bool = True,
    progress: bool | Callable[[Progress], None] = False,
    out: str | Path | None = None,
    checkpoint: float | None = None,
    allow_different_version: bool = False,
    cluster: str | None = None,
) -> Results:
    """Train every configuration with every seed, each a trial, in one compiled program for each structure.

    All configurations of a seed start from the same parameters and see the same batches. Ctrl-C (or a notebook's stop
    button) returns what is there; trials that it cut short have status interrupted.

    Args:
        optimizers: An optimizer factory, or a list or dict (name -> factory) of them: this package's, Optax's, or any
            function of keyword hyperparameters that returns an (init, update) pair. Strings name this package's.
        task: What to minimise: a task, the name of one in `jl.TASKS`, or a function that makes one.
        space: Hyperparameters to vary: numbers, lists, `jl.log`, `jl.linear`; `jl.static([...])` for structural values,
            among them the task's own arguments as "task.NAME". A dict means the product; `jl.zipped`, `jl.random` and
            `jl.sobol` combine otherwise. For several optimizers, one space for all or a dict from optimizer to space.
        steps: The budget of each trial, >= 1.
        seeds: How many (0, 1, ...), or which.
        target: A trial ends, reached, when its training loss (of the step's batch) is at or under this.
        tolerance: A trial ends, converged, when a step's Euclidean norm is at or under this.
        diverged_above: A training loss above this means diverged, as a non-finite one does; None: no finite loss does.
            By default ("auto") a loss does that is more than 1e6 (1 + |first loss|) above the trial's first.
        nonfinite: How many steps in a row are skipped because their loss or gradient is not finite. A skipped step
            leaves parameters and optimizer as they are; the results' `skipped_steps` counts them. One more in a row
            means diverged. By default 0: the first non-finite loss does.
        record: Keep the training loss every so many steps; the last is always kept. By default at most 200 points,
            fewer where the curves of all trials would take more than 256 MiB.
        evaluate: Evaluate validation and test data every so many steps, and after the last. By default 20 times.
        stop: A rule that ends trials early by comparing them: `jl.halving`, `jl.hyperband` or `jl.plateau`.
        strategy: How trials run: "scan" (many at once, a compiled loop over steps), "steps" (many at once, a compiled
            step called again and again), "scan_each" or "steps_each" (each trial alone). By default the first, or
            whatever is measured to be faster where a tenth of the predicted run pays for measuring.
        chunk: How many trials run at once at the most; by default as many as caches and memory allow.
        memory: What the sweep may take, in bytes, of the accelerators' memory or else of the host's: the data on the
            devices, running chunks, and on the host results. Chunks are as large as it allows; held-out data are
            evaluated in batches where they do not fit at once. A float below 1 is a share of what is free. By default
            half of the host's, or .8 of the accelerators'.
        cache: Whether compiled programs and measured strategies are kept in the user's cache folder, so that the next
            process starts faster. The environment variable JAXOPT_LAB_CACHE names another folder, or is "off".
        progress: Whether to show it; or a function to call with it several times a second.
        out: A run folder, a local one or a URL that fsspec knows ("s3://..."): results, and where trials stand, are
            kept there while they run. However that ends, the same call goes on from there, and comes to the results of
            an undisturbed run to the last bit; a complete run is loaded. `jl.load` reads it meanwhile.
        checkpoint: Seconds between two saves to `out`; 0 saves every segment before the next one begins. By default as
            often as costs at most 1.5 % of the time.
        allow_different_version: Go on with a run folder that other versions of the packages, or another device, began.
        cluster: Run on a Ray cluster, a chunk of trials on each of its cores or accelerators: "auto", or its address.

    Returns:
        The results of every trial, diverged ones included.

    Raises:
        TypeError: An argument is of the wrong kind, a loss is not a scalar, a parameter is not floating-point.
        ValueError: A name is unknown, a value is out of range, a space is empty, data or a trial exceed the memory.
        RunError: The run folder is in use, damaged, of another sweep, or cannot be written.
        ClusterError: There is no such cluster, or its workers cannot run the sweep. ImportError: Ray is not installed.

    """
    check_call(out, progress, allow_different_version, cluster)
    checkpoint = None if checkpoint is None else check_number("checkpoint", checkpoint, least=0.0)
    if checkpoint is not None and out is None:
        raise ValueError("checkpoint says how often to save to a run folder: name one with out=.")
    elsewhere = contextlib.nullcontext()
    if cluster is not None:
        elsewhere = connected(cluster)
    with elsewhere as found:
        plan, tables = plan_sweep(
            optimizers,
            task,
            space,
            steps=steps,
            seeds=seeds,
            target=target,
            tolerance=tolerance,
            diverged_above=diverged_above,
            nonfinite=nonfinite,
            record=record,
            evaluate=evaluate,
            stop=stop,
            strategy=strategy,
            chunk=chunk,
            memory=memory,
            cache=cache,
        )
        make = Execution
        if found is not None:
            plan, make = found.planned(plan, given=memory is not None)
        with reporting(progress) as report:
            if out is not None:
                return run_durably(plan, tables, out, report, checkpoint, allow_different_version, make)
            outcome = execute(plan, report, make=make)
    return collect(plan, outcome, tables)


def plan(
    optimizers: Optimizers,
    task: Task | str | Callable[..., Task],
    space: Space | Mapping[str, Space],
    *,
    steps: int,
    **options: Any,
) -> Forecast:
    """What `sweep` with the same arguments would take: programs, memory and time, by structure. `print` shows it.

    Compiles the programs and times them on the first trials; a sweep afterwards finds them compiled.

    Args:
        optimizers: As in `sweep`, and so are all others.
        task: As in `sweep`.
        space: As in `sweep`.
        steps: As in `sweep`.
        options: Further arguments of `sweep` that say what runs; not those of a run folder or a cluster.

    Raises:
        TypeError, ValueError: As `sweep`.

    """
    check_takes("jl.plan", plan_sweep, options)
    return forecast(plan_sweep(optimizers, task, space, steps=steps, **options)[0])
