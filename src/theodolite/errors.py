"""The one exception a user's mistake raises, and the shape of its message."""

from __future__ import annotations

__all__ = ["InputError"]


class InputError(ValueError):
    """Bad input, found at the boundary before long work starts.

    The message says what was wrong, what was expected, what came, and how to mend it. The command line prints it as
    one line and exits with code 2.
    """
