"""Arrays of several units in one safetensors file: the header of each file is held against its length before."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from theodolite.errors import InputError

__all__ = ["header_of", "joined"]

_MOST_OPEN = 64
"""Files that stay open at a time, far below the 1,024 that systems allow a process by default."""


def header_of(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the arrays of a safetensors file begin, and the entry of each by its name.

    Raises:
        InputError: it is damaged, or shorter or longer than its arrays.
    """
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            start, size = 8 + length, path.stat().st_size
            header = json.loads(stream.read(length) if start <= size else b"")
        arrays = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = start + max((entry["data_offsets"][1] for entry in arrays.values()), default=0)
        if end != size:
            raise ValueError(f"{end} bytes expected, got {size}")
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise InputError(
            f"broken {path} ({' '.join(str(error).split())[:200]}); delete this file and run the same command again to "
            "measure its units once more"
        ) from error
    return start, arrays


def joined(sources: Sequence[Path]) -> Iterator[bytes]:
    """The bytes of one safetensors file with the arrays of several, a piece at a time; the first of a name counts.

    Raises:
        InputError: one of them is damaged.
    """
    pieces: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for source in sources:
        start, header = header_of(source)
        for name, entry in header.items():
            pieces.setdefault(name, (source, start, entry))
    # The wide types first, as the format's own writer does, so that every array starts on its alignment.
    names = sorted(pieces, key=lambda name: (-_bits(pieces[name][2]["dtype"]), name))
    yield _header([(name, pieces[name][2]) for name in names])
    with _Streams() as streams:
        for name in names:
            source, start, entry = pieces[name]
            begin, end = entry["data_offsets"]
            stream = streams.of(source)
            stream.seek(start + begin)
            yield stream.read(end - begin)


class _Streams:
    """Files that are read in turn: the last ones stay open, since a file of a batch is asked for once an array."""

    def __init__(self) -> None:
        self._open: dict[Path, BinaryIO] = {}

    def __enter__(self) -> _Streams:
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self._open.values():
            stream.close()

    def of(self, path: Path) -> BinaryIO:
        """The file, open for reading."""
        if path not in self._open:
            if len(self._open) == _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[path] = open(path, "rb")  # noqa: SIM115  (closed at the end, or when it gives way)
        return self._open[path]


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
