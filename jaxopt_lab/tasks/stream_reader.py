"""Reading a stream's batches: each seed's in order, and again where that is asked for."""

import array
import collections
import contextlib
import functools
import math
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import StreamError
from jaxopt_lab.tasks._examples import as_array, canonical, check_examples, described, is_usable, put
from jaxopt_lab.tasks.feeds import aligned, batch_bytes, concatenated
from jaxopt_lab.tracing.calling import explained
from jaxopt_lab.types import Batch

CURSORS = 4  # iterators of a seed that are open at once: one for each chunk that reads at another step


class StreamReader:
    """Reads a stream's batches by seed and step, from as few passes over it as the order of the questions allows.

    Batches read last are kept as they were stacked, up to `most_bytes`, since chunks of the same seed run side by side
    and ask for the same steps.
    """

    def __init__(self, source: Any, name: str, most_bytes: int):
        self._source, self._named = source, f"Task {name!r}: the stream"
        self._most_bytes, self._bytes, self._bytes_each = most_bytes, 0, max(1, batch_bytes(source))
        self._kept: collections.OrderedDict[tuple[int, int], Batch] = (
            collections.OrderedDict()
        )  # by seed and first step
        self._seeds: dict[int, _Seed] = {}
        self._changing = threading.Lock()

    def read(self, seed: int, first: int, count: int) -> Batch:
        with self._changing:
            known = self._seeds.setdefault(seed, _Seed())
        with known.lock:
            parts, step, last = [], first, first + count
            while step < last:
                found = self._known(seed, step, last)
                parts.append(self._next(known, seed, step, last) if found is None else found)
                step += _length(parts[-1])
        return parts[0] if len(parts) == 1 else jax.tree.map(lambda *arrays: concatenated(arrays), *parts)

    def close(self) -> None:
        for known in self._seeds.values():
            while known.cursors:
                known.cursors.pop().close()

    def _known(self, seed: int, step: int, last: int) -> Batch | None:
        """Return the kept batches from `step` on, up to `last` at most; None where that one is not kept."""
        with self._changing:
            for (of, first), batches in self._kept.items():
                if of == seed and first <= step < first + _length(batches):
                    self._kept.move_to_end((of, first))
                    return jax.tree.map(lambda x: x[step - first : last - first], batches)  # noqa: B023
        return None

    def _next(self, known: "_Seed", seed: int, first: int, last: int) -> Batch:
        """Read the batches from step `first` on, up to one that is kept or to `last`."""
        cursor = next((c for c in known.cursors if c.step == first), None)
        if cursor is None:
            cursor = Cursor(self._source, self._named, seed, self._source.kinds)
            while cursor.step < first:
                known.check(self._named, seed, cursor.step, cursor.read(1))
        else:
            known.cursors.remove(cursor)
        with self._changing:
            last = min([last, *(start for of, start in self._kept if of == seed and start > first)])
        self._make_room(last - first)
        batches = cursor.read(last - first)
        known.check(self._named, seed, first, batches)
        known.cursors.append(cursor)  # the one used last comes last
        if len(known.cursors) > CURSORS:
            known.cursors.pop(0).close()
        self._keep(seed, first, batches)
        return batches

    def _make_room(self, count: int) -> None:
        """Forget what was used longest ago before more batches take memory."""
        with self._changing:
            self._bytes += count * self._bytes_each
            while self._bytes > self._most_bytes and self._kept:
                self._bytes -= self._bytes_each * _length(self._kept.popitem(last=False)[1])

    def _keep(self, seed: int, first: int, batches: Batch) -> None:
        if (more := _length(batches) - max(1, self._most_bytes // self._bytes_each)) > 0:  # keep the last ones
            first, batches = first + more, jax.tree.map(lambda x: x[more:].copy(), batches)
        with self._changing:
            self._kept[seed, first] = batches
            self._bytes -= max(0, more) * self._bytes_each


def _length(batches: Batch) -> int:
    return len(jax.tree.leaves(batches)[0])


class _Seed:
    """What a reader knows of a seed's batches."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cursors: list[Cursor] = []
        self._checksums = array.array("L")  # of all batches so far

    def check(self, named: str, seed: int, first: int, batches: Batch) -> None:
        """Raise where these batches, from step `first` on, are not the ones that were read before."""
        for step, found in enumerate(_checksums(batches), first):
            if step == len(self._checksums):
                self._checksums.append(found)
            elif self._checksums[step] != found:
                raise StreamError(
                    f"{named} of seed {seed} gave another batch for step {step} when it was read again, so "
                    "configurations would not be trained on the same data. Let everything random in make(seed) come "
                    "from the seed: np.random.default_rng(seed), or torch.Generator().manual_seed(seed)."
                )


class Cursor:
    """A position in the batches of a seed, which must be of these `kinds`; `step` is the number of the next one."""

    def __init__(self, source: Any, named: str, seed: int, kinds: Any = None):
        self._source, self._named, self._kinds, self.step = source, f"{named} of seed {seed}", kinds, 0
        with self._calling():
            made = source.make(seed)
        if not isinstance(made, Iterable):
            raise StreamError(f"{self._named}: make({seed}) returned {quoted(made)}, which is not iterable.")
        self._epochs = None if isinstance(made, Iterator) else made
        with self._calling():
            self._batches = iter(made)

    def first(self) -> Batch:
        """Return the first batch, checked, in the types in which it came."""
        leaves, structure = self._next()
        return jax.tree.unflatten(structure, [x.copy() for x in leaves])

    def read(self, count: int) -> Batch:
        """Return the next batches, checked and stacked, in JAX's types."""
        made: list[np.ndarray] = []
        structure: Any = None
        for at in range(count):
            leaves, structure = self._next()
            made = made or [aligned((count, *x.shape), canonical(x.dtype)) for x in leaves]
            for given, rows in zip(leaves, made, strict=True):
                put(given, rows[at])  # copied, since the user's iterator may fill the same arrays again
                if not is_usable(given, rows[at]):
                    self._check(jax.tree.unflatten(structure, leaves))
            self.step += 1
        return jax.tree.unflatten(structure, made)

    def _next(self) -> tuple[list[Any], Any]:
        """Return the leaves and the structure of the next batch."""
        with self._calling():
            found = next(self._batches, None)
            if found is None and self._epochs is not None and self.step:  # the next epoch
                self._batches = iter(self._epochs)
                found = next(self._batches, None)
        if found is None:
            raise StreamError(f"{self._named} {self._ended()}")
        leaves, structure = jax.tree.flatten(found)
        leaves = [as_array(x) for x in leaves]
        if self._kinds != kinds(leaves, structure):
            self._check(jax.tree.unflatten(structure, leaves))
        return leaves, structure

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
        if self._kinds is not None:
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


def _checksums(batches: Batch) -> Iterator[int]:
    """Return a checksum of each batch that is fast: enough for what changes by mistake."""
    rows = (x.reshape(len(x), math.prod(x.shape[1:])).view(np.uint8) for x in jax.tree.leaves(batches))
    for parts in zip(*rows, strict=True):
        yield functools.reduce(lambda found, x: zlib.crc32(x, found), parts, 0)


def kinds(leaves: list[Any], structure: Any) -> Any:
    return structure, [(type(x), x.shape, x.dtype) if isinstance(x, np.ndarray) else type(x) for x in leaves]
