"""Reading a stream's batches: each seed's in order, and again where that is asked for."""

import array
import collections
import contextlib
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from jaxopt_lab.checking import quoted
from jaxopt_lab.errors import StreamError
from jaxopt_lab.tasks._examples import as_array, check_examples, converted, described, is_usable
from jaxopt_lab.tasks.feeds import concatenated, stacked
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
        self._most_bytes, self._bytes = most_bytes, 0
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
            cursor = Cursor(self._source, self._named, seed)
            while cursor.step < first:
                known.check(self._named, seed, cursor.step, cursor.next())
        else:
            known.cursors.remove(cursor)
        with self._changing:
            last = min([last, *(start for of, start in self._kept if of == seed and start > first)])
        found = []
        while cursor.step < last:
            batch = cursor.next()
            known.check(self._named, seed, cursor.step - 1, batch)
            found.append(batch)
        known.cursors.append(cursor)  # the one used last comes last
        if len(known.cursors) > CURSORS:
            known.cursors.pop(0).close()
        batches = jax.tree.map(lambda *arrays: stacked(arrays), *found)
        self._keep(seed, first, batches)
        return batches

    def _keep(self, seed: int, first: int, batches: Batch) -> None:
        most = max(1, self._most_bytes // max(1, _bytes(batches) // _length(batches)))
        if (more := _length(batches) - most) > 0:  # keep the last ones
            first, batches = first + more, jax.tree.map(lambda x: x[more:].copy(), batches)
        with self._changing:
            self._kept[seed, first] = batches
            self._bytes += _bytes(batches)
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def _length(batches: Batch) -> int:
    return len(jax.tree.leaves(batches)[0])


def _bytes(batches: Batch) -> int:
    return sum(x.nbytes for x in jax.tree.leaves(batches))


class _Seed:
    """What a reader knows of a seed's batches."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cursors: list[Cursor] = []
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


class Cursor:
    """A position in the batches of a seed; `step` is the number of the next one."""

    def __init__(self, source: Any, named: str, seed: int):
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
        if self._first_kinds != kinds(leaves, structure):
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


def kinds(leaves: list[Any], structure: Any) -> Any:
    return structure, [(type(x), x.shape, x.dtype) if isinstance(x, np.ndarray) else type(x) for x in leaves]
