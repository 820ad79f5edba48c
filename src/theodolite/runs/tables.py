"""The tables of a run folder: shards and merged ones as one, with notes of each unit beside its numbers."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from theodolite.errors import InputError

__all__ = [
    "NUMBER",
    "Notes",
    "ordered",
    "parquet",
    "read_notes",
    "read_rows",
    "read_table",
    "regular",
    "with_notes",
]

NUMBER = (
    ("quantity", pa.string()),
    *((name, pa.float64()) for name in ("value", "stderr", "low", "high")),
    ("n", pa.int64()),
    ("passes", pa.int64()),
    ("status", pa.string()),
)
"""Columns of a number: the table of every run holds its unit and its coordinates before them."""

Notes = dict[str, dict[str, Any]]
"""By unit: what is remembered of it beside its numbers."""

_NOTES = b"theodolite"
_STRETCH = 256
"""Shards whose tables are joined as they are read: Arrow holds some 10 kB beside the rows of each table."""


def read_rows(path: Path, schema: pa.Schema) -> tuple[pa.Table, Notes]:
    """Rows and notes of every finished unit, in shards or merged; what is in a shard counts, since it is newer.

    Raises:
        InputError: a file that is damaged, or a table with other columns.
    """
    # Shards first: one that is merged meanwhile is then found in the merged table.
    notes: Notes = {}
    tables = _in_stretches(_shard_tables(path, schema, notes))
    merged = _read_with_notes(path / "quantities.parquet", schema)
    if merged is not None:
        older = merged[0]
        if notes:
            older = older.filter(pc.invert(pc.is_in(older["unit"], pa.array([*notes], pa.string()))))
        tables.insert(0, older)
        notes = {**merged[1], **notes}
    return pa.concat_tables(tables) if tables else schema.empty_table(), notes


def _shard_tables(path: Path, schema: pa.Schema, notes: Notes) -> Iterator[pa.Table]:
    """The table of each shard; its notes join the others."""
    for shard in sorted((path / "shards").glob("*.parquet")):
        if (part := _read_with_notes(shard, schema)) is not None:
            notes |= part[1]
            yield part[0]


def _in_stretches(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """Tables of a few rows each, joined many at a time."""
    joined, few = list[pa.Table](), list[pa.Table]()
    for table in tables:
        few.append(table)
        if len(few) == _STRETCH:
            joined.append(pa.concat_tables(few).combine_chunks())
            few = []
    return [*joined, *few]


def read_table(path: Path) -> pa.Table:
    """A table that a run holds.

    Raises:
        InputError: it is missing or damaged.
    """
    table = _read(path)
    if table is None:
        raise InputError(f"{path} is missing; run its command again to make it")
    return table.replace_schema_metadata()


def regular(path: Path) -> bool:
    """Whether a regular file is there: no link, which could lead anywhere, and no fifo, which would hang a reader."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file with that table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def with_notes(table: pa.Table, notes: Mapping[str, Any]) -> bytes:
    """The bytes of a Parquet file with that table and the notes of its units."""
    return parquet(table.replace_schema_metadata({_NOTES: json.dumps(notes, allow_nan=False).encode()}))


def _read_with_notes(path: Path, schema: pa.Schema) -> tuple[pa.Table, Notes] | None:
    table = _read(path)
    if table is None:
        return None
    try:
        notes = json.loads((table.schema.metadata or {}).get(_NOTES, b"{}"))
        if not isinstance(notes, dict) or not all(isinstance(note, dict) for note in notes.values()):
            raise ValueError("its notes are no table")
        return table.select(schema.names).cast(schema).replace_schema_metadata(), notes
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise _broken(path, error) from error


def read_notes(shard: Path) -> Notes:
    """The notes of a shard of this run; none where it is damaged."""
    try:
        metadata = pq.read_schema(shard).metadata or {}
        return dict(json.loads(metadata.get(_NOTES, b"{}")))
    except (OSError, ValueError, pa.ArrowException):
        return {}


def _read(path: Path) -> pa.Table | None:
    """The table of one Parquet file; None where there is none."""
    if not path.exists() and not path.is_symlink():
        return None
    if not regular(path):
        raise InputError(f"a regular file expected at {path}, got a link, a folder or a device; move it away")
    try:
        # In this thread only: beside torch, pyarrow's own threads on a buffer of Python's abort the process at its end.
        return pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)
    except FileNotFoundError:
        return None  # merged meanwhile
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(
        f"broken {path} ({' '.join(str(error).split())[:200]}); delete this file and run the same command again to "
        "measure its units once more"
    )


def ordered(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """The rows by their unit, in the given order; those of no unit and of others come last."""
    position = {unit: index for index, unit in enumerate(order)}
    keys = [position.get(unit, len(position)) for unit in table["unit"].to_pylist()]
    return table.take(np.argsort(keys, kind="stable"))
