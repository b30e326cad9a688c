"""The engine's records as bytes: the results of a unit of work, and the state of its trials."""

from collections.abc import Iterable

from jaxopt_lab.engine.ledger import Record
from jaxopt_lab.store.pack import listed, packed, unpacked


def written(record: Record) -> tuple[bytes, bytes | None]:
    """Return the record's results with its parameters, and the state of its trials, if it has one."""
    arrays = {f"results/{name}": array for name, array in record.results.items()}
    arrays |= {f"params/{i}": leaf for i, leaf in enumerate(record.params or [])}
    if record.kept is not None:
        arrays["kept"] = record.kept
    state = None if record.state is None else packed({f"state/{i}": leaf for i, leaf in enumerate(record.state)})
    return packed(arrays), state


def read(step: int, parts: Iterable[bytes | memoryview]) -> Record:
    """Return the record at a step whose parts `written` returned; ValueError where they are something else."""
    known = {name: array for part in parts for name, array in unpacked(part).items()}
    results = {name.removeprefix("results/"): x for name, x in known.items() if name.startswith("results/")}
    return Record(step, results, listed(known, "params/"), listed(known, "state/"), known.get("kept"))
