"""Invalid arguments: every row is refused with our own message before anything compiles.

A row has the type of the error and two parts of its message: what was wrong, and what to do.
"""

import importlib
import inspect
import itertools
import linecache
import re
import traceback
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest
import scipy.sparse
from jax.experimental import sparse

import jaxopt_lab as jl
from jaxopt_lab.cli.spec import SpecError, parse
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.sweep import planning

MODULE = importlib.import_module("jaxopt_lab.sweep.sweep")  # the package's attribute is the function
PACKAGE = importlib.import_module("jaxopt_lab.tracing.calling").PACKAGE
RATES = {"learning_rate": [0.1, 0.2]}
X, Y = np.ones((10, 2)), np.ones(10)
HUGE = 10**400
OURS = {ValueError: ArgumentValueError, TypeError: ArgumentTypeError}


@pytest.fixture
def compile_nothing(monkeypatch):
    def compiled(*_, **__):
        raise AssertionError("something was compiled")

    monkeypatch.setattr(MODULE, "execute", compiled)


def model(**changes):
    defaults = {
        "name": "mine",
        "init": lambda key: jnp.zeros(2),
        "loss": lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2),
        "train": (X, Y),
    }
    return jl.Task(**(defaults | changes))


def run(optimizer=jl.adam, task=None, space=None, **options):
    return jl.sweep(optimizer, task or model(), RATES if space is None else space, **({"steps": 5} | options))


def planned(optimizer=jl.adam, task=None, space=None):
    """Return the groups that would run: every check passes."""
    return planning.plan_sweep(optimizer, task or model(), RATES if space is None else space, steps=1).groups


def refused(call, error, *words):
    """Check that `call` raises one of our own errors, of exactly that type, with all these words."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) in (error, OURS.get(error))
    message = str(caught.value)
    for word in words:
        assert word in message, message
    assert message.endswith((".", ")"))
    assert "\n" not in message
    frame, line = list(traceback.walk_tb(caught.value.__traceback__))[-1]
    file = frame.f_code.co_filename
    assert file.startswith(PACKAGE)
    assert linecache.getline(file, line).lstrip().startswith("raise")
    return caught.value


class Loader:
    """A data loader, as many frameworks have them: not an array or a function, but an iterable of batches."""

    def __iter__(self):
        return iter([(X, Y)])


class Tensor:
    """What PyTorch's looks like from outside."""

    def detach(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return np.ones(10)


DATES = np.arange(10).astype("datetime64[D]")
LOADERS, STACK = "jl.stream(make)", "Stack examples: (np.stack("
DATA = [
    ("a generator", lambda: ((X, Y) for _ in range(3)), TypeError, "generator", LOADERS),
    ("an iterator", lambda: iter([(X, Y)]), TypeError, "list_iterator", LOADERS),
    ("zip", lambda: zip(X, Y, strict=True), TypeError, "zip", LOADERS),
    ("a loader", Loader, TypeError, "Loader", LOADERS),
    ("a dict's values", lambda: {"x": X}.values(), TypeError, "dict_values", LOADERS),
    ("pairs", lambda: list(zip(X, Y, strict=True)), ValueError, "list of 10 tuples", STACK),
    ("pairs of equal shapes", lambda: [(x, x) for x in X], ValueError, "list of 10 tuples", STACK),
    ("rows", lambda: [[1.0, 2.0], [3.0, 4.0]], ValueError, "list of 2 lists", "np.asarray"),
    ("dicts", lambda: [{"x": x} for x in X], ValueError, "list of 10 dicts", "np.stack"),
    ("examples", lambda: [*X, Y], ValueError, "as many examples", "np.stack"),
    ("numbers", lambda: [1.0, 2.0], ValueError, "the number 1.0", "np.asarray"),
    ("a ragged list", lambda: np.array([[1], [1, 2]], object), TypeError, "Python objects", "pad"),
    ("strings", lambda: (X, np.array(["a"] * 10)), TypeError, "data[1]", "encode them as numbers"),
    ("bytes", lambda: (X, np.array([b"a"] * 10)), TypeError, "data[1]", "encode them as numbers"),
    ("a string", lambda: "data.csv", TypeError, "the string 'data.csv'", "pass numbers"),
    ("a data frame", lambda: pd.DataFrame(X), TypeError, "pandas.DataFrame", ".to_numpy()"),
    ("a series", lambda: {"x": X, "y": pd.Series(Y)}, TypeError, "['y']", ".to_numpy()"),
    ("random keys", lambda: jax.random.split(jax.random.key(0), 10), TypeError, "random keys", "function key -> batch"),
    ("dates", lambda: DATES, TypeError, "dates", "np.timedelta64"),
    ("durations", lambda: DATES - DATES[0], TypeError, "durations", "np.timedelta64"),
    ("a sparse matrix", lambda: scipy.sparse.csr_matrix(X), TypeError, "scipy.csr_matrix", ".toarray()"),
    ("JAX's sparse matrix", lambda: sparse.BCOO.fromdense(jnp.ones((3, 2))), TypeError, "BCOO", ".todense()"),
    ("a tensor", lambda: (X, Tensor()), TypeError, "Tensor", ".detach().cpu().numpy()"),
    ("a masked array", lambda: (np.ma.array(X), Y), TypeError, "masked", ".filled("),
    ("a structured array", lambda: np.zeros(3, [("a", float)]), TypeError, "structured", "columns"),
    ("None inside", lambda: (X, None), TypeError, "data[1]", "leave it out"),
    ("empty", lambda: (), ValueError, "leading example axis", "counts the examples"),
    ("no axis", lambda: np.float32(3), ValueError, "shapes [()]", "counts the examples"),
    ("a shape", lambda: jax.ShapeDtypeStruct((3,), float), TypeError, "ShapeDtypeStruct", "pass arrays"),
    ("a set", lambda: {1, 2}, TypeError, "set", "arrays"),
]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize(("data", "error", "what", "remedy"), [x[1:] for x in DATA], ids=[x[0] for x in DATA])
def test_data_that_are_no_arrays_of_examples(data, error, what, remedy, split):
    refused(lambda: model(**{split: data()}), error, f"Task 'mine': {split} data", what, remedy)


def test_long_doubles_are_refused_where_there_are_any():
    if np.dtype(np.longdouble) == np.dtype(float):
        pytest.skip("they are doubles here")
    refused(lambda: model(train=np.ones(3, np.longdouble)), TypeError, "JAX lacks", "astype(float)")


DRAWN = [
    ("a generator function", lambda key: (yield X), TypeError, "generator", LOADERS),
    ("nothing", lambda key: None, TypeError, "None", "return something"),
    ("its key", lambda key: key, TypeError, "random keys", "function key -> batch"),
    ("a data frame", lambda key: pd.DataFrame(X), TypeError, "DataFrame", ".to_numpy()"),
    ("without argument", lambda: X, TypeError, "called with 1", "too many positional"),
    ("with two", lambda key, n: X, TypeError, "missing a required argument: 'n'", "Let it take these alone"),
    ("with a typo", lambda key: jnp.ons(3), ValueError, "AttributeError", "test_door.py:"),
]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("draw", "error", "what", "remedy"), [x[1:] for x in DRAWN], ids=[x[0] for x in DRAWN])
def test_functions_that_draw_no_batch(draw, error, what, remedy, split, compile_nothing):
    refused(lambda: run(task=model(**{split: draw})), error, "Task 'mine': ", split, what, remedy)


def misnamed(w, batch):
    return jpn.mean(w)  # noqa: F821


def endless(w, batch):
    return endless(w, batch)


def repeated(w, batch):
    return jax.lax.while_loop(lambda x: x < 3, lambda x: x + 1, jnp.sum(w))


MEAN, AUX = "Take the mean", "(loss, aux), where aux is a dict"
LOSSES = [
    ("a pair", lambda w, b: (jnp.sum(w), b), TypeError, "got tuple of 2", AUX),
    ("a dict", lambda w, b: {"loss": jnp.sum(w)}, TypeError, "got dict of 1", AUX),
    ("a vector", lambda w, b: w, TypeError, "shape (2,)", MEAN),
    ("a vector of one", lambda w, b: w[:1], TypeError, "shape (1,)", MEAN),
    ("an integer", lambda w, b: 3, TypeError, "got int", "jnp.asarray(x, float)"),
    ("an array of integer", lambda w, b: jnp.int32(3), TypeError, "got int32", "jnp.asarray(x, float)"),
    ("complex", lambda w, b: jnp.sum(w) * 1j, TypeError, "complex", "real part"),
    ("nothing", lambda w, b: None, TypeError, "got NoneType", "Its return statement is missing"),
    ("a string", lambda w, b: "a", TypeError, "got str", "Convert it"),
    ("a third argument", lambda w, b, n: jnp.sum(w), TypeError, "nothing gives it n", "let it have a default"),
    ("an argument by name", lambda w, b, *, n: jnp.sum(w), TypeError, "nothing gives it n", "let it have a default"),
    ("one argument", lambda w: jnp.sum(w), TypeError, "too many positional", "Let it take these alone"),
    ("a branch", lambda w, b: w[0] if w[0] > 0 else w[1], TypeError, "branches in Python", "jnp.where"),
    ("a float", lambda w, b: float(jnp.sum(w)), TypeError, "into a Python number", "float()"),
    ("NumPy", lambda w, b: np.sum(np.sin(w)), TypeError, "to NumPy", "jax.numpy"),
    ("a mask", lambda w, b: jnp.sum(w[w > 0]), ValueError, "by a mask", "jnp.where"),
    ("a count", lambda w, b: jnp.zeros(jnp.int32(w[0])).sum(), TypeError, "traced value", "test_door.py:"),
    ("a name", misnamed, ValueError, "NameError: name 'jpn' is not defined", "in misnamed: return jpn.mean(w)"),
    ("an attribute", lambda w, b: jnp.meen(w), ValueError, "AttributeError", "correct it there"),
    ("a key", lambda w, b: {"a": w}["b"], ValueError, "KeyError: 'b'", "test_door.py:"),
    ("shapes", lambda w, b: jnp.sum(w @ jnp.ones(3)), TypeError, "dot_general requires", "test_door.py:"),
    ("a division", lambda w, b: 1 / 0, ValueError, "ZeroDivisionError", "test_door.py:"),
    ("recursion", endless, ValueError, "RecursionError", "in endless"),
]
HEAD = "Task 'mine': the loss"


@pytest.mark.parametrize(("loss", "error", "what", "remedy"), [x[1:] for x in LOSSES], ids=[x[0] for x in LOSSES])
def test_losses_that_cannot_be_trained_by(loss, error, what, remedy, compile_nothing):
    refused(lambda: run(task=model(loss=loss)), error, HEAD, what, remedy)


@pytest.mark.parametrize("row", [0, 2, 4, 7, 12, 17], ids=lambda row: LOSSES[row][0])
def test_metrics_that_are_no_number(row, compile_nothing):
    _, metric, error, what, remedy = LOSSES[row]
    task = model(metrics={"r2": metric}, validation=(X, Y))
    refused(lambda: run(task=task), error, "Task 'mine': the metric r2 on validation data", what, remedy)


def test_a_loss_without_a_gradient_is_told_from_an_optimizer_that_fails(compile_nothing):
    refused(lambda: run(task=model(loss=repeated)), ValueError, "Task 'mine': the gradient of the loss", "lax.scan")


def test_an_error_in_a_users_function_is_the_cause_of_ours(compile_nothing):
    error = refused(lambda: run(task=model(loss=misnamed)), ValueError, "NameError")
    assert isinstance(error.__cause__, NameError)


def equinox_model(key):
    import equinox as eqx

    return eqx.nn.MLP(2, "scalar", 4, 1, key=key)


def flax_dropout(key):
    from flax import nnx

    return nnx.Dropout(0.1, rngs=nnx.Rngs(0))


class Blocks:
    pass


APART = "Keep what is not trained out of init's result"
INITS = [
    (
        "a Python float",
        lambda key: {"w": jnp.zeros(2), "eps": 0.1},
        TypeError,
        "['eps'] is the Python number 0.1",
        APART,
    ),
    ("a Python int", lambda key: [jnp.zeros(2), 3], TypeError, "[1] is the Python number 3", APART),
    ("a bool", lambda key: [jnp.zeros(2), True], TypeError, "[1] is the Python number True", APART),
    ("a string", lambda key: [jnp.zeros(2), "relu"], TypeError, "[1] is the string 'relu'", APART),
    ("a function", lambda key: [jnp.zeros(2), jnp.tanh], TypeError, "[1] is the function tanh", APART),
    ("an object", lambda key: Blocks(), TypeError, "is a Blocks", APART),
    ("nothing", lambda key: None, ValueError, "no parameters, got None", "Return a pytree of arrays"),
    ("integers", lambda key: np.arange(3), TypeError, "is int64", APART),
    ("strings", lambda key: np.array(["a"]), TypeError, "is <U1", APART),
    ("a random key", lambda key: {"w": jnp.zeros(2), "key": key}, TypeError, "['key'] is key<", APART),
    ("Equinox", equinox_model, TypeError, ".activation is the function", "eqx.partition(model, eqx.is_inexact_array)"),
    ("Flax", flax_dropout, TypeError, "is uint32", "nnx.split(model, nnx.Param, ...)"),
    ("no argument", lambda: jnp.zeros(2), TypeError, "init(key) is called with 1", "Let it take these alone"),
    ("two arguments", lambda key, n: jnp.zeros(2), TypeError, "nothing gives it n", "let it have a default"),
    ("a typo", lambda key: jnp.zeroes(2), ValueError, "init raised AttributeError", "test_door.py:"),
    (
        "NumPy's generator",
        lambda key: np.random.default_rng(key).normal(size=2),
        TypeError,
        "init raised",
        "test_door.py:",
    ),
]


@pytest.mark.parametrize(("init", "error", "what", "remedy"), [x[1:] for x in INITS], ids=[x[0] for x in INITS])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the frameworks' own
def test_parameters_that_cannot_be_trained(init, error, what, remedy, compile_nothing):
    task = jl.Task("mine", init, lambda params, _: 0.0, train=None)
    refused(lambda: run(task=task), error, "Task 'mine': ", what, remedy)


def scanned(params, _):
    """A recurrence over layers of which each has a statistic that nothing learns from."""
    layer = lambda x, layer: (jnp.tanh(layer["w"] * x), layer["seen"])
    return jax.lax.scan(layer, 1.0, params)[0]


LAYERS = {"w": jnp.ones(3), "seen": jnp.ones(3)}
UNTRAINED = [
    ("unused", {"w": jnp.ones(2), "mean": jnp.ones(2)}, lambda p, _: jnp.sum(p["w"] ** 2), "['mean']"),
    ("held", [jnp.ones(2), jnp.ones(2)], lambda p, _: jnp.sum(p[0] * jax.lax.stop_gradient(p[1])), "[1]"),
    ("sign", jnp.ones(2), lambda p, _: jnp.sum(jnp.sign(p)), "w"),
    ("a constant", jnp.ones(2), lambda p, _: 1.0, "w"),
    ("scanned", LAYERS, scanned, "['seen']"),
]


@pytest.mark.parametrize(("params", "loss", "named"), [row[1:] for row in UNTRAINED], ids=[x[0] for x in UNTRAINED])
def test_parameters_without_a_gradient_are_said_once(params, loss, named, monkeypatch):
    monkeypatch.setattr(MODULE, "execute", lambda *_, **__: None)
    monkeypatch.setattr(MODULE, "collect", lambda *_: None)
    task = jl.Task("mine", lambda key: params, loss, train=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for optimizer in (jl.adam, jl.sgd):
            run(optimizer, task=task, steps=1)
    assert len(caught) == 1
    assert f"no gradient in {named} of the parameters" in str(caught[0].message)
    assert caught[0].filename == __file__


TRAINED = [
    ("linear", jnp.ones(2), jnp.sum),
    ("of no size", {"w": jnp.ones(2), "none": jnp.ones((0, 4))}, lambda p: jnp.sum(p["w"] ** 2)),
    ("straight through", jnp.ones(2), lambda p: jnp.sum(p + jax.lax.stop_gradient(jnp.round(p) - p))),
    ("one branch", jnp.ones(2), lambda p: jax.lax.cond(p[0] > 5, lambda: p[1], lambda: 0.0)),
    ("jitted", {"a": jnp.ones(2), "b": jnp.ones(2)}, jax.jit(lambda p: jnp.sum(p["a"] * p["b"]))),
    ("nothing at the start", jnp.zeros(2), lambda p: jnp.sum(jnp.maximum(p, 0) ** 2)),
]


@pytest.mark.parametrize(("params", "loss"), [row[1:] for row in TRAINED], ids=[row[0] for row in TRAINED])
def test_no_false_alarm_of_parameters_that_have_a_gradient(params, loss):
    assert planned(task=jl.Task("mine", lambda key: params, lambda p, _: loss(p), train=None))  # a warning would raise


def pair(init=lambda params: (), update=lambda grads, state, params=None: (grads, state)):
    return lambda learning_rate: optax.GradientTransformation(init, update)


def misspelt(learning_rate):
    return jl.admm(learning_rate)


def no_state(params):
    return {}["state"]


def shapes(grads, state, params=None):
    return grads + jnp.ones(7), state


def branches(learning_rate, b1):
    return optax.sgd(learning_rate) if learning_rate > 0.1 else optax.sgd(b1)


def decays(learning_rate):
    return optax.sgd(lambda step: learning_rate if step < 10 else 0.0)


def warms_up(learning_rate):
    return jl.adam(optax.warmup_cosine_decay_schedule(0.0, learning_rate, 10, 100))


def cosine(learning_rate, decay_steps):
    return jl.adam(optax.cosine_decay_schedule(learning_rate, decay_steps))


def layers(learning_rate, count):
    return optax.chain(*[optax.identity() for _ in range(count)], optax.sgd(learning_rate))


TRACES, PROGRAMS = "jnp.where or jax.lax.cond", "compiles a program for each value"
SCALED = "lambda step: learning_rate * schedule(step)"
numeric = lambda **values: RATES | values
OPTIMIZERS = [
    ("a typo", misspelt, {}, ValueError, "'misspelt' raised AttributeError", "in misspelt: return jl.admm("),
    ("its init", pair(no_state), {}, ValueError, "raised KeyError: 'state'", "in no_state"),
    ("its update", pair(update=shapes), {}, TypeError, "incompatible shapes", "in shapes"),
    ("gradients alone", pair(update=lambda g, s, p=None: g), {}, TypeError, "must return (updates, state)", "both"),
    ("three", pair(update=lambda g, s, p=None: (g, s, 1)), {}, TypeError, "must return (updates, state)", "both"),
    ("text", pair(lambda p: "adam"), {}, TypeError, "must be an array, got 'adam'", "Keep it out"),
    (
        "a count that becomes a float",
        pair(lambda p: jnp.int32(0), lambda g, s, p=None: (g, s + 0.5)),
        {},
        TypeError,
        "is int32 before a step and float32 after it",
        "Convert it",
    ),
    ("a branch", branches, numeric(b1=[0.9]), TypeError, "branches in Python on learning_rate,", TRACES),
    ("a branch of the step", decays, {}, TypeError, "the step that a schedule gets", TRACES),
    ("Optax's schedule", warms_up, {}, TypeError, "branches in Python on learning_rate,", SCALED),
    ("its length", cosine, numeric(decay_steps=[10]), TypeError, "on decay_steps,", "decay_steps=jl.static([...])"),
    ("a count", layers, numeric(count=[2]), TypeError, "count are traced numbers", "jl.static([...])"),
    ("NumPy", lambda learning_rate: optax.sgd(np.exp(learning_rate)), {}, TypeError, "to NumPy", "jax.numpy"),
    ("C", dict, {}, TypeError, "has no signature that says which hyperparameters", "Wrap it in a"),
]


@pytest.mark.parametrize(
    ("optimizer", "space", "error", "what", "remedy"), [x[1:] for x in OPTIMIZERS], ids=[x[0] for x in OPTIMIZERS]
)
def test_optimizers_that_cannot_train(optimizer, space, error, what, remedy, compile_nothing):
    refused(lambda: run(optimizer, space=space or RATES), error, "Optimizer '", what, remedy)


def test_a_scaled_schedule_is_one_program_for_all_rates():
    """The remedy that the error about Optax's schedules proposes."""

    def scaled(learning_rate):
        schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 100)
        return jl.adam(lambda step: learning_rate * schedule(step))

    assert len(planned(scaled)) == 1


NAMES = [
    ("a number beside its text", {1: jl.adam, "1": jl.lion}, TypeError, "got the name 1", "non-empty strings"),
    ("an empty name", {"": jl.adam}, TypeError, "got the name ''", "non-empty strings"),
    ("a set", {jl.adam, jl.sgd}, TypeError, "ordered", "a list or a dict"),
    ("no module", "nowhere.at.all:f", ValueError, "cannot be imported", "ModuleNotFoundError"),
]


@pytest.mark.parametrize(("optimizers", "error", "what", "remedy"), [x[1:] for x in NAMES], ids=[x[0] for x in NAMES])
def test_optimizers_that_have_no_name(optimizers, error, what, remedy, compile_nothing):
    refused(lambda: run(optimizers), error, what, remedy)


def test_a_module_with_a_mistake_is_said(tmp_path, monkeypatch, compile_nothing):
    (tmp_path / "mistaken.py").write_text("import jax\njax.nothing\n")
    monkeypatch.syspath_prepend(tmp_path)
    refused(lambda: run("mistaken:f"), ValueError, "'mistaken' cannot be imported", "AttributeError")


SPEC = "steps = 3\n[tasks.quadratic]\n{task}\n[space]\nlearning_rate = {rates}\n[optimizers.{optimizer}]\n"
LINES = [
    ({"rates": f"[{HUGE}]"}, 5, "too large for a float"),
    ({"rates": '"1e-3"'}, 5, "Write 1e-3 without quotes"),
    ({"rates": "2020-01-01"}, 5, "is not a number"),
    ({"rates": "[[1, 2], [3]]"}, 5, "one flat list"),
    ({"rates": "[{ low = 1 }]"}, 5, "Spaces are not nested"),
    ({"task": f"spectrum = [{HUGE}]"}, 2, "finite eigenvalues"),
    ({"task": "spectrum = ['a']"}, 2, "finite eigenvalues"),
    ({"optimizer": '"mistakes:misspelt"'}, 6, "raised AttributeError"),
    ({"optimizer": '"mistakes:branches"'}, 6, "branches in Python on learning_rate"),
    ({"optimizer": '"mistakes:three"'}, 6, "(init, update) pair, got int"),
    ({"optimizer": '"builtins:min"'}, 6, "has no signature that says which hyperparameters"),
    ({"optimizer": '"mistaken:f"'}, 6, "cannot be imported (SyntaxError"),
]


@pytest.mark.parametrize(("changes", "line", "words"), LINES)
def test_a_spec_says_so_on_the_line(changes, line, words, tmp_path, monkeypatch):
    head = "import optax\nimport jaxopt_lab as jl\n"
    factories = [inspect.getsource(misspelt), inspect.getsource(branches).replace(", b1", "").replace("b1", "1.0")]
    (tmp_path / "mistakes.py").write_text("\n".join([head, *factories, "def three(learning_rate):\n    return 3\n"]))
    (tmp_path / "mistaken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = SPEC.format(**({"task": "", "rates": "[0.1]", "optimizer": "adam"} | changes))
    with pytest.raises(SpecError) as caught:
        parse(text, "x.toml")
    assert str(caught.value).startswith(f"x.toml:{line}: ")
    assert words in str(caught.value)


NESTED = "Spaces are not nested"
SPACES = [
    ("too deep", {"adam": {"learning_rate": {"low": [1]}}}, TypeError, "learning_rate must be", "not nested"),
    ("a dict of values", {"learning_rate": {"log": [1e-3, 1]}}, ValueError, "Unknown optimizer", "a list, a range"),
    ("a table of values", {"learning_rate": jl.zipped(RATES)}, ValueError, "Unknown optimizer", "a list, a range"),
    ("a list of spaces", [RATES], TypeError, "A space is a dict", "jl.zipped"),
    ("a dict in a list", {"learning_rate": [{"low": 1}]}, TypeError, "learning_rate = {'low': 1}", NESTED),
    ("mixed levels", {"adam": RATES, "b1": [0.9]}, ValueError, "'b1' and a space for 'adam'", "{'adam': {'b1'"),
    ("an optimizer's list", {"adam": [0.1], "sgd": RATES}, TypeError, "space of optimizer 'adam'", "must be a dict"),
    ("a number's name", {1: [0.1]}, TypeError, "got 1", "names"),
    ("a tuple's name", {("a",): {"b": 1}}, TypeError, "got ('a',)", "names"),
    ("a set", {"learning_rate": {0.1, 0.2}}, TypeError, "which has no order", "write a list"),
    ("a generator", {"learning_rate": (x for x in [0.1])}, TypeError, "an iterator", "write a list"),
    ("complex", {"learning_rate": [1j]}, TypeError, "learning_rate = 1j", "real and imaginary part"),
    ("text", {"learning_rate": "1e-3"}, TypeError, "learning_rate = '1e-3'", "Write 1e-3 without quotes"),
    ("texts", {"learning_rate": ["0.1"]}, TypeError, "learning_rate = '0.1'", "Write 0.1 without quotes"),
    ("flags", {"learning_rate": np.array([True])}, TypeError, "learning_rate = np.True_", "jl.static([...])"),
    ("a date", {"learning_rate": DATES[:1]}, TypeError, "learning_rate = np.datetime64", "is not a number"),
    ("lists", {"learning_rate": [[1, 2], [3]]}, TypeError, "learning_rate = [1, 2]", "one flat list"),
    ("a matrix", {"learning_rate": jnp.ones((2, 2))}, TypeError, "2 axes", "one flat list"),
    ("a data frame", {"learning_rate": pd.DataFrame(X)}, TypeError, "2 axes", "one flat list"),
    ("a range in a list", {"learning_rate": [jl.log(1e-3, 1, 3)]}, TypeError, "is not a number", "outside of a list"),
    ("huge", {"learning_rate": [HUGE]}, ValueError, "learning_rate = an integer of about 401", "too large for a float"),
    ("huge below 0", {"learning_rate": -HUGE}, ValueError, "learning_rate = an integer of about 401", "finite number"),
    ("arrays", numeric(eps=jl.static([np.ones(2)])), TypeError, "eps: jl.static", "hashed and compared"),
    ("JAX's arrays", numeric(eps=jl.static([jnp.ones(2)])), TypeError, "eps: jl.static", "hashed and compared"),
    ("a matrix's rows", numeric(eps=jl.static(np.ones((2, 2)))), TypeError, "eps: jl.static", "hashed and compared"),
    ("lists as values", numeric(eps=jl.static([[1, 2]])), TypeError, "eps: jl.static", "a tuple instead of a list"),
    ("dicts as values", numeric(eps=jl.static([{"a": 1}])), TypeError, "eps: jl.static", "a tuple or a function"),
    ("what equals nothing", numeric(eps=jl.static([np.nan])), TypeError, "eps: jl.static", "got nan"),
]


@pytest.mark.parametrize(("space", "error", "what", "remedy"), [x[1:] for x in SPACES], ids=[x[0] for x in SPACES])
def test_spaces_that_say_nothing(space, error, what, remedy, compile_nothing):
    optimizers = [jl.adam, jl.sgd] if isinstance(space, dict) and "sgd" in space else jl.adam
    refused(lambda: run(optimizers, space=space), error, what, remedy)


@pytest.mark.parametrize("values", [np.array([4, 16]), jnp.array([4, 16])], ids=["NumPy", "JAX"])
def test_an_array_may_be_the_list_of_structural_values(values):
    groups = planned(task=jl.tasks.digits_mlp, space=RATES | {"task.width": jl.static(values)})
    assert [group.structure.task.arguments["width"] for group in groups] == [4, 16]


CALLS = [
    ("log", lambda: jl.log(1, HUGE, 3), ValueError, "jl.log(1, an integer of about 401", "finite"),
    ("linear", lambda: jl.linear(-HUGE, 1), ValueError, "jl.linear(an integer of about 401", "finite"),
    ("log of dates", lambda: jl.log(DATES[0], 1), TypeError, "both ends must be numbers", "datetime64"),
    ("a count", lambda: jl.log(1, 2, HUGE), ValueError, "count of jl.log", "at most 4194304"),
    ("static of a dict", lambda: jl.static({"a": 1}), TypeError, "takes a list of values", "jl.static([{'a': 1}])"),
    ("static of a set", lambda: jl.static({1}), TypeError, "takes a list of values", "jl.static([{1}])"),
    ("static of no axis", lambda: jl.static(np.array(1)), TypeError, "takes a list of values", "jl.static([array(1)])"),
    ("zipped", lambda: jl.zipped([1]), TypeError, "jl.zipped takes a dict", "[1]"),
    ("random", lambda: jl.random(None, 3, 0), TypeError, "jl.random takes a dict", "None"),
    ("a key", lambda: jl.random(RATES, 3, jnp.ones(3)), TypeError, "key of jl.random", "integer"),
    (
        "keys",
        lambda: jl.random(RATES, 3, jax.random.split(jax.random.key(0))),
        TypeError,
        "key of jl.random",
        "integer",
    ),
    ("a negative key", lambda: jl.sobol(RATES, 3, -1), ValueError, "key of jl.sobol", "at least 0"),
    ("metrics", lambda: model(metrics=[len]), TypeError, "metrics must be a dict", "len"),
    ("predict", lambda: model(predict=3), TypeError, "predict must be a function", "3"),
    ("minimum", lambda: model(minimum="0"), TypeError, "minimum must be a number", "'0'"),
    ("batch_size", lambda: model(batch_size=HUGE), ValueError, "batch_size must be at most", "401 digits"),
    ("a task's argument", lambda: jl.tasks.digits_mlp(widht=3), TypeError, "'digits_mlp' takes", "'widht'"),
    ("a task that needs more", lambda: run(task=lambda width: model()), TypeError, "task function", "'width'"),
    ("a task with a typo", lambda: run(task=lambda: jnp.nope), ValueError, "task function", "AttributeError"),
    (
        "plan",
        lambda: jl.plan(jl.adam, model(), RATES, steps=3, out="x"),
        TypeError,
        "jl.plan has no argument 'out'",
        "memory",
    ),
]


@pytest.mark.parametrize(("call", "error", "what", "remedy"), [x[1:] for x in CALLS], ids=[x[0] for x in CALLS])
def test_calls_with_what_they_cannot_take(call, error, what, remedy, compile_nothing):
    refused(call, error, what, remedy)


KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0))
OPTIONS = [
    *((name, HUGE, ValueError) for name in ("steps", "seeds", "target", "tolerance", "record", "chunk", "memory")),
    *((name, -HUGE, ValueError) for name in ("steps", "seeds", "target", "tolerance", "record", "chunk", "memory")),
    *((name, 10**5000, ValueError) for name in ("steps", "seeds", "target", "evaluate", "memory", "strategy")),
    *((name, KEY, TypeError) for name in ("steps", "seeds", "target", "record", "memory", "cache", "out", "stop")),
    *((name, np.ones(2), TypeError) for name in ("steps", "target", "record", "memory", "cache", "out", "progress")),
    *(
        (name, "5", TypeError)
        for name in ("steps", "seeds", "target", "evaluate", "memory", "cache", "progress", "stop")
    ),
    *((name, 3, TypeError) for name in ("out", "stop", "cache", "progress", "cluster", "allow_different_version")),
    *((name, np.nan, ValueError) for name in ("target", "tolerance", "memory", "checkpoint")),
    ("strategy", np.ones(2), ValueError),
    ("strategy", 3, ValueError),
    ("progress", None, TypeError),
    ("out", "", TypeError),
    ("out", "a\0b", ValueError),
    ("out", "nowhere://a", ValueError),
    ("seeds", [1.0], TypeError),
    ("seeds", [HUGE], ValueError),
    ("seeds", {1: 2}, TypeError),
    ("seeds", np.ones((2, 2), int), TypeError),
    ("seeds", [None], TypeError),
    ("seeds", itertools.count(), ValueError),
    ("seeds", range(10**12), ValueError),
]


@pytest.mark.parametrize(("name", "value", "error"), OPTIONS, ids=[f"{x[0]}-{n}" for n, x in enumerate(OPTIONS)])
def test_options_of_the_wrong_kind_are_named(name, value, error, compile_nothing):
    named = {"out": "", "seeds": "eed"}.get(name, name)
    refused(lambda: run(**{name: value}), error, named)


def leaked(transform):
    """A value from inside a function that JAX transforms, kept beyond its end."""
    found = []
    transform(lambda x: found.append(x) or x)(jnp.ones(2))
    return found[0]


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
@pytest.mark.parametrize("front", [jl.sweep, jl.plan])
def test_a_sweep_inside_of_what_jax_transforms(transform, front):
    def inside(a):
        task = jl.Task("mine", lambda key: jnp.zeros(2), lambda w, _: jnp.sum((w - a) ** 2), train=None)
        front(jl.adam, task, RATES, steps=3)
        return a

    refused(lambda: transform(inside)(jnp.ones(2)), ValueError, "outside of jax.jit, jax.vmap, jax.grad")


closing = lambda **changes: jl.Task(
    **{"name": "mine", "init": lambda key: jnp.ones(2), "loss": lambda w, _: jnp.sum(w**2), "train": None} | changes
)
LEAKS = [
    ("loss", lambda x: run(task=closing(loss=lambda w, _: jnp.sum(w * x))), "the loss"),
    ("init", lambda x: run(task=closing(init=lambda key: x * 1.0)), "init"),
    ("metric", lambda x: run(task=model(validation=(X, Y), metrics={"r2": lambda w, _: jnp.sum(x)})), "metric r2"),
    ("train", lambda x: run(task=model(train=lambda key: (x, x))), "train"),
    ("validation", lambda x: run(task=model(validation=lambda key: (x, x))), "validation data"),
    ("data", lambda x: model(train=(x, x)), "train data[0]"),
    ("optimizer", lambda x: run(lambda learning_rate: jl.sgd(learning_rate * x[0])), "Optimizer"),
    ("space", lambda x: run(space={"learning_rate": x}), "learning_rate"),
    ("value", lambda x: run(space={"learning_rate": [x]}), "learning_rate"),
    ("static", lambda x: run(space=numeric(eps=jl.static([x]))), "eps"),
    ("statics", lambda x: run(space=numeric(eps=jl.static(x))), "jl.static"),
    ("seeds", lambda x: run(seeds=x), "seeds"),
    ("steps", lambda x: run(steps=x), "steps"),
    ("target", lambda x: run(target=x), "target"),
    ("log", lambda x: jl.log(x, 1.0), "jl.log"),
    ("random", lambda x: jl.random(RATES, 3, x), "key of jl.random"),
]


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
@pytest.mark.parametrize(("use", "named"), [row[1:] for row in LEAKS], ids=[row[0] for row in LEAKS])
def test_a_traced_value_that_was_kept(use, named, transform, compile_nothing):
    with pytest.raises((TypeError, ValueError), match=re.escape(named)) as caught:
        use(leaked(transform))
    refused(lambda: use(leaked(transform)), caught.type, named)


@pytest.fixture(scope="module")
def results():
    return run(steps=2)


WRONG = [None, -1, 9, HUGE, 1.5, "x", True, [1], np.ones(2), KEY, {1: 2}, b"a"]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: f"{value!r:.20}")
@pytest.mark.parametrize("method", ["metric", "optimizer", "leaderboard", "grid", "config", "seed", "rerun", "load"])
def test_results_asked_for_what_they_have_not(method, value, results):
    calls = {
        "metric": lambda: results.best(value),
        "optimizer": lambda: results.best(optimizer=value),
        "leaderboard": lambda: results.leaderboard(value),
        "grid": lambda: results.grid(value),
        "config": lambda: results.params(value),
        "seed": lambda: results.params(0, value),
        "rerun": lambda: jl.rerun(results, value, 0, task=results.task),
        "load": lambda: jl.load(value),
    }
    if value is None and method not in ("rerun", "load"):
        return  # the default
    absent = method == "load" and isinstance(value, str)
    kinds = (TypeError, FileNotFoundError if absent else ValueError)
    with pytest.raises(kinds) as caught:
        calls[method]()
    refused(calls[method], caught.type)


def test_what_is_checked_once_is_not_traced_again():
    traced = []
    task = closing(loss=lambda w, _: traced.append(1) or jnp.sum(w**2))
    planned(task=task)
    first = len(traced)
    planned(task=task)
    assert len(traced) == first
