"""A run folder in use: results and states of the engine's units of work, saved while they run, so that it can resume.

Each save is written to new files; then one atomic write of the manifest commits it; then the files that it replaces are
removed. A process that dies leaves the last manifest, and everything that it refers to.
"""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from jaxopt_lab.engine.ledger import ACTORS, Ledger, Record, Unit
from jaxopt_lab.engine.recorder import Outcome
from jaxopt_lab.engine.strategy import Strategy, stored_strategy
from jaxopt_lab.errors import RunError
from jaxopt_lab.store import manifest as manifests
from jaxopt_lab.store import records
from jaxopt_lab.store.budget import Budget
from jaxopt_lab.store.folder import PARTIAL, Folder
from jaxopt_lab.store.identity import refuse_other
from jaxopt_lab.store.lock import Lock
from jaxopt_lab.store.manifest import Entry, Manifest, Piece, digest
from jaxopt_lab.store.packs import PACKS, Packs
from jaxopt_lab.store.zarr import RESULTS
from jaxopt_lab.tracing.settings import enter, of_this_thread

SHARE = {"commit": 0.01, "view": 0.005}  # the most that saves and partial results may take of the run's time
VIEW_SECONDS = 3.0  # between two writes of the partial results that `jl.load` reads
POLL_SECONDS = 0.05


View = Callable[[Outcome, Folder, bool], None]


class Run(Ledger):
    """A ledger on disk. Between `open` and `close`, this process owns the folder.

    Attributes:
        complete: Whether an earlier process completed the run, and its results are undamaged.
        before: Of a run that is being extended: see `Manifest`.
        convert: Converts what is saved of a unit: the identity, except for a run that is being extended.

    """

    def __init__(self, folder: Folder, lock: Lock, manifest: Manifest, notes: list[str], every: Any, view: Any):
        self.folder, self.complete, self._notes = folder, manifest.complete, notes
        self._lock, self._manifest, self.every, self.where = lock, manifest, every, folder.url()
        self._found = frozenset(manifest.strategies)  # chosen by an earlier process
        self._pending: dict[str, tuple[Record, bool]] = {}
        self._round, self._rounds = 0, dict[str, int]()
        self._packs = Packs(folder, (p for e in manifest.units.values() for p in _pieces(e)), manifest.next_pack)
        self._budgets = {"commit": Budget(SHARE["commit"], every), "view": Budget(SHARE["view"], pause=VIEW_SECONDS)}
        self._changed, self._committing = threading.Condition(), threading.Lock()
        self.before = manifest.before
        self.convert: Callable[[Unit, Record], Record] = lambda _, record: record
        self._closing, self._error = False, None
        self._view, self._outcome = None if manifest.before else view, None  # until then its results are those before
        # The writer's thread makes partial results under the caller's precision and other settings.
        settings = of_this_thread()
        self._writer = threading.Thread(target=self._write, args=(settings,), name="jaxopt-lab-saves", daemon=True)

    @classmethod
    def open(
        cls,
        where: Any,
        identity: dict[str, Any],
        environment: dict[str, Any],
        allow_different_version: bool = False,
        every: float | None = None,
        view: View | None = None,
    ) -> "Run":
        """Open a run folder: a new one, or that of an earlier run with the same identity.

        Args:
            where: A path, or a URL that fsspec supports.
            identity: The identity of what is to run: see `identity.identity`.
            environment: Package versions and device.
            allow_different_version: Resume although the environment differs.
            every: Seconds between two saves; 0 saves every segment before the next one begins. By default as often as
                possible, so long as saves and partial results take at most 1.5 % of the time.
            view: Writes partial results for readers: called from a thread of the run's with the outcome, the folder,
                and whether to write anew or over the previous ones.

        Raises:
            RunError: The folder is in use, damaged, of a different run, or cannot be written.

        """
        folder = Folder(where)
        found = folder.names()
        if found and manifests.MANIFEST not in found:
            ours = ("lock", "owner.json", PACKS)
            if strange := [name for name in found if name not in ours and not name.endswith(PARTIAL)]:
                raise RunError(f"{folder} is not a run folder: it holds {strange[0]!r}. Choose a new one.")
        folder.make()
        folder.refuse_links()
        lock = Lock(folder)
        died = lock.acquire()
        try:
            notes = [died] if died else []
            manifest = manifests.read(folder)
            if manifest is None:
                manifest = Manifest(identity, environment)
            refuse_other(folder, manifest, identity, environment, allow_different_version)
            manifest.environment = environment
            run = cls(folder, lock, manifest, notes, every, view)
            if run.complete and (broken := run.damaged_files()):
                notes.append(f"Damaged, so written again: {', '.join(broken)}.")
                run.complete, manifest.complete, manifest.files = False, False, {}
            if not run.complete:
                manifest.commit(folder)
                run._remove_strays()
                if not run.before:  # else these are the results before it was extended
                    folder.remove(RESULTS)  # possibly half written; it is made again from the packs
                run._writer.start()
            return run
        except BaseException:
            lock.release()
            raise

    # The engine's interface

    @property
    def keeps(self) -> bool:
        return True

    def begin(self, outcome: Outcome) -> None:
        outcome.notes.extend(self._notes)
        self._notes, self._outcome = outcome.notes, outcome

    def knows(self, about: tuple[int, ...]) -> bool:
        return _key(about) in self._found

    def settled(self, about: tuple[int, ...], settle: Callable[[], Strategy]) -> Strategy:
        known = self._manifest.strategies.get(_key(about))
        if known is not None:
            return _strategy(self.folder, known)
        strategy = settle()
        with self._committing:
            self._manifest.strategies[_key(about)] = dataclasses.asdict(strategy)
        return strategy

    def find(self, unit: Unit) -> Record | None:
        entry = self._manifest.units.get(str(unit))
        if entry is None:
            return None
        try:
            record = records.read(entry.step, [self._packs.read(piece) for piece in _pieces(entry)])
            return self.convert(unit, record)
        except Exception as error:  # reading an untrusted or damaged file may raise anything
            self.damaged(unit, str(error))
            return None

    def due(self, unit: Unit) -> bool:
        self._raise()
        return self.every == 0 or (self._rounds.get(str(unit), 0) <= self._round and self._budgets["commit"].allows())

    def save(self, unit: Unit, record: Record, done: bool) -> None:
        self._raise()
        with self._changed:
            self._pending[str(unit)] = record, done
            self._rounds[str(unit)] = self._round + 1  # once per round is enough
            self._changed.notify_all()
        if self.every == 0:
            self._commit()

    def holds(self, unit: Unit, step: int) -> bool:
        entry = self._manifest.units.get(str(unit))
        return entry is not None and entry.step >= step

    def damaged(self, unit: Unit, wrong: str) -> None:
        with self._committing:
            entry = self._manifest.units.pop(str(unit), None)
        if entry is not None:
            files = sorted({self._packs.url(piece) for piece in _pieces(entry)})
            self._notes.append(f"Damaged, so run again: a part of {' and '.join(files)} ({wrong}).")

    # Ending

    def stop(self) -> None:
        """Save everything that is known, and stop the writer's thread."""
        self._stop()
        self._commit()

    def complete_with(self, name: str, keep_states: bool = False) -> None:
        """Mark the stopped run as complete: all work is done, and the results are in the folder `name`.

        With `keep_states`, the final states of trials stay, so that the run can be extended.
        """
        self.folder.sync(name)
        for file in [file for file in self.folder.files(name) if file.endswith(PARTIAL)]:
            self.folder.remove(file)
        manifest = self._manifest
        standing = [entry.state for entry in manifest.units.values() if entry.state and not keep_states]
        if not keep_states:
            manifest.units = {unit: entry._replace(state=None) for unit, entry in manifest.units.items()}
        manifest.before = {}
        manifest.files = {file: digest(self.folder.read(file)) for file in self.folder.files(name)}
        manifest.complete = True
        manifest.commit(self.folder)
        self._packs.let_go(standing)
        self.folder.remove(ACTORS)

    def close(self) -> None:
        """Save what can be saved, and release the folder. Idempotent."""
        with contextlib.suppress(RunError):
            self.stop()
        self._lock.release()

    def damaged_files(self) -> list[str]:
        """Return the files of a complete run's results that were changed since they were written."""
        return manifests.damaged_files(self.folder, self._manifest)

    # Writing

    def _write(self, settings: dict[str, Any]) -> None:
        """Run the writer's thread: commit what is pending whenever the time budget allows."""
        enter(settings)
        commit, view, anew = self._budgets["commit"], self._budgets["view"], True
        try:
            while not self._closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, POLL_SECONDS)
                self._lock.beat()
                if self._pending and self.every != 0 and commit.allows():
                    self._commit()
                if self._view is not None and self._outcome is not None and not self._closing and view.allows():
                    with view.spending():
                        self._view(self._outcome, self.folder, anew)
                    anew = False
        except Exception as error:  # raised at the engine's next call
            self._error = error

    def _commit(self) -> None:
        with self._committing, self._budgets["commit"].spending():
            with self._changed:
                pending, self._pending = self._pending, {}
                self._round += 1
            if not pending:
                return
            parts: dict[str, list[tuple[str, str, bytes]]] = {"done": [], "held": [], "standing": []}
            for unit, (record, done) in pending.items():
                results, state = records.written(record)
                parts["done" if done else "standing"].append((unit, "results", results))
                if state is not None:
                    parts["held" if done else "standing"].append((unit, "state", state))
            # A pack holds pieces of similar lifetime: states are soon replaced, results are not.
            placed: dict[str, dict[str, Piece]] = collections.defaultdict(dict)
            for pack in filter(None, parts.values()):
                pieces = self._packs.write([content for *_, content in pack])
                for (unit, what, _), piece in zip(pack, pieces, strict=True):
                    placed[unit][what] = piece
            manifest = self._manifest
            replaced = [piece for unit in pending if unit in manifest.units for piece in _pieces(manifest.units[unit])]
            for unit, (record, _) in pending.items():
                manifest.units[unit] = Entry(record.step, placed[unit]["results"], placed[unit].get("state"))
            manifest.next_pack = self._packs.following
            manifest.commit(self.folder)
            self._packs.let_go(replaced)

    def _remove_strays(self) -> None:
        """Remove files that no manifest refers to: those that a dead process had begun to write."""
        self._packs.remove_strays()
        for name in self.folder.names():
            if name.endswith(PARTIAL):
                self.folder.remove(name)

    def _stop(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._writer.ident is not None:
            self._writer.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def _strategy(folder: Folder, table: dict[str, Any]) -> Strategy:
    strategy = stored_strategy(table)
    if strategy is not None:
        return strategy
    raise RunError(
        f"{folder.url(manifests.MANIFEST)} has an invalid strategy: {table!r:.200}. Move the folder away and run again."
    )


def _pieces(entry: Entry) -> list[Piece]:
    return [piece for piece in (entry.results, entry.state) if piece is not None]


def _key(about: tuple[int, ...]) -> str:
    return "-".join(map(str, about))
