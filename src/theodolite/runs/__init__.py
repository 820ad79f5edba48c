"""One way to conduct an experiment, and one type for what it came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, number, numbers
from theodolite.runs.registry import register_experiment
from theodolite.runs.settings import Argument, Setting

if TYPE_CHECKING:
    from theodolite.runs.run import Run, read_run
    from theodolite.runs.verification import Verification, verify

__all__ = [
    "Argument",
    "Derived",
    "Experiment",
    "Piece",
    "Run",
    "Setting",
    "Sitting",
    "Verification",
    "number",
    "numbers",
    "read_run",
    "register_experiment",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Names that cost an import of tables are loaded on first use, so that experiments can be declared for nothing."""
    if name in ("Run", "read_run"):
        from theodolite.runs import run

        return getattr(run, name)
    if name in ("Verification", "verify"):
        from theodolite.runs import verification

        return getattr(verification, name)
    raise AttributeError(f"module 'theodolite.runs' has no attribute {name!r}")
