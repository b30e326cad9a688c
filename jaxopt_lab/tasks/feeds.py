"""Training data that the host reads while a sweep runs: batches reach programs with the draws, a segment at a time.

`Stream` is anything that makes batches; `Rows` are arrays too large to be read whole. Both give a step's batch by its
number, and give the same batch each time they are asked, so that all configurations of a seed see the same batches.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_lab.errors import StreamError
from jaxopt_lab.tasks._examples import canonical, check_values, converted, count_rows, rows_of
from jaxopt_lab.tasks.sampling import batch_indices, batch_key
from jaxopt_lab.tracing.caching import remembered
from jaxopt_lab.types import Batch, random_key

ALIGNMENT = 64  # bytes
REMEMBERED_SEGMENTS = 64  # whose examples' numbers are remembered


class Reader(Protocol):
    """Reads batches for one execution; it may be called from several threads."""

    def read(self, seed: int, first: int, count: int) -> Batch:
        """Return the batches of `count` steps from `first` on, stacked, as NumPy arrays."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Feed(Protocol):
    """Training data that the host reads."""

    def shapes(self) -> Any:
        """Return the shapes and types of a batch, as JAX takes them."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what tells these data from others, as plain values."""
        ...

    def open(self, name: str, most_bytes: int) -> Reader:
        """Make a reader for the task `name` that keeps at most so many bytes of batches."""
        ...


def batch_bytes(feed: Feed) -> int:
    """Return the size in bytes of a batch in JAX's types."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(feed.shapes()))


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Arrays of examples that are indexed on the host, since they may be larger than memory.

    The batches are those of the same examples in memory.
    """

    arrays: Any
    batch_size: int

    @property
    def examples(self) -> int:
        return count_rows(jax.tree.leaves(self.arrays)[0])

    def shapes(self) -> Any:
        one = jax.tree.map(lambda x: rows_of(x, np.zeros(1, np.int32)), self.arrays)
        shape = lambda x: jax.ShapeDtypeStruct((self.batch_size, *x.shape[1:]), canonical(x.dtype))
        return jax.tree.map(shape, one)

    def identity(self) -> dict[str, Any]:
        """Return digests of evenly spaced examples: to read all would take too long."""
        some = np.unique(np.linspace(0, self.examples - 1, 64).astype(np.int32))
        return {"examples": self.examples, "some of them": digest_of(self.take(some)).hex()}

    def open(self, name: str, most_bytes: int) -> "RowsReader":
        return RowsReader(self, name)

    def take(self, indices: np.ndarray, where: str | None = None) -> Batch:
        """Read these examples, each once, in the order in which they lie in memory or on disk.

        Raises:
            ValueError: A value is unusable; checked where `where` names the examples.

        """
        found, back = np.unique(indices, return_inverse=True)
        rows = jax.tree.map(lambda x: rows_of(x, found), self.arrays)
        if where is not None:
            check_values(where, rows)
        return jax.tree.map(lambda x: _taken(converted(x), back.reshape(indices.shape)), rows)


def _taken(x: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return np.take(x, indices, axis=0, out=aligned((*indices.shape, *x.shape[1:]), x.dtype), mode="clip")


class RowsReader:
    """Reads the batches of `Rows`."""

    def __init__(self, source: Rows, name: str):
        self._source, self._named = source, f"Task {name!r}: train data"

    def read(self, seed: int, first: int, count: int) -> Batch:
        indices = _indices(seed, first, count, self._source.examples, self._source.batch_size)
        try:
            return self._source.take(indices, f"{self._named} of steps {first} to {first + count - 1} of seed {seed}")
        except ValueError as error:
            raise StreamError(str(error)) from error

    def close(self) -> None:
        pass


@remembered(maxsize=REMEMBERED_SEGMENTS)
def _indices(seed: int, first: int, count: int, examples: int, batch_size: int) -> np.ndarray:
    """Return the numbers of the examples in some steps' batches: the ones that a program would draw."""
    with jax.default_device(_host()):  # so as not to wait for an accelerator
        return np.asarray(_drawing(count, examples, batch_size)(np.int32(seed), np.int32(first)))


@remembered(maxsize=REMEMBERED_SEGMENTS)
def _drawing(count: int, examples: int, batch_size: int) -> Callable[..., Any]:
    def draw(seed, first):
        one = lambda t: batch_indices(batch_key(random_key(seed)), t, examples, batch_size)
        return jax.vmap(one)(first + jnp.arange(count, dtype=jnp.int32))

    return jax.jit(draw)


def _host() -> Any:
    """Return the CPU as a device; JAX's default one where JAX was told to use no CPU."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


def joined(task: Any, drawn: Any, batches: Batch) -> Any:
    """Return what `Task.draw` drew, with the batches in their place; `task` has a feed."""
    return batches if task.augment is None else (batches, drawn[1])


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack arrays along a new first axis, in memory that a program on a CPU uses as it is."""
    made = aligned((len(arrays), *arrays[0].shape), arrays[0].dtype)
    return np.stack(arrays, out=made)


def concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Join arrays along their first axis, likewise."""
    made = aligned((sum(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    return np.concatenate(arrays, out=made)


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an empty array that begins at a multiple of 64 bytes, which a program on a CPU uses without a copy."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].view(dtype).reshape(shape)


def digest_of(batch: Batch) -> bytes:
    """Return the digest of a batch's values."""
    hashed = hashlib.blake2b(digest_size=16)
    for x in jax.tree.leaves(batch):
        hashed.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return hashed.digest()
