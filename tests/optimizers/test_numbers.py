"""Numbers other than real float32: complex, float16, whole ones, and none at all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from kinds import by_kind, each_kind

import jaxopt_lab as jl
from jaxopt_lab.optimizers.wrappers import fused
from jaxopt_lab.verify.optimizers.cases import CASES, METHODS
from jaxopt_lab.verify.optimizers.haste import TRACING, compiled
from jaxopt_lab.verify.optimizers.problems import HELD_FLAT, PROBLEMS, wave
from jaxopt_lab.verify.optimizers.walks import problem

# Steps by sign, by interval, by coordinate or by singular vectors: there is no agreed form for complex numbers.
REAL_ONLY = {name for name, case in METHODS.items() if case.real_only}
COMPLEX = [name for name in jl.OPTIMIZERS if name not in REAL_ONLY]
each_method = pytest.mark.parametrize("name", jl.OPTIMIZERS)
each_real_only = pytest.mark.parametrize("name", sorted(REAL_ONLY))
each_complex = pytest.mark.parametrize("name", COMPLEX)


def made(name, **settings):
    """Ours as its row has it, without random numbers."""
    case = METHODS[name]
    curved = {"hessian_diagonal_fn": lambda value_fn, w, g, key: g}
    quiet = {
        "noisy_sgd": {"eta": 0.0},
        "sophia": curved,
        "adahessian": curved,
        "psgd_kron": {"probe": lambda key, t, like: jax.tree.map(lambda x: wave(*x.shape).astype(x.dtype), like)},
    }
    return case.ours(**{**case.numeric, **case.structural, **quiet.get(name, {}), **settings})


def evaluated(loss, w):
    """The loss and its direction of steepest ascent."""
    value, slope = jax.value_and_grad(loss)(w)
    return value, jax.tree.map(jnp.conj, slope)


def moved(optimizer, loss, w, state, t=0, seen=None):
    """A step with all that the training loop gives: updates and state. `seen`: the loss and gradient, if known."""
    value, g = evaluated(loss, w) if seen is None else seen
    extras = {"value": value, "grad": g, "value_fn": loss, "key": jax.random.fold_in(jax.random.key(5), t)}
    return optax.with_extra_args_support(optimizer).update(g, state, w, **extras)


def walk(optimizer, loss, w, steps):
    """The parameters after every step."""

    def step(carry, t):
        w, state = carry
        updates, state = moved(optimizer, loss, w, state, t)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    return jax.lax.scan(step, (w, optimizer.init(w)), jnp.arange(steps))[1]


def program(function, *arguments):
    """The function, compiled in haste for arguments such as these."""
    with TRACING:
        lowered = jax.jit(function).lower(*arguments)
    return compiled(lowered)


def run(function, *arguments):
    """Its results, from a program that is compiled in haste."""
    return program(function, *arguments)(*arguments)


def assert_close(seen, right, rtol):
    """Every leaf to within rtol of its largest element."""
    for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.max(np.abs(b), initial=0))


@functools.cache
def tells_tensors_apart(name):
    """Whether the shapes of tensors matter to a method: it refuses parameters held flat."""
    return problem(name, "float64") is not HELD_FLAT


def starting_params(name):
    """Parameters of all ranks; a vector and a scalar suffice for a method that does not tell tensors apart.

    Fewer tensors halve the time to compile. `test_flat` and `test_properties` check that their shapes do not matter.
    """
    if tells_tensors_apart(name):
        return PROBLEMS["mixed"].start()
    return {"vector": wave(9, phase=0.4), "scalar": jnp.asarray(0.7, float)}


# Complex parameters

TARGET = 1 + 2j
squared_distance = lambda z: jnp.sum(jnp.real(z - TARGET) ** 2 + jnp.imag(z - TARGET) ** 2)
# Far enough in 500 steps, where the row's learning rate is not.
FASTER = {
    **{name: {"learning_rate": 0.05} for name in ("rmsprop", "radam", "optimistic_adam", "lamb", "qhadam", "came")},
    **{name: {"learning_rate": 0.1} for name in ("fromage", "adafactor", "schedule_free_radam", "amos")},
}


def made_complex(params):
    return jax.tree.map(lambda w: w + 1j * wave(*w.shape, phase=3.0 + w.ndim), params)


def round_loss(params):
    """The same wherever all parameters are turned by one complex number of length 1."""
    leaves = jax.tree.leaves(params)
    sizes = [jnp.real(w) ** 2 + jnp.imag(w) ** 2 for w in leaves]
    together = sum(jnp.mean(w) for w in leaves)
    wells = sum((i + 1) * jnp.mean(jnp.log1p(size)) for i, size in enumerate(sizes))
    return wells + (jnp.real(together) ** 2 + jnp.imag(together) ** 2) / 4


@each_method
def test_a_complex_minimum_is_found_or_complex_parameters_are_refused(name, float64):
    """On the straight line to it: no direction in the plane is another's better."""
    optimizer, start = made(name, **FASTER.get(name, {})), jnp.zeros([], complex)
    if name in REAL_ONLY:
        with pytest.raises(TypeError, match=f"{name} is defined for real parameters only, and params is complex128"):
            optimizer.init(start)
        return
    way = run(lambda z: walk(optimizer, squared_distance, z, 500), start)
    np.testing.assert_allclose((way / TARGET).imag, 0, atol=1e-9)
    assert squared_distance(way[-1]) < 0.1 * squared_distance(start)


@each_real_only
def test_what_a_refusal_names_works(name, float64):
    """Real and imaginary parts as parameters of their own."""
    with pytest.raises(TypeError, match=r"params\['z'\] is complex128") as refused:
        made(name).init({"real": jnp.ones(2), "z": jnp.zeros([], complex)})
    text, start = str(refused.value), jnp.zeros([], complex)
    assert "two real leaves" in text
    if f"optax.contrib.split_real_and_imaginary(jl.{name}(...))" in text:
        optimizer = optax.contrib.split_real_and_imaginary(made(name))
        end = run(lambda z: walk(optimizer, squared_distance, z, 50)[-1], start)
    else:  # it needs what the wrapper drops
        assert name in ("sophia", "adahessian")
        loss = lambda parts: squared_distance(parts[0] + 1j * parts[1])
        parts = run(lambda parts: walk(made(name), loss, parts, 50), (start.real, start.imag))
        end = parts[0][-1] + 1j * parts[1][-1]
    assert squared_distance(end) < squared_distance(start)


@pytest.mark.parametrize("name", by_kind(COMPLEX))
def test_turning_the_plane_turns_the_walk(name, float64):
    """And on the real line in the plane it is the walk of real parameters."""
    optimizer, start, turn = made(name), made_complex(starting_params(name)), jnp.exp(0.7j)
    turned, real = jax.tree.map(lambda w: turn * w, start), jax.tree.map(jnp.real, start)
    on_the_line = jax.tree.map(lambda w: w + 0j, real)
    ways = program(lambda *starts: [walk(optimizer, round_loss, w, 20) for w in starts], start, real)
    (way, of_real), (of_turned, _), (of_line, _) = (ways(w, real) for w in (start, turned, on_the_line))
    # Float64 rounding, grown over the steps: by Newton-Schulz iterations the most.
    assert_close(of_turned, jax.tree.map(lambda w: turn * w, way), 1e-10)
    assert_close(of_line, of_real, 1e-10)


# Only lengths and inner products of all parameters, which are those of twice as many real ones.
IN_A_PLANE = [
    *("gradient_descent", "sgd", "momentum", "schedule_free_sgd", "optimistic_gradient_descent", "polyak_sgd"),
    *("dog", "dowg", "momo", "sam", "lbfgs", "noisy_sgd"),
]


@pytest.mark.parametrize("name", IN_A_PLANE)
def test_complex_parameters_are_pairs_of_real_ones(name, float64):
    def loss(params):
        """Another thing in every direction."""
        return round_loss(params) + sum(jnp.sum(jnp.sin(w.real) * jnp.cos(2 * w.imag)) for w in jax.tree.leaves(params))

    start, optimizer = made_complex(starting_params(name)), made(name)
    split = lambda params: jax.tree.map(lambda w: (w.real, w.imag), params)
    is_pair = lambda x: isinstance(x, tuple)
    joined = lambda pairs: jax.tree.map(lambda pair: pair[0] + 1j * pair[1], pairs, is_leaf=is_pair)
    both = lambda w: (walk(optimizer, loss, w, 20), walk(optimizer, lambda p: loss(joined(p)), split(w), 20))
    of_complex, of_pairs = run(both, start)
    assert_close(split(of_complex), of_pairs, 1e-10)


OPTAX_HAS_NO_SUCH_FORM = {
    "adadelta": "its mean square is complex",
    "simplified_ademamix": "its mean square is complex",
    "momo_adam": "its mean square is complex",
    "momo": "its inner products are complex",
    "madgrad": "it asks for the cube root of a complex number",
    "sam": "it takes JAX's gradient near by, unconjugated",
}


# Without schedules, whose powers are of float32: their last bit depends on the kernel.
AS_OPTAX = [
    name
    for name, case in CASES.items()
    if case.twin
    and (method := name.split(" ")[0]) in COMPLEX
    and method not in OPTAX_HAS_NO_SUCH_FORM
    and not any(map(callable, case.numeric.values()))
]


@pytest.mark.parametrize(
    "name", [name if name in METHODS else pytest.param(name, marks=pytest.mark.thorough) for name in AS_OPTAX]
)
def test_a_complex_step_is_optaxs(name, float64):
    """Each from the twin's parameters."""
    case, start = CASES[name], made_complex(starting_params(name))

    def compare(start):
        ours, twin = case.make_ours(), case.make_twin()

        def step(carry, t):
            w, state, twin_state = carry
            seen = evaluated(round_loss, w)
            updates, state = moved(ours, round_loss, w, state, t, seen)
            twin_updates, twin_state = moved(twin, round_loss, w, twin_state, t, seen)
            return (optax.apply_updates(w, twin_updates), state, twin_state), (updates, twin_updates)

        return jax.lax.scan(step, (start, ours.init(start), twin.init(start)), jnp.arange(20))[1]

    assert_close(*run(compare, start), 1e-11)


def test_precision_asked_for_is_that_of_real_and_imaginary_parts():
    z = jnp.ones(2, "complex64")
    with jax.enable_x64(True):
        state = jl.adam(0.1, moment_dtype="float64").init(z)
        assert (state.m.dtype, state.v.dtype) == ("complex128", "float64")
        assert jl.master_weights(jl.adam(0.1), dtype="float64").init(z).master.dtype == "complex128"
    state = jl.adam(0.1).init(z)
    assert (state.m.dtype, state.v.dtype) == ("complex64", "float32")


WRAPPED = {
    "master_weights": lambda optimizer: jl.master_weights(optimizer, dtype="float64"),
    "ema": jl.ema,
    "fused": jl.fused,
    "sam": lambda optimizer: jl.sam(0.1, 1e-12, base=lambda rate: optimizer),
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_complex_parameters_in_wrappers(wrap, float64, monkeypatch):
    monkeypatch.setattr(fused, "_wanted", lambda: True)
    start, optimizer = made_complex(PROBLEMS["mixed"].start()), jl.adam(0.1)
    way = lambda optimizer: run(lambda w: walk(optimizer, round_loss, w, 5), start)
    # 1e-12: how far the gradient of sam is taken from the parameters.
    assert_close(way(WRAPPED[wrap](optimizer)), way(optimizer), 1e-11)


def test_complex_parameters_held_flat(float64):
    start, loss = made_complex(PROBLEMS["mixed"].start()) | {"real": wave(3)}, round_loss
    held = run(lambda w: walk(jl.adamw(0.1), lambda held: loss(held.tree), w, 5), jl.flat(start))
    way = run(lambda w: walk(jl.adamw(0.1), loss, w, 5), start)
    assert_close(jax.vmap(lambda held: held.tree)(held), way, 1e-12)
    assert [vector.dtype for vector in jl.flat(start).vectors] == ["complex128", "float64"]


# float16


@each_kind
def test_float16_parameters_are_trained_as_float32_ones(name, float32):
    """Under gradients whose squares float16 has not, and along the same way, updates differ by a rounding."""
    narrow = jax.tree.map(lambda w: w.astype("float16"), starting_params(name))
    optimizer = made(name)

    def updates(size, like):
        def step(state, t):
            rounded = lambda w: (w * jnp.cos(t / 3.0)).astype("float16").astype(like)
            w = jax.tree.map(rounded, narrow)
            g = jax.tree.map(lambda w: rounded(size * wave(*w.shape, phase=1.0)), narrow)
            loss = lambda w: size * sum(jnp.mean(leaf.astype("float32") ** 2) for leaf in jax.tree.leaves(w))
            updates, state = moved(optimizer, loss, w, state, t, (loss(w), g))
            return state, updates

        start = jax.tree.map(lambda w: w.astype(like), narrow)
        return jax.lax.scan(step, optimizer.init(start), jnp.arange(30))[1]

    both = program(lambda size: [updates(size, like) for like in ("float16", "float32")], jnp.float32(1))
    for size in (1e-7, 1e-4, 1e4):
        for a, b in zip(*map(jax.tree.leaves, both(jnp.float32(size))), strict=True):
            assert a.dtype == "float16"
            assert np.isfinite(b).all()
            # 2**-11, half of float16's last bit, of each; of the smallest numbers 2**-25.
            np.testing.assert_allclose(a.astype("float32"), b, rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize("name", ["rprop", "optimistic_gradient_descent", "lbfgs", "galore"])
@pytest.mark.parametrize(("asked", "kept"), [("float32", "float32"), (None, "bfloat16")])
def test_lists_of_parameters_have_the_dtype_asked_for(name, asked, kept):
    state = jax.eval_shape(made(name, moment_dtype=asked).init, jnp.ones((2, 3), "bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(state) if leaf.ndim} == {jnp.dtype(kept)}


@pytest.mark.parametrize(
    ("dtype", "asked", "kept"),
    [("bfloat16", "float32", "float32"), ("bfloat16", None, "bfloat16"), ("float16", None, "float32")],
)
def test_an_average_of_parameters_has_the_dtype_asked_for(dtype, asked, kept):
    w = jnp.ones(3, dtype)
    state = jl.dog(averaging=8.0, average_dtype=asked).init(w)
    assert (state.average.dtype, state.evaluation_params(w).dtype) == (kept, dtype)


# Whole numbers


NOT_TRAINED = {
    "int32": 3,
    "int8": jnp.ones(2, "int8"),
    "bool": np.ones(2, bool),
    "key<fry>": jax.random.key(0),
    "str": "a name",
    "function": round_loss,
}


@each_method
def test_leaves_that_are_not_trained_are_refused(name, float32):
    optimizer = made(name)
    for kind, leaf in NOT_TRAINED.items():
        with pytest.raises(TypeError, match=rf"params\['layer'\]\[1\] is {kind}\. Hold it outside"):
            optimizer.init({"layer": [jnp.ones(2), leaf], "bias": jnp.ones(2)})


AROUND = {
    "chain": lambda optimizer: optax.chain(optax.clip(1.0), optimizer),
    "master_weights": jl.master_weights,
    "ema": jl.ema,
    "fused": jl.fused,
    "sam": lambda optimizer: jl.sam(0.1, base=lambda rate: optimizer),
    "inject": lambda optimizer: optax.inject_hyperparams(lambda learning_rate: optimizer)(0.1),
}


@pytest.mark.parametrize("around", AROUND)
def test_whole_numbers_are_refused_within_wrappers(around):
    with pytest.raises(TypeError, match=r"params\['n'\] is int32"):
        AROUND[around](jl.adam(0.1)).init({"w": jnp.ones(2), "n": jnp.arange(2)})


def test_whole_numbers_are_refused_where_they_are_made_flat():
    with pytest.raises(TypeError, match=r"params\['n'\] is int32"):
        jl.flat({"w": jnp.ones(2), "n": jnp.arange(2)})


def test_whole_numbers_may_be_masked(float32):
    params = {"w": jnp.ones(2), "n": jnp.arange(2)}
    optimizer = optax.masked(jl.adam(0.1), {"w": True, "n": False})
    state = optimizer.init(params)
    updates, _ = optimizer.update({"w": jnp.ones(2), "n": np.zeros(2, int)}, state, params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-5)


# Nothing at all


@each_method
def test_trees_without_leaves(name):
    optimizer = made(name)
    evaluating = ("sam", "sophia", "adahessian", "lbfgs")
    masked = [] if name in evaluating else [{"a": optax.MaskedNode()}]
    for tree in ({}, {"a": (), "b": [None]}, *masked):
        state = optimizer.init(tree)
        updates, after = moved(optimizer, lambda w: jnp.zeros([]), tree, state)
        assert jax.tree.structure(updates) == jax.tree.structure(tree)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


@each_kind
def test_leaves_without_elements_change_nothing(name, float64):
    """Nor does a scalar need another treatment."""
    full = {"matrix": wave(2, 3), "scalar": jnp.asarray(0.5)}
    shapes = [(0,), (2, 0, 3)]
    if tells_tensors_apart(name):
        full, shapes = full | {"vector": wave(4)}, [*shapes, (0, 4), (4, 0)]
    empty = {f"empty {shape}": jnp.zeros(shape) for shape in shapes}
    loss = lambda w: sum(jnp.sum(jnp.log(jnp.cosh(leaf - 0.3))) for leaf in jax.tree.leaves(w))
    both = lambda *starts: [walk(made(name), loss, start, 5) for start in starts]
    with_empty, without = run(both, full | empty, full)
    assert_close({key: with_empty[key] for key in full}, without, 1e-12)
