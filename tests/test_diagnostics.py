"""Diagnostics inside the training loop, against loops by hand in float64 and matrices in NumPy."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import jaxopt_lab as jl
from jaxopt_lab.cli.spec import SpecError, parse
from jaxopt_lab.diagnostics import MEMORY, PRECONDITIONED, norm, sharpness
from jaxopt_lab.engine.structure import Structure
from jaxopt_lab.sweep.budget import MOST
from jaxopt_lab.sweep.planning import plan_sweep

STEPS, RATES, B1, B2, EPS = 12, [0.02, 0.1], 0.9, 0.999, 1e-8
X = np.random.default_rng(1).normal(size=(40, 3))
Y = np.sin(X @ np.ones(3))
CHEAP = ("gradient_norm", "update_norm", "cosine", "update_ratio.hidden", "update_ratio.out")
ALL = ["update_ratio", "gradient_norm", "update_norm", "cosine", "sharpness", "preconditioned_sharpness", "noise_scale"]
OPTIONS = {"steps": STEPS, "seeds": [0, 4], "record": 1, "evaluate": 4}


def init(key):
    w, v = jax.random.split(key)
    return {"hidden": {"w": jax.random.normal(w, (3, 4)), "b": jnp.zeros(4)}, "out": jax.random.normal(v, (4,))}


def loss(params, batch):
    h = jnp.tanh(batch[0] @ params["hidden"]["w"] + params["hidden"]["b"][None])
    return jnp.mean((h @ params["out"] - batch[1]) ** 2)


@functools.cache
def task(**changes):
    fields = {"train": (X, Y), "validation": (X, Y), "batch_size": 9, "loss": loss, "init": init} | changes
    return jl.Task("curve", **fields)


def largest_weight(params, grads, updates, state, batch):
    """A diagnostic of one's own, of everything that it gets."""
    moments = sum(jnp.sum(x) for x in jax.tree.leaves((grads, updates, state)))
    return jnp.max(jnp.abs(params["out"])) + moments + jnp.sum(batch[1])


def preconditioned(params, grads, updates, state, batch):
    p = jax.tree.map(lambda v: jnp.sqrt(v / (1 - B2**state.t)) + EPS, state.v)
    return sharpness(jax.grad(lambda w: loss(w, batch)), params, p)


def adam(w, g, m, v, t, rate):
    """Return the update and the moments, by the paper."""
    m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
    return -rate * m / (1 - B1 ** (t + 1)) / (np.sqrt(v / (1 - B2 ** (t + 1))) + EPS), m, v


@functools.cache
def derivatives():
    """Return functions: a vector shaped as parameters, the gradient and the Hessian at one, the batch of a step."""
    _, shaped = ravel_pytree(init(jax.random.key(0)))
    flat_loss = lambda w, batch: loss(shaped(w), batch)
    batch = jax.jit(lambda key, t: task().batch(task().data[0], key, t))
    return shaped, jax.jit(jax.grad(flat_loss)), jax.jit(jax.hessian(flat_loss)), batch


@functools.cache
def by_hand(rate, seed):
    """Return the values of all diagnostics before every step, as if all were measured at each."""
    key = jax.random.key(seed)
    w, _ = ravel_pytree(init(jax.random.fold_in(key, 0)))
    (shaped, gradient, hessian, batch_of), hidden = derivatives(), np.arange(20) < 16
    size, rows, m, v = np.linalg.norm, [], 0.0, 0.0
    for t in range(STEPS):
        batch = batch_of(jax.random.fold_in(key, 1), t)
        g = np.asarray(gradient(w, batch))
        update, m, v = adam(w, g, m, v, t, rate)
        halves = [
            np.asarray(gradient(w, jax.tree.map(lambda x, at=at: x[at], batch))) for at in (slice(4), slice(4, 8))
        ]
        big, small = g @ g, np.mean([half @ half for half in halves])
        own = np.abs(np.asarray(shaped(w)["out"])).max() + sum(map(np.sum, (g, update, m, v, batch[1]))) + t + 1
        h, scale = np.asarray(hessian(w, batch)), np.sqrt(v / (1 - B2 ** (t + 1))) + EPS
        rows.append(
            {
                "gradient_norm": size(g),
                "update_norm": size(update),
                "cosine": -(g @ update) / size(g) / size(update),
                "update_ratio.hidden": size(update[hidden]) / size(w[hidden]),
                "update_ratio.out": size(update[~hidden]) / size(w[~hidden]),
                "sharpness": np.linalg.eigvalsh(h)[-1],
                "own": np.linalg.eigvals(h / scale[:, None]).real.max(),
                "signal": (9 * big - 4 * small) / 5,
                "noise": (small - big) / (1 / 4 - 1 / 9),
                "largest": own,
            }
        )
        w = w + update
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def held(values, stride, points=STEPS + 1):
    """Return a curve of values that are measured every `stride` steps and kept in between, and after the last step."""
    return np.array([values[min(t, STEPS - 1) // stride * stride] for t in range(points)])


def noise_scale(found, stride):
    """Return the ratio of running means over the measurements."""
    signal = noise = 0.0
    values = {}
    for t in range(0, STEPS, stride):
        signal, noise = (
            MEMORY * a + (1 - MEMORY) * found[name][t] for a, name in ((signal, "signal"), (noise, "noise"))
        )
        values[t] = noise / signal if signal > 0 else np.inf
    return values


@pytest.fixture(scope="module")
def whole():
    with jax.enable_x64(True):
        strides = {"sharpness": 5, "preconditioned_sharpness": 6, "noise_scale": 3}
        strides |= {"largest": (largest_weight, 2), "own": (preconditioned, 6)}
        return jl.sweep(jl.adam, task(), {"learning_rate": RATES}, **OPTIONS, diagnostics=dict.fromkeys(ALL) | strides)


def test_curves_are_those_of_a_loop_by_hand(whole, float64):
    dataset = whole.dataset
    assert json.loads(dataset.attrs["diagnostics"]) == dict.fromkeys(ALL, 1) | {
        "sharpness": 5,
        "preconditioned_sharpness": 6,
        "noise_scale": 3,
        "largest": 2,
        "own": 6,
    }
    for row, rate in enumerate(RATES):
        for s, seed in enumerate(OPTIONS["seeds"]):
            expected, found = by_hand(rate, seed), dataset.isel(config=row, seed=s)
            for name in CHEAP:
                np.testing.assert_allclose(found[name], held(expected[name], 1), rtol=1e-9, err_msg=name)
            np.testing.assert_allclose(found["largest"], held(expected["largest"], 2), rtol=1e-9)
            # 20 products for a Hessian of 20 parameters, in float64: exact but for rounding
            np.testing.assert_allclose(found["sharpness"], held(expected["sharpness"], 5), rtol=1e-7)
            for name in ("preconditioned_sharpness", "own"):
                np.testing.assert_allclose(found[name], held(expected["own"], 6), rtol=1e-7, err_msg=name)
            np.testing.assert_allclose(found["noise_scale"], held(noise_scale(expected, 3), 3), rtol=1e-7)


@pytest.mark.parametrize("cut", [{"chunk": 3}, {"strategy": "steps"}, {"strategy": "scan_each", "record": 5}], ids=str)
def test_curves_do_not_depend_on_how_trials_run(whole, cut, float64):
    strides = {"update_norm": 1, "noise_scale": 3, "largest": (largest_weight, 2)}
    strides |= {"sharpness": 5} if "record" in cut else {}
    found = jl.sweep(jl.adam, task(), {"learning_rate": RATES}, **OPTIONS | cut, diagnostics=strides).dataset
    for name in ("train_loss", *strides):
        np.testing.assert_allclose(found[name], whole.dataset[name].sel(step=found["step"]), rtol=1e-9, err_msg=name)


FEW = {"update_norm": 4, "cosine": 6, "sharpness": 5, "noise_scale": 6, "largest": (largest_weight, 7)}
DENSE = {"gradient_norm": 1}  # measured in each step, so no steps have a loop of their own


def test_few_measurements_are_those_of_a_loop_by_hand(float64):
    """Plain steps between them have a loop of their own."""
    found = jl.sweep(jl.adam, task(), {"learning_rate": RATES}, **OPTIONS, diagnostics=FEW).dataset
    for row, rate in enumerate(RATES):
        for s, seed in enumerate(OPTIONS["seeds"]):
            expected, own = by_hand(rate, seed), found.isel(config=row, seed=s)
            for name in ("update_norm", "cosine", "sharpness", "largest"):
                stride = FEW[name][1] if name == "largest" else FEW[name]
                np.testing.assert_allclose(own[name], held(expected[name], stride), rtol=1e-7, err_msg=name)
            np.testing.assert_allclose(own["noise_scale"], held(noise_scale(expected, 6), 6), rtol=1e-7)


def test_a_stride_beyond_the_run_is_measured_once(float64):
    """The largest stride that there is, whose next step would not fit into 32 bits."""
    found = jl.sweep(jl.adam, task(), {"learning_rate": 0.1}, **OPTIONS, diagnostics={"update_norm": MOST}).dataset
    curve = found["update_norm"].values[0, 0]
    assert curve[0] > 0
    assert (curve == curve[0]).all()


def bad_batch(w, batch):
    """The task's loss, which is not finite for some examples."""
    return loss(w, batch) + jnp.where(jnp.abs(batch[0]).max() > 2.2, jnp.nan, 0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"evaluate": 3},
        {"chunk": 3, "strategy": "steps"},
        {"target": 0.15},
        {"diverged_above": 1.88},
        {"nonfinite": 50},
        {"keep": "best", "record": 5},
    ],
    ids=str,
)
def test_few_measurements_are_those_of_many(options, float64):
    """However segments are cut and trials end: diverged between two measurements, reached, or with skipped steps."""
    made = task(loss=bad_batch) if "nonfinite" in options else task()
    space = {"learning_rate": [*RATES, 3.0]}
    few, many = (
        jl.sweep(jl.adam, made, space, **OPTIONS | {"seeds": 2} | options, diagnostics=FEW | dense).dataset
        for dense in ({}, DENSE)
    )
    np.testing.assert_array_equal(few["status"], many["status"])
    for name in ("train_loss", *FEW):
        np.testing.assert_allclose(few[name], many[name], rtol=1e-9, err_msg=name)
    if "diverged_above" in options:
        assert {-1, 0, 1, 3} == set(few["first_bad_step"].values.flat), "at a measurement, between two, and never"
        assert np.isnan(few["update_norm"].values[few["status"].values == "diverged"][:, -1]).all()


def test_training_is_the_same_with_and_without(whole, float64):
    plain = jl.sweep(jl.adam, task(), {"learning_rate": RATES}, **OPTIONS).dataset
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(whole.dataset[name], plain[name], rtol=1e-12)
    assert "diagnostics" not in plain.attrs
    others = {"sharpness", "preconditioned_sharpness", "noise_scale", "largest", "own"}
    assert set(whole.dataset.data_vars) - set(plain.data_vars) == {*CHEAP, *others}


def test_a_stride_does_nothing_where_it_is_not_due(float64):
    """Under `vmap`, a condition that trials share remains a branch, so that the other steps do not take it."""
    plan = plan_sweep(jl.sgd, task(), {"learning_rate": RATES}, steps=STEPS, diagnostics={"sharpness": 4})
    (group,) = plan.groups
    one = group.structure.trial({"learning_rate": 0.1}, plan.ending, plan.shown, plan.diagnostics_of(group))
    start = one.start(init(jax.random.key(0)))
    batch = (X[:9], Y[:9])
    keys = jax.eval_shape(lambda: None)

    def many(states, t):
        step = lambda state: one.step(state, t, batch, jl.tasks.seeding.Keys(jax.random.key(0), keys))[1]["sharpness"]
        return jax.vmap(step)(states)

    states = jax.tree.map(lambda x: jnp.stack([x, x]), start)
    names = [equation.primitive.name for equation in jax.make_jaxpr(many)(states, jnp.int32(0)).eqns]
    assert "cond" in names
    assert "while" not in names
    due = [bool(one.diagnostics[0].due(jnp.int32(t))) for t in range(9)]
    assert due == [t % 4 == 0 for t in range(9)]


def test_strides_are_those_of_the_largest_batch_where_the_budget_is_in_examples(float64):
    def made(batch_size=9):
        return jl.Task("sized", init, loss, (X, Y), batch_size=batch_size)

    space = {"learning_rate": 0.1, "task.batch_size": jl.static([3, 9])}
    count = lambda params, grads, updates, state, batch: state.t  # steps after this one
    options = {"steps": jl.examples(72), "record": 1, "diagnostics": {"each": (count, 1), "second": (count, 2)}}
    found = jl.sweep(jl.adam, made, space, **options).dataset.isel(seed=0)
    assert found["examples"].values.tolist() == [*range(0, 73, 9)]
    for row, batch in enumerate((3, 9)):
        each = 1 + np.arange(0, 72, 9) // batch
        assert found["each"][row].values.tolist() == [*each, each[-1]]
        assert found["second"][row].values.tolist() == [*np.repeat(each[::2], 2), each[-2]]


ROOTS = {  # what is left of a step's update without the preconditioner: its direction, by hand
    "adam": ({"b2": 0.97, "eps": 1e-3}, lambda m, g, t: m / (1 - 0.9**t)),
    "adamw": ({"b2": 0.97, "eps": 1e-3, "weight_decay": 0.0}, lambda m, g, t: m / (1 - 0.9**t)),
    "adagrad": ({"eps": 1e-3}, lambda m, g, t: g),
    "adagrad apart": ({"eps": 1e-3, "eps_in_sqrt": False}, lambda m, g, t: g),
    "rmsprop": ({"decay": 0.95, "eps": 1e-3}, lambda m, g, t: g),
    "rmsprop apart": ({"decay": 0.95, "eps_in_sqrt": False, "bias_correction": True}, lambda m, g, t: g),
    "rmsprop centred": ({"decay": 0.95, "eps": 1e-3, "centered": True}, lambda m, g, t: g),
}


@pytest.mark.parametrize(("values", "direction"), ROOTS.values(), ids=ROOTS)
def test_a_preconditioner_is_what_divides_the_step(values, direction, request, float64):
    """Three steps by the optimizer itself: its update, times the preconditioner, is the step without it."""
    name = request.node.callspec.id.split()[0]
    structure = Structure(jl.OPTIMIZERS[name], tuple(values.items()), ("learning_rate",), task())
    rate = {"learning_rate": jnp.asarray(0.1)}
    optimizer, root = structure.optimizer(rate), structure.preconditioner(rate)
    params = {"w": jnp.ones(3), "b": jnp.zeros(())}
    state, m = optimizer.init(params), jax.tree.map(jnp.zeros_like, params)
    for t, key in enumerate(jax.random.split(jax.random.key(0), 3), 1):
        grads = {"w": jax.random.normal(key, (3,)), "b": jnp.asarray(0.3 * t)}
        updates, state = optimizer.update(grads, state, params)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        for u, p, g, mean in zip(*map(jax.tree.leaves, (updates, root(state), grads, m)), strict=True):
            np.testing.assert_allclose(-u * p / 0.1, direction(mean, g, t), rtol=1e-12)


def test_adam_trains_at_its_edge_of_stability(float64):
    """Cohen et al. 2022: with all examples in each step, the preconditioned sharpness rises to 38 / eta, and stays."""
    few, rates = jl.Task("few", init, loss, (X[:20], Y[:20])), [0.01, 0.03, 0.1]
    found = jl.sweep(jl.adam, few, {"learning_rate": rates}, steps=6000, diagnostics=[PRECONDITIONED]).dataset
    curves = found[PRECONDITIONED].values[:, 0] * np.asarray(rates)[:, None] / 38
    assert (curves[:, 0] < 0.1).all()
    half = curves.shape[1] // 2
    assert (np.abs(np.median(curves[:, half:], axis=1) - 0.95) < 0.1).all()  # oscillations keep it somewhat below


def test_sharpness_of_a_quadratic_is_its_largest_eigenvalue(float64):
    random = np.random.default_rng(0)
    basis, _ = np.linalg.qr(random.normal(size=(6, 6)))
    measure = jax.jit(lambda h, p: sharpness(lambda w: h @ w, jnp.ones(6), p))
    for eigenvalues in ([1.0, 2, 3, 4, 5, 9], [-9.0, -1, 0, 0, 1, 2], [-5.0, -4, -3, -3, -2, -1], [0.0] * 6, [7.0] * 6):
        h, p = basis @ np.diag(eigenvalues) @ basis.T, random.uniform(0.1, 3, size=6)
        np.testing.assert_allclose(measure(h, np.ones(6)), max(eigenvalues), rtol=1e-10, atol=1e-10)
        found = measure(h, p)
        expected = np.linalg.eigvals(h / p[:, None]).real.max()
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    assert np.isnan(measure(np.nan * basis, np.ones(6)))


def test_sharpness_of_many_parameters_is_close_in_float32():
    """A spectrum like that of a network: a bulk near 0 and a few outliers."""
    eigenvalues = np.concatenate([np.abs(np.random.default_rng(0).normal(size=2000)) * 0.1, [3.0, 5.0, 10.0]])
    found = sharpness(lambda w: jnp.asarray(eigenvalues, jnp.float32) * w, jnp.ones(2003, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, 10, rtol=1e-5)


def test_gradient_descent_trains_at_the_edge_of_stability(float64):
    """Cohen et al. 2021: the sharpness rises to 2 / eta, and stays there while the loss falls."""
    rates = [0.005, 0.05, 0.07, 0.1]
    few = jl.Task("all", init, loss, (X[:12], 3 * Y[:12]))
    found = jl.sweep(jl.gradient_descent, few, {"learning_rate": rates}, steps=4000, diagnostics=["sharpness"]).dataset
    assert (found["status"] == "completed").all()
    curves = found["sharpness"].values[:, 0] * np.asarray(rates)[:, None] / 2
    assert (curves[:, 0] < 0.3).all()
    assert (curves[0] < 0.5).all()  # a small step does not come that far
    np.testing.assert_allclose(np.median(curves[1:, -50:], axis=1), 1, rtol=0.04)
    assert (np.diff(found["train_loss"].values[:, 0, [0, 50, 100, 200]], axis=1) < 0).all()


def test_a_trial_that_ends_keeps_its_values_and_a_diverged_one_has_none(float64):
    space, options = (
        {"learning_rate": [0.1, 1e6]},
        {"steps": 40, "record": 1, "diagnostics": ["gradient_norm", "cosine"]},
    )
    free = jl.sweep(jl.sgd, task(), space, **options).dataset
    target = float(free["train_loss"][0, 0, 20])
    found = jl.sweep(jl.sgd, task(), space, target=target, **options).dataset
    end, bad = int(found["steps_taken"][0, 0]), int(found["first_bad_step"][1, 0])
    assert found["status"].values[:, 0].tolist() == ["reached", "diverged"]
    np.testing.assert_array_equal(found["gradient_norm"][0, 0, :end], free["gradient_norm"][0, 0, :end])
    assert len(np.unique(found["gradient_norm"][0, 0, end:])) == 1
    for name in ("gradient_norm", "cosine"):
        assert np.isfinite(found[name][1, 0, :bad]).all()
        assert np.isnan(found[name][1, 0, bad:]).all()


def test_skipped_steps_leave_the_noise_scale_as_it_is(float64):
    bad = lambda params, batch: loss(params, batch[:2]) * jnp.where(batch[2][0] % 4 == 3, jnp.nan, 1)
    steps = jl.Task("steps", init, bad, (X, Y, np.arange(40.0)), batch_size=2)
    diagnostics = {"noise_scale": 1, "gradient_norm": 1}
    found = jl.sweep(jl.sgd, steps, {"learning_rate": [0.01]}, steps=30, record=1, nonfinite=3, diagnostics=diagnostics)
    skipped = ~np.isfinite(found.dataset["train_loss"].values[0, 0])
    assert 0 < skipped.sum() < 30
    assert not np.isnan(found.dataset["noise_scale"]).any()
    assert np.isnan(found.dataset["gradient_norm"].values[0, 0, :-1][skipped[:-1]]).all()


def test_a_run_resumes_extends_and_repeats_with_them(tmp_path, float64):
    asked = {"gradient_norm": None, "noise_scale": 70, "learning_rate": None}
    space, options = {"learning_rate": [0.05, 0.1]}, {"seeds": 2, "record": 7, "diagnostics": asked}
    whole = jl.sweep(jl.momentum, task(), space, steps=2100, **options).dataset
    interrupt = iter([False, True] + [False] * 10_000)

    def report(progress):
        if progress.trial_steps and next(interrupt):
            raise KeyboardInterrupt

    out = tmp_path / "run"
    names = ("train_loss", "gradient_norm", "noise_scale", "learning_rate_in_force")
    for _ in range(5):
        found = jl.sweep(jl.momentum, task(), space, steps=1400, out=out, checkpoint=0, progress=report, **options)
        if not found.dataset.attrs["interrupted"]:
            break
    for name in names:
        np.testing.assert_array_equal(found.dataset[name][..., :-1], whole[name][..., :200], err_msg=name)
    with pytest.raises(jl.RunError, match="diagnostics"):
        jl.sweep(jl.momentum, task(), space, steps=1400, out=out, **options | {"diagnostics": ["gradient_norm"]})
    longer = jl.extend(out, steps=2100, task=task()).dataset
    more = jl.extend(out, seeds=3, task=task()).dataset
    for name in names:
        np.testing.assert_array_equal(longer[name], whole[name], err_msg=name)
        np.testing.assert_array_equal(more[name][:, :2], whole[name], err_msg=name)
        assert not np.isnan(more[name][:, 2]).any()
    again = jl.rerun(out, 1, 2, task=task())
    assert again.agrees
    for name in names:
        np.testing.assert_allclose(
            again.dataset[name].sel(step=more["step"]), more[name][1, 2], rtol=1e-8, err_msg=name
        )


def test_functions_of_ones_own_are_asked_for_again(float64):
    run = jl.sweep(jl.adam, task(), {"learning_rate": [0.1]}, steps=4, diagnostics={"largest": largest_weight})
    with pytest.raises(ValueError, match=r"'largest' is a function of your own: pass it, as diagnostics="):
        jl.extend(run, seeds=2, task=task())
    more = jl.extend(run, seeds=2, task=task(), diagnostics={"largest": largest_weight}).dataset
    assert np.isfinite(more["largest"]).all()
    assert "largest" not in jl.rerun(run, 0, 0, task=task()).dataset
    again = jl.rerun(run, 0, 0, task=task(), diagnostics={"largest": largest_weight})
    np.testing.assert_allclose(again.dataset["largest"], run.dataset["largest"][0, 0], rtol=1e-9)


def test_the_forecast_counts_their_curves(float64):
    from jaxopt_lab.engine.tuning.sizing import results_bytes

    plans = [
        plan_sweep(jl.adam, task(), {"learning_rate": RATES}, steps=99, record=1, diagnostics=d) for d in (None, ALL)
    ]
    one, other = map(results_bytes, plans)
    assert other - one == 2 * 8 * 8 * (100 + 1)  # trials, bytes, curves, points and the last value


@pytest.mark.parametrize("said", ['["sharpness"]', "{ sharpness = 40 }"])
def test_a_spec_names_them(said):
    """Of 100 steps, 20 are measured by default."""
    text = f"steps = 100\ndiagnostics = {said}\n[tasks.rosenbrock]\n[optimizers.adam]\nlearning_rate = 0.1\n"
    spec = parse(text, "x.toml")
    (one,) = plan_sweep(jl.adam, spec.tasks["rosenbrock"], {"learning_rate": [0.1]}, **spec.options).diagnostics
    assert (one.name, one.stride) == ("sharpness", 40 if "40" in said else 5)
    with pytest.raises(SpecError, match=r"x.toml:2: .*Did you mean 'sharpness'"):
        parse(text.replace("sharpness", "sharpnes"), "x.toml")


def test_norms_of_half_precision_are_summed_in_float32():
    x = jnp.full(5000, 1.0078125, jnp.bfloat16)
    assert float(norm({"x": x})) == pytest.approx(1.0078125 * 5000**0.5, rel=1e-6)


def test_an_array_of_parameters_has_one_ratio(float64):
    line = jl.Task("line", lambda key: jnp.ones(3), lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2), (X, Y))
    found = jl.sweep(optax.sgd, line, {"learning_rate": [0.1]}, steps=3, diagnostics=["update_ratio"]).dataset
    g = 2 * X.T @ (X @ np.ones(3) - Y) / 40
    np.testing.assert_allclose(found["update_ratio"][0, 0, 0], 0.1 * np.linalg.norm(g) / np.sqrt(3), rtol=1e-12)


WRONG = {
    "a string": ("sharpness", TypeError, "must be a list of names"),
    "unknown": (["sharpnes"], ValueError, "Did you mean 'sharpness'"),
    "no name": ([largest_weight], TypeError, "Give a function of your own a name"),
    "no stride": ({"sharpness": 0}, ValueError, "stride of 'sharpness'"),
    "a stride of the learning rate": ({"learning_rate": 5}, ValueError, "give it no stride"),
    "ours": ({"sharpness": largest_weight}, ValueError, "give yours another name"),
    "a slash": ({"a/b": largest_weight}, ValueError, "no slash"),
    "a taken name": ({"validation_loss": largest_weight}, ValueError, "results use that name"),
    "a hyperparameter": ({"learning_rate_": largest_weight, "steps_taken": largest_weight}, ValueError, "already use"),
    "a vector": ({"own": lambda p, *_: p["out"]}, TypeError, r"one real number, got float\d\d of shape \(4,\)"),
    "nothing": ({"own": lambda *_: None}, TypeError, "must return one number, got 'NoneType'"),
    "too few": ({"own": lambda p, g: 0.0}, TypeError, "Diagnostic 'own' raised TypeError"),
    "a branch": ({"own": lambda p, *_: float(p["out"][0])}, TypeError, "Diagnostic 'own' raised .*Python number"),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_cannot_be_measured_is_refused_before_anything_compiles(which, float64):
    diagnostics, error, words = WRONG[which]
    with pytest.raises(error, match=words):
        plan_sweep(jl.adam, task(), {"learning_rate": [0.1]}, steps=4, diagnostics=diagnostics)


def test_a_preconditioner_that_is_not_known_is_refused():
    words = "divides the step of 'sgd', and that is known of adagrad, adam, adamw, rmsprop"
    with pytest.raises(ValueError, match=words):
        plan_sweep(jl.sgd, task(), {"learning_rate": [0.1]}, steps=4, diagnostics=[PRECONDITIONED])
    scheduled = jl.scheduled(jl.adamw, jl.schedules.warmup_cosine)
    plan_sweep(scheduled, task(), {"learning_rate": [0.1]}, steps=4, diagnostics=[PRECONDITIONED])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: task(batch_size=None), "takes all of its training data in every step"),
        (lambda: jl.TASKS["rosenbrock"](), "has no training data"),
        (lambda: jl.TASKS["noisy_quadratic"](dimensions=4, batch_size=8), "rows of its batches are all the same"),
        (lambda: task(batch_size=1), "at least two"),
    ],
    ids=["all of them", "no data", "a mean", "one"],
)
def test_the_noise_scale_needs_examples(made, words, float64):
    with pytest.raises(ValueError, match=words):
        plan_sweep(jl.sgd, made(), {"learning_rate": [0.1]}, steps=4, diagnostics=["noise_scale"])


def test_a_learning_rate_must_be_there(float64):
    with pytest.raises(ValueError, match="No optimizer of this sweep has a learning rate"):
        plan_sweep(jl.cocob, task(), {}, steps=4, diagnostics=["learning_rate"])
