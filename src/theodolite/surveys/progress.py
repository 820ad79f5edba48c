"""How long work tells where it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[int, int, str], None]
"""Called with what is done, of how much, and what begins or has ended."""


def silent(done: int, total: int, what: str) -> None:
    """Report nothing."""
