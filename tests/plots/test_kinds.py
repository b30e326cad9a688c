"""Pictures of tables, tasks and profiles, and the looks and styles of all: what they show, and what they refuse."""

import itertools

import jax
import jax.numpy as jnp
import made
import matplotlib
import numpy as np
import optax
import pandas as pd
import pytest

import jaxopt_lab as jl
from jaxopt_lab.report import plots
from jaxopt_lab.report.plots.landscape import _places
from jaxopt_lab.report.plots.legend import _apart
from jaxopt_lab.report.plots.looks import FIXED, looks
from jaxopt_lab.report.plots.paths import Ends, ends, paths
from jaxopt_lab.report.plots.tuning import tuning


def artists(ax, gid):
    return [a for a in ax.get_children() if a.get_gid() == gid]


def texts(ax):
    legend = [t.get_text() for t in ax.get_legend().get_texts()] if ax.get_legend() else []
    return " ".join(" ".join([*(t.get_text() for t in ax.texts), *legend, ax.get_xlabel(), ax.get_ylabel()]).split())


def seen(look):
    return look["color"], str(look["linestyle"]), look["marker"]


# Looks and styles


def test_every_method_has_a_look_of_its_own():
    assert {*FIXED} <= {*jl.OPTIMIZERS}
    assert len({seen(look) for look in looks(list(jl.OPTIMIZERS))}) == len(jl.OPTIMIZERS)


def test_a_look_follows_from_the_name_alone_where_colours_differ():
    mine = ["mine", "theirs"]
    alone = {name: seen(looks([name])[0]) for name in (*mine, "adam", "muon")}
    assert len({colour for colour, *_ in alone.values()}) == len(alone)
    for order in itertools.permutations([*mine, "adam"]):
        assert [seen(look) for look in looks(order)] == [alone[name] for name in order]


def test_looks_do_not_depend_on_the_order_of_the_picture():
    names = ["mine", "yours", "theirs", "adam"]
    found = {name: seen(look) for name, look in zip(names, looks(names), strict=True)}
    for order in itertools.permutations(names):
        assert [seen(look) for look in looks(order)] == [found[name] for name in order]


def test_another_name_has_a_colour_that_no_other_line_of_the_picture_has():
    for name in map("optimizer {}".format, range(20)):
        colours = [look["color"] for look in looks(["adam", "sgd", "momentum", name, f"{name}, again"])]
        assert len({*colours}) == 5


def test_no_two_lines_of_a_picture_look_the_same():
    others = (f"optimizer {i}" for i in range(151 - len(FIXED)))  # a colour has 32 variants
    names = [*FIXED, *others, *["adam"] * 10, *["optimizer 3"] * 5]
    found = looks(names)
    assert len({seen(look) for look in found}) == len(names)
    assert {look["color"] for name, look in zip(names, found, strict=True) if name == "adam"} == {found[0]["color"]}


def test_a_style_ends_with_its_block_and_pictures_follow_it():
    before = dict(matplotlib.rcParams)
    sizes = {}
    for name, width in (("paper", None), ("paper", 6.75), ("talk", None)):
        with plots.style(name, width=width):
            ax = made.swept().plot.curves()
            written = [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()]
            written += [t for a in artists(ax, "names") for t in a.texts]
            sizes[name] = {t.get_fontsize() for t in written}
            assert ax.figure.get_figwidth() == (width or matplotlib.rcParams["figure.figsize"][0])
    assert dict(matplotlib.rcParams) == before
    assert min(sizes["paper"]) == 7
    assert max(sizes["paper"]) == 8
    assert min(sizes["talk"]) == 15
    with matplotlib.rc_context({"axes.labelsize": 13.5}):
        assert made.swept().plot.sensitivity().yaxis.label.get_fontsize() == 13.5


def test_names_beside_the_axes_move_apart_and_no_further_than_they_must():
    heights = np.array([10.0, 10, 20, 10])
    middles = _apart(np.array([50.0, 52, 51, 200]), heights, 0, 300)
    order = np.argsort(middles)
    assert (np.diff(middles[order]) >= (heights[order][1:] + heights[order][:-1]) / 2 - 1e-9).all()
    assert middles[3] == 200
    assert np.ptp(middles[:3]) < 31
    top = _apart(np.full(3, 300.0), np.full(3, 20.0), 0, 300)
    np.testing.assert_allclose(top, [290, 270, 250])  # of equals, the first is on top


def test_a_figure_is_saved_in_the_format_of_its_path(tmp_path):
    made.swept().plot.curves(path=tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")
    with pytest.raises(TypeError, match="path must be a file"):
        made.swept().plot.curves(path=3)


# Of results


def test_cells_about_as_good_as_the_best_are_surrounded():
    results = made.grid()
    final = results.dataset["train_loss"].values[..., -1].reshape(6, 4, -1)
    median = np.median(final, axis=-1)
    best = np.unravel_index(np.argmin(median), median.shape)
    near = np.abs(median - median.min()) <= final[best].std(ddof=1)
    assert 1 < near.sum() < near.size / 2
    (drawn,) = artists(results.plot.heatmap("learning_rate", "momentum"), "near")
    padded = np.pad(near.astype(int), 1)
    assert len(drawn.get_segments()) == sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in (0, 1))
    space = {"learning_rate": [1.0, 1.0, 2.0, 2.0], "a": [1.0, 2.0] * 2}
    alone = made.results(["sgd"] * 4, space, made.falling, seeds=1)  # has no standard deviation
    assert not artists(alone.plot.heatmap("learning_rate", "a"), "near")


def test_the_share_that_reached_a_target_counts_every_seed():
    results = made.swept()
    ax = results.plot.reached(0.05)
    for drawn, name in zip(artists(ax, "share"), ("adam", "sgd", "momentum"), strict=True):
        losses = results.dataset["train_loss"].sel(config=results.best(optimizer=name).config).values
        expected = [(losses[:, : i + 1] <= 0.05).any(axis=1).mean() for i in range(len(made.STEPS))]
        np.testing.assert_allclose(drawn.get_ydata(), expected)
    labels = ax.get_legend_handles_labels()[1]
    assert any("5 of 5 (48-100" in label for label in labels)  # .025 ** (1 / 5) = .478
    never = results.plot.reached(1e-9).get_legend_handles_labels()[1]
    assert any("0 of 5 (0-52" in label for label in never)


def test_steps_to_a_target_against_the_batch_size():
    results = made.batches()
    ax = results.plot.batch_sizes(0.1)
    losses, sizes = results.dataset["train_loss"].values, [8, 16, 32, 64, 128, 256]
    for i, (line, perfect, missed) in enumerate(
        zip(*(artists(ax, g) for g in ("median", "perfect", "missed")), strict=True)
    ):
        hit = losses[6 * i : 6 * i + 6] <= 0.1
        first = np.where(hit.any(axis=-1), made.STEPS[hit.argmax(axis=-1)], np.inf)
        expected = np.median(first, axis=1)
        assert missed.get_xdata().tolist() == [s for s, e in zip(sizes, expected, strict=True) if np.isinf(e)] == [8]
        np.testing.assert_array_equal(line.get_ydata(), np.where(np.isinf(expected), np.nan, expected))
        np.testing.assert_allclose(perfect.get_ydata() * perfect.get_xdata(), expected[1] * 16)
    assert "target not reached" in texts(ax)
    with pytest.raises(ValueError, match="No configuration reached train_loss = 1e-30"):
        results.plot.batch_sizes(1e-30)
    with pytest.raises(ValueError, match="before its first step"):
        results.plot.batch_sizes(2.0)
    with pytest.raises(
        ValueError, match=r"no batch sizes: it varied learning_rate. Sweep a space with 'task.batch_size'"
    ):
        made.swept().plot.batch_sizes(0.1)


def test_rungs_show_who_went_on_and_how_many_were_left():
    results = made.halved()
    ax = results.plot.rungs()
    on, ended = artists(ax, "went on"), artists(ax, "ended")
    assert [len(x.get_xdata()) for x in on] == [8 + 4 + 2 + 2] * 2
    assert [len(x.get_xdata()) for x in ended] == [8 + 4 + 2] * 2
    (above,) = ax.child_axes
    assert [t.get_text() for t in above.get_xticklabels()] == ["15 + 15", "8 + 8", "4 + 4", "2 + 2"]
    last = on[0].get_ydata()[np.argsort(on[0].get_xdata())][-2:]
    final = np.median(results.dataset["train_loss"].values[:2, :, -1], axis=1)
    np.testing.assert_allclose(np.sort(last), np.sort(final))
    assert artists(ax, "strip name")[0].get_text() == "diverged"
    with pytest.raises(ValueError, match="no rungs"):
        made.swept().plot.rungs()


def test_a_diagnostic_has_its_limit():
    results = made.sharp()
    ax = results.plot.diagnostic("sharpness", lambda h: 2 / h["learning_rate"], "2 / learning rate", [0, 1])
    assert [line.get_ydata()[0] for line in artists(ax, "level")] == [40.0, 20.0]
    assert [x.get_ydata()[0] for x in artists(results.plot.diagnostic("sharpness", 30, configs=[0]), "level")] == [30.0]
    for line, kind, message in (
        (lambda h: h["momentum"], ValueError, "hyperparameter 'momentum', but configuration 0 has learning_rate"),
        (lambda h: np.inf, ValueError, "finite height"),
        ("2 / lr", TypeError, "a number or a function"),
    ):
        with pytest.raises(kind, match=message):
            results.plot.diagnostic("sharpness", line, configs=[0])


# Of tables


def test_a_tuning_band_that_is_open_goes_to_the_end_of_the_axis():
    curves = made.tuning_curves()
    ax = tuning(curves)
    for line, band, curve in zip(artists(ax, "median"), artists(ax, "band"), curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), curve.median)
        vertices = band.get_paths()[0].vertices
        assert vertices[vertices[:, 0] == 40, 1].min() == ax.get_ylim()[0]
        assert vertices[vertices[:, 0] == 1, 1].max() == ax.get_ylim()[1]
    with pytest.raises(TypeError, match="dict of tuning curves"):
        tuning([1])


def test_performance_profiles_are_shares_of_tasks():
    costs = made.costs()
    ax = plots.performance(costs, most=3)
    table = costs.to_numpy()
    for line, row in zip(artists(ax, "profile"), table, strict=True):
        x, y = line.get_data()
        np.testing.assert_allclose(y, [(row <= (1 + 1e-12) * r * table.min(axis=0)).mean() for r in x])
        assert (x[0], x[-1]) == (1, 3)
    for wrong, message in ((costs * 0, "positive"), (costs.iloc[:0], "no rows")):
        with pytest.raises(ValueError, match=message):
            plots.performance(wrong)
    with pytest.raises(ValueError, match="most must be > 1"):
        plots.performance(costs, most=1)


def test_effects_have_the_colour_of_the_verdict():
    ax = plots.effects(made.effects(), lower_is_better=True)
    colours = [x.get_color() for x in artists(ax, "effect")]
    adam, lion = (looks([name])[0]["color"] for name in ("adam", "lion"))
    assert [c for c in colours if c in (adam, lion)] == [adam, lion, adam]
    assert len(artists(ax, "beyond")) == 3  # one side has no end, two are far beyond
    assert ax.get_xlim()[1] < 1
    assert [t.get_text() for t in ax.get_yticklabels()][:2] == ["digits_mlp", "adam - sgd"]
    assert "adam is better" in texts(ax)
    assert "undecided" in texts(ax)


def test_ranks_are_sorted_and_chances_are_written():
    ax = plots.ranks(made.ranks())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["muon", "adam", "lion", "schedule_free_adamw", "sgd"]
    assert [x.get_xdata()[0] for x in artists(ax, "rank")] == [1.6, 2.1, 3.3, 3.8, 4.2]
    ax = plots.chances(made.chances())
    written = {t.get_position(): t.get_text() for t in ax.texts}
    assert (written[1, 0], written[0, 1], written[4, 0]) == (".63", ".37", "?")
    assert len(written) == 20


@pytest.mark.parametrize(
    ("draw", "kind", "message"),
    [
        (lambda: plots.ranks(made.ranks().drop(columns="low")), ValueError, "no column low"),
        (lambda: plots.ranks([1]), TypeError, "must be a DataFrame"),
        (lambda: plots.effects(made.effects().iloc[:0]), ValueError, "no rows"),
        (lambda: plots.effects(made.effects().assign(effect=np.nan)), ValueError, "NaN"),
        (lambda: plots.chances(made.chances() * 2), ValueError, "from 0 to 1"),
        (lambda: plots.chances(made.chances().iloc[1:]), ValueError, "as rows and as columns"),
        (lambda: plots.style("papr"), ValueError, "Did you mean 'paper'"),
        (lambda: plots.style("paper", width=0.2), ValueError, "width"),
        (lambda: plots.trajectories(jl.tasks.wilson(), {}, steps=3), TypeError, "dict of"),
        (lambda: plots.trajectories(jl.tasks.quadratic(), {"sgd": jl.sgd(1)}, steps=3), ValueError, "two numbers"),
        (lambda: plots.basins(jl.tasks.rosenbrock(), jl.sgd(1e-3), steps=3), ValueError, r"Give limits=\(\("),
        (lambda: plots.basins(jl.tasks.beale(), jl.sgd(1), steps=3, limits=((1, 0), (0, 1))), ValueError, "increasing"),
        (lambda: plots.basins(jl.tasks.beale(), jl.sgd(1), steps=3, limits=4), TypeError, "limits must be"),
    ],
)
def test_mistakes_are_explained(draw, kind, message):
    with pytest.raises(kind, match=message):
        draw()


# Of tasks


def test_paths_are_those_of_a_plain_loop():
    task, optimizer = jl.tasks.rosenbrock(), jl.momentum(5e-4, 0.9)
    starts = np.array([[-1.2, 1.0], [0.5, -0.5], [1e6, 1e6]])
    found = paths(task, optimizer, starts, 20)
    grad = jax.jit(jax.grad(lambda w: task.loss(w, None)))
    for start, path in zip(starts[:2], found.params, strict=False):
        w = jnp.asarray(start, path.dtype)
        state = optimizer.init(w)
        for expected in path:
            np.testing.assert_allclose(w, expected, rtol=1e-4)  # float32, in another order
            updates, state = optimizer.update(grad(w), state, w)
            w = optax.apply_updates(w, updates)
    assert found.diverged.tolist() == [False, False, True]
    last = ends(task, optimizer, starts[:2], 20)
    np.testing.assert_allclose(last.params, found.params[:2, -1], rtol=1e-4)
    np.testing.assert_allclose(last.before, found.params[:2, 18], rtol=1e-4)


def test_trajectories_mark_starts_ends_and_divergence():
    ax = plots.trajectories(
        jl.tasks.rosenbrock(), {"adam": jl.adam(0.05), "sgd": jl.sgd(1.0)}, steps=30, starts=[[-1.2, 1.0], [0.5, 0.5]]
    )
    assert len(artists(ax, "path")) == 4
    assert len(artists(ax, "end")) == len(artists(ax, "diverged")) == 2
    (low, high), (least, most) = ax.get_xlim(), ax.get_ylim()
    for mark in artists(ax, "diverged") + artists(ax, "start"):
        x, y = mark.get_data()
        assert ((low <= x) & (x <= high) & (least <= y) & (y <= most)).all()
    assert "diverged" in texts(ax)


def test_basins_of_styblinski_and_tang_are_its_four_minima():
    ax = plots.basins(jl.tasks.styblinski_tang(), jl.sgd(0.01), steps=300, points=20)
    (places,) = artists(ax, "place")
    minima = sorted(itertools.product([-2.903534, 2.746803], repeat=2))
    np.testing.assert_allclose(sorted(zip(*places.get_data(), strict=True)), minima, atol=1e-3)
    cells = ax.collections[0].get_array()
    x, y = np.meshgrid(*[np.linspace(*end, 20) for end in (ax.get_xlim(), ax.get_ylim())])
    descent = (x > 0.156731).astype(int) * 2 + (y > 0.156731)  # the barrier between two minima, in each dimension
    groups = {(int(a), int(b)) for a, b in zip(cells.ravel(), descent.ravel(), strict=True)}
    assert len(groups) == 4
    assert "loss -78.3 at (-2.90, -2.90)" in texts(ax)


def test_trials_that_still_move_are_in_no_basin():
    last = np.array([[0.0, 0.0], [0.0, 0.001], [3.0, 3.0], [1.0, 1.0]])
    before = last + np.array([[0.0, 0.0], [0.0, 0.0], [0.1, 0.0], [0.0, 0.0]])
    found = Ends(last, before, np.array([False, False, False, True]))
    places, at = _places(found, np.array([0.5, 0.4, 0.1, 0.2]), ((-5.0, 5.0), (-5.0, 5.0)))
    np.testing.assert_array_equal(places, [[0.0, 0.001]])
    assert at.tolist() == [0, 0, -1, -1]


def test_many_basins_are_coloured_by_their_loss():
    ax = plots.basins(jl.tasks.rastrigin(), jl.sgd(0.002), steps=60, points=20)
    assert not artists(ax, "place")
    assert "training loss, after 60 steps" in " ".join(ax.figure.axes[1].get_ylabel().split())
    assert ax.collections[0].get_array().max() > 40


def test_tables_are_not_changed():
    table = made.ranks()
    plots.ranks(table)
    pd.testing.assert_frame_equal(table, made.ranks())


def test_what_all_curves_share_is_in_the_title_and_not_beside_each():
    ax = made.many().plot.curves()
    assert ax.get_title(loc="left").replace("\n", " ") == "made_up, learning rate 0.1, 60 steps"
    assert "adam" in ax.get_legend_handles_labels()[1]
    alone = made.swept().plot.curves(configs=[2])
    assert alone.get_legend_handles_labels()[1] == ["adam: learning rate 0.1"]
