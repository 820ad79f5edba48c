"""The run folder: finished units as atomic shards, merged into two tables at the end; files are whole or not there."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from theodolite.errors import DiskError, InputError
from theodolite.files import replacing
from theodolite.runs.joining import header_of, joined
from theodolite.runs.lock import hold
from theodolite.runs.piece import Piece
from theodolite.runs.tables import ordered, parquet, read_notes, read_rows, with_notes

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["RunFolder", "picture_path", "write_whole"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        """Make the folder, hold it against another process (`lock.hold`), and tidy up after one that was killed."""
        with hold(self.path):
            self.tidy()
            yield

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
        files[f"shards/{first}.parquet"] = with_notes(table, notes)
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
        write_whole(self.path / "quantities.parquet", [with_notes(pa.concat_tables([mine, derived]), notes)])

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
            write_whole(self.path / "quantities.parquet", [with_notes(ordered(table, order), notes)])
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
        return {unit for table in lost for unit in (table.stem, *read_notes(table))}

    def clear(self) -> None:
        """Remove what was stored in a folder that has become no run: without a record it would be in the way."""
        for folder in (self.shards, self.path / "pictures"):
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, units: Iterable[str]) -> None:
        """Remove the shards of units that are measured again."""
        again = set(units)
        shards = {shard.stem: {shard.stem, *read_notes(shard)} for shard in self.shards.glob("*.parquet")}
        complete = {name for name, units_held in shards.items() if units_held <= again}
        for file in [*self.shards.glob("*")]:
            if file.stem in complete or (file.stem in again and file.stem not in shards):
                file.unlink(missing_ok=True)
        if any(not units_held.isdisjoint(again) for name, units_held in shards.items() if name not in complete):
            self.merge(())  # a shard that holds others too: what is merged gives way to newer shards, unit by unit


def picture_path(folder: Path, unit: str, name: str = "") -> Path:
    """Where a picture of a unit is."""
    return folder / "pictures" / f"{unit}{f'.{name}' if name else ''}.png"


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


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _is_leftover(name: str) -> bool:
    return name.startswith(".") and (name.endswith(".tmp") or name.startswith(".report.html"))


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
