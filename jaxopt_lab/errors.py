"""The errors that this package raises."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Code(NamedTuple):
    """A piece of code that a user would write, in the form that each front end uses."""

    python: str
    toml: str


Part = str | Code


class ArgumentError(Exception):
    """An invalid argument from a user; raised as an `ArgumentTypeError` or `ArgumentValueError`.

    The message is in Python's terms; a front end renders it in its own terms with `message`.

    Attributes:
        about: What the error is about, as a path of names from the outside in: ("steps",), ("space", "adam", "b1").
        said: What was wrong and what was given, in parts: text, and code that front ends write differently.
        advice: What to do, in parts; may be empty where `said` includes it.

    """

    def __init__(self, *said: Part, advice: Part | Sequence[Part] = (), about: Sequence[str] = ()):
        self.said: tuple[Part, ...] = said
        self.advice: tuple[Part, ...] = (advice,) if isinstance(advice, str | Code) else tuple(advice)
        self.about = tuple(about)
        super().__init__(self.message())

    def message(self, language: str = "python") -> str:
        """Return what was wrong and what to do, with code in "python" or in "toml"."""
        written = lambda parts: "".join(getattr(part, language) if isinstance(part, Code) else part for part in parts)
        return f"{written(self.said)} {written(self.advice)}".strip()


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of the wrong type."""


class ArgumentValueError(ArgumentError, ValueError):
    """An argument is of the right type, but its value is invalid."""


@contextlib.contextmanager
def concerning(*path: str) -> Iterator[None]:
    """Prefix `path` to what errors raised inside are about."""
    try:
        yield
    except ArgumentError as error:
        error.about = (*path, *error.about)
        raise


class StreamError(ValueError):
    """Batches that the host reads ended, failed, or were other than they must be. It ends the run; its work is kept."""


class LedgerError(RuntimeError):
    """A ledger can no longer be read or written. It ends the run, since unsaved work would be lost."""


class RunError(LedgerError):
    """A run folder is in use, damaged, of another sweep, or cannot be written. Its content is unchanged."""


class ClusterError(RuntimeError):
    """There is no cluster, or it cannot run the sweep."""


class ActorsLostError(RuntimeError):
    """A piece of work has lost several actors in turn, so it is not tried again."""
