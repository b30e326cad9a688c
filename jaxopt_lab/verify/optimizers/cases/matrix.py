"""GaLore, which sees matrices as matrices, beside its twin."""

from types import SimpleNamespace
from unittest import mock

import jax.numpy as jnp
import optax

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.case import Bounds, Case, matrices, pair, slow, slow_halving

spanned = Bounds(step32=1e-4, free32=1e-4, why="Adam scales up what little of g is along the lesser vectors")
unrounded = SimpleNamespace(**{**vars(jnp), "float32": float})


def galore_twin(
    learning_rate, update_proj_gap=200, scale=1.0, weight_decay=0.0, *, rank=128, project_longer=True, mask=None
):
    """Optax's, whose side to project is the longer; but its singular vectors, in float32 always, are not rounded."""
    assert project_longer
    inner = optax.contrib.galore(learning_rate, rank, update_proj_gap, scale, None, weight_decay, mask)

    def update(grads, state, params=None):
        with mock.patch("optax.contrib._galore.jnp", unrounded):
            return inner.update(grads, state, params)

    return pair(inner.init, update)


CASES = {
    "galore": Case(
        jl.galore,
        galore_twin,
        slow,
        {"project_longer": True, "rank": 2},
        spanned,
        {
            "base": "a factory of ours, a transformation of Optax's",
            "project_longer": "Optax's projects the longer side, the paper's the shorter",
        },
        mended="with singular vectors in full precision",
        not_traced={
            "rank": "it is a shape of the state",
        },
        real_only=True,
        convention=(
            "As the paper: the shorter side is projected; Optax projects the longer one "
            "(`project_longer=True`). The authors' scale is 0.25; the default here and in Optax is 1."
        ),
    ),
    "galore values": Case(
        jl.galore,
        galore_twin,
        slow | {"update_proj_gap": 7, "scale": 0.25, "weight_decay": 0.1},
        {"project_longer": True, "rank": 2, "mask": matrices},
        spanned,
    ),
    "galore schedule": Case(
        jl.galore, galore_twin, {"learning_rate": slow_halving}, {"project_longer": True, "rank": 2}, spanned
    ),
}
