"""What a score says of training images beside images that the model never saw: p-values, thresholds, false alarms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.detection.calibration import conformal_p
from theodolite.detection.memorisation.registry import memorisation_scores
from theodolite.detection.scores import of_level
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

__all__ = ["Calibration", "calibrated", "headline", "most_suspicious", "quantities"]

_HEADLINES = ("flipd", "denoising_loss", "sharpness")
"""Scores that order the images when none is chosen: the first of these that was measured, at the lowest level."""

_P = "(1 + share of never-seen images of the stratum that score as high, by photograph) / (1 + G)"
_OF_IMAGES = (
    Quantity("p_value", "p", "", _P, "Vovk, Gammerman and Shafer 2005; Dunn, Wasserman and Ramdas 2022",
             "Of an image that the model never saw it falls below a with probability a at most."),
    Quantity("flagged", "Flagged", meaning="Training images whose p is at most 1 − level."),
    Quantity("false_alarms", "False alarms", "", "", "Clopper and Pearson 1934",
             "Never-seen images that are flagged, each judged by the others."),
    Quantity("train_auroc", "AUROC", "", "P(seen > never seen) + ½ P(equal), within strata", "", "0.5 is chance."),
    Quantity("mask_share", "Cells known", meaning="Share of the image's cells in its mask; 1 − level by chance."),
)  # fmt: skip


def quantities() -> dict[str, Quantity]:
    """The words of every score, and of what images are judged by, by name."""
    scores = {name: score.quantity for name, score in memorisation_scores().items()}
    return {**scores, **{quantity.name: quantity for quantity in _OF_IMAGES}}


def headline(names: Sequence[str], chosen: str = "") -> str:
    """The score that orders images: the chosen one, else the first usual one of `names` at its lowest level."""
    if chosen in names:
        return chosen
    return next((name for base in _HEADLINES for name in names if of_level(name)[0] == base), names[0])


def most_suspicious(p: Sequence[float], scores: Sequence[float]) -> list[int]:
    """Places of images from the least p-value; the larger score first where these are equal, and NaN last."""

    def order(place: int) -> tuple[float, float]:
        least, score = p[place], scores[place]
        return (math.inf if math.isnan(least) else least, math.inf if math.isnan(score) else -score)

    return sorted(range(len(p)), key=order)


@dataclass(frozen=True)
class Calibration:
    """A score of images beside never-seen ones of their stratum.

    Attributes:
        p: conformal p-value of each image, `(n,)`; those of never-seen images are among the others.
        flagged: `p <= rate`, `(n,)` bool.
        thresholds: by stratum the score from which an image is flagged; infinite where no score is.
        least: by stratum the least p-value that its never-seen images allow.
    """

    p: Tensor
    flagged: Tensor
    thresholds: Mapping[Hashable, float]
    least: Mapping[Hashable, float]


def calibrated(
    score: Estimate | Tensor,
    seen: Tensor,
    strata: Sequence[Hashable],
    groups: Sequence[Hashable],
    rate: float = 0.05,
) -> Calibration:
    """Conformal p-values within strata, each source photograph counted once, and what they flag.

    `p = (1 + sum over groups of the share of their images that score as high) / (1 + G)` among the never-seen images
    of the stratum. For a new image from a new photograph of that stratum `P(p <= rate) <= rate` whatever the law of
    the score (Vovk, Gammerman and Shafer 2005; Dunn, Wasserman and Ramdas 2022). P-values that pool images of few
    photographs, or strata of which one is plainer than another, do not keep that promise; none is made here.

    Args:
        score: `(n,)`; higher is taken to mean that the model knows the image by heart. NaN is never flagged.
        seen: `(n,)` bool, which images are training images.
        strata: of each image, e.g. its class.
        groups: of each image, e.g. its source photograph.
        rate: false alarms promised among images that the model never saw.

    Raises:
        InputError: a stratum with training images and fewer than two groups of never-seen ones, or a rate outside
            (0, 1).

    Example:
        >>> scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0])
        >>> found = calibrated(scores, torch.arange(5) == 4, ["a"] * 5, range(5), rate=0.2)
        >>> found.p[4].item(), found.flagged.tolist(), found.thresholds["a"]
        (0.2, [False, False, False, False, True], 3.0)
    """
    if not 0 < rate < 1:
        raise InputError(f"a rate of false alarms between 0 and 1 expected, got {rate}; 0.05 is one in twenty")
    values = (score.value if isinstance(score, Estimate) else score).double().cpu()
    p = torch.full_like(values, torch.nan)
    thresholds: dict[Hashable, float] = {}
    least: dict[Hashable, float] = {}
    for stratum in dict.fromkeys(strata):
        own = torch.tensor([member == stratum for member in strata])
        known = (own & ~seen & ~values.isnan()).nonzero()[:, 0]
        names = [groups[place] for place in known.tolist()]
        if len(set(names)) < 2:
            raise InputError(
                f"two or more never-seen photographs expected in stratum {stratum!r}, got {len(set(names))}; give more "
                "reference images of it, or other strata"
            )
        p[own & seen] = conformal_p(values[own & seen], values[known], names)
        for group in dict.fromkeys(names):  # each photograph is judged by the others
            others = torch.tensor([name != group for name in names])
            rest = [name for name in names if name != group]
            p[known[~others]] = conformal_p(values[known[~others]], values[known[others]], rest)
        least[stratum] = 1 / (1 + len(set(names)))
        thresholds[stratum] = _threshold(values[known], names, rate)
    return Calibration(p, p <= rate, thresholds, least)


def _threshold(values: Tensor, groups: Sequence[Hashable], rate: float) -> float:
    """The largest never-seen score that is not beaten at this rate: what lies above it is flagged."""
    levels = values.unique().sort(descending=True).values
    if float(conformal_p(torch.tensor([torch.inf]), values, groups)) > rate:
        return torch.inf
    above = conformal_p(levels, values, groups) > rate
    return float(levels[above][0]) if bool(above.any()) else -torch.inf
