"""One trial compared with a hand-written training loop, and how it ends."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.seeding import draws, initial_params
from jaxopt_lab.trial import STATUSES, Status, Stop, Trial


@functools.cache
def jitted(task, factory):
    """Return a step of the plain loop, and the loss of a step's batch."""

    def loss_at(params, key, t):
        return task.loss(params, task.batch(task.data[0], jax.random.fold_in(key, 1), t))

    def step(rate, params, state, key, t):
        loss, grads = jax.value_and_grad(loss_at)(params, key, t)
        updates, state = factory(rate).update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    return jax.jit(step), jax.jit(loss_at)


def loop(task, factory, rate, seed, steps):
    """Train with a plain Python loop over jitted steps."""
    key, (step, loss_at) = jax.random.key(seed), jitted(task, factory)
    params = task.init(jax.random.fold_in(key, 0))
    state, losses = factory(rate).init(params), []
    for t in range(steps):
        params, state, loss = step(rate, params, state, key, t)
        losses.append(loss)
    return params, np.array([*losses, loss_at(params, key, jnp.int32(steps))])


TASKS = [
    lambda: jl.tasks.digits_mlp(width=4, batch_size=16),
    lambda: jl.tasks.linear_regression(batch_size=1),
    lambda: jl.tasks.breast_cancer(),
    lambda: jl.tasks.rosenbrock(),
]


@pytest.mark.filterwarnings("ignore:Nothing depends on the seed in 'rosenbrock'")
@pytest.mark.parametrize("make_task", TASKS)
def test_a_sweep_is_the_loop_written_by_hand(make_task, float64):
    task, rates, seeds, steps = make_task(), [1e-3, 1e-2], [3, 11], 40
    results = jl.sweep(jl.adam, task, {"learning_rate": rates}, steps=steps, seeds=seeds, record=1, evaluate=7)
    for config, rate in enumerate(rates):
        for column, seed in enumerate(seeds):
            params, losses = loop(task, optax.adam, rate, seed, steps)
            # Float64 rounding, grown by 40 steps.
            np.testing.assert_allclose(results.dataset.train_loss[config, column], losses, rtol=1e-9, atol=1e-12)
            ours = results.params(config=config, seed=seed)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), ours, params)
            if task.validation is not None:
                name, metric = next(iter(task.metrics.items()))
                for variable, function, split in (("validation_loss", task.loss, 1), (f"test_{name}", metric, 2)):
                    value = float(results.dataset[variable][config, column, -1])
                    assert value == pytest.approx(float(function(params, task.data[split])), rel=1e-8)


def test_optimizers_get_the_loss_and_its_function():
    """Optax's line searches and Polyak's step need more than the gradient."""
    task = jl.tasks.quadratic()
    polyak = lambda max_learning_rate: optax.polyak_sgd(max_learning_rate=max_learning_rate)
    results = jl.sweep(polyak, task, {"max_learning_rate": [1.0]}, steps=20)
    assert float(results.dataset.train_loss[0, 0, -1]) < 0.1 * float(results.dataset.train_loss[0, 0, 0])
    search = lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=10))
    results = jl.sweep(search, task, {}, steps=20)
    assert (np.diff(results.dataset.train_loss[0, 0]) <= 0).all()


class AheadState(NamedTuple):
    last: Any

    def evaluation_params(self, params):
        return jax.tree.map(lambda w, u: w + 9 * u, params, self.last)


def ahead(learning_rate):
    """Gradient descent whose answer is ten steps further than where it takes its gradients."""

    def update(grads, state, params=None):
        step = jax.tree.map(lambda g: -learning_rate * g, grads)
        return step, AheadState(step)

    return optax.GradientTransformation(lambda params: AheadState(jax.tree.map(jnp.zeros_like, params)), update)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_method_is_evaluated_at_its_answer(wrapped, float64):
    """Held-out losses and final parameters are the answer's, the curve is of where gradients are taken."""
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    factory = (lambda learning_rate: optax.chain(optax.identity(), ahead(learning_rate))) if wrapped else ahead
    space, options = {"learning_rate": [0.01, 0.05]}, {"steps": 20, "record": 1, "evaluate": 20}
    plain = jl.sweep(jl.gradient_descent, task, space, **options)
    found = jl.sweep(factory, task, space, **options)
    np.testing.assert_allclose(found.dataset.train_loss, plain.dataset.train_loss, rtol=1e-12)
    for config in (0, 1):
        w, before = (jax.tree.map(np.asarray, plain.params(config)), found.params(config))
        assert not np.allclose(jax.tree.leaves(w)[0], jax.tree.leaves(before)[0])
        answer_loss = task.loss(before, task.data[1])
        np.testing.assert_allclose(found.dataset.validation_loss[config, 0, -1], answer_loss, rtol=1e-9)
        assert abs(float(answer_loss - plain.dataset.validation_loss[config, 0, -1])) > 1e-6


def test_an_ended_trial_keeps_its_answer(float64):
    task = jl.tasks.quadratic((1.0,))
    options = {"steps": 60, "record": 1, "target": 1e-3}
    found = jl.sweep(ahead, task, {"learning_rate": [0.1]}, **options)
    taken = int(found.dataset.steps_taken[0, 0])
    assert found.dataset.status.values[0, 0] == "reached"
    shorter = jl.sweep(ahead, task, {"learning_rate": [0.1]}, steps=taken)
    np.testing.assert_allclose(found.params(0), shorter.params(0), rtol=1e-12)


def test_optimizers_get_a_key_of_their_own_each_step(float64):
    """It depends only on the seed and the step: not on the configuration, nor on how many trials run at once."""

    def walk(learning_rate):
        def update(grads, state, params=None, *, key, **_):
            return jax.tree.map(lambda g: learning_rate * jax.random.normal(key, g.shape), grads), state

        return optax.GradientTransformationExtraArgs(lambda params: (), update)

    task, options = jl.tasks.quadratic((1.0,)), {"steps": 3, "seeds": 2}

    def far(rates=(1.0, 2.0), **more):
        results = jl.sweep(walk, task, {"learning_rate": list(rates)}, **options, **more)
        return np.asarray([[results.params(config, seed) for seed in range(2)] for config in range(len(rates))])

    moved = far() - far([0.0])
    np.testing.assert_allclose(moved[1], 2 * moved[0], rtol=1e-9)
    assert abs(moved[0, 0] - moved[0, 1]) > 1e-3
    np.testing.assert_allclose(far(strategy="steps_each"), far(), rtol=1e-12)


def train(stop, learning_rate=0.1, steps=50):
    task = jl.tasks.quadratic((1.0,))
    trial = Trial(jl.gradient_descent(learning_rate), task, stop)
    key = jax.random.key(0)
    state = trial.start(initial_params(task, key))
    batches = draws(task, key, jnp.int32(0), steps)
    state, curves = trial.advance(state, batches, jnp.int32(0), jnp.int32(steps), task.data, steps)
    return state, curves["train_loss"], trial, key, task


def test_reached_at_the_first_loss_at_or_under_the_target(float64):
    free, losses, *_ = train(Stop())
    target = float(losses[20])
    state, stopped, *_ = train(Stop(target=target))
    assert STATUSES[int(state.status)] == "reached"
    assert int(state.steps) == 20
    np.testing.assert_array_equal(stopped[:21], losses[:21])
    np.testing.assert_array_equal(stopped[21:], target)
    assert float(state.params[0] ** 2 / 2) == pytest.approx(target, rel=1e-14)
    assert int(free.steps) == 50


def test_converged_at_the_first_step_under_the_tolerance(float64):
    _, _, _, key, task = train(Stop())
    start = abs(float(initial_params(task, key)[0]))
    tolerance = 0.1 * start * 0.9**30  # the 31st step, number 30, is this long
    state, losses, *_ = train(Stop(tolerance=tolerance * (1 + 1e-9)))
    assert STATUSES[int(state.status)] == "converged"
    assert int(state.steps) == 31
    assert abs(float(state.params[0])) == pytest.approx(start * 0.9**31, rel=1e-12)
    np.testing.assert_array_equal(losses[31:], losses[30])


def test_diverged_at_the_first_loss_that_is_not_finite(float32):
    state, losses, trial, key, task = train(Stop(), learning_rate=1e5, steps=20)
    w, expected = float(initial_params(task, key)[0]), 0
    with np.errstate(over="ignore"):
        w = np.float32(w)
        while np.isfinite(np.float32(w * w / 2)):
            w, expected = np.float32(w - np.float32(1e5) * w), expected + 1
    assert STATUSES[int(state.status)] == "diverged"
    assert int(state.steps) == expected
    assert np.isfinite(losses[:expected]).all()
    assert np.isposinf(losses[expected:]).all()
    assert np.isfinite(state.params).all()  # frozen before the loss that overflowed
    seen = trial.evaluate(state, key, jnp.int32(20), task.data)
    assert np.isposinf(seen.info["train_loss"])


def test_a_step_beyond_the_last_changes_nothing():
    task, key = jl.tasks.quadratic(), jax.random.key(0)
    trial = Trial(jl.adam(0.1), task)
    state = trial.start(initial_params(task, key))
    short, _ = trial.advance(state, draws(task, key, 0, 7), jnp.int32(0), jnp.int32(7), task.data, 7)
    padded, _ = trial.advance(state, draws(task, key, 0, 10), jnp.int32(0), jnp.int32(7), task.data, 10)
    jax.tree.map(np.testing.assert_array_equal, short, padded)


def test_a_loss_far_above_the_first_is_divergence(float64):
    """By default more than 1e6 (1 + |first loss|) above it; a number sets another bound, None disables it."""
    starts = [1.0, -2e7]  # of which the second one's bound is 20 times further up

    def losses(above):
        task = jl.Task("climbs", lambda key: jnp.ones(()), lambda w, _: w, train=None)
        climb = lambda start, factor: optax.stateless(lambda g, w: start * factor**2 * jnp.ones(()) - w)
        space = jl.zipped({"start": starts, "factor": [1e3 * (1 + 1e-9), 1.0]})
        return jl.sweep(climb, task, space, steps=4, record=1, diverged_above=above).dataset

    found = losses("auto")
    assert found.status.values.ravel().tolist() == ["completed", "completed"]
    assert losses(0.9).first_bad_step.values.ravel().tolist() == [0, 0]
    assert losses(None).status.values.ravel().tolist() == ["completed"] * 2
    assert losses(1e6).first_bad_step.values.ravel().tolist() == [1, -1]
    assert np.isposinf(losses(1e6).train_loss.values[0, 0, 1:]).all()


@pytest.mark.parametrize("first", [0.0, 3.0, -5.0])
@pytest.mark.parametrize(("beyond", "status"), [(1 + 1e-9, "diverged"), (1 - 1e-9, "completed")])
def test_how_far_above_the_first_loss_is_divergence(first, beyond, status, float64):
    bound = first + 1e6 * (1 + abs(first))
    task = jl.Task("jumps", lambda key: jnp.full((), first), lambda w, _: w, train=None)
    jump = lambda to: optax.stateless(lambda g, w: to - w)
    found = jl.sweep(jump, task, {"to": [first + beyond * (bound - first)]}, steps=2, record=1).dataset
    assert found.status.values.item() == status
    assert found.first_bad_step.values.item() == (1 if status == "diverged" else -1)


@pytest.mark.parametrize(("above", "bound"), [("auto", 1e6), (5.0, 5.0)])
def test_a_loss_at_the_bound_is_no_divergence(above, bound, float64):
    """The next larger number is. The first loss is 0."""
    task = jl.Task("jumps", lambda key: jnp.zeros(()), lambda w, _: w, train=None)
    jump = lambda to: optax.stateless(lambda g, w: to - w)
    space = {"to": [bound, np.nextafter(bound, np.inf)]}
    found = jl.sweep(jump, task, space, steps=2, record=1, diverged_above=above).dataset
    assert found.status.values.ravel().tolist() == ["completed", "diverged"]


def test_a_status_has_the_text_at_its_place():
    """Results hold numbers, which are places in `STATUSES`."""
    assert {STATUSES[status] for status in Status} == set(STATUSES)
    assert [STATUSES[status] for status in Status] == [status.text for status in Status]


BAD = {"loss": jnp.inf, "gradient": 0.0}
"""What the loss of a bad example is; its gradient is NaN in either case."""


@functools.cache
def bad_batches(kind, *examples):
    """A parabola, one example a step, some of which are bad."""

    def loss(w, x):
        bad = x[0] <= 0
        apart = jnp.where(
            bad, jnp.abs(w - jax.lax.stop_gradient(w)), 1.0
        )  # 0 in a bad step alone: its root has no slope
        return jnp.where(bad, BAD[kind] + jnp.sqrt(apart), w**2)

    return jl.Task("bad batches", lambda key: jnp.ones(()), loss, train=np.asarray(examples, float), batch_size=1)


def skipping_loop(task, optimizer, steps, allowed):
    """Adam in a plain loop that skips bad steps."""
    key = jax.random.key(0)
    w, state, losses, in_a_row, skipped = jnp.ones(()), optimizer.init(jnp.ones(())), [], 0, 0
    at = jax.jit(lambda w, t: task.loss(w, task.batch(task.data[0], jax.random.fold_in(key, 1), t)))
    for t in range(steps):
        loss, g = jax.value_and_grad(at)(w, t)
        if bool(jnp.isfinite(loss) & jnp.isfinite(g)):
            updates, state = optimizer.update(g, state, w)
            w, in_a_row = w + updates, 0
        else:
            in_a_row += 1
            if in_a_row > allowed:
                return w, losses, t, skipped
            skipped += 1
        losses.append(float(loss) if jnp.isfinite(loss) else np.inf)
    return w, losses, -1, skipped


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("strategy", ["scan", "steps"])
@pytest.mark.parametrize("allowed", [1, 3])
def test_bad_steps_are_skipped_and_counted(kind, strategy, allowed, float64):
    task, steps = bad_batches(kind, 1, 1, 0, 1, 0, 1, 1, 1), 30
    w, losses, bad, skipped = skipping_loop(task, optax.adam(0.1), steps, allowed)
    assert (bad < 0) == (allowed == 3)  # two bad steps in a row end the trial or not; after others, it goes on
    assert skipped == (7 if allowed == 3 else 1)
    options = {"steps": steps, "record": 1, "strategy": strategy, "nonfinite": allowed}
    results = jl.sweep(jl.adam, task, {"learning_rate": [0.1, 0.2]}, **options)
    trial = results.dataset.isel(config=0, seed=0)
    assert trial.first_bad_step == bad
    assert trial.skipped_steps == skipped
    np.testing.assert_allclose(trial.train_loss[: len(losses)], losses, rtol=1e-12)
    np.testing.assert_allclose(results.params(0, 0), w, rtol=1e-12)
    assert np.isfinite(trial.train_loss[-1]) == (bad < 0)


def test_a_bad_step_ends_a_trial_unless_it_may_be_skipped():
    task = bad_batches("loss", 1, 0)
    found = jl.sweep(jl.adam, task, {"learning_rate": [0.1]}, steps=4, record=1).dataset
    assert found.status.values.item() == "diverged"
    assert "skipped_steps" not in found
    assert np.isposinf(found.train_loss.values[0, 0, found.first_bad_step.item() :]).all()


def test_complex_parameters_go_down(float64, tmp_path):
    """JAX's gradient of a real loss is the conjugate of the direction of steepest ascent."""
    task = jl.Task("complex", lambda key: jnp.zeros((), complex), lambda z, _: jnp.abs(z - (1 + 2j)) ** 2, train=None)
    results = jl.sweep([jl.gradient_descent, jl.adam], task, {"learning_rate": [0.1]}, steps=400, out=tmp_path / "run")
    for config in (0, 1):
        np.testing.assert_allclose(results.params(config), 1 + 2j, atol=1e-3)
        np.testing.assert_array_equal(jl.load(tmp_path / "run").params(config), results.params(config))
