"""Spaces and their tables."""

import functools
import inspect

import jax
import numpy as np
import optax
import pytest

import jaxopt_lab as jl
from jaxopt_lab.sweep.space import configurations


def test_a_product_varies_the_last_name_fastest():
    table = configurations({"learning_rate": jl.log(1e-2, 1, 3), "b1": [0.8, 0.9], "eps": 1e-8})
    np.testing.assert_allclose(table.columns["learning_rate"], [0.01, 0.01, 0.1, 0.1, 1, 1], rtol=1e-14)
    assert table.columns["b1"] == [0.8, 0.9] * 3
    assert table.columns["eps"] == [1e-8] * 6
    assert (len(table), table.kind) == (6, "product")


def test_ranges_include_both_ends_exactly():
    assert configurations({"a": jl.log(1e-5, 10.0, 32)}).columns["a"][0] == 1e-5
    assert configurations({"a": jl.log(1e-5, 10.0, 32)}).columns["a"][-1] == 10.0
    assert configurations({"a": jl.linear(-1, 1, 3)}).columns["a"] == [-1.0, 0.0, 1.0]
    assert configurations({"a": jl.one_minus(0.9, 0.999, 3)}).columns["a"] == pytest.approx([0.9, 0.99, 0.999])
    assert configurations({"a": jl.one_minus(0.0, 0.9, 5)}).columns["a"][::4] == [0.0, 0.9]


def test_lists_may_be_arrays_of_any_number_type():
    for values in ([1, 2], np.array([1, 2]), np.float32([1, 2]), jax.numpy.array([1.0, 2.0]), (1.0, np.int64(2))):
        assert configurations({"a": values}).columns["a"] == [1.0, 2.0]


def test_zipped_pairs_values():
    table = jl.zipped({"a": [1, 2, 3], "b": jl.linear(0, 1, 3), "c": 5.0, "flag": jl.static([True])})
    assert table.columns == {"a": [1, 2, 3], "b": [0, 0.5, 1], "c": [5, 5, 5], "flag": [True] * 3}
    assert table.static == {"flag"}


def test_random_draws_by_the_ranges_law():
    space = {"a": jl.log(1e-4, 1.0), "b": jl.linear(-1, 1), "c": [1, 2, 4], "flag": jl.static(["x", "y"])}
    space["d"] = jl.one_minus(0.9, 0.999)
    table = jl.random(space, 4000, jax.random.key(0))
    assert len(table) == 4000
    remainder = np.log10(1 - np.array(table.columns["d"]))
    drawn = ((np.log10(table.columns["a"]), -4, 0), (np.array(table.columns["b"]), -1, 1), (remainder, -3, -1))
    for values, low, high in drawn:
        assert low <= values.min()
        assert values.max() <= high
        counts = np.histogram(values, 10, (low, high))[0]
        assert ((counts - 400) ** 2 / 400).sum() < 34  # 9 degrees of freedom: 99.99th percentile
    assert set(table.columns["c"]) == {1.0, 2.0, 4.0}
    assert set(table.columns["flag"]) == {"x", "y"}
    assert jl.random(space, 5, 0).columns == jl.random(space, 5, jax.random.key(0)).columns
    assert jl.random(space, 5, 1).columns != jl.random(space, 5, 0).columns


def test_a_prior_is_a_space_to_draw_from():
    space = jl.prior(jl.adam)
    assert space == jl.prior("adam")
    assert set(space) == set(jl.PRIORS[jl.adam])
    assert (space["b1"].low, space["b1"].high, space["b1"].spacing) == (0.5, 0.999, "one_minus")
    assert len(jl.random(space, 3, 0)) == 3
    left = functools.partial(jl.adam, b1=0.8, moment_dtype="float32"), functools.partial(optax.adam, 0.1)
    assert [list(jl.prior(one)) for one in left] == [
        ["learning_rate", "b2", "eps"],
        ["b1", "b2", "eps"],
    ]
    assert set(jl.prior(optax.lion)) <= set(inspect.signature(optax.lion).parameters)  # of its namesake here
    with pytest.raises(ValueError, match="no prior of custom"):
        jl.prior(custom)


def custom(learning_rate):
    return optax.sgd(learning_rate)


@pytest.mark.parametrize("spacing", ["log", "linear", "one_minus"])
def test_fractions_are_the_inverse_of_draws(spacing):
    values = getattr(jl, spacing)(0.1, 0.9)
    unit = np.linspace(0, 1, 7)
    np.testing.assert_allclose(values.fractions(np.array(values.at(unit))), unit, atol=1e-12)


@pytest.mark.parametrize("n", [1, 16, 21])
def test_sobol_fills_evenly(n):
    table = jl.sobol({"a": jl.linear(0, 1), "b": jl.log(1, 10)}, n)
    assert len(table) == n
    if n == 16:
        assert np.histogram(table.columns["a"], 16, (0, 1))[0].tolist() == [1] * 16
    assert jl.sobol({"a": jl.linear(0, 1)}, n, key=1).columns != jl.sobol({"a": jl.linear(0, 1)}, n, key=2).columns


def test_static_values_become_pythons_own():
    made = jl.static([np.int64(4), np.float32(0.5), np.True_, np.str_("x"), jax.numpy.float32(2), (np.int8(1), None)])
    assert [*map(repr, made.values)] == ["4", "0.5", "True", "'x'", "2.0", "(1, None)"]
    assert jl.static(np.array([4, 16, 64])).values == (4, 16, 64)


@pytest.mark.parametrize(
    ("values", "once", "named"),
    [
        ([1e-3, 1e-2, 1e-3], [1e-3, 1e-2], "a has 0.001 more than once"),
        ([1, 1.0, 2], [1.0, 2.0], "a has 1.0 more"),
        (jl.log(0.1, 0.1, 3), [0.1], "a has 0.1 more"),
        (jl.static([4, np.int64(4), 5]), [4, 5], "a has 4 more"),
        (jl.static([(1, "x"), (1, "x")]), [(1, "x")], "more than once"),
        (jl.static([max, min, max]), [max, min], "a has max more"),
    ],
)
def test_duplicates_in_a_product_are_run_once_and_said(values, once, named):
    with pytest.warns(UserWarning, match=named):
        assert configurations({"a": values}).columns["a"] == once


def test_equal_values_of_different_kinds_are_no_duplicates(recwarn):
    values = [1, True, 1.0, 0.0, -0.0, (1,), (True,), (1.0,), "1"]
    assert len(configurations({"a": jl.static(values)})) == len(values)
    assert len(jl.zipped({"a": [1, 1], "b": [2, 3]})) == 2  # pairs, not products
    assert not recwarn.list


BAD = [
    (lambda: jl.log(0, 1, 3), ValueError, "must start above 0"),
    (lambda: jl.log(-1, 1, 3), ValueError, "must start above 0"),
    (lambda: jl.log(1, 0.1, 3), ValueError, "Swap them"),
    (lambda: jl.linear(2, 1, 3), ValueError, "Swap them"),
    (lambda: jl.linear(0, float("inf"), 3), ValueError, "finite"),
    (lambda: jl.log(float("nan"), 1, 3), ValueError, "finite"),
    (lambda: jl.log(1e-3, 1, 0), ValueError, "at least 1, got 0"),
    (lambda: jl.log(1e-3, 1, -4), ValueError, "at least 1, got -4"),
    (lambda: jl.log(1e-3, 1, 2.5), TypeError, "integer, got 2.5"),
    (lambda: jl.one_minus(0.5, 1.0), ValueError, "at least 0 and below 1"),
    (lambda: jl.one_minus(-0.5, 0.9), ValueError, "at least 0 and below 1"),
    (lambda: jl.linear("a", 1, 3), TypeError, "must be numbers, got 'a'"),
    (lambda: jl.static([]), ValueError, "at least one value"),
    (lambda: jl.static("relu"), TypeError, r"jl.static\(\['relu'\]\)"),
    (lambda: jl.static({"relu": 1}), TypeError, "takes a list of values"),
    (lambda: jl.static(np.array(3)), TypeError, "takes a list of values"),
    (lambda: configurations({"a": []}), ValueError, "empty list"),
    (lambda: configurations({"a": [1.0, float("nan")]}), ValueError, "nan is not finite"),
    (lambda: configurations({"a": [1.0, float("inf")]}), ValueError, "inf is not finite"),
    (lambda: configurations({"a": [True, False]}), TypeError, r"jl.static\(\[...\]\)"),
    (lambda: configurations({"a": None}), TypeError, r"jl.static\(\[...\]\)"),
    (lambda: configurations({"a": "fast"}), TypeError, "'fast' is not a number"),
    (lambda: configurations({"a": {"b": 1}}), TypeError, "got a dict"),
    (lambda: configurations({"a": jl.log(1e-3, 1)}), ValueError, "third argument"),
    (lambda: configurations([1, 2]), TypeError, "A space is a dict"),
    (lambda: configurations({3: [1.0]}), TypeError, "names, got 3"),
    (lambda: jl.zipped({"a": [1, 2], "b": [1, 2, 3]}), ValueError, "one length"),
    (lambda: jl.random({"a": [1]}, 0, 0), ValueError, "at least 1"),
    (lambda: jl.random({}, 3, 0), ValueError, "nothing to draw"),
    (lambda: jl.sobol({"a": [1]}, -1), ValueError, "at least 1"),
    (lambda: jl.sobol({}, 3), ValueError, "nothing to draw"),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD)
def test_bad_spaces_say_what_to_do(make, error, words):
    with pytest.raises(error, match=words):
        make()
