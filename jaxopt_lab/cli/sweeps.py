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
from jaxopt_lab.compare.confirm import LIMITS, Confirmation, confirm
from jaxopt_lab.errors import ArgumentError
from jaxopt_lab.report.board import board
from jaxopt_lab.report.progress import shown
from jaxopt_lab.results.results import Results
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.sweep.arguments import addressed

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
    """Sweep one task of a spec, or search it."""
    run = jaxopt_lab.sweep if spec.search is None else jaxopt_lab.search
    options = {**spec.options, **options, **(spec.search or {})}
    return run(list(spec.spaces), spec.tasks[name], spec.spaces, **options, progress=progress, out=where)


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
    options: Mapping[str, Any],
    quiet: bool,
    seconds: dict[str, float],
) -> tuple[bool, float]:
    """Sweep task by task, writing and printing each, and then the verdicts where the spec has fresh seeds.

    `options` are those of the command line, with which the fresh seeds run too.

    Returns whether it was interrupted, and the compile time.
    """
    import pandas as pd

    console, boards, verdicts, compiling, interrupted = Console(), [], [], 0.0, False
    for name in spec.tasks:
        with timed(seconds, "compiling and running"), shown(name) if not quiet else contextlib.nullcontext() as report:
            results = one(spec, name, report or False, folder.url(name))
        compiling += results.dataset.attrs["compile_seconds"]
        interrupted, confirmed = bool(results.dataset.attrs["interrupted"]), None
        if spec.confirm is not None and not interrupted:
            with timed(seconds, "fresh seeds"):
                confirmed, said = confirmation(results, spec, name, options)
            verdicts.append(f"{name}: {said}")
            compiling += 0.0 if confirmed is None else confirmed.fresh.dataset.attrs["compile_seconds"]
        with timed(seconds, "pictures and writing"), _interrupts_later():
            rows = results.leaderboard()
            rows.insert(0, "task", name)
            boards.append(rows)
            console.print(board(results, console.width), "")
            write_about(results, folder, name, confirmed)
            folder.write("leaderboard.csv", pd.concat(boards).to_csv(index=False).encode())
        if interrupted:
            break
    console.print(NOTE, style="dim")
    if verdicts:
        console.print("\nVerdict", style="bold")
        for said in [*verdicts, LIMITS]:
            console.print(said, markup=False, highlight=False)
        folder.write("verdict.txt", "\n".join([*verdicts, LIMITS, ""]).encode())
    return interrupted, compiling


def confirmation(
    results: Results, spec: Spec, name: str, options: Mapping[str, Any]
) -> tuple[Confirmation | None, str]:
    """Run the best configuration of each optimizer with fresh seeds; return the verdict, also in words."""
    optimizers = {optimizer: addressed(optimizer) for optimizer in spec.spaces}
    how = {"cache": options["cache"], "cluster": options.get("cluster"), "memory": spec.options.get("memory")}
    try:
        found = confirm(results, **spec.confirm or {}, task=spec.tasks[name], optimizers=optimizers, **how)
    except ArgumentError as error:  # fewer than two optimizers have a best configuration, for example
        return None, f"No verdict. {error.message()}"
    return found, " ".join([*found.sentences(), *found.warnings()])


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
