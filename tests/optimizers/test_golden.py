"""Ours against the authors' own code, run by run: `jaxopt_lab.verify.optimizers.golden`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.golden import NOT_HELD, ROWS
from jaxopt_lab.verify.optimizers.golden.problems import PROBLEMS, flat, loss, start
from jaxopt_lab.verify.optimizers.golden.replay import difference, differences, problem, recorded, sources


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


def test_every_record_of_a_method_here_is_held_or_the_rows_say_why_not():
    runs = {name.removesuffix(" eval").split(" Q ")[0] for name in recorded()} - {"steps"}
    assert runs == {f"{source}/{run}" for source, facts in sources().items() for run in facts["settings"]}
    source = lambda run: run.split("/")[0]
    held = set(map(source, ROWS))
    assert {*ROWS, *NOT_HELD} == {run for run in runs if source(run) in held}
    assert not set(ROWS) & set(NOT_HELD)
    left_out = {source(run).removeprefix("torch_") for run in runs} - {name.removeprefix("torch_") for name in held}
    assert not left_out & set(jl.OPTIMIZERS)
    assert {row.method for row in ROWS.values()} <= set(jl.OPTIMIZERS)
    assert all(row.bound == 1e-10 or row.why for row in ROWS.values())


def test_a_wrong_step_is_seen():
    """By 1e-9 of the step, ten times the bound."""
    assert difference("torch_adam/default", jl.adam(0.02 * (1 + 1e-9))) > ROWS["torch_adam/default"].bound
