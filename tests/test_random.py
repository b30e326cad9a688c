"""Random numbers come only from keys, and each key names its generator."""

import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.engine.run.threads import Threads
from jaxopt_lab.tracing.settings import SETTINGS, of_this_thread


def init(key):
    return jax.random.normal(key, (3,))


def loss(w, batch):
    return jnp.mean((w - (0.0 if batch is None else jnp.mean(batch, 0))) ** 2)


def task(**changes):
    return jl.Task(**({"name": "made", "init": init, "loss": loss, "train": None} | changes))


def losses(made, optimizer=jl.sgd, space=None, **options):
    space = {"learning_rate": [0.1, 0.2]} if space is None else space
    return jl.sweep(optimizer, made, space, **({"steps": 4, "seeds": 4} | options))


BATCHED = {"train": np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), "batch_size": 4}


def test_the_default_generator_of_jax_changes_nothing():
    made = task(**BATCHED, validation=lambda key: jax.random.normal(key, (5, 3)))
    noisy, space = jl.noisy_sgd, {"learning_rate": [0.1, 0.2], "eta": [0.1]}
    plain = losses(made, noisy, space, chunk=8)
    with jax.default_prng_impl("rbg"):
        drawn = jl.random({"learning_rate": jl.log(0.1, 1.0)}, 3, key=0)
        for chunk in (1, 8):
            other = losses(task(**BATCHED, validation=made.validation), noisy, space, chunk=chunk)
            for name in ("train_loss", "validation_loss"):
                np.testing.assert_allclose(other.dataset[name], plain.dataset[name], rtol=1e-5, err_msg=name)
        assert jl.rerun(other, 1, 3).agrees
    assert drawn.columns == jl.random({"learning_rate": jl.log(0.1, 1.0)}, 3, key=0).columns


def test_programs_are_of_the_settings_that_they_were_made_under():
    made = task(**BATCHED)
    before = losses(made).dataset.train_loss.values
    with jax.threefry_partitionable(False):
        other = losses(made).dataset.train_loss.values
    assert not (before == other).any()
    np.testing.assert_array_equal(losses(made).dataset.train_loss.values, before)


def test_a_key_that_the_user_makes_is_of_the_default_generator_in_every_thread():
    made = task(loss=lambda w, _: jnp.sum((w - jax.random.normal(jax.random.key(3), (3,))) ** 2))
    expected = {}
    for implementation in ("threefry2x32", "rbg"):
        with jax.default_prng_impl(implementation):
            start = init(jax.random.fold_in(jax.random.key(0, impl="threefry2x32"), 0))
            expected[implementation] = float(made.loss(start, None))
            found = float(losses(made, chunk=1, seeds=1).dataset.train_loss[0, 0, 0])
            assert found == pytest.approx(expected[implementation], rel=1e-5)
    assert expected["rbg"] != pytest.approx(expected["threefry2x32"])


def test_threads_have_the_settings_of_the_one_that_made_them():
    changed = {
        "enable_x64": not jax.config.jax_enable_x64,
        "default_prng_impl": "rbg",
        "threefry_partitionable": False,
        "numpy_dtype_promotion": "strict",
        "numpy_rank_promotion": "warn",
        "softmax_custom_jvp": True,
        "default_matmul_precision": "float32",
    }
    assert {f"jax_{name}" for name in changed} <= set(SETTINGS)
    seen = []
    with contextlib.ExitStack() as stack:
        for name, value in changed.items():
            stack.enter_context(getattr(jax, name)(value))
        threads, here = Threads(1), of_this_thread()
        threads.submit((0,), lambda: seen.append(of_this_thread()))
    threads.run(lambda: None)
    assert seen == [here]
    assert here != of_this_thread()


# A task whose functions draw from elsewhere


def from_numpy(key):
    return np.random.default_rng().normal(size=(4, 3)).astype(np.float32)


def iterating(key, batches=iter(np.random.default_rng(0).normal(size=(50, 4, 3)).astype(np.float32))):  # noqa: B008
    return next(batches)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": from_numpy}, r"train\(key\) returns the same batch for every key.* Draw with jax.random from train"),
        ({"train": iterating}, r"train\(key\) returns the same batch for every key"),
        ({"train": lambda key: jnp.ones((4, 3))}, r"train\(key\) returns the same batch for every key"),
        ({"train": jax.jit(lambda key: jnp.ones((4, 3)))}, r"train\(key\) returns the same batch for every key"),
        (
            {"train": lambda key: jax.random.normal(key, (4, 3)) + from_numpy(key)},
            r"train\(key\) returns two results for one key\. .* Draw with jax.random from train's key",
        ),
        ({"init": lambda key: from_numpy(key)[0]}, r"init\(key\) returns two results for one key\. .* from init's key"),
        ({"init": jax.jit(lambda key: from_numpy(key)[0])}, r"init\(key\) returns two results for one key"),
        (
            {"init": lambda key: init(key) * np.random.default_rng().normal()},
            r"init\(key\) returns two results for one key",
        ),
        ({"loss": lambda w, _: jnp.sum(w * from_numpy(0)[0])}, "loss differs each time it is traced"),
    ],
)
def test_a_task_that_draws_from_elsewhere_is_refused(changes, said):
    with pytest.raises(ValueError, match=f"Task 'made': {said}"):
        losses(task(**changes))


@pytest.mark.parametrize(
    "train",
    [
        lambda key: jax.random.normal(key, (4, 3)),
        lambda key: jnp.ones((4, 3)) * jax.lax.fori_loop(0, 3, lambda i, x: x + jax.random.normal(key), 0.0),
        lambda key: jax.lax.cond(jax.random.bernoulli(key), lambda: jnp.ones((4, 3)), lambda: jnp.zeros((4, 3))),
        lambda key: jax.pure_callback(
            lambda k: np.ones((4, 3), np.float32),
            jax.ShapeDtypeStruct((4, 3), jnp.float32),
            jax.random.key_data(key),
            vmap_method="broadcast_all",
        ),
    ],
    ids=["drawn", "in a loop", "in a branch", "called back"],
)
def test_a_batch_that_depends_on_its_key_is_taken(train, float32):
    made = task(train=train)
    jl.plan(jl.sgd, made, {"learning_rate": [0.1]}, steps=2)


SAME = {"init": lambda key: jnp.ones(3)}


@pytest.mark.parametrize(
    ("changes", "optimizer", "seeds", "warned"),
    [
        (SAME, jl.sgd, 2, True),
        (SAME, jl.sgd, 1, False),
        ({}, jl.sgd, 2, False),
        (SAME | BATCHED, jl.sgd, 2, False),
        (SAME | {"train": lambda key: jax.random.normal(key, (4, 3))}, jl.sgd, 2, False),
        (SAME, jl.noisy_sgd, 2, False),
    ],
    ids=["nothing", "one seed", "init", "batches", "train", "noise"],
)
def test_seeds_on_which_nothing_depends_are_warned_of(changes, optimizer, seeds, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = losses(task(**changes), optimizer, {"learning_rate": [0.1]}, seeds=seeds)
    said = [str(w.message) for w in caught if "Nothing depends on the seed in 'made'" in str(w.message)]
    assert len(said) == warned
    final = results.dataset.train_loss.values[0, :, -1]
    assert (len(set(final.tolist())) < seeds) == warned
    assert all(w.filename == __file__ for w in caught)
