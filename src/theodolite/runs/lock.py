"""Who writes to a run folder: one process at a time, held by a lock that the kernel gives back when it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from theodolite.errors import InputError

__all__ = ["hold", "is_held"]

_PATIENCE = 20
"""Tries to take the lock in a second: a reader that asks whether it is held takes it for a moment too."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Make the folder and hold it against another process, which would write the same files.

    A folder that was made here and holds nothing at the end, because the work was refused, is removed again.

    Raises:
        InputError: it cannot be made, or another process holds it.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    handle = None
    try:
        handle = _patiently(path)
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # only empty ones go
                folder.rmdir()
        if handle is not None:
            os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process is writing to this run folder now; False where the file system has no locks to tell."""
    try:
        handle = _lock(path)
    except OSError:
        return False
    if handle is not None:
        os.close(handle)
    return handle is None


def _patiently(path: Path) -> int:
    """Make the folder and hold it; again where the one that held it before took its empty folder away."""
    for _ in range(_PATIENCE):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the run folder {path}: {error.strerror}; give another --out") from error
        handle = _lock(path)
        if handle is not None and _is_still(path, handle):
            return handle
        if handle is not None:
            os.close(handle)
        time.sleep(0.05)
    raise InputError(f"another process is writing to {path}; wait for it or give another --out")


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


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
