"""One way to conduct an experiment, and one type for what it came to."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, number, numbers
from theodolite.runs.registry import read_run, register_experiment
from theodolite.runs.settings import Argument, Setting

if TYPE_CHECKING:
    from theodolite.runs.merging import merge
    from theodolite.runs.on_ray import OnRay
    from theodolite.runs.run import Run
    from theodolite.runs.verification import Verification, verify

__all__ = [
    "Argument",
    "Derived",
    "Experiment",
    "OnRay",
    "Piece",
    "Run",
    "Setting",
    "Sitting",
    "Verification",
    "merge",
    "number",
    "numbers",
    "read_run",
    "register_experiment",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Names that cost an import of tables are loaded on first use, so that experiments can be declared for nothing."""
    homes = {
        "OnRay": "on_ray",
        "Run": "run",
        "merge": "merging",
        "Verification": "verification",
        "verify": "verification",
    }
    if name not in homes:
        raise AttributeError(f"module 'theodolite.runs' has no attribute {name!r}")
    return getattr(import_module(f"theodolite.runs.{homes[name]}"), name)
