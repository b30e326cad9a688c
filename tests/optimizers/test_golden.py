"""Ours against the authors' own code, run by run: `jaxopt_lab.verify.optimizers.golden`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden import NOT_HELD, ROWS, wrappers
from jaxopt_lab.verify.optimizers.golden.problems import PROBLEMS, flat, loss, start
from jaxopt_lab.verify.optimizers.golden.replay import difference, differences, problem, recorded, sources
from jaxopt_lab.verify.optimizers.wrappers import WRAPPERS


def test_problems_are_the_recorded_ones(float64):
    value, gradient = jax.value_and_grad(loss)(start())
    np.testing.assert_allclose(value, 1.3914424990233956, rtol=1e-14)
    np.testing.assert_allclose(jnp.linalg.norm(flat(gradient)), 1.3823475142914752, rtol=1e-14)
    for name, recorded_loss in {"A": 0.944467683877074, "C": 0.682962113047627}.items():
        begin, objective = PROBLEMS[name]
        np.testing.assert_allclose(objective(begin()), recorded_loss, rtol=1e-14)


@functools.cache
def neighbours():
    """Return, by record, up to eight records in a row that are replayed in one program, as they share a problem."""
    places = {}
    for name in ROWS:
        places.setdefault(problem(name), []).append(name)
    groups = [tuple(names[i : i + 8]) for names in places.values() for i in range(0, len(names), 8)]
    return {name: group for group in groups for name in group}


@functools.cache
def replayed_together(names):
    return differences({name: ROWS[name].make() for name in names})


@pytest.mark.parametrize("name", ROWS)
def test_golden_trajectory(name):
    assert replayed_together(neighbours()[name])[name] <= ROWS[name].bound, ROWS[name].why


@pytest.mark.parametrize("name", wrappers.ROWS)
def test_golden_trajectory_of_a_wrapper(name):
    row = wrappers.ROWS[name]
    assert difference(name, row.make()) <= row.bound, row.why


def test_every_record_of_a_method_or_wrapper_here_is_held_or_the_rows_say_why_not():
    runs = {name.removesuffix(" eval").split(" Q ")[0] for name in recorded()} - {"steps"}
    assert runs == {f"{source}/{run}" for source, facts in sources().items() for run in facts["settings"]}
    source = lambda run: run.split("/")[0]
    for rows, not_held in ((ROWS, NOT_HELD), (wrappers.ROWS, wrappers.NOT_HELD)):
        held = set(map(source, {**rows, **not_held}))
        assert {*rows, *not_held} == {run for run in runs if source(run) in held}
        assert not set(rows) & set(not_held)
        assert all(row.bound == 1e-10 or row.why for row in rows.values())
    held = set(map(source, [*ROWS, *wrappers.ROWS]))
    left_out = {source(run).removeprefix("torch_") for run in runs} - {name.removeprefix("torch_") for name in held}
    assert not left_out & {*jl.OPTIMIZERS, *WRAPPERS}
    assert {row.method for row in ROWS.values()} <= set(jl.OPTIMIZERS)
    assert {row.method for row in wrappers.ROWS.values()} == {
        n for n, wrapper in WRAPPERS.items() if not wrapper.derived
    }


OFF = {
    "cautious_lion/other_betas_decay": lambda off: wrappers.decaying(
        0.006, jl.cautious(jl.lion(0.02 * off, 0.8, 0.99, 0.0), paper_scaling=True)
    ),
    "adamw_cautious_wd/adamw_lr0.02_wd0.5": lambda off: jl.cautious_weight_decay(
        jl.adam(0.02, 0.9, 0.95), 0.02, 0.5 * off
    ),
    "ema_adamw/ema_0.9": lambda off: jl.ema(
        jl.adamw(0.02, weight_decay=1e-2), lambda t: jnp.where(t == 0, 0.0, 0.9 * off)
    ),
    "lookahead/adamw_k6_alpha0.5": lambda off: jl.lookahead(jl.adamw(0.03, weight_decay=0.1), 0.5 * off, 6),
    "schedulefree_wrapper/adamw_decay_at_z": lambda off: jl.schedule_free(
        jl.adamw(0.05, weight_decay=0.1), 0.05, 0.8 * off
    ),
    "mechanic/sgd_recomputed_delta": lambda off: jl.mechanic(jl.sgd(0.1), 0.1, 0.05 * off),
    "adamh/class_defaults": lambda off: wrappers.only_matrices(jl.hyperball(jl.adam(1.0, 0.9, 0.95), 0.005 * off)),
}
"""Wrappers with one of their own numbers off by a factor; 1 is the recorded one."""


@pytest.mark.parametrize("name", OFF)
def test_a_wrong_number_of_a_wrapper_is_seen(name):
    assert difference(name, OFF[name](1.0)) <= wrappers.ROWS[name].bound < difference(name, OFF[name](1 + 1e-6))


def test_a_wrong_step_is_seen():
    """By 1e-9 of the step, ten times the bound."""
    assert difference("torch_adam/default", jl.adam(0.02 * (1 + 1e-9))) > ROWS["torch_adam/default"].bound
