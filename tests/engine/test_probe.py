"""Strategies: all train the same trials; the fastest is found by measurement, within a budget, and remembered."""

import dataclasses
import importlib
import json
import math
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab import cache_folder
from jaxopt_lab.engine.compile import cache
from jaxopt_lab.engine.compile.data import TaskData
from jaxopt_lab.engine.strategy import STRATEGIES, Strategy
from jaxopt_lab.engine.tuning import probe
from jaxopt_lab.engine.tuning.cutting import at_once, first_strategy, fitted, stage_sizes
from jaxopt_lab.sweep.planning import plan_sweep

execution = importlib.import_module("jaxopt_lab.engine.run.execution")
SPACE = {"learning_rate": jl.log(1e-3, 1.0, 7)}
NOTHING = types.SimpleNamespace(arrays=None)  # in place of data, where nothing runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path))
    return tmp_path


def convolution():
    """A task whose step has a convolution, of which a CPU makes nothing inside a compiled loop."""
    x = np.random.default_rng(0).normal(size=(32, 8, 8, 1)).astype(np.float32)

    def loss(w, batch):
        h = jax.lax.conv_general_dilated(batch, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.mean(h**2)

    return jl.Task("convolution", lambda key: jax.random.normal(key, (3, 3, 1, 4), x.dtype), loss, x, batch_size=8)


def planned(task=None, **changes):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32) if task is None else task
    return plan_sweep(jl.adam, task, SPACE, **({"steps": 30, "seeds": 3} | changes))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_all_strategies_train_the_same_trials(strategy, float64):
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    options = {"steps": 30, "seeds": 2, "record": 1, "target": 0.12}
    known = jl.sweep(jl.adam, task, SPACE, **options).dataset
    found = jl.sweep(jl.adam, task, SPACE, strategy=strategy, **options).dataset
    for name in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(found[name], known[name], rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(found.status, known.status)
    np.testing.assert_array_equal(found.steps_taken, known.steps_taken)
    (described,) = json.loads(found.attrs["strategies"])
    assert described["loop"] == strategy.removesuffix("_each")
    assert (described["configs"] == 1) == strategy.endswith("_each")


@pytest.mark.parametrize("loop", ["scan", "steps"])
def test_own_batches_train_the_same_trials(loop, monkeypatch, float64):
    """The same mathematics, compiled to other products."""
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    known, found = [], []
    for own, into in ((False, known), (True, found)):
        monkeypatch.setattr("jaxopt_lab.engine.tuning.cutting.owns", lambda group, trials, own=own: own)
        dataset = jl.sweep(jl.adam, task, SPACE, steps=30, seeds=3, record=1, strategy=loop).dataset
        into += [json.loads(dataset.attrs["strategies"])[0]["own"], dataset.train_loss.values]
    assert (known[0], found[0]) == (False, True)
    np.testing.assert_allclose(found[1], known[1], rtol=1e-9)
    monkeypatch.undo()
    plan = planned()
    assert {way.own for way in probe.candidates_for(plan, plan.groups[0])} == {False, True}
    plan = planned(jl.tasks.breast_cancer(holdout=True))  # all examples in every batch: nothing to own
    assert not any(way.own for way in probe.candidates_for(plan, plan.groups[0]))


def test_few_trials_of_an_accelerator_own_their_batches(on_a_cpu, monkeypatch):
    """Of the digits network up to about a hundred, as measured; on a CPU none."""

    def owning(rates):
        space = {"learning_rate": jl.log(1e-4, 1, rates)}
        plan = plan_sweep(jl.adam, jl.tasks.digits_mlp(), space, steps=30, seeds=4)
        return first_strategy(plan, plan.groups[0]).own

    assert not owning(4)
    monkeypatch.setattr("jaxopt_lab.engine.tuning.cutting.on_cores", lambda used: False)
    assert [owning(rates) for rates in (4, 16, 64, 1024)] == [True, True, False, False]


def test_a_process_glances_once(timed):
    timed(lambda s: 1e-9)
    plan, looked = planned(), []
    fake = probe._candidate
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(probe, "_candidate", lambda *a: looked.append(a[2]) or fake(*a))
            assert probe.choose(plan, plan.groups[0], NOTHING)[0].rate == pytest.approx(1e9)
    assert looked == [first_strategy(plan, plan.groups[0])]


def test_an_accelerator_is_not_asked_for_what_the_run_is_too_short_for(timed, monkeypatch):
    """A loop of known length makes a segment's steps at least: two such calls may take a tenth of the run."""
    timed(lambda s: 1.0)
    monkeypatch.setattr(probe, "_any_count", lambda strategy: False)
    plan, longer = planned(steps=30, evaluate=10), planned(steps=30, evaluate=1)
    choice = probe.choose(plan, plan.groups[0], NOTHING)[0]
    assert np.isnan(choice.rate)
    assert choice.described()["trial_steps_per_second"] is None
    assert probe.choose(longer, longer.groups[0], NOTHING)[0].rate > 0


def test_a_convolution_is_stepped_first_on_a_cpu(on_a_cpu):
    """Where it is not rewritten; where it is, stepping it as written comes second, in case that is faster."""
    plan = planned(convolution(), rewrite=False)
    assert probe.candidates_for(plan, plan.groups[0])[0].loop == "steps"
    plan = planned(convolution())
    first, second, *_ = probe.candidates_for(plan, plan.groups[0])
    assert (first.loop, first.rewrite, second.loop, second.rewrite) == ("scan", True, "steps", False)
    plan = planned()
    assert probe.candidates_for(plan, plan.groups[0])[0].loop == "scan"


def test_a_short_run_measures_nothing(on_a_cpu):
    plan = planned()
    choice = probe.choose(plan, plan.groups[0], TaskData.placed(plan.groups[0].structure.task, 0))[0]
    assert choice.tried == {}
    assert choice.rate > 0  # roughly
    assert choice.strategy == first_strategy(plan, plan.groups[0])


@pytest.fixture
def timed(monkeypatch):
    """Candidates that take what a table says; what was compiled is written down."""
    compiled = []

    def install(seconds, compile_seconds=0.0, own_seconds=math.inf):
        monkeypatch.setattr(probe, "COMPILE_SECONDS", compile_seconds)
        monkeypatch.setattr(probe, "LOOK_SECONDS", 0.0)

        @dataclasses.dataclass(eq=False)
        class Fake:
            way: object
            program: object = None

            def glance(self):
                return seconds(self.way)

            strategy = property(lambda self: self.way)

            seconds = glance

        program = types.SimpleNamespace(compile_seconds=own_seconds)
        monkeypatch.setattr(probe, "fitting", lambda *a: compiled.append(a[2]) or (a[2], program))
        monkeypatch.setattr(probe, "_candidate", lambda *a: Fake(a[2]))
        monkeypatch.setattr(probe, "_glances", {})
        monkeypatch.setattr(probe, "_any_count", lambda strategy: True)
        return compiled

    return install


def test_the_fastest_measured_way_is_chosen_and_remembered(timed, folder):
    compiled = timed(lambda s: 0.5 if s.loop == "steps" and s.trials > 1 else 1.0)
    plan = planned()
    choice = probe.choose(plan, plan.groups[0], NOTHING)[0]
    assert (choice.strategy.loop, choice.remembered) == ("steps", False)
    assert len(choice.tried) == len(compiled) == len(probe.candidates_for(plan, plan.groups[0]))
    compiled.clear()
    again = probe.choose(plan, plan.groups[0], NOTHING)[0]
    assert (again.strategy, again.remembered) == (choice.strategy, True)
    assert compiled == [choice.strategy]
    other = planned(convolution())
    assert not probe.choose(other, other.groups[0], NOTHING)[0].remembered
    (folder / cache.STRATEGIES).write_text("not json")
    assert not probe.choose(plan, plan.groups[0], NOTHING)[0].remembered
    known = dataclasses.asdict(choice.strategy)
    for damaged in ({"fastest": known | {"loop": "exec"}, "tried": {}}, {"fastest": known, "tried": 3}, ["scan"], {}):
        cache.remember(probe._key(plan, plan.groups[0]), damaged)
        assert not probe.choose(plan, plan.groups[0], NOTHING)[0].remembered


def test_what_could_not_be_paid_for_is_looked_at_next_time(timed, folder, monkeypatch):
    """Each sweep can afford one more program; after as many sweeps as strategies, all have been measured."""
    plan = planned()
    everything = probe.candidates_for(plan, plan.groups[0])
    compiled = timed(lambda s: 0.8 * at_once(plan) / (7 * 3 * 30), compile_seconds=0.05)
    fake = probe.fitting
    monkeypatch.setattr(probe, "fitting", lambda *a: time.sleep(0.05) or fake(*a))
    looked = []
    for _ in everything:
        probe.choose(plan, plan.groups[0], NOTHING)[0]
        looked.append(compiled[:])
        compiled.clear()
    assert [len(ways) for ways in looked] == [2] * (len(everything) - 1) + [1]
    assert {way for ways in looked for way in ways} == set(everything)


def test_a_small_gain_is_not_worth_a_change(timed):
    timed(lambda s: 1.0 if s.loop == "scan" and s.trials > 1 else 0.97)
    plan = planned()
    assert probe.choose(plan, plan.groups[0], NOTHING)[0].strategy.loop == "scan"


def test_the_search_costs_at_most_its_share(timed, monkeypatch):
    """Of a run of two seconds, a fifth of one: enough for two more programs of .08 s, and not for a third."""
    plan = planned()
    trial_steps = 7 * 3 * 30
    compiled = timed(lambda s: 2 * at_once(plan) / trial_steps, compile_seconds=0.08)
    fake, taken = probe.fitting, []  # on a clock of its own: a machine's stands still at times, and then leaps
    monkeypatch.setattr(probe, "time", types.SimpleNamespace(perf_counter=lambda: 0.08 * len(taken)))
    monkeypatch.setattr(probe, "fitting", lambda *a: taken.append(a) or fake(*a))
    choice = probe.choose(plan, plan.groups[0], NOTHING)[0]
    assert len(compiled) == 3
    assert choice.probe_seconds <= 0.2
    compiled = timed(lambda s: 1e-3, compile_seconds=1.0)
    compiled.clear()
    probe.choose(plan, plan.groups[0], NOTHING)[0]
    assert len(compiled) == 1


def test_what_strategies_share_is_compiled_once(timed, monkeypatch):
    """Starts and draws took most of the first program's time; two more programs, which have them already, are tried."""
    plan = planned()
    compiled = timed(lambda s: 2 * at_once(plan) / (7 * 3 * 30), compile_seconds=0.01, own_seconds=0.08)
    fake, clock = probe.fitting, [0.0]

    def fitted(*arguments):
        clock[0] += 0.08 if compiled else 1.0
        return fake(*arguments)

    monkeypatch.setattr(probe, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(probe, "fitting", fitted)
    probe.choose(plan, plan.groups[0], NOTHING)
    assert len(compiled) == 3


def test_a_given_strategy_and_chunk_are_kept_to(timed):
    timed(lambda s: 1.0)
    plan = planned(strategy="steps", chunk=4)
    (only,) = probe.candidates_for(plan, plan.groups[0])
    assert only.loop == "steps"
    assert only.trials <= 4
    plan = planned(chunk=5)
    assert all(s.trials <= 5 for s in probe.candidates_for(plan, plan.groups[0]))


def test_chunks_waste_neither_padding_nor_cores(on_a_cpu, monkeypatch):
    monkeypatch.setattr("jaxopt_lab.engine.tuning.cutting.thread_count", lambda used: 2)
    plan = plan_sweep(jl.adam, jl.tasks.digits_mlp(), {"learning_rate": jl.log(1e-4, 1, 32)}, steps=2, seeds=5)
    strategy = fitted(plan, plan.groups[0], Strategy("scan", 1, 1), 36)
    assert strategy.shape == (1, 16)  # ten chunks for two cores; five of 32 would leave one idle for a fifth
    assert strategy.one_core
    all_at_once = fitted(plan, plan.groups[0], Strategy("scan", 1, 1), 160)
    assert not all_at_once.one_core or all_at_once.trials < 160


def test_a_race_takes_smaller_chunks(on_a_cpu, monkeypatch):
    """Its few survivors pay for places in a chunk that nobody fills any more; its first stage hardly minds."""
    monkeypatch.setattr("jaxopt_lab.engine.tuning.cutting.thread_count", lambda used: 2)
    planned = lambda stop: plan_sweep(jl.adam, jl.tasks.digits_mlp(), {"learning_rate": rates}, steps=1600, stop=stop)
    rates = jl.log(1e-4, 1, 256)
    plain, race = (planned(stop) for stop in (None, jl.halving(4, min_steps=25)))
    assert stage_sizes(plain, plain.groups[0]) == {256: 1600}
    assert stage_sizes(race, race.groups[0]) == {256: 25, 64: 75, 16: 300, 4: 1200}
    size = first_strategy(race, race.groups[0]).trials
    assert first_strategy(plain, plain.groups[0]).trials > size >= 4
    assert first_strategy(plain, plain.groups[0]).trials <= 8 * size


def test_compiled_programs_are_kept_on_disk_and_settings_put_back(folder, no_programs):
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    task = dataclasses.replace(jl.tasks.quadratic(), factory=None)
    jl.sweep(jl.adam, task, SPACE, steps=5, cache=False)
    assert not list(folder.glob("xla-*"))
    task = dataclasses.replace(jl.tasks.quadratic(), factory=None)
    jl.sweep(jl.adam, task, SPACE, steps=5)
    assert list(folder.glob("xla-*/*"))
    after = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    assert before == after


def test_a_cached_program_gives_the_same_bits(folder, no_programs):
    def losses():
        task = dataclasses.replace(jl.tasks.breast_cancer(batch_size=32), factory=None)  # compiled anew each time
        return jl.sweep(jl.adam, task, SPACE, steps=40, record=1).dataset.train_loss.values

    np.testing.assert_array_equal(losses(), losses())


def test_a_users_own_cache_is_left_alone(folder, no_programs, tmp_path_factory):
    own = str(tmp_path_factory.mktemp("own"))
    jax.config.update("jax_compilation_cache_dir", own)
    try:
        with cache.persistent(True):
            assert jax.config.jax_compilation_cache_dir == own
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


@pytest.mark.parametrize("value", ["off", "OFF", "0", "/proc/nowhere"])
def test_a_cache_that_is_off_or_cannot_be_written_is_none(value, monkeypatch, no_programs):
    monkeypatch.setenv(cache_folder.VARIABLE, value)
    with cache.persistent(True):
        assert jax.config.jax_compilation_cache_dir is None
    cache.remember("key", {"a": 1})
    assert cache.recall("key") is None


def test_forecast_says_what_comes(folder):
    options = {"steps": 200, "seeds": 3, "stop": jl.halving(4, min_steps=25)}
    task = jl.tasks.breast_cancer(holdout=True, batch_size=32)
    forecast = jl.plan([jl.adam, jl.sgd], task, {"learning_rate": jl.log(1e-3, 1, 16)}, **options)
    results = jl.sweep([jl.adam, jl.sgd], task, {"learning_rate": jl.log(1e-3, 1, 16)}, **options)
    assert forecast.trials == results.dataset.status.size
    assert forecast.trial_steps == int(results.dataset.steps_taken.sum())  # none ended by itself
    assert [g.optimizer for g in forecast.groups] == ["adam", "sgd"]
    assert all(g.rate > 0 and g.chunk_bytes > 0 for g in forecast.groups)
    described = json.loads(results.dataset.attrs["strategies"])
    assert [(g.strategy.seeds, g.strategy.configs) for g in forecast.groups] == [
        (d["seeds"], d["configs"]) for d in described
    ]
    text = str(forecast)
    for word in ("96 trials of 200 steps", "adam", "sgd", "trial-steps/s", "budget"):
        assert word in text
    stored = sum(v.nbytes for n, v in results.dataset.data_vars.items() if n != "status")  # a status is a word there
    stored += sum(x.nbytes for _, params in results.final_params for x in jax.tree.leaves(params))
    assert forecast.results_bytes == pytest.approx(stored, rel=0.1)
