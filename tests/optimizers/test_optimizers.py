"""What single methods promise beyond their twins, and the habits of their files."""

import ast
import inspect
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.problems import PROBLEMS

FILES = sorted(Path(inspect.getfile(jl.adam)).parent.rglob("*.py"))


@pytest.mark.parametrize("optimizer", [jl.adam, jl.adamw])
def test_first_float32_step_with_traced_b2_is_exact_to_rounding(optimizer):
    """1 - b2 cancels in float32: 7e-6 of the step is lost where it is not avoided, 3e-7 is two roundings."""
    g = jnp.asarray([1e-3, 0.3, -2.0], "float32")
    step = lambda rate, b1, b2: optimizer(rate, b1, b2).update(g, optimizer(rate, b1, b2).init(g), 0 * g)[0]
    with jax.enable_x64(False):
        seen = np.asarray(jax.jit(step)(*(jnp.asarray(value, "float32") for value in (0.01, 0.9, 0.999))), "float64")
    g = np.asarray(g, "float64")
    np.testing.assert_allclose(seen, -0.01 * g / (abs(g) + 1e-8), rtol=3e-7)


def test_bias_correction_is_exact_to_rounding_in_float32():
    """Steps 1 to 1000 of a steady gradient are all -learning_rate; a rounded 1 - b2**t would show in every one."""
    with jax.enable_x64(False):
        g = jnp.full(3, 0.5)

        def step(state, _):
            updates, state = optimizer.update(g, state)
            return state, updates

        optimizer: Any = jl.adam(jnp.float32(0.01), jnp.float32(0.9), jnp.float32(0.999))
        _, updates = jax.lax.scan(step, optimizer.init(g), length=1000)
    # v gathers one rounding a step: up to a few hundred of 6e-8, half of which shows in the root.
    np.testing.assert_allclose(updates[:10], -0.01, rtol=1e-6)
    np.testing.assert_allclose(updates, -0.01, rtol=2e-5)


def test_bfloat16_moments_decay():
    """The mean of g decays by b1 and the mean of g**2 by b2, though 0.99 is 0.98828125 and 0.999 is 1 in bfloat16."""
    one, zero = jnp.ones(2, "bfloat16"), jnp.zeros(2, "bfloat16")
    optimizer: Any = jl.adam(jnp.float32(0.01), jnp.float32(0.9), jnp.float32(0.99))
    _, state = optimizer.update(one, optimizer.init(one))
    first = state
    for _ in range(10):
        _, state = optimizer.update(zero, state)
    # Eight bits: each of ten roundings errs by 2**-8 at the most, half that as a rule.
    np.testing.assert_allclose(np.asarray(state.m / first.m, "float32"), 0.9**10, rtol=0.05)
    np.testing.assert_allclose(np.asarray(state.v / first.v, "float32"), 0.99**10, rtol=0.05)
    optimizer = jl.adam(0.01, b2=jnp.float32(0.999))
    _, state = optimizer.update(one, optimizer.init(one))
    np.testing.assert_allclose(np.asarray(state.v, "float32"), 1e-3, rtol=2**-8)


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("eps_in_sqrt", [True, False])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_centered_rmsprop_stays_finite_on_a_steady_gradient(momentum, eps_in_sqrt, bias_correction):
    """The variance of a constant is 0, and its rounding may be less: the root of that would be NaN."""
    with jax.enable_x64(False):
        g = jnp.linspace(0.1, 30.0, 64)
        optimizer: Any = jl.rmsprop(
            0.01,
            momentum=momentum,
            eps_in_sqrt=eps_in_sqrt,
            bias_correction=bias_correction,
            centered=True,
        )

        def step(state, _):
            updates, state = optimizer.update(g, state)
            return state, updates

        _, updates = jax.lax.scan(step, optimizer.init(g), length=2000)
    assert np.isfinite(updates).all()
    assert (np.asarray(updates) < 0).all()


def test_centered_rmsprop_keeps_the_mean_of_the_gradient():
    """Only its square enters the step, so that a wrong sign would be seen nowhere else."""
    g = jnp.asarray([2.0, -1.0])
    optimizer: Any = jl.rmsprop(0.01, 0.75, centered=True)
    _, state = optimizer.update(g, optimizer.init(g))
    np.testing.assert_array_equal(state.m, 0.25 * g)


def test_adagrad_makes_no_step_where_the_sum_of_squares_is_zero():
    """A gradient of 1e-30 has a square of 0 in float32."""
    with jax.enable_x64(False):
        g = jnp.asarray([1e-30, 0.0])
        for eps in (0.0, 1e-7):
            optimizer = jl.adagrad(0.1, 0.0, eps)
            np.testing.assert_array_equal(optimizer.update(g, optimizer.init(g))[0], 0.0)


def test_adamw_needs_the_parameters():
    optimizer = jl.adamw(0.01)
    with pytest.raises(ValueError, match=r"call update\(grads, state, params\)"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


def test_adamw_mask_as_tree_prefix_and_function_agree_with_optax():
    w = PROBLEMS["mixed"].start()
    by_rank = lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params)
    results = []
    for mask in (by_rank, by_rank(w), {"weights": True, "biases": False}):
        for adamw in (jl.adamw, optax.adamw):
            optimizer = adamw(0.01, weight_decay=0.5, mask=mask)
            results.append(optimizer.update(w, optimizer.init(w), w)[0])
    for result in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), result, results[0])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_import_types_and_siblings_only_and_never_jit(file):
    imported, named = set(), set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        elif isinstance(node, ast.Attribute):
            named.add(node.attr)
        elif isinstance(node, ast.Name):
            named.add(node.id)
    ours = {name for name in imported if name.startswith("jaxopt_lab")}
    below = ("types", *(("errors", "checking", "labels") if file.parent.name == "wrappers" else ()))
    siblings = {name for name in ours if name.startswith("jaxopt_lab.optimizers.")}
    assert ours - siblings <= {f"jaxopt_lab.{name}" for name in below}
    assert {name.partition(".")[0] for name in imported - ours} <= {
        *sys.stdlib_module_names,
        "jax",
        "jaxtyping",
        "numpy",
    }
    allowed = {
        "fused": {"jit"},  # it compiles two additions to see what XLA makes of them
        "_amortised": {"vmap"},  # it says how its own condition is mapped
    }
    assert not named & ({"jit", "vmap", "pmap", "optax"} - allowed.get(file.stem, set()))


@pytest.mark.parametrize("name", jl.OPTIMIZERS)
def test_priors_are_of_hyperparameters_and_hold_sense(name):
    factory = jl.OPTIMIZERS[name]
    priors, parameters = jl.PRIORS[factory], inspect.signature(factory).parameters
    assert priors, "say where it is worth searching"
    for hyperparameter, prior in priors.items():
        assert parameters[hyperparameter].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert prior.low < prior.high
        assert prior.source
        assert prior.spacing in ("log", "linear", "one_minus")
        assert prior.low > 0 if prior.spacing == "log" else True
        assert prior.high < 1 if prior.spacing == "one_minus" else True
