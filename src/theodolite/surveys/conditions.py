"""Conditions of a diffusion model, as they are written on a command line."""

from __future__ import annotations

from typing import Any

from theodolite.errors import InputError

__all__ = ["condition_of", "word_of"]


def condition_of(text: str) -> Any:
    """``207`` is a class; ``3-red`` a digit in a colour.

    Raises:
        InputError: the text is neither.
    """
    first, dash, second = text.strip().partition("-")
    if not first.isdigit():
        raise InputError(f"a condition expected to be a class, e.g. 207, or of the zoo as 3-red, got {text.strip()!r}")
    return (int(first), second) if dash else int(first)


def word_of(condition: Any) -> str:
    """The text of a condition."""
    return "-".join(str(part) for part in condition) if isinstance(condition, tuple) else str(condition)
