"""Sweeps drawn by hypothesis beside one naive loop: everything in the dataset, whatever the sweep is told.

A hundred in every run; `pytest -m thorough` draws thousands, from more optimizers and more ways to cut them into chunks.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import drawn_sweeps
import jax
import numpy as np
import pytest
from drawn_sweeps import MORE, OPTIMIZERS, Drawn, sweeps
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from naive import Loop, TooCloseError, differences, divided

import jaxopt_lab as jl
from jaxopt_lab.store.run import Run

# The same examples every time: a failure is the code's.
SOME = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
ALL = (None, *range(1, 20)), (*range(1, 12), None)  # strides of evaluation, and chunks

pytestmark = pytest.mark.usefixtures("float64")


def expected(drawn: Drawn):
    """What the naive loop comes to; None where the rule would never look, which is refused."""
    stop, steps = drawn.arguments.get("stop"), drawn.arguments["steps"]
    if stop is not None and not any(rungs for _, rungs in divided(stop, 2, steps)):
        return None
    try:
        return Loop(**drawn.arguments, exact=drawn.exact).run()
    except TooCloseError:
        reject()


def check(drawn: Drawn):
    """The sweep is what the naive loop is."""
    loop = expected(drawn)
    if loop is None:
        with pytest.raises(ValueError, match="never looks"):
            jl.sweep(**drawn.arguments, **drawn.cut)
    else:
        assert not differences(jl.sweep(**drawn.arguments, **drawn.cut), loop)


@settings(max_examples=100, **SOME)
@given(sweeps())
def test_a_sweep_is_the_naive_loop(drawn):
    check(drawn)


@pytest.mark.thorough
@settings(max_examples=3000, **SOME)
@given(sweeps(OPTIMIZERS | MORE, *ALL))
def test_thousands_of_sweeps_are_the_naive_loop(drawn):
    check(drawn)


# Broken off, and gone on with

OPTIONS = {"checkpoint": 0.0}


def check_broken_off(drawn: Drawn, saves: int, saved: bool):
    """Broken off at a save, just before or after it is made: what is there is true, and the rest comes to be."""
    loop = expected(drawn)
    if loop is None:
        reject()
    undisturbed = jl.sweep(**drawn.arguments, **drawn.cut)
    with tempfile.TemporaryDirectory() as folder:
        run = drawn.arguments | drawn.cut | {"out": Path(folder) / "run", "checkpoint": 0}
        with broken_off(saves, saved):
            part = jl.sweep(**run)
        assert not falsehoods(part, loop)
        found = jl.sweep(**run)
    assert not differences(found, loop)
    assert_equal(found, undisturbed)


def broken_off(saves: int, saved: bool):
    """A context in which Ctrl-C comes at the save of that number."""
    count, save = itertools.count(1), Run.save

    def counting(self, *args):
        last = next(count) == saves
        if saved or not last:
            save(self, *args)
        if last:
            raise KeyboardInterrupt

    patch = pytest.MonkeyPatch()
    patch.setattr(Run, "save", counting)
    return contextlib_closing(patch)


def falsehoods(part: jl.Results, loop) -> list[str]:
    """Numbers in partial results that are not those of the whole; what is not known yet is NaN."""
    found, dataset = [], part.dataset
    for name, values in loop.arrays.items():
        if name not in dataset or values.dtype.kind != "f":
            continue
        known = ~np.isnan(dataset[name].values)
        if not np.allclose(dataset[name].values[known], values[known], rtol=1e-9, atol=1e-12):
            found.append(f"{name}: {dataset[name].values}, expected {values} or NaN")
    status = dataset["status"].values
    other = (status != "interrupted") & (status != loop.arrays["status"])
    return [*found, *(f"status: {status}, expected {loop.arrays['status']}" for _ in range(other.any()))]


def assert_equal(found: jl.Results, expected: jl.Results):
    """To the last bit: every array, every parameter."""
    for name in expected.dataset.variables:
        np.testing.assert_array_equal(found.dataset[name].values, expected.dataset[name].values, err_msg=name)
    assert found.dataset.attrs.get("rungs") == expected.dataset.attrs.get("rungs")
    for (_, ours), (_, theirs) in zip(found.final_params, expected.final_params, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
