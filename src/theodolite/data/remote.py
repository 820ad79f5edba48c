"""Images in object storage or on other machines, by addresses that fsspec opens: `s3://bucket/photos`, `gs://...`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from theodolite.data.pixels import suffixes
from theodolite.data.stored import Contents, Entry, checked_size, is_shown
from theodolite.errors import InputError, in_one_line, path_of

__all__ = ["DataPath", "Remote", "RemoteFile", "data_of", "remote_contents"]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SECRET = re.compile(r"://[^/]*:[^/]*@")


@dataclass(frozen=True)
class Remote:
    """A folder, or a file of many images, by its address.

    Attributes:
        address: as the user gave it.
    """

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.address).name

    @property
    def suffix(self) -> str:
        """Of the name."""
        return PurePosixPath(self.address).suffix

    def resolve(self) -> Remote:
        """The address without a slash at its end, by which two are compared."""
        return Remote(self.address.rstrip("/"))

    def opened(self) -> tuple[Any, str]:
        """The file system of the address, and the path there.

        Raises:
            InputError: fsspec, or its part for this kind of storage, is not installed, or cannot be set up.
        """
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise InputError(
                f"{self} needs the package fsspec; install it: pip install fsspec, and e.g. s3fs for s3://"
            ) from error
        try:
            system, path = url_to_fs(self.address)
        except Exception as error:  # of the storage's own package, of any type
            raise InputError(
                f"{self} cannot be opened ({in_one_line(error)}); check the address, and install the package for this "
                "kind of storage"
            ) from error
        return system, path

    def open(self, mode: str = "rb") -> Any:
        """The file, for reading.

        Raises:
            OSError: it cannot be read.
        """
        system, path = self.opened()
        try:
            return system.open(path, mode)
        except Exception as error:  # of any type, by the kind of storage
            raise OSError(None, in_one_line(error)) from error

    def stretch(self, start: int, size: int) -> bytes:
        """Some bytes of the file, in one request.

        Raises:
            OSError: they cannot be read.
        """
        return self.bytes_of(self.opened()[1], start, start + size)

    def bytes_of(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes of a file of the same storage.

        Raises:
            OSError: they cannot be read.
        """
        system, _ = self.opened()
        try:
            return bytes(system.cat_file(path, start=start, end=end))
        except Exception as error:  # of any type, by the kind of storage
            raise OSError(in_one_line(error)) from error


DataPath = Path | Remote
"""Where images are: a path of this machine, or an address."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address.

    Attributes:
        root: the address that was given.
        path: the file in its storage.
        size: in bytes, as it was listed.
    """

    root: Remote
    path: str
    size: int

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: they cannot be read.
        """
        checked_size(self.size)
        return self.root.bytes_of(self.path)


def data_of(value: Any, what: str = "the image folder") -> DataPath:
    """Where the images are that a user gave.

    Raises:
        InputError: it is neither a path nor an address, or an address that holds a password.
    """
    if not isinstance(value, str) or not _ADDRESS.match(value):
        return path_of(value, what)
    if _SECRET.search(value):
        raise InputError(
            f"{what} expected without a password, since run.json keeps its address; give it to the storage's own "
            "package, e.g. in its environment variables"
        )
    return Remote(value)


def remote_contents(data: Remote, setting: str) -> Contents:
    """The images below an address, in its folders; hidden files and run folders are passed over, as on a disk.

    Raises:
        InputError: nothing is there, or the storage cannot be listed.
    """
    system, root = data.opened()
    try:
        files = {} if system.isfile(root) else system.find(root, detail=True)
    except Exception as error:  # of any type, by the kind of storage
        raise InputError(f"{data} cannot be listed ({in_one_line(error)}); check address and credentials") from error
    if not files:
        raise InputError(f"image folder expected at {data}, got none; check the address (--{setting})")
    names = {PurePosixPath(path).relative_to(root): (path, int(entry["size"] or 0)) for path, entry in files.items()}
    runs = {name.parent for name in names if name.name == "run.json"} - {PurePosixPath()}
    contents = Contents()
    for name, (path, size) in names.items():
        if not all(map(is_shown, name.parts)) or not runs.isdisjoint(name.parents):
            continue
        if name.name.lower().endswith(suffixes()):
            contents.entries.append(Entry(name.as_posix(), RemoteFile(data, path, size)))
        else:
            contents.passed.append(name.as_posix())
    return contents
