"""Every optimizer beside its Optax twin, row by row: `jaxopt_lab.verify.optimizers.cases`."""

import ast
import functools
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from kinds import each_kinds_row

import jaxopt_lab as jl
from jaxopt_lab.optimizers._base import method
from jaxopt_lab.verify.optimizers.cases import CASES, METHODS
from jaxopt_lab.verify.optimizers.haste import compiled
from jaxopt_lab.verify.optimizers.problems import PROBLEMS, wave
from jaxopt_lab.verify.optimizers.walks import differences, problem, walked

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
each_first_row = pytest.mark.parametrize("case", METHODS.values(), ids=METHODS.keys())


def gradients(t, like):
    """Gradients at step t: the problem plays no part here."""
    leaves, tree = jax.tree.flatten(like)
    return jax.tree.unflatten(
        tree, [wave(*leaf.shape, phase=t + 2.0 * i).astype(leaf.dtype) for i, leaf in enumerate(leaves)]
    )


def extended(optimizer, g, state, w, t=0):
    """A step with all that the training loop gives; the loss is the sum of squares."""
    wide = lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, "float32"))
    loss = lambda w: sum(jnp.sum(jnp.square(wide(leaf))) for leaf in jax.tree.leaves(w)) / 10
    extras = {"value": loss(w), "grad": g, "value_fn": loss, "key": jax.random.fold_in(jax.random.key(5), t)}
    return optax.with_extra_args_support(optimizer).update(g, state, w, **extras)


def assert_same(ours, twin, rtol):
    """Every leaf equal to within rtol of its largest element."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(twin), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.max(np.abs(b)))


# Two hundred steps


options = [pytest.param(name, "float64", marks=pytest.mark.thorough) for name in CASES if name not in METHODS]
alone = [name for name, case in METHODS.items() if case.twin is None]  # which walk beside themselves, traced
WALKS = [
    *((name, precision) for precision in ("float64", "float32") for name in METHODS if name not in alone),
    *(pytest.param(name, p, marks=pytest.mark.thorough) for p in ("float64", "float32") for name in alone),
    *options,
]


@functools.cache
def neighbours(precision):
    """Return, by method, its problem and the names of up to eight methods in a row that walk there in one program.

    What they have in common, the problem's gradient, is compiled once for all of them.
    """
    places = {}
    for name in [name for name in METHODS if name not in alone]:
        places.setdefault(problem(name, precision), []).append(name)
    groups = [(where, tuple(names[i : i + 8])) for where, names in places.items() for i in range(0, len(names), 8)]
    return {name: (where, names) for where, names in groups for name in names}


@functools.cache
def walked_together(where, names, precision):
    return dict(zip(names, walked([METHODS[name] for name in names], where, precision), strict=True))


@pytest.mark.parametrize(("name", "precision"), WALKS)
def test_two_hundred_steps(name, precision):
    if name in METHODS and (name, precision) in WALKS:
        found = walked_together(*neighbours(precision)[name], precision)[name]
    else:
        found = differences(name, precision)
    assert found.beyond(CASES[name].bounds, precision) == {}


@pytest.mark.parametrize("name", alone)
def test_a_method_without_a_twin_is_the_same_traced(name, float64):
    """For three steps; its records hold what it computes, and a thorough run walks two hundred."""
    case = METHODS[name]
    values = {name: jnp.asarray(value) for name, value in case.traceable().items()}
    rows = {name: jnp.stack([value, value]) for name, value in values.items()}
    several = jax.jit(lambda rows: jax.vmap(lambda values: after_three_steps(case, values), axis_size=2)(rows))(rows)
    one = jax.jit(lambda: after_three_steps(case, {}))()
    assert_same(jax.tree.map(lambda leaf: leaf[1], several), one, 1e-12)


@each_case
def test_a_wide_bound_says_why(case):
    assert case.bounds == type(case.bounds)() or case.bounds.why


# What a sweep asks of an optimizer


def after_three_steps(case, values):
    """The parameters to which ours comes with these hyperparameters."""
    optimizer, w = case.make_traced(values), {"weights": wave(2, 2), "biases": wave(2)}
    state = optimizer.init(w)
    for t in range(3):
        updates, state = extended(optimizer, gradients(t, w), state, w, t)
        w = optax.apply_updates(w, updates)
    return w


@pytest.mark.thorough
@each_first_row
def test_vmapped_row_is_the_solo_run(case, float64):
    rows = {name: value * jnp.asarray([1.0, 0.9, 0.8]) for name, value in case.traceable().items()}
    together = jax.vmap(lambda values: after_three_steps(case, values), axis_size=3)(rows)
    for row in range(3):
        solo = after_three_steps(case, {name: values[row] for name, values in rows.items()})
        assert_same(jax.tree.map(lambda leaf, row=row: leaf[row], together), solo, 1e-15)


@each_kinds_row
def test_steps_can_be_differentiated_by_every_hyperparameter(case, float64):
    """Backwards too, where a root of 0 that nobody looks at has an infinite derivative."""
    end = lambda values: sum(jnp.sum(jnp.cosh(leaf)) for leaf in jax.tree.leaves(after_three_steps(case, values)))
    slopes = jax.grad(end)({name: jnp.asarray(value) for name, value in case.traceable().items()})
    assert {name: slope for name, slope in slopes.items() if not np.isfinite(slope)} == {}


@each_first_row
def test_second_call_is_not_retraced(case):
    """What a step gives back has the types of what it was given, weak ones and all."""
    start, traces = {"weights": wave(2, 2), "biases": wave(2)}, []
    optimizer = case.make_ours()

    @jax.jit
    def update(g, state, w):
        traces.append(1)
        return extended(optimizer, g, state, w)

    updates, state = update.eval_shape(start, jax.eval_shape(optimizer.init, start), start)
    w = jax.eval_shape(optax.apply_updates, start, updates)
    update.eval_shape(updates, state, w)
    assert len(traces) == 1


@pytest.mark.parametrize(("dtype", "wide"), [("bfloat16", "float32"), ("float32", "float64"), ("float64", "float32")])
@each_first_row
def test_dtypes_and_structure_are_kept(case, dtype, wide, float64):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PROBLEMS["mixed"].start())
    values = {name: jnp.asarray(value, wide) for name, value in case.traceable().items()}
    avals = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)

    def once(values, params):
        optimizer = case.make_traced(values)
        state = optimizer.init(params)
        return (params, state), extended(optimizer, params, state, params)

    before, after = jax.eval_shape(once, values, params)
    assert avals(before) == avals(after)
    buffers = [leaf for leaf in jax.tree.leaves(before[1]) if leaf.ndim and jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert all(leaf.dtype == dtype for leaf in buffers)


@each_kinds_row
def test_bfloat16_step_is_the_float32_step_rounded(case):
    """Hyperparameters are not rounded with the parameters: b2 = 0.999 in bfloat16 would be 1, and the step infinite."""
    values = {name: jnp.asarray(value, "float32") for name, value in case.traceable().items()}
    narrow = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), PROBLEMS["mixed"].start())
    wide = jax.tree.map(lambda leaf: leaf.astype("float32"), narrow)
    widened = jax.tree.map(lambda leaf: leaf.astype("float32"), gradients(0, narrow))

    def both(values, narrow_args, wide_args):
        optimizer = case.make_traced(values)
        return [extended(optimizer, g, optimizer.init(w), w) for g, w in (narrow_args, wide_args)]

    arguments = values, (gradients(0, narrow), narrow), (widened, wide)
    (took, took_state), (exact, exact_state) = compiled(jax.jit(both).lower(*arguments))(*arguments)
    rounded = lambda tree: jax.tree.map(lambda leaf: np.asarray(leaf, "float64"), tree)
    # 2**-8: one rounding to bfloat16's eight bits, of the step or of the state it starts from.
    assert_same(rounded(took), rounded(exact), 2**-8)
    assert_same(rounded(took_state), rounded(exact_state), 2**-8)


# Among Optax's own

WRAPS = {
    "chain": lambda o: optax.chain(optax.clip_by_global_norm(0.5), o),
    "partition": lambda o: optax.partition({"a": o, "b": optax.sgd(0.3)}, {"weights": "b", "biases": "a"}),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", ["momentum", "adam", "adamw", "polyak_sgd", "lamb", "dog", "schedule_free_sgd"])
def test_inside_optax(name, wrap, float64):
    """A method of each kind: what it needs beside the gradient, and sums over all leaves, pass through too."""
    ours, twin = (WRAPS[wrap](o) for o in (METHODS[name].make_ours(), METHODS[name].make_twin()))
    w = PROBLEMS["mixed"].start()
    ours_state, twin_state = ours.init(w), twin.init(w)
    for t in range(3):
        g = gradients(t, w)
        ours_updates, ours_state = extended(ours, g, ours_state, w, t)
        twin_updates, twin_state = extended(twin, g, twin_state, w, t)
        assert_same(ours_updates, twin_updates, 1e-12)
        w = optax.apply_updates(w, twin_updates)


# Names


@pytest.mark.parametrize("name", [name for name, case in METHODS.items() if case.twin])
def test_signature_is_the_twins(name):
    ours = inspect.signature(METHODS[name].ours).parameters
    twin = inspect.signature(METHODS[name].twin).parameters
    differs = METHODS[name].differs
    shared = [parameter for parameter in twin if parameter in ours and parameter not in differs]
    assert {p: ours[p].default for p in shared} == {p: twin[p].default for p in shared}
    assert set(ours) - set(differs) <= {*twin, "moment_dtype"}


@each_case
def test_numbers_come_first_and_flags_by_name(case):
    ours = inspect.signature(case.ours).parameters.values()
    numeric = {p.name: p.default for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD}
    structural = {p.name: p.default for p in ours if p.kind is p.KEYWORD_ONLY}
    assert "learning_rate" not in numeric or next(iter(numeric)) == "learning_rate"
    assert set(case.numeric) <= set(numeric)
    assert set(case.structural) <= set(structural)
    assert not any(isinstance(default, bool) for default in numeric.values())
    assert not any(isinstance(default, float) for default in structural.values())


def test_registry():
    assert set(METHODS) == set(jl.OPTIMIZERS)
    assert list(jl.OPTIMIZERS) == sorted(jl.OPTIMIZERS)
    assert set(jl.OPTIMIZERS) <= set(dir(jl))
    for name, factory in jl.OPTIMIZERS.items():
        assert factory is getattr(jl, name)
        assert factory is getattr(jl.optimizers, name)
        assert factory.__module__ == f"jaxopt_lab.optimizers.{name}"
        assert factory is METHODS[name].ours
        assert factory.__name__ == name


def test_a_name_is_registered_once():
    def adam():
        """Another one."""

    with pytest.raises(ValueError, match=r"defines an optimizer 'adam', but jaxopt_lab.optimizers.adam already does"):
        method()(adam)
    assert jl.OPTIMIZERS["adam"] is jl.adam is not adam


def test_no_method_hides_a_public_name():
    for module in (jl, jl.optimizers):
        tree = ast.parse(Path(inspect.getfile(module)).read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not {alias.asname or alias.name for node in imports for alias in node.names} & set(jl.OPTIMIZERS)


ROOT = Path(inspect.getfile(jl)).parent


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_that_is_used_exists(path):
    """A type checker cannot tell: methods are exported without a line for each."""
    tree = ast.parse(path.read_text())
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    assert [node.attr for node in used if node.value.id == "jl" and not hasattr(jl, node.attr)] == []
