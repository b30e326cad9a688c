"""Sweeps with and without rewriting: the same numbers to rounding, and what results say of it."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.compile.options import foreseeable_options
from jaxopt_lab.engine.structure import traced_step, with_convolutions
from jaxopt_lab.sweep.planning import plan_sweep

RATES = {"learning_rate": [0.01, 0.03, 0.1]}
PATCHED = {"convolutions as patches": 1, "pooling by slices": 1}


@pytest.fixture(scope="module")
def images():
    """A small convolutional network with pooling, a further scalar and a metric."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 6, 6, 1)).astype("float32"), rng.integers(0, 3, 24)

    def init(key):
        return {"filters": 0.3 * jax.random.normal(key, (3, 3, 1, 4)), "head": jnp.zeros((36, 3))}

    def logits(params, x):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, params["filters"], (1, 1), "SAME", dimension_numbers=layout)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jnp.tanh(x).reshape(len(x), -1) @ params["head"]

    def loss(params, batch):
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()

    def accuracy(params, batch):
        return jnp.mean(jnp.argmax(logits(params, batch[0]), -1) == batch[1])

    split = (x[:16], y[:16]), (x[16:], y[16:])
    return jl.Task(
        "images", init, loss, train=split[0], validation=split[1], batch_size=8, metrics={"accuracy": accuracy}
    )


def strategy(results):
    (found,) = json.loads(results.dataset.attrs["strategies"])
    return found


@pytest.mark.usefixtures("on_a_cpu")
def test_the_same_curves_with_less_convolving(images, tmp_path):
    run = lambda **more: jl.sweep(jl.adam, images, RATES, steps=8, seeds=2, record=1, cache=False, **more)
    rewritten, written = run(out=tmp_path / "run"), run(rewrite=False)
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        np.testing.assert_allclose(rewritten.dataset[name], written.dataset[name], rtol=1e-5, err_msg=name)
    assert strategy(rewritten)["rewrite"]
    assert strategy(rewritten)["rules"] == PATCHED
    assert not strategy(written)["rewrite"]
    assert "rules" not in strategy(written)
    # A trial alone, and trials that come later, are rewritten as well.
    again = jl.rerun(rewritten, config=1, seed=1, task=images)
    assert again.largest_difference < 1e-5
    more = jl.extend(tmp_path / "run", seeds=3, task=images)
    np.testing.assert_array_equal(more.dataset["train_loss"].sel(seed=[0, 1]), rewritten.dataset["train_loss"])
    assert all(one["rewrite"] for one in json.loads(more.dataset.attrs["strategies"]))


@pytest.mark.usefixtures("on_a_cpu")
def test_a_run_folder_may_go_on_as_written(images, tmp_path):
    """Rewriting changes how a trial is computed, not what it is."""
    run = lambda **more: jl.sweep(jl.adam, images, RATES, steps=4, cache=False, out=tmp_path / "run", **more)
    assert run().dataset.identical(run(rewrite=False).dataset)


def test_the_plan_says_what_is_rewritten(images):
    asked = lambda **more: str(jl.plan(jl.adam, images, RATES, steps=4, cache=False, **more))
    said = "Rewritten for this machine: convolutions as patches (1), pooling by slices (1)."
    assert (said in asked()) == (jax.default_backend() == "cpu")
    assert "ewritten" not in asked(rewrite=False)


@pytest.mark.usefixtures("on_a_cpu")
def test_programs_have_no_convolution(images, monkeypatch):
    plan = plan_sweep(jl.adam, images, RATES, steps=4)
    (group,) = plan.groups
    assert not traced_step(group.structure, group.optimizer).convolves
    texts, options, compile_as_it_is = [], [], jax.stages.Lowered.compile

    def spy(lowered, given=None):
        texts.append(lowered.as_text())
        options.append(given or {})
        return compile_as_it_is(lowered, given)

    monkeypatch.setattr(jax.stages.Lowered, "compile", spy)
    jl.sweep(jl.adam, dataclasses.replace(images, name="compiled anew"), RATES, steps=4, cache=False)
    assert len(texts) > 2
    assert not any("convolution" in text or "reduce_window" in text for text in texts)
    # Held-out images are evaluated as those of convolutions, without what XLA's analysis of memory does not count.
    assert any(foreseeable_options().items() <= given.items() for given in options)


@pytest.mark.usefixtures("on_a_cpu")
def test_memory_is_that_of_convolutions(images):
    (group,) = plan_sweep(jl.adam, images, RATES, steps=4).groups
    step = with_convolutions(group.structure, group.optimizer)
    assert step.convolves
    assert step.largest_bytes < traced_step(group.structure, group.optimizer).largest_bytes  # that of patches


def test_what_no_rule_is_for_is_not_traced_again(images):
    plan = plan_sweep(jl.adam, "rosenbrock", RATES, steps=4)
    assert not plan.groups[0].structure.rewrite
    with pytest.raises(TypeError, match="rewrite"):
        plan_sweep(jl.adam, images, RATES, steps=4, rewrite="no")
