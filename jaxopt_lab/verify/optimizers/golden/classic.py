"""Adadelta and Rprop against PyTorch 2.13: every recorded setting, with nothing to be expressed otherwise."""

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden.row import Row

ROWS = {
    "torch_adadelta/default": Row("adadelta", lambda: jl.adadelta()),
    "torch_adadelta/rho_eps_wd": Row("adadelta", lambda: jl.adadelta(0.7, 0.8, 1e-3, 0.02)),
    "torch_rprop/default": Row("rprop", lambda: jl.rprop(0.01)),
    "torch_rprop/etas": Row("rprop", lambda: jl.rprop(0.02, 0.3, 1.5, 1e-4, 0.08)),
}
