"""Programs: one trial's pure functions over the seeds and configurations of a chunk, compiled ahead of time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxopt_lab.caching import remembered
from jaxopt_lab.engine.plan import Structure, default_device
from jaxopt_lab.trial import Stop, Trial, TrialState, draws, initial_params


class Program(NamedTuple):
    """Compiled for one structure and chunk shape; every array has leading axes (seeds, configurations).

    initial(seeds) -> parameters, with the leading axis (seeds,) alone
    start(parameters, values) -> state
    draw(seeds, first) -> what a segment's batches are taken by, with the leading axis (seeds,) alone
    advance(state, values, draws, first, last, target, tolerance, data) -> (state, losses); the state is donated
    evaluate(state without the optimizer's, seeds, t, target, data) -> status, losses and metrics by name
    """

    initial: Callable[..., Any]
    start: Callable[..., TrialState]
    draw: Callable[..., Any]
    advance: Callable[..., tuple[TrialState, jax.Array]]
    evaluate: Callable[..., dict[str, jax.Array]]


def compiled(structure: Structure, shape: tuple[int, int], length: int, converges: bool, data: Any) -> Program:
    """The program of a structure, remembered between sweeps."""
    return _compiled(structure, shape, length, converges, _Data(data), str(jnp.result_type(float)), default_device())


class _Data:
    """Data as an argument of a cache: equal where shapes are, since programs take the values as arguments."""

    def __init__(self, data: Any):
        self.shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), data)
        leaves, structure = jax.tree.flatten(self.shapes)
        self.key = (structure, tuple((x.shape, x.dtype) for x in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Data) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@remembered(maxsize=64)
def _compiled(structure: Structure, shape, length, converges, data: _Data, precision, device) -> Program:
    number, integer = jax.ShapeDtypeStruct((), jnp.result_type(float)), jax.ShapeDtypeStruct((), jnp.int32)
    values = {name: jax.ShapeDtypeStruct(shape[1:], number.dtype) for name in structure.names}

    def trial(values, target=-jnp.inf, tolerance=None):
        return Trial(structure.optimizer(values), structure.task, Stop(target, tolerance if converges else None))

    def start(params, values):
        return _over_trials(lambda params, values: trial(values).start(params), "sv", shape)(params, values)

    def advance(state, values, draws, first, last, target, tolerance, data):
        def one(state, values, draws):
            return trial(values, target, tolerance).advance(state, draws, first, last, data, length)

        return _over_trials(one, "tvs", shape)(state, values, draws)

    initial = _compiled_initial(structure.task, shape[0], precision, device)
    params = initial.out_info
    state = jax.eval_shape(start, params, values)
    draw = _compiled_draw(structure.task, shape[0], length, precision, device)
    run = (state, values, draw.out_info, integer, integer, number, number, data.shapes)
    start = jax.jit(start).lower(params, values).compile()
    advance = jax.jit(advance, donate_argnums=0).lower(*run).compile()
    evaluate = _compiled_evaluate(structure.task, _Data(state._replace(optimizer=None)), data, precision, device)
    return Program(initial, start, draw, advance, evaluate)


@remembered(maxsize=64)
def _compiled_initial(task, seeds, precision, device):
    """Initial parameters do not depend on the optimizer, so all optimizers of a task share their program."""
    initial = jax.vmap(lambda seed: initial_params(task, jax.random.key(seed)))
    return jax.jit(initial).lower(jax.ShapeDtypeStruct((seeds,), jnp.int32)).compile()


@remembered(maxsize=64)
def _compiled_draw(task, seeds, length, precision, device):
    """Nor do batches."""
    draw = jax.vmap(lambda seed, first: draws(task, jax.random.key(seed), first, length), (0, None))
    seeds = jax.ShapeDtypeStruct((seeds,), jnp.int32)
    return jax.jit(draw).lower(seeds, jax.ShapeDtypeStruct((), jnp.int32)).compile()


@remembered(maxsize=64)
def _compiled_evaluate(task, state: _Data, data: _Data, precision, device):
    """Nor does evaluation."""

    def evaluate(state, seeds, t, target, data):
        def one(state, seed):
            return Trial(optax.identity(), task, Stop(target)).evaluate(state, jax.random.key(seed), t, data)

        return _over_trials(one, "ts", state.status.shape)(state, seeds)

    number, integer = jax.ShapeDtypeStruct((), jnp.result_type(float)), jax.ShapeDtypeStruct((), jnp.int32)
    seeds = jax.ShapeDtypeStruct(state.shapes.status.shape[:1], jnp.int32)
    return jax.jit(evaluate).lower(state.shapes, seeds, integer, number, data.shapes).compile()


def _over_trials(one: Callable, arguments: str, shape: tuple[int, int]) -> Callable:
    """`one` over seeds (outside) and configurations (inside, so that a seed's batch is made once for all of them).

    `arguments` has a letter each: t, by trial (both axes); v, by configuration; s, by seed.
    """
    inner = jax.vmap(one, tuple({"t": 0, "v": 0, "s": None}[a] for a in arguments), axis_size=shape[1])
    return jax.vmap(inner, tuple({"t": 0, "v": None, "s": 0}[a] for a in arguments), axis_size=shape[0])
