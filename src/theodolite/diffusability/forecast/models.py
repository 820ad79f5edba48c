"""`forecast_models`: autoencoders to forecasts in one call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

from theodolite.diffusability.forecast.calibration import calibration
from theodolite.diffusability.forecast.forecasts import Forecasts
from theodolite.diffusability.forecast.formula import PRIMARY
from theodolite.diffusability.forecast.inputs import Evidence, ImageKind, measured_inputs
from theodolite.diffusability.predictors import Encoded
from theodolite.diffusability.predictors.features import reference_features
from theodolite.errors import InputError
from theodolite.maps import Autoencoder

__all__ = ["evidence_of", "forecast_models"]


def forecast_models(
    autoencoders: Sequence[Autoencoder],
    images: Tensor,
    groups: Sequence[Hashable] | None = None,
    *,
    features: str | Callable[[Tensor], Tensor] | None = None,
    formula: str = PRIMARY,
    network: str = "convolutional",
    generator: int = 0,
) -> Forecasts:
    """Forecast how good the samples of a small reference training get in the latents of each autoencoder.

    Args:
        autoencoders: one or more, of images of one kind, in eval mode.
        images: `(n, channels, height, width)` in [-1, 1]; 2,000 are a good number.
        groups: the source of each; errors are over sources. By default each is its own.
        features: that samples will be judged in: ``module:factory`` or a callable `(n, C, H, W) -> (n, k)`. Without
            them random convolutions stand in, and what they say of reconstruction is known from the study alone.
        formula: one of `FORMULAS`.
        network: of the reference training, one that was calibrated.
        generator: a seed.

    Returns:
        `Forecasts`. Cost a model: an encoder and a decoder pass an image, and up to 256 Jacobian products at each of 24
        latents.

    Raises:
        InputError: no models, images that one does not take, an unknown formula or network, features that fail.
    """
    fit = calibration(network, formula)
    if not autoencoders:
        raise InputError("one autoencoder or more expected to forecast, got none")
    encoded = [evidence_of(own, images, groups, features, generator) for own in autoencoders]
    return Forecasts(encoded, ImageKind.of(images, judged=features is not None), fit)


def evidence_of(
    autoencoder: Autoencoder,
    images: Tensor,
    groups: Sequence[Hashable] | None = None,
    features: str | Callable[[Tensor], Tensor] | None = None,
    generator: int = 0,
) -> Evidence:
    """The inputs of one autoencoder; see `forecast_models`."""
    judge = reference_features(autoencoder.image_channels) if features is None else features
    encoded = Encoded(autoencoder, images, groups=groups, seed=generator, features=judge)
    return Evidence(autoencoder.name, tuple(encoded.latents.shape[1:]), measured_inputs(encoded))
