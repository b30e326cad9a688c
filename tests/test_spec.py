"""Spec files: what they mean, and that every mistake is reported with its line before anything compiles."""

import importlib.resources

import numpy as np
import pytest

import jaxopt_lab as jl
from jaxopt_lab.cli.spec import SpecError, parse

PLAIN = """\
name = "plain"
steps = 5
[tasks.quadratic]
[space]
learning_rate = [0.1, 0.2]
[optimizers.sgd]
"""


def with_line(line, before="[optimizers.sgd]", text=PLAIN):
    """The plain spec with one line more, by default its last; 'before' names the line that it goes before."""
    return f"{text}{line}\n" if before == "[optimizers.sgd]" else text.replace(before, f"{line}\n{before}")


def stop(rule):
    """The plain spec with a rule to stop by, on its second line."""
    return with_line(f"stop = {rule}", before="steps")


def table(text, optimizer="sgd"):
    return parse(text, "x.toml").spaces[optimizer]


def test_the_plain_spec():
    spec = parse(PLAIN, "x.toml")
    assert (spec.name, spec.text, dict(spec.options)) == ("plain", PLAIN, {"steps": 5})
    assert list(spec.tasks) == ["quadratic"]
    assert dict(spec.spaces["sgd"].columns) == {"learning_rate": [0.1, 0.2]}


def test_the_name_defaults_to_the_file():
    assert parse(PLAIN.replace('name = "plain"', ""), "some/where/mine.toml").name == "mine"


def test_the_first_look():
    text = (importlib.resources.files("jaxopt_lab.cli") / "specs" / "first-look.toml").read_text("utf-8")
    spec = parse(text, "first-look.toml")
    assert spec.name == "first-look"
    assert spec.options == {"steps": 500, "seeds": [0, 1, 2, 3, 4]}
    assert {name: task.batch_size for name, task in spec.tasks.items()} == {
        "linear_regression": 10,
        "breast_cancer": 32,
        "digits_mlp": 64,
    }
    assert all(task.validation is not None for task in spec.tasks.values())
    assert list(spec.spaces) == ["sgd", "momentum", "rmsprop", "adagrad", "adam", "lion"]
    for own in spec.spaces.values():
        np.testing.assert_allclose(own.columns["learning_rate"], np.geomspace(1e-5, 10, 32))


@pytest.mark.parametrize(
    ("line", "column", "expected"),
    [
        ("momentum = 0.5", "momentum", [0.5, 0.5]),
        ("learning_rate = 3", "learning_rate", [3.0]),
        ("learning_rate = { log = [0.01, 1, 3] }", "learning_rate", [0.01, 0.1, 1.0]),
        ("learning_rate = { one_minus = [0.0, 0.75, 3] }", "learning_rate", [0.0, 0.5, 0.75]),
        ("learning_rate = { linear = [0, 1, 3] }", "learning_rate", [0.0, 0.5, 1.0]),
        ("nesterov = { static = [true, false] }", "nesterov", [True, False, True, False]),
        ('momentum = { static = ["none"] }', "momentum", [None, None]),
        ('"task.spectrum" = { static = [[1, 0.5]] }', "task.spectrum", [(1, 0.5)] * 2),
    ],
)
def test_values(line, column, expected):
    values = table(with_line(line)).columns[column]
    assert len(values) == len(expected)
    assert all(v == e or v == pytest.approx(e, rel=1e-12) for v, e in zip(values, expected, strict=True))


def test_an_optimizers_own_values_go_before_the_spaces():
    spec = parse(with_line("[optimizers.adam]\nlearning_rate = 1", text=with_line("")), "x.toml")
    assert spec.spaces["sgd"].columns["learning_rate"] == [0.1, 0.2]
    assert spec.spaces["adam"].columns["learning_rate"] == [1.0]


def test_zipped():
    text = with_line("momentum = [0.5, 0.9]").replace("steps", 'combine = "zipped"\nsteps')
    assert table(text).columns == {"learning_rate": [0.1, 0.2], "momentum": [0.5, 0.9]}


@pytest.mark.parametrize(
    ("line", "option", "expected"),
    [
        ("stop = { halving = { min_steps = 2 } }", "stop", jl.halving(4, min_steps=2)),
        ("stop = { hyperband = { eta = 2.5, min_steps = 1 } }", "stop", jl.hyperband(2.5, min_steps=1)),
        ("[stop.plateau]\npatience = 2\nmetric = 'train_loss'", "stop", jl.plateau(2, metric="train_loss")),
        ("strategy = 'steps_each'", "strategy", "steps_each"),
        ("chunk = 3", "chunk", 3),
        ("memory = 2_000_000", "memory", 2_000_000),
    ],
)
def test_options_reach_the_sweep(line, option, expected):
    spec = parse(with_line(line, before="[tasks.quadratic]"), "x.toml")
    assert spec.options == {"steps": 5, option: expected}
    results = jl.sweep(list(spec.spaces), spec.tasks["quadratic"], spec.spaces, **spec.options)
    if option == "stop":
        assert results.dataset.attrs["stop"] == repr(expected)


def test_what_the_caller_gives_goes_before_the_file():
    text = with_line("memory = 10_000_000\nrecord = 1", before="steps")
    assert parse(text, "x.toml", {"steps": 7}).options["steps"] == 7
    with pytest.raises(SpecError, match=r"^x\.toml with memory 1048576: 2 trials do not fit into 1 MiB"):
        parse(text.replace("= 5", "= 200_000"), "x.toml", {"memory": 2**20})


@pytest.mark.parametrize("kind", ["random", "sobol"])
def test_draws_depend_on_the_key_only(kind):
    def drawn(sample):
        text = with_line("momentum = { log = [0.1, 0.9] }").replace("steps", f"sample = {sample}\nsteps")
        return table(text).columns["momentum"]

    first = drawn(f"{{ {kind} = 8 }}")
    assert len(set(first)) == 8
    assert min(first) >= 0.1
    assert max(first) <= 0.9
    assert drawn(f"{{ {kind} = 8, key = 0 }}") == first != drawn(f"{{ {kind} = 8, key = 1 }}")


def test_arguments_of_tasks():
    text = PLAIN.replace("[tasks.quadratic]", '[tasks.digits_mlp]\nwidth = 8\nbatch_size = "none"')
    task = parse(text, "x.toml").tasks["digits_mlp"]
    assert (task.batch_size, task.arguments["width"]) == (None, 8)


MISTAKES = [  # the spec, the line of the mistake, words of the error
    # not TOML
    ("steps =", 1, ["Invalid value"]),
    ("steps = 1\n\nwhat is this", 3, ["Expected '='"]),
    ('steps = 1\nname = """\nno end\n', 4, ["Unterminated"]),
    (PLAIN + "[optimizers.sgd]\n", 7, ["twice"]),
    # keys and names
    (PLAIN.replace("steps", "stepz"), 2, ["'stepz'", "Did you mean 'steps'?"]),
    (PLAIN.replace("[space]", "[spaces]"), 4, ["'spaces'", "Did you mean 'space'?"]),
    (PLAIN.replace("steps = 5\n", ""), 1, ["steps is missing"]),
    ("steps = 1\n[tasks.quadratic]\n", 1, ["optimizers is missing"]),
    (PLAIN.replace("quadratic", "quadratics"), 3, ["task 'quadratics'", "Did you mean 'quadratic'?"]),
    (PLAIN.replace("optimizers.sgd", "optimizers.sdg"), 6, ["optimizer 'sdg'", "Did you mean 'sgd'?"]),
    (with_line("learning_rat = 1"), 7, ["of sgd", "'learning_rat'", "Did you mean 'learning_rate'?"]),
    (with_line("b1 = 1", before="learning_rate"), 5, ["of sgd", "'b1'"]),
    (with_line("b1 = 1", before="[space]"), 4, ["task 'quadratic'", "'b1'", "spectrum"]),
    (with_line("momentum = { lgo = [1, 2, 3] }"), 7, ["'lgo'", "Did you mean 'log'?"]),
    (with_line("sample = { random = 2, kye = 0 }", before="steps"), 2, ["'kye'", "Did you mean 'key'?"]),
    (with_line("combine = 'zip'", before="steps"), 2, ["'zip'", "Did you mean 'zipped'?"]),
    # types
    (PLAIN.replace("5", "'5'"), 2, ["steps must be an integer", "'5'"]),
    (PLAIN.replace("= 5", "= 0"), 2, ["steps must be at least 1"]),
    (PLAIN.replace('"plain"', "3"), 1, ["name must be a string"]),
    (PLAIN.replace('"plain"', '"../plain"'), 1, ["name a folder"]),
    (with_line("seeds = [1, 1]", before="steps"), 2, ["seeds must differ"]),
    (with_line("target = nan", before="steps"), 2, ["target must be finite"]),
    (with_line("tolerance = -1", before="steps"), 2, ["tolerance must be >= 0"]),
    (with_line("sample = 3", before="steps"), 2, ["sample must be"]),
    (with_line("confirm = 3", before="steps"), 2, ["confirm must be { seeds = COUNT }"]),
    (with_line("confirm = { top = 3 }", before="steps"), 2, ["confirm must be { seeds = COUNT }"]),
    (with_line("confirm = { seeds = 3, tops = 3 }", before="steps"), 2, ["'tops'", "Did you mean 'top'?"]),
    (with_line("confirm = { seeds = 1 }", before="steps"), 2, ["seeds must be"]),
    (
        with_line("sample = { random = 1, key = 99999999999999999999 }", before="steps"),
        2,
        ["must be at most 2147483647"],
    ),
    (with_line("space = 3", before="steps").replace("[space]\nlearning_rate = [0.1, 0.2]", ""), 2, ["a table"]),
    (with_line("tasks = 3", before="steps").replace("[tasks.quadratic]", ""), 2, ["tasks must be tables"]),
    (PLAIN.replace("[optimizers.sgd]", "[optimizers]\nsgd = 3"), 7, ["write [optimizers.sgd]"]),
    (with_line("spectrum = 1979-05-27", before="[space]"), 4, ["datetime.date"]),
    (with_line(f"target = 1{400 * '0'}", before="steps"), 2, ["target must be finite"]),
    (with_line("strategy = 'scam'", before="steps"), 2, ["'scam'", "Did you mean 'scan'?"]),
    (with_line("chunk = 0", before="steps"), 2, ["chunk must be at least 1"]),
    (with_line("chunk = 2.5", before="steps"), 2, ["chunk must be an integer, got 2.5"]),
    (with_line("memory = '1GB'", before="steps"), 2, ["memory must be a number or left out, got '1GB'"]),
    (with_line("memory = 10", before="steps"), 2, ["memory must be at least 1 MiB", "or a share"]),
    (
        with_line("memory = 2_000_000\nrecord = 1", before="steps").replace("= 5", "= 500_000"),
        2,
        ["2 trials do not fit into 2 MiB", "give more memory"],
    ),
    # rules to stop by
    (stop("3"), 2, ["stop must be a table with one of halving, hyperband, median_stop, plateau, got 3"]),
    (stop("{ halving = { min_steps = 1 }, plateau = { patience = 1 } }"), 2, ["a table with one of", "'plateau': {"]),
    (stop("{ halvin = { min_steps = 1 } }"), 2, ["'halvin'", "Did you mean 'halving'?"]),
    (stop("{ halving = 3 }"), 2, ["halving must be a table of its arguments"]),
    (stop("{ halving = { eta = 3 } }"), 2, ["halving needs min_steps", "{ halving = { min_steps = 100 } }"]),
    (stop("{ plateau = {} }"), 2, ["{ plateau = { patience = 100 } }"]),
    (stop("{ halving = { min_step = 1 } }"), 2, ["argument of halving", "Did you mean 'min_steps'?"]),
    (stop("{ hyperband = { min_steps = 1.5 } }"), 2, ["min_steps must be an integer, got 1.5"]),
    (stop("{ halving = { eta = 1, min_steps = 1 } }"), 2, ["eta must be > 1", "got 1"]),
    (stop("{ halving = { eta = '4', min_steps = 1 } }"), 2, ["eta must be a number", "'4'"]),
    (stop("{ plateau = { patience = 1, min_improvement = -1 } }"), 2, ["min_improvement must be >= 0", "-1"]),
    (stop("{ plateau = { patience = 1, metric = 'train' } }"), 2, ["metric to stop by: 'train'", "train_loss"]),
    # values
    (with_line(f"momentum = 1{400 * '0'}"), 7, ["too large"]),
    (with_line("momentum = 'a'"), 7, ["'a' is not a number", "{ static = ["]),
    (with_line("momentum = []"), 7, ["empty"]),
    (with_line("momentum = nan"), 7, ["not finite"]),
    (with_line("momentum = {}"), 7, ["one of log, linear, one_minus, static and choice"]),
    (with_line("momentum = { log = 1 }"), 7, ["log must be a list"]),
    (with_line("momentum = { log = [1] }"), 7, ["[low, high, count]"]),
    (with_line("momentum = { log = [0.1, 1] }"), 7, ["has no count", "`sample`"]),
    (with_line("momentum = { log = [2, 1, 3] }"), 7, ["{ log = [2, 1, 3] }", "empty"]),
    (with_line("momentum = { log = [0, 1, 3] }"), 7, ["above 0"]),
    (with_line("nesterov = true"), 7, ["{ static = [...] }"]),
    (with_line("nesterov = { static = ['no'] }"), 7, ["nesterov of sgd must be true or false", "'no'"]),
    (with_line("learning_rate = { static = [0.1] }"), 7, ["numeric"]),
    (with_line("task.spectrum = { static = [[1]] }"), 7, ['"task.spectrum"']),
    (
        with_line('"task.spectrum" = 3'),
        7,
        ['"task.spectrum" = { static = ['],
    ),
    (with_line('"task.batch_size" = { static = [3] }'), 7, ["task 'quadratic'", "'batch_size'"]),
    (with_line('"task.rotation_seed" = { static = ["x"] }', before="learning_rate"), 5, ["an integer", "none"]),
    (with_line("momentum = { static = ['x'] }"), 7, ["momentum of sgd must be a number or \"none\", got 'x'"]),
    (PLAIN.replace("[space]\nlearning_rate = [0.1, 0.2]\n", ""), 4, ["sgd needs learning_rate"]),
    (
        with_line("momentum = [1, 2, 3]").replace("steps", 'combine = "zipped"\nsteps'),
        7,
        ["lists of one length", "'momentum': 3"],
    ),
    (with_line("sample = { random = 2 }\ncombine = 'zipped'", before="steps"), 3, ["exclude each other"]),
    # arguments of tasks
    (with_line("spectrum = [1, -1]", before="[space]"), 3, ["eigenvalues >= 0"]),
    (with_line("rotation_seed = true", before="[space]"), 4, ["rotation_seed", 'an integer or "none"']),
    (PLAIN.replace("[tasks.quadratic]", "[tasks.linear_regression]\nbatch_size = 101"), 3, ["101 is larger"]),
    (PLAIN.replace("[tasks.quadratic]", "[tasks.rosenbrock]\nb = '100'"), 4, ["b must be a number"]),
    # in the last of several tasks
    (with_line("[tasks.diabetes]\nholdout = 1", text=PLAIN + "[tasks.rosenbrock]\n"), 9, ["true or false"]),
]


@pytest.mark.parametrize(("text", "line", "words"), MISTAKES, ids=[words[-1] for _, _, words in MISTAKES])
def test_mistakes_are_named_with_their_line(text, line, words):
    with pytest.raises(SpecError) as raised:
        parse(text, "x.toml")
    message = str(raised.value)
    assert message.startswith(f"x.toml:{line}: "), message
    assert all(word in message for word in words), message
    assert "jl." not in message


def test_lines_inside_long_values_are_no_keys():
    text = PLAIN.replace("[0.1, 0.2]", "[\n  0.1, # steps = 1\n  0.2,\n]") + "nesterov = true\n"
    with pytest.raises(SpecError, match=r"^x\.toml:10: nesterov"):
        parse(text, "x.toml")


def test_optimizers_of_optax_and_of_any_module():
    spec = parse(PLAIN + '[optimizers."optax:adabelief"]\n[optimizers."optax.contrib:ademamix"]\n', "x.toml")
    assert list(spec.spaces) == ["sgd", "optax:adabelief", "optax.contrib:ademamix"]
    results = jl.sweep(list(spec.spaces), "quadratic", {"learning_rate": [0.1]}, steps=3)
    assert results.dataset.optimizer.values.tolist() == list(spec.spaces)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("adma", r'x.toml:\d+: .*Did you mean .*adam.*Write others as "optax:NAME" or "package.module:function"'),
        ("optax:adma", "optax has no function 'adma'"),
        ("no_such_module:adam", "'no_such_module' cannot be imported"),
        (":adam", "cannot be imported"),
        ("optax:__name__", "no function '__name__'"),
    ],
)
def test_an_optimizer_that_is_nowhere(name, match):
    with pytest.raises(SpecError, match=match):
        parse(PLAIN + f'[optimizers."{name}"]\n', "x.toml")
