"""What a chunk counts while it runs, and what is left of its state at the end."""

import dataclasses
from typing import Any, NamedTuple

import jax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.run import backend
from jaxopt_lab.engine.run.chunk import Control

STEPS, SEGMENT = 60, 15


class Run(NamedTuple):
    counts: list[int]  # trial-steps, as they were reported
    after: Any  # the chunk at its end
    stopped: Any  # the same chunk where it was told to stop after its first segment


@pytest.fixture
def runs(monkeypatch):
    """Every run of a chunk."""
    found, run_chunk = [], backend.run_chunk

    def recording(plan, program, shape, chunk, stage, control, data, recorder):
        def until(going_on):
            return run_chunk(plan, program, shape, chunk, stage, going_on, data, recorder)

        asked, counts = [], []
        stopped = until(Control(lambda made: made > 0 or asked.append(made) or len(asked) == 1))
        counting = lambda made: counts.append(made) or control.going_on(made)
        found.append(Run(counts, until(dataclasses.replace(control, going_on=counting)), stopped))
        return found[-1].after

    monkeypatch.setattr(backend, "run_chunk", recording)
    return found


def sweep(**options):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    shape = {"steps": STEPS, "seeds": 2, "evaluate": SEGMENT}
    return jl.sweep(jl.adam, task, {"learning_rate": jl.log(1e-3, 1.0, 4)}, **shape, **options)


def held(state):
    """The parts of a state that hold arrays, of those that a trial needs to go on."""
    return {name for name in ("params", "optimizer", "values") if jax.tree.leaves(getattr(state, name))}


def test_each_segment_is_counted_once(runs):
    sweep()
    assert sum(run.after.trials for run in runs) == 8
    for run in runs:
        assert [count for count in run.counts if count != 0] == [run.after.trials * SEGMENT] * (STEPS // SEGMENT)
        assert run.after.first == STEPS


def test_a_chunk_that_has_ended_early_counts_what_it_made(runs):
    """All trials reach the target with their first loss, and the host sees it after a segment or two."""
    sweep(target=1e9)
    assert runs
    for run in runs:
        assert 0 < sum(run.counts) < run.after.trials * STEPS
        assert run.after.first == STEPS  # there is nothing left to do
        assert held(run.after.state) == set()


def test_states_are_copied_only_where_trials_go_on(runs, tmp_path):
    sweep()
    assert runs
    for run in runs:
        assert held(run.after.state) == set()
        assert run.after.params is not None
        assert (run.stopped.first, held(run.stopped.state)) == (SEGMENT, {"params", "optimizer", "values"})
    runs.clear()
    sweep(out=tmp_path / "run")  # whose trials may be extended
    assert held(runs[0].after.state) == {"params", "optimizer", "values"}


def test_trials_keep_their_states_between_rungs(runs):
    sweep(stop=jl.halving(2, min_steps=SEGMENT))
    assert [held(run.after.state) for run in runs if run.after.first < STEPS]
    for run in runs:
        assert held(run.after.state) == (set() if run.after.first == STEPS else {"params", "optimizer", "values"})
