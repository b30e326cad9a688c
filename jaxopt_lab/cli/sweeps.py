"""The sweeps of a spec, task by task: written and printed as they come."""

import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

import jaxopt_lab
from jaxopt_lab.cli.runs import write_about
from jaxopt_lab.cli.spec import Spec
from jaxopt_lab.cli.values import BUDGETS
from jaxopt_lab.report.board import board
from jaxopt_lab.report.progress import shown
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.folder import Folder

NOTE = (
    "Each optimizer at its best configuration: medians over seeds with quartiles; diverged: share of all its trials; "
    "good decades: width, in powers of ten, of the learning rates around the best that reach 95 % of its improvement."
)


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str):
    """Add the time of the block to a part's seconds."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - began


def swept(options: dict[str, Any], spec: Spec, name: str, progress: Any, where: str) -> Results:
    """Sweep one task of a spec."""
    return jaxopt_lab.sweep(
        list(spec.spaces), spec.tasks[name], spec.spaces, **{**spec.options, **options}, progress=progress, out=where
    )


def extended(more: Mapping[str, float], spec: Spec, name: str, progress: Any, where: str) -> Results:
    """Extend the run of one task of a spec."""
    budgets = [BUDGETS.get(unit, int)(value) for unit, value in more.items() if unit != "seeds"]
    optimizers = {optimizer: optimizer for optimizer in spec.spaces}
    return jaxopt_lab.extend(
        where,
        steps=budgets[0] if budgets else None,
        seeds=int(more["seeds"]) if "seeds" in more else None,
        task=spec.tasks[name],
        optimizers=optimizers,
        progress=progress,
    )


def sweeps(
    spec: Spec,
    one: Callable[[Spec, str, Any, str], Results],
    folder: Folder,
    quiet: bool,
    seconds: dict[str, float],
) -> tuple[bool, float]:
    """Sweep task by task, writing and printing each; returns whether it was interrupted, and the compile time."""
    import pandas as pd

    console, boards, compiling, interrupted = Console(), [], 0.0, False
    for name in spec.tasks:
        with timed(seconds, "compiling and running"), shown(name) if not quiet else contextlib.nullcontext() as report:
            results = one(spec, name, report or False, folder.url(name))
        compiling += results.dataset.attrs["compile_seconds"]
        interrupted = bool(results.dataset.attrs["interrupted"])
        with timed(seconds, "pictures and writing"), _interrupts_later():
            rows = results.leaderboard()
            rows.insert(0, "task", name)
            boards.append(rows)
            console.print(board(results, console.width), "")
            write_about(results, folder, name)
            folder.write("leaderboard.csv", pd.concat(boards).to_csv(index=False).encode())
        if interrupted:
            break
    console.print(NOTE, style="dim")
    return interrupted, compiling


@contextlib.contextmanager
def _interrupts_later():
    """Delay Ctrl-C until the block has ended, so that nothing is left half written."""
    waiting = []
    before = signal.signal(signal.SIGINT, lambda *_: waiting.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting:
        raise KeyboardInterrupt
