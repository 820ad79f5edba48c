"""Which images were cut from one photograph, told from their file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from theodolite.data.remote import DataPath
from theodolite.errors import InputError

__all__ = ["DEFAULT", "several_sources", "sources_of"]

DEFAULT = r"^(.+?)(?:[_-]\d+){2,}$"
"""The part of a file's name before its crop coordinates: two or more whole numbers at its end."""


def sources_of(files: Sequence[str], pattern: str | None = None, setting: str = "group") -> list[str]:
    """The source of each file, by path inside the folder.

    Args:
        files: paths inside the data folder.
        pattern: a regular expression searched for in the path without its suffix; its first group names the source, or
            all of the match. By default the name before its crop coordinates (``astronaut_0128_0256.png`` is from
            ``astronaut``), and a file without coordinates is its own source.
        setting: whose pattern it is, for errors.

    Raises:
        InputError: a pattern that is no regular expression, or that a file does not match.

    Example:
        >>> sources_of(["cat_0000_0128.png", "cat_0128_0128.png", "IMG_1234.jpg"])
        ['cat', 'cat', 'IMG_1234']
        >>> sources_of(["cat-eye.png", "cat-fur.png"], r"^[a-z]+")
        ['cat', 'cat']
    """
    try:
        expression = re.compile(DEFAULT if pattern is None else pattern)
    except re.error as error:
        raise InputError(
            f"`{setting}` expected to be a regular expression, got {pattern!r} ({error}); e.g. --{setting} '^[a-z]+'"
        ) from error
    return [_source(PurePosixPath(file), expression, pattern, setting) for file in files]


def several_sources(sources: Sequence[str], folder: DataPath, limit: int | None, fix: str) -> None:
    """Refuse images of one source.

    Raises:
        InputError: there are fewer than two; `fix` names the settings that help beside the limit.
    """
    if len(used := set(sources)) < 2:
        raise InputError(
            f"images of two sources or more expected in {folder}, since crops of one photograph are not independent; "
            f"got one, {used.pop()!r}, of at most {limit or 'all'} images; give more images, a larger --limit, {fix}"
        )


def _source(file: PurePosixPath, expression: re.Pattern[str], pattern: str | None, setting: str) -> str:
    path = file.with_suffix("").as_posix()
    match = expression.search(path)
    if match is None:
        if pattern is None:
            return path
        raise InputError(
            f"`{setting}` {pattern!r} expected to match every file, and {file} does not; "
            "mend the pattern or move the file"
        )
    return str(match[1] if expression.groups else match[0])
