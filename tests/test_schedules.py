"""Schedules against Optax's, with every number traced; schedules in a sweep against a loop by hand; the budget."""

import functools
import inspect
import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab import schedules
from jaxopt_lab.sweep.planning import plan_sweep

ALL = ("constant", "linear", "cosine", "warmup_cosine", "wsd", "rsqrt", "exponential", "one_cycle")
PEAK, STEPS = 0.3, 40
COUNTS = np.arange(STEPS + 10)


def trapezoid(peak, w, d, final):
    parts = [
        optax.linear_schedule(0.0, peak, w),
        optax.constant_schedule(peak),
        optax.linear_schedule(peak, final * peak, d),
    ]
    return optax.join_schedules(parts, [w, STEPS - d])


def root(count):
    """As in transformers: get_inverse_sqrt_schedule."""
    return PEAK * jnp.where(count < 8, count / 8, 1 / jnp.sqrt(jnp.maximum(count, 1) / 8))


OF_OPTAX = {
    "constant": ("constant", {}, optax.constant_schedule(PEAK)),
    "linear": ("linear", {"final": 0.1}, optax.linear_schedule(PEAK, 0.1 * PEAK, STEPS)),
    "cosine": ("cosine", {"final": 0.1}, optax.cosine_decay_schedule(PEAK, STEPS, 0.1)),
    "warm-up as a share": (
        "warmup_cosine",
        {"warmup": 0.1, "final": 0.1},
        optax.warmup_cosine_decay_schedule(0.0, PEAK, 4, STEPS, 0.1 * PEAK),
    ),
    "warm-up in steps": (
        "warmup_cosine",
        {"warmup": 7, "final": 0.0},
        optax.warmup_cosine_decay_schedule(0.0, PEAK, 7, STEPS),
    ),
    "no warm-up": ("warmup_cosine", {"warmup": 0.0, "final": 0.2}, optax.cosine_decay_schedule(PEAK, STEPS, 0.2)),
    "wsd": ("wsd", {"warmup": 0.1, "decay": 0.2, "final": 0.1}, trapezoid(PEAK, 4, 8, 0.1)),
    "wsd by default": ("wsd", {}, trapezoid(PEAK, 2, 8, 0.0)),
    "rsqrt": ("rsqrt", {"warmup": 0.2}, root),
    "exponential": (
        "exponential",
        {"final": 0.01},
        optax.exponential_decay(PEAK, STEPS, 0.01, end_value=0.01 * PEAK),
    ),
    "one_cycle": ("one_cycle", {}, optax.cosine_onecycle_schedule(STEPS, PEAK)),
    "one_cycle by numbers": (
        "one_cycle",
        {"warmup": 10, "start": 0.1, "final": 0.01},
        optax.cosine_onecycle_schedule(STEPS, PEAK, 0.25, 10.0, 10.0),
    ),
}


@pytest.mark.parametrize("row", OF_OPTAX)
def test_values_are_those_of_optax(row, precision):
    """To two units in the last place of the peak: both round in each of a few operations."""
    name, numbers, theirs = OF_OPTAX[row]
    make, counts = getattr(schedules, name), jnp.asarray(COUNTS)
    expected = [theirs(jnp.asarray(count, float)) for count in COUNTS]
    traced = jax.jit(lambda peak, steps, numbers: make(peak, steps=steps, **numbers)(counts))
    given = jax.tree.map(lambda x: jnp.asarray(x, float), (PEAK, STEPS, numbers))
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), given)
    for ours in (make(PEAK, steps=STEPS, **numbers)(counts), traced(*given), *jax.vmap(traced)(*twice)):
        assert ours.dtype == precision
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2 * PEAK * jnp.finfo(precision).eps)


GRID = {
    "steps": [1.0, 2.0, 7.0],
    "warmup": [0.0, 0.01, 0.5, 1.0, 3.0, 7.0, 20.0],
    "decay": [0.0, 0.05, 0.5, 1.0],
    "start": [0.0, 0.04],
    "final": [0.0, 0.1, 1.0],
}


@pytest.mark.parametrize("name", ALL)
def test_no_number_gives_nan_nor_a_rate_outside(name, float64):
    make = getattr(schedules, name)
    names = [number for number in GRID if number in inspect.signature(make).parameters]
    rows = jnp.asarray(list(itertools.product(*(GRID[number] for number in names))))
    at = lambda row, count: make(PEAK, **dict(zip(names, row, strict=True)))(count)
    over = lambda f: jax.jit(jax.vmap(jax.vmap(f, (None, 0)), (0, None)))
    rates, slopes = map(np.asarray, over(jax.value_and_grad(at))(rows, jnp.arange(10.0)))
    assert ((rates >= 0) & (rates <= PEAK * (1 + 1e-15))).all()
    if name in ("constant", "rsqrt"):
        assert np.isfinite(slopes).all()
        return
    steps, final = (np.asarray(rows)[:, names.index(number)] for number in ("steps", "final"))
    assert np.isfinite(slopes[final > 0 if name == "exponential" else ...]).all()  # 0^0 has no slope
    warmup = np.asarray(rows)[:, names.index("warmup")] if "warmup" in names else 0 * steps
    for t in range(10):
        over = (steps <= t) & ((warmup < 1) | (warmup <= t))
        # t - (T - d) of wsd cancels: float64's rounding, 1 / decay = 20 times.
        np.testing.assert_allclose(rates[over, t], PEAK * final[over], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ["warmup_cosine", "wsd", "rsqrt", "one_cycle"])
def test_without_a_warm_up_the_first_step_has_the_peak(name):
    for steps in (1, 10):
        np.testing.assert_allclose(getattr(schedules, name)(PEAK, steps=steps, warmup=0)(0), PEAK, rtol=1e-7)


# In a sweep


X = np.random.default_rng(1).normal(size=(16, 3))
Y = X @ np.array([1.0, -2.0, 0.5])


def loss(w, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


TASK = jl.Task("line", lambda key: jnp.zeros(3), loss, train=(X, Y), batch_size=None)


def by_hand(optimizer, steps):
    """Losses before every step and after the last, and the parameters."""
    w = jnp.zeros(3)
    state, losses = optimizer.init(w), []
    step = jax.jit(lambda w, state: optimizer.update(jax.grad(loss)(w, (X, Y)), state, w))
    for _ in range(steps):
        losses.append(loss(w, (X, Y)))
        updates, state = step(w, state)
        w = optax.apply_updates(w, updates)
    return [*losses, loss(w, (X, Y))], w


def clipped(learning_rate, norm=1.0, *, nesterov=False):
    return optax.chain(optax.clip_by_global_norm(norm), optax.sgd(learning_rate, 0.9, nesterov))


FACTORIES = {
    "ours": (jl.adamw, optax.adamw, "weight_decay", [1e-4, 0.1]),
    "Optax's": (optax.adamw, optax.adamw, "weight_decay", [1e-4, 0.1]),
    "one's own": (clipped, clipped, "norm", [0.5, 2.0]),
}


@pytest.mark.parametrize("of", FACTORIES)
def test_a_sweep_with_a_schedule_is_a_loop_with_optaxs(of, float64):
    factory, witness, name, values = FACTORIES[of]
    steps, rates, warmups = 20, [0.05, 0.3], [0.2, 6.0]
    space = {"learning_rate": rates, "warmup": warmups, "final": 0.1, name: values}
    options = {"steps": steps, "record": 1, "cache": False}
    scheduled = jl.scheduled(factory, schedules.warmup_cosine)
    assert len(plan_sweep(scheduled, TASK, space, steps=steps).groups) == 1
    found = jl.sweep(scheduled, TASK, space, **options)
    rows = list(itertools.product(rates, warmups, values))
    for row in (0, 3, 5, 6):  # every value twice
        rate, warmup, value = rows[row]
        w = {0.2: 4, 6.0: 6}[warmup]
        theirs = optax.warmup_cosine_decay_schedule(0.0, rate, w, steps, 0.1 * rate)
        losses, last = by_hand(witness(lambda t, of=theirs: of(jnp.asarray(t, float)), **{name: value}), steps)
        one = found.dataset.isel(config=row, seed=0)
        in_force = [theirs(float(t)) for t in range(steps + 1)]
        np.testing.assert_allclose(one["train_loss"], losses, rtol=1e-10)
        np.testing.assert_allclose(one["learning_rate_in_force"], in_force, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.params(row, 0), last, rtol=1e-10)


class Doubled(jl.StopRule):
    """At step 4, the second trial continues from the first, with a longer warm-up; the third's peak is halved."""

    changes = ("learning_rate", "warmup")

    def brackets(self, configurations, steps):
        return [(np.arange(configurations), np.array([4]))]

    def decide(self, rung):
        source = np.array([[0], [0], [2]])
        rates, warmups = (rung.values[name].copy() for name in self.changes)
        warmups[1], rates[2] = 8.0, rates[2] / 2
        return jl.Decision(np.zeros_like(rung.racing), source, {"learning_rate": rates, "warmup": warmups})


def test_what_a_rule_changes_changes_the_schedule(float64):
    space = jl.zipped({"learning_rate": [0.1, 0.2, 0.4], "warmup": 2.0})
    scheduled = jl.scheduled(jl.sgd, schedules.warmup_cosine)
    found = jl.sweep(scheduled, TASK, space, steps=10, record=1, stop=Doubled(), cache=False).dataset
    rate = lambda peak, w, counts: schedules.warmup_cosine(peak, steps=10, warmup=w)(np.arange(*counts))
    expected = [
        rate(0.1, 2.0, (11,)),
        np.concatenate([rate(0.2, 2.0, (4,)), rate(0.2, 8.0, (4, 11))]),
        np.concatenate([rate(0.4, 2.0, (4,)), rate(0.2, 2.0, (4, 11))]),
    ]
    np.testing.assert_allclose(found["learning_rate_in_force"][:, 0], expected, rtol=1e-12, atol=1e-15)
    for row, rates in enumerate(expected):
        if row != 1:
            losses, _ = by_hand(optax.sgd(functools.partial(jnp.take, jnp.asarray(rates))), 10)
            np.testing.assert_allclose(found["train_loss"][row, 0], losses, rtol=1e-10)


def test_a_scheduled_factory_is_a_factory():
    made = jl.scheduled(jl.adamw, schedules.warmup_cosine)
    parameters = inspect.signature(made).parameters
    kinds = {name: p.kind is p.KEYWORD_ONLY for name, p in parameters.items()}
    assert made.__name__ == "adamw_warmup_cosine"
    numeric = ["learning_rate", "b1", "b2", "eps", "eps_root", "weight_decay", "warmup", "final"]
    assert [name for name, structural in kinds.items() if not structural] == numeric
    assert {name for name, structural in kinds.items() if structural} == {"mask", "moment_dtype", "steps"}
    assert (parameters["warmup"].default, parameters["b1"].default) == (0.05, 0.9)
    again = pickle.loads(pickle.dumps(made))
    assert made == again == jl.scheduled(jl.adamw, schedules.warmup_cosine) != jl.scheduled(jl.adam, schedules.wsd)
    assert hash(made) == hash(again)
    assert inspect.signature(again) == inspect.signature(made)


def own(learning_rate, half_life=5.0):
    return lambda t: learning_rate * 0.5 ** (t / half_life)


OTHERS = {
    "a default of the factory's": (jl.dog, schedules.cosine, {"init_step": 0.1}, schedules.cosine(1.0, steps=5)),
    "any hyperparameter": (
        lambda **given: optax.sgd(**given),
        schedules.linear,
        {"learning_rate": 0.1, "momentum": 0.5},
        schedules.linear(0.1, steps=5),
    ),
    "a schedule of one's own": (jl.sgd, own, {"learning_rate": 0.1, "half_life": 2.0}, own(0.1, 2.0)),
    "both need the budget": (
        lambda learning_rate, *, steps: optax.sgd(learning_rate, 1 - 1 / steps),
        schedules.linear,
        {"learning_rate": 0.1},
        schedules.linear(0.1, steps=5),
    ),
    "hyperparameters set": (
        functools.partial(jl.adam, b1=0.5),
        functools.partial(schedules.wsd, decay=0.4),
        {"learning_rate": 0.1},
        schedules.wsd(0.1, steps=5, decay=0.4),
    ),
}


@pytest.mark.parametrize("row", OTHERS)
def test_a_schedule_is_made_from_its_hyperparameters(row):
    factory, schedule, space, expected = OTHERS[row]
    found = jl.sweep(jl.scheduled(factory, schedule), TASK, space, steps=5, record=1, cache=False).dataset
    in_force = found["learning_rate_in_force"].values[0, 0]
    np.testing.assert_allclose(in_force, [expected(t) for t in range(6)], rtol=1e-6, atol=1e-8)


def test_a_factory_of_ones_own_says_what_it_schedules(float64):
    warming = lambda b1, steps: schedules.linear(b1, steps=steps, final=0.5)

    def factory(learning_rate, b1, *, steps):
        return jl.sgd(lambda t: learning_rate * warming(b1, steps)(t))

    factory.in_force = {"b1": lambda b1, steps, **others: warming(b1, steps)}
    space = {"learning_rate": 0.1, "b1": [0.8, 0.9]}
    found = jl.sweep(factory, TASK, space, steps=5, record=1, cache=False).dataset
    expected = [warming(b1, 5)(np.arange(6)) for b1 in (0.8, 0.9)]
    np.testing.assert_allclose(found["b1_in_force"][:, 0], expected, rtol=1e-12)


REFUSED = {
    "no learning rate": (jl.polyak_sgd, schedules.wsd, ValueError, "polyak_sgd has no hyperparameter learning_rate"),
    "only a number": (jl.rprop, schedules.wsd, ValueError, "learning_rate of rprop must be a number"),
    "an optimizer": (jl.adam(0.1), schedules.wsd, TypeError, r"Pass the function that makes it: jl\.adamw, not"),
    "a schedule made": (jl.adam, schedules.wsd(0.1, steps=5), ValueError, r"<lambda> takes count\. Pass one of"),
    "Optax's form": (jl.adam, optax.cosine_decay_schedule, ValueError, "cosine_decay_schedule takes init_value"),
    "one name twice": (lambda learning_rate, decay: ..., schedules.wsd, ValueError, "and wsd both have .* 'decay'"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_what_cannot_be_scheduled_is_refused(row):
    factory, schedule, error, words = REFUSED[row]
    with pytest.raises(error, match=words):
        jl.scheduled(factory, schedule)


# The budget


def budgeted(learning_rate, *, steps):
    return optax.sgd(learning_rate / steps)


def with_default(learning_rate, *, steps=3):
    return budgeted(learning_rate, steps=steps)


def not_keyword_only(learning_rate, steps=3):
    return budgeted(learning_rate, steps=steps)


BUDGETS = {
    "asked for": (budgeted, {}, 8),
    "asked for, with a default": (with_default, {}, 8),
    "not asked for": (not_keyword_only, {}, 3),
    "structural in the space": (budgeted, {"steps": jl.static([5])}, 5),
    "numeric in the space": (budgeted, {"steps": 5}, 5),
    "set before": (functools.partial(budgeted, steps=5), {}, 5),
}


@pytest.mark.parametrize("row", BUDGETS)
def test_a_factory_that_names_steps_is_given_the_budget(row, float64):
    factory, space, steps = BUDGETS[row]
    found = jl.sweep({"it": factory}, TASK, {"learning_rate": [0.8]} | space, steps=8, record=1, cache=False)
    np.testing.assert_allclose(found.dataset["train_loss"][0, 0], by_hand(optax.sgd(0.8 / steps), 8)[0], rtol=1e-12)


def test_a_trial_that_a_rule_stopped_is_repeated_with_its_budget(float64):
    options = {"steps": 16, "record": 1, "stop": jl.halving(2, min_steps=4), "cache": False}
    scheduled = jl.scheduled(jl.sgd, schedules.cosine)
    results = jl.sweep(scheduled, TASK, {"learning_rate": [0.01, 0.1]}, **options)
    assert int(results.dataset["steps_taken"][0, 0]) == 4
    assert jl.rerun(results, 0, 0, task=TASK, optimizer=scheduled).agrees


def test_a_run_folder_is_of_one_budget(tmp_path):
    scheduled = jl.scheduled(jl.sgd, schedules.cosine)
    run = lambda steps: jl.sweep(scheduled, TASK, {"learning_rate": 0.1}, steps=steps, out=tmp_path / "run")
    first = run(4).dataset
    np.testing.assert_array_equal(run(4).dataset["train_loss"], first["train_loss"])
    with pytest.raises(jl.RunError, match="steps: 4 in the folder, 5 now"):
        run(5)
