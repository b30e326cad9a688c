"""Serialise named arrays to one string of bytes: a JSON header, then the arrays' bytes. Loading executes nothing."""

import json
import math
from collections.abc import Mapping

import ml_dtypes
import numpy as np

# JAX's further dtypes besides NumPy's, by name.
NARROW = {
    name: np.dtype(kind)
    for name, kind in vars(ml_dtypes).items()
    if isinstance(kind, type) and issubclass(kind, np.generic)
}
CODES = "?" + np.typecodes["AllInteger"] + np.typecodes["AllFloat"]
KINDS = NARROW | {np.dtype(code).name: np.dtype(code) for code in CODES}
MOST_HEADER_BYTES = 2**24
MOST_AXES = 32


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Pack the arrays: the header's length (eight bytes, little-endian), the header, then the arrays in order."""
    whole = {name: np.asarray(x) for name, x in arrays.items()}
    header = json.dumps([[name, x.dtype.name, list(x.shape)] for name, x in whole.items()]).encode()
    parts = [len(header).to_bytes(8, "little"), header, *(x.tobytes() for x in whole.values())]
    return b"".join(parts)


def listed(arrays: Mapping[str, np.ndarray], prefix: str) -> list[np.ndarray] | None:
    """Return the arrays named by the prefix and a number from 0 on, in order; None where there are none.

    Raises ValueError where a name with the prefix does not fit.
    """
    count = sum(name.startswith(prefix) for name in arrays)
    if missing := [i for i in range(count) if f"{prefix}{i}" not in arrays]:
        raise ValueError(f"it has no {prefix}{missing[0]}")
    return [arrays[f"{prefix}{i}"] for i in range(count)] if count else None


def unpacked(content: bytes | memoryview) -> dict[str, np.ndarray]:
    """Unpack what `packed` returned; ValueError where the bytes are something else."""
    content = memoryview(content)
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MOST_HEADER_BYTES, len(content) - 8):
        raise ValueError("its header is cut off")
    try:
        header, at, arrays = json.loads(bytes(content[8 : 8 + length])), 8 + length, {}
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, list):
        raise ValueError("its header is not a list")
    for entry in header:
        name, dtype, shape = _checked(entry)
        size = math.prod(shape) * dtype.itemsize
        if size > len(content) - at:
            raise ValueError(f"its array {name!r} is cut off")
        arrays[name] = np.frombuffer(content[at : at + size], dtype).reshape(shape).copy()
        at += size
    if at != len(content):
        raise ValueError(f"{len(content) - at} bytes follow its last array")
    return arrays


def _checked(entry: object) -> tuple[str, np.dtype, tuple[int, ...]]:
    match entry:
        case [str(name), str(dtype), list(shape)] if dtype in KINDS and len(shape) <= MOST_AXES:
            if all(type(n) is int and 0 <= n < 2**40 for n in shape):
                return name, KINDS[dtype], tuple(shape)
    raise ValueError(f"its header has an entry {entry!r:.80}")
