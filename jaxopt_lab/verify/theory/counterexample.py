"""Adam need not converge: on a cycle of one large gradient and a hundred small ones it goes to the wrong end.

Reddi et al. 2018, theorem 1 and section 3, https://openreview.net/forum?id=ryQu7f-RZ: the gradient is 1010 in every
101st step, else -10, on [-1, 1]. The average slope is 10 / 101, so the best point is -1. Adam (b1 = .9, b2 = .99, a
rate of .5 / sqrt t) forgets the large gradient, and goes to +1; AMSGrad does not.
"""

import jax.numpy as jnp
import numpy as np

from jaxopt_lab.optimizers.adam import adam
from jaxopt_lab.optimizers.amsgrad import amsgrad
from jaxopt_lab.sweep.sweep import sweep
from jaxopt_lab.tasks.reddi import projected, reddi
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

STEPS, LAST = 1_000_000, 20
SOURCE = "Reddi et al. 2018, https://openreview.net/forum?id=ryQu7f-RZ"


def check(forgetful: OptimizerFactory = adam, remembering: OptimizerFactory = amsgrad) -> list[Finding]:
    """Run both for a million steps."""
    rate = lambda t: 0.5 / jnp.sqrt(t + 1.0)
    made = {
        name: lambda b1, method=method: projected(method(rate, b1=b1, b2=0.99))
        for name, method in (("Adam", forgetful), ("AMSGrad", remembering))
    }
    results = sweep(made, reddi(), {"b1": 0.9}, steps=STEPS, record=STEPS, evaluate=STEPS, diverged_above=None)
    ends = [float(np.asarray(results.params(config, 0))) for config in (0, 1)]
    why = "within a cycle of 101 steps it moves by about the rate, .0005 at the end"
    return [
        Finding("Adam on a cycle of 101 gradients: its end", "+1, the wrong one", 1.0, ends[0], 5e-3, why, SOURCE),
        Finding("AMSGrad on the same: its end", "-1, the right one", -1.0, ends[1], 5e-3, why, SOURCE),
    ]
