"""Stop rules: which trials continue, what is recorded, and that survivors are the same as without the rule."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tracing.caching import remembered

INF = np.inf
TASK = {"holdout": True, "batch_size": 32}


@remembered(maxsize=32)  # several tests look at one sweep; none changes it
def sweep(stop=None, optimizers=jl.adam, rates=16, **changes):
    options = {"steps": 64, "seeds": 2, "record": 1, "cache": False} | changes
    task = jl.tasks.breast_cancer(**TASK)
    return jl.sweep(optimizers, task, {"learning_rate": jl.log(1e-4, 10.0, rates)}, stop=stop, **options).dataset


def decided(rule, history, racing):
    """Which trials the rule ends."""
    rung = jl.Rung(len(history) - 1, 10 * len(history), history, racing, racing & np.isfinite(history[-1]), {})
    return rule.decide(rung).ends


def decisions(dataset):
    return json.loads(dataset.attrs["rungs"])


def test_halving_keeps_the_best_by_the_median_over_seeds():
    rule = jl.halving(2, min_steps=1)
    losses = np.array([[1.0, 9.0, 2.0], [3.0, 3.0, 3.0], [INF, 0.0, 0.0], [4.0, 4.0, 0.0]])  # medians 2, 3, 0, 4
    ends = decided(rule, losses[None], np.ones((4, 3), bool))
    assert ends.tolist() == [[False] * 3, [True] * 3, [False] * 3, [True] * 3]
    racing = np.array([[True] * 3, [True] * 3, [False] * 3, [False] * 3])
    assert decided(rule, losses[None], racing).any(axis=1).tolist() == [False, True, False, False]


def test_ties_go_to_the_lower_number():
    ends = decided(jl.halving(3, min_steps=1), np.zeros((1, 7, 1)), np.ones((7, 1), bool))
    assert ends[:, 0].tolist() == [False, False, True, True, True, True, True]


@pytest.mark.parametrize(("configs", "steps", "rungs"), [(16, 64, [1, 4]), (64, 65, [1, 4, 16]), (64, 64, [1, 4, 16])])
def test_rungs_are_powers_of_eta_while_there_is_a_choice(configs, steps, rungs):
    ((members, found),) = jl.halving(4, min_steps=1).brackets(configs, steps)
    assert members.tolist() == list(range(configs))
    assert found.tolist() == rungs


def test_no_step_is_looked_at_twice():
    ((_, found),) = jl.halving(1.2, min_steps=1).brackets(100, 8)
    assert found.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_hyperband_deals_all_configurations_out_in_the_papers_proportions():
    """R = 81, eta = 3, Table 1 of Li et al. 2018: brackets of 81, 34, 15, 8, 5 trials from 1, 3, 9, 27, 81 steps."""
    brackets = list(jl.hyperband(3, min_steps=1).brackets(143, 81))
    assert sorted(np.concatenate([members for members, _ in brackets]).tolist()) == list(range(143))
    sizes = np.array([len(members) for members, _ in brackets])
    np.testing.assert_allclose(sizes, [81, 34, 15, 8, 5], atol=3)
    assert [rungs.tolist() for _, rungs in brackets] == [[1, 3, 9, 27], [3, 9, 27], [9, 27], [27], []]


def test_plateau_ends_what_does_not_improve_by_the_share():
    rule = jl.plateau(10, min_improvement=0.1)
    racing = np.ones((4, 1), bool)
    history = np.array([[[1.0], [1.0], [-1.0], [INF]], [[0.91], [0.89], [-1.2], [INF]]])
    assert not decided(rule, history[:1], racing).any()
    assert decided(rule, history, racing)[:, 0].tolist() == [True, False, False, True]
    worse_since = np.concatenate([history, [[[0.5], [0.85], [-1.25], [0.1]]]])
    assert decided(rule, worse_since, racing)[:, 0].tolist() == [False, True, True, False]


def test_an_improvement_by_exactly_the_share_is_one():
    ends = lambda share, last: decided(
        jl.plateau(10, min_improvement=share), np.array([[[8.0]], [[last]]]), np.ones((1, 1), bool)
    )
    assert not ends(0.25, 6.0).any()
    assert ends(0.25, 6.001).all()
    assert ends(0.0, 8.0).all()  # none at all
    assert not ends(0.0, 7.999).any()


def test_the_median_rule_is_its_definition():
    """The best value so far against the median over the others of the mean of their values, written as loops."""
    rule = jl.median_stop(5)
    random = np.random.default_rng(0)
    for n in (1, 2, 3, 7, 8):
        history = random.lognormal(size=(3, n, 3))
        history[2, : n // 3] = INF
        racing = np.ones((n, 3), bool)
        racing[-1] = n < 3
        medians = [[sorted(seeds)[1] for seeds in at.tolist()] for at in history]
        own = np.flatnonzero(racing.any(axis=1))
        expected = np.zeros((n, 3), bool)
        for i in own:
            others = sorted(sum(at[j] for at in medians) / 3 for j in own if j != i)
            if others:
                middle = (others[(len(others) - 1) // 2] + others[len(others) // 2]) / 2
                expected[i] = min(at[i] for at in medians) > middle
        np.testing.assert_array_equal(decided(rule, history, racing), expected & racing)


def test_the_median_rule_keeps_equals():
    assert not decided(jl.median_stop(1), np.ones((2, 5, 1)), np.ones((5, 1), bool)).any()


@pytest.mark.parametrize(
    ("options", "rungs"), [({}, [20, 40, 60]), ({"min_steps": 5}, [5, 25, 45]), ({"min_steps": 64}, [])]
)
def test_the_median_rule_looks_at_intervals(options, rungs):
    ((members, found),) = jl.median_stop(20, **options).brackets(4, 64)
    assert (members.tolist(), found.tolist()) == ([0, 1, 2, 3], rungs)


def test_the_median_rule_stops_some_and_never_the_best():
    full, stopped = sweep(), sweep(jl.median_stop(8))
    statuses = stopped.status.values
    assert (statuses == "stopped").sum() >= 8
    best = int(np.argmin(np.median(full["validation_loss"].values[..., -1], axis=1)))
    assert (statuses[best] == "completed").all()
    assert (statuses == statuses[:, :1]).all()  # all seeds of a configuration together


@pytest.mark.parametrize(
    "rule",
    [
        jl.halving(4, min_steps=4, across=True),
        jl.median_stop(8, across=True),
        jl.hyperband(4, min_steps=4, across=True),
    ],
    ids=lambda rule: type(rule).__name__,
)
def test_a_rule_may_compare_optimizers_with_each_other(rule):
    """As if all configurations were one optimizer's: decided by hand from the histories of a sweep without the rule."""
    options = {"optimizers": ["adam", "momentum", "sgd"], "rates": 8}
    rungs = sorted({rung for _, found in rule.brackets(24, 64) for rung in found.tolist()})
    full = sweep(evaluate=4, **options)
    found = sweep(rule, evaluate=4, **options)
    at = {step: i for i, step in enumerate(full["eval_step"].values.tolist())}
    assert set(rungs) <= at.keys()
    diverged = full.status.values == "diverged"
    expected = np.full((24, 2), -1)
    for members, own in rule.brackets(24, 64):
        racing = np.ones((len(members), 2), bool)
        for number in range(len(own)):
            history = np.stack(
                [full["validation_loss"].values[members][..., at[s]] for s in own.tolist()[: number + 1]]
            )
            ends = decided(rule, np.where(np.isnan(history), INF, history).astype(float), racing)
            racing &= ~ends
            expected[members] = np.where(ends & (expected[members] < 0), number, expected[members])
    stopped = found.status.values == "stopped"
    np.testing.assert_array_equal(stopped, (expected >= 0) & ~diverged)
    np.testing.assert_array_equal(found.rung.values[stopped], expected[stopped])
    assert {one["optimizer"] for one in decisions(found)} == {"all"}
    survivors = found["optimizer"].values[(~stopped).any(axis=1)]
    assert len(set(survivors.tolist())) < 3 or len(survivors) > 3  # not one of each optimizer


def falls():
    """Seed 0 starts at 9.5, others at 100; a step of gradient descent takes 1 off, and below 0 there is no loss."""
    first = jax.random.key_data(jax.random.fold_in(jax.random.key(0), 0))
    start = lambda key: jnp.where((jax.random.key_data(key) == first).all(), 9.5, 100.0)
    return jl.Task("falls", start, lambda w, _: jnp.where(w > 0, w, jnp.nan), train=None, validation=np.zeros(1))


@pytest.mark.parametrize("strategy", ["scan", "steps"])
@pytest.mark.parametrize("share", [0.0, 0.051, 0.2])
def test_how_trials_are_cut_does_not_show(strategy, share):
    """A trial that ends at a rung, in a chunk with others that continue, has the same results as when it runs alone."""
    stop = jl.plateau(5, min_improvement=share)
    options = {"steps": 20, "seeds": 4, "record": 1, "evaluate": 3, "stop": stop, "strategy": strategy}
    one, four = (
        jl.sweep(jl.gradient_descent, falls(), {"learning_rate": [1.0]}, chunk=chunk, **options).dataset
        for chunk in (1, 4)
    )
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name], four[name], err_msg=name)
    assert one.status.values[0, 0] == "diverged"
    assert one.first_bad_step.values[0, 0] == 10
    assert np.isposinf(one.train_loss.values[0, 0, 10:]).all()
    if share == 0.2:  # 100, 95, 90: the second look ends it, at the loss that is seen there
        assert (one.status.values[0, 1:] == "plateau").all()
        assert (one.train_loss.values[0, 1:, 10:] == 90).all()


def test_halving_leaves_survivors_what_they_were(float64):
    """A survivor equals the trial of a sweep without the rule, although its chunk has other trials."""
    full, halved = sweep(), sweep(jl.halving(4, min_steps=4))
    assert sorted(np.unique(halved.status, return_counts=True)[1].tolist()) == [2, 30]  # 16 -> 4 -> 1 of two seeds
    done = halved.status.values == "completed"
    np.testing.assert_allclose(halved.train_loss.values[done], full.train_loss.values[done], rtol=1e-9)
    np.testing.assert_allclose(
        halved.validation_loss.values[done][:, -1], full.validation_loss.values[done][:, -1], rtol=1e-9
    )


def test_stopped_trials_keep_their_curves_and_say_where_they_stopped():
    full, halved = sweep(), sweep(jl.halving(4, min_steps=4))
    assert set(np.unique(halved.rung)) == {-1, 0, 1}
    for rung, step in ((0, 4), (1, 16)):
        at = halved.rung.values == rung
        assert (halved.status.values[at] == "stopped").all()
        assert (halved.steps_taken.values[at] == step).all()
        np.testing.assert_allclose(
            halved.train_loss.values[at][:, :step], full.train_loss.values[at][:, :step], rtol=2e-4
        )
        assert np.isnan(halved.train_loss.values[at][:, step + 1 :]).all()
        assert np.isfinite(halved.validation_loss.sel(eval_step=step).values[at]).all()
        assert np.isnan(halved.validation_loss.values[at][:, -1]).all()


def test_decisions_are_recorded_and_can_be_checked():
    dataset = sweep(jl.halving(4, min_steps=4), [jl.adam, jl.sgd])
    for decision in decisions(dataset):
        own = dataset.isel(config=dataset.optimizer.values == decision["optimizer"])
        reached = (own.rung.values < 0) | (own.rung.values >= decision["rung"])
        assert decision["compared"] == reached.sum()
        kept = reached & (own.rung.values != decision["rung"])
        assert decision["ended"] == reached.sum() - kept.sum()
        median = np.median(own.validation_loss.sel(eval_step=decision["step"]).values, axis=1)
        assert median[kept[:, 0]].max() <= median[(reached & ~kept)[:, 0]].min()
    by_optimizer = {(d["optimizer"], d["rung"]): (d["compared"], d["ended"]) for d in decisions(dataset)}
    assert by_optimizer == {(o, r): n for o in ("adam", "sgd") for r, n in ((0, (32, 24)), (1, (8, 6)))}
    again = sweep.__wrapped__(jl.halving(4, min_steps=4), [jl.adam, jl.sgd])
    assert sorted(decisions(again), key=str) == sorted(decisions(dataset), key=str)
    np.testing.assert_array_equal(again.rung, dataset.rung)


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize("strategy", ["scan", "steps"])
def test_chunks_and_strategies_decide_alike(chunk, strategy, float64):
    whole, cut = sweep(jl.halving(4, min_steps=4)), sweep(jl.halving(4, min_steps=4), chunk=chunk, strategy=strategy)
    np.testing.assert_array_equal(cut.rung, whole.rung)
    np.testing.assert_allclose(cut.train_loss, whole.train_loss, rtol=1e-8)


def test_hyperband_runs_every_bracket():
    dataset = sweep(jl.hyperband(4, min_steps=4), seeds=1, rates=32)
    assert {d["bracket"] for d in decisions(dataset)} == {0, 1}
    # Sixteen, eight and five of 32: those of the last bracket are never stopped.
    assert (dataset.status == "completed").sum() >= 5
    assert (dataset.status == "stopped").sum() == sum(d["ended"] for d in decisions(dataset))


def test_plateau_holds_the_last_value():
    dataset = sweep(jl.plateau(8, min_improvement=0.02))
    ended = dataset.status.values == "plateau"
    assert ended.any()
    assert (~ended).any()
    taken = dataset.steps_taken.values[ended]
    assert set(np.unique(taken)) <= set(range(16, 64, 8))
    for curve, steps in zip(dataset.train_loss.values[ended], taken, strict=True):
        assert (curve[steps:] == curve[steps]).all()
    assert np.isfinite(dataset.validation_loss.values[ended][:, -1]).all()


def test_trials_that_end_by_themselves_leave_the_race():
    """Diverged and reached trials take no further steps, keep their own status, and are not called stopped."""
    dataset = sweep(jl.halving(2, min_steps=8), jl.sgd, rates=12, target=0.15, steps=256, evaluate=64)
    status = dict(zip(*np.unique(dataset.status, return_counts=True), strict=True))
    assert status["reached"] > 0
    reached = dataset.status.values == "reached"
    assert (dataset.train_loss.values[reached][:, -1] <= 0.15).all()
    assert (dataset.rung.values[reached] == -1).all()


def test_several_structures_of_one_optimizer_race_together():
    space = {"learning_rate": jl.log(1e-3, 1.0, 8), "nesterov": jl.static([True, False])}
    task = jl.tasks.breast_cancer(**TASK)
    dataset = jl.sweep(
        jl.momentum, task, space, steps=32, seeds=2, stop=jl.halving(4, min_steps=8), cache=False
    ).dataset
    (decision,) = decisions(dataset)
    assert (decision["compared"], decision["ended"]) == (32, 24)
    median = np.median(dataset.validation_loss.sel(eval_step=8).values, axis=1)
    kept = (dataset.status.values == "completed").all(axis=1)
    assert kept.sum() == 4
    assert median[kept].max() <= median[~kept].min()


def test_accuracy_is_better_when_greater():
    dataset = sweep(jl.halving(4, min_steps=16, metric="validation_accuracy"), seeds=3)
    accuracy = np.median(dataset.validation_accuracy.sel(eval_step=16).values, axis=1)
    kept = (dataset.rung.values != 0).all(axis=1)
    assert accuracy[kept].min() >= accuracy[~kept].max()


def test_a_task_without_held_out_data_is_stopped_by_its_training_loss():
    task = jl.tasks.quadratic()
    dataset = jl.sweep(
        jl.sgd, task, {"learning_rate": jl.log(1e-4, 1e-1, 16)}, steps=64, stop=jl.halving(4, min_steps=4), record=1
    ).dataset
    assert int((dataset.status == "completed").sum()) == 1
    best = dataset.train_loss.sel(step=4).values[:, 0].argsort()[:4]
    assert sorted(best) == np.flatnonzero(dataset.rung.values[:, 0] != 0).tolist()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: jl.halving(1, min_steps=2), "eta must be > 1"),
        (lambda: jl.halving(4, min_steps=0), "min_steps must be at least 1"),
        (lambda: jl.plateau(0), "patience must be at least 1"),
        (lambda: jl.plateau(5, min_improvement=-1), "min_improvement must be >= 0"),
        (lambda: sweep(jl.halving(4, min_steps=64)), "has no rung: its first is not before the last of 64 steps"),
        (lambda: sweep(jl.hyperband(4, min_steps=100)), "has no rung"),
        (lambda: sweep(jl.plateau(64)), "has no rung"),
        (lambda: sweep(jl.halving(4, min_steps=4, metric="validation_accurcy")), "Did you mean 'validation_accuracy'"),
    ],
)
def test_wrong_rules_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("wrong", ["halving", 4, jl.halving])
def test_what_is_no_rule_is_refused(wrong):
    with pytest.raises(TypeError, match="stop must be"):
        sweep(wrong)
