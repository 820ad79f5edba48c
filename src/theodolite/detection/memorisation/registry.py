"""Every score of memorisation: files of this folder that hold `SCORES` are found by themselves."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path

from theodolite.detection.memorisation.score import MemorisationScore
from theodolite.errors import InputError

__all__ = ["chosen_scores", "memorisation_scores"]


@cache
def memorisation_scores() -> dict[str, MemorisationScore]:
    """By name: those of geometry first, then baselines, each in the order of files."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    modules = (import_module(f"{__package__}.{name}") for name in names if name != "registry")
    held = [own for module in modules for own in getattr(module, "SCORES", ())]
    return {own.name: own for kind in ("geometry", "baseline") for own in held if own.kind == kind}


def chosen_scores(names: Iterable[str] | None, *, conditional: bool, known: bool) -> list[str]:
    """These scores in the order of the registry; by default all that can be measured within 64 passes.

    Args:
        names: of scores; None for all.
        conditional: whether images have a condition.
        known: whether there are training images to compare with.

    Raises:
        InputError: a name that is none, or a score that cannot be measured here.
    """
    every = memorisation_scores()
    possible = [n for n, s in every.items() if (conditional or not s.conditional) and (known or not s.needs_known)]
    for name in names or ():
        if name not in every:
            raise InputError(f"a score of memorisation expected, got {name!r}; there are {', '.join(every)}")
        if name not in possible:
            lack = "a condition of each image" if every[name].conditional else "training images"
            raise InputError(f"{lack} expected for the score {name!r}, got none; leave it out")
    return [name for name in possible if (not every[name].is_dear if names is None else name in names)]
