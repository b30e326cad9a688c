"""A sweep with a run folder: however it ends, the same call resumes it."""

import contextlib
import dataclasses
import functools
import io
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxopt_lab.engine.ledger import Ledger, Record, Unit
from jaxopt_lab.engine.plan import KEPT_STATES_BYTES, Plan
from jaxopt_lab.engine.recorder import Outcome, Progress
from jaxopt_lab.engine.run.backend import Backend
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.engine.tuning.sizing import states_bytes
from jaxopt_lab.results.files import load_alone
from jaxopt_lab.results.results import Results
from jaxopt_lab.results.written import written_table
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.identity import environment, identity
from jaxopt_lab.store.run import Run
from jaxopt_lab.store.zarr import RESULTS, write, write_dataset, write_values
from jaxopt_lab.sweep.collect import collect
from jaxopt_lab.sweep.request import SweepRequest
from jaxopt_lab.tasks.measures import measures

TABLE = "table.parquet"


class Terminated(SystemExit):
    """SIGTERM ended a sweep cleanly: its work is saved in the run folder. The exit status is 143."""

    def __init__(self, where: str):
        super().__init__(128 + signal.SIGTERM)
        self.where = where


def run_durably(
    plan: Plan,
    request: SweepRequest,
    report: Callable[[Progress], None],
    backend: Callable[[Ledger], Backend],
) -> Results:
    """Run the plan in its run folder, or the part of it that is not done yet.

    Args:
        plan: The plan to run.
        request: The run folder and its options.
        report: See `execute`.
        backend: Makes the backend that runs chunks, from the run's ledger.

    Raises:
        RunError: The folder is in use, damaged, of another sweep, or cannot be written.
        Terminated: SIGTERM was received, and everything is saved.

    """
    assert request.out is not None
    view = functools.partial(_write_partial, plan)
    run = Run.open(
        request.out,
        identified(plan),
        environment(),
        request.allow_different_version,
        request.checkpoint,
        view,
    )
    plan = dataclasses.replace(plan, keep_states=states_bytes(plan) <= KEPT_STATES_BYTES)
    with contextlib.closing(run):
        if run.complete:
            return load_alone(request.out, plan.groups[0].structure.task)
        if run.before:
            plan = dataclasses.replace(plan, begun=run.before["steps"])
            run.convert = functools.partial(_converted, plan, run.before)
        with terminable() as came:
            results = collect(plan, execute(plan, report, run, backend(run)))
            run.stop()
            interrupted = results.dataset.attrs["interrupted"]
            if run.before and not interrupted:
                run.folder.remove(RESULTS)
            if not (run.before and interrupted):  # until an extension is complete, the results are those before
                _write(results, run.folder)
            if not interrupted:
                run.complete_with(RESULTS, plan.keep_states)
        if came:
            raise Terminated(str(run.folder))
        return results


def identified(plan: Plan) -> dict[str, Any]:
    """Return the identity of a plan's run: the plan's, and what its results are chosen by."""
    found = measures([group.structure.task for group in plan.groups])
    return identity(plan) | {"main metric": found.main, "directions of metrics": dict(found.directions)}


def _converted(plan: Plan, before: dict[str, Any], unit: Unit, record: Record) -> Record:
    """Return what is saved of a unit at the end of its budget before, as what the longer plan knows at that step."""
    if record.step != plan.of(plan.groups[unit.group]).begun:
        return record
    points = {
        "curves": np.searchsorted(before["record"], plan.record_steps[plan.record_steps < plan.begun]),
        "evaluations": np.searchsorted(before["evaluate"], plan.eval_steps[plan.eval_steps <= plan.begun]),
    }
    at = lambda name, x: x[..., points[kind]] if (kind := name.partition("/")[0]) in points else x
    return record._replace(results={name: at(name, x) for name, x in record.results.items()}, params=None, kept=None)


def _write(results: Results, folder: Folder) -> None:
    """Write the final results, and a table of them for other programs."""
    with folder.errors("write results to"):
        write(results.dataset, results.final_params, folder, RESULTS)
    write_table(results, folder)


def write_table(results: Results, folder: Folder) -> None:
    """Write a table of results for other programs."""
    table = io.BytesIO()
    written_table(results).to_parquet(table, index=False)
    folder.write(TABLE, table.getvalue())


def _write_partial(plan: Plan, outcome: Outcome, folder: Folder, anew: bool) -> None:
    """Write partial results, anew or over the previous ones."""
    dataset = collect(plan, outcome).dataset
    (write_dataset if anew else write_values)(dataset, folder, RESULTS)


@contextlib.contextmanager
def terminable() -> Iterator[list[int]]:
    """Let SIGTERM interrupt the block as Ctrl-C does, unless it already has a handler. Yields the signals received."""
    came: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield came
        return

    def interrupt(number, _):
        came.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
