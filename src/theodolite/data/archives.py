"""Images in zip and tar archives, those of webdataset among them; members are read in place and never unpacked."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from theodolite.data.pixels import suffixes
from theodolite.data.remote import DataPath, Remote
from theodolite.data.stored import Contents, Entry, Skipped, Stored, checked_size, is_shown

__all__ = ["READERS", "TarMember", "ZipMember", "tar_contents", "zip_contents"]

_LOCAL_HEADER = 30
"""Bytes of a zip member's own header before its name."""


@dataclass(frozen=True)
class TarMember:
    """A member of a tar archive: where its bytes begin and how many they are."""

    path: DataPath
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes of the member."""
        return _stretch(self.path, self.offset, checked_size(self.size))


@dataclass(frozen=True)
class ZipMember:
    """A member of a zip archive, as its directory describes it."""

    path: DataPath
    offset: int
    packed: int
    size: int
    method: int
    checksum: int

    def read(self) -> bytes:
        """The bytes of the member, unpacked to the size that the directory states and not beyond."""
        head = _stretch(self.path, self.offset, _LOCAL_HEADER)
        # Lengths of name and extra field stand at bytes 26 and 28, and differ from those of the directory.
        start = self.offset + _LOCAL_HEADER + sum(int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
        content = _stretch(self.path, start, checked_size(self.packed))
        checked_size(self.size)
        if self.method == zipfile.ZIP_DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, self.size + 1)
        if len(content) != self.size or zlib.crc32(content) != self.checksum:
            raise OSError(None, "damaged in its archive")
        return content


def _stretch(path: DataPath, offset: int, size: int) -> bytes:
    if isinstance(path, Remote):
        content = path.stretch(offset, size)
    else:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    if len(content) != size:
        raise OSError(None, "truncated: the archive ends before it does")
    return content


def tar_contents(path: DataPath) -> Contents:
    """The images of a tar archive that is not compressed; links and special members are passed over, by name.

    Raises:
        OSError: it is no such archive, or damaged.
    """
    contents = Contents()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header
                reason = "a link or special file" if not (member.isdir() or member.isreg()) else ""
                stored = TarMember(path, member.offset_data, member.size)
                if not member.isdir():
                    _add(contents, member.name, stored, reason or ("sparse" if member.issparse() else ""))
    except (tarfile.TarError, EOFError) as error:
        if contents.entries:  # what is whole is worth having
            contents.skipped.append(Skipped("the rest of the archive", f"truncated or damaged ({error})"))
            return contents
        is_packed = _stretch(path, 0, 2) in (b"\x1f\x8b", b"BZ")
        hint = "compressed: unpack it once, e.g. with gunzip" if is_packed else str(error)
        raise OSError(None, f"no tar archive that can be read ({hint})") from error
    return contents


def zip_contents(path: DataPath) -> Contents:
    """The images of a zip archive; links, encrypted members and rare compressions are passed over, by name.

    Raises:
        OSError: it is no such archive, or damaged.
    """
    contents = Contents()
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise OSError(None, f"no zip archive that can be read ({error})") from error
    for member in members:
        reasons = {
            "a link": stat.S_ISLNK(member.external_attr >> 16),
            "encrypted": bool(member.flag_bits & 1),
            f"compressed in a way ({member.compress_type}) that is not read": member.compress_type
            not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED),
        }
        described = member.compress_size, member.file_size, member.compress_type, member.CRC
        if not member.is_dir():
            stored = ZipMember(path, member.header_offset, *described)
            _add(contents, member.filename, stored, next((why for why, holds in reasons.items() if holds), ""))
    return contents


def _add(contents: Contents, name: str, stored: Stored, reason: str) -> None:
    """A member as an image, as one that is skipped for a reason, or as one that is passed over."""
    path = PurePosixPath(name)
    if not all(is_shown(part) or part in ("..", ".") for part in path.parts):
        return
    if path.suffix.lower() not in suffixes():
        contents.passed.append(name)
    elif ".." in path.parts or path.is_absolute() or "\\" in name:
        contents.skipped.append(Skipped(name, "its name leads out of the archive"))
    elif reason:
        contents.skipped.append(Skipped(name, reason))
    else:
        contents.entries.append(Entry(path.as_posix(), stored))


READERS: dict[str, Callable[[DataPath], Contents]] = {".zip": zip_contents, ".tar": tar_contents}
"""By suffix."""
