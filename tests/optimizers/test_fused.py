"""Updates out of one kernel: the same steps, and in a process that lets XLA, one pass through memory."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from kinds import each_kinds_row

import jaxopt_lab as jl
from jaxopt_lab.optimizers.wrappers import fused
from jaxopt_lab.verify.optimizers.problems import wave

ONE_KERNEL = """
gradient_descent momentum rmsprop adagrad adadelta adam adamw adabelief adamax adamaxw amsgrad nadam nadamw radam yogi
lion adan ademamix simplified_ademamix adopt acprop schedule_free_sgd schedule_free_adamw sign_sgd signum rprop
optimistic_gradient_descent optimistic_adam cocob madgrad laprop qhadam qhm aggmo adabound grams amos mirror_madgrad
asgd gpa_adamw schedule_free_radam
"""
COUNT = """
import jax, jax.numpy as jnp, optax, jaxopt_lab as jl
for name in {names}:
    optimizer = jl.fused(getattr(jl, name)() if name == "cocob" else getattr(jl, name)(0.01))
    def step(w, state, g):
        updates, state = optimizer.update(g, state, w)
        return optax.apply_updates(w, updates), state
    w = jnp.ones((64, 128))
    arguments = w, jax.eval_shape(optimizer.init, w), w
    program = jax.jit(step, donate_argnums=(0, 1), compiler_options=jl.compiler_options()).lower(*arguments).compile()
    entry = program.as_text().split("ENTRY")[1].splitlines()
    arrays = [line for line in entry if "[64,128]" in line.split(", metadata")[0]]
    print(name, sum(" fusion(" in line for line in arrays), sum(" copy(" in line for line in arrays))
"""


@pytest.fixture
def wanted(monkeypatch):
    """As in a process that was started with the flags: what is computed does not depend on them, only how."""
    monkeypatch.setattr(fused, "_wanted", lambda: True)


def trained(optimizer, steps=4):
    w = {"weights": wave(4, 3), "biases": wave(3)}
    loss = lambda w: sum(jnp.sum(jnp.sin(leaf + i) ** 2) for i, leaf in enumerate(jax.tree.leaves(w)))
    state = optimizer.init(w)

    @jax.jit
    def step(w, state, key):
        value, grads = jax.value_and_grad(loss)(w)
        extras = {"value": value, "grad": grads, "value_fn": loss, "key": key}
        updates, state = optimizer.update(grads, state, w, **extras)
        return optax.apply_updates(w, updates), state

    for key in jax.random.split(jax.random.key(0), steps):
        w, state = step(w, state, key)
    return w, state


def assert_close(a, b, rtol):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, x.shape, x.weak_type) == (y.dtype, y.shape, y.weak_type)
        np.testing.assert_allclose(x, y, rtol=0, atol=rtol * max(np.max(np.abs(y)), 1e-300))


@each_kinds_row
def test_steps_are_the_same(case, wanted, float64):
    optimizer = case.make_ours()
    plain = trained(optax.with_extra_args_support(optimizer))
    assert_close(trained(jl.fused(optimizer)), plain, 1e-12)  # sums and products may be rounded in another order


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(optax.clip_by_global_norm(0.1), jl.adamw(optax.cosine_decay_schedule(0.1, 9)), optax.ema(0.9)),
        optax.chain(optax.stateless_with_tree_map(lambda g, _: jax.nn.silu(jax.nn.relu(g))), jl.adam(0.1)),
        optax.MultiSteps(jl.adam(0.1), 2).gradient_transformation(),
        optax.masked(optax.adam(0.1), {"weights": True, "biases": False}),
        optax.inject_hyperparams(optax.adam)(learning_rate=optax.linear_schedule(0.1, 0, 9)),
    ],
    ids=["clipped", "custom derivatives", "every second step", "masked", "injected"],
)
def test_other_transformations_and_what_wraps_ours(optimizer, wanted, float64):
    assert_close(trained(jl.fused(optimizer)), trained(optax.with_extra_args_support(optimizer)), 1e-12)


def test_parameters_and_moments_keep_their_dtypes(wanted):
    w = {"half": jnp.ones((3, 2), jnp.bfloat16), "one": jnp.ones(1), "none": jnp.ones(())}
    optimizer = jl.adam(0.1, moment_dtype="float32")
    state = optimizer.init(w)
    seen, plain = (jax.jit(o.update)(w, state, w) for o in (jl.fused(optimizer), optimizer))
    assert_close(seen, plain, 1e-6)


def test_under_vmap_and_differentiated(wanted, float64):
    w = wave(3, 2)

    def after(optimizer, rate):
        updates, _ = optimizer.update(jnp.cos(w), optimizer.init(w), w)
        return jnp.sum((w + rate * updates) ** 2)

    ours = lambda rate: after(jl.fused(jl.adam(rate)), rate)
    plain = lambda rate: after(jl.adam(rate), rate)
    rates = jnp.array([0.1, 0.2])
    np.testing.assert_allclose(jax.vmap(jax.grad(ours))(rates), jax.vmap(jax.grad(plain))(rates), rtol=1e-12)


def test_each_result_is_made_from_the_inputs_again(wanted):
    """Of three (parameters' step), two (mean) and two (mean of squares); what is not elementwise is made once."""
    optimizer = jl.fused(optax.chain(optax.clip_by_global_norm(1.0), jl.adam(0.1)))
    w = jnp.ones((3, 2))
    text = str(jax.make_jaxpr(optimizer.update)(w, optimizer.init(w), w))
    assert text.count("= reduce_precision[") == 3 + 2 + 2
    assert text.count("= reduce_sum[") == 1


def test_without_the_flags_says_so_and_changes_nothing(on_a_cpu):
    if fused._joins_kernels():
        pytest.skip("this process has the flags")
    w = jnp.ones(4)
    optimizer = jl.fused(jl.adam(0.1))
    with pytest.warns(UserWarning, match="XLA_FLAGS=--xla_backend_extra_options"):
        text = str(jax.make_jaxpr(optimizer.update)(w, optimizer.init(w), w))
    assert "reduce_precision" not in text


def test_with_the_flags_every_elementwise_method_is_one_kernel(on_a_cpu):
    """Of each of which the parameters and all state come, in place: no copy beside it."""
    environment = {**os.environ, "XLA_FLAGS": fused.FLAGS}
    command = [sys.executable, "-W", "error", "-c", COUNT.format(names=ONE_KERNEL.split())]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} 1 0" for name in ONE_KERNEL.split()]
