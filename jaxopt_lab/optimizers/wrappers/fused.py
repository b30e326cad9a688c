"""Updates in one pass through memory: one kernel computes the new parameters and all new state."""

import collections
import functools
import warnings
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp

from jaxopt_lab.optimizers.extras import accepted
from jaxopt_lab.types import ExtraArgsOptimizer, Optimizer

FLAGS = "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true"
ELEMENTWISE = """
abs add and bitcast_convert_type broadcast_in_dim cbrt ceil clamp convert_element_type copy cos div eq erf exp exp2
expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg not or pow reduce_precision rem
reshape round rsqrt select_n sign sin sqrt square squeeze stop_gradient sub tanh xor
"""
"""Primitives that are cheaper to repeat than to read their result from memory; others are computed once."""


def fused(optimizer: Optimizer) -> ExtraArgsOptimizer:
    """Make an update read and write every array once, for large parameters on a CPU.

    XLA computes one array, then the next from it. For Adam it reads the gradients twice and both means again after
    writing them: ten passes through memory where seven suffice. Here each new array is expressed by the old ones alone,
    so none waits for another and XLA computes all of them in one kernel:

        optimizer = jl.fused(jl.adam(1e-3))

    in a Python process started with

        XLA_FLAGS=--xla_backend_extra_options=xla_cpu_use_multi_output_fusion=true

    With 3.2 10^7 parameters Adam then takes two thirds of the time, AdaBelief and Rprop half. It pays in a loop of your
    own with donated parameters and state that exceed the cache (a million parameters and more). Small parameters, and
    the trials of a sweep, stay in the cache and gain nothing. Steps are the same except for rounding. Operations that
    are not elementwise (norms, matrix products) are computed once, as before.

    Args:
        optimizer: Any optimizer, including Optax transformations and chains of them.

    Returns:
        The (init, update) pair with the same state. On other platforms, where XLA joins kernels by itself, and on a CPU
            without these flags (with a warning), its updates are the optimizer's own.

    """

    def update(grads, state, params=None, **extra):
        extra = accepted(optimizer.update, extra)
        if not _wanted():
            return optimizer.update(grads, state, params, **extra)
        given, structure = jax.tree.flatten((grads, state, params))
        of_leaves = lambda *leaves: optimizer.update(*jax.tree.unflatten(structure, leaves), **extra)
        program, made = jax.make_jaxpr(of_leaves, return_shape=True)(*given)
        first, last = len(jax.tree.leaves(grads)), len(given) - len(jax.tree.leaves(params))
        copied = {*program.jaxpr.invars[:first], *program.jaxpr.invars[last:]}
        return jax.tree.unflatten(jax.tree.structure(made), _apart(program, given, copied))

    return ExtraArgsOptimizer(optimizer.init, cast(Any, update))


def _apart(program: Any, given: list[Any], copied: set[Any]) -> list[Any]:
    """Compute each result from the inputs again, as if these were different arrays each time.

    Otherwise XLA would eliminate common subexpressions and compute them first, in a kernel of their own. Results that
    only copy an input (state that keeps the gradient) would be a pass of their own, so they are computed in the same
    kernel.
    """
    jaxpr = program.jaxpr
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *given), strict=True))
    for equation in jaxpr.eqns:
        known.update(_made(equation, known))
    once = set()  # inputs of a reduction, such as a norm, are in memory anyway
    for equation in reversed(jaxpr.eqns):
        if not _cheap(equation) or once.intersection(equation.outvars):
            once.update(filter(_is_array, equation.invars))
    makers = {
        variable: place
        for place, equation in enumerate(jaxpr.eqns)
        for variable in filter(_is_array, equation.outvars)
        if _cheap(equation) and variable not in once
    }
    results, times = [], collections.Counter()
    for variable in jaxpr.outvars:
        if not _is_array(variable) or not (variable in makers or variable in copied):
            results.append(_value(variable, known))
            continue
        places, kept = _needed(variable, jaxpr.eqns, makers)
        times.update(kept)
        again = collections.ChainMap({v: _as_if_another(known[v], times[v]) for v in kept}, known)
        for place in places:
            again.update(_made(jaxpr.eqns[place], again))
        results.append(again[variable])
    return results


def _as_if_another(x: jax.Array, number: int) -> jax.Array:
    """Return x, rounded to `number` bits more than it has: XLA removes this only after it has formed kernels."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    kind = jnp.finfo(x.dtype)
    return jax.lax.reduce_precision(x, kind.nexp, kind.nmant + number)


def _needed(variable: Any, equations: list[Any], makers: dict[Any, int]) -> tuple[list[int], list[Any]]:
    """Return the places of the equations that compute a variable, in order, and the arrays that they start from."""
    places, kept, wanted = set(), {}, [variable]
    while wanted:
        variable = wanted.pop()
        if variable in makers:
            if makers[variable] not in places:
                places.add(makers[variable])
                wanted += [v for v in equations[makers[variable]].invars if _is_array(v)]
        else:
            kept[variable] = None
    return sorted(places), list(kept)


def _made(equation: Any, known: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Evaluate an equation: its variables and their values."""
    primitive = equation.primitive
    values = [_value(v, known) for v in equation.invars]
    made = primitive.bind(*values, **primitive.get_bind_params(equation.params))
    return list(zip(equation.outvars, made if primitive.multiple_results else [made], strict=True))


def _value(variable: Any, known: Mapping[Any, Any]) -> Any:
    return variable.val if hasattr(variable, "val") else known[variable]  # a literal has its value


def _is_array(variable: Any) -> bool:
    """Tell whether a variable has more than one element."""
    return not hasattr(variable, "val") and variable.aval.size > 1


def _cheap(equation: Any) -> bool:
    """Tell whether an equation is elementwise and cheap."""
    if equation.primitive.name in ("jit", "pjit"):
        return all(map(_cheap, equation.params["jaxpr"].eqns))
    return equation.primitive.name in ELEMENTWISE.split()


def _wanted() -> bool:
    """Tell whether XLA joins kernels here only if it is made to."""
    if jax.default_backend() != "cpu":
        return False
    if not _joins_kernels():
        warnings.warn(
            f"jl.fused: in this process XLA makes a kernel for every array, so jl.fused has no effect. "
            f"Start Python with XLA_FLAGS={FLAGS}, or leave jl.fused out.",
            stacklevel=3,
        )
        return False
    return True


@functools.cache
def _joins_kernels() -> bool:
    """Tell whether XLA computes two arrays from the same inputs in one kernel."""
    x = jax.ShapeDtypeStruct((8,), jnp.float32)
    text = jax.jit(lambda a, b: (a + b, a * b)).lower(x, x).compile().as_text()
    return text is not None and ") fusion(" in text
