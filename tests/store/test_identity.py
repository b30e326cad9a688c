"""A run folder belongs to one problem, which includes every function and everything that it closes over."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.sweep import durable
from jaxopt_lab.tracing.fingerprint import fingerprint

EYE = np.eye(3, dtype=np.float32)


def problem(
    matrix=EYE,
    weights=(1.0, 2.0, 3.0),
    scale=0.5,
    nested=EYE,
    body=EYE,
    slope=1.0,
    simulated=EYE,
    pretrained=(0.0, 0.0, 0.0),
    noise=0.1,
    beta=1.0,
    rule=1.0,
    held_out=0,
    tested=0,
    minimum=None,
    rates=(0.1, 0.2, 0.3, 0.4),
):
    """The arguments of a sweep, everything in them defined anew."""
    weights, table = jnp.array(weights, jnp.float32), jnp.array(rates, jnp.float32)

    @jax.jit
    def inner(w):
        return jnp.sum(nested @ w)

    @jax.custom_vjp
    def straight_through(w):
        return jnp.sum(jnp.round(w))

    straight_through.defvjp(lambda w: (straight_through(w), None), lambda _, g: (g * jnp.full(3, slope, jnp.float32),))

    def simulator(w):
        return np.float32(np.sum(simulated))

    def loss(w, batch):
        called = jax.pure_callback(simulator, jax.ShapeDtypeStruct((), jnp.float32), jax.lax.stop_gradient(w))
        looped, _ = jax.lax.scan(lambda c, _: (c + jnp.sum(body @ w), None), jnp.float32(0), None, length=2)
        parts = jnp.mean(weights * (matrix @ w - 1) ** 2), inner(w) + looped, straight_through(w), called
        return scale * parts[0] + 1e-3 * (parts[1] + parts[2] + parts[3]) + jnp.mean(batch) ** 2

    def f_beta(w, batch):
        return jnp.mean(w > beta) + jnp.mean(batch)

    @jax.custom_jvp
    def never_asked(w):
        return jnp.mean(w)

    never_asked.defjvp(lambda p, t: (never_asked(*p), rule * jnp.mean(t[0])))

    task = jl.Task(
        "made",
        lambda key: jnp.array(pretrained, jnp.float32) + 0 * jax.random.normal(key, (3,), jnp.float32),
        loss,
        train=lambda key: noise * jax.random.normal(key, (2,), jnp.float32),
        validation=lambda key: jax.random.normal(jax.random.fold_in(key, held_out), (2,), jnp.float32),
        test=lambda key: jax.random.normal(jax.random.fold_in(key, tested), (2,), jnp.float32),
        metrics={"f_score": f_beta, "never_asked": lambda w, _: never_asked(w)},
        minimum=minimum,
    )

    def scheduled(learning_rate):
        return optax.sgd(lambda step: learning_rate * table[step])

    return {"scheduled": scheduled}, task, {"learning_rate": [0.1, 0.2]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "run"
    with jax.enable_x64(False):
        jl.sweep(*problem(), steps=3, out=where)
    return where


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matrix": 5 * EYE}, r"task, 0, loss: changed; .*optimizers, scheduled, mathematics of a step, 0: changed"),
        ({"weights": (1.0, 2.0, 4.0)}, "task, 0, loss: changed"),
        ({"scale": 0.25}, "task, 0, loss: changed"),
        ({"nested": 5 * EYE}, "task, 0, loss: changed"),
        ({"body": 5 * EYE}, "task, 0, loss: changed"),
        ({"simulated": 5 * EYE}, "task, 0, loss: changed"),
        ({"slope": 2.0}, "optimizers, scheduled, mathematics of a step, 0: changed"),
        ({"pretrained": (0.0, 0.0, 1.0)}, r"task, 0, init\(key\): changed"),
        ({"noise": 0.2}, r"task, 0, train\(key\): changed"),
        ({"beta": 2.0}, "a different run: task, 0, metrics, f_score: changed. Choose"),
        ({"held_out": 1}, "a different run: task, 0, validation data: changed. Choose"),
        ({"tested": 1}, "a different run: task, 0, test data: changed. Choose"),
        ({"minimum": 1.0}, "task, 0, minimum: absent in the folder, 1.0 now"),
        ({"rates": (0.1, 0.2, 0.3, 0.5)}, "a different run: optimizers, scheduled, mathematics of a step, 0: changed"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_another_problem_is_refused_by_its_folder(folder, float32, change, said):
    with pytest.raises(jl.RunError, match=said):
        jl.sweep(*problem(**change), steps=3, out=folder)


def test_the_same_problem_defined_anew_is_the_same(folder, float32):
    made = [0]
    jl.sweep(*problem(), steps=3, out=folder, progress=lambda p: made.append(p.trial_steps))
    assert made[-1] == 0  # it was loaded
    jl.sweep(*problem(rule=2.0), steps=3, out=folder)  # a derivative that nothing asks for


@pytest.mark.parametrize(
    ("setting", "value"), [("threefry_partitionable", False), ("default_matmul_precision", "bfloat16")]
)
def test_other_settings_of_jax_are_another_run(folder, float32, setting, value):
    with getattr(jax, setting)(value), pytest.raises(jl.RunError, match=f"settings, jax_{setting}: .* in the folder"):
        jl.sweep(*problem(), steps=3, out=folder)


def test_other_versions_may_write_it_differently_but_not_close_over_other_arrays(tmp_path, float32, monkeypatch):
    jl.sweep(*problem(), steps=3, out=tmp_path / "run")
    now = durable.environment()
    monkeypatch.setattr(durable, "environment", lambda: now | {"jax": "0.99"})
    allowed = functools.partial(jl.sweep, steps=3, out=tmp_path / "run", allow_different_version=True)
    with pytest.raises(jl.RunError, match=r"a different run: task, 0, arrays: changed; .*arrays of a step, 0: changed"):
        allowed(*problem(weights=(1.0, 2.0, 4.0)))
    monkeypatch.setattr(durable, "environment", lambda: now | {"jax": "0.98"})
    allowed(*problem(scale=0.25))  # as a version of JAX might write the same


PROGRAM = """if True:
    import sys, json
    sys.path.insert(0, {tests!r})
    import test_identity, jaxopt_lab as jl
    print(jl.sweep(*test_identity.problem(), steps=1).dataset.attrs["problem"])
"""


def test_every_process_comes_to_the_same():
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    environments = [os.environ | {"PYTHONHASHSEED": seed} for seed in ("1", "2")]
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, env=e, stdout=subprocess.PIPE, text=True) for e in environments]
    first, second = (json.loads(process.communicate()[0]) for process in processes)
    assert first == second


class Simulator:
    """Callable, with plain attributes."""

    def __init__(self, gain):
        self.gain = gain

    def __call__(self, w):
        return np.float32(self.gain)

    def run(self, w):
        return np.float32(self.gain)


GAIN = 1.0


def by_global(w):
    return np.float32(GAIN)


def by_default(w, gain=1.0):
    return np.float32(gain)


@pytest.mark.parametrize(
    "made",
    [
        lambda gain: Simulator(gain),
        lambda gain: Simulator(gain).run,
        lambda gain: functools.partial(by_default, gain=gain),
        lambda gain: lambda w, gain=gain: np.float32(gain),
        lambda gain: lambda w: (lambda: np.float32(gain))(),
        lambda gain: lambda w, held=({"gain": [gain]},): np.float32(held[0]["gain"][0]),
    ],
    ids=["object", "method", "partial", "default", "nested closure", "container"],
)
def test_a_function_that_is_called_back_is_known_by_what_it_holds(made):
    def of(gain):
        called = made(gain)
        program = lambda w: jax.pure_callback(called, jax.ShapeDtypeStruct((), jnp.float32), w)
        return fingerprint(jax.make_jaxpr(program)(1.0)).whole

    assert of(1.0) == of(1.0)
    assert of(1.0) != of(2.0)


def test_a_global_that_a_called_back_function_names_counts(monkeypatch):
    of = lambda: fingerprint(
        jax.make_jaxpr(lambda w: jax.pure_callback(by_global, jax.ShapeDtypeStruct((), jnp.float32), w))(1.0)
    )
    before = of()
    assert of() == before
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    assert of().whole != before.whole


@pytest.mark.parametrize(("value", "other"), [(0.1, 0.1 + 1e-16), (0.0, -0.0), (np.nan, 1.0)])
def test_scalars_are_told_apart_to_the_last_bit(value, other, float64):
    of = lambda x: fingerprint(jax.make_jaxpr(lambda w: w * x)(2.0)).whole
    assert of(value) == of(value)
    assert of(value) != of(other)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "complex64", "bool"])
def test_arrays_of_every_kind_count(dtype):
    def of(first):
        captured = jnp.array([first, 1, 0]).astype(dtype)
        return fingerprint(jax.make_jaxpr(lambda w: w + captured.real.astype(jnp.float32).sum())(2.0)).whole

    with jax.numpy_dtype_promotion("standard"):
        assert of(0) == of(0)
        assert of(0) != of(1)


def test_a_captured_key_counts():
    def of(seed, **how):
        captured = jax.random.key(seed, **how)
        return fingerprint(jax.make_jaxpr(lambda w: w + jax.random.uniform(captured))(2.0)).whole

    assert of(1) == of(1)
    assert len({of(1), of(2), of(1, impl="rbg")}) == 3
