"""The optimizers and their Optax twins: a new optimizer is one more row of its family, and so is a new option."""

from jaxopt_lab.verify.optimizers.case import Case
from jaxopt_lab.verify.optimizers.cases import (
    adam_family,
    averaging,
    basic,
    classic,
    curvature,
    little_memory,
    matrix,
    parameter_free,
)

CASES: dict[str, Case] = {
    **basic.CASES,
    **adam_family.CASES,
    **averaging.CASES,
    **classic.CASES,
    **parameter_free.CASES,
    **matrix.CASES,
    **little_memory.CASES,
    **curvature.CASES,
}

METHODS = {name: case for name, case in CASES.items() if " " not in name}
"""The first row of every method, named as the method."""
