"""A sweep stays within its memory budget, and continues in smaller chunks when a device runs out of memory."""

import dataclasses
import functools
import importlib
import json
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.compile.evaluation import not_means
from jaxopt_lab.engine.compile.program import compiled
from jaxopt_lab.engine.devices import on_devices
from jaxopt_lab.engine.run import backend
from jaxopt_lab.engine.run.chunk import _Running
from jaxopt_lab.engine.strategy import Strategy
from jaxopt_lab.engine.structure import traced_step
from jaxopt_lab.store.run import Run, _strategy
from jaxopt_lab.sweep.planning import plan_sweep
from jaxopt_lab.trial import Status

SPACE = {"learning_rate": jl.log(1e-3, 1.0, 8)}
chunk = importlib.import_module("jaxopt_lab.engine.run.chunk")
execution = importlib.import_module("jaxopt_lab.engine.run.execution")


def sweep(**changes):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    return jl.sweep(jl.adam, task, SPACE, **({"steps": 60, "seeds": 2, "record": 1, "evaluate": 15} | changes)).dataset


@pytest.fixture
def small(monkeypatch):
    """A device that holds `trials` at once; how often it was asked for more, and after which steps."""
    refused = []

    def install(trials, after=0, consume=False):
        real = _Running.advance

        def advance(self, state, segment):
            held = self.seeds.shape[0] * next(iter(self.values.values())).shape[0]
            if held > trials and segment.first >= after:
                refused.append((held, segment.first))
                if consume:  # as where the device gave up with the state already handed over
                    jax.tree.map(lambda x: x.delete(), state)
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
            return real(self, state, segment)

        monkeypatch.setattr(_Running, "advance", advance)
        return refused

    return install


@pytest.mark.parametrize("consume", [False, True])
@pytest.mark.parametrize("after", [0, 30])
def test_out_of_memory_halves_the_chunk_and_goes_on(small, after, consume, float64):
    """From the last segment whose state is still available; the result is that of an uninterrupted run."""
    known = sweep()
    notes = []
    refused = small(3, after, consume)
    found = sweep(progress=lambda p: notes.extend(n for n in p.notes if n not in notes))
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(found[name], known[name], rtol=1e-9)
    np.testing.assert_array_equal(found.status, known.status)
    np.testing.assert_array_equal(found.steps_taken, 60)
    assert refused
    assert all(step == after for _, step in refused)  # nothing that was done was tried again
    assert any("ran out of memory; continuing with" in note for note in notes)
    assert json.loads(found.attrs["notes"]) == notes


@pytest.mark.parametrize("consume", [False, True])
def test_out_of_memory_twice(consume, monkeypatch, float64):
    """Each time from the last complete segment, or from where the chunk began if its state is lost."""
    known, real = sweep(seeds=8), _Running.advance
    sizes, refused, done = [], [], []

    def advance(self, state, segment):
        held = self.seeds.shape[0] * next(iter(self.values.values())).shape[0]
        sizes.append(held)
        if segment.first >= {sizes[0]: 15, sizes[0] // 2: 30}.get(held, 60):
            refused.append((segment.first, held))
            if consume:
                jax.tree.map(lambda x: x.delete(), state)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
        done.append(held * (segment.last - segment.first))
        return real(self, state, segment)

    monkeypatch.setattr(_Running, "advance", advance)
    found = sweep(seeds=8)
    assert set(refused) == {(15, sizes[0]), (30, sizes[0] // 2)}
    assert sum(done) == 64 * 60 + consume * sum(steps * held for steps, held in refused)
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(found[name], known[name], rtol=1e-9)
    np.testing.assert_array_equal(found.steps_taken, 60)


def test_out_of_memory_in_the_middle_of_halving(small, float64):
    stop = jl.halving(2, min_steps=15)
    known = sweep(stop=stop)
    small(2, after=15)
    found = sweep(stop=stop)
    np.testing.assert_array_equal(found.rung, known.rung)
    np.testing.assert_allclose(found.train_loss, known.train_loss, rtol=1e-9)


@pytest.mark.parametrize("after", [0, 30])
@pytest.mark.parametrize("then", ["as small", "larger"])
def test_out_of_memory_in_a_folder_that_is_gone_on_with(small, after, then, tmp_path, monkeypatch, float64):
    """Interrupted after chunks were halved: bit for bit on an equally small device; within rounding on a larger one."""
    small(3, after)
    known, saves, save = sweep(chunk=8), [], Run.save
    with monkeypatch.context() as patch:

        def counting(self, *args):
            save(self, *args)
            saves.append(args)
            if len(saves) == 3:
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.3)  # until the main thread has seen it, so that it does not come too late

        patch.setattr(Run, "save", counting)
        assert sweep(chunk=8, out=tmp_path / "run", checkpoint=0).interrupted
    if then == "larger":
        monkeypatch.undo()
    made = []
    found = sweep(chunk=8, out=tmp_path / "run", checkpoint=0, progress=lambda p: made.append(p.trial_steps))
    assert not found.interrupted
    if then == "as small":
        assert max(made) < 16 * 60  # what was kept was not done again
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(found[name], known[name], rtol=0 if then == "as small" else 1e-9)
    np.testing.assert_array_equal(found.status, known.status)
    made.clear()
    again = sweep(chunk=8, out=tmp_path / "run", progress=lambda p: made.append(p.trial_steps))
    assert not any(made)  # all was there
    np.testing.assert_array_equal(again.train_loss, found.train_loss)


def test_one_trial_that_does_not_fit_is_a_clear_error(small):
    small(0)
    with pytest.raises(MemoryError, match=r"1 trials of adam on 'breast_cancer' do not fit into memory"):
        sweep()


def test_other_errors_of_the_device_are_not_taken_for_it(monkeypatch):
    def advance(self, state, segment):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(_Running, "advance", advance)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        sweep()


@pytest.mark.parametrize("memory", [2**22, 2**24, 2**30])
def test_chunks_fit_into_the_budget(memory):
    task = jl.tasks.digits_mlp(width=128)
    forecast = jl.plan(jl.adam, task, {"learning_rate": jl.log(1e-4, 1, 512)}, steps=4, memory=memory, strategy="scan")
    running = forecast.at_once * forecast.groups[0].chunk_bytes
    assert running <= memory
    assert forecast.budget == memory


@pytest.mark.parametrize(
    ("memory", "error", "match"),
    [
        (1000, ValueError, "at least 1 MiB"),
        (-1, ValueError, "must be >= 0"),
        ("8GB", TypeError, "must be a number"),
        (2**20, ValueError, r"do not fit into 1 MiB of memory.*Record and evaluate less often"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_compiles(on_a_cpu, memory, error, match):
    task = jl.tasks.breast_cancer(holdout=True)
    with pytest.raises(error, match=match):
        plan_sweep(jl.adam, task, {"learning_rate": jl.log(1e-3, 1, 5000)}, steps=500, memory=memory)


def test_a_share_of_what_is_free(on_a_cpu):
    plan = plan_sweep(jl.adam, jl.tasks.quadratic(), SPACE, steps=5, memory=0.25)
    half = plan_sweep(jl.adam, jl.tasks.quadratic(), SPACE, steps=5)
    assert plan.memory == pytest.approx(half.memory / 2, rel=0.2)  # what is free changes meanwhile


def test_states_between_rungs_are_part_of_the_budget(on_a_cpu, float32):
    task, space = jl.tasks.digits_mlp(), {"learning_rate": jl.log(1e-4, 1, 2000)}
    options = {"steps": 100, "memory": 2**25}
    plan_sweep(jl.adam, task, space, **options)
    with pytest.raises(ValueError, match=r"states between rungs 5\d MiB"):
        plan_sweep(jl.adam, task, space, stop=jl.halving(4, min_steps=5), **options)


def regression(held_out=101, tested=57, width=32, metrics=(), **changes):
    """A small network with a loss that is a mean over examples, and `metrics` of those below."""
    rng = np.random.default_rng(0)
    data = lambda n: (rng.normal(size=(n, 16)), rng.normal(size=n))

    def init(key):
        first, second = jax.random.split(key)
        return jax.random.normal(first, (16, width)) / 4, jax.random.normal(second, (width,)) / width

    loss = lambda params, batch: jnp.mean((predicted(params, batch) - batch[1]) ** 2)
    options = {"train": data(64), "validation": data(held_out), "test": data(tested), "batch_size": 8} | changes
    return jl.Task("regression", init, loss, metrics={name: METRICS[name] for name in metrics}, **options)


shared = functools.cache(regression)  # the same task, whose programs are compiled once


def predicted(params, batch):
    return jnp.tanh(batch[0] @ params[0]) @ params[1]


def r2(params, batch):
    return 1 - jnp.sum((predicted(params, batch) - batch[1]) ** 2) / jnp.sum((batch[1] - batch[1].mean()) ** 2)


def f1(params, batch):
    said, true = predicted(params, batch) > 9.0, batch[1] > 0  # at initial parameters it always says no
    return 2 * jnp.sum(said & true) / jnp.maximum(1, jnp.sum(said) + jnp.sum(true))


def auc(params, batch):
    said, true = predicted(params, batch), batch[1] > 0
    pairs = (said[:, None] > said[None]) & true[:, None] & ~true[None]
    return jnp.sum(pairs) / (jnp.sum(true) * jnp.sum(~true))


METRICS = {
    "mae": lambda params, batch: jnp.mean(jnp.abs(predicted(params, batch) - batch[1])),
    "accuracy": lambda params, batch: jnp.mean((predicted(params, batch) > 0) == (batch[1] > 0), dtype=float),
    "half": lambda params, batch: jnp.mean(predicted(params, batch) > 0, dtype=jnp.float16),
    "r2": r2,
    "f1": f1,
    "auc": auc,
    "sum": lambda params, batch: jnp.sum(jnp.abs(predicted(params, batch))),
    "normalized": lambda params, batch: jnp.mean((predicted(params, batch) - predicted(params, batch).mean()) ** 2),
    "largest": lambda params, batch: jnp.max(predicted(params, batch)),
    "never finite": lambda params, batch: jnp.nan * jnp.sum(predicted(params, batch)),
}
MEANS = ("mae", "accuracy", "half")


def evaluated(task, shape, **changes):
    """What a chunk of this shape (seeds, configurations) is evaluated to, by a program with these changes."""
    space = {"learning_rate": jl.log(1e-3, 1.0, shape[1])}
    plan = plan_sweep(jl.adam, task, space, steps=4, seeds=shape[0])
    strategy = Strategy("scan", *shape, **changes)
    program = compiled(plan, plan.groups[0], strategy, task.data)
    seeds = np.arange(shape[0], dtype=np.int32)
    values = {"learning_rate": plan.groups[0].values["learning_rate"].astype(jnp.result_type(float))}
    state = program.start(program.initial(seeds), values)
    state = state._replace(status=state.status.at[0, 0].set(Status.DIVERGED))
    seen = program.evaluate(state, seeds, np.int32(0), plan.ending, on_devices(task.data))
    seen = jax.tree.map(np.asarray, seen)
    return {"status": seen.status} | seen.info | seen.held_out, program


@pytest.mark.parametrize("trials", [1, 3, 4, 14])
def test_evaluating_some_trials_at_a_time_changes_nothing(trials, float64):
    """Whatever the metric, but for how XLA rounds sums of another shape; also where the last part is smaller."""
    task = shared(metrics=("mae", "r2", "auc"))
    known, whole = evaluated(task, (2, 7))
    found, parts = evaluated(task, (2, 7), evaluated=trials)
    assert found.keys() == known.keys()
    for name in known:
        np.testing.assert_allclose(found[name], known[name], rtol=1e-13, err_msg=name)
    assert np.isinf(found["test_loss"][0, 0])
    assert parts.evaluate_bytes < whole.evaluate_bytes or trials > 6


@pytest.mark.parametrize(("trials", "examples"), [(1, 30), (4, 57), (1, 101), (4, 1)])
def test_evaluating_by_examples_gives_the_mean_over_all(trials, examples, float64):
    """Batches of unequal sizes count by their sizes, for each split with its own."""
    task = shared(metrics=("mae", "accuracy"))
    known, _ = evaluated(task, (2, 5))
    found, _ = evaluated(task, (2, 5), evaluated=trials, examples=examples)
    assert found.keys() == known.keys()
    for name in known:
        np.testing.assert_allclose(found[name], known[name], rtol=1e-12, err_msg=name)


def test_means_over_examples_are_told_from_other_metrics(float32):
    wrong = [f"{split}_{name}" for split in ("validation", "test") for name in METRICS if name not in MEANS]
    assert not_means(shared(metrics=tuple(METRICS))) == wrong


def test_a_loss_that_is_no_mean_is_told_too(float32):
    loss = lambda params, batch: jnp.sum((predicted(params, batch) - batch[1]) ** 2)
    assert not_means(dataclasses.replace(regression(), loss=loss)) == ["validation_loss", "test_loss"]


BIG = {"held_out": 20_000, "tested": 5_000, "width": 64}  # 5 MiB a trial on all of it, 10 in float64


@pytest.mark.parametrize("memory", [2**24, 2**26])
def test_a_sweep_within_a_budget_sees_what_a_free_one_does(on_a_cpu, memory, float64):
    task, options = shared(**BIG, metrics=("mae",)), {"steps": 4, "seeds": 2, "strategy": "scan"}
    known = jl.sweep(jl.adam, task, SPACE, **options)
    found = jl.sweep(jl.adam, task, SPACE, memory=memory, **options)
    for name in ("train_loss", "validation_loss", "validation_mae", "test_loss"):
        np.testing.assert_allclose(found.dataset[name], known.dataset[name], rtol=1e-12)
    forecast = jl.plan(jl.adam, task, SPACE, memory=memory, **options)
    assert forecast.peak_bytes <= memory
    assert forecast.groups[0].strategy.examples == json.loads(found.dataset.attrs["strategies"])[0]["examples"]


def test_a_metric_that_is_no_mean_is_refused_only_where_batches_would_be_needed(on_a_cpu, float32):
    task, options = shared(**BIG, metrics=("mae", "r2")), {"steps": 2, "strategy": "scan"}
    known = jl.sweep(jl.adam, task, SPACE, **options).dataset
    by_trials = jl.sweep(jl.adam, task, SPACE, memory=2**24, **options).dataset
    assert json.loads(by_trials.attrs["strategies"])[0]["evaluated"] > 0
    np.testing.assert_allclose(by_trials.test_r2, known.test_r2, rtol=1e-5)
    refused = (
        r"one trial alone takes \d.* MiB to evaluate, and the memory budget of 5.0 MiB.* validation_r2, test_r2: no"
    )
    with pytest.raises(ValueError, match=refused):
        jl.sweep(jl.adam, task, SPACE, memory=5 * 2**20, **options)


def test_a_trial_that_does_not_fit_into_the_budget_is_refused(on_a_cpu):
    task = regression(width=2**14)
    with pytest.raises(ValueError, match=r"one trial alone takes .* MiB to train, and the memory budget of 4.0 MiB"):
        jl.sweep(jl.adam, task, SPACE, steps=2, memory=2**22)


def test_chunks_wait_for_room(on_a_cpu, monkeypatch):
    """Where a metric must be evaluated at once, as many chunks run side by side as fit."""
    running, most, real = set(), [], backend.run_chunk

    def run(plan, program, shape, chunk, *others):
        running.add(chunk)
        most.append(len(running))
        time.sleep(0.02)
        done = real(plan, program, shape, chunk, *others)
        running.remove(chunk)
        return done

    monkeypatch.setattr(backend, "run_chunk", run)
    monkeypatch.setattr("jaxopt_lab.engine.tuning.sizing.thread_count", lambda used: 4)
    monkeypatch.setattr(backend, "thread_count", lambda used: 4)
    task = shared(**BIG, metrics=("r2",))
    jl.sweep(jl.adam, task, SPACE, steps=2, strategy="scan_each")
    assert max(most) > 2
    most.clear()
    jl.sweep(jl.adam, task, SPACE, steps=2, strategy="scan_each", memory=2**24)
    assert 1 <= max(most) <= 2


@pytest.mark.parametrize("memory", [10e6, 2**25])
def test_data_that_exceed_the_budget_are_refused_before_anything_compiles(on_a_cpu, memory, float32):
    x = np.ones((600_000, 16), np.float32)
    task = regression(train=(x, x[:, 0]))
    with pytest.raises(ValueError, match=r"data .*take 39 MiB and do not fit into \d+ MiB.*fewer examples"):
        plan_sweep(jl.adam, task, SPACE, steps=2, memory=memory)


def test_results_have_what_data_leave(on_a_cpu, float32):
    x = np.ones((400_000, 16), np.float32)
    space = {"learning_rate": jl.log(1e-3, 1.0, 10_000)}
    options = {"steps": 500, "record": 1}
    plan_sweep(jl.adam, regression(), space, memory=2**25, **options)
    with pytest.raises(ValueError, match=r"into 32 MiB of memory: data 2\d MiB, curves and statuses 2\d MiB"):
        plan_sweep(jl.adam, regression(train=(x, x[:, 0])), space, memory=2**25, **options)


def test_a_compiled_loss_shows_what_it_works_on(float32):
    plain, hidden = (
        regression(width=512, batch_size=None),
        regression(width=512, batch_size=None),
    )
    hidden = dataclasses.replace(hidden, loss=jax.jit(hidden.loss))
    largest = []
    for task in (plain, hidden):
        plan = plan_sweep(jl.adam, task, SPACE, steps=2)
        largest.append(traced_step(plan.groups[0].structure, "adam").largest_bytes)
    assert largest == [64 * 512 * 4] * 2


def test_a_run_folder_knows_how_trials_were_evaluated(on_a_cpu, tmp_path, float32):
    """A run that resumes with another budget cuts the same chunks."""
    task, options = shared(**BIG), {"steps": 2, "strategy": "scan", "out": tmp_path / "run"}
    first = jl.sweep(jl.adam, task, SPACE, memory=2**23, **options).dataset
    again = jl.sweep(jl.adam, task, SPACE, memory=2**23, **options).dataset
    np.testing.assert_array_equal(again.validation_loss, first.validation_loss)
    run = json.loads(first.attrs["strategies"])[0]
    settled = {name: run[name] for name in dataclasses.asdict(Strategy("scan", 1, 1))}
    assert settled["examples"] > 0
    assert _strategy(None, settled) == Strategy(**settled)
