"""The public `sweep`: request -> plan -> engine -> results."""

from jaxopt_lab.cluster.backend import Cluster, RayBackend, connected
from jaxopt_lab.engine.ledger import Ledger
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.run.backend import InProcess
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.engine.tuning.forecast import Forecast, forecast
from jaxopt_lab.results.results import Results
from jaxopt_lab.sweep.collect import collect
from jaxopt_lab.sweep.display import Report, reporting
from jaxopt_lab.sweep.durable import run_durably
from jaxopt_lab.sweep.options import asked
from jaxopt_lab.sweep.planning import planned
from jaxopt_lab.sweep.request import Request, SweepRequest


@asked("jl.sweep", SweepRequest)
def sweep(request: SweepRequest) -> Results:  # noqa: D417
    """Train every configuration with every seed (each pair is a trial), in one compiled program per structure.

    All configurations of a seed start from the same parameters and see the same batches. Ctrl-C (or a notebook's stop
    button) returns partial results; the trials that it ended have status interrupted.

    Args:
        {arguments}

    Returns:
        The results of every trial, diverged ones included.

    Raises:
        TypeError: An argument is of the wrong type, a loss is not a scalar, a parameter is not floating-point.
        ValueError: A name is unknown, a value is out of range, a space is empty, or data or a trial exceed the memory.
        RunError: The run folder is in use, damaged, of another sweep, or cannot be written.
        ClusterError: There is no such cluster, or its workers cannot run the sweep.
        ImportError: A cluster was named and Ray is not installed.

    """
    with connected(request.cluster) as cluster:
        plan = planned(request) if cluster is None else cluster.planned(planned(request))
        with reporting(request.progress) as report:
            return run(plan, request, cluster, report)


def run(plan: Plan, request: SweepRequest, cluster: Cluster | None, report: Report) -> Results:
    """Run a plan of the request: on the cluster or here, with a run folder or without."""
    memory = None if request.memory is None else plan.memory
    backend = lambda ledger: InProcess() if cluster is None else RayBackend(cluster, memory, ledger)
    if request.out is not None:
        return run_durably(plan, request, report, backend)
    ledger = Ledger()
    return collect(plan, execute(plan, report, ledger, backend(ledger)))


@asked("jl.plan", Request)
def plan(request: Request) -> Forecast:  # noqa: D417
    """Predict the programs, memory and time of `sweep` with the same arguments, by structure. `print` shows them.

    It compiles the programs and times them on the first trials; a later sweep reuses them.

    Args:
        {arguments}

    Raises:
        TypeError, ValueError: As `sweep`.

    """
    return forecast(planned(request))
