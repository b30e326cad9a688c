"""What a function may contain, beside the operations that rules rewrite: it is walked into, or left as it is."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxopt_lab as jl
from jaxopt_lab.rewrite import rewriting

X, W = (
    jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5))),
    jnp.asarray(np.random.default_rng(1).normal(size=(5, 5))),
)


@jax.custom_vjp
def scaled(x):
    return 2 * x


scaled.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))  # a wrong derivative, so that one sees whose is used


@jax.custom_jvp
def tripled(x):
    return 3 * x


tripled.defjvp(lambda primals, tangents: (3 * primals[0], 5 * tangents[0]))

FUNCTIONS = {
    "jit": (lambda x, w: jax.jit(jnp.matmul)(x, w), 1),
    "checkpoint": (jax.checkpoint(lambda x, w: jnp.tanh(x @ w) @ w), 2),
    "cond": (lambda x, w: jax.lax.cond(x[0, 0, 0] > 0, lambda: x @ w, lambda: x @ (2 * w)), 2),
    "switch": (lambda x, w: jax.lax.switch(jnp.int32(x[0, 0, 0] > 9), [lambda: x @ w, lambda: x @ w.T, lambda: x]), 2),
    "scan": (lambda x, w: jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=3)[0], 1),
    "map": (lambda x, w: jax.lax.map(lambda w: jnp.tanh(x @ w), jnp.stack([w, 2 * w])), 1),
    "while": (lambda x, w: jax.lax.fori_loop(0, 3, lambda _, c: jnp.tanh(c @ w), x), 1),
    "vmap": (lambda x, w: jax.vmap(lambda x: jnp.tanh(x @ w))(x), 1),
    "its own gradient": (lambda x, w: jax.grad(lambda x: jnp.sum(jnp.tanh(x @ w)))(x), 2),
    "its own derivative": (lambda x, w: jax.jvp(lambda x: jnp.tanh(x @ w), (x,), (x,))[1], 2),
    "custom_vjp": (lambda x, w: scaled(x @ w), 1),
    "custom_jvp": (lambda x, w: tripled(x @ w), 1),
    "nothing": (lambda x, w: x + jnp.sum(w), 0),
    "an argument": (lambda x, w: x, 0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_control_flow_and_derivatives(name):
    function, count = FUNCTIONS[name]
    found = collections.Counter()
    x, w = X, W
    jax.eval_shape(rewriting(function, lambda rule: found.update([rule])), x, w)
    assert found.total() == count
    differentiable = name not in ("while",)  # JAX has no reverse derivative of a loop of unknown length
    see = lambda f: jax.jit(f)(x, w)
    np.testing.assert_allclose(see(rewriting(function)), see(function), rtol=2e-6, atol=1e-6)
    if differentiable:
        slope = lambda f: jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), 1))(x, w)
        np.testing.assert_allclose(slope(rewriting(function)), slope(function), rtol=2e-5, atol=1e-5)


def test_arguments_and_results_of_any_kind():
    """Flags, texts, functions, None and numbers stay Python's; results keep their form."""

    def function(x, *, training, name, act, scale=2.0, nothing=None):
        assert training is True
        assert isinstance(scale, float)
        y = act(x["a"] @ W) * scale
        return {"y": y, name: (1, 2.5, None)}, nothing

    found = jl.rewritten(function)({"a": X}, training=True, name="n", act=jnp.tanh)
    (results, nothing), expected = found, function({"a": X}, training=True, name="n", act=jnp.tanh)[0]
    assert nothing is None
    np.testing.assert_allclose(results["y"], expected["y"], rtol=1e-6)
    assert [float(x) for x in jax.tree.leaves(results["n"])] == [1, 2.5]
    assert jl.rewritten(function).__name__ == "function"


def test_random_keys_and_printing(capfd):
    """Typed keys are arrays of their own type, and effects stay effects."""

    def function(key, x):
        jax.debug.print("mean {}", jnp.mean(x))
        return jax.random.normal(key, (3, 5)) @ W + jax.random.uniform(jax.random.split(key)[0])

    key = jax.random.key(3)
    np.testing.assert_array_equal(jax.jit(rewriting(function))(key, X), jax.jit(function)(key, X))
    jax.effects_barrier()
    assert capfd.readouterr().out.count("mean") == 2


def test_an_error_is_the_functions_own():
    with pytest.raises(ZeroDivisionError):
        rewriting(lambda x: x / (1 // 0))(X)
    with pytest.raises(TypeError, match="dot_general"):
        rewriting(lambda x: x @ W[:3])(X)


def network(layers):
    """Make a function of an image from layers: what a model may consist of."""

    def run(x, weights):
        for (kind, size), w in zip(layers, weights, strict=True):
            channels = x.shape[-1]
            w = jnp.resize(w, (3, 3, channels, size)) if kind == "convolve" else jnp.resize(w, (channels, size))
            if kind == "convolve":
                x = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            elif kind == "dense":
                x = jnp.tanh(x @ w)
            elif kind == "pool" and min(x.shape[1:3]) > 1:
                x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            elif kind == "normalise":
                over = {"axis": (0, 1, 2), "keepdims": True}
                x = (x - x.mean(**over)) * jax.lax.rsqrt(x.var(**over) + 1.0)
            elif kind == "attend":
                x = jnp.einsum("bhwc,bhvc->bhwv", jax.nn.softmax(x), x)
        return jnp.sum(jnp.sin(x))

    return run


@given(
    st.lists(
        st.tuples(st.sampled_from(["convolve", "dense", "pool", "normalise", "attend"]), st.integers(1, 5)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 100),
)
@settings(max_examples=8, deadline=None)
def test_models_of_these_pieces(layers, seed):
    """Value and gradient to 1e-12 of their size in float64, to 3e-5 in float32; as rows of many, and alone."""
    with jax.enable_x64(True):
        compare_models(layers, seed, "float64", 1e-12)
    compare_models(layers, seed, "float32", 3e-5)


def compare_models(layers, seed, kind, bound):
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(2, 6, 5, 3)).astype(kind), [rng.normal(size=(2, 60)).astype(kind) for _ in layers]
    of = lambda f: jax.value_and_grad(f, (0, 1))
    see = jax.jit(
        lambda x, weights: [
            jax.vmap(of(network(layers)), (None, 0))(x, weights),
            jax.vmap(of(rewriting(network(layers))), (None, 0))(x, weights),
            jax.tree.map(lambda y: y[None], of(rewriting(network(layers)))(x, [w[0] for w in weights])),
        ]
    )
    expected, *found = map(jax.tree.leaves, see(x, weights))
    scale = max(1.0, *(float(np.max(np.abs(leaf))) for leaf in expected))
    for ours in found:
        for one, other in zip(ours, expected, strict=True):
            np.testing.assert_allclose(one, other[: len(one)], rtol=0, atol=bound * scale)
