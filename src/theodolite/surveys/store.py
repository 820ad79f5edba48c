"""The run folder: finished samples as atomic shards, merged into two tables at the end."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from theodolite.errors import InputError, path_of
from theodolite.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "FORMAT",
    "SCHEMA",
    "RunFolder",
    "is_held",
    "kind_of",
    "parquet",
    "png_bytes",
    "read_info",
    "read_info_of",
    "read_parquet",
    "read_record",
    "read_rows",
    "refuse_another_kind",
    "write_atomically",
]

FORMAT = 1
"""Version of the run folder's layout."""

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("sample", pa.string()),
        ("map", pa.string()),
        ("sigma", pa.float64()),
        ("quantity", pa.string()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),
        ("passes", pa.int64()),
        ("n", pa.int64()),
        ("status", pa.string()),
    ]
)
"""Columns of `quantities.parquet`, in long form: one row a sample and quantity."""

_NOTES = b"theodolite"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PATIENCE = 5
Notes = dict[str, dict[str, Any]]


class RunFolder:
    """Writes one run: every file whole or not at all, so that a kill at any moment leaves a readable run.

    Args:
        path: the run folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards = path / "shards"
        self.thumbnails = path / "thumbnails"

    def check(self) -> bool:
        """Whether a run is there already.

        Raises:
            InputError: something else is in the way, or nothing can be written there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"run folder expected at {self.path}, got a file; give another --out or move the file")
        if (self.path / "run.json").exists():
            read_info(self.path)
        elif self.path.is_dir() and any(not name.endswith(".tmp") for name in os.listdir(self.path)):
            raise InputError(f"{self.path} holds files and is not a run; give --out an empty or a new folder")
        _check_writable(self.path)
        return (self.path / "run.json").exists()

    def make(self) -> None:
        """Make the folder.

        Raises:
            InputError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run folder {self.path}: {error.strerror}; give another --out") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second survey, which would write the same files.

        Raises:
            InputError: another process holds it.
        """
        for _ in range(_PATIENCE):  # `is_held` takes the lock too, for a moment
            handle = _lock(self.path)
            if handle is not None:
                break
            time.sleep(0.05)
        else:
            raise InputError(f"another survey is writing to {self.path}; wait for it or give another --out")
        try:
            yield
        finally:
            os.close(handle)

    def tidy(self) -> None:
        """Remove what a killed process left half-written."""
        for folder in (self.path, self.shards, self.thumbnails):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Replace `run.json`."""
        write_atomically(self.path / "run.json", [json.dumps(info, indent=1).encode()])

    def write_shard(
        self,
        sample: str,
        rows: Sequence[Mapping[str, Any]],
        arrays: Mapping[str, Tensor],
        pictures: Mapping[str, Image],
        notes: Mapping[str, Any],
    ) -> None:
        """Store a finished sample; its Parquet file comes last, so a shard that has one is whole.

        Args:
            sample: its id.
            rows: its quantities, with the keys of `SCHEMA`.
            arrays: by name inside the sample, e.g. ``latent``.
            pictures: thumbnails by the end of their file name, e.g. ``.png``.
            notes: anything else to remember, JSON-able.

        Raises:
            InputError: the disk is full or refuses.
        """
        from safetensors.torch import save

        for ending, picture in pictures.items():
            write_atomically(self.thumbnails / f"{sample}{ending}", [png_bytes(picture)])
        named = {f"{sample}/{name}": array.detach().cpu().contiguous() for name, array in arrays.items()}
        write_atomically(self.shards / f"{sample}.safetensors", [save(named)])
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
        write_atomically(self.shards / f"{sample}.parquet", [_parquet(table, {sample: dict(notes)})])

    def merge(self, order: Sequence[str]) -> None:
        """Merge every shard into the two tables, samples in the given order, then remove the shards.

        The arrays are replaced first, the rows second, and the shards go last: after a kill at any point the merge can
        be repeated with the same result.
        """
        finished = sorted(self.shards.glob("*.parquet"))
        if finished:
            table, notes = read_rows(self.path)
            arrays = [self.path / "arrays.safetensors", *(shard.with_suffix(".safetensors") for shard in finished)]
            write_atomically(self.path / "arrays.safetensors", _joined([path for path in arrays if path.exists()]))
            write_atomically(self.path / "quantities.parquet", [_parquet(_ordered(table, order), notes)])
        for shard in finished:
            shard.unlink()
        shutil.rmtree(self.shards, ignore_errors=True)


def is_held(path: Path) -> bool:
    """Whether a survey is writing to this run folder now; False where the file system has no locks to tell."""
    try:
        handle = _lock(path)
    except OSError:
        return False
    if handle is not None:
        os.close(handle)
    return handle is None


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


def read_info(path: Path) -> dict[str, Any]:
    """The content of a run folder's `run.json`.

    Raises:
        InputError: the folder is missing, holds no run, or one of another layout.
    """
    file = path / "run.json"
    if not file.is_file():
        found = "a folder without run.json" if path.is_dir() else "nothing there" if not path.exists() else "a file"
        raise InputError(f"run folder expected at {path}, got {found}; make one with `theodolite survey`")
    try:
        info = json.loads(file.read_bytes())
    except ValueError as error:
        raise InputError(f"{file} is not readable as JSON ({error}); the run must be made again") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise InputError(f"{file} expected to hold a run of format {FORMAT}, got another; use the version that made it")
    return info


def read_info_of(folder: Path, kind: str, what: str) -> dict[str, Any]:
    """The content of `run.json` of a run of this kind, ``interrupted`` where nothing writes to it any more.

    Raises:
        InputError: no run folder, or that of another kind of run.
    """
    info = read_info(folder)
    if info.get("kind") != kind:
        raise InputError(f"the run folder of {what} expected at {folder}, got another kind of run")
    if info.get("status") == "running" and not is_held(folder):
        info["status"] = "interrupted"
    return info


def kind_of(path: str | Path) -> str:
    """What a run folder holds: the verb that made it; ``survey`` where there is no run."""
    try:
        return str(read_info(path_of(path, "the run folder")).get("kind", "survey"))
    except InputError:
        return "survey"  # whose reader will say what is wrong


def refuse_another_kind(path: Path, kind: str) -> None:
    """Raise `InputError` unless the run at `path` is of this kind."""
    there = kind_of(path)
    if there != kind:
        raise InputError(f"{path} holds a run of `theodolite {there}`, not of `theodolite {kind}`; give another --out")


def read_record(path: Path) -> dict[str, Any]:
    """The content of a `run.json` with all that reading a run builds on.

    Raises:
        InputError: as `read_info`, or parts of the record are missing.
    """
    info = read_info(path)
    data, status = info.get("data"), info.get("status")
    files = data.get("files") if isinstance(data, dict) else None
    if not (isinstance(files, list) and isinstance(info.get("quantities"), dict) and isinstance(status, str)):
        raise InputError(
            f"broken run.json in {path}: it lacks its images, quantities or status; make it again in another folder"
        )
    return info


def read_rows(path: Path) -> tuple[pa.Table, Notes]:
    """Rows and notes of every finished sample, merged or still in shards."""
    # Shards first: one that is merged meanwhile is then found in the merged table.
    parts = [_read(shard) for shard in sorted((path / "shards").glob("*.parquet"))]
    merged = _read(path / "quantities.parquet")
    tables: list[pa.Table] = []
    notes: Notes = {}
    for part in [merged, *parts]:
        if part is not None and not part[1].keys() <= notes.keys():
            tables.append(part[0])
            notes.update(part[1])
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table(), notes


def png_bytes(image: Image) -> bytes:
    """A picture as the content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file, in a folder that is made if it is missing, so that it is there whole or not at all.

    Raises:
        InputError: the disk is full or refuses.
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


def _refused_by_disk(path: Path, error: OSError) -> InputError:
    if error.errno in _FULL:
        return InputError(
            f"no space left on the disk of {path.parent}; what is finished is kept: free some space and run the "
            "same command again to go on"
        )
    return InputError(
        f"cannot write {path}: {error.strerror or error}; what is finished is kept: mend the disk or its limits and "
        "run the same command again to go on"
    )


def _check_writable(path: Path) -> None:
    nearest = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"run folder expected at {path}, but {nearest} is a file; give another --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to {nearest}: permission denied; give another --out")


def parquet(table: pa.Table) -> bytes:
    """The bytes of a Parquet file with that table."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def read_parquet(path: Path) -> pa.Table:
    """A table that a run holds.

    Raises:
        InputError: it is missing or damaged.
    """
    found = _read(path)
    if found is None:
        raise InputError(f"{path} is missing; the run must be made again")
    return found[0]


def _parquet(table: pa.Table, notes: Mapping[str, Any]) -> bytes:
    return parquet(table.replace_schema_metadata({_NOTES: json.dumps(notes).encode()}))


def _read(path: Path) -> tuple[pa.Table, Notes] | None:
    """Rows and notes of one Parquet file; None where there is none."""
    try:
        # In this thread only: beside torch, pyarrow's own threads on a buffer of Python's abort the process at its end.
        table = pq.ParquetFile(pa.BufferReader(path.read_bytes())).read(use_threads=False)
        return table.replace_schema_metadata(), json.loads((table.schema.metadata or {}).get(_NOTES, b"{}"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"broken {path} ({' '.join(str(error).split())}); delete this file and run the same command again to "
            "measure its samples once more"
        ) from error


def _ordered(table: pa.Table, order: Sequence[str]) -> pa.Table:
    position = {sample: index for index, sample in enumerate(order)}
    keys = [position.get(sample, len(position)) for sample in table["sample"].to_pylist()]
    return table.take(np.argsort(keys, kind="stable"))


def _joined(sources: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of one safetensors file with the arrays of several, a piece at a time; the first of a name counts."""
    pieces: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for source in sources:
        with open(source, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                pieces.setdefault(name, (source, 8 + length, entry))
    # The wide types first, as the format's own writer does, so that every array starts on its alignment.
    names = sorted(pieces, key=lambda name: (-_bits(pieces[name][2]["dtype"]), name))
    yield _header([(name, pieces[name][2]) for name in names])
    for name in names:
        source, start, entry = pieces[name]
        begin, end = entry["data_offsets"]
        with open(source, "rb") as stream:
            stream.seek(start + begin)
            yield stream.read(end - begin)


def _header(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    header, offset = {}, 0
    for name, entry in entries:
        begin, end = entry["data_offsets"]
        header[name] = {**entry, "data_offsets": [offset, offset + end - begin]}
        offset += end - begin
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(8, "little") + encoded


def _bits(dtype: str) -> int:
    return int(re.sub(r"\D", "", dtype) or 8)
