"""Diagnosis: each planted fault is found, with the numbers of the dataset, and a healthy sweep raises no alarm."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import jaxopt_lab as jl
from jaxopt_lab.report.diagnosis import KINDS, Diagnose, diagnose
from jaxopt_lab.results.results import Results


def regression(inputs, targets, held_out, batch_size=None, **given):
    """Return a linear model with an intercept, by mean squared error."""

    def loss(w, batch):
        x, y = batch
        return jnp.mean((x @ w[:-1] + w[-1] - y) ** 2)

    init = lambda key: 0.1 * jax.random.normal(key, (inputs.shape[1] + 1,))
    return jl.Task("line", init, loss, (inputs, targets), validation=held_out, batch_size=batch_size, **given)


def line(n, seed, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, x @ np.array([1.0, -2.0, 3.0]) + noise * rng.normal(size=n)


@pytest.fixture(scope="module")
def healthy():
    task = regression(*line(256, 0), held_out=line(256, 1), batch_size=64)
    return jl.sweep(jl.adam, task, {"learning_rate": jl.log(1e-3, 10, 9)}, steps=300, seeds=3, record=2)


def part(results, configs):
    """Return the results of some configurations alone."""
    return dataclasses.replace(results, dataset=results.dataset.isel(config=configs))


def kinds(diagnosis, *levels):
    return {f.kind for f in diagnosis if not levels or f.level in levels}


def only(diagnosis, kind):
    found = [f for f in diagnosis if f.kind == kind]
    assert len(found) == 1, str(diagnosis)
    return found[0]


def test_a_healthy_sweep_raises_no_alarm(healthy):
    found = Diagnose(healthy)()  # as results.diagnose() is
    assert kinds(found, "serious", "warning") == set(), str(found)
    assert found.unchecked == ()
    by_gradients = diagnose(healthy.by("gradients"))
    assert kinds(by_gradients, "serious", "warning") == set(), str(by_gradients)
    assert "300 gradients" in by_gradients.subject
    assert {"overfitting", "divergence", "undecided rankings"} <= set(found.checked)


def test_a_model_that_is_too_poor_underfits():
    """A line through a parabola."""
    data = lambda x: (x, x[:, 0] ** 2)
    x = np.random.default_rng(4).uniform(-1, 1, (2, 512, 1))
    task = regression(*data(x[0]), held_out=data(x[1]))
    results = jl.sweep(jl.sgd, task, {"learning_rate": [0.03, 0.3, 1.0, 10.0]}, steps=300, seeds=3, record=3)
    found = only(diagnose(results), "underfitting")
    assert found.level == "serious"
    residual = np.var(task.train[1])  # nearly all of it, since x and its square hardly correlate
    assert found.evidence["end"] == pytest.approx(residual, rel=0.1)
    assert "it underfits" in found.says
    known = dataclasses.replace(results, dataset=results.dataset.assign_attrs(minimum=found.evidence["end"]))
    assert "underfitting" not in kinds(diagnose(known))  # it has reached the minimum
    lower = dataclasses.replace(results, dataset=results.dataset.assign_attrs(minimum=0.0))
    assert "The model can do better" in only(diagnose(lower), "underfitting").says


def test_training_at_rates_that_are_too_small_is_slow():
    task = regression(*line(64, 2), held_out=line(64, 3))
    space = {"learning_rate": [1e-6, 1e-5, 1e-4]}
    results = jl.sweep(jl.sgd, task, space, steps=jl.examples(6400), seeds=3)
    diagnosis = diagnose(results)
    found = only(diagnosis, "slow")
    loss = results.dataset.train_loss.values[2]
    assert found.evidence["start"] == pytest.approx(np.median(loss[:, 0]))
    assert 0.15 < found.evidence["late_share"] < 0.25  # a constant speed
    assert found.evidence["share"] < 0.1
    assert "in 6,400 examples the training loss fell" in found.says
    assert "up to 0.001" in found.advice
    edge = only(diagnosis, "edge")
    assert edge.says == "sgd: the best learning rate, 0.0001, is the largest tried: the optimum may lie above."
    assert edge.advice == "Try up to 0.001."
    assert not kinds(diagnosis) & {"underfitting", "unconverged", "plateau"}


def test_nearly_as_many_parameters_as_examples_overfit():
    rng = np.random.default_rng(1)
    make = lambda n: (x := rng.normal(size=(n, 50)), 2 * x[:, 0] + 1.5 * rng.normal(size=n))
    task = regression(*make(60), held_out=make(400))
    results = jl.sweep(jl.sgd, task, {"learning_rate": [0.03, 0.1]}, steps=400, seeds=3)
    diagnosis = diagnose(results)
    found = only(diagnosis, "overfitting")
    held = results.dataset.validation_loss.values[results.best().config]
    assert found.level == "serious"
    assert found.evidence["lowest"] == pytest.approx(np.median(held, axis=0).min(), rel=1e-6)
    assert found.evidence["train_end"] < found.evidence["train_then"]
    assert 0 < found.evidence["step"] < 400
    assert not kinds(diagnosis) & {"underfitting", "plateau"}


def test_oscillation_is_instability():
    """Heavy momentum on a quadratic comes back almost as high as it was."""
    task = jl.Task("bowl", lambda key: jnp.ones(()), lambda w, batch: w**2 / 2, None)
    results = jl.sweep(jl.momentum, task, {"learning_rate": [0.01], "momentum": [0.99]}, steps=200)
    diagnosis = diagnose(results)
    found = only(diagnosis, "unstable")
    assert found.evidence["share"] > 0.5
    assert "jumped back" in found.says
    assert any("no validation loss" in line for line in diagnosis.unchecked)
    assert any("one configuration" in line for line in diagnosis.unchecked)


def test_divergence_is_told_by_learning_rate():
    """Gradient descent on w ** 2 / 2 diverges above 2."""
    task = jl.Task("bowl", lambda key: jax.random.normal(key, ()) + 3, lambda w, batch: w**2 / 2, None)
    results = jl.sweep(jl.sgd, task, {"learning_rate": [0.01, 0.1, 1.2, 2.5, 5.0]}, steps=100, seeds=2)
    diagnosis = diagnose(results)
    found = only(diagnosis, "divergence")
    assert found.level == "note"
    assert found.evidence == {
        "diverged": 4, "trials": 10, "share": 0.4, "least_rate": 2.5, "greatest_safe_rate": 1.2,
    }  # fmt: skip
    near = only(diagnosis, "unstable")
    assert near.evidence["factor"] == pytest.approx(2.5 / 1.2)
    worst = diagnose(part(results, [3, 4]))
    assert [f.kind for f in worst] == ["divergence"]
    assert worst.findings[0].level == "serious"
    assert "all 4 trials diverged, also at the smallest learning rate tried, 2.5" in worst.findings[0].says
    assert any("no configuration has a finite median" in line for line in worst.unchecked)


STEPS = np.arange(0, 201, 2)
FALLING = np.exp(-STEPS / 15.0)


def built(train, held=None, rates=(0.1, 0.2, 0.3), metric="validation_loss", status="completed", task=None, **attrs):
    """Build results from curves (configs, seeds, points); evaluations are every 10 steps."""
    train = np.asarray(train, float)
    configs, seeds = train.shape[:2]
    name = attrs.pop("optimizer", "sgd")
    held = train[..., ::5] if held is None else np.asarray(held, float)
    trials = ("config", "seed")
    status = np.broadcast_to(np.asarray(status, dtype="<U11"), (configs, seeds))
    taken = STEPS[np.argmax(np.cumsum(~np.isnan(train), axis=-1), axis=-1)]
    dataset = xr.Dataset(
        {
            "train_loss": ((*trials, "step"), train),
            metric: ((*trials, "eval_step"), held),
            "status": (trials, status),
            "first_bad_step": (trials, np.where(status == "diverged", 50, -1)),
            "steps_taken": (trials, taken),
        },
        {
            "config": np.arange(configs),
            "seed": np.arange(seeds),
            "step": STEPS,
            "eval_step": STEPS[::5],
            "optimizer": ("config", np.broadcast_to(name, configs)),
            "learning_rate": ("config", np.asarray(rates[:configs], float)),
        },
        {"task": "built", "steps": 200, "main_metric": metric, "directions": json.dumps({}), **attrs},
    )
    return Results(dataset, task, [])


def curves(scales=(1.5, 1.0, 1.2), seeds=3, course=FALLING, noise=0.0):
    """Return curves that end at different heights, with noise of their own in each seed, the same for all configs."""
    rng = np.random.default_rng(5)
    own = 1 + 0.02 * rng.normal(size=(1, seeds, 1)) + noise * rng.normal(size=(1, seeds, len(course)))
    return np.asarray(scales)[:, None, None] * (0.1 * own) + (course * np.ones((len(scales), seeds, 1)))


def test_a_built_sweep_without_fault_has_none():
    assert kinds(diagnose(built(curves())), "serious", "warning") == set()


def test_a_curve_that_still_falls_asks_for_more_steps_and_a_flat_one_for_fewer():
    still = only(diagnose(built(curves(course=np.exp(-STEPS / 80)))), "unconverged")
    a, b = np.exp(-0.75 * 200 / 80), np.exp(-0.95 * 200 / 80)
    assert still.evidence["late_share"] == pytest.approx((a - b) / (1 - b), rel=0.1)
    assert "steps=" in still.advice
    flat = only(diagnose(built(curves())), "plateau")
    assert flat.level == "note"
    assert 60 <= flat.evidence["since"] <= 100  # exp(-t / 15) is below .01 from step 69 on; means lag by half a window
    assert "unconverged" not in kinds(diagnose(built(curves())))


def test_a_validation_loss_that_only_rises_overfits():
    found = only(diagnose(built(curves(), held=curves()[..., ::5] * 0 + np.linspace(1, 2, 21))), "overfitting")
    assert found.evidence["step"] == 0
    assert (found.evidence["lowest"], found.evidence["end"]) == (1, 2)
    apart = curves()[..., ::5] + np.linspace(0, 0.5, 21)
    apart[..., 1:] = 0.6
    gap = only(diagnose(built(curves(), held=apart)), "overfitting")
    assert gap.level == "warning"
    assert gap.evidence["validation"] == pytest.approx(0.6)


def test_minibatch_noise_is_told_from_instability():
    """Noise that a smaller rate shows too, on the same batches, is theirs."""
    shared = built(curves(noise=2.0), held=curves()[..., ::5])
    found = only(diagnose(shared), "noisy")
    assert found.level == "note"
    assert "on the same batches: minibatch noise" in found.says
    apart = curves(noise=2.0)
    apart[0] = curves()[0]
    assert "it is the learning rate" in only(diagnose(built(apart, held=curves()[..., ::5])), "unstable").says


def test_a_spike_is_found_with_its_step_and_height():
    train = curves(noise=0.1)
    train[1, 2, 60:70] += 0.5
    found = only(diagnose(built(train)), "unstable")
    assert found.evidence["peak"] == pytest.approx(0.6, abs=0.05)
    assert found.evidence["step"] in STEPS[60:70]
    assert found.evidence["seeds"] == 1
    everywhere = curves(noise=0.1)
    everywhere[:, 2, 60:70] += 0.5  # hard batches, for the smaller rate too
    assert "unstable" not in kinds(diagnose(built(everywhere, held=curves()[..., ::5])))


def test_a_diverged_seed_of_the_best_is_serious():
    train, status = curves(), np.full((3, 3), "completed", "<U11")
    train[1, 0, 30:] = np.inf
    status[1, 0] = "diverged"
    found = [f for f in diagnose(built(train, status=status)) if f.level == "serious"]
    assert [f.evidence for f in found] == [{"diverged": 1, "seeds": 3, "earliest": 50}]


def test_an_accuracy_rises():
    rise = 1 - curves(course=np.exp(-STEPS / 80))[..., ::5]
    diagnosis = diagnose(built(curves(), held=rise, metric="validation_accuracy"))
    assert "validation accuracy was still rising" in only(diagnosis, "unconverged").says
    assert any(
        "overfitting (there are no validation data)" in line or "overfitting" in line for line in diagnosis.unchecked
    )


def test_a_ranking_that_seeds_do_not_decide_is_told():
    rng = np.random.default_rng(2)
    ends = np.array([1.0, 1.01, 2.0])[:, None] + 0.1 * rng.normal(size=(3, 5))  # by optimizer and seed
    train = FALLING + 0.1 * ends[..., None]
    diagnosis = diagnose(built(train, optimizer=["one", "other", "bad"], rates=(0.1,) * 3))
    found = only(diagnosis, "undecided")
    d = train[1, :, -1] - train[0, :, -1]
    assert found.evidence["effect"] == pytest.approx(abs(d.mean()))
    assert found.evidence["spread"] == pytest.approx(d.std(ddof=1))
    assert found.evidence["p"] > 0.05
    assert found.level == "warning"
    assert found.says.startswith("one and other: ")
    assert "undecided" not in kinds(diagnose(built(train[[0, 2]], optimizer=["one", "bad"], rates=(0.1,) * 2)))


def test_over_orders_of_magnitude_factors_count():
    """Differences of losses that fall to 1e-20 are those of the worst seed alone."""
    ends = np.array([[1e-12, 9e-12, 8e-11], [9e-6, 8e-5, 1e-6]])
    train = FALLING**8 + ends[..., None]
    assert "undecided" not in kinds(diagnose(built(train, optimizer=["one", "other"], rates=(0.1, 0.1))))
    assert "plateau" not in kinds(diagnose(built(np.ones((1, 3, 1)) * FALLING**8)))


def test_a_task_without_chance_is_decided():
    train = np.array([0.1, 0.2])[:, None, None] + np.ones((1, 3, 1)) * FALLING
    assert "undecided" not in kinds(diagnose(built(train, optimizer=["one", "other"], rates=(0.1, 0.1))))


def test_skipped_steps_leave_gaps_that_say_nothing():
    """The loss of a skipped step is recorded as infinite."""
    train = curves()
    train[:, :, [40, 41, 90]] = np.inf
    train[:, 0, 0] = np.inf
    assert kinds(diagnose(built(train, held=curves()[..., ::5])), "serious", "warning") == set()


def test_a_running_sweep_is_compared_where_all_have_come_to():
    train = curves()
    train[..., 50:] = np.nan
    diagnosis = diagnose(built(train, status="running", interrupted=1))
    assert "Compared at step 90 of 200 steps" in diagnosis.subject
    assert any("the sweep has not ended" in line for line in diagnosis.unchecked)
    nothing = np.full_like(train, np.nan)
    none_yet = diagnose(built(nothing, status="running", interrupted=1))
    assert none_yet.findings == ()
    assert "No configuration can be compared yet" in str(none_yet)


@pytest.mark.parametrize("points", [1, 2, 5, 7, 12, 30])
def test_a_sweep_that_has_just_begun_raises_no_alarm(points):
    train = curves()
    train[..., points:] = np.nan
    diagnosis = diagnose(built(train, status="running", interrupted=1))
    assert kinds(diagnosis, "serious", "warning") == set(), str(diagnosis)


def test_one_seed_decides_no_ranking():
    diagnosis = diagnose(built(curves(seeds=1)))
    assert any("there is one seed" in line for line in diagnosis.unchecked)
    assert kinds(diagnosis, "serious", "warning") == set()


def test_an_edge_that_is_no_better_than_the_inside_is_a_note():
    found = only(diagnose(built(curves(scales=(1.5, 1.0, 1.0)), rates=(0.1, 0.3, 0.2))), "edge")
    assert found.level == "note"
    assert found.evidence["rival"] == 0.2
    assert only(diagnose(built(curves(), rates=(0.1, 0.3, 0.2))), "edge").level == "warning"


def test_findings_are_ordered_and_shown_escaped():
    train, status = curves(course=np.exp(-STEPS / 80)), np.full((3, 3), "completed", "<U11")
    status[0] = "diverged"
    diagnosis = diagnose(built(train, status=status, rates=(0.3, 0.1, 0.2), optimizer="<b>"))
    levels = ["serious", "warning", "note"]
    assert [levels.index(f.level) for f in diagnosis] == sorted(levels.index(f.level) for f in diagnosis)
    assert kinds(diagnosis) <= set(KINDS)
    assert len(diagnosis) >= 2
    html = diagnosis._repr_html_()
    assert "<b>:" not in html
    assert "&lt;b&gt;" in html
    for finding in diagnosis:
        assert finding.says in str(diagnosis)
