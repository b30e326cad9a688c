"""Search spaces as the unit cube, and methods without Optuna."""

import builtins

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, reject, settings

import jaxopt_lab as jl
from jaxopt_lab.labels import ABSENT
from jaxopt_lab.search.methods import Random, Sobol

numbers = st.floats(1e-6, 1e6)


@st.composite
def ranges(draw):
    kind = draw(st.sampled_from(["log", "linear", "one_minus", "integers", "log integers", "list", "number"]))
    if kind == "one_minus":
        return jl.one_minus(*sorted(draw(st.tuples(st.floats(0, 0.9999), st.floats(0, 0.9999)))))
    if kind.endswith("integers"):
        make = jl.log if kind == "log integers" else jl.linear
        return make(*sorted(draw(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)))), integer=True)
    if kind == "list":
        return draw(st.lists(numbers, min_size=1, max_size=4))
    return draw(numbers) if kind == "number" else getattr(jl, kind)(*sorted(draw(st.tuples(numbers, numbers))))


def spaces(prefix="h", depth=2):
    values = [ranges(), st.lists(st.sampled_from(["a", 1, True, None]), min_size=1, max_size=3).map(jl.static)]
    if depth:
        inner = spaces(prefix + "_", depth - 1)
        values.append(st.dictionaries(st.sampled_from(["x", "y", 3]), inner, min_size=1, max_size=2).map(jl.choice))
    names = st.integers(0, 3).map(lambda i: f"{prefix}{i}")
    return st.dictionaries(names, st.one_of(values), min_size=1, max_size=3)


def names_at(space, configuration):
    """Return the hyperparameters that a configuration must have: those of the space, and of each chosen branch."""
    found = set()
    for name, value in space.items():
        found.add(name)
        if hasattr(value, "spaces"):
            chosen = [type(v) is type(configuration[name]) and v == configuration[name] for v in value.values].index(
                True
            )
            found |= names_at(value.spaces[chosen], configuration)
    return found


@settings(max_examples=60, deadline=None)
@given(spaces(), st.integers(0, 2**31 - 1))
@example({"b1": jl.one_minus(0.0, 1e-11)}, 0)  # 1 - (1 - 1e-11) is above its end
def test_points_become_configurations_of_the_space(space, seed):
    try:
        found = jl.SearchSpace(space)
    except (TypeError, ValueError) as error:
        if "in the space twice" in str(error) or "structural in one branch and numeric" in str(error):
            reject()  # two choices had branches with one name
        raise
    points = np.random.default_rng(seed).random((7, len(found)))
    points[:2] = np.array([[0.0], [1.0]])
    configurations = found.at(points)
    table = found.table(configurations, "search")  # raises where one is not of the space
    for i, one in enumerate(configurations):
        assert one.keys() == names_at(space, one)
        for name, values in table.columns.items():
            assert (values[i] is ABSENT) == (name not in one)
    drawn = jl.random(space, 5, seed)
    assert drawn.static == found.static
    assert list(drawn.described) == list(dict.fromkeys(one.name for one in found.dimensions))


def test_a_choice_gives_each_branch_its_share_and_its_own_ranges():
    space = {"a": jl.choice({"x": {"b": jl.linear(0, 1)}, "y": {"b": jl.linear(2, 3), "c": [7]}, "z": {}})}
    table = jl.random(space, 3000, 0)
    counts = {value: table.columns["a"].count(value) for value in "xyz"}
    assert all(900 < count < 1100 for count in counts.values())
    for a, b, c in zip(*(table.columns[name] for name in "abc"), strict=True):
        if a == "z":
            assert b is ABSENT
        else:
            low = {"x": 0, "y": 2}[a]
            assert low <= b <= low + 1
        assert c == 7 if a == "y" else c is ABSENT


def test_whole_numbers_have_equal_shares_of_their_logarithm():
    drawn = np.array(jl.random({"n": jl.log(1, 8, integer=True)}, 40_000, 0).columns["n"])
    expected = np.diff(np.log(np.arange(0.5, 9))) / np.log(8.5 / 0.5)
    shares = np.array([(drawn == n).mean() for n in range(1, 9)])
    np.testing.assert_allclose(shares, expected, atol=0.01)
    assert jl.random({"n": jl.linear(-1, 1, integer=True)}, 50, 0).columns["n"].count(-1.0) > 5


def test_a_grid_of_whole_numbers_has_each_once():
    from jaxopt_lab.sweep.space import configurations

    assert configurations({"n": jl.log(1, 100, 5, integer=True)}).columns["n"] == [1.0, 3.0, 10.0, 32.0, 100.0]
    assert configurations({"n": jl.linear(1, 3, 9, integer=True)}).columns["n"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: jl.log(1.5, 8, integer=True), ValueError, "both ends must be whole numbers"),
        (lambda: jl.linear(0, 8, integer=2), TypeError, "integer must be"),
        (lambda: jl.choice([True, False]), TypeError, "from values to spaces"),
        (lambda: jl.choice({True: [1]}), TypeError, "from values to spaces"),
        (lambda: jl.choice({}), ValueError, "is empty"),
        (lambda: jl.SearchSpace([1]), TypeError, "takes a dict"),
        (lambda: jl.SearchSpace({"a": [1], "b": jl.choice({1: {"a": [2]}})}), ValueError, "a is in the space twice"),
        (
            lambda: jl.SearchSpace({"b": jl.choice({1: {"a": [2]}}), "c": jl.choice({1: {"a": [2]}})}),
            ValueError,
            "a is in the space twice",
        ),
        (
            lambda: jl.SearchSpace({"b": jl.choice({1: {"a": [2]}, 2: {"a": jl.static([2])}})}),
            TypeError,
            "structural in one branch and numeric",
        ),
        (lambda: jl.SearchSpace({"a": jl.linear(0, 1)}).at([[0.5, 0.5]]), ValueError, r"shape \(n, 1\)"),
        (lambda: jl.SearchSpace({"a": jl.linear(0, 1)}).at([[1.5]]), ValueError, "from 0 to 1"),
        (lambda: jl.sweep(jl.sgd, "quadratic", {"a": jl.choice({1: {}})}, steps=1), ValueError, "a is a choice"),
    ],
)
def test_what_is_no_space_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("method", [Random, Sobol])
def test_asking_in_parts_is_asking_at_once(method):
    space = jl.SearchSpace({"a": jl.linear(0, 1), "b": [1, 2, 3]})
    whole, parts = method(), method()
    whole.start(space, 3)
    parts.start(space, 3)
    assert whole.ask(8) == [*parts.ask(3), *parts.ask(1), *parts.ask(4)]


def test_without_optuna_it_says_how_to_install_it(monkeypatch):
    imported = builtins.__import__

    def missing(name, *rest):
        if name.partition(".")[0] == "optuna":
            raise ImportError
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'jaxopt_lab\[optuna\]'"):
        jl.optuna("tpe")
