"""Compare sweeps drawn by hypothesis with one naive loop: everything in the dataset, for all options.

Every run draws a hundred; `pytest -m thorough` draws thousands, of any structure.
"""

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from drawn_sweeps import EXAMPLE, Drawn, structures, sweeps
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from naive import Expected, Loop, TooCloseError, alike, differences, divided

import jaxopt_lab as jl
from jaxopt_lab.store.run import Run

# The same examples every time: a failure is the code's.
SOME = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
SOME["phases"] = [Phase.generate, Phase.shrink]

pytestmark = pytest.mark.usefixtures("float64")


def expected(drawn: Drawn, nudge: float = 0.0) -> Expected:
    """Return the naive loop's results, unless they depend on rounding."""
    try:
        return Loop(**drawn.arguments, exact=drawn.exact, nudge=nudge).run()
    except TooCloseError:
        reject()


def compare(results: jl.Results, loop: Expected, drawn: Drawn):
    """Fail where they differ, unless training amplifies rounding so much that they cannot be compared."""
    wrong = differences(results, loop)
    if wrong and not drawn.exact and not alike(expected(drawn, nudge=1e-13), loop):
        reject()
    assert not wrong


def looks(drawn: Drawn) -> bool:
    """Return whether the sweep's rule, if any, has a rung before the last step."""
    stop, steps = drawn.arguments["stop"], drawn.arguments["steps"]
    return stop is None or any(rungs for _, rungs in divided(stop, 2, steps))


def check(drawn: Drawn):
    """Check that the sweep equals the naive loop."""
    if looks(drawn):
        loop = expected(drawn)
        compare(jl.sweep(**drawn.arguments, **drawn.cut), loop, drawn)
    else:
        with pytest.raises(ValueError, match="has no rung"):
            jl.sweep(**drawn.arguments, **drawn.cut)


@settings(max_examples=100, **SOME)
@given(sweeps())
def test_a_sweep_is_the_naive_loop(drawn):
    check(drawn)


@pytest.mark.thorough
@settings(max_examples=3000, **SOME)
@given(sweeps(structures()))
def test_thousands_of_sweeps_are_the_naive_loop(drawn):
    check(drawn)


# Broken off


def check_broken_off(drawn: Drawn, saves: int, killed: bool):
    """Check that the same call resumes an interrupted sweep and gives its results bit for bit."""
    if not looks(drawn):
        reject()
    loop, whole = expected(drawn), jl.sweep(**drawn.arguments, **drawn.cut)
    with tempfile.TemporaryDirectory() as folder:
        options = drawn.arguments | drawn.cut | {"out": Path(folder) / "run", "checkpoint": 0}
        part = broken_off(options, saves, killed)
        found = jl.sweep(**options)
    assert_equal(found, whole)
    compare(whole, loop, drawn)
    assert killed or not falsehoods(part, loop)


@settings(max_examples=12, **SOME)
@given(sweeps(), st.integers(1, 12), st.booleans())
def test_a_sweep_that_was_broken_off_goes_on(drawn, saves, killed):
    check_broken_off(drawn, saves, killed)


@pytest.mark.thorough
@settings(max_examples=500, **SOME)
@given(sweeps(structures()), st.integers(1, 40), st.booleans())
def test_hundreds_of_sweeps_that_were_broken_off_go_on(drawn, saves, killed):
    check_broken_off(drawn, saves, killed)


def broken_off(options: dict[str, Any], saves: int, killed: bool) -> jl.Results:
    """Run a sweep that ends at its save of this number: by Ctrl-C, or without further saves, as if it was killed."""
    count, save, pressed = itertools.count(1), Run.save, []

    def counting(self, *args):
        last = next(count) == saves
        if last and killed:
            raise KeyboardInterrupt
        save(self, *args)
        if last:
            pressed.append(True)
            time.sleep(0.15)  # until the main thread, which looks ten times a second, has seen it

    def press(_):
        if pressed:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", counting)
        return jl.sweep(**options, progress=press)


def falsehoods(part: jl.Results, whole: Expected) -> list[str]:
    """Return what partial results claim that final ones contradict. NaN is not known yet; interrupted is not final."""
    found = []
    for name, values in whole.arrays.items():
        ours = part.dataset[name].values
        if values.dtype.kind == "f":
            unlike = ~np.isnan(ours) & ~np.isclose(ours, values, rtol=1e-9, atol=1e-12)
        else:
            unlike = (part.dataset["status"].values != "interrupted") & (ours != values)
        where = map(tuple, np.argwhere(unlike).tolist())
        found += [f"{name}{list(at)}: {ours[at]}, in the end {values[at]}" for at in where]
    return found


def assert_equal(found: jl.Results, expected: jl.Results):
    """Check that every array, decision and parameter is equal bit for bit."""
    for name in expected.dataset.variables:
        ours, theirs = found.dataset[name].values, expected.dataset[name].values
        if theirs.dtype == object:  # of which NumPy tells one NaN from another
            ours, theirs = repr(ours.tolist()), repr(theirs.tolist())
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert found.dataset.attrs.get("rungs") == expected.dataset.attrs.get("rungs")
    for (_, ours), (_, theirs) in zip(found.final_params, expected.final_params, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


PROGRAM = """if True:
    import itertools, os, signal, sys
    sys.path.insert(0, {tests!r})
    import conftest, jax
    import jaxopt_lab as jl
    from drawn_sweeps import EXAMPLE
    from jaxopt_lab.store.run import Run
    count, save = itertools.count(1), Run.save
    def counting(self, *args):
        save(self, *args)
        if next(count) == 7:
            os.kill(os.getpid(), signal.SIGKILL)
    Run.save = counting
    with jax.enable_x64(True):
        jl.sweep(**EXAMPLE.arguments, **EXAMPLE.cut, out={out!r}, checkpoint=0)
"""


def test_a_sweep_that_was_killed_goes_on(tmp_path):
    run = tmp_path / "run"
    program = PROGRAM.format(tests=str(Path(__file__).parent), out=str(run))
    killed = subprocess.run([sys.executable, "-c", program], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    whole = jl.sweep(**EXAMPLE.arguments, **EXAMPLE.cut)
    assert_equal(jl.sweep(**EXAMPLE.arguments, **EXAMPLE.cut, out=run, checkpoint=0), whole)
    compare(whole, expected(EXAMPLE), EXAMPLE)
