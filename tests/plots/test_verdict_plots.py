"""Pictures of comparisons show what their tables say."""

import warnings

import numpy as np
import pytest

import jaxopt_lab as jl


@pytest.fixture(scope="module")
def verdict():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of edges
        return jl.compare(
            ["sgd", "momentum", "adam"], ["linear_regression"], 16, 3, steps=20, tuning_seeds=1, widen=False
        )


def test_every_picture_is_drawn(verdict, tmp_path):
    chances = verdict.plot.chances(path=tmp_path / "chances.png")
    row = verdict.table().iloc[0]
    shown = f"{row['chance']:.2f}".removeprefix("0")
    assert shown in [text.get_text() for text in chances.texts]
    assert (tmp_path / "chances.png").stat().st_size > 1000
    assert "momentum" in [text.get_text() for text in verdict.plot.ranks().get_yticklabels()]
    assert verdict.plot.performance().get_lines()
    tuning = verdict.plot.tuning("linear_regression")
    assert "validation loss" in tuning.get_ylabel()
    effects = verdict.plot.effects()
    assert "test loss, a - b" in effects.get_xlabel()
    drawn = np.concatenate([line.get_xdata() for line in effects.get_lines()])
    assert np.isclose(drawn, row["effect"]).any()


def test_a_task_must_be_known(verdict):
    with pytest.raises(ValueError, match="Unknown task"):
        verdict.plot.effects("digits")
