"""The engines by name, and what all but this process need."""

from __future__ import annotations

import os

from theodolite.errors import InputError
from theodolite.runs.engine import Engine, ThisProcess
from theodolite.runs.experiment import Experiment
from theodolite.runs.settings import closest
from theodolite.runs.workers import Processes

__all__ = ["ENGINES", "check_named", "engine_of"]

ENGINES = ("local", "ray")
"""Names of engines: this machine, in this process or several, and the nodes of a Ray cluster."""


def engine_of(engine: Engine | str, workers: int | None = None) -> Engine:
    """The engine of a name, with so many processes; one that was given is itself.

    Raises:
        InputError: there is none of that name.
    """
    if not isinstance(engine, str):
        return engine
    if engine == "local":
        return ThisProcess() if workers in (None, 1) else Processes()
    if engine == "ray":
        from theodolite.runs.on_ray import OnRay

        return OnRay()
    raise InputError(f"--engine expected to be one of {', '.join(ENGINES)}, got {engine!r}{closest(engine, ENGINES)}")


def check_named(work: Experiment) -> None:
    """Refuse an experiment that another process could not open.

    Raises:
        InputError: a model or data were given as objects, which have no name.
    """
    names = [given.name for given in work.arguments] + [setting.name for setting in work.settings]
    for name in names:
        value = work.given[name]
        parts = value if isinstance(value, list | tuple) else [value]
        unnamed = [part for part in parts if not isinstance(part, str | os.PathLike | int | float | None)]
        if unnamed:
            raise InputError(
                f"every worker opens `{name}` for itself and expects its name, e.g. a folder or "
                f"package.module:factory, got {type(unnamed[0]).__name__}; give its name, or leave workers out"
            )
