"""Ours against the authors' own code: 30 float64 steps, recorded in `recorded.npz`, of which seven are kept.

`sources.json` says whose code each was, its version, and the hyperparameters. A row says how that is expressed in ours.
"""

from jaxopt_lab.verify.optimizers.golden import adam_family, averaging, basic, classic, matrix, parameter_free
from jaxopt_lab.verify.optimizers.golden.row import Row

ROWS: dict[str, Row] = {
    **basic.ROWS,
    **adam_family.ROWS,
    **averaging.ROWS,
    **classic.ROWS,
    **parameter_free.ROWS,
    **matrix.ROWS,
}

NOT_HELD = {
    "adabelief/amsgrad_l2_norectify": "the package's AMSGrad, the largest s so far, which neither paper nor Optax has",
}
"""Recorded settings of methods built here that their arguments cannot express, and why."""

NOT_BUILT = [
    *("adabound", "adahessian", "adam_mini", "adamp", "aggmo", "amos", "came", "cautious_adamw"),
    *("cautious_adamw_foreach", "dadapt_sgd", "gpa_adamw", "gpa_adamw_float32", "gpa_adamw_wd_on_z", "grams", "laprop"),
    *("mirror_madgrad", "qhadam", "qhm", "schedulefree_radam", "sgdp", "stable_adamw", "torch_asgd"),
    "torch_asgd_float64",
]
"""Recorded sources of methods that are not here."""
