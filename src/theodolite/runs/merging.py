"""`merge`: one run of several that measured parts of its units."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow as pa

from theodolite.errors import InputError, path_of
from theodolite.runs.finishing import finished
from theodolite.runs.folder import RunFolder, picture_path, read_rows
from theodolite.runs.record import differences
from theodolite.runs.registry import experiment_of, read_run
from theodolite.runs.run import Run, schema_of

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
        InputError: no runs, runs of several configurations, a damaged one, or `out` holds a run.
    """
    parts = [read_run(path) for path in runs]
    _check(parts)
    first = parts[0]
    kind = experiment_of(first.kind)
    folder = RunFolder(path_of(out, "the merged run"), schema_of(kind))
    folder.check()
    if (folder.path / "run.json").exists():
        raise InputError(f"{folder.path} holds a run; give another --out")
    with folder.held():
        units = _units(parts)
        measured = {unit for part in parts for unit in part.units}
        record = _record(parts, units, folder.path)
        _copy(parts, units, folder)
        failed = [entry for part in parts for entry in part.info["failed"] if entry["unit"] not in measured]
        known = measured | {entry["unit"] for entry in failed}
        status = "complete" if known >= {*units} else "interrupted"
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


def _units(parts: Sequence[Run]) -> list[str]:
    """Every unit of the whole run, in its order: a part says them all."""
    whole = next((part.info["shard"]["units"] for part in parts if part.info.get("shard")), None)
    return list(whole or dict.fromkeys(unit for part in parts for unit in part.info["units"]))


def _record(parts: Sequence[Run], units: list[str], path: Path) -> dict[str, Any]:
    """That of the first part, for all units, with the sittings of every part."""
    info = {name: value for name, value in parts[0].info.items() if name not in ("shard", "left_out")}
    left_out = {(entry["what"], entry["reason"]): entry for part in parts for entry in part.info.get("left_out") or []}
    if parts[0].info.get("left_out") is not None:
        info["left_out"] = [*left_out.values()]
    words = shlex.split(info["command"])
    if "--shard" in words:
        del words[words.index("--shard") : words.index("--shard") + 2]
    sittings = sorted((entry for part in parts for entry in part.info["sittings"]), key=lambda entry: entry["started"])
    return {
        **info,
        "command": shlex.join([*words[: words.index("--out") + 1], str(path)]),
        "created": min(part.info["created"] for part in parts),
        "units": units,
        "sittings": sittings,
    }


def _copy(parts: Sequence[Run], units: Sequence[str], folder: RunFolder) -> None:
    """Rows, arrays and pictures of every finished unit, as shards of the folder; the first part that has one counts."""
    taken: set[str] = set()
    for part in parts:
        own = [unit for unit in part.units if unit in set(units) - taken]
        taken |= set(own)
        table, notes = read_rows(part.path, folder.schema)
        for unit, rows in _by_unit(table, own):
            folder.write_unit(unit, rows, part.arrays(unit), _pictures(part, unit), notes[unit])


def _by_unit(table: pa.Table, units: Sequence[str]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {unit: [] for unit in units}
    for row in table.to_pylist():
        if row["unit"] in rows:
            rows[row["unit"]].append(row)
    yield from rows.items()


def _pictures(part: Run, unit: str) -> dict[str, Any]:
    """Pictures of a unit by name, opened as far as a stranger's may be."""
    from PIL import Image

    prefix = picture_path(part.path, unit).stem
    files = (part.path / "pictures").glob(f"{escape(prefix)}.*.png")
    names = ["", *sorted(file.stem.removeprefix(f"{prefix}.") for file in files)]
    found = {name: part.picture(unit, name) for name in names}
    return {name: Image.open(file) for name, file in found.items() if file is not None}
