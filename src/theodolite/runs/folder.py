"""The run folder: finished units as atomic shards, merged into two tables at the end; files are whole or not there."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from theodolite.errors import DiskError, InputError
from theodolite.files import replacing
from theodolite.runs.joining import header_of, joined
from theodolite.runs.piece import Piece

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "NUMBER",
    "Notes",
    "RunFolder",
    "is_held",
    "parquet",
    "picture_path",
    "read_rows",
    "read_table",
    "regular",
    "write_whole",
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
_FULL = (errno.ENOSPC, errno.EDQUOT)
_STRETCH = 256
"""Shards whose tables are joined as they are read: Arrow holds some 10 kB beside the rows of each table."""
_PATIENCE = 20
"""Tries to take the lock in a second: a reader that asks whether it is held takes it for a moment too."""


class RunFolder:
    """Writes one run: a kill at any moment leaves a readable one.

    Args:
        path: the run folder; it need not exist.
        schema: columns of its table of numbers.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self.shards = path / "shards"

    def check(self) -> None:
        """Refuse, before any work, a place where no run can be written.

        Raises:
            InputError: something else is in the way, or nothing can be written there.
        """
        try:
            if self.path.exists() and not self.path.is_dir():
                raise InputError(f"run folder expected at {self.path}, got a file; give another --out or move the file")
            has_run = (self.path / "run.json").exists()
            if not has_run and self.path.is_dir() and any(not _is_leftover(name) for name in os.listdir(self.path)):
                raise InputError(f"{self.path} holds files and is not a run; give --out an empty or a new folder")
            _check_writable(self.path)
        except OSError as error:  # a name that is too long, a folder that may not be read
            raise InputError(f"cannot use {self.path} as run folder: {error.strerror}; give another --out") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold it against another process, which would write the same files.

        A folder that was made here and holds nothing at the end, because the work was refused, is removed again.

        Raises:
            InputError: it cannot be made, or another process holds it.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        handle = None
        try:
            handle = _patiently(self.path)
            self.tidy()
            yield
        finally:
            for folder in made:
                with suppress(OSError):  # only empty ones go
                    folder.rmdir()
            if handle is not None:
                os.close(handle)

    def tidy(self) -> None:
        """Remove what a killed process left half-written."""
        for folder in (self.path, self.shards, self.path / "pictures"):
            for leftover in folder.glob(".*"):
                if _is_leftover(leftover.name) and not leftover.is_dir():
                    leftover.unlink()

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace `run.json`."""
        write_whole(self.path / "run.json", [json.dumps(record, indent=1, allow_nan=False).encode()])

    def write_unit(
        self,
        unit: str,
        rows: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, Tensor],
        pictures: Mapping[str, Image],
        notes: Mapping[str, Any],
    ) -> None:
        """Store a finished unit.

        Args:
            unit: its id.
            rows: its numbers, with the keys of the schema.
            arrays: by name inside the unit, e.g. ``latent``.
            pictures: by name inside the unit; the empty name is the unit's own picture.
            notes: anything else to remember, JSON-able.

        Raises:
            DiskError: the disk is full or refuses.
        """
        self.write_units({unit: Piece([dict(row) for row in rows], arrays, pictures)}, {unit: notes})

    def write_units(self, pieces: Mapping[str, Piece], notes: Mapping[str, Mapping[str, Any]]) -> None:
        """Store finished units in one shard, named by the first.

        Its Parquet file comes last, so that a shard that has one is whole.

        Args:
            pieces: the units by id.
            notes: what else is to be remembered of each, JSON-able.

        Raises:
            DiskError: the disk is full or refuses.
        """
        from safetensors.torch import save

        files: dict[str, bytes] = {}
        for unit, piece in pieces.items():
            for name, picture in piece.pictures.items():
                files[picture_path(Path(), unit, name).as_posix()] = _png(picture)
        named = {
            f"{unit}/{name}": array.detach().cpu().contiguous()
            for unit, piece in pieces.items()
            for name, array in piece.arrays.items()
        }
        rows = [{"unit": unit, **row} for unit, piece in pieces.items() for row in piece.rows]
        table = pa.Table.from_pylist(rows, schema=self.schema)
        first = next(iter(pieces))
        files[f"shards/{first}.safetensors"] = save(named)
        files[f"shards/{first}.parquet"] = _with_notes(table, notes)
        self.write_files(files)

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files by their paths inside the folder, in this order."""
        for path, content in files.items():
            write_whole(self.path / path, [content])

    def write_derived(
        self,
        rows: Iterable[Mapping[str, Any]],
        tables: Mapping[str, Sequence[Mapping[str, Any]]],
        pictures: Mapping[str, Image],
    ) -> None:
        """Store what follows from the finished units: numbers of no unit, further tables, and pictures by file name."""
        for name, picture in pictures.items():
            write_whole(self.path / "pictures" / f"{name}.png", [_png(picture)])
        for name, table in tables.items():
            write_whole(self.path / f"{name}.parquet", [parquet(pa.Table.from_pylist([*table]))])
        measured, notes = read_rows(self.path, self.schema)
        mine = measured.filter(pc.is_valid(measured["unit"]))
        derived = pa.Table.from_pylist([{**row, "unit": None} for row in rows], schema=self.schema)
        write_whole(self.path / "quantities.parquet", [_with_notes(pa.concat_tables([mine, derived]), notes)])

    def merge(self, order: Sequence[str]) -> None:
        """Merge every shard into the two tables, units in the given order, then remove the shards.

        The arrays are replaced first, the rows second, and the shards go last: after a kill at any point the merge can
        be repeated with the same result.
        """
        finished = sorted(self.shards.glob("*.parquet"))
        if finished:
            table, notes = read_rows(self.path, self.schema)
            arrays = [*(shard.with_suffix(".safetensors") for shard in finished), self.path / "arrays.safetensors"]
            write_whole(self.path / "arrays.safetensors", joined([path for path in arrays if path.exists()]))
            write_whole(self.path / "quantities.parquet", [_with_notes(_ordered(table, order), notes)])
        for shard in finished:
            shard.unlink()
        shutil.rmtree(self.shards, ignore_errors=True)

    def without_arrays(self) -> set[str]:
        """Units whose shard has lost its arrays: they are not finished.

        Raises:
            InputError: a shard with damaged arrays.
        """
        lost = list[Path]()
        for table in self.shards.glob("*.parquet"):
            arrays = table.with_suffix(".safetensors")
            if arrays.exists():
                header_of(arrays)
            else:
                lost.append(table)
        return {unit for table in lost for unit in (table.stem, *_read_notes(table))}

    def clear(self) -> None:
        """Remove what was stored in a folder that has become no run: without a record it would be in the way."""
        for folder in (self.shards, self.path / "pictures"):
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, units: Iterable[str]) -> None:
        """Remove the shards of units that are measured again."""
        again = set(units)
        shards = {shard.stem: {shard.stem, *_read_notes(shard)} for shard in self.shards.glob("*.parquet")}
        whole = {name for name, held in shards.items() if held <= again}
        for name in whole | (again - shards.keys()):
            for ending in (".parquet", ".safetensors"):
                (self.shards / f"{name}{ending}").unlink(missing_ok=True)
        if any(not held.isdisjoint(again) for name, held in shards.items() if name not in whole):
            self.merge(())  # a shard that holds others too: what is merged gives way to newer shards, unit by unit


def picture_path(folder: Path, unit: str, name: str = "") -> Path:
    """Where a picture of a unit is."""
    return folder / "pictures" / f"{unit}{f'.{name}' if name else ''}.png"


def is_held(path: Path) -> bool:
    """Whether a process is writing to this run folder now; False where the file system has no locks to tell."""
    try:
        handle = _lock(path)
    except OSError:
        return False
    if handle is not None:
        os.close(handle)
    return handle is None


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
    found = _read(path)
    if found is None:
        raise InputError(f"{path} is missing; run its command again to make it")
    return found.replace_schema_metadata()


def regular(path: Path) -> bool:
    """Whether a regular file is there: no link, which could lead anywhere, and no fifo, which would hang a reader."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file, in a folder that is made if it is missing, so that it is there whole or not at all.

    Raises:
        DiskError: the disk is full or refuses.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary, open(temporary, "wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _refused_by_disk(path, error) from error


def parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file with that table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _is_leftover(name: str) -> bool:
    return name.startswith(".") and (name.endswith(".tmp") or name.startswith(".report.html"))


def _patiently(path: Path) -> int:
    """Make the folder and hold it; again where the one that held it before took its empty folder away."""
    for _ in range(_PATIENCE):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run folder {path}: {error.strerror}; give another --out") from error
        handle = _lock(path)
        if handle is not None and _is_still(path, handle):
            return handle
        if handle is not None:
            os.close(handle)
        time.sleep(0.05)
    raise InputError(f"another process is writing to {path}; wait for it or give another --out")


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _lock(path: Path) -> int | None:
    """A descriptor that holds the folder until it is closed; None where another process or thread holds it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        pass  # a file system without locks: the run works, unprotected
    return handle


def _check_writable(path: Path) -> None:
    nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"run folder expected at {path}, but {nearest} is a file; give another --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {nearest}: permission denied; give another --out")


def _refused_by_disk(path: Path, error: OSError) -> DiskError:
    if error.errno in _FULL:
        return DiskError(
            f"no space left on the disk of {path.parent}; what is finished is kept: free some space and run the "
            "same command again to go on"
        )
    return DiskError(
        f"cannot write {path}: {error.strerror or error}; what is finished is kept: mend the disk or its limits and "
        "run the same command again to go on"
    )


def _with_notes(table: pa.Table, notes: Mapping[str, Any]) -> bytes:
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


def _read_notes(shard: Path) -> Notes:
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


def _ordered(table: pa.Table, order: Sequence[str]) -> pa.Table:
    position = {unit: index for index, unit in enumerate(order)}
    keys = [position.get(unit, len(position)) for unit in table["unit"].to_pylist()]
    return table.take(np.argsort(keys, kind="stable"))
