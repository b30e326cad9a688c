"""A sweep stays within its memory, and goes on in smaller chunks when a device runs out of it."""

import importlib
import json
import signal
import time

import jax
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.chunk import _Running
from jaxopt_lab.store.run import Run
from jaxopt_lab.sweep import plan_sweep

SPACE = {"learning_rate": jl.log(1e-3, 1.0, 8)}
chunk = importlib.import_module("jaxopt_lab.engine.chunk")


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
    """From the last segment where its state is still there; the result is that of an undisturbed run."""
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
    assert any("ran out of memory; going on with" in note for note in notes)
    assert json.loads(found.attrs["notes"]) == notes


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
    """Broken off after chunks were halved: on a device as small to the last bit; on a larger one as ever."""
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
    plan, _ = plan_sweep(jl.adam, jl.tasks.quadratic(), SPACE, steps=5, memory=0.25)
    half, _ = plan_sweep(jl.adam, jl.tasks.quadratic(), SPACE, steps=5)
    assert plan.memory == pytest.approx(half.memory / 2, rel=0.2)  # what is free changes meanwhile


def test_states_between_rungs_are_part_of_the_budget(on_a_cpu, float32):
    task, space = jl.tasks.digits_mlp(), {"learning_rate": jl.log(1e-4, 1, 2000)}
    options = {"steps": 100, "memory": 2**25}
    plan_sweep(jl.adam, task, space, **options)
    with pytest.raises(ValueError, match=r"states between rungs 5\d MiB"):
        plan_sweep(jl.adam, task, space, stop=jl.halving(4, min_steps=5), **options)
