"""Ours against the authors' own code: 30 float64 steps, recorded in `recorded.npz`, of which seven are kept.

`sources.json` says for each record whose code it was, its version and its hyperparameters. A row says how ours
expresses them. A recorded source without any row belongs to a method that is not implemented here.
"""

from jaxopt_lab.verify.optimizers.golden import (
    adam_family,
    adam_newer,
    averaging,
    basic,
    classic,
    matrix,
    momentum_family,
    orthogonal,
    parameter_free,
    preconditioned,
)
from jaxopt_lab.verify.optimizers.golden.row import Row

ROWS: dict[str, Row] = {
    **basic.ROWS,
    **adam_family.ROWS,
    **adam_newer.ROWS,
    **momentum_family.ROWS,
    **averaging.ROWS,
    **classic.ROWS,
    **parameter_free.ROWS,
    **matrix.ROWS,
    **orthogonal.ROWS,
    **preconditioned.ROWS,
}

NOT_HELD: dict[str, str] = {**adam_family.NOT_HELD}
"""Recorded settings of methods implemented here that their arguments cannot express, and why."""
