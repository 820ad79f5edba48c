"""Whether latents know the class of an image: neighbours and a linear probe. Both need labels.

Cost: one encoder pass an image, and `n²` cosines or five regressions. Errors over sources; neighbours and training come
from other sources only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from theodolite.diffusability.cross_fitting import folds_of
from theodolite.diffusability.predictors.encoded import Encoded
from theodolite.diffusability.predictors.over_sources import absent, mean_over_sources
from theodolite.diffusability.predictors.predictor import predictor
from theodolite.diffusability.shape_free import PrincipalCloud
from theodolite.estimates import Estimate

__all__ = ["PREDICTORS", "linear_probe", "lnc"]

_NEIGHBOURS = 20

_ROWS = 1000
"""Images whose neighbours are looked for at once."""

_RIDGE = 1e-3
"""Ridge of the probe, in units of the mean variance of an entry."""

_FOLDS = 5


def lnc(encoded: Encoded) -> Estimate:
    """Share of the 20 nearest images, by cosine of the spatial mean latent, that have the label of an image."""
    if encoded.labels is None:
        return absent("labels expected: none were given")
    z = encoded.latents.double()
    means = z.flatten(2).mean(2) if z.ndim > 2 else z
    unit, source = normalize(means - means.mean(0), dim=1), torch.tensor(encoded.index)
    count = min(_NEIGHBOURS, len(encoded) - int(source.bincount().max()))
    shares = []
    for rows in torch.arange(len(z)).split(_ROWS):
        cosines = unit[rows] @ unit.T
        cosines[source[rows, None] == source] = -2.0
        nearest = cosines.topk(count, 1).indices
        shares.append((encoded.labels[nearest] == encoded.labels[rows, None]).double().mean(1))
    return mean_over_sources(encoded, torch.cat(shares), counts=True)


def linear_probe(encoded: Encoded) -> Estimate:
    """Accuracy of a ridge regression of labels on latents, held out by source in five folds."""
    if encoded.labels is None:
        return absent("labels expected: none were given")
    z = PrincipalCloud.of(encoded.flat - encoded.flat.mean(0), encoded.seed).points
    classes, label = encoded.labels.unique(return_inverse=True)
    targets = one_hot(label, len(classes)).double()
    fold = torch.tensor(folds_of(encoded.index, _FOLDS))[torch.tensor(encoded.index)]
    right = torch.zeros(len(z), dtype=torch.float64)
    for own in fold.unique():
        inside = fold == own
        right[inside] = (_regressed(z[~inside], targets[~inside], z[inside]).argmax(1) == label[inside]).double()
    return mean_over_sources(encoded, right, counts=True)


def _regressed(z: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
    """Ridge regression with an intercept, asked at other latents."""
    mean, centre = z.mean(0), targets.mean(0)
    A = z - mean
    ridge = _RIDGE * A.square().mean() * len(A)
    W = torch.linalg.solve(A.T @ A + ridge * torch.eye(A.shape[1], dtype=A.dtype), A.T @ (targets - centre))
    return centre + (queries - mean) @ W


PREDICTORS = (
    predictor(
        lnc,
        label="Label agreement of neighbours",
        formula="share of the 20 nearest spatial means with the same label",
        source="LNC in Zhong et al. 2026 (arXiv 2606.03578)",
        meaning="whether near latents are of one class",
    ),
    predictor(
        linear_probe,
        label="Linear probe",
        formula="held-out accuracy of ridge regression of labels",
        source="standard",
        meaning="whether classes can be told by a linear map of latents",
    ),
)
