"""The one walk over a traced function: each equation is rewritten by the rule for its operation, or bound as it was."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax

from jaxopt_lab.rewrite.rule import Rule

if TYPE_CHECKING:  # its import is slow
    from jax.extend import core

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
WITH_RULES = {  # operations that say how they are differentiated or mapped
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "custom_vmap_call": "call",
}
INNER = {  # operations that run inner programs, and the parameters that hold these
    "scan": ("jaxpr",),
    "while": ("cond_jaxpr", "body_jaxpr"),
    "cond": ("branches",),
    "checkpoint": ("jaxpr",),
    "remat": ("jaxpr",),
    "remat2": ("jaxpr",),
}


def rewritten_by(
    rules: Mapping[str, Rule],
    function: Callable[..., Any],
    used: Callable[[str], None] = lambda name: None,
    final: bool = False,
) -> Any:
    """Wrap a function so that its operations are rewritten by `rules`; `used` is told the name of each rule that is.

    Where `final`, nobody will differentiate or map the function, so operations with rules for that are walked into.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        places = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array)]
        made = []

        def flat(*arrays: jax.Array) -> list[Any]:
            given = list(leaves)
            for i, x in zip(places, arrays, strict=True):
                given[i] = x
            args, kwargs = tree.unflatten(given)
            results, form = jax.tree.flatten(function(*args, **kwargs))
            made.append(form)
            return results

        arrays = [leaves[i] for i in places]
        traced = jax.make_jaxpr(flat)(*arrays)
        return made[0].unflatten(_Walk(rules, used, final).run(traced.jaxpr, traced.consts, arrays))

    return run


class _Walk:
    def __init__(self, rules: Mapping[str, Rule], used: Callable[[str], None], final: bool):
        self.rules, self.used, self.final = rules, used, final
        self.calls = CALLS | WITH_RULES if final else CALLS

    def run(self, jaxpr: "core.Jaxpr", consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Evaluate a program, rewritten."""
        known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True))
        read = lambda v: v.val if hasattr(v, "val") else known[v]
        for equation in jaxpr.eqns:
            with getattr(equation.ctx, "manager", None) or contextlib.nullcontext():
                known |= zip(equation.outvars, self._apply(equation, [read(v) for v in equation.invars]), strict=True)
        return [read(v) for v in jaxpr.outvars]

    def _apply(self, equation: "core.JaxprEqn", operands: list[Any]) -> Sequence[Any]:
        name = equation.primitive.name
        if name in self.calls:
            called = equation.params[self.calls[name]]
            return self.run(called.jaxpr, called.consts, operands)
        if name == "custom_linear_solve" and self.final:
            lengths, solve = equation.params["const_lengths"], equation.params["jaxprs"].solve
            first = lengths.matvec + lengths.vecmat
            right = operands[sum(lengths) :]
            return self.run(solve.jaxpr, solve.consts, [*operands[first : first + lengths.solve], *right])
        rule = self.rules.get(name)
        if rule is not None and (made := rule.apply(equation, *operands)) is not None:
            self.used(rule.name)
            return made if equation.primitive.multiple_results else [made]
        parameters = equation.params
        for inner in INNER.get(name, ()):
            parameters = parameters | {inner: jax.tree.map(self._inner, parameters[inner], is_leaf=_is_program)}
        values = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(parameters))
        return values if equation.primitive.multiple_results else [values]

    def _inner(self, program: Any) -> Any:
        """Rewrite an inner program, unless no rule applies in it, or its results would change their type."""
        is_closed = hasattr(program, "consts")
        jaxpr, consts = (program.jaxpr, program.consts) if is_closed else (program, ())
        counted: list[str] = []
        walk = _Walk(self.rules, counted.append, self.final)
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type) for v in jaxpr.invars]
        made = jax.make_jaxpr(lambda *arguments: walk.run(jaxpr, consts, arguments))(*shapes)
        same = [v.aval for v in made.jaxpr.outvars] == [v.aval for v in jaxpr.outvars]
        if not counted or not same or (made.consts and not is_closed):
            return program
        for name in counted:
            self.used(name)
        return made if is_closed else made.jaxpr


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns")
