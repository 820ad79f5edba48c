"""The four penalties of an encoder on small crops, one of each of up to twelve sources; see `diffusability.penalties`.

They describe what encoding does to Fisher information; lower ones are not known to train better. Cost: some hundred
Jacobian products an image.
"""

from __future__ import annotations

from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.diffusability.quality import central_crop, crop_side, one_a_source, penalties_of
from theodolite.diffusability.quantities import QUANTITIES
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "compression", "data_curvature", "distortion", "encoder_curvature"]

_CROPS = 12


def _penalties(encoded: Encoded) -> tuple[dict[str, Estimate], str]:
    images, model = encoded.images, encoded.autoencoder
    crops = central_crop(images[one_a_source(encoded.index, _CROPS)], crop_side([model], *images.shape[2:]))
    return penalties_of(model, crops, encoded.seed)


def _penalty(encoded: Encoded, name: str) -> Estimate:
    known, trouble = encoded.once(_penalties)
    return known[name] if name in known else absent(trouble or f"{name} needs Jacobians that can be formed")


def compression(encoded: Encoded) -> Estimate:
    """`D - m`: dimensions given up."""
    return _penalty(encoded, "compression")


def distortion(encoded: Encoded) -> Estimate:
    """`Var(lambda) / E(lambda)²` over eigenvalues of the encoder's metric on the tangent space of the data."""
    return _penalty(encoded, "distortion")


def encoder_curvature(encoded: Encoded) -> Estimate:
    """`E||Hess E||²` on the tangent space over the mean stretch, 1 / image unit²."""
    return _penalty(encoded, "encoder_curvature")


def data_curvature(encoded: Encoded) -> Estimate:
    """`E||II||²` of the decoder's image, 1 / image unit²."""
    return _penalty(encoded, "data_curvature")


_MEASURES = (compression, distortion, encoder_curvature, data_curvature)

PREDICTORS = tuple(predictor(measure, **vars(QUANTITIES[measure.__name__])) for measure in _MEASURES)
