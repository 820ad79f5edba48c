"""Conditions of a diffusion model as they are written on a command line, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from theodolite.errors import InputError

__all__ = ["condition_of", "prompts_of", "text_of", "word_of"]


def condition_of(text: str) -> Any:
    """``207`` is a class; ``3-red`` a digit in a colour, ``3-red+8-red`` the mean of two.

    Raises:
        InputError: the text is none of these.
    """
    if "+" in text:
        mixed = tuple(condition_of(part) for part in text.split("+"))
        if not all(isinstance(part, tuple) for part in mixed):
            raise InputError(f"a mix of the zoo's conditions expected, e.g. 3-red+8-red, got {text.strip()!r}")
        return mixed
    first, dash, second = text.strip().partition("-")
    if not first.isdigit():
        raise InputError(f"a condition expected to be a class, e.g. 207, or of the zoo as 3-red, got {text.strip()!r}")
    return (int(first), second) if dash else int(first)


def word_of(condition: Any) -> str:
    """A condition as `condition_of` reads it."""
    if isinstance(condition, tuple) and isinstance(condition[0], tuple):
        return "+".join(word_of(part) for part in condition)
    return "-".join(str(part) for part in condition) if isinstance(condition, tuple) else str(condition)


def prompts_of(model: Any, conditions: str | Sequence[tuple[Any, Any]] | None) -> list[tuple[Any, Any]]:
    """Pairs of a normal and an unusual condition, from text, from a list, or from what the model says was held out.

    Raises:
        InputError: none can be had, or the text says none.
    """
    if conditions is None:
        held_out = getattr(model, "held_out", ())
        if not held_out:
            raise InputError("conditions expected, since this model names none held out; e.g. --conditions 207/360")
        seen = {first: [one for one in model.conditions if one[0] == first] for first, _ in held_out}
        return [(seen[one[0]][place % len(seen[one[0]])], one) for place, one in enumerate(held_out)]
    if not isinstance(conditions, str):
        found = [tuple(pair) for pair in conditions]
    else:
        words = [pair.split("/") for pair in conditions.split(",") if pair.strip()]
        found = [tuple(condition_of(side) for side in sides) for sides in words]
    if not found or any(len(pair) != 2 for pair in found):
        raise InputError(f"conditions expected as NORMAL/UNUSUAL,..., e.g. 3-red/3-yellow or 207/360, got {conditions}")
    return [(pair[0], pair[1]) for pair in found]


def text_of(prompts: Sequence[tuple[Any, Any]]) -> str:
    """Pairs of conditions as `prompts_of` reads them."""
    return ",".join("/".join(word_of(side) for side in pair) for pair in prompts)
