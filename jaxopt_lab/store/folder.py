"""Folders, local or on any fsspec file system: files appear complete or not at all, and are durable once written."""

import contextlib
import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxopt_lab.checking import quoted
from jaxopt_lab.engine.devices import host_free_bytes
from jaxopt_lab.errors import RunError

LARGE_BYTES = 2**26  # files of more bytes than this are checked against free memory
PARTIAL = ".partial"  # suffix of files that are being written, ours and Zarr's
_PART = r"(?!\.{1,2}(?:/|$))[^/\\\0\ud800-\udfff]+"
NAME = re.compile(f"{_PART}(?:/{_PART})*")  # a file below a folder; never a path that leads out of it
DEEPEST = 16  # levels of folders; a run folder has fewer


class Folder:
    """Files by name, below one folder.

    Args:
        where: A local path, or any URL that fsspec supports ("memory://...", "s3://bucket/...").

    """

    def __init__(self, where: str | Path):
        import fsspec

        if not isinstance(where, str | os.PathLike):
            raise TypeError(f"The path of a folder must be a string or a path, got {quoted(where)}.")
        self.where = os.fspath(where)
        self._fs: Any
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.where)
        except ValueError as error:  # of a protocol that fsspec does not know
            raise ValueError(
                f"{self.where!r:.200} is neither a path nor a URL that fsspec can open: {error}."
            ) from error
        if "\0" in self.where:
            raise ValueError(f"{self.where!r:.200} is not a path: it has a null character.")
        self.local = Path(self._root) if "file" in _protocols(self._fs) else None

    def __str__(self) -> str:
        return str(self.local) if self.local is not None else self.where

    def url(self, name: str = "") -> str:
        """Return the path or URL by which other libraries open the file or array."""
        root = str(self.local) if self.local is not None else self.where.rstrip("/")
        return f"{root}/{name}" if name else root

    def exists(self, name: str = "") -> bool:
        return bool(self._fs.exists(self._path(name)))

    def names(self, name: str = "") -> list[str]:
        """List the names in a folder; empty where there is no such folder."""
        try:
            found = self._fs.ls(self._path(name), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def files(self, name: str) -> list[str]:
        """List all files below the folder `name`, by their paths relative to this folder."""
        root = self._path("").rstrip("/") + "/"
        return sorted(path[path.index(root) + len(root) :] for path in self._fs.find(self._path(name)))

    def make(self) -> None:
        """Create the folder where it does not exist."""
        with self.errors("make"):
            self._fs.makedirs(self._path(""), exist_ok=True)

    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError where there is none, OSError where it is a link or not a plain file."""
        if self.local is None:
            return self._fs.cat_file(self._path(name))
        path = Path(self._path(name))
        if wrong := _strange(path.lstat()):
            raise OSError(errno.EINVAL, f"it {wrong}")
        return path.read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file atomically: readers always see either the old content or the new."""
        with self.errors(f"write {name} to"):
            if self.local is None:
                self._fs.pipe_file(self._path(name), content)
                return
            path = Path(self._path(name))
            path.parent.mkdir(exist_ok=True)
            beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
            try:
                with beside.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(beside, path)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
            _sync(path.parent)

    def read_part(self, name: str, start: int, length: int) -> bytes:
        """Read `length` bytes of a file, fewer where it ends before; errors as in `read`."""
        if self.local is None:
            return self._fs.cat_file(self._path(name), start=start, end=start + length)
        path = Path(self._path(name))
        if wrong := _strange(path.lstat()):
            raise OSError(errno.EINVAL, f"it {wrong}")
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def sync(self, name: str) -> None:
        """Flush all files of a local folder to disk, to survive a power failure; remote stores do this themselves."""
        if self.local is None:
            return
        with self.errors(f"write {name} to"):
            for folder, _, files in os.walk(self._path(name)):
                for file in files:
                    _sync(Path(folder) / file)
                _sync(Path(folder))
            _sync(Path(self._path(name)).parent)

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content, if it exists."""
        with self.errors(f"remove {name} from"):
            if self.local is not None:
                path = Path(self._path(name))
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                return
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(self._path(name), recursive=True)

    def refuse_links(self, name: str = "") -> None:
        """Raise RunError where an untrusted folder holds links, devices, pipes or huge files, which it names.

        A link may lead out of the folder; reading a device or a pipe may never end.
        """
        waiting = [(Path(self._path(name)), 1)] if self.local is not None else []
        while waiting:
            folder, depth = waiting.pop()
            with self.errors("read"):
                entries = list(_entries(folder))
            for path, found in entries:
                is_folder = stat.S_ISDIR(found.st_mode)
                wrong = None if is_folder and depth < DEEPEST else _strange(found)
                if wrong:
                    raise RunError(f"{path} {wrong}, which a run folder never holds. Remove it.")
                if is_folder:
                    waiting.append((path, depth + 1))

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Report errors of the file system as a RunError that says what to do."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise RunError(
                f"Cannot {doing} {self}: {reason}. What was saved before is safe. Correct the cause, then run the same "
                "again to resume."
            ) from error

    def _path(self, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a file of a run folder")
        return f"{self._root.rstrip('/')}/{name}" if name else self._root


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """List a folder's entries, skipping those that are removed meanwhile."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield path, path.lstat()


def _strange(found: os.stat_result) -> str | None:
    """Say why an entry cannot be one of our files, else None; reading a pipe or a device might never end."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not stat.S_ISREG(found.st_mode):
        return "is a folder" if stat.S_ISDIR(found.st_mode) else "is not a plain file"
    large = found.st_size > LARGE_BYTES and found.st_size > host_free_bytes()
    return "is larger than the free memory" if large else None


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot flush folders, and need not
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
