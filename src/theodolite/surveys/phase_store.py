"""The run folder of a phase map: cells, geodesics and numbers in tables, pictures of every region."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate
from theodolite.families import MetricMap, ParameterGrid, PhaseMap
from theodolite.surveys.numbers import NUMBER, estimate_of, number_rows
from theodolite.surveys.record import now
from theodolite.surveys.store import RunFolder, parquet, png_bytes, read_info_of, read_parquet, write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "CELLS_SCHEMA",
    "CURVES_SCHEMA",
    "NUMBERS_SCHEMA",
    "Curve",
    "Level",
    "picture_path",
    "read_phases",
    "strip_path",
    "write_phases",
]

_TABLES = ("cells", "geodesics", "quantities")
_FIELDS = ("potential", "log_determinant", "largest_eigenvalue")
_PAIRS = tuple(
    column
    for name in _FIELDS
    for column in ((name, pa.float64()), (f"{name}_stderr", pa.float64()), (f"{name}_status", pa.string()))
)

CELLS_SCHEMA = pa.schema(
    [
        ("level", pa.int64()),
        ("first", pa.float64()),
        ("second", pa.float64()),
        *_PAIRS,
        ("region", pa.int64()),
        ("boundary", pa.bool_()),
        ("ridge", pa.bool_()),
    ]
)
"""Columns of `cells.parquet`: one row a level and cell, the second parameter running fastest."""

CURVES_SCHEMA = pa.schema(
    [("level", pa.int64()), ("curve", pa.int64()), ("kind", pa.string()), ("quantity", pa.string()), *NUMBER]
)
"""Columns of `geodesics.parquet`: one row a curve and quantity; `kind` is ``inside``, ``across`` or ``asked``."""

NUMBERS_SCHEMA = pa.schema([("level", pa.int64()), ("quantity", pa.string()), *NUMBER])
"""Columns of `quantities.parquet`: one row a level and quantity."""


@dataclass(frozen=True)
class Curve:
    """A geodesic of the fitted metric.

    Attributes:
        kind: ``inside`` one region, ``across`` two, or ``asked`` for.
        points: `(n + 1, 2)`.
        numbers: `length`, `straight_length`, `gap` (how much shorter, as a part of the straight line), `bend` (largest
            distance from the straight line, in sides of the box), `speed_variation`.
        status: from `theodolite.geodesics.curves.STATUSES`.
    """

    kind: str
    points: Tensor
    numbers: Mapping[str, Estimate]
    status: str


@dataclass(frozen=True)
class Level:
    """One box with its map.

    Attributes:
        grid: cells.
        potential: log-partition function in every cell, less its best affine function, with its error.
        metric: what the metric is in every cell.
        phases: regions and ridges.
        numbers: one value each, by name.
        curves: geodesics.
        places: cells of each region of which there are pictures, `(regions shown, pictures)`.
        pictures: rows of pictures, one a region; none where the run was read, see `picture_path`.
        strips: samples along each curve, side by side; likewise, see `strip_path`.
    """

    grid: ParameterGrid
    potential: Estimate
    metric: MetricMap
    phases: PhaseMap
    numbers: Mapping[str, Estimate]
    curves: tuple[Curve, ...] = ()
    places: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    pictures: tuple[tuple[Image, ...], ...] = ()
    strips: tuple[Image, ...] = ()


def write_phases(folder: RunFolder, info: Mapping[str, Any], levels: Sequence[Level], status: str) -> dict[str, Any]:
    """Store what there is, then the record that says so; the record."""
    from safetensors.torch import save

    tables = {
        "cells": pa.Table.from_pylist([row for n, one in enumerate(levels) for row in _cells(n, one)], CELLS_SCHEMA),
        "geodesics": pa.Table.from_pylist(
            [row for n, one in enumerate(levels) for row in _curves(n, one)], CURVES_SCHEMA
        ),
        "quantities": pa.Table.from_pylist(
            [{"level": n, **row} for n, one in enumerate(levels) for row in number_rows(one.numbers)], NUMBERS_SCHEMA
        ),
    }
    arrays = {name: array for n, one in enumerate(levels) for name, array in _arrays(n, one)}
    if arrays:
        write_atomically(folder.path / "arrays.safetensors", [save(arrays)])
    for name, table in tables.items():
        write_atomically(folder.path / f"{name}.parquet", [parquet(table)])
    for n, level in enumerate(levels):
        for row, pictures in enumerate(level.pictures):
            for column, one in enumerate(pictures):
                write_atomically(picture_path(folder.path, n, row, column), [png_bytes(one)])
        for place, one in enumerate(level.strips):
            write_atomically(strip_path(folder.path, n, place), [png_bytes(one)])
    done = {
        **info,
        "status": status,
        "finished": None if status == "running" else now(),
        "levels": [_described(level) for level in levels],
    }
    folder.write_info(done)
    return done


def read_phases(path: str | Path) -> tuple[list[Level], dict[str, Any]]:
    """The levels of a phase map, with the content of `run.json`; of an interrupted run what is finished.

    Raises:
        InputError: no run folder, that of another kind of run, or one without a finished map.
    """
    from safetensors.torch import load

    folder = path_of(path, "the run folder")
    info = read_info_of(folder, "phases", "a phase map")
    if not info.get("levels"):
        raise InputError(f"{folder} holds no finished map yet; run its command again: {info['command']}")
    arrays = load((folder / "arrays.safetensors").read_bytes())
    tables = {name: read_parquet(folder / f"{name}.parquet").to_pylist() for name in _TABLES}
    return [_level(n, about, tables, arrays) for n, about in enumerate(info["levels"])], info


def picture_path(folder: Path, level: int, row: int, column: int) -> Path:
    """Where a picture of a region is."""
    return folder / "pictures" / f"{level}.{row}.{column}.png"


def strip_path(folder: Path, level: int, curve: int) -> Path:
    """Where the samples along a curve are."""
    return folder / "strips" / f"{level}.{curve}.png"


def _level(
    n: int, about: Mapping[str, Any], tables: Mapping[str, list[dict[str, Any]]], arrays: Mapping[str, Tensor]
) -> Level:
    rows = {name: [row for row in table if row["level"] == n] for name, table in tables.items()}
    low, high, shape = (tuple(about[name]) for name in ("low", "high", "shape"))
    grid = ParameterGrid(low, high, shape)
    cells = {name: [row[name] for row in rows["cells"]] for name in CELLS_SCHEMA.names}
    fields = {name: _field(cells, name, about["replicates"]) for name in _FIELDS}
    metric = MetricMap(
        grid.points,
        arrays[f"{n}/metric"],
        arrays[f"{n}/metric_stderr"],
        fields["log_determinant"],
        fields["largest_eigenvalue"],
    )
    phases = PhaseMap(
        grid,
        arrays[f"{n}/height"],
        torch.tensor(cells["region"]),
        torch.tensor(cells["boundary"]),
        torch.tensor(cells["ridge"]),
        {(first, second): height for first, second, height in about["saddles"]},
    )
    curves = tuple(
        Curve(
            kind,
            arrays[f"{n}/geodesics/{place}"],
            {row["quantity"]: estimate_of(row) for row in rows["geodesics"] if row["curve"] == place},
            status,
        )
        for place, (kind, status) in enumerate(about["curves"])
    )
    numbers = {row["quantity"]: estimate_of(row) for row in rows["quantities"]}
    places = torch.tensor(about["places"], dtype=torch.long)
    return Level(grid, fields["potential"], metric, phases, numbers, curves, places)


def _described(level: Level) -> dict[str, Any]:
    return {
        "low": list(level.grid.low),
        "high": list(level.grid.high),
        "shape": list(level.grid.shape),
        "replicates": level.metric.log_determinant.n,
        "saddles": [[first, second, height] for (first, second), height in level.phases.saddles.items()],
        "curves": [[curve.kind, curve.status] for curve in level.curves],
        "places": level.places.tolist(),
    }


def _cells(n: int, level: Level) -> Iterator[dict[str, Any]]:
    fields = {name: getattr(level.metric, name, level.potential) for name in _FIELDS}
    phases = level.phases
    for cell, (first, second) in enumerate(level.grid.points.tolist()):
        row: dict[str, Any] = {"level": n, "first": first, "second": second}
        for name, found in fields.items():
            row[name], row[f"{name}_stderr"] = float(found.value[cell]), float(found.stderr[cell])
            row[f"{name}_status"] = found.statuses[cell]
        flags = {"boundary": bool(phases.boundary[cell]), "ridge": bool(phases.ridges[cell])}
        yield {**row, "region": int(phases.regions[cell]), **flags}


def _curves(n: int, level: Level) -> Iterator[dict[str, Any]]:
    for place, curve in enumerate(level.curves):
        for row in number_rows(curve.numbers):
            yield {"level": n, "curve": place, "kind": curve.kind, **row}


def _arrays(n: int, level: Level) -> Iterator[tuple[str, Tensor]]:
    yield f"{n}/metric", level.metric.matrices.contiguous()
    yield f"{n}/metric_stderr", level.metric.stderr.contiguous()
    yield f"{n}/height", level.phases.height.contiguous()
    for place, curve in enumerate(level.curves):
        yield f"{n}/geodesics/{place}", curve.points.contiguous()


def _field(cells: Mapping[str, Sequence[Any]], name: str, n: int) -> Estimate:
    value, stderr = (torch.tensor(cells[column], dtype=torch.float64) for column in (name, f"{name}_stderr"))
    return Estimate(value, stderr, 0, n, tuple(cells[f"{name}_status"]))
