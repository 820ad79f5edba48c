"""Every descriptor: a file of this folder that holds a `DESCRIPTOR` is found by itself; others register theirs."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from pathlib import Path

from theodolite.descriptors.descriptor import Descriptor
from theodolite.registry import GROUPS, Registry

__all__ = ["REGISTRY"]


@cache
def _of_this_folder() -> dict[str, Descriptor]:
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name != "registry"]
    held = (getattr(import_module(f"theodolite.descriptors.{name}"), "DESCRIPTOR", None) for name in names)
    ordered = sorted((d for d in held if isinstance(d, Descriptor)), key=lambda d: (d.order, d.name))
    return {descriptor.name: descriptor for descriptor in ordered}


REGISTRY: Registry[Descriptor] = Registry(GROUPS["descriptor"], Descriptor, _of_this_folder)
"""By name, in the order of tables and reports."""
