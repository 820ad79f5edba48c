"""`corrupt`: images made worse in six ways, each at severities 0 (as they are) to 4, by formulas that are stated."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeding, Seeds

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "corrupt"]

SEVERITIES = (0, 1, 2, 3, 4)
"""0 leaves an image as it is."""


class Corruption(NamedTuple):
    """A way to make images worse.

    Attributes:
        function: images `(n, channels, height, width)` in [-1, 1], a severity above 0 and standard normal draws of
            their shape, to images before clamping.
        formula: what it does at severity `s`, in words.
    """

    function: Callable[[Tensor, int, Tensor], Tensor]
    formula: str


def corrupt(images: Tensor, name: str, severity: int, *, generator: Seeding = None) -> Tensor:
    """Images corrupted in one way, values clamped to [-1, 1]; the formulas are those of `CORRUPTIONS`.

    Noise is the same draw at every severity, so that an image gets worse along one line. No formula or constant is
    taken from a benchmark: severities double where a benchmark's are tuned, and cannot be compared with those.

    Args:
        images: `(n, channels, height, width)` in [-1, 1]; one or three channels for ``jpeg``.
        name: a key of `CORRUPTIONS`.
        severity: 0 to 4.
        generator: a `torch.Generator`, a seed, or one seed an image; only noise draws.

    Returns:
        Images of the same shape, on the same device; no model pass.

    Raises:
        InputError: an unknown corruption, another severity, no images, values outside [-1, 1].

    Example:
        >>> image = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)
        >>> corrupt(image, "contrast", 1).std() / image.std()
        tensor(0.6000)
    """
    if name not in CORRUPTIONS:
        raise InputError(f"a corruption among {', '.join(CORRUPTIONS)} expected, got {name!r}")
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise InputError(f"a severity of 0 (clean) to {SEVERITIES[-1]} expected, got {severity!r}")
    if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point():
        raise InputError(f"images (n, channels, height, width) of floating point expected, got {_shape(images)}")
    if not bool((images.abs() <= 1 + 1e-3).all()):
        raise InputError("images in [-1, 1] expected, got values outside or NaN; rescale them")
    if severity == 0:
        return images
    draws = Seeds(generator, len(images)).normal("corruption", *images.shape[1:]).to(images)
    return CORRUPTIONS[name].function(images, severity, draws).clamp(-1, 1)


def _noise(images: Tensor, severity: int, draws: Tensor) -> Tensor:
    return images + 0.04 * 2**severity * draws


def _blur(images: Tensor, severity: int, _: Tensor) -> Tensor:
    """Separable, with the edge repeated; the kernel is cut at four standard deviations."""
    width = 0.25 * 2**severity
    reach = int(4 * width + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = (-0.5 * (offsets / width).square()).exp()
    kernel = kernel / kernel.sum()
    flat = images.reshape(-1, 1, *images.shape[-2:])
    padded = F.pad(flat, (reach,) * 4, mode="replicate")
    blurred = F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])
    return blurred.reshape(images.shape)


def _contrast(images: Tensor, severity: int, _: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + 0.6**severity * (images - mean)


def _brightness(images: Tensor, severity: int, _: Tensor) -> Tensor:
    return images + 0.2 * severity


def _pixelate(images: Tensor, severity: int, _: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    blocks = (max(1, height // 2**severity), max(1, width // 2**severity))
    return F.interpolate(F.adaptive_avg_pool2d(images, blocks), size=(height, width), mode="nearest")


def _jpeg(images: Tensor, severity: int, _: Tensor) -> Tensor:
    return torch.stack([_compressed(image, 128 // 2**severity) for image in images])


def _compressed(image: Tensor, quality: int) -> Tensor:
    """One image through a JPEG file at full colour resolution."""
    from PIL import Image

    if len(image) not in (1, 3):
        raise InputError(f"images of one or three channels expected for jpeg, got {len(image)}")
    pixels = ((image.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    picture = Image.fromarray(pixels.squeeze(-1) if len(image) == 1 else pixels)
    picture.save(stream, "JPEG", quality=quality, subsampling=0)
    with Image.open(stream) as read:
        values = np.array(read, dtype=np.float32).reshape(pixels.shape)
    return torch.from_numpy(values / 127.5 - 1).permute(2, 0, 1).to(image)


def _shape(images: object) -> str:
    return str(tuple(images.shape)) if isinstance(images, Tensor) else type(images).__name__


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(_noise, "x + 0.04 · 2^s · e, e standard normal: 0.08, 0.16, 0.32, 0.64 of [-1, 1]"),
    "gaussian_blur": Corruption(_blur, "Gaussian of 0.25 · 2^s pixels: 0.5, 1, 2, 4"),
    "contrast": Corruption(_contrast, "m + 0.6^s (x - m), m the image's mean: 0.6, 0.36, 0.22, 0.13"),
    "brightness": Corruption(_brightness, "x + 0.2 s, clamped at white: 0.2, 0.4, 0.6, 0.8 of [-1, 1]"),
    "jpeg": Corruption(_jpeg, "a JPEG file of quality 128 / 2^s, colours at full resolution: 64, 32, 16, 8"),
    "pixelate": Corruption(_pixelate, "means over blocks of 2^s pixels: 2, 4, 8, 16"),
}
"""Every corruption by name."""
