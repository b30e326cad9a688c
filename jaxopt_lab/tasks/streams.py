"""Streams: batches from a generator, a data loader, or any other iterable of the host."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError
from jaxopt_lab.tasks._examples import (
    canonical,
    has_rows,
    read_whole,
)
from jaxopt_lab.tasks.feeds import Feed, Rows, digest_of
from jaxopt_lab.tasks.names import SPLITS
from jaxopt_lab.tasks.stream_reader import Cursor, StreamReader, kinds
from jaxopt_lab.types import Batch


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Batches from a function of the seed: see `stream`."""

    make: Callable[[int], Iterable[Batch]]
    label: str | None = None

    def shapes(self) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, canonical(x.dtype)), self.first)

    def identity(self) -> dict[str, Any]:
        return {"stream": self.label or "", "first batch": digest_of(self.first).hex()}

    def open(self, name: str, most_bytes: int) -> StreamReader:
        return StreamReader(self, name, most_bytes)

    @functools.cached_property
    def first(self) -> Batch:
        """The first batch of seed 0, in the types that `make` gave."""
        batches = Cursor(self, "A stream", 0)
        try:
            return batches.first()
        finally:
            batches.close()

    @functools.cached_property
    def kinds(self) -> Any:
        """The structure of the first batch, and the shapes and types of its arrays."""
        return kinds(*jax.tree.flatten(self.first))


def stream(make: Callable[[int], Iterable[Batch]], label: str | None = None) -> Stream:
    """Make training data of batches that come from the host: `jl.Task(..., train=jl.stream(make))`.

    `make(seed)` returns the batches of a seed: a generator, a PyTorch or Grain data loader, or any other iterable, of
    pytrees of NumPy arrays (or of what NumPy can convert, such as PyTorch tensors on the CPU). Batches are read while
    the device trains on earlier ones, and all configurations of a seed train on the same. An iterable, such as a data
    loader, begins again at its end: that is an epoch. An iterator, such as a generator, must not end. One batch more
    than there are steps is read, for the last training loss.

    Trials that run later, or resume, read the batches again from `make(seed)`, which must give the same each time: all
    of its randomness must come from the seed. This is checked. Where batches are costly to make, let `make` read them
    from a file.

    Args:
        make: Takes the seed, an integer, and returns an iterable of batches, all of the same shapes and types.
        label: Distinguishes data in run folders, which otherwise know a stream by the first batch of seed 0.

    Raises:
        TypeError: `make` is not a function, or `label` is not a string.

    While a sweep runs, `jl.StreamError` is raised where a stream ends, raises an error, or gives batches of other
    shapes, with values that are not finite, or other than before.

    """
    if isinstance(make, Iterable) or not callable(make):
        raise ArgumentTypeError(
            f"jl.stream needs a function of the seed that returns batches, got {quoted(make)}. Write jl.stream(lambda "
            "seed: ...), where all that is random comes from the seed."
        )
    if label is not None and not isinstance(label, str):
        raise ArgumentTypeError(f"jl.stream: label must be a string, got {quoted(label)}.")
    return Stream(make, label)


def feed_of(train: Any, batch_size: int | None) -> Feed | None:
    """Return training data as the host reads them; None where programs take or make them."""
    if isinstance(train, Stream):
        return train
    return Rows(train, batch_size) if batch_size is not None and not callable(train) and has_rows(train) else None


def read_in(task: Any) -> dict[str, Any]:
    """Read the stored arrays of a task that are not cut into batches, and return them by split.

    Raises:
        TypeError, ValueError: A split other than the training data is a stream, or a stream has a batch size.

    """
    if wrong := [split for split in SPLITS[1:] if isinstance(getattr(task, split), Stream)]:
        raise ArgumentTypeError(
            f"Task {task.name!r}: {wrong[0]} data cannot be a stream, since each evaluation is on all of them. Pass "
            "arrays, or a function key -> batch."
        )
    if isinstance(task.train, Stream) and task.batch_size is not None:
        raise ArgumentValueError(
            f"Task {task.name!r}: a stream makes its own batches. Leave batch_size out, and set the size there."
        )
    data = {split: getattr(task, split) for split in (SPLITS if task.batch_size is None else SPLITS[1:])}
    return {split: read_whole(x) for split, x in data.items() if not callable(x) and has_rows(x)}
