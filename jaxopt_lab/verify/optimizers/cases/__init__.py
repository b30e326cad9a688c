"""The optimizers and their Optax twins: a new optimizer is one more row of its family, and so is a new option."""

from jaxopt_lab.verify.optimizers.case import Case
from jaxopt_lab.verify.optimizers.cases import (
    adam_family,
    adam_newer,
    averaging,
    basic,
    classic,
    curvature,
    little_memory,
    matrix,
    momentum_family,
    orthogonal,
    parameter_free,
    preconditioned,
)

FAMILIES: dict[str, dict[str, Case]] = {
    "The basics": basic.CASES,
    "Relatives of Adam": adam_family.CASES,
    "Newer relatives of Adam": adam_newer.CASES,
    "Newer relatives of SGD": momentum_family.CASES,
    "Averages of gradients or of parameters": averaging.CASES,
    "Signs, norms, extrapolation, loss values and noise": classic.CASES,
    "Step size found by the method itself": parameter_free.CASES,
    "Orthogonal steps of matrices": orthogonal.CASES,
    "Matrices treated as matrices": matrix.CASES,
    "Matrices preconditioned by Kronecker products": preconditioned.CASES,
    "Little memory": little_memory.CASES,
    "Curvature and neighbourhoods": curvature.CASES,
}
CASES = {name: case for family in FAMILIES.values() for name, case in family.items()}

METHODS = {name: case for name, case in CASES.items() if " " not in name}
"""The first row of every method, named as the method."""
