"""The self-check of a run's derivatives, and those that passed before: remembered by what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import site
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.errors import refusing
from theodolite.runs.record import fingerprint, now

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.derivatives import SelfCheck
    from theodolite.maps import LatentMap

__all__ = ["NO_CACHE", "cache_folder", "self_checked"]

NO_CACHE = "THEODOLITE_NO_CACHE"
"""Environment variable that switches the cache off, whatever it is set to but nothing."""

_NOT_DIFFERENTIABLE = (
    "cannot be differentiated",
    "it must run at any latent near this one, and in torch operations only (no numpy, no .item())",
)
_LARGEST = 2**16
"""Bytes of an entry that is read; one has below a thousand."""


def self_checked(map: LatentMap, points: Tensor, name: str, *, cache: bool = True) -> SelfCheck:
    """Whether derivatives hold, at the first point where they do; at the last where they hold at none.

    Close to a kink central differences fail although the derivative is right; a wrong derivative is wrong everywhere.
    A check that passed is remembered in the user's cache by the map's fingerprint (weights, code, settings), the files
    of its code, the versions of everything that is installed, the device and the shape of a latent, and not made again
    while all of these are the same; then `SelfCheck.made` says when it was made. Costs one forward pass, after which
    all code is imported, also where the check is remembered.

    Args:
        map: of any kind.
        points: a few, `(k, *latent)`.
        name: what the user calls the model.
        cache: whether to read and write the cache.

    Raises:
        InputError: the map cannot be differentiated.
    """
    import torch

    from theodolite.derivatives import self_check

    file = None
    if cache and not os.environ.get(NO_CACHE):
        with refusing(name, *_NOT_DIFFERENTIABLE), torch.no_grad():
            map(points[:1])  # code that it imports as it runs is loaded now, and counts
        file = _entry_of(map, points)
    if file is not None and (known := _read(file)) is not None:
        return known
    with refusing(name, *_NOT_DIFFERENTIABLE):
        for point in points.split(1):
            check = self_check(map, point)
            if check.first_order_holds:
                break
    if file is not None and check.passed:
        _write(file, check)
    return check


def cache_folder() -> Path:
    """Where checks are remembered: `theodolite/self-checks` below `XDG_CACHE_HOME`, or below `~/.cache`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG has relative paths ignored.
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "theodolite" / "self-checks"


def _entry_of(map: LatentMap, points: Tensor) -> Path | None:
    """The file of a check; None where what it depends on cannot be told, as of code that was typed in."""
    code = _code(map)
    if code is None:
        return None
    import torch

    device = points.device
    is_cuda = device.type == "cuda"
    key = {
        "map": map.fingerprint(),
        "code": code,
        "shape": [*points.shape[1:]],
        "dtype": str(points.dtype),
        "torch": [torch.__version__, torch.version.cuda],
        "device": torch.cuda.get_device_name(device) if is_cuda else [device.type, platform.machine()],
        "installed": _installed(),
        "theodolite": [theodolite.__version__, _own_code()],
    }
    try:
        return cache_folder() / f"{fingerprint(key)}.json"
    except RuntimeError:  # a user without a home
        return None


def _code(map: LatentMap) -> dict[str, str] | None:
    """Hashes of the files that the map's outputs may depend on, by module: those of its packages, and all of the user.

    A function may call others that its fingerprint does not see; any change of a file of theirs is another map.
    """
    named = {name.partition(".")[0] for name in map.code_modules} - {"torch", "theodolite", "builtins"}
    files = {name: getattr(module, "__file__", None) for name, module in [*sys.modules.items()]}
    if any(files.get(name) is None for name in map.code_modules if name.partition(".")[0] in named):
        return None
    chosen = {
        name: file
        for name, file in files.items()
        if file is not None and (name.partition(".")[0] in named or _is_the_users(name, file))
    }
    try:
        return {name: hashlib.sha256(Path(file).read_bytes()).hexdigest() for name, file in sorted(chosen.items())}
    except OSError:
        return None


def _is_the_users(name: str, file: str) -> bool:
    """Whether a module is neither installed nor of this package.

    By the folders that installers fill, not by the prefix above them: an environment may be at `/usr`, or at the root
    of a project.
    """
    is_ours = name.partition(".")[0] in ("theodolite", "torch")  # a module of torch says that it is in `_ops.py`
    return not is_ours and not file.startswith(_folders_of_installers())


@cache
def _folders_of_installers() -> tuple[str, ...]:
    """The folders that installers fill; asked for each of 2,000 modules they were two thirds of a small survey."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(folder + os.sep for folder in folders)


def _installed() -> list[str]:
    """Names and versions of the installed distributions, as their folders of metadata have them.

    Nothing is read but names: to open the metadata of hundreds of packages would take longer than many a check. One
    that the map does not use makes a check anew when it changes, which harms nobody.
    """
    names = set[str]()
    for folder in sys.path:
        with suppress(OSError):
            names |= {name for name in os.listdir(folder or ".") if name.endswith((".dist-info", ".egg-info"))}
    return sorted(names)


def _own_code() -> str:
    """A hash of what makes and checks derivatives, which changes between versions while one is being written."""
    digest = hashlib.sha256()
    for room in ("derivatives", "maps"):
        for file in sorted((Path(theodolite.__file__).parent / room).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(file: Path) -> SelfCheck | None:
    """A remembered check that passed; None where there is none, or none to be trusted."""
    from theodolite.derivatives import SelfCheck

    with suppress(OSError, ValueError, TypeError, RecursionError):
        entry = json.loads(_own_bytes(file))
        check = SelfCheck(**{**entry, "shape": tuple(entry["shape"])})
        if check.passed is True and all(_fits(entry[field.name], str(field.type)) for field in fields(check)):
            return check
    return None


def _own_bytes(file: Path) -> bytes:
    """The content of a regular file that no other user can have written.

    Raises:
        OSError: it is missing, a link, or another user's.
    """
    for path in (file.parent, file):
        about = path.lstat()
        if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path} may be written by others")
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST:
            raise OSError(f"{file} is no entry")
        return stream.read(_LARGEST)


def _fits(value: Any, kind: str) -> bool:
    """Whether a value read from JSON has the type of a field."""
    kinds: Mapping[str, tuple[type, ...]] = {
        "bool": (bool,),
        "str": (str,),
        "float": (float, int),
        "float | None": (float, int, type(None)),
        "tuple[int, ...]": (list,),
    }
    return isinstance(value, kinds[kind])


def _write(file: Path, check: SelfCheck) -> None:
    """Remember a check; where that cannot be done nothing is lost but time."""
    with suppress(OSError):
        for folder in reversed([*_missing(file.parent)]):
            folder.mkdir(mode=0o700, exist_ok=True)
        # A name of its own: of two writers of one entry, the last takes the place of the first.
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as stream:
            stream.write(json.dumps(replace(check, made=now()).as_dict()))
        os.replace(stream.name, file)


def _missing(folder: Path) -> Iterator[Path]:
    """The folder and those above it that are not there, from the innermost."""
    while not folder.exists():
        yield folder
        folder = folder.parent
