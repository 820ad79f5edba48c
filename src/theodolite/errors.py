"""The one exception a user's mistake raises, the shape of its message, and the check of a path that verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["InputError", "RefusalError", "path_of"]


class InputError(ValueError):
    """Bad input, found at the boundary before long work starts.

    The message says what was wrong, what was expected, what came, and how to mend it. The command line prints it as
    one line and exits with code 2.
    """


class RefusalError(InputError):
    """Every number that was asked for is refused; the message says why.

    One that watches a training catches it and goes on.
    """


def path_of(value: Any, what: str) -> Path:
    """The path that a user gave as `what`.

    Raises:
        InputError: it is no path, or the empty one, which would stand for the current folder.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{what} expected to be a path, got {value!r} ({type(value).__name__}); give a str or a Path")
    if not os.fspath(value):
        raise InputError(f"{what} expected to be a path, got an empty one; write '.' for the current folder")
    return Path(value)
