"""The errors that this package raises."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Code(NamedTuple):
    """A piece of what a user would write, as each front end has it written."""

    python: str
    toml: str


Part = str | Code


class ArgumentError(Exception):
    """Something that a user gave is not what it should be; raised as an `ArgumentTypeError` or `ArgumentValueError`.

    The message is in Python's terms; a front end renders it in its own by `message`.

    Attributes:
        about: What the error is about, as a path of names from the outside in: ("steps",), ("space", "adam", "b1").
        said: What was wrong and what was got, in parts: text, and code that front ends write differently.
        advice: What to do, in parts; may be empty where `said` says it.

    """

    def __init__(self, *said: Part, advice: Part | Sequence[Part] = (), about: Sequence[str] = ()):
        self.said: tuple[Part, ...] = said
        self.advice: tuple[Part, ...] = (advice,) if isinstance(advice, str | Code) else tuple(advice)
        self.about = tuple(about)
        super().__init__(self.message())

    def message(self, language: str = "python") -> str:
        """What was said and what to do, with code in "python" or in "toml"."""
        written = lambda parts: "".join(getattr(part, language) if isinstance(part, Code) else part for part in parts)
        return f"{written(self.said)} {written(self.advice)}".strip()


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of the wrong kind."""


class ArgumentValueError(ArgumentError, ValueError):
    """An argument is of the right kind, and its value is impossible."""


@contextlib.contextmanager
def concerning(*path: str) -> Iterator[None]:
    """Have errors raised inside be about what is at `path`, or further in."""
    try:
        yield
    except ArgumentError as error:
        error.about = (*path, *error.about)
        raise


class LedgerError(RuntimeError):
    """A ledger cannot be read or written any more. It ends the run, since what is not kept would be lost."""


class RunError(LedgerError):
    """A run folder is in use, damaged, of another sweep, or cannot be written. Nothing in it was changed by that."""


class ClusterError(RuntimeError):
    """There is no cluster, or none that can run the sweep."""


class ActorsLostError(RuntimeError):
    """A piece of work has lost one actor after another, so it is not tried again."""
