"""Draws on disk, one Parquet file a cell, and the verdicts on all of them in one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from studies.coverage.judge import Verdict, verdicts
from theodolite.files import replacing

FOLDER = Path(__file__).parent
TABLE = FOLDER / "coverage.parquet"
PARTS = FOLDER / "parts"
"""The draws themselves, of cells that ran here; git ignores them, 19 MB of 642 cells."""

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


def collected(cells: Iterable[str]) -> list[Verdict]:
    """The verdicts on each cell: of its draws, else what the table holds. Cells that are no more are left out."""
    stored: dict[str, list[Verdict]] = {}
    for verdict in read_table():
        stored.setdefault(verdict.cell, []).append(verdict)
    return [each for cell in cells for each in (verdicts(read(part_of(cell))) or stored.get(cell, []))]


def write_table(judged: Sequence[Verdict]) -> None:
    """Write the verdicts, whole or not at all."""
    rows = [{**asdict(each), "statuses": json.dumps(dict(each.statuses))} for each in judged]
    with replacing(TABLE) as unfinished:
        pq.write_table(pa.Table.from_pylist(rows), unfinished, compression="zstd")


def read_table() -> list[Verdict]:
    """The verdicts of the table; none where there is none."""
    rows = pq.read_table(TABLE).to_pylist() if TABLE.exists() else []
    return [Verdict(**{**row, "statuses": json.loads(row["statuses"])}) for row in rows]
