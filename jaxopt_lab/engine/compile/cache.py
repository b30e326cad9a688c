"""The cache on disk: compiled programs, in JAX's own persistent cache, and measured strategies."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jaxopt_lab.cache_folder import cache_folder

MOST_BYTES = 2**30  # of compiled programs; JAX evicts the least recently used
STRATEGIES = "strategies.json"


_inside = threading.Lock()
_users = 0
_before: dict[str, Any] = {}


@contextlib.contextmanager
def persistent(wanted: bool) -> Iterator[None]:
    """Cache compiled programs on disk inside the block, unless the user has configured JAX's cache or wants none.

    JAX has one such cache per process: it is ours while any sweep runs, and is restored afterwards.
    """
    global _users
    folder = cache_folder() if wanted else None
    if folder is None or not _writable(folder):
        yield
        return
    with _inside:
        _users += 1
        if _users == 1 and not jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
            _configure(
                jax_compilation_cache_dir=str(folder / f"xla-{_processor()}"),
                jax_compilation_cache_max_size=MOST_BYTES,
                jax_persistent_cache_min_compile_time_secs=0.05,
                jax_persistent_cache_min_entry_size_bytes=-1,
            )
    try:
        yield
    finally:
        with _inside:
            _users -= 1
            if _users == 0 and _before:
                _configure(**_before)
                _before.clear()


def _configure(**settings: Any) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        _before.setdefault(name, getattr(jax.config, name))
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # otherwise it would keep using the first folder


def _writable(folder: Path) -> bool:
    """Return whether the folder can be written; if not, there is no cache, which is no reason to fail."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    except OSError:
        return False


@functools.cache
def _processor() -> str:
    """Return a digest that identifies the processor: programs may use instructions that another one does not have."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    except OSError:
        known = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *known]).encode()).hexdigest()[:12]


def recall(key: str) -> dict[str, Any] | None:
    """Return the record stored under the key by this process or an earlier one."""
    found = _read().get(key)
    return found if isinstance(found, dict) else None


def remember(key: str, value: dict[str, Any]) -> None:
    """Store a small record as JSON; do nothing where the cache cannot be written."""
    folder = cache_folder()
    if folder is None or not _writable(folder):
        return
    with _inside, contextlib.suppress(OSError):
        records = _read() | {key: value}
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, suffix=".json", encoding="utf-8") as file:
            json.dump(records, file)
        os.replace(file.name, folder / STRATEGIES)


def _read() -> dict[str, Any]:
    folder = cache_folder()
    try:
        records = json.loads((folder / STRATEGIES).read_text("utf-8")) if folder else {}
    except (OSError, ValueError):  # absent or damaged, which is harmless in a cache
        return {}
    return records if isinstance(records, dict) else {}
