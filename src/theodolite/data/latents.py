"""Latents that a user names: image files, which are encoded, safetensors files, or seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.data.images import load_image
from theodolite.data.pixels import suffixes
from theodolite.errors import InputError, path_of

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps import Autoencoder

__all__ = ["End", "check_ends", "read_ends"]

_SEED = "seed:"
_FORMS = "an image file, a .safetensors file with one latent, or seed:NUMBER"


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


def read_ends(specs: Sequence[str], autoencoder: Autoencoder, size: int | None = None) -> list[End]:
    """The latents that `specs` name, all of one shape, on the device of the model.

    Args:
        specs: each an image file (encoded; its centre cut to what the model takes, or its centre square resized to
            `size` pixels), a `.safetensors` file with one tensor `(*latent)` or `(1, *latent)`, or ``seed:3``, a
            standard normal latent of the shape of the others.
        autoencoder: encodes images and says what shape a latent has.
        size: of images; also of what seeds decode to where there is nothing else.

    Raises:
        InputError: a file that is missing or cannot be read, latents of several shapes, or values that are not finite.
    """
    check_ends(specs)
    known: dict[int, Tensor] = {
        place: _read(spec, autoencoder, size) for place, spec in enumerate(specs) if not spec.startswith(_SEED)
    }
    shape = tuple(next(iter(known.values())).shape) if known else _shape(autoencoder, size)
    latents = [known.get(place) for place in range(len(specs))]
    found = [_drawn(spec, shape, autoencoder) if z is None else z for spec, z in zip(specs, latents)]
    shapes = {tuple(z.shape): spec for spec, z in zip(specs, found)}
    if len(shapes) > 1:
        (one, first), (other, second), *_ = shapes.items()
        raise InputError(
            f"latents of one shape expected, got {one} from {first} and {other} from {second}; give --size to resize "
            "images to one size"
        )
    autoencoder.decoder.check(found[0][None])
    return [End(_name(spec), z, _source(spec)) for spec, z in zip(specs, found)]


def _read(spec: str, autoencoder: Autoencoder, size: int | None) -> Tensor:
    path = Path(spec)
    latent = _stored(path) if path.suffix == ".safetensors" else _encoded(path, autoencoder, size)
    if not bool(latent.isfinite().all()):
        raise InputError(f"finite latents expected, got NaN or infinity from {spec}")
    return _placed(latent, autoencoder)


def _stored(path: Path) -> Tensor:
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except Exception as error:  # the format's own error type
        raise InputError(f"a safetensors file expected in {path}, got: {error}") from error
    if len(tensors) != 1:
        raise InputError(f"one latent expected in {path}, got {len(tensors)} tensors; save one to a file")
    (latent,) = tensors.values()
    return latent[0] if latent.ndim > 1 and len(latent) == 1 else latent


def _encoded(path: Path, autoencoder: Autoencoder, size: int | None) -> Tensor:
    side = size if size is not None else min(autoencoder.image_size) if autoencoder.image_size else None
    try:
        image = load_image(path, channels=autoencoder.image_channels, size=side, multiple=autoencoder.downsampling)
    except Exception as error:  # image decoders raise almost any type on damaged bytes
        raise InputError(f"a readable image expected, got {path}: {' '.join(str(error).split())}") from error
    import torch

    with torch.no_grad():
        return autoencoder.encode(image)[0]


def _shape(autoencoder: Autoencoder, size: int | None) -> tuple[int, ...]:
    shape = autoencoder.latent_shape
    if None not in shape:
        return tuple(axis for axis in shape if axis is not None)
    if size is None:
        raise InputError(f"{autoencoder.name} takes latents of any size: give --size PIXELS with seeds")
    autoencoder.check_size(size, size)
    return tuple(size // autoencoder.downsampling if axis is None else axis for axis in shape)


def _drawn(spec: str, shape: tuple[int, ...], autoencoder: Autoencoder) -> Tensor:
    import torch

    draws = torch.Generator().manual_seed(_seed_of(spec))
    return _placed(torch.randn(shape, generator=draws, dtype=torch.float64), autoencoder)


def _placed(latent: Tensor, autoencoder: Autoencoder) -> Tensor:
    """Where the weights are and in their dtype; as it is where there are none."""
    return latent.to(autoencoder.device, autoencoder.decoder.dtype or latent.dtype)


def _name(spec: str) -> str:
    return spec if spec.startswith(_SEED) else Path(spec).stem


def _source(spec: str) -> dict[str, Any]:
    if spec.startswith(_SEED):
        return {"seed": int(spec.removeprefix(_SEED))}
    return {"file": spec, "sha256": hashlib.sha256(Path(spec).read_bytes()).hexdigest()}
