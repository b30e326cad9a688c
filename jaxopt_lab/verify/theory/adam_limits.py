"""Adam without eps: no scale of the objective matters, the first step is the sign, and without memory so are all.

With eps = 0 a step is m / sqrt(v), in which a factor of the gradient cancels; at the first step m = g and v = g^2 after
the correction of the bias, as at every step with b1 = b2 = 0 (Kingma & Ba 2015, section 2.1).
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.optimizers.adam import adam
from jaxopt_lab.optimizers.sign_sgd import sign_sgd
from jaxopt_lab.types import OptimizerFactory
from jaxopt_lab.verify.finding import Finding

RATE, STEPS = 0.1, 25
SOURCE = "Kingma & Ba 2015, https://arxiv.org/abs/1412.6980"


def check(method: OptimizerFactory = adam, signs: OptimizerFactory = sign_sgd) -> list[Finding]:
    """Compare updates along a sequence of gradients."""
    gradients = np.random.default_rng(0).normal(size=(STEPS, 7))
    plain = _updates(method(RATE, eps=0.0), gradients)
    scaled = max(
        float(np.abs(_updates(method(RATE, eps=0.0), scale * gradients) - plain).max()) for scale in (1e-5, 1e7)
    )
    first = float(np.abs(plain[0] + RATE * np.sign(gradients[0])).max())
    memoryless = _updates(method(RATE, b1=0.0, b2=0.0, eps=0.0), gradients)
    sign = float(np.abs(memoryless - _updates(signs(RATE), gradients)).max())
    why = "rounding, of updates of 0.1"
    return [
        Finding("Adam, eps 0: effect of a factor of the objective", "0", 0.0, scaled, 1e-14, why, SOURCE),
        Finding("Adam, eps 0: first step beside lr sign(g)", "0", 0.0, first, 1e-14, why, SOURCE),
        Finding("Adam, b1 = b2 = eps = 0, beside sign descent", "0", 0.0, sign, 1e-14, why, SOURCE),
    ]


def _updates(optimizer, gradients: np.ndarray) -> np.ndarray:
    """Return the updates along the gradients."""
    w = jnp.zeros(gradients.shape[1])

    def step(state, g):
        updates, state = optimizer.update(g, state, w)
        return state, updates

    return np.asarray(jax.lax.scan(step, optimizer.init(w), jnp.asarray(gradients))[1])
