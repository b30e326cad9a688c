"""Optuna's samplers as methods of search; skipped where Optuna is not installed."""

import numpy as np
import pytest
from test_search import assert_same, rates, searched

import jaxopt_lab as jl

optuna = pytest.importorskip("optuna")
CONDITIONAL = {
    "learning_rate": jl.log(1e-3, 1.0),
    "nesterov": jl.choice({True: {"momentum": jl.one_minus(0.5, 0.99)}, False: {"momentum": [0.0, 0.5]}}),
}


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc"])
def test_a_sampler_suggests_within_the_space_and_the_same_again(sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    found = searched(optimizers=jl.momentum, space=CONDITIONAL, method=jl.optuna(sampler, seed=1), budget=16)
    assert_same(
        found, searched(optimizers=jl.momentum, space=CONDITIONAL, method=jl.optuna(sampler, seed=1), budget=16)
    )
    momentum = found.dataset["momentum"].values
    nesterov = found.dataset["nesterov"].values.astype(bool)
    assert ((momentum >= 0.5) & (momentum <= 0.99))[nesterov].all()
    assert np.isin(momentum[~nesterov], [0.0, 0.5]).all()
    other = searched(optimizers=jl.momentum, space=CONDITIONAL, method=jl.optuna(sampler, seed=2), budget=16)
    assert set(rates(found)) != set(rates(other))


def test_tpe_goes_where_losses_are_low():
    """With the best learning rate known, the last suggestions are nearer to it than the first, random ones."""
    task = jl.tasks.quadratic()
    space = {"learning_rate": jl.log(1e-6, 10.0)}
    options = {"task": task, "space": space, "optimizers": jl.gradient_descent, "seeds": 1, "steps": 20}
    found = searched(method=jl.optuna("tpe", seed=0), budget=60, batch=10, **options)
    losses = found.dataset["train_loss"].values[:, 0, -1]
    assert np.median(losses[-20:]) < np.median(losses[:10])


def test_what_diverged_is_kept_and_what_a_rule_ended_is_pruned():
    class Kept(type(jl.optuna())):
        def __deepcopy__(self, memo):
            return self

    method = Kept("tpe", 0, None)
    space = {"learning_rate": jl.log(1e-2, 1e3)}
    found = searched(method=method, space=space, budget=16, batch=8, stop=jl.halving(2, min_steps=3), seeds=1)
    trials = method._study.get_trials()
    states = [trial.state.name for trial in trials]
    status = found.dataset["status"].values[:, 0]
    assert [state == "PRUNED" for state in states] == (status == "stopped").tolist()
    assert "FAIL" not in states
    diverged = status == "diverged"
    assert diverged.any()
    assert all(np.isposinf(trial.value) for trial, lost in zip(trials, diverged, strict=True) if lost)


def test_a_sampler_object_and_a_storage(tmp_path):
    sampler = optuna.samplers.RandomSampler(seed=3)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    found = searched(method=jl.optuna(sampler, storage=storage), budget=6, batch=3)
    (study,) = optuna.get_all_study_summaries(storage)
    assert study.n_trials == 6
    assert_same(found, searched(method=jl.optuna(sampler), budget=6, batch=3))


def test_a_search_with_optuna_resumes(tmp_path):
    def stop(progress):
        if progress.trials_done >= 12:
            raise KeyboardInterrupt

    options = {"budget": 24, "batch": 8}
    searched(method=jl.optuna("tpe"), out=tmp_path / "run", progress=stop, **options)
    assert_same(
        searched(method=jl.optuna("tpe"), out=tmp_path / "run", **options), searched(method=jl.optuna("tpe"), **options)
    )


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("pte",), ValueError, "Did you mean 'tpe'"),
        ((optuna.samplers.TPESampler,), TypeError, "a sampler object of Optuna"),
        (("tpe", -1), ValueError, "seed must be"),
    ],
)
def test_what_is_no_sampler_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        jl.optuna(*arguments)
