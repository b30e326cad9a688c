"""Images: every picture, drawn at a column's width, is compared with a stored image of it.

To store new ones, after looking at them: JAXOPT_LAB_IMAGES=store pytest tests/plots/test_images.py.
"""

import json
import os
from pathlib import Path

import made
import matplotlib
import pytest
from matplotlib import ft2font
from matplotlib.testing.compare import compare_images

import jaxopt_lab as jl
from jaxopt_lab.report import plots
from jaxopt_lab.report.plots.tuning import tuning

IMAGES = Path(__file__).parent / "images"
MADE_WITH = IMAGES / "made_with.json"
DPI = 60
# The same Matplotlib and FreeType draw the same pixels but for rounding: root mean square of differences in levels of
# 256. Another colour, marker or limit, or a text that moved by a pixel, differs by more than 2: see the test below.
TOLERANCE = 0.5

PICTURES = {
    "sensitivity": lambda **k: made.swept().plot.sensitivity(**k),
    "curves": lambda **k: made.swept().plot.curves(**k),
    "curves_of_many": lambda **k: made.many().plot.curves(**k),
    "diagnostic": lambda **k: made.sharp().plot.diagnostic(
        "sharpness", lambda h: 2 / h["learning_rate"], "2 / learning rate", [0, 1], **k
    ),
    "heatmap": lambda **k: made.grid().plot.heatmap("learning_rate", "momentum", **k),
    "fit": lambda **k: made.line().plot.fit(**k),
    "reached": lambda **k: made.swept().plot.reached(0.05, **k),
    "batch_sizes": lambda **k: made.batches().plot.batch_sizes(0.1, **k),
    "rungs": lambda **k: made.halved().plot.rungs(**k),
    "lineage": lambda **k: made.population().plot.lineage(**k),
    "tuning": lambda **k: tuning(made.tuning_curves(), label="final loss", title="made up", **k),
    "performance": lambda **k: plots.performance(made.costs(), title="ten tasks", **k),
    "ranks": lambda **k: plots.ranks(made.ranks(), title="ten tasks", **k),
    "chances": lambda **k: plots.chances(made.chances(), **k),
    "effects": lambda **k: plots.effects(made.effects(), label="difference of the loss", lower_is_better=True, **k),
    "trajectories": lambda **k: plots.trajectories(
        jl.tasks.rosenbrock(), {"adam": jl.adam(0.05), "momentum": jl.momentum(5e-4, 0.9)}, steps=100, **k
    ),
    "basins": lambda **k: plots.basins(
        jl.tasks.styblinski_tang(), jl.momentum(0.02, 0.9), steps=100, points=40, name="momentum", **k
    ),
}


def made_with():
    return {"matplotlib": matplotlib.__version__, "freetype": ft2font.__freetype_version__}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_the_stored_ones_and_no_text_is_cut_off(name, tmp_path):
    """At a column's width, all text is inside the figure, and no two names beside the axes overlap."""
    stored, drawn = IMAGES / f"{name}.png", tmp_path / f"{name}.png"
    storing = os.environ.get("JAXOPT_LAB_IMAGES") == "store"
    with plots.style("paper"), matplotlib.rc_context({"figure.dpi": DPI, "savefig.dpi": DPI}):
        ax = PICTURES[name](path=stored if storing else drawn)
    box, outside = ax.figure.bbox.padded(1), {t for a in ax.figure.axes for t in _outside(a)}
    shown = [t for t in ax.figure.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible()]
    for text in [t for t in shown if t not in outside]:
        (left, low), (right, high) = text.get_window_extent().get_points()
        assert box.contains(left, low), text
        assert box.contains(right, high), text
    names = [t.get_window_extent() for a in ax.get_children() if a.get_gid() == "names" for t in a.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(names) for b in names[:i])
    if storing:
        MADE_WITH.write_text(json.dumps(made_with()) + "\n")
    elif json.loads(MADE_WITH.read_text()) == made_with():  # other versions draw other letters
        assert compare_images(str(stored), str(drawn), tol=TOLERANCE) is None


def test_the_tolerance_is_less_than_a_change_that_can_be_seen(tmp_path):
    with plots.style("paper"), matplotlib.rc_context({"figure.dpi": DPI, "savefig.dpi": DPI}):
        ax = made.swept().plot.curves(path=tmp_path / "one.png")
        (line, *_) = [a for a in ax.get_children() if a.get_gid() == "median"]
        line.set_linestyle(":")
        ax.figure.savefig(tmp_path / "other.png")
    found = compare_images(str(tmp_path / "one.png"), str(tmp_path / "other.png"), tol=TOLERANCE, in_decorator=True)
    assert found["rms"] > 4 * TOLERANCE


def _outside(ax):
    """Return the labels of ticks that are outside the axes' limits, which are not drawn."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)
