"""Latents that a user names: image files, which are encoded, safetensors files, or seeds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.data.images import load_image
from theodolite.data.pixels import suffixes
from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps.subject import Subject

__all__ = ["End", "LatentSet", "check_ends", "find_latents", "read_ends"]

_SEED = "seed:"
_LONGEST = 100
"""Letters of a file's name that a sample keeps: names of units are bounded."""
_FORMS = "an image file, a .safetensors file with one latent, or seed:NUMBER"


_SEEDS = re.compile(r"seed:(\d+)(?:\.\.(\d+))?", re.ASCII)
_SETS = "seed:0..63 (standard normal latents), seed:7, or a .safetensors file with one tensor (n, *latent)"
_MOST = 1_000_000
"""Latents of one run, at most: a slip in a range of seeds would otherwise name more than a machine can list."""


@dataclass(frozen=True)
class LatentSet:
    """Latents as the samples of a run: drawn, or read from a file.

    Attributes:
        spec: as it was given.
        samples: a name each, safe as a file name.
        seeds: of those that are drawn; empty for a file.
        sha256: of the file that is read; empty for seeds.
    """

    spec: str
    samples: tuple[str, ...]
    seeds: tuple[int, ...] = ()
    sha256: str = ""

    def identity(self, sample: str) -> str:
        """What decides a latent: its seed, or the hash of its file with its place there."""
        return sample if self.seeds else f"{self.sha256} {sample.rpartition('-')[2]}"

    def latent(self, sample: str, subject: Subject, size: int | None = None) -> Tensor:
        """The latent of one sample, `(1, *latent)`, where the model's weights are.

        Raises:
            InputError: the file changed, the shape is not the model's, or a value is not finite.
        """
        number = int(sample.rpartition("-")[2])
        if self.seeds:
            return subject.draw(number, subject.shape(size))[None]
        _check_shape(tuple(self._tensor.shape), ("n", *subject.map.latent_shape), self.spec, subject)
        latent = self._tensor[number][None]
        subject.map.check(latent)
        return subject.placed(latent)

    @cached_property
    def _tensor(self) -> Tensor:
        """All latents of the file, read once and hashed as read: a file that changes later changes no number.

        Raises:
            InputError: it changed since it was named.
        """
        latents, sha256 = _tensor_of(Path(self.spec))
        if sha256 != self.sha256:
            raise InputError(f"{self.spec} is another file than when the run began; start a run of its own")
        return latents


def find_latents(spec: str, limit: int | None = None) -> LatentSet:
    """The latents that are named, before any model is loaded.

    Args:
        spec: ``seed:0..63``, a standard normal latent a seed, or a `.safetensors` file with one tensor `(n, *latent)`.
        limit: the first so many; all when None.

    Raises:
        InputError: it names no latents, or the file cannot be read.

    Example:
        >>> find_latents("seed:3..5").samples
        ('seed-3', 'seed-4', 'seed-5')
    """
    if match := _SEEDS.fullmatch(spec):
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + _MOST:
            raise InputError(f"rising seeds expected, at most {_MOST}, got {spec!r}; write e.g. seed:0..63")
        seeds = range(first, last + 1)[:limit]
        return LatentSet(spec, tuple(f"seed-{seed}" for seed in seeds), tuple(seeds))
    path = path_of(spec, "latents")
    if path.suffix != ".safetensors" or not path.is_file():
        raise InputError(f"{_SETS} expected, got {spec!r}; check the path")
    tensor, sha256 = _tensor_of(path)
    if tensor.ndim < 2 or not len(tensor):
        raise InputError(f"latents (n, *latent) expected in {path}, got shape {tuple(tensor.shape)}")
    if (bad := int((~tensor.isfinite()).flatten(1).any(1).sum())) > 0:
        raise InputError(f"finite latents expected in {path}, got NaN or infinity in {bad} of {len(tensor)}")
    count = len(tensor) if limit is None else min(limit, len(tensor))
    stem = re.sub(r"[^\w]", "_", path.stem, flags=re.ASCII)[:_LONGEST] or "latent"
    return LatentSet(spec, tuple(f"{stem}-{number}" for number in range(count)), sha256=sha256)


class End(NamedTuple):
    """A latent with where it came from.

    Attributes:
        name: what reports call it.
        latent: `(*latent)`, normalised.
        source: `file` and `sha256`, or `seed`.
    """

    name: str
    latent: Tensor
    source: dict[str, Any]

    @property
    def content(self) -> Any:
        """What tells it from others, wherever it lies: the hash of its file, or its seed."""
        return self.source.get("sha256", self.source.get("seed"))


def check_ends(specs: Sequence[str]) -> None:
    """Refuse what can be seen to be no latent before a model is loaded.

    Raises:
        InputError: no regular file is there, of a suffix that is not read, or a seed that is no number.
    """
    for spec in specs:
        if not isinstance(spec, str):
            raise InputError(f"{_FORMS} expected, got {spec!r}")
        if spec.startswith(_SEED):
            _seed_of(spec)
            continue
        path = path_of(spec, "a latent")
        if not path.is_file():
            raise InputError(f"{_FORMS} expected, got {spec!r}, where there is no regular file; check the path")
        if path.suffix != ".safetensors" and not path.name.lower().endswith(suffixes()):
            raise InputError(f"{_FORMS} expected, got {path}, which is no image that Pillow reads by its suffix")


def _seed_of(spec: str) -> int:
    number = spec.removeprefix(_SEED)
    if not (number.isascii() and number.isdecimal()):
        raise InputError(f"{_FORMS} expected, got {spec!r}; write e.g. seed:3")
    return int(number)


def read_ends(specs: Sequence[str], subject: Subject, size: int | None = None) -> list[End]:
    """The latents that `specs` name, all of one shape, on the device of the model.

    Args:
        specs: each an image file (encoded; its centre cut to what the model takes, or its centre square resized to
            `size` pixels), a `.safetensors` file with one tensor `(*latent)` or `(1, *latent)`, or ``seed:3``, a
            standard normal latent of the shape of the others.
        subject: turns images into latents and says what shape a latent has.
        size: of images; also of what seeds decode to where there is nothing else.

    Raises:
        InputError: a file that is missing or cannot be read, latents of several shapes, values that are not finite, or
            an image and a model that takes none.
    """
    check_ends(specs)
    files = {spec: _read(spec, subject, size) for spec in specs if not spec.startswith(_SEED)}
    shape = tuple(next(iter(files.values())).shape) if files else subject.shape(size)
    latents = [files[spec] if spec in files else subject.draw(_seed_of(spec), shape) for spec in specs]
    shapes = {tuple(latent.shape): spec for spec, latent in zip(specs, latents)}
    if len(shapes) > 1:
        (first_name, first), (second_name, second), *_ = shapes.items()
        raise InputError(
            f"latents of one shape expected, got {first_name} from {first} and {second_name} from {second}; "
            "give --size to resize images to one size"
        )
    for spec in files:
        _check_shape(shape, subject.map.latent_shape, spec, subject)
    subject.map.check(latents[0][None])
    return [End(_name(spec), latent, _source(spec)) for spec, latent in zip(specs, latents)]


def _read(spec: str, subject: Subject, size: int | None) -> Tensor:
    path = Path(spec)
    latent = _stored(path) if path.suffix == ".safetensors" else _encoded(path, subject, size)
    if not bool(latent.isfinite().all()):
        raise InputError(f"finite latents expected, got NaN or infinity from {spec}")
    return subject.placed(latent)


def _check_shape(shape: tuple[int, ...], wanted: Sequence[int | str | None], spec: str, subject: Subject) -> None:
    """Refuse a file whose latents are none of the map's: `wanted` has None for a size that is free, text for any."""
    fits = (own is None or isinstance(own, str) or own == got for own, got in zip(wanted, shape))
    if len(shape) != len(wanted) or not all(fits):
        text = ", ".join("any" if own is None else str(own) for own in wanted)
        raise InputError(f"latents ({text}) expected in {spec}, the points of {subject.map.name}, got {shape}")


def _stored(path: Path) -> Tensor:
    latent, _ = _tensor_of(path)
    return latent[0] if latent.ndim > 1 and len(latent) == 1 else latent


def _tensor_of(path: Path) -> tuple[Tensor, str]:
    """The only tensor of a safetensors file, and the hash of the bytes that it was read from."""
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        tensors = load(content)
    except Exception as error:  # the system's, or the format's own error type
        raise InputError(f"a safetensors file expected in {path}, got: {error}") from error
    if len(tensors) != 1:
        raise InputError(f"one tensor expected in {path}, got {len(tensors)}; save one to a file")
    (latents,) = tensors.values()
    return latents, hashlib.sha256(content).hexdigest()


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _encoded(path: Path, subject: Subject, size: int | None) -> Tensor:
    import torch

    reader = subject.reader()
    side = size if size is not None else min(reader.image_size) if reader.image_size else None
    try:
        image = load_image(path, channels=reader.image_channels, size=side, multiple=reader.downsampling)
    except Exception as error:  # image decoders raise almost any type on damaged bytes
        raise InputError(f"a readable image expected, got {path}: {' '.join(str(error).split())}") from error
    with torch.no_grad():
        return subject.points(image)[0]


def _name(spec: str) -> str:
    return spec if spec.startswith(_SEED) else Path(spec).stem


def _source(spec: str) -> dict[str, Any]:
    if spec.startswith(_SEED):
        return {"seed": int(spec.removeprefix(_SEED))}
    return {"file": spec, "sha256": _hash(Path(spec))}
