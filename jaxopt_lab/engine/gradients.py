"""How many gradients a step evaluates: counted in a trace of the optimizer's update, on a stand-in for the loss."""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxopt_lab.engine.structure import Structure
from jaxopt_lab.tasks.calls import evaluate, shapes
from jaxopt_lab.tasks.task import Task
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.types import Params, random_key
from jaxopt_lab.updating import extras, updated

UNKNOWN = -1


class PerStep(NamedTuple):
    """The fewest and the most gradients that a step evaluates; infinity where nothing in its trace limits them."""

    least: float
    most: float


def gradients(structure: Structure, values: Mapping[str, Any], steps: np.ndarray, changes: tuple[str, ...]) -> Any:
    """Return how many gradients trials have evaluated in `steps` steps; UNKNOWN where that depends on their losses.

    A step evaluates the gradient of its batch, and those that the update evaluates by itself. The derivative of a
    gradient, as in a product with the Hessian, counts as another one. Evaluations of the loss alone do not count, but
    where their number varies, as in a line search, so may that of gradients, and it is UNKNOWN. Some methods evaluate
    further gradients every few steps: their factory names the hyperparameter that says how many, in its attribute
    `further_gradients_every`.

    Args:
        structure: The structure of the trials.
        values: Their numeric hyperparameters by name, with an axis of configurations.
        steps: Steps that the optimizer has taken; axes (configurations, seeds).
        changes: The hyperparameters that a rule may change.

    """
    least, most = per_step(structure)
    if least == most:
        return int(least) * steps.astype(np.int64)
    name = _interval(structure.factory)
    if name is None or name in changes or name in structure.in_force or math.isinf(most):
        return np.full_like(steps, UNKNOWN, np.int64)
    default = inspect.signature(structure.factory).parameters[name].default
    interval = np.asarray(structure.hyperparameters(values).get(name, default), float)
    interval = np.broadcast_to(interval.reshape(-1, 1), steps.shape)
    taken = int(least) * steps.astype(np.int64) + int(most - least) * np.ceil(steps / interval).astype(np.int64)
    return np.where(interval == np.floor(interval), taken, UNKNOWN)


def _interval(factory: Any) -> str | None:
    """Return the attribute of a factory, or of the one that it wraps."""
    while factory is not None:
        if (name := getattr(factory, "further_gradients_every", None)) is not None:
            return name
        factory = getattr(factory, "factory", None)
    return None


@remembered(maxsize=256)
def per_step(structure: Structure) -> PerStep:
    """Count the gradients of one step in its trace; nothing is compiled."""
    key, params, dtype = random_key(0), shapes(structure.task).params, _loss_dtype(structure.task)

    def stand_in(params: Params) -> jax.Array:
        """Return a value of the loss's type, all of whose derivatives depend on the parameters."""
        leaves = SEEN.bind(*jax.tree.leaves(params), count=1)
        square = sum((jnp.sum(jnp.real(x * jnp.conj(x))) for x in leaves), start=jnp.zeros([]))
        return jnp.exp(square).astype(dtype)

    def one_step(values, params):
        optimizer = structure.optimizer(values)
        given = extras(stand_in, params, jnp.zeros([], dtype), params, key)
        return updated(optimizer, params, optimizer.init(params), params, given)  # the parameters serve as gradients

    values = dict.fromkeys(structure.names, jax.ShapeDtypeStruct((), jnp.result_type(float)))
    try:
        found = _counted(jax.make_jaxpr(one_step)(values, params))
    except Exception:  # the sweep's own steps are traced elsewhere, with the loss itself: what fails here is the count
        found = PerStep(0, math.inf)
    return PerStep(1 + found.least, 1 + found.most)


@remembered(maxsize=64)
def _loss_dtype(task: Task) -> Any:
    """Return the type of the loss's value."""
    loss = lambda params, batch, model: evaluate(task, params, batch, model, random_key(0)).loss
    return jnp.result_type(jax.eval_shape(loss, *shapes(task)))


def _counted(jaxpr: Any) -> PerStep:
    """Count the gradients of a program's run."""
    least = most = 0.0
    for equation in jaxpr.eqns:
        inner = list(_inner(equation))
        found = [_counted(program) for program in inner]
        name, times = equation.primitive.name, 1
        if equation.primitive is PULLED:
            found = [PerStep(equation.params["count"], equation.params["count"])]
        elif name == "cond":
            found = [PerStep(min(x.least for x in found), max(x.most for x in found))]
        elif name == "while":
            found = [PerStep(0, math.inf if any(map(_evaluates, inner)) else 0)]
        elif name == "scan":
            times = equation.params["length"]
        least += times * sum(x.least for x in found)
        most += times * sum(x.most for x in found) if times else 0.0  # none of infinitely many are none
    return PerStep(least, most)


def _evaluates(jaxpr: Any) -> bool:
    """Return whether a program evaluates the loss or a derivative of it."""
    return any(e.primitive in (SEEN, PUSHED, PULLED) or any(map(_evaluates, _inner(e))) for e in jaxpr.eqns)


def _inner(equation: Any) -> Iterator[Any]:
    """Yield the programs of an equation."""
    is_program = lambda x: hasattr(x, "eqns")
    found = jax.tree.leaves(list(equation.params.values()), is_leaf=is_program)
    yield from (x for x in found if is_program(x))


# Identities that a trace shows: of the parameters at which the loss is evaluated, of a tangent that is pushed forward
# from there, and of a gradient that is pulled back to there. `count`: over how many points they are mapped.


def _identity(name: str) -> Primitive:
    identity = Primitive(name)
    identity.multiple_results = True
    identity.def_abstract_eval(lambda *avals, count: avals)

    def batched(arguments, axes, *, count):
        size = next(x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None)
        mapped = [batching.bdim_at_front(x, axis, size) for x, axis in zip(arguments, axes, strict=True)]
        return identity.bind(*mapped, count=count * size), [0] * len(mapped)

    batching.primitive_batchers[identity] = batched
    return identity


def _derived(identity: Primitive, derivative: Primitive) -> None:
    """Let `derivative` show the tangents of an identity."""

    def pushed(primals, tangents, *, count):
        known = [ad.instantiate_zeros(x) for x in tangents]
        return identity.bind(*primals, count=count), derivative.bind(*known, count=count)

    ad.primitive_jvps[identity] = pushed


def _transposed(identity: Primitive, transpose: Primitive) -> None:
    """Let `transpose` show the cotangents of an identity."""

    def pulled(cotangents, *_, count):
        return transpose.bind(*[ad.instantiate_zeros(x) for x in cotangents], count=count)

    ad.primitive_transposes[identity] = pulled


SEEN, PUSHED, PULLED = map(_identity, ("seen", "pushed", "pulled"))
_derived(SEEN, PUSHED)
_derived(PUSHED, PUSHED)
_derived(PULLED, PULLED)
_transposed(PUSHED, PULLED)
_transposed(PULLED, PUSHED)
