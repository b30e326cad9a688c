"""DoG: the step size is the distance gone so far, over the root of the sum of all squared gradient norms."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_lab.optimizers._base import copied, method, needs_params, next_step, optimizer, value_at
from jaxopt_lab.optimizers._decay import Mask, decayed
from jaxopt_lab.optimizers._numerics import widened
from jaxopt_lab.optimizers._sums import inner, product
from jaxopt_lab.optimizers.wrappers.flat import needs_leaves
from jaxopt_lab.types import Optimizer, Params, Prior, Scalar, ScalarOrSchedule


class DoGState(NamedTuple):
    t: Int[Array, ""]  # steps taken so far
    start: Params  # w at step 0
    r: Any  # largest distance from it so far: a scalar; a tree of scalars where layerwise
    s: Any  # sum of ||g||**2, like r


class AveragedDoGState(NamedTuple):
    dog: DoGState
    average: Params  # of w over the steps; later steps count more

    def evaluation_params(self, params: Params) -> Params:
        """Return the average, which is the method's answer."""
        return jax.tree.map(lambda average, w: average.astype(jnp.result_type(w)), self.average, params)


@method(
    learning_rate=Prior(1e-1, 10.0, "log", "our judgement: the default, a decade either way"),
    init_step=Prior(
        1e-8, 1e-2, "log", "our judgement: Ivgi et al. advise 1e-6 or 1e-4, https://arxiv.org/abs/2302.12022"
    ),
)
def dog(
    learning_rate: ScalarOrSchedule = 1.0,
    init_step: Scalar = 1e-6,
    eps: Scalar = 1e-8,
    weight_decay: ScalarOrSchedule | None = None,
    averaging: Scalar | None = None,
    *,
    init_step_kind: str = "heuristic",
    layerwise: bool = False,
    mask: Mask = None,
    average_dtype: Any = None,
) -> Optimizer:
    """DoG, distance over gradients (Ivgi, Hinder & Carmon 2023, https://arxiv.org/abs/2302.12022).

        g <- g + weight_decay * w
        r <- max(r, ||w - start||)                 at step 0: init_step * (1 + ||start||)
        s <- s + ||g||^2
        w <- w - learning_rate * r / sqrt(s + eps) * g
        average <- average + (1 + averaging) / (t + averaging) * (w - average)      t from 1

    Optax gives `init_step_kind` and `init_step` as one pair, and has neither `layerwise` nor `averaging`. The authors
    recommend averaging; their default is 8.

    Args:
        learning_rate: Factor of every step, > 0, without unit; scalar, traced or a schedule `step -> value`.
        init_step: Sets the first step, > 0; see `init_step_kind`. For the heuristic the authors use 1e-6, with batch
            normalisation 1e-4.
        eps: Added under the root, > 0, in units of g^2.
        weight_decay: Factor of w added to g, >= 0; scalar, traced or a schedule; None (the default) adds none.
        averaging: How much more late steps count in the average, > -1; at 0 all count the same. None (the default)
            keeps no average.
        init_step_kind: "heuristic" (as above), "distance" (r starts at init_step, in units of w) or "learning_rate"
            (r starts at 0, and the first step's r / sqrt(s + eps) is init_step).
        layerwise: Whether every array of the parameters has an r and s of its own (L-DoG).
        mask: Which parameters decay: a tree of bools with the parameters' structure (or a prefix of it), or a
            function from the parameters to one; None decays all.
        average_dtype: Of the average, for example "float32" beside bfloat16 parameters; None keeps the parameters', but
            for float32 beside float16 ones.

    Returns:
        The (init, update) pair; with `averaging`, the average is what the state evaluates at.

    Raises:
        ValueError: `init_step_kind` is none of the three, or `update` was called without the parameters.

    """
    first_r = {
        "heuristic": lambda norm: init_step * (1 + norm),
        "distance": lambda norm: init_step,
        "learning_rate": lambda norm: 0.0,
    }
    if init_step_kind not in first_r:
        raise ValueError(f"init_step_kind must be one of {sorted(first_r)}, got {init_step_kind!r}.")

    def squared_norm(tree):
        return jax.tree.map(product, tree, tree) if layerwise else inner(tree, tree)

    def init(params: Params) -> DoGState:
        if layerwise:
            needs_leaves(params, "layerwise dog")
        wide = lambda w: jnp.asarray(w, jnp.promote_types(widened(w).dtype, jnp.result_type(float)))
        squares = squared_norm(jax.tree.map(wide, params))
        r = jax.tree.map(lambda square: jnp.asarray(first_r[init_step_kind](jnp.sqrt(square)), float), squares)
        start = jax.tree.map(jnp.copy, params)  # a copy, so that either may be donated
        return DoGState(jnp.zeros([], jnp.int32), start, r, jax.tree.map(jnp.zeros_like, r))

    def update(grads, state, params=None):
        needs_params(params, "dog", "measures the way of")
        if weight_decay is not None:
            grads = decayed(grads, params, value_at(weight_decay, state.t), mask)
        gone = squared_norm(jax.tree.map(jnp.subtract, params, state.start))
        r = jax.tree.map(lambda r, gone: jnp.maximum(r, jnp.sqrt(gone)), state.r, gone)
        s = jax.tree.map(jnp.add, state.s, squared_norm(grads))
        step = jax.tree.map(lambda r, s: r / jnp.sqrt(s + eps), r, s)
        if init_step_kind == "learning_rate":
            step = jax.tree.map(lambda step: jnp.where(state.t == 0, init_step, step), step)
        rate = value_at(learning_rate, state.t)
        updates = jax.tree.map(lambda g, step: -rate * step * g, grads, jax.tree.broadcast(step, grads))
        return updates, DoGState(next_step(state.t), state.start, r, s)

    if averaging is None:
        return optimizer(init, update)

    def averaged_init(params: Params) -> AveragedDoGState:
        return AveragedDoGState(init(params), copied(params, average_dtype))

    def averaged_update(grads, state, params=None):
        updates, dog = update(grads, state.dog, params)
        share = (1 + averaging) / (dog.t + averaging)
        average = jax.tree.map(lambda a, w, u: a + share * (w + u - a), state.average, params, updates)
        return updates, AveragedDoGState(dog, average)

    return optimizer(averaged_init, averaged_update)
