"""One way to conduct an experiment, and one type for what it came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, number, numbers
from theodolite.runs.registry import register_experiment
from theodolite.runs.settings import Argument, Setting

if TYPE_CHECKING:
    from theodolite.runs.run import Run, read_run

__all__ = [
    "Argument",
    "Derived",
    "Experiment",
    "Piece",
    "Run",
    "Setting",
    "Sitting",
    "number",
    "numbers",
    "read_run",
    "register_experiment",
]


def __getattr__(name: str) -> Any:
    """Names that cost an import of tables are loaded on first use, so that experiments can be declared for nothing."""
    if name in ("Run", "read_run"):
        from theodolite.runs import run

        return getattr(run, name)
    raise AttributeError(f"module 'theodolite.runs' has no attribute {name!r}")
