"""Errors of arguments: what they are about, what was said, and how each front end writes it."""

import pickle

import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.errors import ArgumentError, ArgumentTypeError, ArgumentValueError, Code, concerning
from jaxopt_lab.results.accessors import register
from jaxopt_lab.sweep.options import options
from jaxopt_lab.sweep.request import Request, SweepRequest

RATES = {"learning_rate": [0.1, 0.2]}


def refused(optimizers=jl.sgd, task="quadratic", space=None, **given):
    with pytest.raises(ArgumentError) as caught:
        jl.sweep(optimizers, task, RATES if space is None else space, **({"steps": 3} | given))
    return caught.value


@pytest.mark.parametrize(
    ("call", "about"),
    [
        ({"steps": 0}, ("steps",)),
        ({"seeds": [1, 1]}, ("seeds",)),
        ({"memory": 3}, ("memory",)),
        ({"stop": jl.halving(2, min_steps=50)}, ("stop",)),
        ({"stop": jl.plateau(1, metric="validation_loss")}, ("stop",)),
        ({"out": 3}, ("out",)),
        ({"checkpoint": 1.0}, ("checkpoint",)),
        ({"optimizers": "sdg"}, ("optimizers",)),
        ({"task": "quadratics"}, ("task",)),
        ({"space": {"learning_rate": []}}, ("space", "sgd", "learning_rate")),
        ({"space": {"learning_rate": jl.log(1e-3, 1)}}, ("space", "sgd", "learning_rate")),
        ({"space": RATES | {"momentun": 0.9}, "optimizers": jl.momentum}, ("space", "momentum", "momentun")),
        ({"space": RATES | {"nesterov": True}, "optimizers": jl.momentum}, ("space", "momentum", "nesterov")),
        ({"space": RATES | {"task.spectra": jl.static([1])}}, ("space", "sgd", "task.spectra")),
        ({"space": {}}, ("space", "sgd")),
        ({"optimizers": lambda learning_rate: 3}, ("optimizers", "<lambda>")),
        ({"task": lambda: jl.Task("t", lambda key: np.ones(2), lambda w, _: w, None)}, ("task",)),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_an_error_knows_what_it_is_about(call, about):
    assert refused(**call).about == about


def test_each_front_end_has_its_own_words():
    error = ArgumentTypeError("b is structural: write ", Code("b=jl.static([...])", "b = { static = [...] }"), ".")
    assert str(error) == error.message() == "b is structural: write b=jl.static([...])."
    assert error.message("toml") == "b is structural: write b = { static = [...] }."
    assert isinstance(error, TypeError)
    advised = ArgumentValueError("It is empty.", advice=("Write ", Code("None", '"none"'), "."))
    assert isinstance(advised, ValueError)
    assert (str(advised), advised.message("toml")) == ("It is empty. Write None.", 'It is empty. Write "none".')


def test_what_is_around_comes_first():
    with pytest.raises(ArgumentValueError) as caught, concerning("space", "adam"), concerning("b1"):
        raise ArgumentValueError("wrong")
    assert caught.value.about == ("space", "adam", "b1")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.about, again.said) == ("wrong", ("space", "adam", "b1"), ("wrong",))


def test_one_table_of_options():
    """The call, its documentation and a request have the same options, and a spec those that it may have."""
    table = options(SweepRequest)
    documented = [
        line.split(":")[0].strip() for line in jl.sweep.__doc__.split("Args:")[1].split("Returns:")[0].split("\n")
    ]
    assert [name for name in documented if name in table] == list(table)
    assert list(table)[: len(options(Request))] == list(options(Request))
    request = Request(jl.sgd, "quadratic", RATES, steps=3)
    with pytest.raises(AttributeError):
        request.steps = 4  # pyright: ignore[reportAttributeAccessIssue]
    assert request.named_seeds == [0]
    assert {name: len(rows) for name, rows in request.tables.items()} == {"sgd": 2}


def test_an_accessor_is_registered_once():
    class Owner:
        pass

    register(Owner, "shown", lambda owner: ("shown", owner))
    one = Owner()
    assert one.shown == ("shown", one)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="already has 'shown'"):
        register(Owner, "shown", lambda owner: owner)
