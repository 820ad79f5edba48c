"""The one exception a user's mistake raises, the shape of its message, and guards that rooms share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "DiskError",
    "InputError",
    "RefusalError",
    "in_one_line",
    "informative_line",
    "path_of",
    "refusing",
    "typed_line",
]


class InputError(ValueError):
    """Bad input, found at the boundary before long work starts.

    The message says what was wrong, what was expected, what came, and how to mend it. The command line prints it as
    one line and exits with code 2.
    """


class RefusalError(InputError):
    """Every number that was asked for is refused; the message says why.

    One that watches a training catches it and goes on.
    """


class DiskError(InputError):
    """The disk is full or refuses; what is finished is kept, and nothing else can be stored."""


def in_one_line(error: BaseException) -> str:
    """An unexpected error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def informative_line(error: BaseException) -> str:
    r"""The line of an error that says what is wrong; its type where it says nothing.

    That is the first, with the next one where the first ends in a colon, as in ``Error(s) in loading state_dict for
    Decoder:``.

    Example:
        >>> informative_line(RuntimeError("Error(s) in loading:\n\tsize mismatch for weight\nand more"))
        'Error(s) in loading: size mismatch for weight'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def typed_line(error: BaseException) -> str:
    """The type of an error and its informative line."""
    kind, line = type(error).__name__, informative_line(error)
    return kind if line == kind else f"{kind}: {line}"


@contextmanager
def refusing(name: str, what: str, fix: str) -> Iterator[None]:
    """Turn whatever a user's model raises into one line: its name, what went wrong, and what to do.

    `fix` is the cure where the model does not take what it was given. An argument that it lacks, such as a condition,
    and a mistake in its own code have another. A factory that calls `sys.exit` would end the command without a word;
    that is an error like any other here.
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{name} {what} ({in_one_line(error)}); {_cure(error, fix)}") from error


def _cure(error: BaseException, fix: str) -> str:
    """What to do about an error of a model: `fix`, unless its type says that this is no cure."""
    if isinstance(error, TypeError) and "missing" in str(error):
        return "give it what it needs, e.g. a condition: a factory may return the model with that filled in"
    if isinstance(error, AttributeError | NameError | ImportError):
        return "the mistake is in its own code: mend it there"
    return fix


def path_of(value: Any, what: str) -> Path:
    """The path that a user gave as `what`.

    Raises:
        InputError: it is no path, the empty one, which would stand for the current folder, or an address.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{what} expected to be a path, got {value!r} ({type(value).__name__}); give a str or a Path")
    if not os.fspath(value):
        raise InputError(f"{what} expected to be a path, got an empty one; write '.' for the current folder")
    if "://" in os.fspath(value):  # as a path it would make a folder of that name here
        raise InputError(f"{what} expected to be a path of this machine, got {value}; copy it, or mount its storage")
    return Path(value)
