"""The best evaluated step of each trial: its value, and its parameters where they are kept."""

import functools
import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import jaxopt_lab as jl
from jaxopt_lab.engine.chunk import Chunk
from jaxopt_lab.engine.ledger import misfit, recorded
from jaxopt_lab.engine.plan import Stage, state_shapes
from jaxopt_lab.engine.recorder import Recorder
from jaxopt_lab.engine.run.backend import InProcess
from jaxopt_lab.engine.run.execution import execute
from jaxopt_lab.engine.tuning.sizing import kept_params_bytes
from jaxopt_lab.results.score import default_metric, median_score
from jaxopt_lab.sweep.planning import planned
from jaxopt_lab.sweep.request import Request
from jaxopt_lab.tasks.seeding import initial
from jaxopt_lab.types import random_key

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4))
Y = X @ RNG.normal(size=4) + 0.5 * RNG.normal(size=96)
SPACE = {"learning_rate": [0.01, 0.3, 1.3, 1e6]}  # noisy ones pass their best step, and the last diverges
OPTIONS = {"steps": 60, "seeds": 3, "evaluate": 7, "record": 1}


@functools.cache
def task(main_metric="loss", stateful=False, held_out=True):
    def loss(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    def counting(w, batch, *, state):
        return loss(w, batch), state + 1

    init = lambda key: jax.random.normal(key, (4,))
    pair = lambda key: (init(key), jnp.zeros([]))
    return jl.Task(
        "line",
        pair if stateful else init,
        counting if stateful else loss,
        (X[:48], Y[:48]),
        validation=(X[48:], Y[48:]) if held_out else None,
        batch_size=4,
        metrics={"closeness": jl.maximize(lambda w, batch: -loss(w, batch))},
        main_metric=main_metric,
    )


@functools.cache
def loop_by_hand(task):
    """Return the start, a step and the validation loss of a loop by hand, each compiled once.

    Data are arguments, since JAX 0.10 keeps the buffer of a captured array, and uses it in the other precision too.
    """

    @jax.jit
    def start(learning_rate, seed):
        w = initial(task, random_key(seed))[0]
        return w, optax.sgd(learning_rate).init(w)

    @jax.jit
    def step(train, w, state, learning_rate, seed, t):
        batch = task.batch(train, jl.trial.batch_key(random_key(seed)), t)
        updates, state = optax.sgd(learning_rate).update(jax.grad(task.loss)(w, batch), state, w)
        return w + updates, state

    return start, step, jax.jit(task.loss)


@functools.cache
def by_hand(task, learning_rate, seed, evaluated):
    """Return the best validation loss of an Optax loop at the evaluated steps, its step and parameters."""
    start, step, held_out = loop_by_hand(task)
    (w, state), best = start(learning_rate, seed), (np.inf, -1, None)
    for t in range(max(evaluated) + 1):
        if t in evaluated:
            best = min(best, (float(held_out(w, task.validation)), t, np.asarray(w)), key=lambda found: found[0])
        w, state = step(task.train, w, state, learning_rate, seed, t)
    return best


@pytest.mark.parametrize("cut", [{}, {"chunk": 1}, {"strategy": "steps"}], ids=str)
def test_the_parameters_of_the_best_step_are_kept(cut, float64):
    results = jl.sweep(jl.sgd, task(), SPACE, keep="best", **OPTIONS, **cut)
    evaluated = tuple(results.dataset["eval_step"].values.tolist())
    passed = 0
    for config, seed in itertools.product(range(3), range(3)):
        rate = float(results.dataset["learning_rate"][config])
        value, step, w = by_hand(task(), rate, seed, evaluated)
        np.testing.assert_allclose(results.params(config, seed), w, rtol=1e-10)
        best = results.best(at="best")
        if config == best.config:
            np.testing.assert_allclose(best.values[seed], value, rtol=1e-10)
            assert best.steps[seed] == step
        passed += step < 60
    assert passed > 3
    start = initial(task(), random_key(1))[0]
    np.testing.assert_array_equal(results.params(3, 1), start)  # it diverges at once


def test_it_changes_nothing_else(float64):
    found, expected = (jl.sweep(jl.sgd, task(), SPACE, keep=keep, **OPTIONS) for keep in ("best", "last"))
    for name in expected.dataset.data_vars:
        np.testing.assert_array_equal(found.dataset[name], expected.dataset[name], err_msg=name)
    assert found.best() == expected.best()
    assert found.best(at="best") == expected.best(at="best")


def test_a_metric_of_which_more_is_better_selects(float64):
    by_loss, by_closeness = (jl.sweep(jl.sgd, task(m), SPACE, keep="best", **OPTIONS) for m in ("loss", "closeness"))
    for config, seed in itertools.product(range(3), range(3)):
        np.testing.assert_array_equal(by_loss.params(config, seed), by_closeness.params(config, seed))
    assert by_closeness.best(at="best").value == -by_loss.best(at="best").value


def test_the_state_of_a_loss_is_of_the_same_step(float64):
    results = jl.sweep(jl.sgd, task(stateful=True), SPACE, keep="best", **OPTIONS)
    best = results.best(at="best")
    assert [float(results.state(best.config, seed)) for seed in range(3)] == [float(step) for step in best.steps]


@pytest.mark.parametrize("stop", [None, jl.halving(2, min_steps=14)], ids=["to the end", "halving"])
def test_an_interrupted_run_keeps_the_same(stop, tmp_path, float64):
    options = OPTIONS | {"steps": 20_000, "evaluate": 700, "record": 100, "stop": stop}
    expected, reports = jl.sweep(jl.sgd, task(), SPACE, keep="best", **options), itertools.count()

    def report(progress):
        if progress.trial_steps and next(reports) in (0, 2):
            raise KeyboardInterrupt

    for _ in range(10):
        found = jl.sweep(
            jl.sgd, task(), SPACE, keep="best", out=tmp_path / "r", checkpoint=0, progress=report, **options
        )
        if not found.dataset.attrs["interrupted"]:
            break
    for config, seed in itertools.product(range(4), range(3)):
        np.testing.assert_array_equal(found.params(config, seed), expected.params(config, seed))
    loaded = jl.load(tmp_path / "r", task())
    np.testing.assert_array_equal(loaded.params(), expected.params())
    with pytest.raises(jl.RunError, match="parameters kept: 'best' in the folder, 'last' now"):
        jl.sweep(jl.sgd, task(), SPACE, out=tmp_path / "r", **options)


def test_the_best_step_is_of_the_curve(float64):
    results = jl.sweep(jl.sgd, task(), SPACE, **OPTIONS)
    best, curve = results.best(at="best"), results.dataset["validation_loss"]
    assert best.values == tuple(curve.sel(config=best.config).min("eval_step").values)
    assert best.steps == tuple(curve.sel(config=best.config).idxmin("eval_step").values)
    assert results.best().steps == (60, 60, 60)
    assert results.best(at="best").value <= results.best().value
    with pytest.raises(ValueError, match=r"which is the loss of one batch"):
        results.best("train_loss", at="best")
    with pytest.raises(ValueError, match=r"Unknown at 'bets'"):
        results.best(at="bets")


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(ValueError, match=r"keep.*'lst'"):
        jl.sweep(jl.sgd, task(), SPACE, steps=5, keep="lst")
    with pytest.raises(ValueError, match=r"needs validation data"):
        jl.sweep(jl.sgd, jl.tasks.quadratic(), {"learning_rate": 0.1}, steps=5, keep="best")


RATES = {"learning_rate": np.geomspace(1e-3, 1.4, 13).tolist()}
OF_BEST = [
    {},
    {"diverged_above": 40.0, "nonfinite": 1},
    {"stop": jl.halving(3, min_steps=14), "chunk": 5},
    {"stop": jl.plateau(2)},
    {"keep": "best"},
]


def expected_best(whole, optimizer, most):
    """Return the numbers of an optimizer's best configurations, from results that have all parameters."""
    at = whole.dataset.attrs.get("keep", "last")
    rows = np.flatnonzero(whole.dataset["optimizer"].values == optimizer)
    values = median_score(whole.dataset, default_metric(whole.dataset), at)[rows]
    return rows[np.argsort(values, kind="stable")[:most]].tolist()


@pytest.mark.parametrize("more", OF_BEST, ids=str)
def test_parameters_of_the_best_configurations_alone(more, float64):
    """Those that a leaderboard finds best, for each optimizer; equal to the last bit to what a sweep keeps of all."""
    two, options = {"sgd": jl.sgd, "heavy": jl.momentum}, OPTIONS | more
    whole = jl.sweep(two, task(), RATES, **options)
    found = jl.sweep(two, task(), RATES, keep_top=3, **options)
    xr.testing.assert_identical(found.dataset.drop_attrs(), whole.dataset.drop_attrs())
    wanted = sorted(expected_best(whole, "sgd", 3) + expected_best(whole, "heavy", 3))
    assert sorted(config for configs, _ in found.final_params for config in configs.tolist()) == wanted
    for config, seed in itertools.product(wanted, range(3)):
        np.testing.assert_array_equal(found.params(config, seed), whole.params(config, seed))
    np.testing.assert_array_equal(found.params(), whole.params())
    dropped = next(config for config in range(26) if config not in wanted)
    with pytest.raises(ValueError, match=rf"with keep_top=, only .* jl.rerun\(results, {dropped}, 0\)"):
        found.params(dropped, 0)


def test_the_best_by_training_loss_across_structures(float64):
    """One optimizer in two structures, selected by a curve of training."""
    space = {"learning_rate": [1e-3, 0.02, 0.1, 0.3, 1e6], "nesterov": jl.static([False, True])}
    train = task(held_out=False)
    whole, found = (jl.sweep(jl.momentum, train, space, keep_top=most, **OPTIONS) for most in (None, 4))
    kept = sorted(config for configs, _ in found.final_params for config in configs.tolist())
    assert kept == sorted(expected_best(whole, "momentum", 4))
    assert {configs.size for configs, _ in found.final_params} <= {1, 2, 3}  # of both structures
    np.testing.assert_array_equal(found.params(), whole.params())


@pytest.mark.parametrize("stop", [None, jl.halving(2, min_steps=700)], ids=["to the end", "halving"])
def test_an_interrupted_run_keeps_the_best(stop, tmp_path, float64):
    options = OPTIONS | {"steps": 2000, "evaluate": 700, "record": 100, "stop": stop, "chunk": 2, "keep_top": 2}
    expected, reports = jl.sweep(jl.sgd, task(), RATES, **options), itertools.count()

    def report(progress):
        if progress.trials_done and next(reports) in (0, 1, 3):
            raise KeyboardInterrupt

    interrupted = 0
    for _ in range(10):
        found = jl.sweep(jl.sgd, task(), RATES, out=tmp_path / "r", checkpoint=0, progress=report, **options)
        if not found.dataset.attrs["interrupted"]:
            break
        interrupted += 1
    assert interrupted > 1
    loaded = jl.load(tmp_path / "r", task())
    for one in (found, loaded):
        for (configs, params), (known, wanted) in zip(one.final_params, expected.final_params, strict=True):
            np.testing.assert_array_equal(configs, known)
            np.testing.assert_array_equal(params, wanted)
    if stop is None:
        longer = jl.extend(tmp_path / "r", steps=2500, task=task())
        once = jl.sweep(jl.sgd, task(), RATES, **options | {"steps": 2500})
        np.testing.assert_array_equal(longer.final_params[0][0], once.final_params[0][0])
        np.testing.assert_array_equal(longer.params(), once.params())


def test_a_record_of_other_configurations_runs_again(tmp_path, float64):
    """A folder is data: positions that are not the chunk's are refused."""
    plan = planned(Request(jl.sgd, task(), RATES, keep_top=2, **OPTIONS))
    recorder, trials = Recorder(plan), np.arange(13)
    chunk = Chunk(0, trials, np.arange(3), 60, None, np.zeros((2, 3, 4)), np.array([1, 2]))
    stage = Stage(0, 60, True)
    shapes = state_shapes(plan, plan.groups[0])
    good = recorded(recorder, chunk, stage)
    results = recorder.taken(recorder.trials(0, trials, np.arange(3)), 0, 60)
    told = lambda **changed: misfit(good._replace(**changed), plan, stage, chunk, results, shapes)
    assert told() is None
    for bad in (np.array([1, 99]), np.array([2, 1]), np.array([1, 1]), np.array([[1, 2]]), np.array([1.0, 2.0])):
        assert told(kept=bad) == "it has parameters of other configurations"
    assert told(kept=np.array([1])) == "its trials have other shapes"
    assert told(kept=None).startswith("it does not say whose parameters")


def test_as_many_as_fit_are_kept(monkeypatch):
    each = 3 * 4 * 4  # three seeds of four float32
    monkeypatch.setattr(sys.modules[planned.__module__], "KEPT_PARAMS_BYTES", 2 * 5 * each)
    kept = lambda optimizers, **more: planned(Request(optimizers, task(), RATES, **OPTIONS, **more))
    assert kept(jl.sgd).kept_configs == 10
    assert kept([jl.sgd, jl.adam]).kept_configs == 5
    assert kept(jl.sgd, keep_top=12).kept_configs == 12
    assert kept(jl.sgd, keep_top=13).kept_configs is None
    assert kept_params_bytes(kept([jl.sgd, jl.adam])) == 2 * 5 * each
    assert kept_params_bytes(kept(jl.sgd, keep_top=13)) == 13 * each
    monkeypatch.setattr(sys.modules[planned.__module__], "KEPT_PARAMS_BYTES", each - 1)
    assert not kept(jl.sgd).keep_params
    found = jl.sweep(jl.sgd, task(), RATES, **OPTIONS)
    assert found.final_params == []
    told = jl.plan([jl.sgd, jl.adam], task(), RATES, keep_top=2, **OPTIONS).kept
    assert "final parameters of the best 2 configurations of each optimizer" in told


def test_memory_holds_the_best_and_those_under_way():
    """Chunks of one seed come with all seeds of a configuration together, so that few wait for their other seeds."""
    plan = planned(Request(jl.sgd, task(), RATES, keep_top=2, chunk=1, **OPTIONS))
    most = 0

    class Watched(InProcess):
        def run(self, priority, job, then):
            nonlocal most
            most = max(most, len(self._host.recorder._kept._rows[0]))
            return super().run(priority, job, then)

    outcome = execute(plan, backend=Watched())
    assert [configs.size for configs, _ in outcome.params] == [2]
    assert 2 <= most <= 2 + Watched().threads
