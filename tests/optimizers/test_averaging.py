"""What mixtures and averages promise beyond their twins."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.trial import batch_key, initial_params
from jaxopt_lab.updating import answer
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, wave

MLP = PROBLEMS["mlp"]


def walk(optimizer, steps=20) -> tuple[Any, Any]:
    """Parameters and state after some steps of the small network."""
    w = MLP.start()
    state = optimizer.init(w)
    update = jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update(MLP.gradient(w), state, w)
        w = optax.apply_updates(w, updates)
    return w, state


def assert_close(a, b, rtol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), a, b)


def test_ademamix_without_its_slow_mean_is_adamw(float64):
    ours, _ = walk(jl.ademamix(0.01, alpha=0.0, weight_decay=0.1))
    assert_close(ours, walk(jl.adamw(0.01, weight_decay=0.1))[0])


def test_ademamix_warmed_up_from_the_start_is_not_warmed_up(float64):
    for steps in (0.0, 1.0):
        assert_close(walk(jl.ademamix(0.01, warmup_steps=steps))[0], walk(jl.ademamix(0.01))[0])


def test_ademamix_half_life_grows_linearly(float64):
    """After one step of g = 1 the slow mean is 1 - b3, which tells b3 of the first step."""
    for b1, b3, steps in ((0.9, 0.9999, 10.0), (0.5, 0.99, 4.0)):
        optimizer: Any = jl.ademamix(0.01, b1, b3=b3, warmup_steps=steps)
        _, state = optimizer.update(jnp.ones([]), optimizer.init(jnp.ones([])), jnp.ones([]))
        half_life = lambda b: np.log(0.5) / np.log(b)
        expected = (1 - 1 / steps) * half_life(b1) + half_life(b3) / steps
        np.testing.assert_allclose(half_life(1 - state.slow), expected, rtol=1e-4)  # the authors' 1e-8 beside b


def test_simplified_ademamix_without_alpha_is_adam_at_another_rate(float64):
    b1 = 0.9
    rate = lambda t: 0.01 * (1 - b1) / (1 - b1 ** (t + 1))
    assert_close(walk(jl.simplified_ademamix(rate, b1, 0.99))[0], walk(jl.adam(0.01, b1, 0.99))[0])


def test_adopt_looks_before_it_moves(float64):
    """In the first step not even weight decay moves anything, nor a gradient of 0 beside eps = 0."""
    w, g = jnp.asarray([1.0, -2.0, 3.0]), jnp.asarray([0.5, 0.0, -4.0])
    for nesterov in (False, True):
        optimizer: Any = jl.adopt(0.1, eps=0.0, weight_decay=0.3, nesterov=nesterov)
        updates, state = optimizer.update(g, optimizer.init(w), w)
        np.testing.assert_array_equal(updates, 0.0)
        np.testing.assert_array_equal(state.v, g**2)


def test_adopt_asks_for_parameters_only_where_it_decays():
    g = jnp.ones(2)
    jl.adopt(0.1).update(g, jl.adopt(0.1).init(g))
    optimizer: Any = jl.adopt(0.1, weight_decay=0.0)
    with pytest.raises(ValueError, match=r"adopt decays the parameters"):
        optimizer.update(g, optimizer.init(g))


def test_acprop_is_its_papers_recursion(float64):
    """Optax 0.2.8 takes the deviation from the mean before the step; the paper from the one after."""
    rate, b1, b2, eps, eps_root, decay = 0.1, 0.8, 0.9, 1e-3, 1e-4, 0.2
    optimizer: Any = jl.acprop(rate, b1, b2, eps, eps_root, decay)
    w = np.array([1.0, -0.5, 2.0])
    state, m, s = optimizer.init(jnp.asarray(w)), 0.0, 0.0
    for t in range(1, 8):
        g = np.asarray(wave(3, phase=t))
        updates, state = optimizer.update(jnp.asarray(g), state, jnp.asarray(w))
        divisor = 1.0 if t == 1 else np.sqrt(s / (1 - b2 ** (t - 1))) + eps
        np.testing.assert_allclose(updates, -rate * (g / divisor + decay * w), rtol=1e-12)
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        w = w + np.asarray(updates)


# Schedule-free


FACTORIES = {"schedule_free_sgd": (jl.schedule_free_sgd, 1.0), "schedule_free_adamw": (jl.schedule_free_adamw, 0.05)}
each_factory = pytest.mark.parametrize(("factory", "rate"), FACTORIES.values(), ids=FACTORIES.keys())


def test_schedule_free_is_the_papers_three_sequences(float64):
    """Written with x, y and z, as the paper has it; ours keeps no x."""
    rate, warmup, b1, decay, power = 0.8, 6.0, 0.7, 0.02, 2.0
    optimizer: Any = jl.schedule_free_sgd(rate, warmup, b1, decay, power)
    y = MLP.start()
    x, z, state, total = y, y, optimizer.init(y), 0.0
    mix = lambda share, a, b: jax.tree.map(lambda a, b: share * a + (1 - share) * b, a, b)
    for t in range(1, 15):
        before, g = y, MLP.gradient(y)
        updates, state = optimizer.update(g, state, y)
        rate_now = rate * min(t / warmup, 1.0)
        z = jax.tree.map(lambda z, g, y, r=rate_now: z - r * (g + decay * y), z, g, y)
        total += rate_now**power
        x = mix(rate_now**power / total, z, x)
        y = mix(b1, x, z)
        assert_close(optax.apply_updates(before, updates), y)
        assert_close(state.evaluation_params(y), x)
        assert_close(state.z, z)


@each_factory
def test_a_sweep_evaluates_at_the_average(factory, rate, float64):
    """Held-out losses are of x; the training iterate y gives another figure."""
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    space, steps = {"learning_rate": [rate / 2, rate], "warmup_steps": [5.0]}, 25
    results = jl.sweep(factory, task, space, steps=steps, record=1, evaluate=steps)
    key, gradient = jax.random.key(0), jax.jit(jax.value_and_grad(task.loss))
    batch = jax.jit(lambda t: task.batch(task.data[0], batch_key(key), t))
    for config, learning_rate in enumerate(space["learning_rate"]):
        optimizer: Any = factory(learning_rate, 5.0)
        y, update = initial_params(task, key), jax.jit(optimizer.update)
        state, losses = optimizer.init(y), []
        for t in range(steps):
            loss, g = gradient(y, batch(jnp.int32(t)))
            updates, state = update(g, state, y)
            losses.append(loss)
            y = optax.apply_updates(y, updates)
        x = state.evaluation_params(y)
        at_x, at_y = (float(task.loss(w, task.data[1])) for w in (x, y))
        assert abs(at_x - at_y) > 1e-4 * at_x
        np.testing.assert_allclose(results.dataset.validation_loss[config, 0, -1], at_x, rtol=1e-9)
        np.testing.assert_allclose(results.dataset.train_loss[config, 0, :steps], losses, rtol=1e-9)
        assert_close(results.params(config, 0), jax.tree.map(np.asarray, x), 1e-9)


@each_factory
def test_noise_moves_the_average_least(factory, rate, float64):
    """From the minimum on noise alone moves anything: z the most, y less, the answer least."""
    optimizer, start = factory(rate / 4), jnp.zeros(50)

    def step(carry, t):
        y, state = carry
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), t), y.shape)
        updates, state = optimizer.update(y + noise, state, y)
        return (optax.apply_updates(y, updates), state), None

    (y, state), _ = jax.lax.scan(step, (start, optimizer.init(start)), jnp.arange(300))
    norm = lambda w: float(jnp.linalg.norm(w))
    assert norm(state.evaluation_params(y)) < norm(y) < norm(state.z)


@each_factory
def test_steps_of_rate_zero_leave_everything(factory, rate, float64):
    """Also the first, whose weight in the average is 0 of 0."""
    w, state = walk(factory(lambda t: jnp.where(t < 3, 0.0, rate)), 3)
    assert_close(w, MLP.start(), 0.0)
    assert_close(state.evaluation_params(w), MLP.start())
    w, state = walk(factory(lambda t: jnp.where(t < 3, 0.0, rate)), 6)
    assert np.isfinite(MLP.loss(state.evaluation_params(w)))
    assert MLP.loss(state.evaluation_params(w)) < MLP.loss(MLP.start())


@each_factory
def test_schedule_free_needs_the_parameters(factory, rate):
    optimizer = factory(rate)
    with pytest.raises(ValueError, match=r"averages the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))


@each_factory
def test_bfloat16_parameters_beside_a_float32_state(factory, rate):
    optimizer = factory(rate, state_dtype="float32")
    w = jnp.ones(3, "bfloat16")
    updates, state = optimizer.update(w, optimizer.init(w), w)
    assert updates.dtype == state.evaluation_params(w).dtype == "bfloat16"
    assert state.z.dtype == "float32"


# EMA


def test_ema_is_the_recursion_beside_the_optimizers_own_steps(float64):
    w, average = MLP.start(), MLP.start()
    expected, _ = walk(jl.adamw(0.01))
    optimizer = jl.ema(jl.adamw(0.01), 0.7)
    state, update = optimizer.init(w), jax.jit(optimizer.update)
    for _ in range(20):
        updates, state = update(MLP.gradient(w), state, w)
        w = optax.apply_updates(w, updates)
        average = jax.tree.map(lambda a, w: 0.7 * a + 0.3 * w, average, w)
        assert_close(state.evaluation_params(w), average)
    assert_close(w, expected)


def test_ema_of_many_decays_is_one_program(float64):
    decays = jnp.asarray([0.0, 0.9, 1.0])
    ends = jax.vmap(lambda decay: walk(jl.ema(optax.sgd(0.1), decay), 3))(decays)
    averages = jax.vmap(lambda w, state: state.evaluation_params(w))(*ends)
    for row, decay in enumerate(decays):
        w, state = walk(jl.ema(optax.sgd(0.1), decay), 3)
        assert_close(jax.tree.map(lambda x, row=row: x[row], averages), state.evaluation_params(w))
    assert_close(jax.tree.map(lambda x: x[2], averages), MLP.start())


def test_ema_of_a_group_of_parameters(float64):
    """Parameters of another group are evaluated as they are."""
    w = {"averaged": jnp.ones(2), "not": {"a": jnp.ones(3), "b": jnp.ones(1)}}
    parts = {"one": jl.ema(optax.sgd(0.5), 0.75), "other": optax.sgd(0.5)}
    optimizer = optax.partition(parts, {"averaged": "one", "not": "other"})
    updates, state = optimizer.update(w, optimizer.init(w), w)
    found = answer(state, optax.apply_updates(w, updates))
    assert_close(found, {"averaged": jnp.full(2, 0.875), "not": {"a": jnp.full(3, 0.5), "b": jnp.full(1, 0.5)}})


def test_ema_keeps_the_dtypes_asked_for(float32):
    w = jnp.ones(3, "bfloat16")
    for asked, kept in ((None, "bfloat16"), ("float32", "float32")):
        optimizer = jl.ema(jl.adam(0.1), average_dtype=asked)
        updates, state = optimizer.update(w, optimizer.init(w), w)
        assert (state.average.dtype, state.evaluation_params(w).dtype, updates.dtype) == (kept, "bfloat16", "bfloat16")


def test_ema_needs_the_parameters():
    optimizer = jl.ema(jl.sgd(0.1))
    with pytest.raises(ValueError, match="averages the parameters"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
