"""Where images are stored: a reference is opened when its image is read, and holds no pixels before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

__all__ = ["MOST_BYTES", "Contents", "Entry", "Plain", "Skipped", "Stored", "checked_size", "is_shown"]

MOST_BYTES = 2**28
"""Bytes of one encoded image, or of one array of pixels: far more than any camera writes. What claims more is refused
before it is read, since archives and data sets come from strangers."""


class Stored(Protocol):
    """Where the bytes of one image are."""

    def read(self) -> bytes:
        """The bytes, of `MOST_BYTES` at most.

        Raises:
            OSError: they cannot be read.
            ValueError: they are no image of a plain kind.
        """


@dataclass(frozen=True)
class Plain:
    """A file."""

    path: Path

    def read(self) -> bytes:
        """The bytes of a regular file: a fifo would hang for ever."""
        if not self.path.is_file():
            raise OSError(None, "not a regular file")
        checked_size(self.path.stat().st_size)
        return self.path.read_bytes()


@dataclass(frozen=True)
class Entry:
    """An image that is listed and not yet read.

    Attributes:
        file: its path inside the data, printable.
        stored: where its bytes are.
        name: the same path as the file system has it, for ids; None where it is `file`.
    """

    file: str
    stored: Stored
    name: str | None = None

    @property
    def folder(self) -> str:
        """The folder that it is in, inside the data; empty at the top."""
        return "" if (parent := PurePosixPath(self.file).parent.as_posix()) == "." else parent


@dataclass(frozen=True)
class Skipped:
    """A file that looks like an image and cannot be used, with the reason."""

    file: str
    reason: str


@dataclass
class Contents:
    """What a folder, an archive or a data set holds.

    Attributes:
        entries: images, in the order in which they were met.
        skipped: what looks like an image and cannot be one.
        passed: names of files that are no images by their suffix.
        notes: sentences for the user.
    """

    entries: list[Entry] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def inside(self, folder: str) -> Contents:
        """The same, below a folder of the data."""
        return Contents(
            [Entry(f"{folder}/{entry.file}", entry.stored) for entry in self.entries],
            [Skipped(f"{folder}/{entry.file}" if entry.file else folder, entry.reason) for entry in self.skipped],
            [f"{folder}/{name}" for name in self.passed],
            self.notes,
        )

    def take(self, others: Iterable[Contents]) -> None:
        """Add what others hold."""
        for other in others:
            self.entries += other.entries
            self.skipped += other.skipped
            self.passed += other.passed
            self.notes += other.notes


def checked_size(size: int) -> int:
    """A number of bytes, where one image may have so many.

    Raises:
        ValueError: it may not.
    """
    if not 0 <= size <= MOST_BYTES:
        raise ValueError(f"it would take {size / 2**20:,.0f} MiB; images of {MOST_BYTES >> 20} MiB at most are read")
    return size


def is_shown(name: str) -> bool:
    """Whether a name is that of a file or folder which is not hidden, on any system."""
    return not name.startswith(".") and name != "__MACOSX"
