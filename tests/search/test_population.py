"""Population-based training: what the rule decides, and the lineages that results have of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.stopping import Rung
from jaxopt_lab.results.lineage import legs, of_trial
from jaxopt_lab.store.run import Run

X = np.random.default_rng(0).normal(size=(60, 4))
Y = X @ np.arange(4.0)
MOMENTA = jl.one_minus(0.5, 0.99)
SPACE = jl.random({"learning_rate": jl.log(1e-3, 5.0), "momentum": MOMENTA}, 8, key=1)  # some diverge
RULE = jl.pbt(interval=6, perturb="learning_rate", resample={"momentum": MOMENTA})
OPTIONS = {"steps": 24, "seeds": [3, 5], "record": 1, "evaluate": 6, "cache": False, "stop": RULE}


def task():
    loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    return jl.Task("line", lambda key: jax.random.normal(key, (4,)), loss, (X, Y), validation=(X, Y), batch_size=8)


TASK = task()


@pytest.fixture(scope="module")
def population():
    with jax.enable_x64(True):
        return jl.sweep(jl.momentum, TASK, SPACE, **OPTIONS)


def rung(losses, running=None, number=0, **values):
    losses = np.asarray(losses, float)
    running = np.ones(losses.shape, bool) if running is None else np.asarray(running)
    return Rung(number, 10, losses[None], np.ones(losses.shape, bool), running, values, np.zeros(len(losses), int))


def test_the_worst_quarter_continues_from_the_best():
    """A population for each seed; the others keep their state and their values."""
    rng = np.random.default_rng(0)
    losses, rates = rng.random((20, 50)), rng.random((20, 50))
    decision = jl.pbt(interval=1, perturb="learning_rate").decide(rung(losses, learning_rate=rates))
    ranks = losses.argsort(0).argsort(0)
    own = np.arange(20)[:, None]
    moved = decision.source != own
    np.testing.assert_array_equal(moved, ranks >= 15)
    taken = np.take_along_axis(ranks, decision.source, 0)[moved]
    assert set(taken) == {0, 1, 2, 3, 4}
    assert np.bincount(taken).min() > 30  # of 50 each
    factors = (decision.values["learning_rate"] / np.take_along_axis(rates, decision.source, 0))[moved]
    np.testing.assert_allclose(np.unique(factors.round(12)), [0.8, 1.2])
    assert 0.4 < np.mean(factors < 1) < 0.6
    np.testing.assert_array_equal(decision.values["learning_rate"][~moved], rates[~moved])
    assert not decision.ends.any()


def test_a_diverged_trial_always_continues_from_another():
    losses, running = np.arange(8.0)[:, None], np.ones((8, 1), bool)
    losses[[0, 3, 5]], running[[0, 3, 5]] = np.inf, False
    decision = jl.pbt(interval=1, perturb="a").decide(rung(losses, running, a=np.ones((8, 1))))
    moved = np.flatnonzero(decision.source[:, 0] != np.arange(8))
    assert moved.tolist() == [0, 3, 5]
    assert set(decision.source[moved, 0]) <= {1, 2}
    nobody = jl.pbt(interval=1, perturb="a").decide(rung(losses * np.inf, running & False, a=np.ones((8, 1))))
    np.testing.assert_array_equal(nobody.source[:, 0], np.arange(8))


def test_ranges_bound_what_is_perturbed_and_are_drawn_from():
    losses, b1 = np.random.default_rng(0).random((40, 200)), np.full((40, 200), 0.9)
    explored = lambda **more: jl.pbt(interval=1, perturb={"b1": (0.5, 2.0)}, **more).decide(rung(losses, b1=b1))
    moved = explored().source != np.arange(40)[:, None]
    of = lambda decision: decision.values["b1"][moved]
    np.testing.assert_allclose(np.unique(of(explored())), [0.45, 1.8])
    near_one = {"b1": jl.one_minus(0.5, 0.94)}
    np.testing.assert_allclose(
        np.unique(of(explored(resample=near_one, resample_probability=0)).round(12)), [0.8, 0.94]
    )
    drawn = of(explored(resample=near_one, resample_probability=1))
    assert (drawn >= 0.5).all()
    assert (drawn <= 0.94).all()
    # Log-uniform in the distance from 1, by its median.
    assert abs(np.median(1 - drawn) - np.sqrt(0.5 * 0.06)) < 0.01
    some = of(explored(resample=near_one))
    assert 0.2 < np.mean((np.abs(some - 0.8) > 1e-9) & (np.abs(some - 0.94) > 1e-9)) < 0.3


def test_decisions_depend_on_the_seed_and_the_rung_alone():
    rule, losses = jl.pbt(interval=1, perturb="a", seed=3), np.random.default_rng(0).random((16, 3))
    made = lambda rule, number: rule.decide(rung(losses, number=number, a=losses)).values["a"]
    np.testing.assert_array_equal(made(rule, 2), made(jl.pbt(interval=1, perturb="a", seed=3), 2))
    assert (made(rule, 2) != made(rule, 3)).any()
    assert (made(rule, 2) != made(dataclasses.replace(rule, seed=4), 2)).any()


def test_a_population_trains_and_says_from_whom_each_trial_continued(population):
    dataset = population.dataset
    assert dataset["rung_step"].values.tolist() == [6, 12, 18]
    assert set(dataset["status"].values.flat) == {"completed"}
    rates, source = dataset["learning_rate_after_rung"].values, dataset["continued_from"].values
    before = np.concatenate([np.repeat(dataset["learning_rate"].values[:, None, None], 2, 1), rates[..., :-1]], axis=2)
    own = np.arange(8)[:, None, None]
    moved = source != own
    assert moved.any(0).all()  # at each rung of each seed
    factors = rates / np.take_along_axis(before, source, 0)
    np.testing.assert_allclose(np.unique(factors.round(9)), [0.8, 1.0, 1.2])
    np.testing.assert_array_equal(moved, np.abs(factors - 1) > 0.1)
    curve = dataset["learning_rate_in_force"].values
    for leg, (start, end) in enumerate([(0, 6), (6, 12), (12, 18), (18, 24)]):
        expected = dataset["learning_rate"].values[:, None] if leg == 0 else rates[..., leg - 1]
        for step in range(start + 1, end):
            np.testing.assert_array_equal(curve[..., step], np.broadcast_to(expected, (8, 2)))


def test_every_trial_can_be_repeated_along_its_lineage(population):
    """Alone, from the first ancestor's start, with the values of the legs."""
    with jax.enable_x64(True):
        for config in range(0, 8, 3):
            again = jl.rerun(population, config, 5, task=TASK)
            assert again.agrees
            np.testing.assert_allclose(again.params, population.params(config, 5), rtol=1e-9)


def test_the_lineage_of_the_best_trial(population):
    config, seed = of_trial(population)
    final = population.dataset["validation_loss"].values[..., -1]
    assert final[config, list(population.dataset["seed"].values).index(seed)] == final.min()
    table = population.lineage()
    assert table["start"].tolist() == [0, 6, 12, 18]
    assert table["end"].tolist() == [6, 12, 18, 24]
    assert table["config"].iloc[-1] == config
    source = population.dataset["continued_from"].sel(seed=seed).values
    for earlier, (rung_number, now) in zip(table["config"], enumerate(table["config"].iloc[1:]), strict=False):
        assert source[now, rung_number] == earlier
    (only,) = legs(jl.sweep(jl.sgd, TASK, {"learning_rate": 0.1}, steps=3).dataset, 0, 0)
    assert (only.start, only.end) == (0, 3)


def test_tables_leave_lineages_out_and_files_keep_them(population, tmp_path):
    assert "continued_from" not in population.table()
    assert len(population.table()) == 16
    population.save(tmp_path / "saved")
    assert jl.load(tmp_path / "saved").dataset.identical(population.dataset)
    assert "continued_from" not in population.by("gradients").dataset


def test_a_broken_population_goes_on_as_it_would_have(population, tmp_path, monkeypatch):
    saves, save = [], Run.save

    def breaking(self, unit, record, done):
        save(self, unit, record, done)
        saves.append(unit)
        if len(saves) in (2, 5, 9):
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", breaking)
    with jax.enable_x64(True):
        run = lambda: jl.sweep(jl.momentum, TASK, SPACE, out=tmp_path / "run", checkpoint=0, chunk=4, **OPTIONS)
        while run().dataset.attrs["interrupted"]:
            assert len(saves) < 60
        whole, found = jl.sweep(jl.momentum, TASK, SPACE, chunk=4, **OPTIONS).dataset, run().dataset
    assert len(saves) > 9
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], found[name], err_msg=name)


def test_trials_of_another_structure_are_another_population():
    space = {"learning_rate": [0.01, 0.02, 0.05, 0.1], "nesterov": jl.static([False, True])}
    found = jl.sweep(
        {"a": jl.momentum, "b": jl.momentum}, TASK, space, steps=12, stop=jl.pbt(interval=4, perturb="learning_rate")
    )
    source = found.dataset["continued_from"].values[:, 0]
    kind = found.dataset["nesterov"].values + 2 * (found.dataset["optimizer"].values == "b")
    assert (source != np.arange(16)[:, None]).any()
    np.testing.assert_array_equal(kind[source], np.broadcast_to(kind[:, None], source.shape))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"quantile": 0.6}, ValueError, r"quantile must be in \(0, 0.5\]"),
        ({"interval": 0}, ValueError, "interval"),
        ({"resample_probability": 2}, ValueError, "resample_probability"),
        ({"perturb": ()}, ValueError, "changes no hyperparameter"),
        ({"perturb": {"learning_rate": 2}}, TypeError, "two factors"),
        ({"perturb": 3}, TypeError, "names of hyperparameters"),
        ({"resample": {"b1": [0.9, 0.99]}}, TypeError, "must be a range"),
        ({"resample": "b1"}, TypeError, "dict from hyperparameters to ranges"),
    ],
)
def test_what_cannot_be_asked_for(change, error, words):
    with pytest.raises(error, match=words):
        jl.pbt(**{"interval": 10, "perturb": "learning_rate"} | change)


def test_what_the_sweep_refuses():
    with pytest.raises(ValueError, match="nesterov"):
        jl.sweep(jl.sgd, TASK, {"learning_rate": [0.1, 0.2]}, steps=20, stop=jl.pbt(interval=5, perturb="nesterov"))
    with pytest.raises(ValueError, match="no lineage"):
        jl.sweep(jl.sgd, TASK, {"learning_rate": [0.1, 0.2]}, steps=3).lineage()
