"""One process a run folder: the second is told who has it, and one that has died holds nothing."""

import contextlib
import json
import os
import socket
import time
import uuid
from typing import Any

from jaxopt_lab.checking import printable
from jaxopt_lab.errors import RunError
from jaxopt_lab.store.folder import Folder

OWNER, LOCK = "owner.json", "lock"
BEAT_SECONDS = 20.0  # between two signs of life
STALE_SECONDS = 120.0  # without one, where no system tells that the owner has died


class Lock:
    """Held from `acquire` to `release`, or until the process dies.

    In a local folder the operating system holds it, and lets go of it when the process dies, however it does. Elsewhere
    the owner's signs of life tell: it is taken for dead after two minutes without one.
    """

    def __init__(self, folder: Folder):
        self._folder, self._held = folder, None
        self._token, self._beaten = uuid.uuid4().hex, 0.0

    def acquire(self) -> str | None:
        """Take the folder. Returns a line about an owner that died with it, if there was one.

        Raises:
            RunError: Another process has it.

        """
        before = self._owner()
        if self._folder.local is not None:
            self._take_local(before)
        elif before is not None and time.time() - before["beat"] < STALE_SECONDS:
            raise RunError(self._refusal(before) + f" (A dead one is forgotten after {STALE_SECONDS:.0f} s.)")
        self._beaten = 0.0
        self.beat()
        if self._folder.local is None and (now := self._owner()) is not None and now["token"] != self._token:
            raise RunError(self._refusal(now))  # two came at once, and the other wrote last
        return None if before is None else f"Going on from where process {_named(before)} was ended."

    def beat(self) -> None:
        """A sign of life, where the last one is some time ago."""
        if time.monotonic() - self._beaten < BEAT_SECONDS and self._beaten:
            return
        self._beaten = time.monotonic()
        owner = {"host": socket.gethostname(), "process": os.getpid(), "beat": time.time(), "token": self._token}
        self._folder.write(OWNER, json.dumps(owner).encode())

    def release(self) -> None:
        """Let go, in good order: nobody will be told of an owner that died."""
        with contextlib.suppress(RunError):  # of a disk that has gone away: the next owner will be told
            self._folder.remove(OWNER)
        if self._held is not None:
            self._held.release()
            self._held = None

    def _take_local(self, before: dict[str, Any] | None) -> None:
        from filelock import FileLock, Timeout

        assert self._folder.local is not None
        self._held = FileLock(self._folder.local / LOCK, thread_local=False)
        with self._folder.errors("lock"):
            try:
                self._held.acquire(timeout=0)
            except Timeout:
                raise RunError(self._refusal(before)) from None

    def _owner(self) -> dict[str, Any] | None:
        try:
            match json.loads(self._folder.read(OWNER)):
                case {"host": str(), "process": int(process), "beat": float(), "token": str()} as owner:
                    if 0 <= process < 2**63:
                        return owner
        except (OSError, ValueError, RecursionError):  # none, or damaged: it only tells
            pass
        return None

    def _refusal(self, owner: dict[str, Any] | None) -> str:
        who = "another process" if owner is None else f"process {_named(owner)}"
        return f"{self._folder} is in use by {who}. Wait for it, end it, or choose another folder."


def _named(owner: dict[str, Any]) -> str:
    return f"{owner['process']} on {printable(owner['host'])[:200]}"
