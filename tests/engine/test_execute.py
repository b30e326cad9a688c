"""The engine: one program per structure, chunks and segments that change nothing, endings on the host."""

import dataclasses
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.kept_params import scattered
from jaxopt_lab.engine.tuning import cutting
from jaxopt_lab.engine.tuning.cutting import segment_length
from jaxopt_lab.sweep.planning import plan_sweep

SPACE = {"learning_rate": jl.log(1e-3, 1.0, 7), "b1": [0.5, 0.9]}


def sweep(task=None, **changes):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32) if task is None else task
    return jl.sweep(jl.adam, task, SPACE, **({"steps": 30, "seeds": 3, "record": 1} | changes))


def counting_task(counts):
    base = jl.tasks.quadratic()

    def loss(w, batch):
        counts.append(threading.get_ident())
        return base.loss(w, batch)

    return dataclasses.replace(base, loss=loss, factory=None)


def test_one_trace_a_structure_however_many_learning_rates():
    traces = {}
    for rates in (2, 64):
        counts = []
        space = {"learning_rate": jl.log(1e-4, 1.0, rates), "b1": [0.8, 0.9]}
        results = jl.sweep(jl.adam, counting_task(counts), space, steps=20, seeds=2)
        assert results.dataset.sizes["config"] == 2 * rates
        traces[rates] = len(counts)
    # checks, the run's identity, rules that rewrite it, the count of gradients, the step, the evaluation
    assert traces[2] == traces[64] <= 10


def test_one_trace_for_each_structural_value():
    traces = {}
    for flags in ([True], [True, False]):
        counts = []
        space = {"learning_rate": [0.1, 0.2], "nesterov": jl.static(flags)}
        jl.sweep(jl.momentum, counting_task(counts), space, steps=20)
        traces[len(flags)] = len(counts)
    assert traces[2] > traces[1]
    counts = []
    jl.sweep([jl.adam, jl.adagrad, jl.sgd], counting_task(counts), {"learning_rate": [0.1, 0.2]}, steps=20)
    assert len(counts) <= 3 * traces[1]


def test_a_second_sweep_compiles_nothing():
    counts = []
    task = counting_task(counts)
    jl.sweep(jl.adam, task, {"learning_rate": [0.1, 0.2]}, steps=20)
    before = len(counts)
    again = jl.sweep(jl.adam, task, {"learning_rate": [0.3, 0.4]}, steps=20)
    assert len(counts) - before <= 2  # the checks on the host
    assert again.dataset.learning_rate.values.tolist() == [0.3, 0.4]
    assert again.dataset.attrs["compile_seconds"] < 0.1


def test_all_configurations_of_a_seed_share_start_and_batches():
    results = sweep(steps=5)
    first = results.dataset.train_loss.values[..., 0]
    np.testing.assert_array_equal(first, np.broadcast_to(first[:1], first.shape))
    assert len(np.unique(first[0])) == 3
    still = jl.sweep(jl.sgd, jl.tasks.breast_cancer(batch_size=8), {"learning_rate": [0.0, 1e-30]}, steps=5, record=1)
    losses = still.dataset.train_loss.values[:, 0]
    np.testing.assert_array_equal(losses[0], losses[1])
    assert len(np.unique(losses[0])) == 6


@pytest.mark.parametrize("most", [1, 3, 4, 512])
def test_chunks_change_nothing(most, monkeypatch, float64):
    """For any chunk, padding and thread, except for rounding, since XLA may order sums differently."""
    whole = sweep()
    monkeypatch.setitem(cutting.MOST_TRIALS, "cpu", most)
    cut = sweep()
    for name in ("train_loss", "validation_loss", "test_accuracy"):
        np.testing.assert_allclose(cut.dataset[name], whole.dataset[name], rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(cut.dataset.status, whole.dataset.status)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), cut.final_params, whole.final_params)


def test_seeds_and_configurations_keep_their_identity(float64):
    """A trial is the same whichever trials run with it."""
    whole = sweep(seeds=[5, 9])
    one = jl.sweep(
        jl.adam,
        jl.tasks.breast_cancer(holdout=True, batch_size=32),
        {"learning_rate": [whole.dataset.learning_rate.values[9]], "b1": [whole.dataset.b1.values[9]]},
        steps=30,
        seeds=[9],
        record=1,
    )
    np.testing.assert_allclose(one.dataset.train_loss[0, 0], whole.dataset.train_loss[9, 1], rtol=1e-9)


def test_a_diverging_neighbour_changes_nothing():
    task = jl.tasks.linear_regression()
    tame = jl.sweep(jl.sgd, task, {"learning_rate": [0.1, 0.2, 0.3]}, steps=300, record=1)
    wild = jl.sweep(jl.sgd, task, {"learning_rate": [0.1, 50.0, 0.3]}, steps=300, record=1)
    assert wild.dataset.status.values[:, 0].tolist() == ["completed", "diverged", "completed"]
    for row in (0, 2):  # the same program on the same shapes: bitwise
        np.testing.assert_array_equal(wild.dataset.train_loss[row], tame.dataset.train_loss[row])
    bad = int(wild.dataset.first_bad_step[1, 0])
    assert np.isfinite(wild.dataset.train_loss[1, 0, :bad]).all()
    assert np.isposinf(wild.dataset.train_loss[1, 0, bad:]).all()
    assert np.isposinf(wild.dataset.validation_loss[1, 0, -1])
    assert np.isnan(wild.dataset.test_r2[1, 0, -1])
    assert wild.dataset.first_bad_step.values[[0, 2], 0].tolist() == [-1, -1]


def test_divergence_on_the_very_last_step_is_seen():
    probe = jl.sweep(jl.sgd, jl.tasks.linear_regression(), {"learning_rate": [50.0]}, steps=100)
    bad = int(probe.dataset.first_bad_step[0, 0])
    last = jl.sweep(jl.sgd, jl.tasks.linear_regression(), {"learning_rate": [50.0]}, steps=bad)
    assert last.dataset.status.item() == "diverged"
    assert last.dataset.first_bad_step.item() == bad
    before = jl.sweep(jl.sgd, jl.tasks.linear_regression(), {"learning_rate": [50.0]}, steps=bad - 1)
    assert before.dataset.status.item() == "completed"


@pytest.mark.parametrize(("record", "evaluate"), [(1, 1), (7, 13), (1000, 1000), (None, None), (64, 65)])
def test_strides_choose_points_of_one_curve(record, evaluate):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    full = jl.sweep(jl.adam, task, {"learning_rate": [0.1]}, steps=131, record=1, evaluate=1).dataset
    some = jl.sweep(jl.adam, task, {"learning_rate": [0.1]}, steps=131, record=record, evaluate=evaluate).dataset
    assert full.step.values.tolist() == list(range(132))
    for x, dim in ((some.train_loss, "step"), (some.validation_loss, "eval_step")):
        assert some[dim].values[[0, -1]].tolist() == [0, 131]
        # Segments of other lengths are other programs: float32 rounding.
        np.testing.assert_allclose(x, full[x.name].sel({dim: some[dim]}), rtol=1e-4)
    if record:
        assert some.step.values.tolist() == sorted({*range(0, 131, record), 131})
        assert some.eval_step.values.tolist() == sorted({*range(0, 131, evaluate), 131})


def test_ending_early_on_the_host_equals_running_on():
    """All trials of a chunk reached their target: the host stops, and fills in what running on would have given."""
    task = jl.tasks.breast_cancer(holdout=True, batch_size=64)
    options = {"steps": 2000, "record": 1, "evaluate": 10, "target": 0.3}
    early = jl.sweep(jl.adam, task, {"learning_rate": [0.05, 0.1]}, **options).dataset
    beside = jl.sweep(jl.adam, task, {"learning_rate": [0.05, 1e-7]}, **options).dataset  # never reaches: no early end
    assert early.status.values[:, 0].tolist() == ["reached", "reached"]
    assert beside.status.values[:, 0].tolist() == ["reached", "completed"]
    for name in ("train_loss", "validation_loss", "test_accuracy", "steps_taken"):
        np.testing.assert_array_equal(early[name][0], beside[name][0], err_msg=name)
    assert float(early.train_loss[0, 0, -1]) <= 0.3


def test_ctrl_c_returns_what_is_finished():
    calls = []

    def interrupt(progress):
        calls.append(progress.trials_done)
        if progress.trial_steps > 0:
            raise KeyboardInterrupt

    results = jl.sweep(
        jl.adam,
        jl.tasks.digits_mlp(width=8),
        {"learning_rate": jl.log(1e-4, 1e-1, 100)},
        steps=40_000,
        progress=interrupt,
    )
    status, counts = np.unique(results.dataset.status, return_counts=True)
    assert "interrupted" in status
    assert counts.sum() == 100
    assert results.dataset.attrs["interrupted"] == 1
    assert calls
    cut = results.dataset.status.values == "interrupted"
    assert np.isnan(results.dataset.train_loss.values[cut][:, -1]).all()
    results.leaderboard()
    assert "interrupted" in repr(results)


def test_an_error_in_a_worker_reaches_the_caller():
    def loss(w, _):
        return jnp.sum(w) if threading.current_thread() is threading.main_thread() else undefined_name  # noqa: F821

    task = jl.Task("broken", lambda key: jnp.ones(2), loss, train=None)
    with pytest.raises(NameError, match="undefined_name"):
        jl.sweep(jl.sgd, task, {"learning_rate": [0.1]}, steps=2)


def test_progress_counts_up_to_everything():
    seen = []
    jl.sweep(
        [jl.sgd, jl.adam],
        jl.tasks.linear_regression(),
        {"learning_rate": jl.log(1e-3, 100, 20)},
        steps=100,
        seeds=3,
        progress=lambda p: seen.append(dataclasses.replace(p)),
    )
    last = seen[-1]
    assert (last.trials_done, last.trials, last.programs_compiled) == (120, 120, 2)
    assert 0 < last.trial_steps == last.trial_steps_planned <= 120 * 100
    assert last.diverged > 0


def test_low_precision_parameters_stay_so():
    task = jl.Task("half", lambda key: jnp.ones(3, jnp.bfloat16), lambda w, _: jnp.sum(w * w), train=None)
    results = jl.sweep(jl.adam, task, {"learning_rate": [0.1]}, steps=20)
    assert results.params().dtype == jnp.bfloat16
    assert results.dataset.train_loss.dtype == jnp.result_type(float)
    assert float(results.dataset.train_loss[0, 0, -1]) < 1


def test_steps_and_segments_cover_every_step_once():
    for steps, stride in [(1, None), (10, 3), (500, None), (997, 997), (1000, 1), (256, 256), (257, 257)]:
        plan = plan_sweep(jl.adam, "quadratic", {"learning_rate": [0.1]}, steps=steps, evaluate=stride)
        points, length = plan.eval_steps, plan.segment_length
        assert points[0] == 0
        assert points[-1] == steps
        assert 1 <= length <= cutting.MOST_SEGMENT_STEPS
        covered = [t for s in plan.segments for t in range(s.first, s.last)]
        assert covered == list(range(steps))
        assert all(s.last - s.first <= length for s in plan.segments)
        assert [s.last for s in plan.segments if s.evaluate] == points[1:].tolist()


def test_segments_of_long_steps_are_short():
    options = {"steps": 8192, "evaluate": 8192}
    plan = lambda chunk: plan_sweep(jl.adam, "digits_mlp", {"learning_rate": [0.1]}, chunk=chunk, **options)
    lengths = [segment_length(plan(chunk), "cpu") for chunk in (None, 100, 10**9)]
    assert cutting.MOST_SEGMENT_STEPS == lengths[0] > lengths[1] > lengths[2] == cutting.LEAST_SEGMENT_STEPS
    assert segment_length(plan(10**9), "gpu") == cutting.MOST_SEGMENT_STEPS


def test_what_comes_from_an_accelerator_is_not_copied_again(monkeypatch):
    """A copy for the host already; where some of its trials go on, theirs are written into one that can be."""
    plan = plan_sweep(jl.adam, jl.tasks.quadratic(), {"learning_rate": [0.1, 0.2, 0.3]}, steps=2, seeds=2)
    shape, came = (plan.configs, len(plan.seeds)), np.arange(6.0).reshape(3, 2)
    came.flags.writeable = False
    everyone = np.arange(3), np.arange(2)
    assert not np.shares_memory(scattered(shape, None, *everyone, came), came)  # a CPU's own memory
    monkeypatch.setattr("jaxopt_lab.engine.kept_params.devices", lambda: [types.SimpleNamespace(platform="gpu")])
    kept = scattered(shape, None, *everyone, came)
    assert np.shares_memory(kept, came)
    later = scattered(shape, kept, np.array([1]), np.array([0]), np.array([[9.0]]))
    np.testing.assert_array_equal(later, [[0, 1], [9, 3], [4, 5]])
    np.testing.assert_array_equal(came, np.arange(6.0).reshape(3, 2))
