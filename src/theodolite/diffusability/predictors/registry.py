"""Every predictor: files of this folder that hold `PREDICTORS` are found by themselves; others register theirs."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path

from theodolite.diffusability.predictors.predictor import Predictor
from theodolite.registry import GROUPS, Registry

__all__ = ["PREDICTORS"]


@cache
def _of_this_folder() -> dict[str, Predictor]:
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    others = [name for name in names if name not in ("registry", "measure")]
    modules = (import_module(f"theodolite.diffusability.predictors.{name}") for name in others)
    held = [own for module in modules for own in getattr(module, "PREDICTORS", ())]
    return {own.name: own for own in held}


PREDICTORS: Registry[Predictor] = Registry(GROUPS["predictor"], Predictor, _of_this_folder)
"""By name, in the order of files and of tables in them; those of other packages come last."""
