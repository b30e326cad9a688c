"""A sweep with a run folder: however it ends, the same call resumes it."""

import contextlib
import functools
import io
import signal
import threading
from collections.abc import Callable, Iterator

from jaxopt_lab.engine.ledger import Ledger
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import Outcome, Progress
from jaxopt_lab.engine.run.backend import Backend
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.results.files import load
from jaxopt_lab.results.results import Results, written_table
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
    measured = measures([group.structure.task for group in plan.groups])
    chosen_by = {"main metric": measured.main, "directions of metrics": dict(measured.directions)}
    view = functools.partial(_write_partial, plan)
    run = Run.open(
        request.out,
        identity(plan) | chosen_by,
        environment(),
        request.allow_different_version,
        request.checkpoint,
        view,
    )
    with contextlib.closing(run):
        if run.complete:
            return load(request.out, plan.groups[0].structure.task)
        with terminable() as came:
            results = collect(plan, execute(plan, report, run, backend(run)))
            run.stop()
            _write(results, run.folder)
            if not results.dataset.attrs["interrupted"]:
                run.complete_with(RESULTS)
        if came:
            raise Terminated(str(run.folder))
        return results


def _write(results: Results, folder: Folder) -> None:
    """Write the final results, and a table of them for other programs."""
    with folder.errors("write results to"):
        write(results.dataset, results.final_params, folder, RESULTS)
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
