"""Calls of a user's functions: an error in one is reported with the function's name and the user's own line."""

import contextlib
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.core import Tracer

from jaxopt_lab.errors import ArgumentError, ArgumentTypeError, ArgumentValueError, Part

PACKAGE = str(Path(__file__).parents[1])
LIBRARIES = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
MOST_SAID = 300  # characters of another package's message
MOST_SHOWN = 120  # characters of a line of code

LEAKED = (
    "It uses a value that was traced by a jax.jit, jax.vmap or jax.grad that has ended: close over arrays only, and "
    "make them outside of such functions."
)
# What to do about errors that only tracing raises; the first that fits.
ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        jax.errors.TracerArrayConversionError,
        "It hands a traced value to NumPy: use jax.numpy instead, for example jnp.sum for np.sum.",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        "It takes a traced value for a size, or for an index into a Python list: use jnp.take, or a fixed number.",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "It selects by a mask, so that the result's size is unknown: use jnp.where(mask, x, 0).",
    ),
    (
        jax.errors.ConcretizationTypeError,
        "It branches in Python on a traced value, or turns one into a Python number: use jnp.where, jax.lax.cond or "
        "jax.lax.fori_loop, and leave out float(), int() and .item().",
    ),
    (jax.errors.UnexpectedTracerError, LEAKED),
)


@contextlib.contextmanager
def calling(what: str) -> Iterator[None]:
    """Raise what goes wrong inside as an error about `what`, a function of the user's.

    Raises:
        TypeError: The function raised a TypeError.
        ValueError: It raised anything else. Errors of this package's own checks pass as they are.

    """
    try:
        yield
    except Exception as error:
        if is_ours(error):
            raise
        raise explained(what, error) from error


def explained(what: str, error: Exception, hint: Sequence[Part] = ()) -> ArgumentError:
    """The error to raise in the place of one that `what`, a function of the user's, has raised; `hint` comes last."""
    said = str(error).strip().partition("\n")[0][:MOST_SAID].rstrip(".")
    advice = next((advice for kind, advice in ADVICE if isinstance(error, kind)), None)
    kind = ArgumentTypeError if isinstance(error, TypeError) else ArgumentValueError
    return kind(
        f"{what} raised {type(error).__name__}{f': {said}' if said else ''}{place(error)}.",
        advice=(
            advice or "The error is in that function, not in the sweep: correct it there.",
            *[" "][: len(hint)],
            *hint,
        ),
    )


def refuse_leaks(what: str, consts: Iterable[Any]) -> None:
    """Raise ValueError where a function of the user's, traced, has closed over a value of another trace."""
    if leaked := [x for x in consts if isinstance(x, Tracer)]:
        raise ArgumentValueError(f"{what} closes over {leaked[0]!r:.80}. {LEAKED}")


def is_ours(error: Exception) -> bool:
    """Whether one of this package's own checks has raised the error, so that it says what to do already."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if not frames or not _within(frames[-1][0], PACKAGE):
        return False
    return linecache.getline(*frames[-1]).lstrip().startswith("raise ")  # JAX leaves its own frames out


def place(error: BaseException) -> str:
    """The innermost line of the user's own code that the error came through, in parentheses; nothing without one."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    others = [(code, line) for code, line in frames if not _within(code.co_filename, PACKAGE)]
    own = [(code, line) for code, line in others if not _of_a_library(code.co_filename)] or others
    if not own:
        return ""
    code, line = own[-1]
    text = linecache.getline(code.co_filename, line).strip()
    return f" ({code.co_filename}:{line}, in {code.co_name}{f': {text[:MOST_SHOWN]}' if text else ''})"


def callers_level() -> int:
    """`stacklevel` for `warnings.warn` of the caller: the first line outside of this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _within(frame.f_code.co_filename, PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


def _of_a_library(file: str) -> bool:
    """Whether it belongs to Python, to an installed package (some name their files by no path), or to this one."""
    if file.startswith("<"):  # of a notebook, or typed in, unless of Python's own
        return file.startswith("<frozen")
    return not os.path.isabs(file) or any(_within(file, folder) for folder in (PACKAGE, *LIBRARIES))


def _within(file: str, folder: str) -> bool:
    return file.startswith(folder.rstrip("/\\") + ("\\" if "\\" in folder else "/"))
