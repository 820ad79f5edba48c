"""What images a folder, an archive or a data set holds, before any of them is read."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from theodolite.data import archives, arrays, tables
from theodolite.data.pixels import suffixes
from theodolite.data.remote import DataPath, Remote, remote_contents
from theodolite.data.stored import Contents, Entry, Plain, Skipped, is_shown
from theodolite.errors import InputError

__all__ = ["Listing", "chosen_among", "list_images", "named_samples"]

_LONGEST_NAME = 48
_TOLD = 4
"""Suffixes of files that are passed over, which are named."""

_CONTAINERS: dict[str, Callable[[Path], Contents]] = {**archives.READERS, **tables.READERS, **arrays.READERS}


@dataclass(frozen=True)
class Listing:
    """The images of a folder, an archive or a data set, in the order of their paths.

    Attributes:
        folder: the folder, or the file that holds them.
        entries: each with where it is stored.
        samples: an id of each, unique and safe as a file name.
        skipped: what looks like an image and cannot be one.
        notes: what was passed over.
    """

    folder: DataPath
    entries: tuple[Entry, ...]
    samples: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """Paths inside the data."""
        return [entry.file for entry in self.entries]

    def only(self, samples: Sequence[str]) -> Listing:
        """This listing with these samples alone, each by its own name or by that of its file.

        Raises:
            InputError: it lacks one of them.
        """
        known, of_file = set(self.samples), dict(zip(self.files, self.samples))
        names = [name if name in known else of_file.get(name, name) for name in samples]
        chosen = set(chosen_among(names, self.samples, str(self.folder)))
        pairs = [(entry, sample) for entry, sample in zip(self.entries, self.samples) if sample in chosen]
        return replace(self, entries=tuple(e for e, _ in pairs), samples=tuple(sample for _, sample in pairs))


def named_samples(only: Sequence[str] | None) -> Sequence[str]:
    """The names that `--only` gives; none where it was left out, for all samples.

    Raises:
        InputError: it was given without a name, which would measure everything.
    """
    if only is not None and not only:
        raise InputError("--only expected one sample or more, got none; leave it out for all")
    return only or ()


def chosen_among(samples: Sequence[str], known: Sequence[str], where: str) -> Sequence[str]:
    """The samples that are chosen.

    Raises:
        InputError: one is not among the known ones.
    """
    present = set(known)
    for sample in samples:
        if sample not in present:
            close = difflib.get_close_matches(sample, known, n=1)
            hint = f", did you mean {close[0]!r}?" if close else "; names are those of `theodolite show RUN --json`"
            raise InputError(f"--only expected samples of {where}, got {sample!r}{hint}")
    return samples


def list_images(data: DataPath, setting: str = "data") -> Listing:
    """The images below a folder or in one file that holds many: zip, tar, Parquet, Arrow, npz or npy.

    Of an address (`theodolite.data.remote`): those below it, or in one zip or tar there.

    Folders that are links are followed, each real folder once. Hidden files and run folders are passed over. Files
    that hold many images count where a folder has no image as a file of its own.

    Args:
        data: the folder or file.
        setting: whose value it is, for the words of an error.

    Raises:
        InputError: it is missing, cannot be read, or holds no image.
    """
    contents = _of_address(data, setting) if isinstance(data, Remote) else _of_path(data, setting)
    named: dict[str, Entry] = {}
    for entry in sorted(contents.entries, key=lambda entry: entry.name or entry.file):
        named.setdefault(entry.name or entry.file, entry)
    if twice := len(contents.entries) - len(named):
        contents.notes.append(f"{twice} images have the name of another one in their archive, and are left out")
    if not named:
        raise _empty(data, contents)
    notes = [*contents.notes, *_passed_over(contents.passed)]
    return Listing(data, (*named.values(),), _sample_names([*named]), (*contents.skipped,), (*notes,))


def _of_address(data: Remote, setting: str) -> Contents:
    suffix = data.suffix.lower()
    if suffix in archives.READERS:
        return _read(archives.READERS[suffix], data)
    if suffix in _CONTAINERS:
        raise InputError(f"{suffix} is read from a disk only, got {data}; copy it there, or give a zip or tar")
    return remote_contents(data, setting)


def _of_path(data: Path, setting: str) -> Contents:
    _check(data, setting)
    return _of_file(data) if data.is_file() else _of_folder(data)


def _check(data: Path, setting: str) -> None:
    if not data.exists():
        raise InputError(f"image folder expected, got {data}, which does not exist; check the path (--{setting})")
    if not data.is_dir() and data.suffix.lower() not in _CONTAINERS:
        raise InputError(
            f"image folder expected, got the file {data}; give the folder that holds it, or a file of many images: "
            f"{', '.join(_CONTAINERS)}"
        )
    if not os.access(data, os.R_OK | os.X_OK if data.is_dir() else os.R_OK):
        raise InputError(f"cannot read {data}: permission denied; give a folder you may read")


def _empty(data: DataPath, contents: Contents) -> InputError:
    if contents.skipped:
        first, count = contents.skipped[0], len(contents.skipped)
        reason = f"{first.file}: {first.reason}" if first.file else first.reason
        return InputError(f"none of the {count} images in {data} can be read; the first is {reason}")
    passed = "".join(f"; {note}" for note in _passed_over(contents.passed))
    return InputError(f"{data} holds no image; files that Pillow reads expected, or {', '.join(_CONTAINERS)}{passed}")


def _passed_over(names: list[str]) -> list[str]:
    if not names:
        return []
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without suffix" for name in names)
    counts = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    described = ", ".join(f"{count} {suffix}" for suffix, count in counts[:_TOLD])
    more = f" and {len(counts) - _TOLD} other kinds" if len(counts) > _TOLD else ""
    return [f"passed over {len(names)} files that are no images by their suffix: {described}{more}"]


def _of_file(path: Path) -> Contents:
    return _read(_CONTAINERS[path.suffix.lower()], path)


def _read(reader: Callable[[Any], Contents], path: DataPath) -> Contents:
    try:
        return reader(path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        return Contents(skipped=[Skipped("", reason)])


def _of_folder(folder: Path) -> Contents:
    contents, containers = Contents(), list[Path]()
    for path in _walk(folder, contents):
        name = path.name.lower()
        if name.endswith(suffixes()):
            if path.is_file():
                inside = path.relative_to(folder).as_posix()
                contents.entries.append(Entry(_printable(inside), Plain(path), inside))
            else:  # a fifo would hang for ever, a link may lead nowhere
                contents.skipped.append(Skipped(_printable(path.relative_to(folder).as_posix()), "not a regular file"))
        elif path.suffix.lower() in _CONTAINERS and path.is_file():
            containers.append(path)
        else:
            contents.passed.append(_printable(path.relative_to(folder).as_posix()))
    labelled = [(path, _printable(path.relative_to(folder).as_posix())) for path in sorted(containers)]
    if contents.entries:  # an archive beside images is mostly a copy of them
        contents.passed += [name for _, name in labelled]
    else:
        contents.take(_of_file(path).inside(name) for path, name in labelled)
    return contents


def _walk(folder: Path, contents: Contents) -> Iterator[Path]:
    """Files below a folder; through links to folders too, each real folder once."""
    visited = {_identity(folder)}
    for parent, folders, files in os.walk(folder, followlinks=True):
        here, further = Path(parent), list[str]()
        for name in sorted(folders, key=lambda name: ((here / name).is_symlink(), name)):
            path = here / name
            if not is_shown(name) or (path / "run.json").exists():
                continue
            if _identity(path) in visited:
                label = _printable(path.relative_to(folder).as_posix())
                contents.notes.append(f"{label} leads to a folder that is read already, and is left out")
                continue
            visited.add(_identity(path))
            further.append(name)
        folders[:] = further
        yield from (here / name for name in files if is_shown(name))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _printable(name: str) -> str:
    """A path, printable whatever bytes the file system holds."""
    return os.fsencode(name).decode("utf-8", "replace")


def _sample_names(files: list[str]) -> tuple[str, ...]:
    """One id a path, which depends on all paths alone; where two would coincide both carry a hash of their path."""
    plain = [_slug(PurePosixPath(file)) for file in files]
    taken = Counter(name.casefold() for name in plain)
    return tuple(
        name if taken[name.casefold()] == 1 and len(name) <= _LONGEST_NAME else _hashed(name, file)
        for name, file in zip(plain, files)
    )


def _slug(path: PurePath) -> str:
    """The path as one word of letters, digits, ``-`` and ``_``, in any script."""
    name = unicodedata.normalize("NFC", path.with_suffix("").as_posix())
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "image"


def _hashed(name: str, file: str) -> str:
    return f"{name[: _LONGEST_NAME - 9]}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:8]}"
