"""The direction of a metric: stated by its function, else by its name, else it cannot be used for selection."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.tasks.direction import direction_of

pytestmark = pytest.mark.filterwarnings("ignore:Nothing depends on the seed")

EYE = np.eye(3, dtype=np.float32)


def error(w, batch):
    return jnp.mean((batch @ w - 1) ** 2)


def quality(w, batch):
    return -error(w, batch)


def task(metrics, **changes):
    given = {"train": EYE, "validation": EYE} | changes
    return jl.Task("fit", lambda key: jnp.zeros(3), error, metrics=metrics, **given)


def swept(metrics, main="loss", stop=None, out=None):
    """Two seeds of four rates, of which the third is best by far."""
    space = {"learning_rate": [1e-3, 1e-2, 1.0, 0.1]}
    return jl.sweep(jl.sgd, task(metrics, main_metric=main), space, steps=16, seeds=2, stop=stop, out=out)


NAMES = {
    "max": """accuracy acc balanced_acc val-F1 f1 macro_f1 f1_macro recall recall@10 recall_at_k precision auc roc_auc
        r2 R2 score f1_score ndcg_at_5 top5_acc iou average_precision log_likelihood""",
    "min": """loss hinge_loss error error_rate top1_err mse rmse mae nll perplexity brier brier_score log_loss
        cross_entropy neg_log_likelihood""",
    None: "gap accuracy_gap inaccuracy neg_mse one_minus_auc negative_f1 loss_ratio purity scores_of facc",
}


@pytest.mark.parametrize(("name", "way"), [(n, way) for way, names in NAMES.items() for n in names.split()])
def test_names_say_which_way_by_whole_words(name, way):
    assert direction_of(name) == way


@pytest.mark.parametrize(
    "metrics",
    [{"f1": quality}, {"gap": jl.maximize(quality)}, {"gap": jl.minimize(error)}, {"accuracy": jl.minimize(error)}],
    ids=["by name", "maximize", "minimize", "the function against the name"],
)
def test_everything_chooses_by_the_main_metric(metrics, tmp_path):
    (name,) = metrics
    results = swept(metrics, main=name, stop=jl.halving(2, min_steps=4))
    assert results.dataset.attrs["main_metric"] == f"validation_{name}"
    assert (results.dataset.status.values[2] == "completed").all()  # what the rule let go on
    assert (results.dataset.status.values[0] == "stopped").all()
    best = results.best()
    assert (best.config, best.metric) == (2, f"validation_{name}")
    assert results.leaderboard().config[0] == 2
    assert "validation_" + name in repr(results)
    loaded = jl.load(results.save(tmp_path / "results"))  # without the task: the direction is in the file
    assert loaded.best() == best
    assert loaded.best("validation_loss").config == 2


def test_what_a_rule_kept_worst_is_in_the_metrics_own_sense():
    results = swept({"f1": quality}, main="f1", stop=jl.halving(2, min_steps=4))
    (first, *_) = json.loads(results.dataset.attrs["rungs"])
    at_rung = np.median(results.dataset.validation_f1.sel(eval_step=4).values, axis=1)
    assert first["worst_kept"] == pytest.approx(np.sort(at_rung)[-2])
    assert first["worst_kept"] < 0


def test_a_metric_without_a_direction_is_recorded_and_shown_and_nothing_more():
    results = swept({"gap": quality})
    assert np.isfinite(results.dataset.validation_gap).all()
    assert np.isfinite(results.leaderboard().validation_gap).all()
    assert results.best().config == 2  # by the loss
    for choose in (results.best, results.leaderboard, results.plot.sensitivity):
        with pytest.raises(ValueError, match=r"more or less of 'validation_gap'.*jl.maximize"):
            choose("validation_gap")
    for rule in (jl.halving(2, min_steps=4, metric="validation_gap"), jl.plateau(4, metric="validation_gap")):
        with pytest.raises(ValueError, match="more or less of 'validation_gap'"):
            swept({"gap": quality}, stop=rule)


def test_results_that_say_nothing_of_directions_go_by_names():
    results = swept({"f1": quality, "gap": quality})
    dataset = results.dataset.copy()
    del dataset.attrs["directions"], dataset.attrs["main_metric"]
    old = dataclasses.replace(results, dataset=dataset)
    assert old.best() == results.best()
    assert old.best("validation_f1").config == 2
    with pytest.raises(ValueError, match="more or less"):
        old.best("validation_gap")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"f1": jl.minimize(quality)}}, "validation_f1: 'max' in the folder, 'min' now"),
        ({"main": "f1"}, "main metric: 'validation_loss' in the folder"),
    ],
    ids=["direction", "main metric"],
)
def test_a_run_folder_is_not_that_of_another_direction(changes, words, tmp_path):
    swept({"f1": quality}, out=tmp_path / "run")
    with pytest.raises(jl.RunError, match=words):
        swept(**{"metrics": {"f1": quality}, "out": tmp_path / "run"} | changes)


def changing(flip=False):
    return task({"gap": (jl.minimize if flip else jl.maximize)(quality)}, main_metric="gap")


def naming(main="f1"):
    return task({"f1": quality, "auc": quality}, main_metric=main)


def refused_sweep(make, argument, values):
    return jl.sweep(jl.sgd, make, {"learning_rate": [0.1], argument: jl.static(values)}, steps=2)


def named_like_a_metric(learning_rate, test_f1=0.0, train_loss=0.0, skipped_steps=0.0, params=0.0):
    return jl.sgd(learning_rate)


def with_hyperparameter(name):
    space = {"learning_rate": [0.1], name: [1.0]}
    return jl.sweep(named_like_a_metric, task({"f1": quality}, test=EYE), space, steps=2)


REFUSED = [
    (lambda: task({"loss": error}), ValueError, "cannot be called 'loss'"),
    (lambda: task({"f1_q25": error}), ValueError, "quartiles"),
    (lambda: task({"top/1": error}), ValueError, "no slash"),
    (lambda: task({"": error}), ValueError, "cannot be called ''"),
    (lambda: task({1: error}), TypeError, "must be strings, got 1"),
    (lambda: task({"f1": error}, main_metric="f11"), ValueError, "Did you mean 'f1'"),
    (lambda: task({"f1": error}, main_metric=None), ValueError, "unknown main_metric None"),
    (lambda: task({"f1": error}, main_metric="f1", validation=None), ValueError, "needs validation data"),
    (lambda: task({"gap": error}, main_metric="gap"), ValueError, "jl.maximize"),
    (lambda: jl.maximize("f1"), TypeError, "takes a metric's function.*got 'f1'"),
    (lambda: jl.minimize(jl.maximize(quality)), TypeError, "already has a direction"),
    (lambda: refused_sweep(changing, "task.flip", [True, False]), ValueError, "which way validation_gap is better"),
    (lambda: refused_sweep(naming, "task.main", ["f1", "auc"]), ValueError, "main metric: f1, auc"),
    (lambda: with_hyperparameter("test_f1"), ValueError, "cannot be called 'test_f1'"),
    (lambda: with_hyperparameter("train_loss"), ValueError, "cannot be called 'train_loss'"),
    (lambda: with_hyperparameter("skipped_steps"), ValueError, "cannot be called 'skipped_steps'"),
    (lambda: with_hyperparameter("params"), ValueError, "cannot be called 'params'"),
]


@pytest.mark.parametrize(("make", "kind", "words"), REFUSED)
def test_what_cannot_be_is_refused_at_once(make, kind, words):
    with pytest.raises(kind, match=words):
        make()
