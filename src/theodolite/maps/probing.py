"""What a pair of encoder and decoder takes and returns, found by running it on small images of noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.autoencoders import mean_of, read_images
from theodolite.maps.normalisation import Normalisation

__all__ = ["Shapes", "probe"]

SIDES = (32, 64, 128, 256, 512, 224, 28, 16, 8)


class _Trial(Exception):  # noqa: N818  (an outcome, not an error of its own)
    """What a model raised at one size, and how far it had come: 0 encoding, 1 decoding, 2 giving images back."""

    def __init__(self, images: Tensor, stage: int, error: Exception) -> None:
        super().__init__(str(error))
        self.stage, self.error = stage, error
        self.at = "x".join(str(size) for size in images.shape[1:])


@dataclass(frozen=True)
class Shapes:
    """What was found: see the arguments of `Autoencoder` with the same names."""

    latent_shape: tuple[int | None, ...]
    image_channels: int
    downsampling: int
    image_size: tuple[int, int] | None
    side: int
    """Side in pixels of the images it was found with."""


def probe(
    encoder: Callable[[Tensor], Any],
    decoder: Callable[[Tensor], Any],
    *,
    name: str,
    normalisation: Normalisation = Normalisation(),  # noqa: B008  (frozen)
    channels: Iterable[int] = (3, 1),
    sides: Iterable[int] = SIDES,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Shapes:
    """Find shapes by encoding and decoding squares of noise of growing side until one comes back in its own size.

    Two passes of each part at that side, and one of the encoder at twice the side, which tells a model of any size
    from one of a fixed size.

    Raises:
        InputError: no size works, or a second pass gives another result than the first.
    """
    channels, sides, trials = tuple(channels), tuple(sides), []
    for side in sides:
        for count in channels:
            images = _noise(count, side).to(device=device, dtype=dtype)
            try:
                return _shapes(encoder, decoder, images, normalisation, name)
            except _Trial as trial:
                trials.append(trial)
    furthest = max(trials, key=lambda trial: trial.stage)  # the first of those, so the usual channels and size
    reason = next(iter(str(furthest.error).strip().splitlines()), "") or type(furthest.error).__name__
    tried = f"{' or '.join(str(count) for count in channels)} channels"
    raise InputError(
        f"{name} could not encode and decode an image of {min(sides)} to {max(sides)} pixels a side with {tried}, "
        f"which is all that is tried; at {furthest.at}: {reason}; for another size or number of channels return an "
        "`Autoencoder` with latent_shape, image_channels and image_size"
    ) from furthest.error


@torch.no_grad()
def _shapes(
    encoder: Callable[[Tensor], Any],
    decoder: Callable[[Tensor], Any],
    images: Tensor,
    normalisation: Normalisation,
    name: str,
) -> Shapes:
    # Each pass gets a copy: a model may write to its input.
    with _trying(images, 0):
        raw = _finite(mean_of(encoder(images.clone())), "latents")
    with _trying(images, 1):
        decoded = _finite(read_images(decoder(raw.clone())), "images")
    with _trying(images, 2):
        if decoded.shape != images.shape:
            raise ValueError(f"images of shape {tuple(images.shape)} come back as {tuple(decoded.shape)}")
    if not _repeats(raw, mean_of(encoder(images.clone()))):
        raise InputError(f"a deterministic encoder expected, {name} gives other latents each time: return (mean, std)")
    if not _repeats(decoded, read_images(decoder(raw.clone()))):
        raise InputError(f"a deterministic decoder expected, {name} draws noise: its derivative is not defined")
    latent = tuple(normalisation.apply(raw).shape[1:])
    channels, side = images.shape[1:3]
    downsampling = side // latent[1] if len(latent) == 3 and side % latent[1] == 0 else 1
    if len(latent) == 3 and _scales(encoder, images, raw):
        return Shapes((latent[0], None, None), channels, downsampling, None, side)
    return Shapes(latent, channels, downsampling, (side, side), side)


@contextmanager
def _trying(images: Tensor, stage: int) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever a model raises at a size it does not take
        raise _Trial(images, stage, error) from error


def _finite(found: Tensor, what: str) -> Tensor:
    if not torch.isfinite(found).all():
        raise ValueError(f"its {what} are NaN or infinite; check its weights and what it divides by")
    return found


def _scales(encoder: Callable[[Tensor], Any], images: Tensor, raw: Tensor) -> bool:
    """Whether an image of twice the side has latents of twice the side."""
    try:
        doubled = mean_of(encoder(images.repeat(1, 1, 2, 2)))
    except Exception:  # a model of fixed size raises what it likes
        return False
    return doubled.shape[2:] == tuple(2 * size for size in raw.shape[2:])


def _repeats(first: Tensor, second: Tensor) -> bool:
    """Whether two passes agree up to what the order of sums on a GPU may change."""
    return bool((first - second).norm() <= 1e-5 * first.norm())


def _noise(channels: int, side: int) -> Tensor:
    return torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
