"""`jl.search`: rounds of suggestions, against sweeps of the same configurations and loops written by hand."""

import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl

SPACE = {"learning_rate": jl.log(1e-3, 1.0)}
X = np.random.default_rng(0).normal(size=(40, 4))
Y = X @ np.arange(4.0) + np.random.default_rng(1).normal(size=40)


def line(metric=None):
    """Least squares with held-out data; with a metric, more of which is better."""
    loss = lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2)
    more = {} if metric is None else {"metrics": {"fit": jl.maximize(lambda w, batch: -loss(w, batch))}}
    more |= {} if metric is None else {"main_metric": "fit"}
    return jl.Task("line", lambda key: jax.random.normal(key, (4,)), loss, (X, Y), validation=(X, Y), **more)


TASK = line()


class Narrowing(jl.SearchMethod):
    """Draws around the best configuration so far, closer and closer; remembers what happened."""

    def __init__(self):
        self.log = []

    def start(self, space, seed):
        self.space, self.draws, self.best, self.width = space, np.random.default_rng(seed), None, 0.5

    def ask(self, n):
        self.points = self.draws.random((n, len(self.space)))
        if self.best is not None:
            self.points = np.clip(self.best[1] + self.width * (self.points - 0.5), 0, 1)
        return self.space.at(self.points)

    def tell(self, configurations, losses, statuses):
        self.log.append((configurations, losses, statuses))
        at = int(np.argmin(losses))
        if self.best is None or losses[at] < self.best[0]:
            self.best = losses[at], self.points[at]
        self.width /= 2


class Spy(Narrowing):
    """One whose log outlives the search, which copies its method."""

    def __deepcopy__(self, memo):
        return self


def searched(**changes):
    options = {"method": "random", "budget": 10, "batch": 4, "steps": 12, "seeds": 2} | changes
    return jl.search(
        changes.pop("optimizers", jl.sgd),
        options.pop("task", TASK),
        options.pop("space", SPACE),
        **{name: value for name, value in options.items() if name != "optimizers"},
    )


def rates(results):
    return results.dataset["learning_rate"].values.tolist()


def assert_same(one, other):
    """All trials, suggestions and parameters, to the last bit."""
    assert one.dataset.sizes == other.dataset.sizes
    for name in {*one.dataset.variables, *other.dataset.variables}:
        found, expected = one.dataset[name].values, other.dataset[name].values
        if found.dtype == object:  # in which NaN marks what a configuration does not have
            found, expected = ([repr(x) for x in values.tolist()] for values in (found, expected))
        np.testing.assert_array_equal(found, expected, err_msg=name)
    for (rows, params), (others, theirs) in zip(one.final_params, other.final_params, strict=True):
        np.testing.assert_array_equal(rows, others)
        jax.tree.map(np.testing.assert_array_equal, params, theirs)


def test_it_is_a_sweep_of_what_was_suggested():
    found = searched(method=Narrowing(), seeds=3)
    swept = jl.sweep(jl.sgd, TASK, {"learning_rate": rates(found)}, steps=12, seeds=3)
    assert found.dataset.sizes["config"] == 10
    assert found.dataset["config"].values.tolist() == list(range(10))
    for name in swept.dataset.data_vars:
        if swept.dataset[name].dtype.kind == "f":
            np.testing.assert_allclose(found.dataset[name], swept.dataset[name], rtol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(found.dataset[name], swept.dataset[name], err_msg=name)
    assert found.best().config == swept.best().config
    np.testing.assert_allclose(found.params(), swept.params(), rtol=1e-5)


def test_a_loop_by_hand_suggests_the_same():
    """Ask, train each configuration alone, tell: the mean over seeds of the validation loss at the end."""
    spy, method = Spy(), Narrowing()
    found = searched(method=spy, key=3)
    assert [len(losses) for _, losses, _ in spy.log] == [4, 4, 2]
    from jaxopt_lab.search.suggested import seed_of

    method.start(jl.SearchSpace(SPACE), seed_of(3, "sgd"))
    suggested, told = [], []
    for n in (4, 4, 2):
        own = method.ask(n)
        losses = []
        for configuration in own:
            alone = jl.sweep(jl.sgd, TASK, configuration, steps=12, seeds=2).dataset
            losses.append(float(alone["validation_loss"].values[0, :, -1].mean()))
        method.tell(own, np.array(losses), ["completed"] * n)
        suggested += [one["learning_rate"] for one in own]
        told += losses
    np.testing.assert_allclose(rates(found), suggested, rtol=1e-5)
    np.testing.assert_allclose(np.concatenate([losses for _, losses, _ in spy.log]), told, rtol=1e-5)


def test_programs_are_compiled_in_the_first_round_alone():
    compiled, marks = [], []
    listen = lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else None

    class Marking(Narrowing):
        def ask(self, n):
            marks.append(len(compiled))
            return super().ask(n)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        searched(method=Marking(), budget=20, batch=8, steps=31)  # 31 steps: a program that no other test has made
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(marks) == 3
    assert 0 == marks[0] < marks[1] == marks[2] == len(compiled)


@pytest.mark.parametrize("method", ["random", "sobol", Narrowing()], ids=["random", "sobol", "own"])
def test_the_same_key_gives_the_same_search(method):
    one, other = searched(method=method, key=5), searched(method=method, key=5)
    assert_same(one, other)
    assert not set(rates(one)) & set(rates(searched(method=method, key=6)))
    assert len(set(rates(one))) == 10


def test_each_optimizer_has_its_own_search():
    both = searched(optimizers=["sgd", "adam"], method=Narrowing())
    alone = searched(optimizers="adam", method=Narrowing())
    own = both.dataset["optimizer"].values == "adam"
    assert own.sum() == 10
    np.testing.assert_array_equal(both.dataset["learning_rate"].values[own], rates(alone))
    space = {"sgd": SPACE, "adam": {"learning_rate": jl.log(1e-4, 1e-3), "b1": [0.9, 0.95]}}
    two = searched(optimizers=["sgd", "adam"], space=space).dataset
    assert (two["learning_rate"].values[two["optimizer"].values == "adam"] <= 1e-3).all()


def test_sobol_goes_on_with_one_sequence():
    found = np.log10(rates(searched(method="sobol", budget=16, batch=4)))
    strata = np.floor((found + 3) / 3 * 16).astype(int)
    assert sorted(strata.tolist()) == list(range(16))  # each sixteenth of the range has one


def test_what_diverges_is_told_as_the_worst():
    spy = Spy()
    found = searched(method=spy, space={"learning_rate": jl.log(1e-2, 1e3)}, budget=8, batch=8, seeds=2)
    ((_, losses, statuses),) = spy.log
    diverged = (found.dataset["status"].values == "diverged").any(axis=1)
    assert 0 < diverged.sum() < 8
    assert np.isposinf(losses[diverged]).all()
    assert np.isfinite(losses[~diverged]).all()
    assert [status == "diverged" for status in statuses] == diverged.tolist()


def test_a_value_that_is_nan_is_told_as_the_worst():
    """Training is finite, and the metric that selects is not."""
    task = jl.Task(
        "odd",
        lambda key: jax.random.normal(key, (2,)),
        lambda w, _: jnp.sum(w**2),
        train=None,
        validation=np.zeros(1),
        metrics={"odd": jl.minimize(lambda w, _: jnp.where(jnp.sum(w**2) > 0.1, jnp.nan, 1.0))},
        main_metric="odd",
    )
    spy = Spy()
    searched(task=task, method=spy, optimizers=jl.gradient_descent, space={"learning_rate": [1e-3, 0.4]})
    losses = np.concatenate([losses for _, losses, _ in spy.log])
    assert not np.isnan(losses).any()
    assert np.isposinf(losses).any()
    assert (losses == 1.0).any()
    assert all(status == "completed" for *_, statuses in spy.log for status in statuses)


def test_more_is_better_has_its_sign_changed():
    spy = Spy()
    found = searched(task=line("fit"), method=spy, budget=4)
    ((_, losses, _),) = spy.log
    np.testing.assert_allclose(losses, -found.dataset["validation_fit"].values[..., -1].mean(axis=1), rtol=1e-6)
    assert (losses > 0).all()


def test_what_a_rule_ends_is_told_at_its_last_value():
    spy, rule = Spy(), jl.halving(2, min_steps=3)
    found = searched(method=spy, stop=rule, budget=8, batch=4)
    status, curve = found.dataset["status"].values[:, 0], found.dataset["validation_loss"].values
    assert sorted(status.tolist()) == ["completed"] * 2 + ["stopped"] * 6
    losses = np.concatenate([losses for _, losses, _ in spy.log])
    statuses = [status for *_, statuses in spy.log for status in statuses]
    assert statuses == status.tolist()
    last = [[own[~np.isnan(own)][-1] for own in trial] for trial in curve]
    np.testing.assert_allclose(losses, np.mean(last, axis=1), rtol=1e-6)
    rungs = json.loads(found.dataset.attrs["rungs"])
    assert [(one["round"], one["rung"], one["ended"]) for one in rungs] == [(0, 0, 4), (0, 1, 2), (1, 0, 4), (1, 1, 2)]
    with pytest.raises(ValueError, match="stop rule"):  # of two searches, no trials were compared with each other
        jl.concat([found, searched(method=Narrowing(), stop=rule, key=1)])


CONDITIONAL = {
    "learning_rate": jl.log(1e-3, 1.0),
    "nesterov": jl.choice({True: {"momentum": jl.one_minus(0.5, 0.99)}, False: {}}),
}


@pytest.mark.parametrize("method", ["random", Narrowing()], ids=["random", "own"])
def test_a_branch_has_hyperparameters_of_its_own(method, tmp_path):
    found = searched(optimizers=jl.momentum, space=CONDITIONAL, method=method, budget=12, batch=6, out=tmp_path / "run")
    dataset = found.dataset
    with_momentum = dataset["nesterov"].values.astype(bool)
    assert 0 < with_momentum.sum() < 12
    assert np.isnan(dataset["momentum"].values[~with_momentum]).all()
    assert ((dataset["momentum"].values >= 0.5) & (dataset["momentum"].values <= 0.99))[with_momentum].all()
    loaded = jl.load(tmp_path / "run", TASK)
    assert_same(found, loaded)
    for config in (int(np.argmax(with_momentum)), int(np.argmin(with_momentum))):
        assert jl.rerun(found, config, 1, task=TASK).agrees
        values = {"learning_rate": dataset["learning_rate"].values[config].item()}
        values |= {"momentum": dataset["momentum"].values[config].item()} if with_momentum[config] else {}
        alone = jl.sweep(jl.momentum, TASK, values | {"nesterov": jl.static([bool(with_momentum[config])])}, steps=12)
        np.testing.assert_allclose(alone.dataset["train_loss"][0, 0], dataset["train_loss"][config, 0], rtol=1e-5)
    assert found.leaderboard()["optimizer"].tolist() == ["momentum"]
    again = found.confirm(top=3, seeds=2, task=TASK)
    assert len(again.selected) == 3


def test_a_configuration_that_comes_again_is_told_again():
    spy = Spy()
    space = {"learning_rate": [0.01, 0.1], "nesterov": jl.static([True, False])}
    found = searched(optimizers=jl.momentum, space=space, method=spy, budget=16, batch=4)
    assert found.dataset.sizes["config"] <= 4
    known = {}
    for configurations, losses, _ in spy.log:
        assert len(losses) == 4
        for one, loss in zip(configurations, losses.tolist(), strict=True):
            assert known.setdefault((one["learning_rate"], one["nesterov"]), loss) == loss
    assert len(known) == found.dataset.sizes["config"]


def test_results_are_marked_and_refused_as_draws():
    found = searched()
    assert json.loads(found.dataset.attrs["space"])["sgd"]["kind"] == "search"
    with pytest.raises(ValueError, match="were suggested by a search, round by round"):
        found.tuning_curves()
    with pytest.raises(ValueError, match="not a product"):
        found.grid()


def test_finalists_run_again_on_fresh_seeds():
    found = searched(method=Narrowing(), budget=12)
    confirmed = found.confirm(top=5, seeds=4, task=TASK)
    scores = np.median(found.dataset["validation_loss"].values[..., -1].astype(float), axis=1)  # two are almost equal
    best = np.argsort(scores)[:5].tolist()
    assert [one.config for one in confirmed.selected.values()] == best
    assert confirmed.names == tuple(f"sgd #{config}" for config in best)
    assert confirmed.best == f"sgd #{best[0]}"
    fresh = confirmed.fresh.dataset
    assert fresh["seed"].values.tolist() == [2, 3, 4, 5]
    np.testing.assert_array_equal(fresh["learning_rate"], found.dataset["learning_rate"].values[best])
    assert set(confirmed.scores()["optimizer"]) == set(confirmed.names)
    assert confirmed.names[1] in str(confirmed)


def test_ctrl_c_returns_what_there_is():
    def stop(progress):
        if progress.trials_done >= 8:
            raise KeyboardInterrupt

    found = searched(method=Narrowing(), budget=40, batch=4, progress=stop)
    assert found.dataset.attrs["interrupted"]
    assert 4 <= found.dataset.sizes["config"] < 40


def test_progress_is_that_of_the_whole_search():
    seen = []
    found = searched(budget=10, batch=4, seeds=2, progress=lambda p: seen.append((p, p.trials_done, p.trial_steps)))
    last = seen[-1][0]
    assert all(p.trials == 20 for p, *_ in seen)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert (last.trials_done, last.trial_steps, last.trial_steps_planned) == (20, 240, 240)
    assert last.best == {"sgd": pytest.approx(found.dataset["validation_loss"].values[..., -1].min())}


class Wrong(jl.SearchMethod):
    def __init__(self, suggested):
        self.suggested = suggested

    def start(self, space, seed):
        pass

    def ask(self, n):
        return self.suggested

    def tell(self, configurations, losses, statuses):
        pass


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"method": "tpe"}, ValueError, "Unknown method of search: 'tpe'"),
        ({"method": Narrowing}, TypeError, "an object with the methods of jl.SearchMethod"),
        ({"method": 3}, TypeError, "method must be"),
        ({"budget": 0}, ValueError, "budget must be"),
        ({"batch": 1.5}, TypeError, "batch must be"),
        ({"key": -1}, ValueError, "key must be"),
        ({"space": jl.random(SPACE, 4, 0)}, TypeError, "draws from a dict of hyperparameters"),
        ({"space": {}}, ValueError, "nothing to search"),
        ({"space": {"rate": jl.log(1e-3, 1)}}, ValueError, "rate"),
        ({"space": {"nesterov": [0.0, 1.0]} | SPACE, "optimizers": jl.momentum}, TypeError, "is structural"),
        ({"stop": jl.pbt(interval=4, perturb="learning_rate")}, ValueError, "changes learning_rate while trials run"),
        ({"method": Wrong([])}, TypeError, r"ask\(4\) must return a list of 4 configurations"),
        ({"method": Wrong([{"learning_rate": 0.1}] * 3)}, TypeError, "a list of 4 configurations"),
        ({"method": Wrong([{}] * 4)}, ValueError, "lacks learning_rate"),
        ({"method": Wrong([{"learning_rate": 2.0}] * 4)}, ValueError, "outside of its range, jl.log"),
        ({"method": Wrong([{"learning_rate": "a"}] * 4)}, TypeError, "is not a number"),
        ({"method": Wrong([{"learning_rate": np.nan}] * 4)}, ValueError, "outside of its range"),
        ({"method": Wrong([{"learning_rate": 0.1, "b1": 0.9}] * 4)}, ValueError, "has 'b1', which the space does not"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_compiles(options, error, words, monkeypatch):
    monkeypatch.setattr(importlib.import_module("jaxopt_lab.sweep.sweep"), "execute", None)
    with pytest.raises(error, match=words):
        searched(**options)
