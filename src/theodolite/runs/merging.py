"""`merge`: one run of several that measured parts of its units."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from theodolite.errors import InputError, path_of
from theodolite.runs.finishing import finished
from theodolite.runs.folder import RunFolder
from theodolite.runs.record import differences, is_unit
from theodolite.runs.registry import experiment_of, read_run
from theodolite.runs.run import Run, schema_of
from theodolite.runs.tables import read_rows

__all__ = ["merge"]


def merge(runs: Sequence[Any], out: Any) -> Run:
    """One run of the parts that `--shard I/N` made: equal, number by number, to a run of all units in one process.

    Costs no model pass. Where parts are missing the merged run says ``interrupted``, and its command measures what is
    missing.

    Args:
        runs: run folders of one configuration.
        out: folder of the merged run, new or empty.

    Returns:
        The merged run.

    Raises:
        InputError: no runs, runs of several configurations or batches, a damaged one, or `out` holds a run.
    """
    parts = [read_run(path) for path in runs]
    _check(parts)
    first = parts[0]
    kind = experiment_of(first.kind).variant(first.settings)
    folder = RunFolder(path_of(out, "the merged run"), schema_of(kind))
    folder.check()
    if (folder.path / "run.json").exists():
        raise InputError(f"{folder.path} holds a run; give another --out")
    units = _units(parts)
    record = _record(parts, units, folder.path)
    with folder.held():
        measured = {unit for part in parts for unit in part.units}
        try:
            _copy(parts, units, folder)
        except BaseException:
            folder.clear()
            raise
        failed = [entry for part in parts for entry in part.info["failed"] if entry["unit"] not in measured]
        accounted = measured | {entry["unit"] for entry in failed}
        status = "complete" if accounted >= {*units} else "interrupted"
        return finished(kind, folder, record, status, failed)


def _check(parts: Sequence[Run]) -> None:
    if not parts:
        raise InputError("runs to merge expected, got none; give the folders that `--shard I/N` made")
    first = parts[0]
    for part in parts[1:]:
        if part.kind != first.kind:
            raise InputError(
                f"runs of one kind expected, got {first.path} of {first.kind} and {part.path} of {part.kind}"
            )
        if part.info["configuration"] != first.info["configuration"]:
            settings = experiment_of(first.kind).settings
            phrases = "; ".join(differences(settings, first.info, part.info)) or "one was changed by hand"
            raise InputError(
                f"runs of one configuration expected, {part.path} is another than {first.path} ({phrases}); repeat one "
                "of them with the settings of the others"
            )
        sizes = [run.info.get("batch") or 1 for run in (first, part)]
        if sizes[0] != sizes[1]:
            raise InputError(
                f"parts that measured as many units at once expected, got {sizes[0]} in {first.path} and {sizes[1]} in "
                f"{part.path}: they overlap or leave gaps, as parts do that were measured on a CPU and on a GPU; "
                "measure one again where the others were, into a new --out"
            )


def _units(parts: Sequence[Run]) -> list[str]:
    """Every unit of the whole run, in its order: a part says them all.

    Raises:
        InputError: a part whose list is none.
    """
    for part in parts:
        if (shard := part.info.get("shard")) is not None:
            units = shard.get("units")
            if not isinstance(units, list) or not units or not all(map(is_unit, units)):
                raise InputError(
                    f"broken {part.path / 'run.json'}: `shard.units` expected to list the units of the run"
                )
            return units
    return list(dict.fromkeys(unit for part in parts for unit in part.info["units"]))


def _record(parts: Sequence[Run], units: list[str], path: Path) -> dict[str, Any]:
    """That of the first part, for all units, with the sittings of every part."""
    info = {name: value for name, value in parts[0].info.items() if name not in ("shard", "left_out")}
    left_out = {(entry["what"], entry["reason"]): entry for part in parts for entry in part.info.get("left_out") or []}
    if parts[0].info.get("left_out") is not None:
        info["left_out"] = [*left_out.values()]
    sittings = sorted((entry for part in parts for entry in part.info["sittings"]), key=lambda entry: entry["started"])
    return {
        **info,
        "command": _command(parts[0], path),
        "created": min(part.info["created"] for part in parts),
        "units": units,
        "sittings": sittings,
    }


def _command(part: Run, path: Path) -> str:
    """The command of a part for all units, into another folder.

    Raises:
        InputError: it is none.
    """
    try:
        words = shlex.split(part.info["command"])
    except ValueError as error:
        raise InputError(f"broken {part.path / 'run.json'}: `command` is no command line ({error})") from error
    for option in ("--shard", "--out"):
        if option in words:
            del words[words.index(option) : words.index(option) + 2]
    return shlex.join([*words, "--out", str(path)])


def _copy(parts: Sequence[Run], units: Sequence[str], folder: RunFolder) -> None:
    """Rows, arrays and pictures of every finished unit, as shards of the folder; the first part that has one counts."""
    left = set(units)
    for part in parts:
        own = [unit for unit in part.units if unit in left]
        left -= set(own)
        table, notes = read_rows(part.path, folder.schema)
        pictures = _pictures(part)
        for unit, rows in _by_unit(table, own):
            folder.write_unit(unit, rows, part.arrays(unit), _opened(part, unit, pictures.get(unit, [])), notes[unit])


def _by_unit(table: pa.Table, units: Sequence[str]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {unit: [] for unit in units}
    for row in table.to_pylist():
        if row["unit"] in rows:
            rows[row["unit"]].append(row)
    yield from rows.items()


def _pictures(part: Run) -> Mapping[str, list[str]]:
    """The names of the pictures of each unit; a dot may belong to the unit's id or begin the name."""
    units, names = set(part.units), dict[str, list[str]]()
    for file in sorted((part.path / "pictures").glob("*.png")):
        unit = file.stem
        while unit and unit not in units:
            unit = unit.rpartition(".")[0]
        if unit:
            names.setdefault(unit, []).append(file.stem.removeprefix(unit).removeprefix("."))
    return names


def _opened(part: Run, unit: str, names: Sequence[str]) -> dict[str, Any]:
    """Pictures of a unit by name, as far as a stranger's may be opened."""
    from PIL import Image

    files = {name: part.picture(unit, name) for name in names}
    return {name: Image.open(file) for name, file in files.items() if file is not None}
