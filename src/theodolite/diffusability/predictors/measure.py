"""`measure_predictors`: many predictors of one autoencoder on the same images, sharing what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from torch import Tensor

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent
from theodolite.diffusability.predictors.registry import PREDICTORS
from theodolite.errors import InputError, in_one_line
from theodolite.estimates import Estimate
from theodolite.maps import Autoencoder

__all__ = ["measure_predictors"]


def measure_predictors(
    autoencoder: Autoencoder,
    images: Tensor,
    labels: Tensor | None = None,
    names: Sequence[str] | None = None,
    *,
    groups: Sequence[Hashable] | None = None,
    generator: int = 0,
    sample: bool = False,
    features: str | Callable[[Tensor], Tensor] | None = None,
    tell: Callable[[str], None] = lambda name: None,
) -> dict[str, Estimate]:
    """Numbers of an autoencoder that may forecast how well diffusion trains in its latents, by name.

    Latents, reconstructions, features, noised losses and Jacobians are made once for all of them. What cannot be
    measured (no labels, no posterior, vectors in place of feature maps, a predictor that fails) is ``undetermined``,
    and its message says why. None of these is proven to forecast anything by itself; see docs/predictors.md.

    Args:
        autoencoder: in eval mode.
        images: `(n, channels, height, width)` in [-1, 1], from several sources; 2,000 are a good number.
        labels: the class of each, `(n,)`, for numbers that need one.
        names: of predictors, all by default: see `theodolite.diffusability.PREDICTORS`.
        groups: the source of each image; errors are over sources. By default each is its own.
        generator: a seed of noise, training and resampling.
        sample: measure draws from posteriors in place of their means, for models that train on draws.
        features: of Frechet distances: ``module:factory``, a callable `(n, C, H, W) -> (n, k)`, or None for random
            convolutions of the seed.
        tell: called with the name of each predictor before it is measured.

    Returns:
        An `Estimate` of one entry by name. All of 2,000 images of 32x32 with latents of 4x8x8 cost about a minute on
        one core, a third of it for probes.

    Raises:
        InputError: unknown names; images, labels or groups that cannot be used.
    """
    unknown = [name for name in names or () if name not in PREDICTORS]
    if unknown:
        raise InputError(f"predictors expected, some of {', '.join(PREDICTORS)}; got {', '.join(unknown)}")
    encoded = Encoded(
        autoencoder, images, labels=labels, groups=groups, seed=generator, sample=sample, features=features
    )
    checked = encoded.latents  # what the model cannot do is an error before long work
    del checked
    measured = {}
    for name in names or PREDICTORS:
        tell(name)
        try:
            measured[name] = PREDICTORS[name].measured(encoded)
        except Exception as error:  # one number that fails must not cost the others
            measured[name] = absent(in_one_line(error))
    return measured
