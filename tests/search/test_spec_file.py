"""A search from a spec file: the same as from Python, and errors with their lines."""

import pytest
from test_search import assert_same

import jaxopt_lab as jl
from jaxopt_lab.cli.spec import SpecError, parse
from jaxopt_lab.cli.sweeps import swept

SPEC = """
steps = 12
seeds = 2
stop = { median_stop = { interval = 4 } }

[search]
method = "random"
budget = 6
batch = 3
key = 4

[tasks.quadratic]

[space]
learning_rate = { log = [1e-3, 0.1] }

[optimizers.momentum]
nesterov = { choice = [{ value = true, momentum = { one_minus = [0.5, 0.99] } }, { value = false }] }
[optimizers.adam]
"""


@pytest.mark.filterwarnings("ignore:Nothing depends on the seed")
def test_a_file_is_the_call_in_python(tmp_path):
    spec = parse(SPEC, "spec.toml")
    found = swept({"cache": False}, spec, "quadratic", False, str(tmp_path / "run"))
    rate = {"learning_rate": jl.log(1e-3, 0.1)}
    branches = {True: {"momentum": jl.one_minus(0.5, 0.99)}, False: {}}
    expected = jl.search(
        ["momentum", "adam"],
        "quadratic",
        {"momentum": rate | {"nesterov": jl.choice(branches)}, "adam": rate},
        method="random",
        budget=6,
        batch=3,
        key=4,
        steps=12,
        seeds=2,
        stop=jl.median_stop(4),
        cache=False,
    )
    assert found.dataset.sizes["config"] == 12
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('"random"', '"tpe"', 7, "Unknown method of search: 'tpe'"),
        ("budget = 6", "budget = 0", 8, "budget must be at least 1"),
        ("key = 4", "bach = 4", 10, "Did you mean 'batch'"),
        ("seeds = 2", 'combine = "zipped"', 6, "search and combine exclude each other"),
        ("[1e-3, 0.1]", "[1e-3, 0.1], integer = true", 15, "both ends must be whole numbers"),
        ("{ value = false }", "{ valu = false }", 18, "each with a value and its own hyperparameters"),
        ("interval = 4", "interval = 12", 4, "has no rung"),
        ("nesterov = {", "nestrov = {", 18, "Did you mean 'nesterov'"),
        ("[optimizers.adam]", "[optimizers.adam]\nlearning_rat = 3", 20, "Did you mean 'learning_rate'"),
    ],
)
def test_an_error_has_its_line(old, new, line, words):
    assert SPEC.count(old) == 1
    with pytest.raises(SpecError) as caught:
        parse(SPEC.replace(old, new), "spec.toml")
    assert str(caught.value).startswith(f"spec.toml:{line}: ")
    assert words in str(caught.value)


def test_a_choice_that_is_not_drawn_is_refused():
    start, _, rest = SPEC.partition("[search]")
    with pytest.raises(SpecError, match="nesterov is a choice"):
        parse(start + rest[rest.index("[tasks") :].replace("[1e-3, 0.1]", "[1e-3, 0.1, 4]"), "spec.toml")


def test_whole_numbers():
    text = SPEC.replace("[1e-3, 0.1]", "[1, 100], integer = true")
    table = parse(text, "spec.toml").tables["adam"]
    assert all(rate.is_integer() for rate in table.columns["learning_rate"])
