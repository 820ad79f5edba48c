"""The kinds of experiment, of this package and of others that registered theirs; and the runs of any kind."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of
from theodolite.registry import GROUPS, package_of
from theodolite.runs.record import read_record, validated

if TYPE_CHECKING:
    from theodolite.runs.experiment import Experiment
    from theodolite.runs.run import Run

__all__ = ["experiment_of", "kinds", "read_run", "register_experiment"]

_REGISTERED: dict[str, type[Experiment]] = {}


def register_experiment(experiment: type[Experiment]) -> type[Experiment]:
    """Make an experiment known: its verb, its pages and its run folders then work like those of this package.

    Raises:
        InputError: this package has one of that name.
    """
    from theodolite.experiments import SUMMARIES

    if experiment.kind in SUMMARIES:
        raise InputError(f"another kind than {experiment.kind!r} expected: theodolite has an experiment of that name")
    _REGISTERED[experiment.kind] = experiment
    return experiment


def kinds() -> dict[str, str]:
    """Every kind with its one-line summary; this imports no experiment of this package."""
    from theodolite.experiments import SUMMARIES

    own = {kind: experiment.summary for kind, experiment in _REGISTERED.items()}
    return {**SUMMARIES, **{point.name: f"From {package_of(point)}." for point in _points()}, **own}


def experiment_of(kind: str) -> type[Experiment]:
    """The experiment of a kind.

    Raises:
        InputError: there is none of that name, or the package that brings it cannot be imported.
    """
    from theodolite.experiments import SUMMARIES

    if kind in _REGISTERED:
        return _REGISTERED[kind]
    if kind in SUMMARIES:
        return import_module(f"theodolite.experiments.{kind}.experiment").EXPERIMENT  # type: ignore[no-any-return]
    for point in _points():
        if point.name == kind:
            try:
                return point.load()  # type: ignore[no-any-return]
            except Exception as error:
                raise InputError(f"experiment {kind!r} of {point.value} expected to import, got {error}") from error
    names = ", ".join(kinds())
    raise InputError(f"a run of {names} expected, got one of {kind!r}; install the package that made it")


def read_run(path: Any) -> Run:
    """Open a run folder of any kind: complete, interrupted, killed, or still being written.

    Args:
        path: the folder that an experiment wrote.

    Raises:
        InputError: the folder is missing, holds no run, or a damaged one; one line says which file and what to do.
    """
    folder = path_of(path, "the run folder")
    info = read_record(folder)
    experiment = experiment_of(info["kind"])
    validated(info, folder / "run.json", experiment.requires)
    table = folder / "quantities.parquet"
    measured = any(entry["units"] for entry in info["sittings"])
    # A shard may be merged between two looks: the merged table is looked for last.
    if measured and not any((folder / "shards").glob("*.parquet")) and not table.exists() and not table.is_symlink():
        raise InputError(f"{table} is missing; run its command again to make it: {info['command']}")
    from theodolite.runs.run import Run

    return Run(folder, info, experiment.variant(info["settings"]))


def _points() -> list[EntryPoint]:
    return [*entry_points(group=GROUPS["experiment"])]
