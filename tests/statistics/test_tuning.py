"""Tuning curves: unbiased, with bands that hold as often as they say, and only of independent draws."""

import itertools
import json
import math
import warnings

import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.results.tuning import tuning_curves
from jaxopt_lab.statistics import bands
from jaxopt_lab.statistics.tuning import configurations_needed, expected_best, finite_up_to, median_best, tuning_curve

INF = np.inf


def of_subsets(losses, k):
    return np.mean([min(subset) for subset in itertools.combinations(losses, k)])


@pytest.mark.parametrize("losses", [[0.3, 2.0, 0.7, 0.7, 5.0, 1.1, 4.0], [0.3, INF, 0.7, 2.0, INF, 1.1, 4.0], [2.0]])
def test_the_expected_best_is_the_mean_over_all_subsets(losses):
    budgets = range(1, len(losses) + 1)
    expected = [of_subsets(losses, k) for k in budgets]
    np.testing.assert_allclose(expected_best(losses, budgets), expected, rtol=1e-12)
    found = expected_best(-np.array(losses), budgets, greater_is_better=True)
    np.testing.assert_allclose(found, np.negative(expected), rtol=1e-12)


def test_the_expected_best_is_unbiased_where_the_plug_in_estimate_is_not():
    n, k, repeats = 20, 10, 4000
    samples = np.random.default_rng(1).exponential(size=(repeats, n))  # the best of k has a mean of 1 / k
    found = np.array([expected_best(x, k)[0] for x in samples])
    error = found.std() / math.sqrt(repeats)
    assert error < 0.002
    assert abs(found.mean() - 0.1) < 3 * error
    with_replacement = -np.diff(((n - np.arange(n + 1)) / n) ** k)
    plug_in = np.sort(samples, axis=1) @ with_replacement
    assert plug_in.mean() == pytest.approx(0.127, abs=0.004)


def test_many_draws_lose_no_digits():
    n, budgets = 100_000, np.array([1, 2, 1000, 50_000, 99_999, 100_000])
    ranks = np.random.default_rng(0).permutation(np.arange(1, n + 1))
    np.testing.assert_allclose(expected_best(ranks, budgets), (n + 1) / (budgets + 1), rtol=1e-9)
    ranks = np.where(ranks == n, INF, ranks)  # can be the best of one alone
    np.testing.assert_array_equal(np.isinf(expected_best(ranks, budgets)), budgets == 1)


def test_the_median_best_by_hand():
    losses = [0.5, 0.1, INF, 0.3, 0.2, 0.4, 0.6, INF]
    # Shares of 1/2, .293, .206, .083 of 8 draws: the 4th, 3rd, 2nd and 1st.
    np.testing.assert_array_equal(median_best(losses, [1, 2, 3, 8]), [0.4, 0.3, 0.2, 0.1])
    found = median_best(np.negative(losses), [1, 2, 3, 8], greater_is_better=True)
    np.testing.assert_array_equal(found, [-0.4, -0.3, -0.2, -0.1])
    assert median_best([1.0, INF, INF], 1) == INF


def test_bands_are_those_of_opda():
    from opda.nonparametric import EmpiricalDistribution

    losses, budgets = np.random.default_rng(3).lognormal(size=8), np.arange(1, 9)
    low, point, high = EmpiricalDistribution.confidence_bands(
        losses, 0.95, generator=np.random.default_rng(bands.SEED), n_jobs=1
    )
    assert "0.95/8" in bands.shipped()
    curve = tuning_curve(losses)
    np.testing.assert_array_equal(curve.low, high.quantile_tuning_curve(budgets, minimize=True))
    np.testing.assert_array_equal(curve.high, low.quantile_tuning_curve(budgets, minimize=True))
    np.testing.assert_array_equal(curve.median, point.quantile_tuning_curve(budgets, minimize=True))


def test_bounds_of_the_distribution_are_turned_into_those_of_the_curve_as_by_opda():
    from opda.nonparametric import EmpiricalDistribution

    losses, budgets = np.sort(np.random.default_rng(3).lognormal(size=100)), np.arange(1, 101)
    curve = tuning_curve(losses)
    for bounds, found in zip(bands.levels(100, 0.95), (curve.high, curve.low), strict=True):
        weights = np.diff(bounds, prepend=0, append=1)
        one = EmpiricalDistribution([-INF, *losses, INF], ws=weights)
        np.testing.assert_array_equal(found, one.quantile_tuning_curve(budgets, minimize=True))
    assert len(set(curve.low)) > 8


def test_shipped_masses_are_those_that_are_simulated():
    sizes = bands.shipped_sizes(0.95)
    assert {8, 10, 16, 20, 24, 32, 50, 64, 100, 128} <= {*sizes}
    assert bands.simulated_mass(8, 0.95) == pytest.approx(bands.critical_mass(8, 0.95), rel=1e-9)
    exponents = [-math.log1p(-bands.critical_mass(n, 0.95)) for n in sizes]
    smooth = np.polyval(np.polyfit(np.log(sizes), exponents, 4), np.log(sizes))
    np.testing.assert_allclose(exponents, smooth, rtol=0.01)  # none is damaged


@pytest.mark.parametrize("n", [2, 5, 20, 100])
def test_bounds_of_a_distribution_hold_at_once_as_often_as_they_say(n):
    samples = np.sort(np.random.default_rng(7).random((20_000, n)), axis=1)
    below, above = bands.levels(n, 0.95)
    held = ((below[1:] <= samples) & (samples <= above[:-1])).all(axis=1).mean()
    assert held == pytest.approx(0.95, abs=0.007)  # three standard errors of both simulations


KINDS = {  # functions that keep the order, so that they turn true medians into true medians
    "continuous": lambda x: x,
    "tied": lambda x: np.ceil(5 * x) / 5,
    "diverging": lambda x: np.where(x <= 0.5, x, INF),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [20, 64])
def test_the_band_holds_at_all_budgets_at_once(n, kind):
    repeats, change = 400, KINDS[kind]
    samples = np.random.default_rng(n).exponential(size=(repeats, n))
    truth = change(math.log(2) / np.arange(1, n + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        curves = [tuning_curve(change(x)) for x in samples]
    held = np.mean([((c.low <= truth) & (truth <= c.high)).all() for c in curves])
    assert held >= 0.93
    assert np.mean([(c.low <= c.median) & (c.median <= c.high) for c in curves]) == 1


def test_greater_is_better_turns_everything_round():
    losses = np.random.default_rng(0).normal(size=32)
    curve, other = tuning_curve(losses, [1, 3, 9]), tuning_curve(-losses, [1, 3, 9], greater_is_better=True)
    for name, mirrored in (("expected", "expected"), ("median", "median"), ("low", "high"), ("high", "low")):
        np.testing.assert_array_equal(getattr(curve, name), -getattr(other, mirrored))
    assert (curve.low[-1], other.high[-1]) == (-INF, INF)  # 32 draws do not bound the best of 9


@pytest.mark.parametrize("n", [7, 8, 20, 64, 100, 1024])
def test_both_sides_are_finite_up_to_a_tenth_of_the_draws(n):
    curve = tuning_curve(np.random.default_rng(0).normal(size=n), np.arange(1, n + 1))
    finite = np.isfinite(curve.low) & np.isfinite(curve.high)
    assert finite.sum() == curve.finite_up_to
    assert finite[: curve.finite_up_to].all()
    assert curve.finite_up_to == {7: 1, 8: 1, 20: 2, 64: 7, 100: 11, 1024: 104}[n]


def test_as_many_draws_as_needed_are_enough_and_one_less_is_not():
    assert finite_up_to(6) == 0
    for budget in range(1, 12):
        n = configurations_needed(budget)
        assert finite_up_to(n) >= budget > finite_up_to(n - 1)
    for n in (300, 512, 1024):  # between sizes that are shipped it is interpolated
        needed = configurations_needed(finite_up_to(n))
        assert 0.99 * n - n / finite_up_to(n) <= needed <= 1.01 * n
    assert configurations_needed(5, 0.8) < configurations_needed(5)


def test_equal_scores_are_warned_of():
    scores = [1.0, 2.0, 2.0, 3.0, 3.0, 3.0, INF, INF]
    with pytest.warns(UserWarning, match="5 of 8 scores are equal to another one \\(up to 3 to each other\\)"):
        tuning_curve(scores)
    tuning_curve([*range(6), INF, INF])  # of those that diverged there is no warning


def test_masses_are_simulated_once_and_kept_on_disk(tmp_path, monkeypatch):
    simulate = bands.simulated_mass
    monkeypatch.setenv("JAXOPT_LAB_CACHE", str(tmp_path / "cache"))
    first = bands.critical_mass(3, 0.9)
    assert 0.9 < first < 0.97
    bands._critical_mass.cache_clear()
    monkeypatch.setattr(bands, "simulated_mass", lambda n, confidence: pytest.fail("simulated again"))
    assert bands.critical_mass(3, 0.9) == first
    monkeypatch.setattr(bands, "simulated_mass", simulate)
    (stored,) = (tmp_path / "cache").iterdir()
    for damaged in ("{", "[]", json.dumps({"0.9/3": 7}), json.dumps({"0.9/3": "x"})):
        stored.write_text(damaged)
        bands._critical_mass.cache_clear()
        assert bands.critical_mass(3, 0.9) == first
        assert json.loads(stored.read_text()) == {"0.9/3": first}
    monkeypatch.setenv("JAXOPT_LAB_CACHE", "off")
    stored.unlink()
    bands._critical_mass.cache_clear()
    assert bands.critical_mass(3, 0.9) == first
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: expected_best([1, np.nan, np.nan], 1), ArgumentValueError, "2 of 3 scores are NaN.*scores \\+inf"),
        (lambda: median_best([1, -INF], 1), ArgumentValueError, "better than any other"),
        (lambda: median_best([1, INF], 1, greater_is_better=True), ArgumentValueError, "better than any.*scores -inf"),
        (lambda: expected_best([1, 2], [1, 3]), ArgumentValueError, "budget is 3, but there are 2 configurations"),
        (lambda: expected_best([1, 2], 0), ArgumentValueError, "at least 1"),
        (lambda: expected_best([1, 2], [1.5]), ArgumentTypeError, "must be an integer"),
        (lambda: expected_best([1, 2], []), ArgumentValueError, "budgets is empty"),
        (lambda: expected_best([[1, 2]], 1), ArgumentValueError, "one number a configuration"),
        (lambda: expected_best(["a"], 1), ArgumentTypeError, "must be numbers"),
        (lambda: expected_best([1, 2], 1, greater_is_better="no"), ArgumentTypeError, "True or False"),
        (lambda: tuning_curve([1]), ArgumentValueError, "two or more configurations"),
        (lambda: tuning_curve([1, 2], confidence=95), ArgumentValueError, "between 0 and 1"),
        (lambda: configurations_needed(0), ArgumentValueError, "at least 1"),
    ],
)
def test_arguments_are_checked(call, error, said):
    with pytest.raises(error, match=said):
        call()


RATES = {"learning_rate": jl.log(1e-3, 10)}
OPTIONS = {"steps": 10, "seeds": 3}


@pytest.fixture(scope="module")
def drawn():
    space = {"sgd": jl.random(RATES, n=24, key=0), "adam": jl.random(RATES, n=16, key=1)}
    return jl.sweep({"sgd": jl.sgd, "adam": jl.adam}, jl.tasks.quadratic(), space, **OPTIONS)


def test_curves_of_a_sweep_are_of_medians_over_seeds(drawn):
    dataset = drawn.dataset
    found = tuning_curves(dataset, budgets=[1, 2, 16])
    assert list(found) == ["sgd", "adam"]
    assert [curve.n for curve in found.values()] == [24, 16]
    assert (dataset.status == "diverged").any()
    for name, curve in found.items():
        own = dataset.isel(config=np.flatnonzero(dataset.optimizer.values == name))
        final = own.train_loss.transpose("config", "seed", "step").values[..., -1]
        losses = np.median(np.where(own.status == "diverged", INF, final), axis=1)
        np.testing.assert_allclose(curve.median, median_best(losses, [1, 2, 16]))
        np.testing.assert_allclose(curve.expected, expected_best(losses, [1, 2, 16]))
    (only,) = tuning_curves(dataset, optimizer="adam", confidence=0.9, budgets=1).items()
    assert (only[0], only[1].confidence) == ("adam", 0.9)


def test_more_seeds_leave_the_configurations_random(drawn):
    assert list(tuning_curves(jl.extend(drawn, seeds=4).dataset)) == ["sgd", "adam"]


@pytest.fixture(scope="module")
def not_drawn():
    space = {
        "grid": {"learning_rate": jl.log(1e-3, 1, 6)},
        "list": jl.zipped({"learning_rate": [0.1, 0.2, 0.3]}),
        "even": jl.sobol(RATES, n=8),
        "one": jl.random(RATES, n=1, key=0),
    }
    return jl.sweep(dict.fromkeys(space, jl.sgd), jl.tasks.quadratic(), space, **OPTIONS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grid", "'grid' are all combinations of listed values.*jl.random"),
        ("list", "'list' were listed one by one.*jl.random"),
        ("even", "'even' are points of a Sobol sequence.*jl.random"),
        ("one", "needs two or more configurations, and 'one' has 1.*jl.random"),
    ],
)
def test_what_is_not_drawn_independently_is_refused(not_drawn, name, said):
    with pytest.raises(ArgumentValueError, match=said):
        tuning_curves(not_drawn.dataset, optimizer=name)


def test_merged_spaces_are_refused(drawn):
    more = jl.extend(drawn, space={"sgd": {"learning_rate": [0.1, 0.2]}})
    with pytest.raises(ArgumentValueError, match="'sgd' come from several merged sweeps"):
        tuning_curves(more.dataset)
    assert list(tuning_curves(more.dataset, optimizer="adam")) == ["adam"]


def test_trials_that_a_rule_ended_are_refused():
    space, stop = jl.random(RATES, n=8, key=0), jl.halving(2, min_steps=5)
    halved = jl.sweep(jl.sgd, jl.tasks.quadratic(), space, stop=stop, **OPTIONS)
    with pytest.raises(ArgumentValueError, match=r"ended trials by comparing them.*Sweep without stop="):
        tuning_curves(halved.dataset)


def test_a_sweep_that_has_not_ended_is_refused(drawn):
    status = drawn.dataset.status.copy()
    status[3, 1] = "running"
    with pytest.raises(ArgumentValueError, match="has not ended"):
        tuning_curves(drawn.dataset.assign(status=status))


def test_names_are_checked(drawn):
    for arguments in ({"metric": "train_los"}, {"optimizer": "sgdd"}, {"at": "lats"}):
        with pytest.raises(ArgumentValueError, match="Unknown"):
            tuning_curves(drawn.dataset, **arguments)
