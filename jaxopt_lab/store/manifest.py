"""The manifest of a run folder: the run's identity, and which of its work is saved. Committed by one atomic write."""

import dataclasses
import hashlib
import json
import re
from typing import Any, NamedTuple

from jaxopt_lab.checking import is_nested
from jaxopt_lab.errors import RunError
from jaxopt_lab.store.folder import NAME, Folder

MANIFEST = "manifest.json"
FORMAT = "jaxopt_lab run 1"
SEPARATORS = (",", ":")  # the digest is of the text, so its form must be fixed
DIGEST = re.compile("[0-9a-f]{64}")
UNIT = re.compile(r"[0-9]{1,9}-[0-9]{1,9}-[0-9]{1,9}-[0-9a-f]{16}")
KEY = re.compile(r"[0-9]{1,9}(-[0-9]{1,9}){0,2}")


class Piece(NamedTuple):
    """Bytes in a pack: the pack's number, the offset, the length, and their SHA-256."""

    pack: int
    offset: int
    length: int
    digest: str


class Entry(NamedTuple):
    """What is saved of a unit of work: its results up to a step, and its trials' state, if they are to continue."""

    step: int
    results: Piece
    state: Piece | None


@dataclasses.dataclass
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        identity: What must be equal for a run to resume: see `differences`.
        environment: Versions and device, which may be allowed to differ.
        strategies: The strategies that were chosen, by what they apply to.
        units: What is saved of each unit of work.
        files: Of a complete run: the SHA-256 of every file of the results, by name.
        complete: Whether all work is done.
        next_pack: The number of the next pack.
        before: Of a run that is being extended: its budget before ("steps"), and where it recorded and evaluated
            ("record", "evaluate"), in units; else empty.

    """

    identity: dict[str, Any]
    environment: dict[str, Any]
    strategies: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    units: dict[str, Entry] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    complete: bool = False
    next_pack: int = 0
    before: dict[str, Any] = dataclasses.field(default_factory=dict)

    def commit(self, folder: Folder) -> int:
        """Write the manifest atomically; returns how many bytes it has."""
        run = json.dumps(vars(self), separators=SEPARATORS, allow_nan=False)
        head = json.dumps({"format": FORMAT, "digest": digest(run.encode())})
        folder.write(MANIFEST, f'{head[:-1]}, "run": {run}}}\n'.encode())
        return len(run)


def read(folder: Folder) -> Manifest | None:
    """Read the folder's manifest; None where there is none.

    Raises:
        RunError: It is damaged, or not a manifest.

    """
    try:
        content = folder.read(MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RunError(f"Cannot read {folder.url(MANIFEST)}: {error}.") from error
    try:
        return parse(content)
    except ValueError as error:
        raise RunError(
            f"{folder.url(MANIFEST)} is damaged or not a manifest ({error}), so the run cannot resume. Move the folder "
            "away and run again."
        ) from error


def parse(content: bytes) -> Manifest:
    """Parse a manifest; ValueError where the bytes are not one."""
    try:
        outer = json.loads(content)
        if is_nested(outer):
            raise RecursionError
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    run = outer["run"] if isinstance(outer, dict) and "run" in outer else None
    found = digest(json.dumps(run, separators=SEPARATORS, allow_nan=False).encode())
    match outer:
        case {"format": str(form)} if form != FORMAT:
            raise ValueError(f"its format is {form!r:.40}, not {FORMAT!r}")
        case {"format": str(), "digest": str(said), "run": dict()}:
            if said != found:
                raise ValueError("its checksum does not match")
        case _:
            raise ValueError("it has no format, digest and run")
    match run:
        case {
            "identity": dict(identity),
            "environment": dict(environment),
            "strategies": dict(strategies),
            "units": dict(units),
            "files": dict(files),
            "complete": bool(complete),
            "next_pack": next_pack,
            "before": dict(before),
        } if _is_count(next_pack):
            manifest = Manifest(
                identity,
                environment,
                {_name(KEY, key): _table(value) for key, value in strategies.items()},
                {_name(UNIT, unit): _entry(value) for unit, value in units.items()},
                {_name(NAME, name): _name(DIGEST, value) for name, value in files.items()},
                complete,
                next_pack,
                _before(before),
            )
            if any(piece.pack >= next_pack for entry in manifest.units.values() for piece in entry[1:] if piece):
                raise ValueError("its next pack already exists")
            return manifest
    raise ValueError("it is incomplete")


def damaged_files(folder: Folder, manifest: Manifest) -> list[str]:
    """Return the files of a complete run's results that were changed or removed since they were written."""
    broken = []
    for name, expected in manifest.files.items():
        try:
            found = digest(folder.read(name))
        except OSError:
            found = None
        if found != expected:
            broken.append(folder.url(name))
    return broken


def digest(content: Any) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def differences(before: Any, now: Any, where: str = "", was: str = "in the folder", found: str = "now") -> list[str]:
    """Describe in words how two tables of plain values differ; `was` and `found` say where each of them is."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = [*before, *(name for name in now if name not in before)]
        inner = lambda name: f"{where}, {name}" if where else str(name)
        return [
            line for name in names for line in differences(before.get(name), now.get(name), inner(name), was, found)
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for i, pair in pairs for line in differences(*pair, f"{where}, {i}", was, found)]
    if type(before) is type(now) and before == now:
        return []
    if all(isinstance(x, str) and DIGEST.fullmatch(x) for x in (before, now)):
        return [f"{where}: changed"]
    said = lambda x: "absent" if x is None else f"{x!r:.200}"
    return [f"{where}: {said(before)} {was}, {said(now)} {found}"]


def _name(form: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"it names {value!r:.80}")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"it has {value!r:.80} in place of a table")
    return value


def _entry(value: Any) -> Entry:
    match value:
        case [step, results, state] if _is_count(step):
            return Entry(step, _piece(results), None if state is None else _piece(state))
    raise ValueError(f"it has {value!r:.80} in place of a unit of work")


def _before(value: dict[str, Any]) -> dict[str, Any]:
    match value:
        case {"steps": steps, "record": list(record), "evaluate": list(evaluate)} if len(value) == 3:
            if all(map(_is_count, [steps, *record, *evaluate])):
                return value
    if value:
        raise ValueError(f"it has {value!r:.80} in place of what was extended")
    return value


def _piece(value: Any) -> Piece:
    match value:
        case [pack, offset, length, str(found)] if all(map(_is_count, (pack, offset, length))):
            return Piece(pack, offset, length, _name(DIGEST, found))
    raise ValueError(f"it has {value!r:.80} in place of a piece")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53
