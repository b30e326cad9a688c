"""The trial axes of a chunk: one trial's functions are mapped over them, divided among devices, and compiled."""

import enum
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxopt_lab.engine.compile import decompositions


class Shapes:
    """Shapes of a tree, as part of a cache key; programs take the values as arguments."""

    def __init__(self, tree: Any):
        self.tree = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
        leaves, structure = jax.tree.flatten(self.tree)
        self.key = (structure, tuple((x.shape, x.dtype) for x in leaves))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shapes) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


class Axes(enum.Enum):
    """The axes of trials that an argument of a program has, in this order: one of seeds, one of configurations."""

    TRIAL = (True, True)
    SEED = (True, False)
    CONFIG = (False, True)
    NONE = (False, False)

    def __init__(self, of_seeds: bool, of_configs: bool):
        self.of_seeds, self.of_configs = of_seeds, of_configs

    def chosen(self, of_seeds: Any, of_configs: Any) -> tuple[Any, ...]:
        """Return those of two values, one for seeds and one for configurations, whose axes it has."""
        return (*([of_seeds] if self.of_seeds else []), *([of_configs] if self.of_configs else []))


class Trials:
    """The trial axes of a chunk, and how devices share them; usable as part of a cache key.

    Each argument of a function says which of the `Axes` it has.
    """

    def __init__(self, seeds: int, configs: int, used: tuple[Any, ...]):
        self.seeds, self.configs, self.devices = seeds, configs, used
        self.split = "configs" if configs % len(used) == 0 else "seeds"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trials) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.seeds, self.configs, self.devices))

    def compile(
        self,
        one: Callable,
        arguments: tuple[Axes, ...],
        shapes: tuple[Any, ...],
        donate: bool = False,
        flat: bool = False,
        options: dict[str, Any] | None = None,
        part: tuple[int, int] | None = None,
    ) -> Any:
        """Compile `one`, a function of one trial, over all trials of a chunk, ahead of time for these shapes.

        Seeds are the outer axis and configurations the inner one, so that a seed's batch is made once for all of them;
        or one axis has all trials where `flat`: see `_flat`. `donate` donates the first argument. `part` compiles for
        only so many (seeds, configurations) of each device: see `_of_part`.
        """
        count = len(self.devices)
        seeds, configs = part or self.shape_of_each
        by_seed_alone = not any(a.of_configs for a in arguments)
        if flat:
            batched = _flat(one, arguments, seeds, configs)
        else:
            inner, outer = (tuple(0 if a.value[i] else None for a in arguments) for i in (1, 0))
            batched = one if by_seed_alone else _mapped(one, inner, configs)
            batched = _mapped(batched, outer, seeds)
        if part is not None:
            batched, arguments = _of_part(batched, arguments, part), (*arguments, Axes.NONE, Axes.NONE)
        if count > 1:
            shapes = tuple(self._placed(s, a, _with_sharding) for s, a in zip(shapes, arguments, strict=True))

        def traced(function):
            if count > 1:
                mesh, result = Mesh(np.asarray(self.devices), ("trials",)), Axes.SEED if by_seed_alone else Axes.TRIAL
                specs, of_result = tuple(self._spec(a) for a in arguments), self._spec(result)
                function = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=of_result, check_vma=False)
            return jax.jit(function, donate_argnums=0 if donate else ()).trace(*shapes)

        program = traced(batched)
        if self.devices[0].platform == "cpu" and decompositions.of_stacks(program.jaxpr):
            program = traced(decompositions.one_by_one(batched))
        return program.lower().compile(options)

    @property
    def shape_of_each(self) -> tuple[int, int]:
        """The number of (seeds, configurations) on each device."""
        count = len(self.devices)
        return (self.seeds, self.configs // count) if self.split == "configs" else (self.seeds // count, self.configs)

    def part(self, trials: int) -> tuple[int, int]:
        """Return the (seeds, configurations) per device that make about `trials` of all trials."""
        seeds, configs = self.shape_of_each
        each = max(1, trials // len(self.devices))
        pieces = math.ceil(configs / min(configs, each)), math.ceil(seeds / max(1, min(seeds, each // configs)))
        return math.ceil(seeds / pieces[1]), math.ceil(configs / pieces[0])

    def corners(self, part: tuple[int, int]) -> Iterator[tuple[np.int32, np.int32]]:
        """Yield the starts of the parts that together hold all trials."""
        starts = (range(0, whole, piece) for whole, piece in zip(self.shape_of_each, part, strict=True))
        return ((np.int32(seed), np.int32(config)) for seed, config in itertools.product(*starts))

    def place(self, trees: tuple[Any, ...], kinds: tuple[Axes, ...]) -> Any:
        """Move arrays from the host to the devices, each tree split along the axes that it has.

        With one device, all but states stay on the host: the program itself takes small arrays faster.
        """
        if len(self.devices) == 1:
            put = lambda tree, kind: jax.device_put(tree) if kind is Axes.TRIAL else tree
            return tuple(map(put, trees, kinds))
        return tuple(self._placed(tree, kind, jax.device_put) for tree, kind in zip(trees, kinds, strict=True))

    def _placed(self, tree: Any, kind: Axes, put: Callable) -> Any:
        sharding = NamedSharding(Mesh(np.asarray(self.devices), ("trials",)), self._spec(kind))
        return jax.tree.map(lambda x: put(x, sharding), tree)

    def _spec(self, kind: Axes) -> PartitionSpec:
        shared = {"seeds": ("trials", None), "configs": (None, "trials")}[self.split]
        names = kind.chosen(*shared)
        return PartitionSpec(*names) if any(names) else PartitionSpec()


def tree_bytes(tree: Any) -> int:
    """Return the size in bytes of a tree of arrays or shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def program_bytes(program: Any, over: Trials, taken: Any) -> int:
    """Return the memory of a compiled program while it runs, on all devices together, with the arguments `taken`.

    These are counted by their shapes, because XLA's analysis leaves out unused arguments.
    """
    needs = program.memory_analysis()
    if needs is None:  # the platform does not say
        return tree_bytes(taken)
    given_back = needs.output_size_in_bytes - needs.alias_size_in_bytes
    return tree_bytes(taken) + (given_back + needs.temp_size_in_bytes) * len(over.devices)


def _mapped(one: Callable, axes: tuple[int | None, ...], size: int) -> Callable:
    """Map as `jax.vmap` does; a single trial has no axis of length 1, with which XLA takes a tenth longer on a CPU."""
    if size > 1:
        return jax.vmap(one, axes, axis_size=size)
    first = lambda tree, axis: tree if axis is None else jax.tree.map(lambda x: x[0], tree)
    return lambda *trees: jax.tree.map(lambda x: x[None], one(*map(first, trees, axes)))


def _flat(one: Callable, arguments: tuple[Axes, ...], seeds: int, configs: int) -> Callable:
    """Map `one` over a single axis of trials; each gets its seed's number, to index the arguments by seed.

    To the compiler, every trial then has its own batch, and the products of all trials are batched matrix products.
    """
    seed, config = np.divmod(np.arange(seeds * configs, dtype=np.int32), configs)
    merge = lambda x: x.reshape(-1, *x.shape[2:])
    change = {Axes.TRIAL: merge, Axes.CONFIG: lambda x: x[config], Axes.SEED: merge, Axes.NONE: lambda x: x}
    axes = (*(0 if a.of_configs else None for a in arguments), 0)

    def batched(*trees):
        changed = (jax.tree.map(change[a], tree) for tree, a in zip(trees, arguments, strict=True))
        results = jax.vmap(lambda *a: one(*a[:-1], seed=a[-1]), axes)(*changed, seed)
        return jax.tree.map(lambda x: x.reshape(seeds, configs, *x.shape[1:]), results)

    return batched


def _of_part(batched: Callable, arguments: tuple[Axes, ...], part: tuple[int, int]) -> Callable:
    """Apply `batched` to the part of the trials that begins at the (seed, configuration) of two further arguments.

    Its results replace those of these trials in the first argument. A part that would extend beyond the last trial
    begins earlier.
    """

    def of_part(*trees):
        *trees, seed, config = trees

        def corner(x, kind):
            starts = kind.chosen(seed, config)
            return (*starts, *[np.int32(0)] * (x.ndim - len(starts)))

        def cut(x, kind):
            sizes = kind.chosen(*part)
            return jax.lax.dynamic_slice(x, corner(x, kind), (*sizes, *x.shape[len(sizes) :]))

        cuts = (jax.tree.map(lambda x, a=a: cut(x, a), tree) for tree, a in zip(trees, arguments, strict=True))
        put = lambda whole, new: jax.lax.dynamic_update_slice(whole, new, corner(new, Axes.TRIAL))
        return jax.tree.map(put, trees[0], batched(*cuts))

    return of_part


def _with_sharding(shape: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
