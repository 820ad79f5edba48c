"""Draws on disk: one Parquet file a cell while the study runs, one of them all when it is collected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from theodolite.files import replacing

FOLDER = Path(__file__).parent
TABLE = FOLDER / "coverage.parquet"
PARTS = FOLDER / "parts"
"""Of cells that ran since the table was collected; git ignores it."""

_SCHEMA = pa.schema(
    [
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in ("cell", "room", "regime", "setting", "quantity")),
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in ("conservative", "status", "code")),
        *((name, pa.int32()) for name in ("n", "seed", "draws", "passes")),
        *((name, pa.float64()) for name in ("value", "stderr", "low", "high", "truth")),
        ("seconds", pa.float32()),
        ("is_inside", pa.bool_()),
    ]
)


def part_of(cell: str) -> Path:
    """The file of a cell's draws."""
    return PARTS / f"{hashlib.sha256(cell.encode()).hexdigest()[:16]}.parquet"


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in _SCHEMA.names}
    with replacing(path) as unfinished:
        pq.write_table(pa.table(columns, schema=_SCHEMA), unfinished, compression="zstd")


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none where there is none."""
    return pq.read_table(path).to_pylist() if path.exists() else []


def collected(cells: Iterable[str]) -> list[dict[str, Any]]:
    """The newest draws of each cell: its part, else what the table holds. Cells that are no more are left out."""
    stored: dict[str, list[dict[str, Any]]] = {}
    for row in read(TABLE):
        stored.setdefault(row["cell"], []).append(row)
    return [row for cell in cells for row in (read(part_of(cell)) or stored.get(cell, []))]
