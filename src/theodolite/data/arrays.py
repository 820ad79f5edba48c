"""Images in NumPy's `.npz` and `.npy` files, an image at a time and never by unpickling."""

from __future__ import annotations

import functools
import io
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from theodolite.data.stored import Contents, Entry, Skipped, checked_size

__all__ = ["READERS", "ArrayRow", "array_contents", "arrays_contents"]

_CHANNELS = (1, 3, 4)
_TYPES = ("|u1", "<u2", ">u2", "|b1")
_FORMS = "(n, height, width), with 1, 3 or 4 channels last or after n, of 8 or 16 bits"
_CHUNK = 2**20
_MOST_PACKED = 1032
"""How many bytes one byte of a deflated file may unpack to: what claims more claims more than is there."""


@dataclass(frozen=True)
class _Header:
    """Shape and type of a stored array, C-ordered."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def is_one(self) -> bool:
        """Whether it is a single image `(height, width, channels)`, not a stack of them."""
        return len(self.shape) == 3 and self.shape[-1] in _CHANNELS

    @property
    def image(self) -> tuple[int, ...]:
        """The shape of one image."""
        return self.shape if self.is_one else self.shape[1:]

    @property
    def bytes(self) -> int:
        """Of one image."""
        return math.prod(self.image) * self.dtype.itemsize


@dataclass(frozen=True)
class ArrayRow:
    """One image of a stack.

    Attributes:
        path: of the file.
        member: the array in a ``.npz``; None in a ``.npy``.
        index: along its first axis.
    """

    path: Path
    member: str | None
    index: int

    def read(self) -> bytes:
        """The image as an array of its own, in NumPy's format."""
        stamp = self.path.stat()
        cursor = _cursor(self.path, stamp.st_mtime_ns, stamp.st_size, self.member)
        content = io.BytesIO()
        npy.write_array(content, cursor.image(self.index), allow_pickle=False)
        return content.getvalue()


class _Cursor:
    """The images of one array, read forwards."""

    def __init__(self, path: Path, member: str | None) -> None:
        self._path, self._member, self._open = path, member, ExitStack()
        self._restart()

    def _restart(self) -> None:
        self._open.close()
        self._file = self._open.enter_context(_stream(self._path, self._member))
        self.header, self._next = _header(self._file), 0

    def image(self, index: int) -> np.ndarray[Any, Any]:
        """An image; cheap where they are asked for in order, since a packed file is unpacked from its start."""
        if index < self._next:
            self._restart()
        size = checked_size(self.header.bytes)
        for left in range((index - self._next) * size, 0, -_CHUNK):
            self._file.read(min(left, _CHUNK))
        content = self._file.read(size)
        self._next = index + 1
        if len(content) != size:
            raise OSError(None, "truncated: the array ends before it does")
        return np.frombuffer(content, self.header.dtype).reshape(self.header.image)


@functools.lru_cache(maxsize=2)
def _cursor(path: Path, changed: int, size: int, member: str | None) -> _Cursor:
    """The open array of a file, until another one is needed or the file changes."""
    return _Cursor(path, member)


@contextmanager
def _stream(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with path.open("rb") as file:
            yield file
    else:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file


def _header(file: IO[bytes]) -> _Header:
    """What the head of an array says.

    Raises:
        ValueError: no array, or one of Python objects, which only unpickling could read.
    """
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which can run any code when opened; save it as numbers")
    if is_fortran and len(shape) > 1:
        raise ValueError("an array in Fortran order; save it with numpy.ascontiguousarray")
    return _Header(shape, dtype)


def arrays_contents(path: Path) -> Contents:
    """The images of a ``.npz``: all its arrays of images, each a folder.

    Raises:
        OSError: it is no such file, or damaged.
    """
    contents, others = Contents(), list[Skipped]()
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    with archive.open(member) as file:
                        header = _described(file, member.compress_size * _MOST_PACKED)
                    _add(contents, others, path, member.filename, header)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise OSError(None, f"no .npz file that can be read ({error})") from error
    if not contents.entries:  # beside images, labels and the like go without a word
        contents.skipped += others or [Skipped("", "it holds no arrays")]
    return contents


def array_contents(path: Path) -> Contents:
    """The images of a ``.npy``.

    Raises:
        OSError: it cannot be read.
    """
    contents, others = Contents(), list[Skipped]()
    with path.open("rb") as file:
        _add(contents, others, path, None, _described(file, path.stat().st_size))
    contents.skipped += others
    return contents


def _described(file: IO[bytes], most: int) -> _Header | str:
    """The head of an array of at most so many bytes, or why it is none of images."""
    try:
        header = _header(file)
    except (ValueError, EOFError) as error:
        return " ".join(str(error).split())
    if header.dtype.kind == "f" and len(header.shape) in (3, 4):
        return "floating-point pixels have no defined range; save it with 8 or 16 bits"
    if math.prod(header.shape) * header.dtype.itemsize > most:
        return f"truncated: it claims {header.shape} and is shorter"
    axes = len(header.shape) == 3 or (
        len(header.shape) == 4 and (header.shape[-1] in _CHANNELS or header.shape[1] in _CHANNELS)
    )
    if header.dtype.str not in _TYPES or not axes or 0 in header.shape:
        return f"an array of shape {header.shape} and type {header.dtype}; images are {_FORMS}"
    return header


def _add(contents: Contents, others: list[Skipped], path: Path, name: str | None, header: _Header | str) -> None:
    folder = "" if name is None else name.removesuffix(".npy")
    if isinstance(header, str):
        others.append(Skipped(folder, header))
        return
    count = 1 if header.is_one else header.shape[0]
    inside = f"{folder}/" if folder else ""
    contents.entries += [Entry(f"{inside}{index:06d}", ArrayRow(path, name, index)) for index in range(count)]


READERS: dict[str, Callable[[Path], Contents]] = {".npz": arrays_contents, ".npy": array_contents}
"""By suffix."""
