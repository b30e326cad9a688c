"""Wrappers around any method: what each is by its paper, and what a sweep and Optax's own wrappers ask of all."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.seeding import initial_params
from jaxopt_lab.trial import batch_key
from jaxopt_lab.updating import answer, answers_elsewhere
from jaxopt_lab.verify.optimizers import table
from jaxopt_lab.verify.optimizers.haste import compiled
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, wave
from jaxopt_lab.verify.optimizers.wrappers import WRAPPERS, describe

MLP, MIXED = PROBLEMS["mlp"], PROBLEMS["mixed"]
STEPS = 12
OPTIONS: dict[str, dict[str, Any]] = {
    "cautious": {"paper_scaling": True},
    "ema": {"average_dtype": "float32"},
    "grokfast_ma": {"window": 3},
    "hyperball": {"fixed_radius": True},
    "lookahead": {"inner_state": "interpolated", "sync_period": 2},
    "lookahead reset": {"inner_state": "reset", "sync_period": 3},
    "mechanic": {"s_init": 1e-2, "store_delta": True},
}
MADE: dict[str, Any] = {
    **{name: wrapper.make for name, wrapper in WRAPPERS.items() if name != "grokfast_ma"},  # whose window is long
    **{f"{name} {'and '.join(o)}": partial(WRAPPERS[name.split()[0]].make, **o) for name, o in OPTIONS.items()},
}
"""Every wrapper as it is and with options: functions of an optimizer."""

each_wrapper = pytest.mark.parametrize("name", WRAPPERS)
each_way = pytest.mark.parametrize("wrap", MADE.values(), ids=MADE.keys())
NEEDS_PARAMS = ("cautious_weight_decay", "ema", "hyperball", "lookahead", "mechanic", "schedule_free")


def step(optimizer: Any, w, state, t=0, problem=MLP):
    value, grads = jax.value_and_grad(problem.loss)(w)
    extended = optax.with_extra_args_support(optimizer)
    updates, state = extended.update(grads, state, w, grad=grads, obj_fn=problem.loss, **problem.extras(value, t))
    return optax.apply_updates(w, updates), state


def walk(optimizer, steps=STEPS, problem=MLP) -> tuple[Any, Any]:
    """The parameters after every step, and the state after the last."""

    def once(carry, t):
        after = step(optimizer, *carry, t, problem)
        return after, after[0]

    w = problem.start()
    (_, state), ws = jax.lax.scan(once, (w, optimizer.init(w)), jnp.arange(steps))
    return ws, state


def run(function, *arguments):
    """What the function gives, compiled once and in haste."""
    return compiled(jax.jit(function).lower(*arguments))(*arguments)


def assert_close(a, b, rtol=1e-11):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), a, b)


def assert_same_walks(one, other, steps=STEPS, rtol=1e-11):
    """Two optimizers, of which one is the other by another name: parameters and answers."""

    def both():
        walks = [walk(optimizer, steps) for optimizer in (one, other)]
        last = lambda ws: jax.tree.map(lambda w: w[-1], ws)
        return [(ws, answer(state, last(ws))) for ws, state in walks]

    assert_close(*run(both), rtol)


def gradients(count, size=5):
    """Gradients that depend on nothing, for equations that see only them."""
    return [np.asarray(wave(size, phase=1.7 * t)) for t in range(count)]


def fed(optimizer: Any, grads, w) -> tuple[list[np.ndarray], Any]:
    """The parameters after every one of these gradients, and the last state."""
    w, state, found = jnp.asarray(w), optimizer.init(jnp.asarray(w)), []
    update = jax.jit(optimizer.update)
    for g in grads:
        updates, state = update(jnp.asarray(g), state, w)
        w = w + updates
        found.append(np.asarray(w))
    return found, state


# What each is by its paper


def test_special_cases_are_methods_of_their_own(float64):
    rate = lambda t: 0.1 * jnp.minimum((t + 1.0) / 5, 1)
    adamw_like = jl.rmsprop(rate, 0.95, 1e-3, eps_in_sqrt=False, bias_correction=True)
    for ours, method in {
        "cautious": (jl.cautious(jl.adam(0.02, eps=1e-6)), jl.cautious_adamw(0.02)),
        "schedule_free of SGD": (jl.schedule_free(jl.sgd(rate), rate), jl.schedule_free_sgd(0.1, 5.0)),
        "schedule_free of Adam": (
            jl.schedule_free(adamw_like, rate, 0.8, 0.1),
            jl.schedule_free_adamw(0.1, 5.0, 0.8, 0.95, 1e-3, 0.1),
        ),
    }.values():
        assert_same_walks(ours, method)


UNCHANGED = {
    "cautious: descent never goes uphill": (lambda base: jl.cautious(base), jl.sgd(0.1)),
    "cautious_weight_decay: none": (lambda base: jl.cautious_weight_decay(base, 0.1, 0.0), jl.adam(0.05)),
    "grokfast_ema: no gain": (lambda base: jl.grokfast_ema(base, gain=0.0), jl.adam(0.05)),
    "grokfast_ma: no gain": (lambda base: jl.grokfast_ma(base, 0.0, window=3, warmup=False), jl.adam(0.05)),
    "grokfast_ma: a window of more than the steps": (lambda base: jl.grokfast_ma(base, window=99), jl.adam(0.05)),
    "hyperball: nothing on a sphere": (lambda base: jl.hyperball(base, 0.1, mask=False), jl.adam(0.05)),
    "lookahead: all the way": (lambda base: jl.lookahead(base, 1.0, 1), jl.adam(0.05)),
    "schedule_free: each average the newest iterate": (
        lambda base: jl.schedule_free(base, lambda t: 1e9**t, 0.5, weight_lr_power=1.0),
        jl.adam(0.05),
    ),
}
"""What is claimed, the wrapper in the limit in which it changes nothing, and a method."""


@pytest.mark.parametrize("claim", UNCHANGED)
def test_a_limit_is_the_method_itself(claim, float64):
    wrap, base = UNCHANGED[claim]
    loose = claim.startswith("schedule_free")  # an older iterate still weighs 1e-9
    assert_same_walks(wrap(base), base, rtol=1e-7 if loose else 1e-11)


def test_a_step_scaled_by_the_mask_keeps_its_mean_length(float64):
    g, stale = jnp.asarray([1.0, -2.0, 3.0, -4.0]), jnp.asarray([-1.0, -1.0, -1.0, -1.0])
    constant: Any = optax.stateless(lambda grads, _: stale)
    update = lambda optimizer: optimizer.update(g, optimizer.init(g), g)[0]
    np.testing.assert_allclose(update(jl.cautious(constant)), [-2.0, 0.0, -2.0, 0.0])
    np.testing.assert_allclose(update(jl.cautious(constant, 0.8)), np.array([-1.25, 0.0, -1.25, 0.0]))
    np.testing.assert_allclose(
        update(jl.cautious(constant, paper_scaling=True)), np.array([-1.0, 0.0, -1.0, 0.0]) * 4 / 3
    )


def test_tiny_steps_against_tiny_gradients_are_taken(float32):
    g = jnp.full(3, 1e-30)
    updates, _ = jl.cautious(jl.sgd(1.0)).update(g, jl.cautious(jl.sgd(1.0)).init(g), g)
    np.testing.assert_allclose(updates, -g)


def test_decay_only_where_the_step_goes_to_zero_too(float64):
    w, g = jnp.asarray([2.0, -2.0, 2.0, 0.0, 2.0]), jnp.asarray([1.0, 1.0, -1.0, 1.0, 0.0])
    optimizer: Any = jl.cautious_weight_decay(jl.sgd(0.1), 0.5, 0.2, mask=lambda params: True)
    updates, _ = optimizer.update(g, optimizer.init(w), w)
    np.testing.assert_allclose(updates + 0.1 * g, [-0.2, 0.0, 0.0, 0.0, -0.2])
    off: Any = jl.cautious_weight_decay(jl.sgd(0.1), 0.5, 0.2, mask=False)
    np.testing.assert_allclose(off.update(g, off.init(w), w)[0], -0.1 * g)


def test_decay_follows_schedules(float64):
    w, g = jnp.ones(1), jnp.zeros(1)
    optimizer: Any = jl.cautious_weight_decay(jl.sgd(0.1), lambda t: 0.1 * (t + 1), lambda t: 10.0**-t)
    first, state = optimizer.update(g, optimizer.init(w), w)
    second, _ = optimizer.update(g, state, w)
    np.testing.assert_allclose([first[0], second[0]], [-0.1, -0.02])


def test_grokfast_with_a_running_mean_is_its_papers_recursion(float64):
    rate, decay, gain = 0.1, 0.7, 3.0
    start, grads = np.cos(np.arange(5.0)), gradients(9)
    w, mean, expected = start, grads[0], []
    for g in grads:
        mean = decay * mean + (1 - decay) * g
        w = w - rate * (g + gain * mean)
        expected.append(w)
    assert_close(fed(jl.grokfast_ema(jl.sgd(rate), decay, gain), grads, start)[0], expected)


@pytest.mark.parametrize("warmup", [True, False])
def test_grokfast_with_a_moving_average_is_its_papers_queue(warmup, float64):
    rate, gain, window = 0.1, 3.0, 4
    start, grads = np.cos(np.arange(5.0)), gradients(15)
    w, expected = start, []
    for t, g in enumerate(grads):
        queue = grads[max(0, t + 1 - window) : t + 1]
        amplified = g + gain * sum(queue) / len(queue) if not warmup or len(queue) == window else g
        w = w - rate * amplified
        expected.append(w)
    optimizer = jl.grokfast_ma(jl.sgd(rate), gain, window=window, warmup=warmup)
    assert_close(fed(optimizer, grads, start)[0], expected)


def test_grokfast_without_memory_multiplies_gradients(float64):
    assert_same_walks(jl.grokfast_ema(jl.sgd(0.1), 0.0, 2.0), jl.sgd(0.3))
    assert_same_walks(jl.grokfast_ma(jl.sgd(0.1), 2.0, window=1), jl.sgd(0.3))


def test_the_moving_average_forgets_a_huge_gradient_and_an_infinite_one(float32):
    """A sum that gains one and loses one would keep their rounding for ever."""
    window = 4
    optimizer = jl.grokfast_ma(jl.sgd(0.1), window=window)
    for outlier in (1e20, np.inf):
        grads = [np.full(2, outlier, "float32"), *([np.full(2, 1e-3, "float32")] * (2 * window))]
        _, state = fed(optimizer, grads, np.zeros(2, "float32"))
        np.testing.assert_allclose(state.total, window * 1e-3, rtol=1e-6)


def test_ranger_is_rectified_adam_looking_ahead(float64):
    """Lookahead's Algorithm 1 written with RAdam's own steps, which know nothing of the slow weights."""
    alpha, period, base = 0.5, 3, jl.radam(0.05, b2=0.9)
    fast = slow = MLP.start()
    state = base.init(fast)
    ws, after = run(lambda: walk(jl.lookahead(base, alpha, period)))
    for t in range(1, STEPS + 1):
        fast, state = step(base, fast, state)
        if t % period == 0:
            slow = fast = jax.tree.map(lambda slow, fast: slow + alpha * (fast - slow), slow, fast)
        assert_close(jax.tree.map(lambda w, t=t: w[t - 1], ws), fast)
    assert_close(answer(after, fast), slow)


def test_lookahead_interpolates_the_momentum_too(float64):
    """As its paper says; in the authors' code, the momentum that is stored is the one in use."""
    rate, decay, alpha, period = 0.1, 0.9, 0.3, 2
    start, grads = np.cos(np.arange(5.0)), gradients(9)
    w, slow, m, slow_m, expected = start, start, 0.0, 0.0, []
    for t, g in enumerate(grads, 1):
        m = decay * m + g
        w = w - rate * m
        if t % period == 0:
            slow = w = alpha * w + (1 - alpha) * slow
            slow_m = m = alpha * m + (1 - alpha) * slow_m
        expected.append(w)
    optimizer = jl.lookahead(jl.momentum(rate, decay), alpha, period, inner_state="interpolated")
    found, state = fed(optimizer, grads, start)
    assert_close(found, expected)
    assert_close(state.evaluation_params(found[-1]), slow)


def test_lookahead_starts_again_at_the_parameters_that_it_goes_on_from(float64):
    optimizer = jl.lookahead(jl.dog(1.0), 0.5, 2, inner_state="reset")
    found, state = fed(optimizer, gradients(4), np.ones(5))
    origin = jax.tree.leaves(jl.dog(1.0).init(jnp.asarray(found[-1])))
    assert_close(jax.tree.leaves(state.inner), origin)


def test_lookahead_knows_three_ways():
    with pytest.raises(ValueError, match=r'inner_state must be "kept", "reset" or "interpolated", got \'pulled\''):
        jl.lookahead(jl.sgd(0.1), inner_state="pulled")


@pytest.mark.parametrize("fixed_radius", [False, True])
def test_hyperball_keeps_norms_and_turns_by_the_rate(fixed_radius, float64):
    rate, start = 0.03, MLP.start()
    optimizer = jl.hyperball(jl.adam(1e-3), rate, fixed_radius=fixed_radius)
    ws, _ = run(lambda: walk(optimizer))
    free, _ = run(lambda: walk(jl.adam(1e-3), 1))
    assert_close(ws["biases"][0], free["biases"][0])
    for w, path in zip(start["weights"], ws["weights"], strict=True):
        norms = jnp.linalg.norm(path, axis=(1, 2))
        np.testing.assert_allclose(norms, jnp.linalg.norm(w), rtol=1e-13)
        turned = jnp.sum(path[1:] * path[:-1], (1, 2)) / norms[0] ** 2
        np.testing.assert_array_less(np.arccos(turned), 1.001 * np.arcsin(rate))
        assert np.arccos(turned).min() > rate / 4  # less where the step points outwards


def test_the_length_of_a_step_has_no_effect_on_a_sphere(float64):
    matrices = lambda optimizer: run(lambda: walk(optimizer))[0]["weights"][0][0]
    assert_close(*(matrices(jl.hyperball(jl.adam(length), 0.1)) for length in (1e-3, 7.0)))


def test_hyperball_leaves_zeros_where_they_are(float32):
    w = {"zero": jnp.zeros((2, 2)), "other": jnp.ones((2, 2))}
    g = jax.tree.map(jnp.ones_like, w)
    optimizer: Any = jl.hyperball(jl.sgd(0.1), 0.1)
    updates, _ = optimizer.update(g, optimizer.init(w), w)
    np.testing.assert_array_equal(updates["zero"], 0.0)
    freed: Any = jl.hyperball(jl.sgd(0.1), 0.1, mask={"zero": False, "other": True})
    updates, _ = freed.update(g, freed.init(w), w)
    np.testing.assert_allclose(updates["zero"], -0.1)


def test_a_fixed_radius_does_not_drift_in_bfloat16(float32):
    w = jnp.asarray(np.sin(np.arange(64.0)).reshape(8, 8), "bfloat16")
    norm = lambda w: jnp.linalg.norm(w.astype("float32"))
    drift = {}
    for fixed in (False, True):
        optimizer: Any = jl.hyperball(jl.sgd(1.0), 0.2, fixed_radius=fixed)

        def once(carry, t, optimizer=optimizer):
            w, state = carry
            g = jnp.sin(t + jnp.arange(64.0) ** 2).reshape(8, 8).astype(w.dtype)
            updates, state = optimizer.update(g, state, w)
            return (optax.apply_updates(w, updates), state), None

        (end, _), _ = jax.lax.scan(once, (w, optimizer.init(w)), jnp.arange(400.0))
        drift[fixed] = abs(norm(end) / norm(w) - 1)
    assert drift[True] < 5e-3 < drift[False]


def test_mechanic_finds_a_rate_four_decades_above_its_first(float32):
    """Of Adam of rate 1, whose first steps it scales by 1e-6: at the end the loss is within 5 % of the minimum."""
    least = MIXED.loss(jax.tree.map(lambda w: w[-1], run(lambda: walk(jl.adam(0.1), 300, MIXED)[0])))
    for store_delta in (False, True):
        optimizer = jl.mechanic(jl.adam(1.0), store_delta=store_delta)
        ws, state = run(lambda optimizer=optimizer: walk(optimizer, 150, MIXED))
        assert MIXED.loss(jax.tree.map(lambda w: w[-1], ws)) < 1.05 * least < MIXED.loss(MIXED.start()) / 100
        assert 1e-2 < jnp.sum(state.s) < 1e-1


def test_mechanic_that_recomputes_its_sum_loses_little_of_it(float64):
    """S / (S + eps) of the sum: all but 1e-8 where the scale begins at 1."""
    recomputed, stored = (jl.mechanic(jl.sgd(0.1), 0.1, store_delta=store_delta) for store_delta in (False, True))
    assert_same_walks(recomputed, stored, rtol=1e-6)


def test_ema_begins_as_pytorchs_where_the_first_decay_is_zero(float64):
    optimizer = jl.ema(jl.sgd(0.1), lambda t: jnp.where(t == 0, 0.0, 0.5))
    found, state = fed(optimizer, gradients(3), np.ones(5))
    expected = ((found[0] + found[1]) / 2 + found[2]) / 2
    assert_close(state.evaluation_params(found[-1]), expected)


# What a sweep asks of each


@each_wrapper
def test_every_number_is_traced(name, float64):
    """One program for many values, each of which is the solo run."""
    wrapper = WRAPPERS[name]
    options = {"window": 3} if name == "grokfast_ma" else {}
    scales = jnp.asarray([1.0, 0.9, 0.8])
    values = {n: v * (2 * scales if n == "sync_period" else scales) for n, v in wrapper.traced().items()}

    def end(values):
        ws, state = walk(wrapper.make(jl.adam(0.05), **values, **options), 4)
        w = jax.tree.map(lambda w: w[-1], ws)
        return w, answer(state, w)

    together = run(lambda values: jax.vmap(end)(values), values)
    for row in range(3):
        solo = run(end, {n: v[row] for n, v in values.items()})
        assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], together), solo, 1e-12)
    plain = run(end, {n: float(v[1]) for n, v in values.items()})
    assert_close(jax.tree.map(lambda leaf: leaf[1], together), plain, 1e-12)


@each_wrapper
def test_every_number_has_an_effect(name, float64):
    """So that a sweep over it is one. The minimum of a mask's share counts only below it."""
    wrapper, base = WRAPPERS[name], jl.adam(0.05, 0.5)
    options: dict[str, Any] = {"window": 3} if name == "grokfast_ma" else {}
    values = wrapper.traced() | {"least_share": 0.9} if name == "cautious" else wrapper.traced()
    # Powers tell where the rate grows, and decay where there is some; mechanic's decay where its scale is large.
    rates = {"learning_rate": lambda t: 0.1 * (t + 1), "weight_decay": 0.1}
    values |= {"schedule_free": rates, "mechanic": {"s_init": 0.1}}.get(name, {})

    def end(values):
        ws, state = walk(wrapper.make(base, **values, **options), 8)
        w = jax.tree.map(lambda w: w[-1], ws)
        return w, answer(state, w)

    usual = run(lambda: end(values))
    for number in wrapper.traced():
        other = (lambda t: 0.1 * (t + 2)) if callable(values[number]) else values[number] * 0.75 - 0.1
        if number == "sync_period":
            other = 3.0
        if number in ("s_init", "eps"):
            other = values[number] * 3
        changed = run(lambda number=number, other=other: end({**values, number: other}))
        gaps = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), usual, changed))
        assert max(gaps) > 1e-12, number


@each_way
@pytest.mark.parametrize(("dtype", "wide"), [("bfloat16", "float32"), ("float16", "float32"), ("float32", "float64")])
def test_dtypes_and_structure_are_kept(wrap, dtype, wide, float64):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), MIXED.start())
    avals = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)

    def once(rate, params):
        optimizer = wrap(jl.adam(rate))
        state = optimizer.init(params)
        return (params, state), optimizer.update(params, state, params)

    before, after = jax.eval_shape(once, jnp.asarray(0.1, wide), params)
    assert avals(before) == avals(after)


@each_way
def test_a_bfloat16_step_is_the_float32_step_rounded(wrap):
    narrow = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), MIXED.start())
    wide = jax.tree.map(lambda leaf: leaf.astype("float32"), narrow)
    first = lambda w: wrap(jl.adam(0.1)).update(w, wrap(jl.adam(0.1)).init(w), w)[0]
    took, exact = run(lambda narrow, wide: (first(narrow), first(wide)), narrow, wide)
    for a, b in zip(jax.tree.leaves(took), jax.tree.leaves(exact), strict=True):
        assert a.dtype == "bfloat16"
        # 2**-8: one rounding to bfloat16's eight bits.
        np.testing.assert_allclose(np.asarray(a, "float32"), b, rtol=0, atol=2**-8 * np.abs(b).max())


@each_way
def test_complex_parameters_are_pairs_of_real_ones_or_refused(wrap, request, float64):
    """Norms and products over all of them included."""
    w = jnp.asarray(np.exp(1j * np.arange(6.0)).reshape(3, 2))
    pairs = lambda z: jnp.stack([jnp.real(z), jnp.imag(z)])
    name = request.node.callspec.id.split(" ")[0]
    if WRAPPERS[name].real_only:
        with pytest.raises(TypeError, match=f"{name} is defined for real parameters only"):
            wrap(jl.sgd(0.1)).init(w)
        return
    grads = [jnp.asarray(np.exp(0.3j * t * np.arange(6.0)).reshape(3, 2)) for t in range(7)]
    as_complex, state = fed(wrap(jl.sgd(0.1)), grads, w)
    as_real, real_state = fed(wrap(jl.sgd(0.1)), map(pairs, grads), pairs(w))
    assert_close(list(map(pairs, as_complex)), as_real)
    ends = answer(state, jnp.asarray(as_complex[-1])), answer(real_state, jnp.asarray(as_real[-1]))
    assert_close(pairs(ends[0]), ends[1])


@each_way
def test_the_method_is_called_once_with_all_that_it_asks_for(wrap):
    """Wrapping neither doubles its work nor hides anything from it."""
    seen = []

    def update(grads, state, params=None, *, value, value_fn, obj_fn, key, mine):
        seen.append((value, mine))
        assert value_fn(params) == obj_fn(params) == 3.0
        assert key is not None
        return jax.tree.map(jnp.negative, grads), state

    base = optax.GradientTransformationExtraArgs(lambda params: (), update)
    optimizer: Any = wrap(base)
    w, loss = {"a": jnp.ones((2, 2))}, lambda w: 3.0
    extras = {"value": 2.0, "value_fn": loss, "obj_fn": loss, "key": jax.random.key(0), "mine": 7.0}
    for around in (optimizer, optax.chain(optimizer)):
        around.update(w, around.init(w), w, **extras)
    assert [tuple(map(float, x)) for x in seen] == [(2.0, 7.0)] * 2


EVALUATING = {
    "sam": lambda: jl.sam(0.05),
    "sophia": lambda: jl.sophia(0.01, update_interval=2),
    "Optax's Sophia": lambda: optax.contrib.sophia(0.01),
    "Optax's noisy SGD": lambda: optax.noisy_sgd(0.01, key=jax.random.key(1)),
}
"""Methods that need the loss or a key, or whose state holds one."""


@pytest.mark.parametrize("base", EVALUATING.values(), ids=EVALUATING.keys())
def test_methods_that_evaluate_the_loss_can_be_wrapped(base, float64):
    """Where the wrapper changes nothing in its limit, the walk is the method's own."""
    assert_same_walks(jl.lookahead(base(), 1.0, 1), base(), 6)
    assert_same_walks(jl.ema(base(), 0.0), base(), 6)
    # Their losses are not filtered, and what they get beside the gradient is at z: no more than run.
    for wrap in MADE.values():
        ws, _ = jax.eval_shape(lambda wrap=wrap: walk(wrap(base()), 2))
        assert jax.tree.structure(ws) == jax.tree.structure(MLP.start())


@each_way
def test_within_optax(wrap, float64):
    """In a chain, and for some of the parameters; the others are evaluated as they are."""
    base = jl.adam(0.05)
    chained = optax.chain(optax.clip_by_global_norm(1e9), wrap(base), optax.identity())
    assert_same_walks(chained, wrap(base), 5)
    labels = {"weights": "wrapped", "biases": "not"}
    split = optax.partition({"wrapped": wrap(base), "not": optax.sgd(0.1)}, labels)

    def parts():
        ws, state = walk(split, 5)
        w = jax.tree.map(lambda w: w[-1], ws)
        return w, answer(state, w)

    w, found = run(parts)
    np.testing.assert_array_equal(found["biases"], w["biases"])
    assert jax.tree.structure(found) == jax.tree.structure(w)


@each_way
def test_a_second_step_compiles_nothing(wrap):
    optimizer, traces = wrap(jl.adam(0.1)), []
    w = jax.tree.map(lambda leaf: leaf.astype("float32"), MLP.start())

    @jax.jit
    def once(w, state):
        traces.append(1)
        return step(optimizer, w, state)

    w, state = once.eval_shape(w, jax.eval_shape(optimizer.init, w))
    once.eval_shape(w, state)
    assert len(traces) == 1


@each_way
def test_parameters_and_state_can_be_donated(wrap):
    """No array is in two places."""
    optimizer = wrap(jl.adam(0.1))
    w = jax.tree.map(jnp.copy, MLP.start())
    once: Any = jax.jit(lambda w, state: step(optimizer, w, state), donate_argnums=(0, 1))
    state = optimizer.init(w)
    for _ in range(2):
        w, state = once(w, state)


@pytest.mark.parametrize("name", NEEDS_PARAMS)
def test_the_parameters_are_asked_for(name):
    optimizer = WRAPPERS[name].make(jl.sgd(0.1))
    with pytest.raises(ValueError, match=f"{name} .* the parameters, so it needs them"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@pytest.mark.parametrize("name", ["cautious", "hyperball"])
def test_tensors_held_flat_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} treats each tensor of the parameters by itself"):
        WRAPPERS[name].make(jl.sgd(0.1)).init(jl.flat({"a": jnp.ones(2)}))


@each_way
def test_integers_are_no_parameters(wrap):
    with pytest.raises(TypeError, match="floating-point or complex"):
        wrap(jl.sgd(0.1)).init({"a": jnp.ones(2, int)})


FACTORIES: dict[str, tuple[Any, dict[str, list[float]]]] = {
    "cautious": (lambda learning_rate: jl.cautious(jl.adam(learning_rate)), {}),
    "cautious_weight_decay": (
        lambda learning_rate, weight_decay: jl.cautious_weight_decay(
            jl.adam(learning_rate), learning_rate, weight_decay
        ),
        {"weight_decay": [0.0, 1.0]},
    ),
    "ema": (lambda learning_rate, decay: jl.ema(jl.adam(learning_rate), decay), {"decay": [0.5, 0.9]}),
    "grokfast_ema": (
        lambda learning_rate, gain: jl.grokfast_ema(jl.adam(learning_rate), gain=gain),
        {"gain": [1.0, 5.0]},
    ),
    "grokfast_ma": (
        lambda learning_rate, gain: jl.grokfast_ma(jl.adam(learning_rate), gain, window=3),
        {"gain": [1.0, 5.0]},
    ),
    "hyperball": (lambda learning_rate: jl.hyperball(jl.adam(0.01), learning_rate), {}),
    "lookahead": (
        lambda learning_rate, alpha, sync_period: jl.lookahead(jl.radam(learning_rate), alpha, sync_period),
        {"alpha": [0.5, 0.8], "sync_period": [4, 5]},
    ),
    "mechanic": (lambda learning_rate, s_init: jl.mechanic(jl.sgd(learning_rate), s_init), {"s_init": [1e-3, 1e-2]}),
    "schedule_free": (
        lambda learning_rate, b1: jl.schedule_free(jl.sgd(learning_rate), learning_rate, b1),
        {"b1": [0.8, 0.9]},
    ),
}
"""For each wrapper a factory as users write it, and values of its numbers."""


@each_wrapper
def test_a_sweep_returns_the_answer(name, float64):
    """Each trial is a loop by hand; its parameters and held-out loss are the answer's."""
    factory, values = FACTORIES[name]
    space, steps = {"learning_rate": [0.05, 0.1], **values}, 13
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    results = jl.sweep(factory, task, space, steps=steps, evaluate=steps)
    key, gradient = jax.random.key(0), jax.jit(jax.grad(task.loss))
    batch = jax.jit(lambda t: task.batch(task.data[0], batch_key(key), t))
    best = results.best()
    optimizer = factory(**best.hyperparameters)
    w = initial_params(task, key)
    state, update = optimizer.init(w), jax.jit(optimizer.update)
    elsewhere = answers_elsewhere(state)
    for t in range(steps):
        updates, state = update(gradient(w, batch(jnp.int32(t))), state, w)
        w = optax.apply_updates(w, updates)
    found = answer(state, w)
    assert_close(results.params(), found, 1e-9)
    held_out = float(results.dataset.validation_loss[best.config, 0, -1])
    np.testing.assert_allclose(held_out, task.loss(found, task.data[1]), rtol=1e-9)
    assert elsewhere == (name in ("ema", "lookahead", "schedule_free"))
    gap = max(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), found, w)))
    assert (gap > 1e-6) == elsewhere


# The table


def test_every_wrapper_has_a_row_that_can_be_read_again():
    from jaxopt_lab.verify.optimizers.wrappers import Figures

    figures = {name: Figures(None if WRAPPERS[name].derived else 1e-14, []) for name in WRAPPERS}
    figures["ema"] = Figures(1e-3, ["ema_adamw/ema_0.9 1.0e-03"])
    rows = [(describe(name), table.shown_wrapper(figures[name])) for name in WRAPPERS]
    text = table.markdown([], "", rows)
    assert table.read_wrappers(text) == {name: table.shown_wrapper(figures[name]) for name in WRAPPERS}
    assert "**ema: beyond its bounds**" in text
    assert all(said.witnesses != [""] and said.conventions and "](https://" in said.paper for said, _ in rows)
    assert table.read_wrappers(table.markdown([], "")) == {}
