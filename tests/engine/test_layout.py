"""A loop that keeps arrays in another axis order gives the results of `jax.lax.fori_loop`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxopt_lab as jl
from jaxopt_lab.engine.compile import layout
from jaxopt_lab.engine.compile.program import loop_on
from jaxopt_lab.tasks.seeding import draws, initial_params
from jaxopt_lab.trial import Trial

STEPS = 4
ROUNDING = 1e-12  # float64: products add in another order

key = jax.random.key(0)


def normal(number, *shape):
    return np.random.default_rng(number).normal(size=shape)


def loop_over(trial_loop, body, init, trials=3):
    """The body's loop for some trials that differ in where they start."""
    starts = jax.tree.map(lambda x: jnp.stack([x * (1 + 0.1 * n) for n in range(trials)]), init)
    return jax.jit(jax.vmap(lambda start: trial_loop(0, STEPS, body, start)))(starts)


def assert_same(body, init):
    ours, theirs = (loop_over(loop, body, init) for loop in (layout.fori_loop, jax.lax.fori_loop))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=ROUNDING, atol=ROUNDING)


def carried(body, init):
    """The shapes of what the loop carries."""
    jaxpr = jax.make_jaxpr(lambda init: layout.fori_loop(0, STEPS, body, init))(init)
    (loop,) = (e for e in jaxpr.jaxpr.eqns if e.primitive.name in ("while", "scan"))
    return [v.aval.shape for v in loop.outvars if v.aval.shape]


def descent(loss):
    """A turn of gradient descent on a loss of `params` alone."""
    return lambda i, params: jax.tree.map(lambda w, g: w - 0.01 * g, params, jax.grad(loss)(params))


X, Y, LABELS = normal(1, 6, 4), normal(2, 6, 2), np.array([0, 1, 1, 0, 1, 0])
NETWORK = {"in": normal(3, 4, 5), "bias": normal(4, 5), "out": normal(5, 5, 2)}


def hidden(params):
    return jnp.tanh(X @ params["in"] + params["bias"][None])


def network(params):
    return hidden(params) @ params["out"]


def attention(params):
    x = X.reshape(2, 3, 4)
    q, k = x @ params["in"], x @ (params["in"] * 2)
    weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", q, k))
    return jnp.mean((weights @ (q @ params["out"])) ** 2)


def normalised(params):
    h = hidden(params)
    h = (h - h.mean(axis=-1, keepdims=True)) / jnp.sqrt(h.var(axis=0, keepdims=True) + 0.1)
    return jnp.mean((h @ params["out"] - Y) ** 2)


def embedded(params):
    rows = params["in"].T[LABELS]
    return jnp.mean((rows @ params["in"]) ** 2) + jnp.mean(params["out"][LABELS + 1] ** 2)


def convolved(params):
    image = hidden(params).reshape(1, 6, 5, 1)
    kernel = params["out"].reshape(5, 2, 1, 1)
    return jnp.mean(
        jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) ** 2
    )


def recurrent(params):
    turn = lambda h, x: (jnp.tanh(h + x @ params["in"]), h.sum())
    h, sums = jax.lax.scan(turn, jnp.zeros(5), X)
    return jnp.mean(sums**2) + jnp.mean((h @ params["out"]) ** 2)


def chosen(params):
    z = network(params)
    best = jnp.argmax(z, axis=1)
    top = jnp.take_along_axis(z, best[:, None], axis=1)
    return jnp.mean(jnp.where(z > 0, z, top) ** 2) + jnp.sum(jnp.sort(z, axis=0)[-1]) + jnp.sum(jnp.cumsum(z, axis=1))


def raveled(params):
    row = jnp.concatenate([jnp.ravel(network(params)), jnp.ravel(params["in"].T)])
    return jnp.sum(jnp.ravel(hidden(params)) ** 2) + jnp.ravel(params["in"]) @ jnp.arange(20.0) + row @ row


def rematerialised(params):
    return jnp.mean(jax.checkpoint(network)(params) ** 2)


LOSSES = {
    "network": lambda params: jnp.mean((network(params) - Y) ** 2),
    "labels": lambda params: optax.softmax_cross_entropy_with_integer_labels(network(params), LABELS).mean(),
    "precise": lambda params: jnp.mean(jnp.dot(hidden(params), params["out"], precision=("highest", "default")) ** 2),
} | {f.__name__: f for f in (attention, normalised, embedded, convolved, recurrent, chosen, raveled, rematerialised)}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("always", [False, True], ids=["where_it_pays", "always"])
def test_a_loss_is_descended_as_written(loss, always, float64, monkeypatch):
    if always:
        monkeypatch.setattr(layout, "_pays", lambda turn: True)
    assert_same(descent(loss), NETWORK)


# A row a way to use arrays: by element, norms of each and of all, factors, products, history, copies, two gradients.
OPTIMIZERS = """
adam adafactor cocob galore lamb lbfgs momo muon noisy_sgd prodigy sam schedule_free_adamw sm3 sophia
"""


@pytest.mark.parametrize("name", OPTIMIZERS.split())
def test_every_optimizer_comes_where_it_comes(name, float64, monkeypatch):
    monkeypatch.setattr(layout, "_pays", lambda turn: True)
    task = jl.Task("network", lambda _: NETWORK, lambda params, _: LOSSES["labels"](params), train=None)
    trial = Trial(jl.optimizers.OPTIMIZERS[name](1e-2), task)
    drawn = draws(task, key, jnp.int32(0), STEPS)
    state = trial.start(initial_params(task, key))
    run = lambda loop: trial.advance(state, drawn, jnp.int32(0), STEPS, task.data, STEPS, loop=loop)
    both = jax.jit(lambda: (run(layout.fori_loop), run(jax.lax.fori_loop)))()
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=ROUNDING)  # some divide what nearly cancels


def test_parameters_and_moments_are_carried_as_their_gradients_come(float64):
    optimizer = optax.adam(0.1)

    def body(i, carry):
        params, state = carry
        grads = jax.grad(LOSSES["network"])(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state

    shapes = carried(body, (NETWORK, optimizer.init(NETWORK)))
    assert sorted(shapes) == sorted([(5, 4), (2, 5), (5,)] * 3)
    assert_same(body, (NETWORK, optimizer.init(NETWORK)))


def test_a_network_of_one_input_stays_as_it_is(float64):
    """Its first product is none to XLA, which multiplies element by element, and in the order of its result."""
    x, params = normal(9, 6, 1), {"in": normal(10, 1, 5), "out": NETWORK["out"]}
    body = descent(lambda params: jnp.mean((jnp.tanh(x @ params["in"]) @ params["out"]) ** 2))
    text = str(jax.make_jaxpr(lambda init: layout.fori_loop(0, STEPS, body, init))(params))
    assert "f64[6,5] = dot_general" in text  # examples first
    assert_same(body, params)


def convolutional(params):
    """Two convolutions as products of patches, with examples first: (n, 6, 6, 1) images."""
    x = jnp.asarray(normal(11, 7, 6, 6, 1))
    for layer in ("first", "second"):
        channels_first = jnp.transpose(x, (3, 1, 2, 0))
        size = channels_first.shape[1] - 2
        seen = [channels_first[:, i : i + size, j : j + size] for i in range(3) for j in range(3)]
        patches = jnp.concatenate(seen).reshape(-1, size * size * len(x))
        found = (params[layer].T @ patches).reshape(-1, size, size, len(x))
        x = jnp.maximum(jnp.transpose(found, (3, 1, 2, 0)) + params["bias"][None, None, None], 0.0)
    return jnp.mean((x.reshape(len(x), -1) @ params["out"]) ** 2)


CONVOLUTIONAL = {
    "first": normal(12, 9, 4),
    "second": normal(13, 36, 4),
    "bias": normal(14, 4),
    "out": normal(15, 16, 2),
}


def test_images_stay_in_the_order_of_their_convolutions(float64, monkeypatch):
    """Only what is flattened for the last layer is transposed."""
    seen = []
    monkeypatch.setattr(layout, "_pays", lambda turn: not seen.append(turn))
    body = descent(convolutional)
    assert_same(body, CONVOLUTIONAL)
    flattened = 7 * 2 * 2 * 4  # numbers
    assert seen[0].moved <= 3 * flattened
    assert seen[0].moved_before >= 10 * flattened


def test_of_two_wide_matrices_the_higher_one_comes_first(float64):
    params, wide = {"in": normal(17, 4, 6), "out": normal(18, 6, 2)}, normal(16, 4, 48)
    body = descent(lambda params: jnp.mean((params["out"].T @ jnp.tanh(params["in"].T @ wide)) ** 2))
    text = str(jax.make_jaxpr(lambda init: layout.fori_loop(0, STEPS, body, init))(params))
    assert "f64[6,2] = dot_general" in text  # the gradient of `out`
    assert "f64[2,6] = dot_general" not in text
    assert_same(body, params)


@pytest.mark.parametrize(("outputs", "examples"), [(6, 4), (3, 4), (6, 1)])
def test_a_cpu_takes_a_transposed_copy_where_that_pays(outputs, examples, float64):
    """Not of a few numbers, nor for one column."""
    params, inputs = {"in": normal(19, 4, 5), "out": normal(20, 5, outputs)}, normal(21, examples, 4)
    body = descent(lambda params: jnp.mean((jnp.tanh(inputs @ params["in"]) @ params["out"]) ** 2))
    pays = outputs >= 4 and examples > 1
    copies = lambda loop: str(jax.make_jaxpr(lambda init: loop(0, STEPS, body, init))(params)).count("barrier")
    assert (copies(layout.fori_loop), copies(functools.partial(layout.fori_loop, held=True))) == (int(pays), 0)
    assert_same(body, params)


def test_a_compiler_is_held_to_the_orders(float64):
    """Only for transposed arrays."""
    body = descent(LOSSES["network"])
    held = functools.partial(layout.fori_loop, held=True)
    ours, theirs = (loop_over(loop, body, NETWORK) for loop in (held, jax.lax.fori_loop))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=ROUNDING, atol=ROUNDING)
    told = lambda loop: jax.jit(lambda init: loop(0, STEPS, body, init)).lower(NETWORK).as_text()
    assert (told(held).count("LayoutConstraint"), told(layout.fori_loop).count("LayoutConstraint")) == (2, 0)


def test_each_platform_has_the_loop_that_was_measured_there():
    assert loop_on("cpu", own=True) is loop_on("cpu", own=False) is layout.fori_loop
    assert loop_on("gpu", own=True) is loop_on("tpu", own=False) is jax.lax.fori_loop
    shared = loop_on("gpu", own=False)
    assert isinstance(shared, functools.partial)
    assert (shared.func, shared.keywords) == (layout.fori_loop, {"held": True})


def test_what_is_not_a_product_stays_as_it_is():
    body = descent(lambda params: sum(jnp.sum(x**2) for x in jax.tree.leaves(params)))
    loops = [
        str(jax.make_jaxpr(lambda init, loop=loop: loop(0, STEPS, body, init))(NETWORK))
        for loop in (layout.fori_loop, jax.lax.fori_loop)
    ]
    assert loops[0] == loops[1]


def test_a_loop_that_would_transpose_more_stays_as_it_is():
    sort_twice = descent(lambda params: jnp.sum(jnp.sort(jnp.sort(hidden(params)) @ params["out"]) ** 2))
    assert (4, 5) in carried(sort_twice, NETWORK)  # a sort is made of rows as they are written


def test_a_carry_of_keys_flags_and_counts_goes_along(float64):
    def body(i, carry):
        random, params, count, flag = carry
        random, now = jax.random.split(random)
        params = descent(LOSSES["network"])(i, params)
        noise = jax.random.normal(now, (4, 5))
        return random, params | {"in": params["in"] + 0.01 * noise * flag}, count + i, ~flag

    start = (key, NETWORK, jnp.int32(3), jnp.array(True))
    ours, theirs = (loop(0, STEPS, body, start) for loop in (layout.fori_loop, jax.lax.fori_loop))
    assert (ours[2], ours[3]) == (theirs[2], theirs[3])
    assert jnp.array_equal(jax.random.key_data(ours[0]), jax.random.key_data(theirs[0]))
    np.testing.assert_allclose(ours[1]["in"], theirs[1]["in"], rtol=ROUNDING)


def test_orders_that_do_not_settle_leave_the_loop_alone(float64):
    turn_over = lambda i, w: (w @ w).T + 0.1 * jnp.sum(X[:4] @ w)
    assert_same(turn_over, normal(6, 4, 4) / 4)


# Steps on a list of arrays: each takes what is there and may add one more.
MOVES = {
    "transpose": lambda a, b: a.T if a.ndim else a,
    "swap": lambda a, b: jnp.moveaxis(a, 0, -1) if a.ndim > 1 else a,
    "add": lambda a, b: a + b if a.shape == b.shape else a,
    "scale": lambda a, b: jnp.tanh(a) * jnp.sum(b) / (1 + b.size),
    "product": lambda a, b: jnp.tensordot(a, b, 1) / 8 if a.ndim and b.ndim and a.shape[-1] == b.shape[0] else a,
    "batched": lambda a, b: (
        jnp.einsum("...ij,...kj->...ik", a, b) / 8
        if a.ndim == b.ndim > 1 and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-1]
        else a
    ),
    "sum_first": lambda a, b: a.sum(0) / 4 if a.ndim > 1 else a,
    "max_last": lambda a, b: a.max(-1) if a.ndim > 1 else a,
    "outer": lambda a, b: jnp.repeat(a[..., None], 3, axis=-1) if a.ndim < 3 else a,
    "centre": lambda a, b: a - a.mean(-1, keepdims=True) if a.ndim else a,
    "unit": lambda a, b: a[None].swapaxes(0, -1).squeeze(-1) if a.ndim else a,
    "ravel": lambda a, b: a.ravel(),
    "rows": lambda a, b: (a.ravel() ** 2).reshape(a.shape) + a,
    "halves": lambda a, b: jnp.concatenate([a, a]) if 0 < a.size < 40 and a.ndim else a,
    "take": lambda a, b: a[jnp.array([0, 0])] if a.ndim > 1 else a,
    "along": lambda a, b: jnp.take_along_axis(a, jnp.argmin(a, axis=-1, keepdims=True), -1) if a.ndim > 1 else a,
    "cut": lambda a, b: a[..., 1:] if a.ndim and a.shape[-1] > 2 else a,
    "every_other": lambda a, b: a[::2] if a.ndim and a.shape[0] > 2 else a,
    "pad": lambda a, b: jnp.pad(a, [(1, 0)] * a.ndim) if 0 < a.size < 40 else a,
    "split": lambda a, b: a.reshape(*a.shape[:-1], -1, 2) if 0 < a.ndim < 3 and a.shape[-1] % 2 == 0 else a,
    "merge": lambda a, b: a.reshape(-1, *a.shape[2:]) if a.ndim > 1 else a,
    "regroup": lambda a, b: a.reshape(2, -1, *a.shape[2:]) if a.ndim > 1 and a.size and a.shape[0] % 2 == 0 else a,
    "join": lambda a, b: jnp.concatenate([a, b], -1) if a.ndim and a.shape == b.shape and a.size < 40 else a,
    "choose": lambda a, b: jnp.where(a > 0, a, a.T) if a.ndim == 2 and a.shape[0] == a.shape[1] else a,
}


@settings(max_examples=20, deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.integers(0, 20), st.integers(0, 20)), max_size=12))
def test_any_program_comes_to_the_same(moves):
    def body(i, carry):
        w, v = carry
        pool = [w, v, *map(jnp.asarray, (X, X[:4], Y)), X @ w]
        for name, first, second in moves:
            pool.append(MOVES[name](pool[first % len(pool)], pool[second % len(pool)]))
        total = sum(jnp.mean(jnp.sin(x)) for x in pool)
        like = [x for x in pool[2:] if x.shape == v.shape]
        return jnp.tanh(w + 0.1 * total), jnp.tanh(0.5 * v + 0.1 * sum(like) + 0.1 * (w @ v) / 4)

    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "_pays", lambda turn: True)
        assert_same(body, (normal(7, 4, 4), normal(8, 4, 5)))
