"""Giving a complete run a longer budget, so that its trials go on from where they are."""

from typing import Any

from jaxopt_lab.errors import RunError
from jaxopt_lab.store import manifest as manifests
from jaxopt_lab.store.folder import Folder
from jaxopt_lab.store.lock import Lock


def lengthen(where: Any, identity: dict[str, Any], before: dict[str, Any]) -> None:
    """Give a complete run a longer budget: it is then incomplete, with its trials at the end of the old one.

    Args:
        where: The run folder.
        identity: The identity with the longer budget.
        before: See `Manifest`.

    Raises:
        RunError: The folder is in use or damaged, the run is not complete, or its trials' states were not kept.

    """
    folder = Folder(where)
    folder.refuse_links()
    lock = Lock(folder)
    lock.acquire()
    try:
        manifest = manifests.read(folder)
        if manifest is None or not manifest.complete:
            raise RunError(f"{folder} is not a complete run. Finish it first: the sweep's own call resumes it.")
        if any(entry.state is None for entry in manifest.units.values()):
            raise RunError(
                f"{folder} has no states of its trials, which would take more than 256 MiB, so that they cannot go "
                "on. Start a longer sweep in another folder."
            )
        manifest.identity, manifest.before = identity, before
        manifest.complete, manifest.files = False, {}
        manifest.commit(folder)
    finally:
        lock.release()
