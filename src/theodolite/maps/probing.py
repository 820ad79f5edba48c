"""What a pair of encoder and decoder takes and returns, found by running it on small images of noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from theodolite.errors import InputError, informative_line
from theodolite.maps.normalisation import Normalisation
from theodolite.maps.outputs import mean_of, read_images

__all__ = ["SIDES", "Shapes", "probe", "sides_by_cost"]

SIDES = (32, 28, 16, 8, 64, 128, 224, 256, 512)
"""Sides in pixels that are tried: the usual one, those that cost less, then upwards."""

_CHEAP = 64
"""Side up to which a pass of any model costs little: a wanted size is then tried first of all."""

_ROOM = 2.5
"""Of the memory of a pass at the size that was found, what one at another size may take: opening a model is to stay
within three such passes, weights beside."""

_MOST = 2**30
"""Bytes of the largest tensor that a trial at a size nobody asked for may come to. Attention over positions holds a few
of them at once."""

_GROWTH = 4
"""A tensor of attention over pixels grows with the fourth power of the side, and none grows faster."""

_UNIT_RANGE = (
    "the decoder's outputs stay in [0, 1] while its images are in [-1, 1]: every Jacobian is half of what outputs in "
    "[-1, 1] have, and reconstructions look pale; give a factory whose decode returns `2 * x - 1`"
)


class _Trial(Exception):  # noqa: N818  (an outcome, not an error of its own)
    """What a model raised at one size, and how far it had come: 0 encoding, 1 decoding, 2 giving images back."""

    def __init__(self, images: Tensor, stage: int, error: Exception) -> None:
        super().__init__(str(error))
        self.stage, self.error = stage, error
        self.at = "x".join(str(size) for size in images.shape[1:])


class _Largest(TorchDispatchMode):
    """The largest tensor, in bytes, that any operation gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else (result,):
            if isinstance(part, Tensor):
                self.bytes = max(self.bytes, part.numel() * part.element_size())
        return result


@dataclass(frozen=True)
class Shapes:
    """What was found: see the arguments of `Autoencoder` with the same names.

    Attributes:
        side: of the images it was found with, in pixels; the shorter one.
        notes: what a reader of numbers should know of the model's outputs.
    """

    latent_shape: tuple[int | None, ...]
    image_channels: int
    downsampling: int
    image_size: tuple[int, int] | None
    side: int
    notes: tuple[str, ...] = ()


def sides_by_cost(size: tuple[int, int] | None, sides: Iterable[int] = SIDES) -> list[tuple[int, int]]:
    """The sizes to try: a wanted one first where it is small, otherwise among the others by its number of pixels.

    Example:
        >>> sides_by_cost((28, 28))[:3], sides_by_cost((300, 200), (32, 128, 256))
        ([(28, 28), (32, 32), (16, 16)], [(32, 32), (128, 128), (300, 200), (256, 256)])
    """
    squares = [(side, side) for side in sides]
    if size is None or size in squares:
        first_sizes = [size] if size is not None and math.prod(size) <= _CHEAP**2 else []
        return [*dict.fromkeys([*first_sizes, *squares])]
    if math.prod(size) <= _CHEAP**2:
        return [size, *squares]
    before = [square for square in squares if math.prod(square) < math.prod(size)]
    return [*before, size, *squares[len(before) :]]


def probe(
    encoder: Callable[[Tensor], Any],
    decoder: Callable[[Tensor], Any],
    *,
    name: str,
    normalisation: Normalisation = Normalisation(),  # noqa: B008  (frozen)
    channels: Iterable[int] = (3, 1),
    size: tuple[int, int] | None = None,
    sides: Iterable[int] = SIDES,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Shapes:
    """Find shapes by encoding and decoding noise of growing size until it comes back in its own.

    Two passes of each part at that size. Whether the model takes several sizes is seen at half the size, or a little
    above it where half is too small. A size at which a tensor of more than a gigabyte is to be expected is left out
    unless it is `size`.

    Args:
        encoder: images to latents or a posterior.
        decoder: latents to images.
        name: for errors.
        normalisation: of the latents, as far as it changes their shape.
        channels: numbers of image channels to try.
        size: height and width of the images that are to be measured, tried wherever its cost puts it.
        sides: of other images to try, by growing cost.
        device: of the images.
        dtype: of the images.

    Raises:
        InputError: no size works, or a second pass gives another result than the first.
    """
    channels, sizes = tuple(channels), sides_by_cost(size, sides)
    trials: list[_Trial] = []
    largest, last, left_out = 0, sizes[0], []
    for trial_size in sizes:
        expected = largest * (math.prod(trial_size) / math.prod(last)) ** (_GROWTH / 2)
        if expected > _MOST and trial_size != size:
            left_out.append(trial_size)
            continue
        meter = _Largest()
        for count in channels:
            images = _noise(count, trial_size).to(device=device, dtype=dtype)
            try:
                with meter:
                    return _shapes(encoder, decoder, images, normalisation, name, size)
            except _Trial as trial:
                trials.append(trial)
        largest, last = meter.bytes, trial_size
    raise _refusal(name, trials, channels, left_out) from trials[0].error


def _refusal(name: str, trials: list[_Trial], channels: tuple[int, ...], left_out: list[tuple[int, int]]) -> InputError:
    furthest = max(trials, key=lambda trial: trial.stage)  # the first of those, so the usual channels and size
    reason = informative_line(furthest.error)
    tried = [*dict.fromkeys(trial.at.split("x", 1)[1] for trial in trials)]
    large = f"; {_pixels(left_out[0])} and above would take gigabytes and were not tried" if left_out else ""
    return InputError(
        f"{name} could not encode and decode an image of {', '.join(tried)} pixels with "
        f"{' or '.join(str(count) for count in channels)} channels, which is all that is tried; at {furthest.at}: "
        f"{reason}{large}; give its size with --size, or for another number of channels return an `Autoencoder` with "
        "latent_shape, image_channels and image_size"
    )


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@torch.no_grad()
def _shapes(
    encoder: Callable[[Tensor], Any],
    decoder: Callable[[Tensor], Any],
    images: Tensor,
    normalisation: Normalisation,
    name: str,
    size: tuple[int, int] | None,
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
    height, width = images.shape[2:]
    free = _free_axes(encoder, decoder, images, raw, size)
    latent = tuple(normalisation.apply(raw).shape[1:])
    notes = (_UNIT_RANGE,) if _stays_in_unit_range(decoder, raw, decoded) else ()
    downsampling = height // latent[1] if len(latent) == 3 and height % latent[1] == 0 else 1
    if free is None:
        return Shapes(latent, images.shape[1], downsampling, (height, width), min(height, width), notes)
    shape = tuple(None if axis in free.axes else length for axis, length in enumerate(latent))
    return Shapes(shape, images.shape[1], free.patch or downsampling, None, min(height, width), notes)


@dataclass(frozen=True)
class _Free:
    """The axes of a latent that grow with the image, and the side in pixels of what a token stands for; 0 without."""

    axes: tuple[int, ...]
    patch: int


def _free_axes(
    encoder: Callable[[Tensor], Any],
    decoder: Callable[[Tensor], Any],
    images: Tensor,
    raw: Tensor,
    wanted: tuple[int, int] | None,
) -> _Free | None:
    """How latents follow the size of the image; None where the model takes one size only.

    Half the size costs less than the pass that was made. A decoder that gives the full size back from the latents of
    half of it takes no other; for any other outcome half may only be too small, and sizes a little above are tried,
    and the one that is to be measured.
    """
    for size in _other_sizes(images, raw, wanted):
        other = torch.nn.functional.interpolate(images, size=size, mode="nearest")
        try:
            latents = mean_of(encoder(other.clone()))
            decoded = read_images(decoder(latents.clone()))
        except Exception:  # a model raises what it likes at a size that it does not take
            continue
        if decoded.shape == images.shape and latents.shape != raw.shape:
            return None
        if decoded.shape == other.shape and (free := _grown(raw, latents, images, size)) is not None:
            return free
    return None


def _other_sizes(images: Tensor, raw: Tensor, size: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Half the size, one latent more along one side, or along both, and the size that is wanted.

    Attention over pixels grows with the square of their number: a size above is tried where that makes less than three
    times the memory of the pass that was made.
    """
    height, width = images.shape[2:]
    count = raw.shape[2] if raw.ndim == 4 else math.isqrt(raw.shape[1])
    step = height // count if count and height % count == 0 else height // 2
    sizes = [(height // 2, width // 2)]
    sizes += [(height + step, width)] if (1 + step / height) ** 2 <= _ROOM else []
    sizes += [(height + step, width + step)] if (1 + step / height) ** 2 * (1 + step / width) ** 2 <= _ROOM else []
    return sizes if size is None or math.prod(size) <= height * width else [*sizes, size]


def _grown(raw: Tensor, other: Tensor, images: Tensor, size: tuple[int, int]) -> _Free | None:
    """The axes along which latents of another size differ, where they do so as axes of space or of tokens do."""
    shape, changed = raw.shape[1:], other.shape[1:]
    ratios = [new / old for new, old in zip(size, images.shape[2:])]
    if len(shape) == 3:
        grows = shape[0] == changed[0] and all(c == s * r for c, s, r in zip(changed[1:], shape[1:], ratios))
        return _Free((1, 2), 0) if grows else None
    axes = [axis for axis, (before, after) in enumerate(zip(shape, changed)) if before != after]
    if len(shape) != len(changed) or len(axes) != 1:
        return None
    # A token for each patch, beside any number (of a class, registers) that stays: n = area / patch² + rest.
    tokens = (shape[axes[0]] - changed[axes[0]]) / (1 - math.prod(ratios))
    patch = math.sqrt(math.prod(images.shape[2:]) / tokens) if tokens > 0 else 0.0
    return _Free((axes[0],), round(patch)) if patch >= 1 and patch == round(patch) else None


def _stays_in_unit_range(decoder: Callable[[Tensor], Any], raw: Tensor, decoded: Tensor) -> bool:
    """Whether outputs stay in [0, 1] at the latents of an image and at others, far from them and of the other sign."""
    within = bool(decoded.min() >= 0) and bool(decoded.max() <= 1)
    if not within:
        return False
    for factor in (-1, 3, -3):
        try:
            images = read_images(decoder(factor * raw))
        except Exception:  # latents that no image has are no fault of the model
            return False
        if not (bool(images.min() >= 0) and bool(images.max() <= 1)):
            return False
    return True


@contextmanager
def _trying(images: Tensor, stage: int) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # whatever a model raises at a size it does not take
        raise _Trial(images, stage, error) from error


def _finite(output: Tensor, what: str) -> Tensor:
    if not torch.isfinite(output).all():
        raise ValueError(f"its {what} are NaN or infinite; check its weights and what it divides by")
    return output


def _repeats(first: Tensor, second: Tensor) -> bool:
    """Whether two passes agree up to what the order of sums on a GPU may change."""
    return bool((first - second).norm() <= 1e-5 * first.norm())


def _noise(channels: int, size: tuple[int, int]) -> Tensor:
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
