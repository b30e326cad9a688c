"""A folder, local or wherever fsspec reaches: files appear whole or not at all, and once there they stay."""

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

LARGE_BYTES = 2**26  # of a file that is asked for whether it fits into memory
PARTIAL = ".partial"  # how names of files end that are being written, ours and Zarr's
_PART = r"(?!\.{1,2}(?:/|$))[^/\\\0\ud800-\udfff]+"
NAME = re.compile(f"{_PART}(?:/{_PART})*")  # of a file below a folder: nothing that leads out of it
DEEPEST = 16  # folders in each other, of which a run folder has fewer


class Folder:
    """Files by name, below one folder.

    Args:
        where: A local path, or any URL that fsspec knows ("memory://...", "s3://bucket/...").

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
            raise ValueError(f"{self.where!r:.200} is no path: it has a null character.")
        self.local = Path(self._root) if "file" in _protocols(self._fs) else None

    def __str__(self) -> str:
        return str(self.local) if self.local is not None else self.where

    def url(self, name: str = "") -> str:
        """What other libraries open the file or array by."""
        root = str(self.local) if self.local is not None else self.where.rstrip("/")
        return f"{root}/{name}" if name else root

    def exists(self, name: str = "") -> bool:
        return bool(self._fs.exists(self._path(name)))

    def names(self, name: str = "") -> list[str]:
        """What is in a folder, none where there is no such folder."""
        try:
            found = self._fs.ls(self._path(name), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def files(self, name: str) -> list[str]:
        """All files below a folder, by their names from this folder on."""
        root = self._path("").rstrip("/") + "/"
        return sorted(path[path.index(root) + len(root) :] for path in self._fs.find(self._path(name)))

    def make(self) -> None:
        """Make the folder where there is none."""
        with self.errors("make"):
            self._fs.makedirs(self._path(""), exist_ok=True)

    def read(self, name: str) -> bytes:
        """The file's bytes; FileNotFoundError where there is none, OSError where it is a link or no plain file."""
        if self.local is None:
            return self._fs.cat_file(self._path(name))
        path = Path(self._path(name))
        if wrong := _strange(path.lstat()):
            raise OSError(errno.EINVAL, f"it {wrong}")
        return path.read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a file at once: whoever reads sees the old or the new, whatever happens meanwhile."""
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
        """So many of a file's bytes, fewer where it ends before; errors as in `read`."""
        if self.local is None:
            return self._fs.cat_file(self._path(name), start=start, end=start + length)
        path = Path(self._path(name))
        if wrong := _strange(path.lstat()):
            raise OSError(errno.EINVAL, f"it {wrong}")
        with path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def sync(self, name: str) -> None:
        """See to it that all files of a local folder outlive a loss of power; a remote store does so by itself."""
        if self.local is None:
            return
        with self.errors(f"write {name} to"):
            for folder, _, files in os.walk(self._path(name)):
                for file in files:
                    _sync(Path(folder) / file)
                _sync(Path(folder))
            _sync(Path(self._path(name)).parent)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it, if it is there."""
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
        """Raise where a stranger's folder holds what leads out of it, or has no end: links, devices, pipes, huge files.

        RunError names it.
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
        """What a file system objects to, as an error that says what to do."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise RunError(
                f"Cannot {doing} {self}: {reason}. What was saved before is safe: mend that, and run the same again to "
                "go on from there."
            ) from error

    def _path(self, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a file of a run folder")
        return f"{self._root.rstrip('/')}/{name}" if name else self._root


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is in a folder, but for what is removed meanwhile."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield path, path.lstat()


def _strange(found: os.stat_result) -> str | None:
    """What is wrong with it for a file of ours; reading one without an end would never come back."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not stat.S_ISREG(found.st_mode):
        return "is a folder" if stat.S_ISDIR(found.st_mode) else "is no plain file"
    large = found.st_size > LARGE_BYTES and found.st_size > host_free_bytes()
    return "is larger than the memory that is free" if large else None


def _sync(path: Path) -> None:
    """Have the disk hold what the file, or the folder's list of names, is."""
    if os.name == "nt" and path.is_dir():  # Windows cannot, and need not
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
