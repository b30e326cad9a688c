"""Programs: one trial's pure functions over the seeds and configurations of a chunk, compiled ahead of time."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxopt_lab.caching import remembered
from jaxopt_lab.engine.devices import devices, on_cores
from jaxopt_lab.engine.plan import Strategy
from jaxopt_lab.engine.structure import Structure
from jaxopt_lab.trial import Stop, Trial, TrialState, draws, initial_params

Losses = jax.Array | list[jax.Array]  # by step along the last axis, or step by step


class Program(NamedTuple):
    """Compiled for one structure and strategy; every array has leading axes (seeds, configurations).

    initial(seeds) -> parameters, with the leading axis (seeds,) alone
    start(parameters, values) -> state
    draw(seeds, first) -> what a segment's batches are taken by, with the leading axis (seeds,) alone
    advance(state, values, draws, first, last, target, tolerance, data) -> state, losses, status; the state is donated
    evaluate(state without the optimizer's, seeds, t, target, data) -> status, losses and metrics by name
    place(arguments, kinds) -> the arguments as arrays on the devices, each split as its kind says
    chunk_bytes: what a running chunk takes, the data apart
    """

    initial: Callable[..., Any]
    start: Callable[..., TrialState]
    draw: Callable[..., Any]
    advance: Callable[..., tuple[TrialState, Losses, jax.Array]]
    evaluate: Callable[..., dict[str, jax.Array]]
    shapes: TrialState
    place: Callable[[Any, str], Any]
    chunk_bytes: int


def compiled(structure: Structure, strategy: Strategy, length: int, converges: bool, data: Any) -> Program:
    """The program of a structure, remembered between sweeps.

    Args:
        structure: What to train.
        strategy: How.
        length: The most steps of a segment.
        converges: Whether trials end at a tolerance.
        data: `task.data`; only its shapes matter.

    """
    return _compiled(structure, strategy, length, converges, _Shapes(data), str(jnp.result_type(float)), devices())


class _Shapes:
    """Shapes as an argument of a cache; programs take the values as arguments."""

    def __init__(self, tree: Any):
        self.tree = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
        leaves, structure = jax.tree.flatten(self.tree)
        self.key = (structure, tuple((x.shape, x.dtype) for x in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shapes) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@remembered(maxsize=64)
def _compiled(structure: Structure, strategy: Strategy, length, converges, data: _Shapes, precision, used) -> Program:
    number, integer = jax.ShapeDtypeStruct((), jnp.result_type(float)), jax.ShapeDtypeStruct((), jnp.int32)
    over = _Trials(strategy.seeds, strategy.configs, used)
    values = {name: jax.ShapeDtypeStruct((strategy.configs,), number.dtype) for name in structure.names}

    def trial(values, target=-jnp.inf, tolerance=None):
        return Trial(structure.optimizer(values), structure.task, Stop(target, tolerance if converges else None))

    def start(params, values):
        return trial(values).start(params)

    def advance(state, values, draws, first, last, target, tolerance, data):
        run = trial(values, target, tolerance)
        state, losses = run.advance(state, draws, first, last, data, length, exact=on_cores(used))
        return state, losses, state.status

    def step(state, values, draws, t, first, target, tolerance, data):
        drawn = jax.tree.map(lambda x: x[t - first], draws)
        run = trial(values, target, tolerance)
        state = run.step(state, t, structure.task.take(data[0], drawn))
        return state, state.loss, state.status

    initial = _compiled_initial(structure.task, over, precision)
    start = over.compile(start, "sv", (initial.out_info, values))
    state, drawing = start.out_info, _compiled_draw(structure.task, over, length, precision)
    run = (state, values, drawing.out_info, integer, integer, number, number, data.tree)
    options = one_core_options() if strategy.one_core else {}
    one = over.compile(advance if strategy.loop == "scan" else step, "tvsaaaaa", run, donate=True, options=options)
    evaluate = _compiled_evaluate(structure.task, over, _Shapes(state._replace(optimizer=None)), data, precision)
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
    needs = [_bytes(program, len(used)) for program in (one, evaluate)]
    chunk_bytes = max(needs[0], needs[1] + size(state.optimizer)) - size(data.tree)
    advancing = one if strategy.loop == "scan" else _stepping(one)
    return Program(initial, start, drawing, advancing, evaluate, state, over.place, max(chunk_bytes, 0))


def _stepping(step: Callable) -> Callable:
    """A segment as calls of a compiled step."""

    def advance(state, values, draws, first, last, target, tolerance, data):
        losses, status = [], state.status
        for t in range(int(first), int(last)):
            state, loss, status = step(state, values, draws, np.int32(t), first, target, tolerance, data)
            losses.append(loss)
        return state, losses, status

    return advance


class _Trials:
    """The trials' axes of a chunk, and how devices share them; an argument of caches.

    A function's arguments have a letter each: t, by trial (both axes); v, by configuration; s, by seed; a, for all.
    """

    def __init__(self, seeds: int, configs: int, used: tuple[Any, ...]):
        self.seeds, self.configs, self.devices = seeds, configs, used
        self.split = "configs" if configs % len(used) == 0 else "seeds"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Trials) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.seeds, self.configs, self.devices))

    def compile(
        self,
        one: Callable,
        arguments: str,
        shapes: tuple[Any, ...],
        donate: bool = False,
        options: dict[str, Any] | None = None,
    ) -> Any:
        """`one`, for one trial, over all trials of a chunk: ahead of time, for arguments of these shapes.

        Seeds outside, configurations inside, so that a seed's batch is made once for all of them.
        """
        count = len(self.devices)
        seeds, configs = self.seeds, self.configs
        if count > 1:
            seeds, configs = (seeds, configs // count) if self.split == "configs" else (seeds // count, configs)
        inner, outer = {"t": 0, "v": 0, "s": None, "a": None}, {"t": 0, "v": None, "s": 0, "a": None}
        by_seed_alone = not set(arguments) & set("tv")
        batched = one if by_seed_alone else jax.vmap(one, tuple(inner[a] for a in arguments), axis_size=configs)
        batched = jax.vmap(batched, tuple(outer[a] for a in arguments), axis_size=seeds)
        if count > 1:
            mesh, result = Mesh(np.asarray(self.devices), ("trials",)), "s" if by_seed_alone else "t"
            specs = tuple(self._spec(a) for a in arguments)
            batched = jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=self._spec(result), check_vma=False)
            shapes = tuple(self._placed(s, a, _with_sharding) for s, a in zip(shapes, arguments, strict=True))
        return jax.jit(batched, donate_argnums=0 if donate else ()).lower(*shapes).compile(options)

    def place(self, tree: Any, kind: str) -> Any:
        """Arrays of the host on the devices, as an argument of that letter is split."""
        if len(self.devices) == 1:
            return jax.tree.map(jnp.asarray, tree)
        return self._placed(tree, kind, jax.device_put)

    def _placed(self, tree: Any, kind: str, put: Callable) -> Any:
        sharding = NamedSharding(Mesh(np.asarray(self.devices), ("trials",)), self._spec(kind))
        return jax.tree.map(lambda x: put(x, sharding), tree)

    def _spec(self, kind: str) -> PartitionSpec:
        by_config = {"t": PartitionSpec(None, "trials"), "v": PartitionSpec("trials")}
        by_seed = {"t": PartitionSpec("trials"), "s": PartitionSpec("trials")}
        return (by_config if self.split == "configs" else by_seed).get(kind, PartitionSpec())


@functools.cache
def one_core_options() -> dict[str, Any]:
    """What keeps XLA from spreading a program over cores that have chunks of their own to run.

    Measured with two chunks on two cores: a tenth less time for large batches, no difference for small ones.
    """
    options = {"xla_cpu_multi_thread_eigen": False, "xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((), jnp.float32)).compile(options)
    except jax.errors.JaxRuntimeError:  # an XLA that does not know them
        return {}
    return options


def _with_sharding(shape: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _bytes(program: Any, count: int) -> int:
    """What a compiled program takes while it runs, on all devices together."""
    needs = program.memory_analysis()
    if needs is None:  # the platform does not say
        return 0
    given_back = needs.output_size_in_bytes - needs.alias_size_in_bytes
    return (needs.argument_size_in_bytes + given_back + needs.temp_size_in_bytes) * count


@remembered(maxsize=64)
def _compiled_initial(task, over: _Trials, precision):
    """Initial parameters do not depend on the optimizer, so all optimizers of a task share their program."""
    initial = lambda seed: initial_params(task, jax.random.key(seed))
    return over.compile(initial, "s", (jax.ShapeDtypeStruct((over.seeds,), jnp.int32),))


@remembered(maxsize=64)
def _compiled_draw(task, over: _Trials, length, precision):
    """Nor do batches."""
    draw = lambda seed, first: draws(task, jax.random.key(seed), first, length)
    shapes = jax.ShapeDtypeStruct((over.seeds,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    return over.compile(draw, "sa", shapes)


@remembered(maxsize=64)
def _compiled_evaluate(task, over: _Trials, state: _Shapes, data: _Shapes, precision):
    """Nor does evaluation."""

    def evaluate(state, seed, t, target, data):
        return Trial(optax.identity(), task, Stop(target)).evaluate(state, jax.random.key(seed), t, data)

    number, integer = jax.ShapeDtypeStruct((), jnp.result_type(float)), jax.ShapeDtypeStruct((), jnp.int32)
    seeds = jax.ShapeDtypeStruct((over.seeds,), jnp.int32)
    return over.compile(evaluate, "tsaaa", (state.tree, seeds, integer, number, data.tree))
