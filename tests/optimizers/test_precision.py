"""Parameters of few bits: with moments of more, and with master weights."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.cases import CASES

MOMENTS = {name: case for name, case in CASES.items() if "moment_dtype" in inspect.signature(case.ours).parameters}


def descend(optimizer, w, steps=300):
    """From w along a gradient that is a constant: each step is one learning rate of Adam's."""
    state = optimizer.init(w)

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jnp.full_like(w, 0.5), state, w)
        return (optax.apply_updates(w, updates), state), None

    return jax.lax.scan(step, (w, state), length=steps)[0]


def test_steps_too_small_for_bfloat16_add_up_in_master_weights(float32):
    """Steps of 1e-4 from 1.0, whose neighbours in bfloat16 are 4e-3 away: alone it never moves."""
    narrow, wide = jnp.ones(4, "bfloat16"), jnp.ones(4, "float32")
    stuck, _ = descend(jl.adam(1e-4), narrow)
    moved, state = descend(jl.master_weights(jl.adam(1e-4)), narrow)
    full, _ = descend(jl.adam(1e-4), wide)
    np.testing.assert_array_equal(np.asarray(stuck, "float32"), 1.0)
    np.testing.assert_allclose(full, 0.97, rtol=1e-4)
    np.testing.assert_array_equal(state.master, full)
    np.testing.assert_array_equal(moved, full.astype("bfloat16"))
    assert moved.dtype == "bfloat16"
    assert all(x.dtype == "float32" for x in (state.master, state.inner.m, state.inner.v))


def test_float32_moments_decay_beside_bfloat16_parameters(float32):
    """b2 = .999 takes a thousandth off v each step, less than half of bfloat16's last bit."""
    one = jnp.ones(3, "bfloat16")
    for dtype, expected in (("float32", 0.999**100), (None, 1.0)):
        optimizer = jl.adam(1e-3, moment_dtype=dtype)
        _, first = optimizer.update(one, optimizer.init(one), one)
        state = first
        for _ in range(100):
            updates, state = optimizer.update(0 * one, state, one)
        np.testing.assert_allclose(np.asarray(state.v / first.v, "float32"), expected, rtol=1e-4)
        assert updates.dtype == "bfloat16"


@pytest.mark.parametrize("name", MOMENTS)
def test_moments_have_the_dtype_that_was_asked_for(name):
    case, params = MOMENTS[name], {"weights": jnp.ones((3, 4), "bfloat16"), "biases": jnp.ones(2, "bfloat16")}
    buffers = lambda state: {str(x.dtype) for x in jax.tree.leaves(state) if x.ndim}
    plain = jax.eval_shape(case.make_ours().init, params)
    wide = jax.eval_shape(case.ours(**case.numeric, **case.structural, moment_dtype="float32").init, params)
    if buffers(plain):
        assert "float32" in buffers(wide)
        assert jax.tree.structure(plain) == jax.tree.structure(wide)


def test_master_weights_in_a_sweep(float32):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    narrow = jl.Task(
        "narrow",
        lambda key: jax.tree.map(lambda w: w.astype("bfloat16"), task.init(key)),
        lambda w, batch: task.loss(jax.tree.map(lambda w: w.astype("float32"), w), batch),
        task.train,
        batch_size=32,
    )
    wide = jl.Task("wide", task.init, task.loss, task.train, batch_size=32)
    factory = lambda learning_rate: jl.master_weights(jl.adamw(learning_rate))
    options = {"steps": 200, "seeds": 2}
    losses = [
        jl.sweep(f, t, {"learning_rate": [1e-3]}, **options).dataset.train_loss.values[..., -1]
        for f, t in ((factory, narrow), (jl.adamw, wide))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)  # of bfloat16's eight bits


def test_master_weights_need_the_parameters():
    optimizer = jl.master_weights(jl.adam(0.1))
    with pytest.raises(ValueError, match=r"call update\(grads, state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
