"""LAPACK on one core a chunk, where chunks run side by side on the cores of a CPU."""

import contextlib

from jaxopt_lab.engine.compile.decompositions import KERNELS
from jaxopt_lab.engine.devices import devices, on_cores
from jaxopt_lab.engine.plan import Plan
from jaxopt_lab.engine.tuning.cutting import step_of


def one_core_each(plan: Plan) -> contextlib.AbstractContextManager[object]:
    """Keep each decomposition of a plan's steps on one core, since the other cores run their own chunks.

    The library that JAX calls, OpenBLAS, uses all cores for a matrix, and its threads wait for each other actively: on
    two cores, one of them in use, a sweep whose loss decomposes matrices of 64 x 64 takes 51 s so, and 6 s with this.
    """
    operations = (step_of(group).fingerprint.primitives for group in plan.groups)
    if not on_cores(devices()) or all(map(KERNELS.isdisjoint, operations)):
        return contextlib.nullcontext()
    import scipy.linalg  # noqa: F401 - has that library, which must be loaded to be told
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
