"""Where Optax is wrong: as it stands it is neither ours nor the authors'; with the one named change it is both."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.verify.optimizers.cases import CASES
from jaxopt_lab.verify.optimizers.defects import BESIDE_THEM, DEFECTS
from jaxopt_lab.verify.optimizers.golden import ROWS
from jaxopt_lab.verify.optimizers.golden.replay import difference
from jaxopt_lab.verify.optimizers.problems import PROBLEMS
from jaxopt_lab.verify.optimizers.walks import walked

each_defect = pytest.mark.parametrize("name", DEFECTS)
with_record = [name for name, defect in DEFECTS.items() if defect.record]


@each_defect
def test_mended_it_is_ours_and_as_it_stands_it_is_not(name):
    defect, mixed = DEFECTS[name], PROBLEMS["mixed"]
    case = CASES[defect.case]
    assert case.ours is jl.OPTIMIZERS[name]
    assert case.twin is not defect.optax
    assert walked([case], mixed, "float64")[0].step <= case.bounds.step64
    assert walked([case._replace(twin=defect.optax)], mixed, "float64")[0].step > defect.off


@pytest.mark.parametrize("name", with_record)
def test_mended_it_is_the_authors_and_as_it_stands_it_is_not(name):
    """And ours is the authors' by `test_golden`."""
    defect = DEFECTS[name]
    row, mended = ROWS[defect.record], CASES[defect.case].twin
    assert row.method == name
    assert difference(defect.record, mended(**defect.at)) <= row.bound
    assert difference(defect.record, defect.optax(**defect.at)) > 1e-3


def test_optaxs_adadelta_goes_uphill_by_default_and_ours_at_rate_minus_one():
    w = jnp.asarray([3.0, -2.0])
    first = lambda optimizer: optimizer.update(w, optimizer.init(w), w)[0]
    assert (first(optax.adadelta()) * w > 0).all()
    assert jnp.allclose(first(optax.adadelta()), first(jl.adadelta(-1.0)), rtol=1e-6)


def test_optaxs_lbfgs_goes_uphill_after_negative_curvature(float64):
    """Where ours goes on downhill, as Optax's does without such pairs: on -cos w from 2, where it curves down."""
    loss, extras = lambda w: -jnp.cos(w[0]), {"value": 0.0, "value_fn": None, "grad": None}
    steps, slopes = {}, {}
    for name, factory in (("ours", jl.lbfgs), ("mended", CASES["lbfgs"].twin), ("optax", optax.lbfgs)):
        optimizer, w = optax.with_extra_args_support(factory(0.1, linesearch=None)), jnp.asarray([2.0])
        state, steps[name], slopes[name] = optimizer.init(w), [], []
        update = jax.jit(lambda g, state, w, update=optimizer.update: update(g, state, w, **extras))
        for _ in range(40):
            g = jax.grad(loss)(w)
            updates, state = update(g, state, w)
            steps[name].append(float(updates[0]))
            slopes[name].append(float(updates[0] * g[0]))
            w = w + updates
    assert slopes["ours"][1] < 0 < slopes["optax"][1]
    np.testing.assert_allclose(steps["mended"], steps["ours"], rtol=1e-12)
    assert max(slopes["ours"]) < 0  # all of these steps, the first with curvatures of both signs in memory


def test_optaxs_adaptive_muon_lets_the_matrices_of_a_stack_see_each_other(float64):
    """Three times the second gradient changes the step of the first matrix; in ours, only that of the second."""
    g = jnp.sin(jnp.arange(1.0, 25.0)).reshape(2, 3, 4)
    axes = lambda params: optax.contrib.MuonDimensionNumbers(1, 2)
    ours = jl.muon(0.1, adaptive=True, matrices=axes)
    theirs = optax.contrib.muon(0.1, adaptive=True, muon_weight_dimension_numbers=axes)
    first = lambda optimizer, g: optimizer.update(g, optimizer.init(g), g)[0][0]
    louder = g.at[1].multiply(3.0)
    np.testing.assert_allclose(first(ours, louder), first(ours, g), rtol=1e-10)
    assert jnp.linalg.norm(first(theirs, louder) - first(theirs, g)) > 0.5 * jnp.linalg.norm(first(theirs, g))


def test_optaxs_lookahead_resets_a_state_to_that_of_other_parameters(float64):
    """Prodigy's state holds the parameters that it starts from: after a reset, those that it goes on from."""
    start = jnp.ones(3)
    base = optax.contrib.prodigy(1.0, estim_lr0=0.1)
    ours = jl.lookahead(base, 0.5, 2, inner_state="reset")
    theirs = optax.lookahead(base, 2, 0.5, reset_state=True)
    w, both = start, optax.LookaheadParams.init_synced(start)
    ours_state, theirs_state = ours.init(w), theirs.init(both)
    for _ in range(2):
        updates, ours_state = ours.update(w, ours_state, w)
        w, before = optax.apply_updates(w, updates), both
        updates, theirs_state = theirs.update(both.fast, theirs_state, both)
        both = optax.apply_updates(both, updates)
    np.testing.assert_allclose(w, both.fast, rtol=1e-12)
    np.testing.assert_allclose(ours_state.inner.params0, w, rtol=1e-12)
    np.testing.assert_array_equal(theirs_state.fast_state.params0, before.fast)
    assert jnp.abs(before.fast - both.fast).min() > 1e-4


def test_optaxs_schedule_free_weighs_a_step_by_the_next_steps_rate():
    """Told the rate of the step before, it is ours and the authors'."""
    record, rate = "schedulefree_extra/sgd_warmup", lambda t: 0.5 * jnp.minimum((t + 1.0) / 8, 1)
    theirs = lambda learning_rate: optax.contrib.schedule_free(optax.sgd(rate), learning_rate)
    assert difference(record, jl.schedule_free(jl.sgd(rate), rate)) <= ROWS[record].bound
    assert difference(record, theirs(lambda t: rate(t - 1))) <= ROWS[record].bound
    assert difference(record, theirs(rate)) > 1e-3


def test_every_named_defect_is_shown():
    assert set(BESIDE_THEM) == {"adadelta", "lbfgs", "lookahead", "muon", "schedule_free"}
    assert not set(BESIDE_THEM) & set(DEFECTS)
