"""A sweep with a run folder: whatever ends it, the same call goes on from there."""

import contextlib
import io
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from jaxopt_lab.engine.ledger import Ledger
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import Progress
from jaxopt_lab.engine.run.execute import execute
from jaxopt_lab.engine.run.execution import Execution
from jaxopt_lab.results.files import load
from jaxopt_lab.results.results import Results, written_table
from jaxopt_lab.store.identity import environment, identity
from jaxopt_lab.store.run import Run
from jaxopt_lab.store.zarr import RESULTS, write, write_dataset, write_values
from jaxopt_lab.sweep.collect import collect
from jaxopt_lab.sweep.space import Configurations
from jaxopt_lab.tasks.measures import measures

TABLE = "table.parquet"


class Terminated(SystemExit):
    """SIGTERM has ended a sweep, in good order: what it had done is kept in its run folder. The exit status is 143."""

    def __init__(self, where: str):
        super().__init__(128 + signal.SIGTERM)
        self.where = where


def run_durably(
    plan: Plan,
    tables: Mapping[str, Configurations],
    out: str | Path,
    report: Callable[[Progress], None],
    checkpoint: float | None,
    allow_different_version: bool,
    make: Callable[[Plan, Ledger], Execution] = Execution,
) -> Results:
    """Run the plan in its folder, or what is left of it to be run.

    Args:
        plan: What to run.
        tables: Its configurations, by optimizer.
        out: The folder: see `sweep`, as for the others.
        report: See `execute`.
        checkpoint: See `sweep`.
        allow_different_version: See `sweep`.
        make: See `execute`.

    Raises:
        RunError: The folder is in use, damaged, of another sweep, or cannot be written.
        Terminated: SIGTERM came, and all is saved.

    """
    measured = measures([group.structure.task for group in plan.groups])
    chosen_by = {"main metric": measured.main, "directions of metrics": dict(measured.directions)}
    run = Run.open(out, identity(plan, tables) | chosen_by, environment(), allow_different_version, checkpoint)
    with contextlib.closing(run):
        if run.complete:
            return load(out, plan.groups[0].structure.task)

        def show(anew: bool) -> None:
            if run.outcome is not None:
                dataset = collect(plan, run.outcome, tables).dataset
                (write_dataset if anew else write_values)(dataset, run.folder, RESULTS)

        def write_all() -> None:
            with run.folder.errors("write results to"):
                write(results.dataset, results.final_params, run.folder, RESULTS)
            table = io.BytesIO()
            written_table(results).to_parquet(table, index=False)
            run.folder.write(TABLE, table.getvalue())

        run.show = show
        with terminable() as came:
            results = collect(plan, execute(plan, report, run, make), tables)
            if results.dataset.attrs["interrupted"]:
                run.interrupt(write_all)
            else:
                run.finish(write_all)
        if came:
            raise Terminated(str(run.folder))
        return results


@contextlib.contextmanager
def terminable() -> Iterator[list[int]]:
    """Inside, SIGTERM interrupts as Ctrl-C does, where nobody else has a say in it. Yields whether it has come."""
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
