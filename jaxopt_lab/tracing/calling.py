"""Calling a user's functions: an error in one is reported with the function's name and the user's line of code."""

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
# Advice on errors that only tracing raises; the first match applies.
ADVICE: tuple[tuple[type[Exception], str], ...] = (
    (
        jax.errors.TracerArrayConversionError,
        "It passes a traced value to NumPy: use jax.numpy instead, for example jnp.sum for np.sum.",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        "It uses a traced value as a size, or as an index into a Python list: use jnp.take, or a fixed number.",
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
def calling(what: str, hint: Sequence[Part] = ()) -> Iterator[None]:
    """Report errors raised inside as errors about `what`, one of the user's functions; `hint` comes last.

    Raises:
        TypeError: The function raised a TypeError.
        ValueError: It raised another error. Errors from this package's own checks pass unchanged.

    """
    try:
        yield
    except Exception as error:
        if is_ours(error):
            raise
        raise explained(what, error, hint) from error


def explained(what: str, error: Exception, hint: Sequence[Part] = ()) -> ArgumentError:
    """Make the error to raise in place of one that `what`, a user's function, raised; `hint` comes last."""
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
    """Raise ValueError where a traced user's function closes over a value of another trace."""
    if leaked := [x for x in consts if isinstance(x, Tracer)]:
        raise ArgumentValueError(f"{what} closes over {leaked[0]!r:.80}. {LEAKED}")


def is_ours(error: Exception) -> bool:
    """Return whether one of this package's own checks raised the error, which then already says what to do."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if not frames or not _within(frames[-1][0], PACKAGE):
        return False
    return linecache.getline(*frames[-1]).lstrip().startswith("raise ")  # JAX removes its own frames


def place(error: BaseException) -> str:
    """Return the innermost line of the user's code in the traceback, in parentheses; empty where there is none."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    others = [(code, line) for code, line in frames if not _within(code.co_filename, PACKAGE)]
    own = [(code, line) for code, line in others if not _of_a_library(code.co_filename)] or others
    if not own:
        return ""
    code, line = own[-1]
    text = linecache.getline(code.co_filename, line).strip()
    return f" ({code.co_filename}:{line}, in {code.co_name}{f': {text[:MOST_SHOWN]}' if text else ''})"


def callers_level() -> int:
    """Return the `stacklevel` with which the caller's `warnings.warn` points to the first line outside this package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _within(frame.f_code.co_filename, PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


def _of_a_library(file: str) -> bool:
    """Return whether a file belongs to Python, to an installed package (some give no absolute path), or to this one."""
    if file.startswith("<"):  # a notebook's cell or interactive input, unless it is Python's own
        return file.startswith("<frozen")
    return not os.path.isabs(file) or any(_within(file, folder) for folder in (PACKAGE, *LIBRARIES))


def _within(file: str, folder: str) -> bool:
    return file.startswith(folder.rstrip("/\\") + ("\\" if "\\" in folder else "/"))
