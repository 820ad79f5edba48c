"""Features of images for Frechet distances: any function of a user's, or random convolutions by seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theodolite.errors import InputError, refusing
from theodolite.maps.factories import call_factory

__all__ = ["FeatureMap", "feature_map", "reference_features"]

_BATCH = 250

_WIDTHS = (24, 48, 32)
"""Channels of the random convolutions."""

_PLACES = 2
"""Side of the grid that features are averaged to: 128 features in all, few enough for the covariance of two thousand
images, and yet with a sense of where things are."""


@dataclass(frozen=True)
class FeatureMap:
    """A function of images in [-1, 1], `(n, C, H, W) -> (n, k)`, and the name that stands beside every number."""

    name: str
    function: Callable[[Tensor], Tensor]

    def of(self, images: Tensor) -> Tensor:
        """Features `(n, k)` float64 on the CPU; one pass an image.

        Raises:
            InputError: the function fails, or gives another shape or what is not finite.
        """
        fix = "give one (n, C, H, W) -> (n, k)"
        with refusing(f"the feature map {self.name}", "failed on images", fix), torch.no_grad():
            features = torch.cat([self.function(part).double().cpu() for part in images.split(_BATCH)])
        if features.ndim != 2 or len(features) != len(images) or not bool(features.isfinite().all()):
            raise InputError(
                f"finite features (n, k) expected of {self.name}, got {tuple(features.shape)} of {len(images)} images"
            )
        return features


def reference_features(channels: int) -> FeatureMap:
    """The random convolutions that forecasts are calibrated in: those of seed 0, whatever the seed of a measurement."""
    return FeatureMap("random convolutions, seed 0", _random_convolutions(channels, 0))


def feature_map(given: str | Callable[[Tensor], Tensor] | FeatureMap | None, channels: int, seed: int) -> FeatureMap:
    """The feature map that is given: one, ``module:factory``, a callable, or None for random convolutions.

    Raises:
        InputError: none of these, or a factory that fails.
    """
    if given is None:
        return FeatureMap(f"random convolutions, seed {seed}", _random_convolutions(channels, seed))
    if isinstance(given, FeatureMap):
        return given
    if isinstance(given, str):
        module, _, name = given.partition(":")
        if not module or not name:
            raise InputError(f"`features` expected as module:factory, got {given!r}")
        function = call_factory(module, name)
        if not callable(function):
            raise InputError(f"the factory {given} expected to return a function of images, got {function!r}")
        return FeatureMap(given, function)
    if not callable(given):
        raise InputError(f"`features` expected as module:factory or a callable, got {given!r}")
    return FeatureMap(str(getattr(given, "__name__", type(given).__name__)), given)


def _random_convolutions(channels: int, seed: int) -> nn.Module:
    """Three convolutions that halve the side, with random weights that keep variance, and means over four quarters.

    Random weights already tell textures and shapes apart (Jarrett et al. 2009); they favour no data set.
    """
    stream = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in zip((channels, *_WIDTHS), _WIDTHS):
        layer = nn.Conv2d(before, after, 4, 2, 1)
        with torch.no_grad():
            layer.weight.copy_((2 / (16 * before)) ** 0.5 * torch.randn(layer.weight.shape, generator=stream))
            layer.bias.copy_(0.1 * torch.randn(after, generator=stream))  # type: ignore[union-attr]
        layers += [layer, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(_PLACES), nn.Flatten()).eval().requires_grad_(False)
