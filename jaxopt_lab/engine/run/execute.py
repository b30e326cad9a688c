"""Run a plan, whole or as far as Ctrl-C lets it."""

import time
from collections.abc import Callable

from jaxopt_lab.engine.compile.cache import persistent
from jaxopt_lab.engine.ledger import Ledger
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.recorder import Outcome, Progress
from jaxopt_lab.engine.run.execution import Execution
from jaxopt_lab.trial import FAILED


def execute(
    plan: Plan,
    report: Callable[[Progress], None] = lambda _: None,
    ledger: Ledger | None = None,
    make: Callable[[Plan, Ledger], Execution] = Execution,
) -> Outcome:
    """Run every trial of the plan; Ctrl-C ends it at the next segment and keeps what there is.

    A chunk that fails takes nobody with it: its trials are marked, and a note says why. Where nothing is left, what
    failed first is raised.

    Args:
        plan: What to run.
        report: Called from this thread several times a second.
        ledger: What is known of the plan's work, and is told of it.
        make: Makes the execution: one in this process, or one elsewhere.

    """
    began = time.perf_counter()
    with persistent(plan.cache):
        run = make(plan, Ledger() if ledger is None else ledger)

        def tell():
            run.recorder.count(run.progress)
            run.progress.seconds = time.perf_counter() - began
            report(run.progress)

        try:
            run.workers.run(tell)
        except KeyboardInterrupt:
            run.outcome.interrupted = True
        finally:
            run.close()
    if run.failed is not None and (run.outcome.status == FAILED).all():
        raise run.failed
    run.outcome.run_seconds = time.perf_counter() - began
    return run.recorder.finish()
