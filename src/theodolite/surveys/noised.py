"""A denoiser as `detect` measures it: every image noised at several levels, and its map there."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from theodolite.data.conditions import condition_of
from theodolite.data.images import picture
from theodolite.detection import denoising_error, pixel_energy, score_norm
from theodolite.detection.curves import FLOOR
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.maps import Autoencoder, LatentMap, denoiser_map, load
from theodolite.maps.denoisers import Output
from theodolite.maps.diffusion import Diffusion
from theodolite.surveys import engine
from theodolite.surveys.measure import AtPoint, Measured, encoded, measure_at, notes_of, row_of
from theodolite.surveys.plan import Plan, sample_seed
from theodolite.zoo import ConditionalDiffusion

if TYPE_CHECKING:
    pass

__all__ = ["SIGMAS", "Noised", "checked_levels", "measure_noised", "name_of", "noised", "opened", "view_of"]

SIGMAS = (0.1, 0.4, 1.6)
"""Noise levels by default, in the units of the points: images in [-1, 1], or latents of a deviation near one."""


@dataclass(frozen=True)
class Noised:
    """A denoiser at several noise levels.

    Attributes:
        model: as it was loaded.
        sigmas: the levels, rising.
        output: what its maps return, ``eps`` or ``x0``, or another of `theodolite.denoiser_map`.
        condition: of every image; None for nothing in particular.
        view: what a survey asks of a model: images to points, and the map at the lowest level in place of a decoder.
    """

    model: Any
    sigmas: tuple[float, ...]
    output: Output
    condition: Any
    view: Autoencoder

    def map(self, sigma: float, output: Output | None = None) -> LatentMap:
        """The denoiser at one level, as a map of noisy points."""
        return denoiser_map(self.model, sigma, output or self.output, self.condition)

    def decode(self, points: Tensor) -> Tensor:
        """Images of points."""
        autoencoder = self.model.autoencoder
        return points if autoencoder is None else autoencoder.decode(points)


def opened(model: Any, options: Mapping[str, Any]) -> Autoencoder | Diffusion | ConditionalDiffusion:
    """A model that `detect` takes: an autoencoder, or a denoiser of images or of latents.

    Raises:
        InputError: it is another; as for `theodolite.load`.
    """
    given = [name for name, value in options.items() if value is not None]
    if not isinstance(model, str | os.PathLike) and given:
        raise InputError(f"{given[0]}= belongs to a model that detect loads, got it with {type(model).__name__}")
    found = load(model, **options) if isinstance(model, str | os.PathLike) else model
    if not isinstance(found, Autoencoder | Diffusion | ConditionalDiffusion):
        raise InputError(
            f"an autoencoder or a diffusion model expected, got {type(found).__name__}; measure it in Python "
            "(`theodolite.detection.map_scores`, `curves`)"
        )
    return found


def name_of(model: Any) -> str:
    """What the record calls a model.

    Raises:
        InputError: it names none.
    """
    return model.name if isinstance(model, Diffusion | ConditionalDiffusion) else engine.name_of(model)


def view_of(subject: Autoencoder | Noised) -> Autoencoder:
    """What a survey asks of a decoder or a denoiser."""
    return subject.view if isinstance(subject, Noised) else subject


def checked_levels(sigmas: Sequence[float] | None) -> tuple[float, ...]:
    """Noise levels, rising; those by default when None.

    Raises:
        InputError: fewer than two different ones, or one that is no positive number.
    """
    found = SIGMAS if sigmas is None else tuple(sigmas)
    for sigma in found:
        if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 < sigma < float("inf"):
            raise InputError(f"noise levels `sigma` above zero and finite expected, got {sigma!r}; e.g. 0.1, 0.4, 1.6")
    if len({f"{sigma:g}" for sigma in found}) < max(2, len(found)):
        raise InputError(
            f"two or more different noise levels expected, since one level can show anything, got "
            f"{', '.join(f'{sigma:g}' for sigma in found)}; e.g. --sigma 0.1 0.4"
        )
    return tuple(sorted(float(sigma) for sigma in found))


def noised(model: Diffusion | ConditionalDiffusion, settings: Mapping[str, Any]) -> Noised:
    """A diffusion model at the levels, with the output and the condition of `settings`.

    Raises:
        InputError: a level that the model does not know, another output, a condition that it does not take, points
            that are no images, and latents without an autoencoder.
    """
    output = settings["output"]
    if output not in get_args(Output):
        raise InputError(f"`output` expected to be one of {', '.join(get_args(Output))}, got {output!r}")
    condition = condition_of(settings["condition"]) if isinstance(settings["condition"], str) else settings["condition"]
    condition = _nothing(model) if condition is None else condition
    maps = [denoiser_map(model, sigma, output, condition) for sigma in settings["sigmas"]]
    view = _view(model, maps[0], {"output": output, "condition": str(settings["condition"])})
    return Noised(model, tuple(settings["sigmas"]), output, condition, view)


def _nothing(model: Diffusion | ConditionalDiffusion) -> int | None:
    """The class of nothing in particular of a network with classes; None where none is needed."""
    if not isinstance(model, Diffusion):
        return None
    classes = getattr(model.network, "config", {}).get("num_embeds_ada_norm")
    return None if classes is None else int(classes)


def _view(model: Diffusion | ConditionalDiffusion, map: LatentMap, settings: Mapping[str, Any]) -> Autoencoder:
    shape, autoencoder = map.latent_shape, model.autoencoder
    sides = tuple(side for side in shape[1:] if side is not None)
    if len(shape) != 3 or len(sides) != 2:
        raise InputError(f"a denoiser of images (channels, height, width) expected, {model.name} denoises {shape}")
    channels = shape[0] if autoencoder is None else autoencoder.image_channels
    if autoencoder is None and channels not in (1, 3):
        raise InputError(
            f"images of 1 or 3 channels expected, {model.name} denoises {shape} and has no autoencoder; load it with "
            "its autoencoder beside it"
        )
    if autoencoder is not None and autoencoder.latent_shape[0] != shape[0]:
        raise InputError(
            f"latents of {shape[0]} channels expected by the denoiser of {model.name}, its autoencoder has "
            f"{autoencoder.latent_shape[0]}"
        )
    down = 1 if autoencoder is None else autoencoder.downsampling
    return Autoencoder(
        nn.Identity().eval() if autoencoder is None else autoencoder.encoder.function,
        map.function,
        name=model.name,
        latent_shape=shape,
        image_channels=int(channels or 0),
        downsampling=down,
        image_size=(down * sides[0], down * sides[1]),
        settings={"class": type(model).__name__, **settings},
        source=getattr(model, "source", "") or "theodolite.zoo",
        notes=getattr(model, "notes", ()),
    )


def measure_noised(subject: Noised, image: Tensor, sample: str, plan: Plan, **exact: bool) -> Measured:
    """Every descriptor of `plan` at one image, noised at every level by the same draw.

    Args:
        subject: the denoiser.
        image: `(1, channels, height, width)` as `load_image` gives it.
        sample: its id, which with the plan's seed decides the draw.
        plan: of the run.
        exact: as for `theodolite.surveys.measure.measure`.
    """
    started = time.perf_counter()
    points = encoded(subject.view, image)
    seed = sample_seed(plan.seed, sample)
    e = Seeds(seed, 1).normal("detection", *points.shape[1:]).to(points)
    common = {"model": subject.view.name, "sample": sample, "map": subject.output}
    rows, there = [{**common, "sigma": None, **row_of("pixel_energy", pixel_energy(image))}], []
    for sigma in subject.sigmas:
        noisy = points + sigma * e
        found = measure_at(subject.map(sigma), noisy, points.shape[1:], plan, seed, floor=FLOOR, **exact)
        there.append(_named(found, sigma))
        rows += [{**common, "sigma": sigma, **row} for row in [*found.rows, *_baselines(subject, points, noisy, sigma)]]
    middle = subject.sigmas[len(subject.sigmas) // 2]
    with torch.no_grad():
        back = subject.decode(subject.map(middle, "x0")(points + middle * e))
    pictures = {".png": picture(image[0]), ".reconstruction.png": picture(back[0])}
    notes = notes_of(there, sample, time.perf_counter() - started)
    return Measured(sample, rows, {"latent": points[0]}, pictures, notes)


def _baselines(subject: Noised, clean: Tensor, noisy: Tensor, sigma: float) -> list[dict[str, Any]]:
    with torch.no_grad():
        denoised = subject.map(sigma, "x0")(noisy)
    score = (denoised - noisy) / sigma**2
    return [
        row_of("denoising_error", denoising_error(denoised, clean)),
        row_of("score_norm", score_norm(score)),
    ]


def _named(found: AtPoint, sigma: float) -> AtPoint:
    """With the noise level in its failures, which would not tell it otherwise."""
    failed = [{**one, "reason": f"at sigma {sigma:g}: {one['reason']}"} for one in found.failed]
    return AtPoint(found.rows, failed, found.messages, found.chart, found.status)
