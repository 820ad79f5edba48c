"""Options that take all the words that follow them: `--rho -1 0 1`."""

from __future__ import annotations

from collections.abc import Callable

import click

__all__ = ["listed"]


def listed(option: str, is_value: Callable[[str], bool] | None = None) -> type[click.Command]:
    """A command whose repeatable `option` takes several values after one name.

    Args:
        option: its name, with dashes.
        is_value: which of the words that follow belong to it; numbers by default.
    """
    belongs = is_value or _is_number

    class Listed(click.Command):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            spread: list[str] = []
            listing = False
            for word in args:
                listing = word == option or (listing and belongs(word))
                if listing and word != option and spread[-1] != option:
                    spread.append(option)
                spread.append(word)
            return super().parse_args(ctx, spread)

    return Listed


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
