"""Images in Parquet and Arrow files, as data sets of the hub store them; a batch of rows is in memory at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from theodolite.data.pixels import suffixes
from theodolite.data.stored import Contents, Entry, checked_size

__all__ = ["READERS", "Cell", "arrow_contents", "parquet_contents"]

_ROWS = 32
"""Rows that are decoded together."""

_MOST_GROUP = 2**31
"""Bytes that the images of one group of rows may unpack to."""

_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "pixel_values", "bytes", "content")
"""What columns of images are called, where several columns hold bytes."""

_LABEL = "label"


@dataclass(frozen=True)
class Cell:
    """The image in one row of a table.

    Attributes:
        path: of the file.
        column: that holds images.
        group: of rows, in a Parquet file; None in an Arrow file.
        row: within the group.
    """

    path: Path
    column: str
    group: int | None
    row: int

    def read(self) -> bytes:
        """The bytes in the cell; a path beside them is never opened."""
        stamp = self.path.stat()
        value = _cursor(self.path, stamp.st_mtime_ns, stamp.st_size, self.column, self.group).value(self.row)
        if value is None:
            raise ValueError("no image in this row")
        checked_size(len(value))
        return value


class _Cursor:
    """The rows of one column, read forwards in batches."""

    def __init__(self, batches: Callable[[], Iterator[pa.Array]]) -> None:
        self._batches = batches
        self._restart()

    def _restart(self) -> None:
        self._left, self._start, self._batch = self._batches(), 0, pa.array([], pa.binary())

    def value(self, row: int) -> bytes | None:
        """The bytes in a row; cheap where rows are asked for in order."""
        if row < self._start:
            self._restart()
        while row >= self._start + len(self._batch):
            self._start += len(self._batch)
            try:
                self._batch = next(self._left)
            except StopIteration:
                raise OSError(None, "the table has fewer rows than when it was listed") from None
        value = self._batch[row - self._start].as_py()
        return None if value is None else bytes(value)


@functools.lru_cache(maxsize=2)
def _cursor(path: Path, changed: int, size: int, column: str, group: int | None) -> _Cursor:
    """The open column of a file, until another one is needed or the file changes."""
    return _Cursor(lambda: _parquet_rows(path, column, group) if group is not None else _arrow_rows(path, column))


def parquet_contents(path: Path) -> Contents:
    """The images of a Parquet file: its column of bytes, or of a structure with bytes, by row.

    Raises:
        OSError: it is no Parquet file, damaged, or has no such column.
    """
    import pyarrow.parquet as pq

    contents = Contents()
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            column, before = _image_column(schema), 0
            if metadata.num_rows > path.stat().st_size:  # a count that is claimed would fill the memory
                raise ValueError(f"it claims {metadata.num_rows} rows in {path.stat().st_size} bytes")
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                cells = [Cell(path, column, group, row) for row in range(rows)]
                contents.entries += _entries(cells, before, _labels_of(file, schema, group))
                before += rows
    except (pa.ArrowException, ValueError, OSError) as error:
        raise _unreadable("Parquet", error) from error
    return contents


def arrow_contents(path: Path) -> Contents:
    """The images of an Arrow file or stream, as for `parquet_contents`.

    Raises:
        OSError: as for `parquet_contents`.
    """
    contents = Contents()
    try:
        with _opened(path) as reader:
            column, before = _image_column(reader.schema), 0
            labelled = _LABEL in reader.schema.names
            for batch in _each_batch(reader):
                labels = batch.column(_LABEL).to_pylist() if labelled else []
                cells = [Cell(path, column, None, before + row) for row in range(batch.num_rows)]
                contents.entries += _entries(cells, before, labels)
                before += batch.num_rows
    except (pa.ArrowException, ValueError, OSError) as error:
        raise _unreadable("Arrow", error) from error
    return contents


def _unreadable(kind: str, error: Exception) -> OSError:
    reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
    return OSError(None, f"no {kind} file with images that can be read ({reason})")


def _entries(cells: list[Cell], before: int, labels: list[Any]) -> list[Entry]:
    """Rows by number, below a folder of their label where there is one."""
    folders = [f"{_LABEL}-{str(label).replace('/', '-')}/" for label in labels] or [""] * len(cells)
    return [Entry(f"{folder}{before + row:06d}", cell) for row, (cell, folder) in enumerate(zip(cells, folders))]


def _image_column(schema: pa.Schema) -> str:
    """The column of images.

    Raises:
        ValueError: there is none.
    """
    names = [entry.name for entry in schema if _is_bytes(entry.type) or _bytes_field(entry.type)]
    images = [name for name in names if _bytes_field(schema.field(name).type)]
    usual = [name for name in names if name.lower() in _NAMES or f".{name.lower()}" in suffixes()]
    for chosen in (images, usual, names if len(names) == 1 else []):
        if chosen:
            return str(chosen[0])
    raise ValueError(f"no column of images among {', '.join(schema.names[:8]) or 'no columns'}")


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _bytes_field(kind: pa.DataType) -> bool:
    """Whether a column holds what the hub calls an image: a structure of bytes and a path."""
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)


def _bytes_of(column: pa.Array) -> pa.Array:
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def _labels_of(file: Any, schema: pa.Schema, group: int) -> list[Any]:
    if _LABEL not in schema.names:
        return []
    return list(file.read_row_group(group, columns=[_LABEL]).column(0).to_pylist())


def _parquet_rows(path: Path, column: str, group: int) -> Iterator[pa.Array]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
        leaf = f"{column}.bytes" if is_struct else column
        part = file.metadata.row_group(group)
        sizes = [part.column(index) for index in range(part.num_columns)]
        if sum(entry.total_uncompressed_size for entry in sizes if entry.path_in_schema == leaf) > _MOST_GROUP:
            raise ValueError("its group of rows would take more than 2 GiB; write the table with smaller row groups")
        for batch in file.iter_batches(batch_size=_ROWS, row_groups=[group], columns=[leaf]):
            yield _bytes_of(batch.column(0))


def _arrow_rows(path: Path, column: str) -> Iterator[pa.Array]:
    with _opened(path) as reader:
        for batch in _each_batch(reader):
            yield _bytes_of(batch.column(column))


def _opened(path: Path) -> Any:
    """A reader of record batches over the mapped file: pages come into memory as they are looked at."""
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source)
    except pa.ArrowInvalid:  # a stream, as `datasets` writes
        source.seek(0)
        return pa.ipc.open_stream(source)


def _each_batch(reader: Any) -> Iterator[pa.RecordBatch]:
    """The batches, checked: offsets of a damaged file would lead anywhere in memory."""
    count = getattr(reader, "num_record_batches", None)
    for batch in reader if count is None else (reader.get_batch(index) for index in range(count)):
        batch.validate(full=True)
        yield batch


READERS: dict[str, Callable[[Path], Contents]] = {".parquet": parquet_contents, ".arrow": arrow_contents}
"""By suffix."""
