"""Options that take all the words that follow them: `--rho -1 0 1`, `--output x0 eps`."""

from __future__ import annotations

from collections.abc import Collection

import click

__all__ = ["listed"]


def listed(*numbers: str, **words: Collection[str]) -> type[click.Command]:
    """A command whose repeatable options take several values after one name.

    Args:
        numbers: names of options of numbers, with dashes.
        words: the words that an option takes, by its name without dashes.
    """
    names = {*numbers, *(f"--{name}" for name in words)}

    def belongs(word: str, option: str) -> bool:
        return _is_number(word) if option in numbers else word in words[option.removeprefix("--")]

    class Listed(click.Command):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            spread: list[str] = []
            listing = ""
            for word in args:
                if word in names:
                    listing = word
                elif listing and not belongs(word, listing):
                    listing = ""
                elif listing and spread[-1] != listing:
                    spread.append(listing)
                spread.append(word)
            return super().parse_args(ctx, spread)

    return Listed


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
