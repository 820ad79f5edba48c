"""What a score says of training images beside images that the model never saw: p-values, thresholds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.detection.calibration import conformal_p, p_estimate
from theodolite.detection.memorisation.registry import memorisation_scores
from theodolite.detection.scores import of_level
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

__all__ = ["Calibration", "calibrated", "enough_unseen", "headline", "most_suspicious", "quantities"]

_HEADLINES = ("flipd", "denoising_loss", "sharpness")
"""Scores that order the images when none is chosen: the first of these that was measured, at the lowest level."""

_P = "(1 + share of never-seen images of the stratum that score as high, by photograph) / (1 + G)"
_OF_IMAGES = (
    Quantity("p_value", "p", "", _P, "Vovk, Gammerman and Shafer 2005; Dunn, Wasserman and Ramdas 2022",
             "Of an image that the model never saw it falls below a with probability a at most."),
    Quantity("flagged", "Flagged", meaning="Training images whose p is at most 1 − level."),
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

    def order(index: int) -> tuple[float, float]:
        least, score = p[index], scores[index]
        return (math.inf if math.isnan(least) else least, math.inf if math.isnan(score) else -score)

    return sorted(range(len(p)), key=order)


@dataclass(frozen=True)
class Calibration:
    """A score of images beside never-seen ones of their stratum.

    Attributes:
        p: conformal p-value of each image, `(n,)`, with what errors of the scores leave open (`p_estimate`); NaN, and
            ``undetermined``, where there is none. Its `n` is the fewest photographs that one was judged by.
        flagged: `p <= rate`, `(n,)` bool.
        thresholds: by stratum the score from which an image is flagged; infinite where no score is.
        least: by stratum the least p-value that its never-seen images allow.
    """

    p: Estimate
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

    An image is never judged by images of its own photograph. Of the never-seen images that are judged by each other,
    `floor(rate * G)` photographs are flagged whatever the score: their share would measure nothing. Strata without
    training images are left out.

    Args:
        score: `(n,)`; higher is taken to mean that the model knows the image by heart. NaN is never flagged. Errors
            of an estimate widen the intervals of `p`.
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
    scores = score if isinstance(score, Estimate) else Estimate.of(score)
    values, usable = scores.value.double().cpu(), ~scores.value.isnan().cpu()
    p, low, high = torch.full((3, len(values)), torch.nan, dtype=torch.float64)
    thresholds: dict[Hashable, float] = {}
    least: dict[Hashable, float] = {}
    fewest = len(values)
    for stratum in dict.fromkeys(member for member, is_seen in zip(strata, seen.tolist()) if is_seen):
        own = torch.tensor([member == stratum for member in strata])
        known = (own & ~seen & usable).nonzero()[:, 0]
        names = [groups[index] for index in known.tolist()]
        count = enough_unseen(names, stratum)
        for members, others in _comparisons(own, known, groups):
            judges = [groups[index] for index in others.tolist()]
            judged = p_estimate(scores[members], scores[others], judges)
            p[members], low[members], high[members] = judged.value, judged.low, judged.high
            fewest = min(fewest, judged.n)
        least[stratum], thresholds[stratum] = 1 / (1 + count), _threshold(values[known], names, rate)
    width = (high - low) / (2 * 1.96)
    judgement = Estimate.of(p, width, n=fewest, passes=scores.passes, method="conformal", ends=(low, high))
    return Calibration(judgement, p <= rate, thresholds, least)


def enough_unseen(groups: Sequence[Hashable], stratum: Hashable) -> int:
    """How many photographs the never-seen images of a stratum come from.

    Args:
        groups: the photograph of each never-seen image of the stratum.
        stratum: its name.

    Raises:
        InputError: fewer than two, so that none can be judged by another.
    """
    count = len(set(groups))
    if count < 2:
        raise InputError(
            f"two or more never-seen photographs expected in stratum {stratum!r}, got {count}; give more reference "
            "images of it, or other strata"
        )
    return count


def _comparisons(own: Tensor, known: Tensor, groups: Sequence[Hashable]) -> Iterator[tuple[Tensor, Tensor]]:
    """Images of a stratum and the never-seen ones `known` that judge them: all but those of the same photograph."""
    judges = [groups[index] for index in known.tolist()]
    members: dict[Hashable, list[int]] = {}
    for index in own.nonzero()[:, 0].tolist():
        members.setdefault(groups[index] if groups[index] in judges else None, []).append(index)
    for group, rows in members.items():
        others = torch.tensor([group is None or judge != group for judge in judges])
        yield torch.tensor(rows), known[others]


def _threshold(values: Tensor, groups: Sequence[Hashable], rate: float) -> float:
    """The largest never-seen score that is not beaten at this rate: what lies above it is flagged."""
    levels = values.unique().sort(descending=True).values
    if float(conformal_p(torch.tensor([torch.inf]), values, groups)) > rate:
        return torch.inf
    above = conformal_p(levels, values, groups) > rate
    return float(levels[above][0]) if bool(above.any()) else -torch.inf
