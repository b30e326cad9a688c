"""Read untrusted input under a guard: each outcome is success or a documented error, and there are no side effects.

Used by `test_untrusted.py`, a few hundred inputs of each kind, and by `benchmarks/durability/fuzz.py`, ten thousand.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import hostile
import numpy as np
from rich.console import Console

import jaxopt_lab as jl
from jaxopt_lab.cli import spec
from jaxopt_lab.cli.runs import Stored, stored
from jaxopt_lab.engine.ledger import Unit
from jaxopt_lab.report.board import board
from jaxopt_lab.store import pack
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.manifest import MANIFEST, parse
from jaxopt_lab.store.run import Run
from jaxopt_lab.tasks.task import Task

SECONDS = 30.0  # that reading one input may take, on a machine where others work too
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
)
FORBIDDEN = (*STARTS, "pickle.find_class", "socket.connect")
CHANGES = ("mkdir", "rename", "remove", "rmdir", "symlink", "link", "chmod")
TO_SECOND = ("rename", "symlink", "link")  # changes of which the second argument says what is changed
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
LOADING = (FileNotFoundError, ValueError, jl.RunError)  # what `jl.load` may raise


class TooLong(BaseException):
    """Reading took too long."""


class Guard:
    """Watches for side effects: processes, imports, connections, and writing anywhere but `inside` are failures."""

    def __init__(self, inside):
        self.inside, self.watching, self.seen, self.longest = os.path.realpath(inside), False, [], 0.0
        self.known = {name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names
        sys.addaudithook(self._heard)  # which cannot be taken off again: it hears nothing unless it is watching

    def outcome(self, read, documented):
        """`success`, or `refused` with a documented error; raises for all else."""

        def late(*_):
            raise TooLong

        self.seen, before = [], signal.signal(signal.SIGALRM, late)
        began, self.watching = time.monotonic(), True
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries, about what they read
                read()
            found = "success"
        except documented as error:
            cause = error
            while cause is not None:
                if isinstance(cause, MemoryError):  # hidden behind what is documented
                    raise AssertionError("memory ran out") from error
                cause = cause.__cause__ or cause.__context__
            found = "refused"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.watching = False
            signal.signal(signal.SIGALRM, before)
            self.longest = max(self.longest, time.monotonic() - began)
        assert not self.seen, self.seen
        return found

    def _heard(self, event, args):
        if not self.watching:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event} {args!r:.200}")
        elif event == "import" and args[0].partition(".")[0] not in self.known:
            self.seen.append(f"import {args[0]}")
        elif event == "open":
            if isinstance(args[0], str | bytes) and isinstance(args[2], int) and args[2] & TO_WRITE:
                self._written(args[0])
        elif event.startswith("os.") and event[3:] in CHANGES:
            path = args[event[3:] in TO_SECOND]
            if isinstance(path, str | bytes) and args[-1] == -1:  # else it is within an open folder
                self._written(path)

    def _written(self, path):
        path = os.fsdecode(path)
        found = os.path.realpath(os.path.dirname(path))
        if path != os.devnull and not (found + os.sep).startswith(self.inside + os.sep):
            self.seen.append(f"written {path!r}")


class Stage:
    """A folder with the runs that are to be altered, one to alter them in, and one outside of it.

    Args:
        root: Where; empty.

    Attributes:
        planned: How many specs have been good enough to be planned, of those that were read to the end.

    """

    def __init__(self, root):
        self.root, self.inside, self.outside = root, root / "inside", root / "outside"
        self.inside.mkdir()
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "precious").write_text("precious")
        (self.root / "base").mkdir()
        self.complete, self.saved, self.broken = (self.root / "base" / x for x in ("complete", "saved", "broken"))
        self.sweep(self.complete).save(self.saved)
        shutil.copytree(self.complete, self.broken)
        run = json.loads((self.broken / MANIFEST).read_bytes())["run"]
        (self.broken / MANIFEST).write_bytes(hostile.sealed(run | {"complete": False, "files": {}}))
        for folder in (self.complete, self.broken):
            Stored(hostile.SPECS[0], "spec.toml", {"steps": 4}).write(Folder(folder))
            (folder / "owner.json").write_text(json.dumps({"host": "far", "process": 7, "beat": 1.5, "token": "x"}))
        self.manifest = (self.broken / MANIFEST).read_bytes()
        self.found = parse(self.manifest)
        self.pack = pack.packed({"results/ends/status": np.zeros((2, 3), np.int8), "state/0": np.ones(4, np.float32)})
        self.around = self.snapshot()
        self.guard, self.planned = Guard(self.inside), 0
        for folder in (self.complete, self.saved, self.broken):  # so that all is imported that reading imports
            self.read_folder(self.fresh(folder))
        self.guard.known |= {name.partition(".")[0] for name in sys.modules}

    def sweep(self, out):
        """The sweep that the runs are of."""
        space = {"learning_rate": [0.1, 0.2], "nesterov": jl.static([True, False])}
        options = {"steps": 4, "record": 1, "evaluate": 2, "chunk": 2, "strategy": "scan"}
        return jl.sweep(jl.momentum, "linear_regression", space, **options, out=out)

    def fresh(self, base):
        """A copy of a folder, to be altered."""
        target = self.inside / "run"
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(base, target))

    def chunk(self, folder):
        """The file that holds what is saved of the first unit."""
        return folder / "packs" / str(next(iter(self.found.units.values())).results.pack)

    def read_spec(self, text, whole=False):
        """`whole`: with tasks made and steps traced, which takes long."""
        with contextlib.ExitStack() as short:
            planned = short.enter_context(mock.patch.object(spec, "_plan", wraps=spec._plan if whole else None))
            if not whole:
                short.enter_context(mock.patch.object(spec, "remake"))
            found = self._outcome(lambda: spec.parse(text, "spec.toml", imports=False), spec.SpecError)
            self.planned += whole and planned.called
        return found

    def read_manifest(self, content):
        """Resume the run of the manifest, as far as reading its packs."""
        folder = self.inside / "run"
        if not (folder / "packs").exists():
            self.fresh(self.broken)
        (folder / MANIFEST).write_bytes(content)
        return self._outcome(lambda: self._go_on(folder), jl.RunError)

    def read_pack(self, content):
        """The arrays in a piece of a pack, and what is listed of them."""
        return self._outcome(lambda: pack.listed(pack.unpacked(content), "state/"), ValueError)

    def read_folder(self, folder):
        """Show the folder, and resume it where it is a run folder; `success` where nothing was refused."""
        outcomes = [self._outcome(lambda: self._show(folder), LOADING)]
        if (folder / "packs").exists():
            outcomes.append(self._outcome(lambda: stored(Folder(folder)), jl.RunError))
            outcomes.append(self._outcome(lambda: self._go_on(folder), jl.RunError))
        return "refused" if "refused" in outcomes else "success"

    def _go_on(self, folder):
        with contextlib.closing(
            Run.open(folder, self.found.identity, self.found.environment | {"jax": "0"}, True, every=0)
        ) as run:
            for unit in list(run._manifest.units):
                race, rung, group, trials = unit.split("-")
                run.find(Unit(int(race), int(rung), int(group), trials))
        if not run.complete:
            parse((folder / MANIFEST).read_bytes())

    def _show(self, folder):
        results = jl.load(folder)
        assert results.task is None or isinstance(results.task, Task)
        assert "<script" not in results._repr_html_()
        printed = io.StringIO()
        Console(file=printed, width=100).print(board(results, 100))
        assert "\x1b" not in printed.getvalue()
        results.table()
        results.best()
        for use in (results.params, lambda: results.grid("momentum")):
            with contextlib.suppress(ValueError):
                use()

    def _outcome(self, read, documented):
        found = self.guard.outcome(read, documented)
        assert self.snapshot() == self.around
        return found

    def snapshot(self):
        """All but what may be written."""
        paths = [*self.outside.rglob("*"), *self.root.iterdir()]
        return {str(path): path.read_bytes() if path.is_file() else None for path in paths}
