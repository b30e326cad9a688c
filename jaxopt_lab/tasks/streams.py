"""Streams: batches from a generator, a data loader, or any other iterable of the host."""

import array
import collections
import contextlib
import dataclasses
import functools
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import ArgumentTypeError, ArgumentValueError, StreamError
from jaxopt_lab.tasks._examples import (
    as_array,
    canonical,
    check_examples,
    converted,
    described,
    has_rows,
    is_usable,
    read_whole,
)
from jaxopt_lab.tasks.feeds import Feed, Rows, digest_of, stacked
from jaxopt_lab.tasks.names import SPLITS
from jaxopt_lab.tracing.calling import explained
from jaxopt_lab.types import Batch

CURSORS = 4  # iterators of a seed that are open at once: one for each chunk that reads at another step


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Batches from a function of the seed: see `stream`."""

    make: Callable[[int], Iterable[Batch]]
    label: str | None = None

    def shapes(self) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, canonical(x.dtype)), self.first)

    def identity(self) -> dict[str, Any]:
        return {"stream": self.label or "", "first batch": digest_of(self.first).hex()}

    def open(self, name: str, most_bytes: int) -> "StreamReader":
        return StreamReader(self, name, most_bytes)

    @functools.cached_property
    def first(self) -> Batch:
        """The first batch of seed 0, in the types that `make` gave."""
        batches = _Cursor(self, "A stream", 0)
        try:
            return batches.next(as_given=True)
        finally:
            batches.close()

    @functools.cached_property
    def kinds(self) -> Any:
        """The structure of the first batch, and the shapes and types of its arrays."""
        return _kinds(*jax.tree.flatten(self.first))


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


class StreamReader:
    """Reads a stream's batches by seed and step, from as few passes over it as the order of the questions allows.

    The batches read last are kept, up to `most_bytes`, since chunks of the same seed run side by side.
    """

    def __init__(self, source: Stream, name: str, most_bytes: int):
        self._source, self._named = source, f"Task {name!r}: the stream"
        self._most_bytes = most_bytes
        self._kept: collections.OrderedDict[tuple[int, int], Batch] = collections.OrderedDict()
        self._seeds: dict[int, _Seed] = {}
        self._changing = threading.Lock()

    def read(self, seed: int, first: int, count: int) -> Batch:
        with self._changing:
            known = self._seeds.setdefault(seed, _Seed())
        with known.lock:
            batches, last = [], first + count
            while (step := first + len(batches)) < last:
                batches += self._known(seed, step, last) or self._next(known, seed, step, last)
        return jax.tree.map(lambda *arrays: stacked(arrays), *batches)

    def close(self) -> None:
        for known in self._seeds.values():
            while known.cursors:
                known.cursors.pop().close()

    def _known(self, seed: int, first: int, last: int) -> list[Batch]:
        """Return the batches from step `first` on, up to one that is not kept or to `last`."""
        found = []
        with self._changing:
            for step in range(first, last):
                if (batch := self._kept.get((seed, step))) is None:
                    break
                self._kept.move_to_end((seed, step))
                found.append(batch)
        return found

    def _next(self, known: "_Seed", seed: int, first: int, last: int) -> list[Batch]:
        """Read the batches from step `first` on, up to one that is kept or to `last`."""
        cursor = next((c for c in known.cursors if c.step == first), None)
        if cursor is None:
            cursor = _Cursor(self._source, self._named, seed)
            while cursor.step < first:
                known.check(self._named, seed, cursor.step, cursor.next())
        else:
            known.cursors.remove(cursor)
        found = []
        while cursor.step < last and (seed, cursor.step) not in self._kept:
            batch = cursor.next()
            known.check(self._named, seed, cursor.step - 1, batch)
            found.append(batch)
        known.cursors.append(cursor)  # the one used last comes last
        if len(known.cursors) > CURSORS:
            known.cursors.pop(0).close()
        self._keep(seed, first, found)
        return found

    def _keep(self, seed: int, first: int, batches: list[Batch]) -> None:
        each = sum(x.nbytes for x in jax.tree.leaves(batches[:1]))  # all are alike
        with self._changing:
            for step, batch in enumerate(batches, first):
                self._kept[seed, step] = batch
            while len(self._kept) > max(1, self._most_bytes // max(1, each)):
                self._kept.popitem(last=False)


class _Seed:
    """What a reader knows of a seed's batches."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cursors: list[_Cursor] = []
        self._checksums = array.array("L")  # of all batches so far

    def check(self, named: str, seed: int, step: int, batch: Batch) -> None:
        """Raise where the batch of this step is not the one that was read before."""
        found = _checksum(batch)
        if step == len(self._checksums):
            self._checksums.append(found)
        elif self._checksums[step] != found:
            raise StreamError(
                f"{named} of seed {seed} gave another batch for step {step} when it was read again, so configurations "
                "would not be trained on the same data. Let everything random in make(seed) come from the seed: "
                "np.random.default_rng(seed), or torch.Generator().manual_seed(seed)."
            )


class _Cursor:
    """A position in the batches of a seed; `step` is the number of the next one."""

    def __init__(self, source: Stream, named: str, seed: int):
        self._source, self._named, self._seed, self.step = source, f"{named} of seed {seed}", seed, 0
        self._first_kinds = source.kinds if "first" in vars(source) else None
        with self._calling():
            made = source.make(seed)
        if not isinstance(made, Iterable):
            raise StreamError(f"{self._named}: make({seed}) returned {quoted(made)}, which is not iterable.")
        self._epochs = None if isinstance(made, Iterator) else made
        with self._calling():
            self._batches = iter(made)

    def next(self, as_given: bool = False) -> Batch:
        """Return the next batch, checked, as NumPy arrays of JAX's types, or of the types in which it came."""
        with self._calling():
            found = next(self._batches, None)
            if found is None and self._epochs is not None and self.step:  # the next epoch
                self._batches = iter(self._epochs)
                found = next(self._batches, None)
        if found is None:
            raise StreamError(f"{self._named} {self._ended()}")
        leaves, structure = jax.tree.flatten(found)
        leaves = [as_array(x) for x in leaves]
        if self._first_kinds != _kinds(leaves, structure):
            self._check(jax.tree.unflatten(structure, leaves))
        # Copies, since the user's iterator may fill the same arrays again.
        copies = [x.copy() if as_given else converted(x, copy=True) for x in leaves]
        if not all(map(is_usable, leaves, copies)):
            self._check(jax.tree.unflatten(structure, leaves))
        self.step += 1
        return jax.tree.unflatten(structure, copies)

    def close(self) -> None:
        """Let the iterator release what it holds."""
        if close := getattr(self._batches, "close", None):
            with contextlib.suppress(Exception):
                close()

    def _ended(self) -> str:
        if not self.step:
            return "gave no batch at all. Let make(seed) return an iterable of batches."
        if self._epochs is not None:
            return f"ended after {self.step} batches, and gave none when it began again. Let it begin anew each time."
        return (
            f"ended after {self.step} batches, and needs one more than there are steps, for the last training loss. "
            "Give fewer steps, let the generator repeat its data in a loop, or return an iterable, such as a data "
            "loader, which begins again at its end."
        )

    def _check(self, batch: Batch) -> None:
        """Raise where a batch is unusable, or has other shapes and types than the first of seed 0."""
        where = f"{self._named}: batch {self.step}"
        try:
            check_examples(where, batch)
        except (TypeError, ValueError) as error:
            raise StreamError(str(error)) from error
        if self._first_kinds is not None:
            raise StreamError(
                f"{where} has {described(batch)}, but the first batch of seed 0 has "
                f"{described(self._source.first)}. All must be alike: leave out an incomplete last batch "
                "(drop_last=True), and pad to one shape."
            )

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Report errors of the user's functions as errors about the stream."""
        try:
            yield
        except Exception as error:
            raise StreamError(str(explained(self._named, error))) from error


def _checksum(batch: Batch) -> int:
    """Return a checksum that is fast, since each batch has one: enough for what changes by mistake."""
    found = 0
    for x in jax.tree.leaves(batch):
        found = zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data, found)
    return found


def _kinds(leaves: list[Any], structure: Any) -> Any:
    return structure, [(type(x), x.shape, x.dtype) if isinstance(x, np.ndarray) else type(x) for x in leaves]
