"""Denoisers of images or latents at several noise levels, seen as experiments on images see a model."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

from theodolite.errors import InputError, refusing

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps import Autoencoder, Denoiser, LatentMap
    from theodolite.maps.denoisers import Output

__all__ = ["SIGMAS", "NoisedDenoiser", "checked_levels", "denoiser_at", "opened_subject", "refuse_levels"]

SIGMAS = (0.1, 0.4, 1.6)
"""Noise levels by default, in the units of the points: images in [-1, 1], or latents of a deviation near one."""


@dataclass(frozen=True)
class NoisedDenoiser:
    """A denoiser at several noise levels.

    Attributes:
        model: as it was loaded.
        sigmas: the levels, rising.
        output: what its maps return, ``eps`` or ``x0``, or another of `theodolite.denoiser_map`.
        condition: of every image; None for nothing in particular.
        view: images to points, and the map at the lowest level in place of a decoder.
    """

    model: Denoiser
    sigmas: tuple[float, ...]
    output: Output
    condition: Any
    view: Autoencoder

    def map(self, sigma: float, output: Output | None = None) -> LatentMap:
        """The denoiser at one level, as a map of noisy points."""
        from theodolite.maps import denoiser_map

        return denoiser_map(self.model, sigma, output or self.output, self.condition)

    def confirmed(self, images: Tensor) -> NoisedDenoiser:
        """The same with a note on its convention, which was held against images of the data.

        Args:
            images: as the model takes them, `(n, channels, height, width)`; eight are enough.

        Raises:
            InputError: the network denoises them under another convention.
        """
        with refusing(self.model.name, "failed on noised images", "see that its shape is that of the data"):
            model = self.model.with_condition(self.condition)
            notes = model.confirmed(self.view.encode(images)).notes
        view = copy.copy(self.view)
        view.notes = notes
        return replace(self, model=self.model.named(notes=notes), view=view)

    def decode(self, points: Tensor) -> Tensor:
        """Images of points."""
        return self.model.decode(points)


def opened_subject(model: Any, **options: Any) -> Autoencoder | Denoiser:
    """An autoencoder, or a denoiser of images or of latents, that is named or was given.

    Raises:
        InputError: it is another; as for `theodolite.load`.
    """
    from theodolite.maps import Autoencoder, Denoiser, load

    loaded = model
    if isinstance(model, str | os.PathLike):
        with refusing(os.fspath(model), "could not be loaded", "mend the model or what it needs"):
            loaded = load(model, **options)
    if not isinstance(loaded, Autoencoder | Denoiser):
        raise InputError(
            f"an autoencoder or a diffusion model expected, got {type(loaded).__name__}; measure it in Python "
            "(`theodolite.detection.map_scores`, `curves`)"
        )
    return loaded


def checked_levels(sigmas: Sequence[float] | None) -> tuple[float, ...]:
    """Noise levels, rising; those by default when None.

    Raises:
        InputError: fewer than two different ones, or one that is no positive number.
    """
    levels = SIGMAS if sigmas is None else tuple(sigmas)
    if len({f"{sigma:g}" for sigma in levels}) < max(2, len(levels)):
        raise InputError(
            f"two or more different noise levels expected, since one level can show anything, got "
            f"{', '.join(f'{sigma:g}' for sigma in levels)}; e.g. --sigma 0.1,0.4"
        )
    return tuple(sorted(float(sigma) for sigma in levels))


def refuse_levels(model: Autoencoder, given: Mapping[str, Any]) -> None:
    """Refuse settings by name that an autoencoder has no use for.

    Raises:
        InputError: one is not None.
    """
    for setting in (name for name, value in given.items() if value is not None):
        raise InputError(
            f"--{setting} belongs to a denoiser, and {model.name} is an autoencoder, whose decoder has no noise "
            "levels; leave it out, or give a diffusion model (of a pipeline's folder with --subfolder unet)"
        )


def denoiser_at(model: Denoiser, sigmas: tuple[float, ...], output: str, condition: Any) -> NoisedDenoiser:
    """A diffusion model at some noise levels.

    Args:
        model: the model.
        sigmas: levels, rising.
        output: what its maps return.
        condition: as a word of the command line or as the model takes it; None for nothing in particular.

    Raises:
        InputError: a level that the model does not know, another output, a condition that it does not take, points
            that are no images, and latents without an autoencoder.
    """
    from theodolite.data.conditions import condition_of
    from theodolite.maps import denoiser_map
    from theodolite.maps.denoisers import Output

    if output not in get_args(Output):
        raise InputError(f"`output` expected to be one of {', '.join(get_args(Output))}, got {output!r}")
    known = condition_of(condition) if isinstance(condition, str) else condition
    known = _nothing(model) if known is None else known
    maps = [denoiser_map(model, sigma, output, known) for sigma in sigmas]  # type: ignore[arg-type]
    view = _view(model, maps[0], {"output": output, "condition": str(condition)})
    return NoisedDenoiser(model, sigmas, output, known, view)  # type: ignore[arg-type]


def _nothing(model: Denoiser) -> int | None:
    """The class of nothing in particular of a network with classes; None where none is needed."""
    classes = getattr(model.net, "config", {}).get("num_embeds_ada_norm")
    return None if classes is None else int(classes)


def _view(model: Denoiser, map: LatentMap, settings: Mapping[str, Any]) -> Autoencoder:
    from torch import nn

    from theodolite.maps import Autoencoder

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
        source=model.source,
        notes=model.notes,
    )
