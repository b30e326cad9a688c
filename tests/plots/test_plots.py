"""Pictures: they show what is in the dataset, and leave nothing out."""

import dataclasses
import re
import threading
from typing import Any

import jax
import jax.numpy as jnp
import made
import matplotlib.figure
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.labels import ABSENT, column, coordinate

RATES = (0.1, 0.5, 1.5, 1e12)  # the last overflows gradient descent in float64 too
SEEDS = 4
LOST = ("lost", "stopped early")


@pytest.fixture(scope="module")
def swept():
    """Two optimizers on a quadratic; gradient descent's best is inside the grid, Adam's too."""
    space = {"learning_rate": RATES}
    return jl.sweep(["gradient_descent", "adam"], "quadratic", space, steps=40, seeds=SEEDS, record=4)


@pytest.fixture(scope="module")
def grid():
    """Momentum over two hyperparameters and one more."""
    space = {"learning_rate": RATES, "momentum": [0.0, 0.5, 0.9]}
    return jl.sweep("momentum", "quadratic", space, steps=40, seeds=SEEDS)


@pytest.fixture(scope="module")
def line():
    return jl.sweep(
        ["gradient_descent", "adam"], "linear_regression", {"learning_rate": [0.05, 0.3]}, steps=60, seeds=2
    )


@pytest.fixture(scope="module")
def halved():
    """Of each optimizer's five, two continue after step 6 and one after step 12; two of SGD's have diverged by then."""
    space = {"learning_rate": [0.001, 0.1, 0.4, 1e12, 1e13]}
    rule = jl.halving(2.5, min_steps=6)
    options = {"steps": 40, "seeds": SEEDS, "record": 1, "stop": rule, "diverged_above": None}
    with jax.enable_x64(False):  # float64 has room for more steps
        return jl.sweep(["gradient_descent", "adam"], "quadratic", space, **options)


def changed(results, **variables):
    """The results with other values of some variables of the dataset."""
    dataset = results.dataset.copy(deep=True)
    for name, values in variables.items():
        dataset[name] = dataset[name].copy(data=values)
    return dataclasses.replace(results, dataset=dataset)


def with_final(results, final, status=None):
    """The results with other final training losses (configs, seeds), diverged where those are infinite."""
    losses = results.dataset["train_loss"].values.copy()
    losses[..., -1] = final
    status = np.where(np.isfinite(final), "completed", "diverged") if status is None else status
    return changed(results, train_loss=losses, status=status)


def artists(ax, gid) -> list[Any]:
    return [a for a in ax.get_children() if a.get_gid() == gid]


def texts(ax):
    """All text of a picture that is not a tick's, whether names are beside the axes or in a legend below them."""
    legend = [t.get_text() for t in ax.get_legend().get_texts()] if ax.get_legend() else []
    names = [t.get_text() for artist in artists(ax, "names") for t in artist.texts]
    written = [ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *(t.get_text() for t in ax.texts)]
    return "\n".join(re.sub(r":?\s+", " ", text) for text in [*written, *names, *legend])


def ceiling(ax):
    (drawn,) = artists(ax, "ceiling")
    return drawn.get_ydata()[0]


def rendered(ax):
    assert ax._repr_png_().startswith(b"\x89PNG")
    return ax


# Sensitivity


def test_sensitivity_draws_medians_and_diverged_medians_beyond_the_ceiling(swept):
    final = swept.dataset["train_loss"].values[:, :, -1]
    ax = swept.plot.sensitivity()
    assert len(artists(ax, "median")) == 2
    for drawn, own in zip(artists(ax, "median"), (final[:4], final[4:]), strict=True):
        expected = np.median(own, axis=1)
        shown = expected < ceiling(ax)
        np.testing.assert_array_equal(drawn.get_xdata(), RATES)
        np.testing.assert_array_equal(drawn.get_ydata()[shown], expected[shown])
        assert (drawn.get_ydata()[~shown] > ceiling(ax)).all()
    beyond = [len(drawn.get_xdata()) for drawn in artists(ax, "beyond")]
    assert beyond == [int((np.median(own, axis=1) > ceiling(ax)).sum()) for own in (final[:4], final[4:])]
    assert "diverged" in artists(ax, "strip name")[0].get_text()


def test_a_minority_of_diverged_seeds_is_marked_in_the_strip(swept):
    final = np.full((8, SEEDS), 0.5)
    final[2, 0] = np.inf  # one of four
    final[3, :2] = np.inf  # half
    ax = with_final(swept, final).plot.sensitivity()
    whole, partly = artists(ax, "beyond"), artists(ax, "partly beyond")
    assert [w.get_xdata().tolist() for w in whole] == [[RATES[3]], []]
    assert [p.get_xdata().tolist() for p in partly] == [[RATES[2]], []]
    lane = whole[0].get_ydata()[0]
    assert ceiling(ax) < lane < ax.get_ylim()[1]
    assert partly[0].get_ydata()[0] == lane
    assert max(ax.get_yticks()) <= ceiling(ax)
    assert {m.get_fillstyle() for m in whole + partly} == {"none"}
    assert "some seeds diverged" in texts(ax)


def test_the_band_is_between_quartiles(swept):
    final = np.random.default_rng(0).uniform(0.3, 0.6, (8, SEEDS))
    ax = with_final(swept, final).plot.sensitivity()
    bands = artists(ax, "band")
    for band, own in zip(bands, (final[:4], final[4:]), strict=True):
        own = own.astype(swept.dataset["train_loss"].dtype)
        low, high = np.percentile(own, [25, 75], axis=1, method="nearest")
        vertices = band.get_paths()[0].vertices
        for x, *ends in zip(RATES, low, high, strict=True):
            assert {*ends} <= {*vertices[vertices[:, 0] == x, 1]}


def test_stars_are_at_the_best(swept):
    ax = swept.plot.sensitivity()
    for star, optimizer in zip(artists(ax, "best"), ("gradient_descent", "adam"), strict=True):
        best = swept.best(optimizer=optimizer)
        assert star.get_xdata()[0] == best.hyperparameters["learning_rate"]
        assert star.get_ydata()[0] == best.value
        assert f"{optimizer} {best.value:.3g} at {best.hyperparameters['learning_rate']:.3g}" in texts(ax)


def test_a_best_on_the_edge_is_warned_of(swept):
    for best, warns in ((0, True), (1, False), (2, False), (3, True)):
        final = np.full((8, SEEDS), 0.5)
        final[[best, 4 + 1]] = 0.1
        ax = with_final(swept, final).plot.sensitivity()
        assert ("widen it (learning_rate of gradient_descent)" in texts(ax)) == warns
        assert ("(edge)" in texts(ax)) == warns


def test_other_hyperparameters_take_their_best(grid):
    final = grid.dataset["train_loss"].values[:, :, -1].reshape(4, 3, SEEDS)
    (drawn,) = artists(grid.plot.sensitivity(), "median")
    np.testing.assert_array_equal(drawn.get_ydata()[:3], np.median(final, axis=-1).min(axis=1)[:3])
    (drawn,) = artists(grid.plot.sensitivity(hyperparameter="momentum"), "median")
    np.testing.assert_array_equal(drawn.get_ydata(), np.median(final, axis=-1).min(axis=0))
    assert drawn.axes.get_xscale() == "linear"


def test_one_huge_loss_flattens_nothing(swept):
    final = np.full((8, SEEDS), 0.5)
    final[1], final[3] = 0.4, 1e30
    ax = rendered(with_final(swept, final).plot.sensitivity())
    start = np.median(swept.dataset["train_loss"].values[:, :, 0])
    assert ceiling(ax) < 4 * start
    assert "off the scale" in texts(ax)
    assert "diverged" not in texts(ax)


def test_a_metric_of_which_more_is_better_falls_to_a_floor(line):
    dataset = line.dataset.copy(deep=True)
    r2 = dataset["validation_r2"].values.copy()
    r2[1, :, -1] = np.nan
    status = dataset["status"].values.copy().astype(object)
    status[1] = "diverged"
    ax = rendered(changed(line, validation_r2=r2, status=status).plot.sensitivity("validation_r2"))
    (low, _), drawn = ax.get_ylim(), artists(ax, "median")[0]
    assert low < drawn.get_ydata()[1] < ceiling(ax) < drawn.get_ydata()[0]
    assert drawn.axes.get_yscale() == "linear"


@pytest.mark.parametrize("status", ["diverged", "interrupted"])
def test_trials_that_all_failed_are_still_drawn(swept, status):
    losses = swept.dataset["train_loss"].values.copy()
    losses[..., 1:] = np.inf if status == "diverged" else np.nan
    failed = changed(swept, train_loss=losses, status=np.full((8, SEEDS), status))
    ax = rendered(failed.plot.sensitivity())
    assert [len(b.get_xdata()) for b in artists(ax, "beyond")] == [4, 4]
    assert not artists(ax, "best")
    assert status in texts(ax)
    assert "widen" not in texts(ax)
    rendered(failed.plot.curves())


def test_one_configuration_and_one_seed(swept):
    alone = dataclasses.replace(swept, dataset=swept.dataset.isel(config=[5], seed=[0]))
    ax = rendered(alone.plot.sensitivity())
    assert [len(m.get_xdata()) for m in artists(ax, "median")] == [1]
    assert "1 seed" in ax.get_ylabel()
    rendered(alone.plot.curves())


def test_structural_hyperparameters_stand_side_by_side(swept):
    nesterov = coordinate("config", column([True, False, True, False, *[ABSENT] * 4]))  # Adam has none
    dataset = swept.dataset.assign_coords(nesterov=nesterov)
    ax = rendered(dataclasses.replace(swept, dataset=dataset).plot.sensitivity(hyperparameter="nesterov"))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["False", "True"]
    (level,) = artists(ax, "level")
    assert level.get_ydata()[0] == swept.best(optimizer="adam").value
    assert "adam (has none)" in texts(ax)


@pytest.fixture
def random(swept):
    """Results of four random pairs of learning rate and momentum."""
    dataset = swept.dataset.isel(config=slice(4)).assign_coords(momentum=("config", [0.3, 0.1, 0.9, 0.5]))
    return dataclasses.replace(swept, dataset=dataset)


def test_random_draws_are_not_joined(random):
    assert [m.get_linestyle() for m in artists(random.plot.sensitivity(), "median")] == ["None"]


def test_stopped_configurations_are_beside_the_line_where_they_stopped(halved):
    losses, rates = halved.dataset["train_loss"].values, halved.dataset["learning_rate"].values
    ax = halved.plot.sensitivity()
    lines, faint, then = (artists(ax, gid) for gid in ("median", "stopped early", "beyond then"))
    on_line, stopped, off = ([2, 3, 4], [6]), ([0, 1], [5, 7]), ([], [8, 9])
    for i in range(2):
        assert lines[i].get_xdata()[~np.isnan(lines[i].get_ydata())].tolist() == rates[on_line[i]].tolist()
        at_stop = [np.median(losses[row, :, 14 if row in (1, 7) else 5]) for row in stopped[i]]
        assert faint[i].get_xdata().tolist() == rates[stopped[i]].tolist()
        np.testing.assert_array_equal(faint[i].get_ydata(), at_stop)
        assert then[i].get_xdata().tolist() == rates[off[i]].tolist()
    assert "stopped early median then, at step 6 or 15" in texts(ax)
    assert artists(ax, "strip name")[0].get_text() == "diverged or off the scale"
    assert {halved.best(optimizer=name).config for name in ("gradient_descent", "adam")} == {2, 6}
    assert halved.leaderboard()["good_decades"].tolist() == [0.0, 0.0]


def test_at_each_value_the_one_that_came_furthest_is_drawn(halved):
    """Of configurations 0, 1 and 4, as if of one learning rate, the last diverged and the others were stopped."""
    dataset = halved.dataset.isel(config=[4, 0, 1]).assign_coords(
        learning_rate=("config", [0.1, 0.1, 0.1]), momentum=("config", [0.1, 0.2, 0.3])
    )
    ax = dataclasses.replace(halved, dataset=dataset).plot.sensitivity()
    (drawn,) = artists(ax, "stopped early")
    assert drawn.get_ydata().tolist() == [np.median(halved.dataset["train_loss"].values[1, :, 14])]
    assert "diverged" not in texts(ax)


# Curves


def test_curves_draw_medians_of_each_best(swept):
    ax = swept.plot.curves()
    for drawn, optimizer in zip(artists(ax, "median"), ("gradient_descent", "adam"), strict=True):
        losses = swept.dataset["train_loss"].sel(config=swept.best(optimizer=optimizer).config).values
        np.testing.assert_array_equal(drawn.get_xdata(), swept.dataset["step"].values)
        np.testing.assert_array_equal(drawn.get_ydata(), np.median(losses, axis=0))


def test_a_schedule_is_drawn_from_zero():
    """A warm-up begins at zero, which a logarithmic axis would leave out, and ends at a thousandth of the peak."""
    warmup = lambda kind, values, seed, steps: values["learning_rate"] * np.minimum(steps / 10, np.exp(-steps / 9))
    results = made.results(["sgd"] * 2, {"learning_rate": [0.1, 0.2]}, warmup, name="learning_rate_in_force")
    dataset = results.dataset.assign(train_loss=results.dataset["learning_rate_in_force"]).assign_attrs(directions="{}")
    ax = dataclasses.replace(results, dataset=dataset).plot.curves("learning_rate_in_force", configs=[1])
    (drawn,) = artists(ax, "median")
    np.testing.assert_array_equal(drawn.get_ydata(), dataset["learning_rate_in_force"].values[1, 0])
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] <= 0


def test_diverged_seeds_are_crosses_at_their_first_bad_step(swept):
    losses = np.ones_like(swept.dataset["train_loss"].values)
    losses[0, 1, 5:] = losses[0, 2, 8:] = np.inf
    status, first_bad = np.full((8, SEEDS), "completed"), np.full((8, SEEDS), -1)
    status[0, 1:3], first_bad[0, 1:3] = "diverged", (18, 30)
    results = changed(swept, train_loss=losses, status=status, first_bad_step=first_bad)
    ax = results.plot.curves(configs=[0, 1])
    crossed, clean = artists(ax, "diverged")
    assert crossed.get_xdata().tolist() == [18, 30]
    assert (crossed.get_ydata() > ceiling(ax)).all()
    assert len(clean.get_xdata()) == 0
    assert "a seed diverged" in texts(ax)
    drawn, _ = artists(ax, "median")
    assert (drawn.get_ydata()[:8] == 1).all()
    assert (drawn.get_ydata()[8:] > ceiling(ax)).all()  # half of the seeds


def test_two_configurations_of_an_optimizer_share_a_colour_and_differ(swept):
    first, second = artists(swept.plot.curves(configs=[1, 0]), "median")
    assert first.get_color() == second.get_color()
    assert (first.get_marker(), first.get_linestyle()) != (second.get_marker(), second.get_linestyle())


def test_optimizers_have_one_colour_in_all_pictures(swept, line):
    colours = [[m.get_color() for m in artists(p(), "median")] for p in (swept.plot.sensitivity, swept.plot.curves)]
    assert colours[0] == colours[1] == [m.get_color() for m in artists(line.plot.fit(), "prediction")]
    assert len(set(colours[0])) == 2


def test_interrupted_curves_end(swept):
    losses = swept.dataset["train_loss"].values.copy()
    losses[:, :, 5:] = np.nan
    cut = changed(swept, train_loss=losses, status=np.full((8, SEEDS), "interrupted"))
    ax = cut.plot.curves(configs=[0])
    (drawn,) = artists(ax, "median")
    assert np.isnan(drawn.get_ydata()[5:]).all()
    assert np.isfinite(drawn.get_ydata()[:5]).all()
    assert "interrupted" in texts(ax)


def test_curves_of_stopped_trials_end_where_they_stopped(halved):
    ax = halved.plot.curves(configs=[0, 1, 2])
    finite = [np.isfinite(m.get_ydata()).sum() for m in artists(ax, "median")]
    assert finite == [6, 15, 41]
    assert texts(ax).count("(stopped at step") == 2
    assert "(stopped at step 15)" in texts(ax)
    status = np.where(halved.dataset["seed"].values < 2, "plateau", halved.dataset["status"].values)
    steps = np.broadcast_to([10, 20, 40, 40], status.shape)
    assert "(plateau at step 10 to 20)" in texts(changed(halved, status=status, steps_taken=steps).plot.curves())


def test_the_minimum_is_drawn_where_recorded_losses_can_reach_it(line):
    drawn = lambda results, metric: [
        x.get_ydata()[0] for x in results.plot.curves(metric).lines if x.get_label() == "minimum"
    ]
    assert drawn(line, "train_loss") == [line.dataset.attrs["minimum"]]
    assert drawn(line, "validation_loss") == []
    batches = dataclasses.replace(line, task=jl.tasks.linear_regression(batch_size=10))
    assert drawn(batches, "train_loss") == []
    assert drawn(dataclasses.replace(line, task=None), "train_loss") == []


def test_metrics_of_diverged_trials_stay_in_the_picture(line):
    r2 = line.dataset["test_r2"].values.copy()
    r2[0, :, 4:] = np.nan
    status = np.full(line.dataset["status"].shape, "completed")
    status[0] = "diverged"
    ax = changed(line, test_r2=r2, status=status).plot.curves("test_r2", configs=[0, 1])
    assert (artists(ax, "median")[0].get_ydata()[4:] < ceiling(ax)).all()


def test_a_metric_without_a_direction_is_shown_and_nothing_is_chosen_by_it(line):
    dataset = line.dataset.rename(validation_r2="validation_gap")
    directions = '{"train_loss": "min", "validation_loss": "min"}'
    results = dataclasses.replace(line, dataset=dataset.assign_attrs(directions=directions))
    (first, *_) = artists(results.plot.curves("validation_gap"), "median")
    shown = dataset["validation_gap"].sel(config=line.best(optimizer="gradient_descent").config).median("seed")
    np.testing.assert_array_equal(first.get_ydata(), shown)
    with pytest.raises(ValueError, match="more or less of 'validation_gap'"):
        results.plot.sensitivity("validation_gap")
    heat = dataclasses.replace(results, dataset=results.dataset.assign_coords(b=("config", [1.0] * 4)))
    with pytest.raises(ValueError, match="more or less of 'validation_gap'"):
        heat.plot.heatmap("learning_rate", "b", "validation_gap", "adam")


def test_mixed_values_stand_side_by_side_each_by_its_name(grid):
    flags = coordinate("config", column([1, True, None, "None"] * 3))
    dataset = grid.dataset.assign_coords(flag=flags)
    results = dataclasses.replace(grid, dataset=dataset)
    names = ["1", "True", "None", "'None'"]
    ax = rendered(results.plot.sensitivity(hyperparameter="flag"))
    assert [t.get_text() for t in ax.get_xticklabels()] == names
    paired = dataset.isel(config=slice(4)).assign_coords(momentum=("config", [0.5] * 4))
    ax = rendered(dataclasses.replace(grid, dataset=paired).plot.heatmap("flag", "momentum"))
    assert [t.get_text() for t in ax.get_xticklabels()] == names


def test_pictures_of_an_unfinished_sweep_say_at_which_step(swept):
    losses = swept.dataset["train_loss"].values.copy()
    losses[:, :, 5:] = np.nan
    cut = changed(swept, train_loss=losses, status=np.full((8, SEEDS), "interrupted"))
    assert "at step 16" in cut.plot.sensitivity().get_ylabel()


# Heatmap


def test_cells_are_medians_of_the_best(grid):
    final = grid.dataset["train_loss"].values[:, :, -1].reshape(4, 3, SEEDS)
    expected = np.median(final, axis=-1).T  # rows are y
    ax = grid.plot.heatmap("learning_rate", "momentum")
    cells = ax.collections[0].get_array()
    np.testing.assert_array_equal(cells.mask, ~np.isfinite(expected))
    np.testing.assert_array_equal(cells.compressed(), expected[np.isfinite(expected)].astype(cells.dtype))
    np.testing.assert_array_equal(grid.plot.heatmap("momentum", "learning_rate").collections[0].get_array(), cells.T)
    (star,) = artists(ax, "best")
    best = np.unravel_index(np.argmin(expected), expected.shape)
    assert (star.get_ydata()[0], star.get_xdata()[0]) == best
    assert "final training loss, median of 4 seeds" in " ".join(ax.figure.axes[1].get_ylabel().split())


def test_diverged_cells_are_hatched_and_partly_diverged_ones_crossed(grid):
    final = np.ones((12, SEEDS))
    final[1, 0] = np.inf  # learning rate 0, momentum 1
    final[11] = final[8, :3] = np.inf  # learning rates 3 and 2, momentum 2
    ax = rendered(with_final(grid, final).plot.heatmap("learning_rate", "momentum"))
    (hatched,) = artists(ax, "lost")
    corners = sorted(tuple(p.vertices[0] + 0.5) for p in hatched.get_paths())
    assert corners == [(2, 2), (3, 2)]
    assert hatched.get_hatch()
    (crossed,) = artists(ax, "partly lost")
    assert list(zip(crossed.get_xdata(), crossed.get_ydata(), strict=True)) == [(0, 1)]
    assert "fewer than half" in texts(ax)


def test_stopped_cells_are_dotted(grid):
    final, status = np.ones((12, SEEDS)), np.full((12, SEEDS), "completed")
    final[1], status[1] = np.nan, "stopped"  # learning rate 0, momentum 1
    final[11], status[11] = np.inf, "diverged"
    ax = with_final(grid, final, status).plot.heatmap("learning_rate", "momentum")
    corners = [[tuple(p.vertices[0] + 0.5) for p in artists(ax, gid)[0].get_paths()] for gid in LOST]
    assert corners == [[(3, 2)], [(0, 1)]]
    hatches = [artists(ax, gid)[0].get_hatch() for gid in LOST]
    assert hatches[0] != hatches[1]
    assert texts(ax).endswith("diverged\nstopped early")


def test_heatmap_ticks_are_powers_of_ten_in_a_long_grid(grid):
    rates, momentum = np.geomspace(1e-6, 1e-3, 12), np.full(12, 0.9)
    dataset = grid.dataset.assign_coords(learning_rate=("config", rates), momentum=("config", momentum))
    ax = dataclasses.replace(grid, dataset=dataset).plot.heatmap("learning_rate", "momentum")
    np.testing.assert_allclose(ax.get_xticks(), np.arange(4) * 11 / 3)
    assert [t.get_text() for t in ax.get_xticklabels()] == [f"$10^{{{p}}}$" for p in (-6, -5, -4, -3)]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.9"]


def test_all_cells_diverged(grid):
    ax = rendered(with_final(grid, np.full((12, SEEDS), np.inf)).plot.heatmap("learning_rate", "momentum"))
    assert len(artists(ax, "lost")[0].get_paths()) == 12
    assert not artists(ax, "best")


# Fit


def test_fit_draws_data_and_each_prediction(line):
    ax = rendered(line.plot.fit())
    x, y = line.task.train
    (data,) = artists(ax, "data")
    np.testing.assert_array_equal((data.get_xdata(), data.get_ydata()), (x, y))
    for drawn, optimizer in zip(artists(ax, "prediction"), ("gradient_descent", "adam"), strict=True):
        params = line.params(line.best(optimizer=optimizer).config)
        expected = params["slope"] * drawn.get_xdata() + params["intercept"]
        np.testing.assert_allclose(drawn.get_ydata(), expected, rtol=1e-5)  # float32 arithmetic in another order
        assert optimizer in texts(ax)


def test_fit_of_given_parameters_and_split(line):
    ax = line.plot.fit({"slope": 2.0, "intercept": 1.0}, split="test")
    (drawn,) = artists(ax, "prediction")
    np.testing.assert_allclose(drawn.get_ydata(), 2 * drawn.get_xdata() + 1, rtol=1e-5)
    np.testing.assert_array_equal(artists(ax, "data")[0].get_ydata(), line.task.test[1])


def test_fit_of_several_inputs_sets_predicted_against_actual():
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = x @ [1.0, 2.0, 3.0]
    predict = lambda w, x: x @ w
    loss = lambda w, batch: jnp.mean((predict(w, batch[0]) - batch[1]) ** 2)
    task = jl.Task("plane", init=lambda key: jnp.zeros(3), loss=loss, train=(x, y), predict=predict)
    results = jl.sweep(["gradient_descent", "adam"], task, {"learning_rate": 0.1}, steps=5)
    ax = rendered(results.plot.fit())
    (drawn,) = artists(ax, "prediction")  # of the best optimizer only
    np.testing.assert_array_equal(drawn.get_xdata(), y)
    np.testing.assert_allclose(drawn.get_ydata(), x @ results.params(), rtol=1e-5, atol=1e-5)  # float32
    (diagonal,) = artists(ax, "diagonal")
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())


# All pictures


@pytest.fixture
def labels(line):
    x, y = line.task.train
    task = dataclasses.replace(line.task, name="labels", train=(x, (y > 2).astype(int)), validation=None)
    return dataclasses.replace(line, task=task)


@pytest.mark.parametrize(
    ("results", "draw", "message"),
    [
        ("swept", lambda p: p.sensitivity("train_los"), "Did you mean 'train_loss'"),
        ("swept", lambda p: p.sensitivity(hyperparameter="learning_rat"), "Did you mean 'learning_rate'"),
        ("swept", lambda p: p.curves("train_los"), "Did you mean 'train_loss'"),
        ("swept", lambda p: p.curves(configs=[99]), "no configuration 99: they are numbered 0 to 7"),
        ("swept", lambda p: p.curves(configs=[]), "configs is empty"),
        ("swept", lambda p: p.heatmap("learning_rate", "b1"), "several optimizers: name one of gradient_descent, adam"),
        ("swept", lambda p: p.heatmap("learning_rate", "b1", optimizer="adan"), "Did you mean 'adam'"),
        ("grid", lambda p: p.heatmap("learning_rate", "momentun"), "Did you mean 'momentum'"),
        ("grid", lambda p: p.heatmap("momentum", "momentum"), "two hyperparameters, got 'momentum' twice"),
        ("random", lambda p: p.heatmap("learning_rate", "momentum"), "needs a grid, but .* tried 4 of the 16 pairs"),
        ("grid", lambda p: p.heatmap("learning_rate", "momentum", "los"), "Unknown metric 'los'"),
        ("swept", lambda p: p.fit(), "has no predict"),
        ("line", lambda p: p.fit(split="tset"), "Did you mean 'test'"),
        ("labels", lambda p: p.fit(), "class labels"),
        ("labels", lambda p: p.fit(split="validation"), "has no validation data in arrays; it has train, test"),
    ],
)
def test_mistakes_are_explained(request, results, draw, message):
    with pytest.raises(ValueError, match=message):
        draw(request.getfixturevalue(results).plot)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: p.curves(configs=3), r"write \[3\]"),
        (lambda p: p.curves(configs=["a"]), "must be an integer, got 'a'"),
        (lambda p: p.sensitivity(ax=3), "ax must be Matplotlib axes to draw into, or None for a new figure, got 3"),
    ],
)
def test_mistakes_of_kind_are_explained(swept, draw, message):
    with pytest.raises(TypeError, match=message):
        draw(swept.plot)


def test_fit_without_a_task_says_how_to_get_one(line):
    with pytest.raises(ValueError, match=r"jl\.load\(path, task="):
        dataclasses.replace(line, task=None).plot.fit()


PICTURES = [
    ("swept", lambda p, **k: p.sensitivity(**k)),
    ("swept", lambda p, **k: p.curves(**k)),
    ("grid", lambda p, **k: p.heatmap("learning_rate", "momentum", **k)),
    ("line", lambda p, **k: p.fit(**k)),
]


@pytest.mark.parametrize(("results", "draw"), PICTURES, ids=["sensitivity", "curves", "heatmap", "fit"])
def test_pictures_go_into_given_axes(request, results, draw):
    figure = matplotlib.figure.Figure(layout="constrained")
    first, second = figure.subplots(1, 2)
    assert draw(request.getfixturevalue(results).plot, ax=second) is second
    assert second.has_data()
    assert not first.has_data()
    figure.canvas.draw()


def test_pyplot_knows_nothing_and_threads_may_draw(swept):
    import matplotlib.pyplot as plt

    drawn = []
    thread = threading.Thread(target=lambda: drawn.append(rendered(swept.plot.sensitivity())))
    thread.start()
    thread.join()
    assert len(drawn) == 1
    assert plt.get_fignums() == []


@pytest.mark.parametrize(("results", "draw"), PICTURES, ids=["sensitivity", "curves", "heatmap", "fit"])
def test_users_names_are_shown_as_they_are(request, results, draw):
    results = request.getfixturevalue(results)
    names = {name: f"_{name}$x_1$" for name in np.unique(results.dataset["optimizer"].values)}
    dataset = results.dataset.copy(deep=True).assign_attrs(task="$a_b$ of \\frac")
    dataset["optimizer"] = ("config", [names[o] for o in results.dataset["optimizer"].values])
    ax = rendered(draw(dataclasses.replace(results, dataset=dataset).plot))
    shown = texts(ax)
    assert r"\$a_b\$ of \frac" in shown
    for name in names.values():
        assert name.replace("$", r"\$") in shown


def test_notebooks_show_figures_without_pyplot(swept):
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(swept.plot.curves())
    assert data["image/png"].startswith(b"\x89PNG")
