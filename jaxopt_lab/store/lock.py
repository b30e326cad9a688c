"""The lock of a run folder: one process at a time; a second one is told who holds it, and a dead one holds nothing."""

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
BEAT_SECONDS = 20.0  # between two heartbeats
STALE_SECONDS = 120.0  # without a heartbeat, the owner counts as dead where no operating system says so


class Lock:
    """A lock held from `acquire` to `release`, or until the process dies.

    In a local folder, the operating system holds the lock and releases it when the process dies. Elsewhere, the owner
    writes heartbeats, and counts as dead after two minutes without one.
    """

    def __init__(self, folder: Folder):
        self._folder, self._held = folder, None
        self._token, self._beaten = uuid.uuid4().hex, 0.0

    def acquire(self) -> str | None:
        """Take the lock. Returns a message about an owner that died while it held the lock, if there was one.

        Raises:
            RunError: Another process holds it.

        """
        before = self._owner()
        if self._folder.local is not None:
            self._take_local(before)
        elif before is not None and time.time() - before["beat"] < STALE_SECONDS:
            raise RunError(self._refusal(before) + f" (A dead process loses its lock after {STALE_SECONDS:.0f} s.)")
        self._beaten = 0.0
        self.beat()
        if self._folder.local is None and (now := self._owner()) is not None and now["token"] != self._token:
            raise RunError(self._refusal(now))  # two tried at once, and the other wrote last
        return None if before is None else f"Resuming the run of process {_named(before)}, which did not end cleanly."

    def beat(self) -> None:
        """Write a heartbeat, if the last one is old enough."""
        if time.monotonic() - self._beaten < BEAT_SECONDS and self._beaten:
            return
        self._beaten = time.monotonic()
        owner = {"host": socket.gethostname(), "process": os.getpid(), "beat": time.time(), "token": self._token}
        self._folder.write(OWNER, json.dumps(owner).encode())

    def release(self) -> None:
        """Release the lock cleanly: the next owner gets no message about this one."""
        with contextlib.suppress(RunError):  # the disk is gone: the next owner will get the message
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
        except (OSError, ValueError, RecursionError):  # absent or damaged: it only informs
            pass
        return None

    def _refusal(self, owner: dict[str, Any] | None) -> str:
        who = "another process" if owner is None else f"process {_named(owner)}"
        return f"{self._folder} is in use by {who}. Wait for it, end it, or choose another folder."


def _named(owner: dict[str, Any]) -> str:
    return f"{owner['process']} on {printable(owner['host'])[:200]}"
