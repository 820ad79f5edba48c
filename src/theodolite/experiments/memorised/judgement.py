"""How the images of a run are judged: p-values within strata, thresholds, neighbours, and where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.data.overlays import overlay
from theodolite.detection import at_level, evaluate, of_level
from theodolite.detection.memorisation import memorisation_scores
from theodolite.detection.memorisation.baselines import neighbours_among
from theodolite.detection.memorisation.judging import Calibration, calibrated, headline, most_suspicious
from theodolite.detection.memorisation.where import memorisation_mask
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.experiments.images import RunImage, run_images
from theodolite.runs.experiment import Derived, Row, number, numbers_each

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["SHOWN", "Judgement", "judgement_of", "rate_of"]

SHOWN = 12
"""Images, the most suspicious, whose maps are drawn."""

_MOST_MISSING = 0.1
"""A score that is no number at more than this share of the images is left out."""


def rate_of(run: Run) -> float:
    """False alarms promised, without the rounding of `1 - level`, which would decide at p-values that equal it."""
    return round(1 - float(run.settings["level"]), 12)


@dataclass(frozen=True)
class Judgement:
    """The finished images of a run with their scores.

    Attributes:
        run: the run.
        images: in the order of their units.
        strata: of each.
        scores: by name, with the level where there is one, `(n,)` each.
        left_out: scores that are no numbers too often, or throughout a stratum, with the reason.
    """

    run: Run
    images: Sequence[RunImage]
    strata: Sequence[str]
    scores: Mapping[str, Estimate]
    left_out: Mapping[str, str]

    @property
    def rate(self) -> float:
        """False alarms promised."""
        return rate_of(self.run)

    @cached_property
    def seen(self) -> Tensor:
        """Which are training images."""
        return torch.tensor([image.role == "train" for image in self.images])

    @cached_property
    def groups(self) -> list[str]:
        """The photograph of each."""
        # Equal names in two folders are no sign of one photograph, unless a pattern says so.
        has_pattern = self.run.settings["group"]
        return [image.source if has_pattern else f"{image.role}/{image.source}" for image in self.images]

    def calibration(self, name: str) -> Calibration:
        """Of one score.

        Raises:
            InputError: it is a number at too few never-seen images of a stratum.
        """
        return calibrated(self.scores[name], self.seen, self.strata, self.groups, self.rate)

    def derived(self) -> Derived:
        """Rows of every score and image, thresholds as a table, pictures of the most suspicious."""
        rows: list[Row] = []
        limits: list[Mapping[str, Any]] = []
        calibrations, left_out = self._calibrations()
        for name, known in calibrations.items():
            rows += [*self._of_score(name, known), *self._of_images(name, known)]
            limits += [
                {"score": name, "stratum": stratum, "threshold": limit, "least_p": known.least[stratum]}
                for stratum, limit in known.thresholds.items()
            ]
        first = headline([*calibrations], self.run.settings["score"])
        masks, pictures = self._where(self._suspects(first, calibrations[first].p.value))
        rows += masks
        near, distance = self.neighbours
        nearest = [
            {"sample": image.sample, "nearest": self.images[index].sample, "distance": far}
            for image, index, far in zip(self.images, near.tolist(), distance.tolist())
        ]
        missing = [{"what": name, "reason": reason} for name, reason in left_out.items()]
        return Derived(rows, {"thresholds": limits, "neighbours": nearest}, pictures, missing)

    def _calibrations(self) -> tuple[dict[str, Calibration], dict[str, str]]:
        """Of every score that can be judged in each stratum, and the others with the reason."""
        calibrations, left_out = dict[str, Calibration](), {**self.left_out}
        for name in self.scores:
            try:
                calibrations[name] = self.calibration(name)
            except InputError as error:  # one score that is no number in a stratum must not cost the others
                left_out[name] = str(error)
        if not calibrations:
            reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            raise InputError(f"a score that can be judged expected in {self.run.path}, got none: {reasons}")
        return calibrations, left_out

    def _of_score(self, name: str, known: Calibration) -> list[Row]:
        """How many images it flags, and how well it tells seen from never seen within strata."""
        flagged = known.flagged[self.seen]
        coordinates: dict[str, Any] = {"score": name, "sigma": of_level(name)[1]}
        rows = [number("flagged", Estimate.of(float(flagged.sum()), n=len(flagged)), **coordinates)]
        is_complete = self.scores[name].value.isfinite()
        kept = is_complete.nonzero()[:, 0].tolist()
        try:
            table = evaluate(
                self.scores[name].value[is_complete],
                self.seen[is_complete].int().tolist(),
                groups=[self.groups[row] for row in kept],
                strata=[self.strata[row] for row in kept],
            )
        except InputError:  # too few images of a kind: there is no such number
            return rows
        return [*rows, {"quantity": "train_auroc", "passes": 0, **coordinates, **table.entries("score")["auroc"]}]

    def _of_images(self, name: str, known: Calibration) -> list[Row]:
        sigma = of_level(name)[1]
        places = [{"sample": image.sample, "score": name, "sigma": sigma} for image in self.images]
        return [row for rows in numbers_each({"p_value": known.p}, places) for row in rows]

    @cached_property
    def neighbours(self) -> tuple[Tensor, Tensor]:
        """The nearest training image of every image that is not itself, by its place, and the distance."""
        points = torch.stack([self.run.arrays(image.sample)["image"] for image in self.images])
        return neighbours_among(points, self.seen)

    def _suspects(self, name: str, p: Tensor) -> list[int]:
        """The training images by their place, the least p first; where these are equal, the largest score."""
        seen = self.seen.nonzero()[:, 0]
        order = most_suspicious(p[seen].tolist(), self.scores[name].value[seen].tolist())
        return seen[order].tolist()  # type: ignore[no-any-return]

    def _where(self, suspects: Sequence[int]) -> tuple[list[Row], dict[str, Any]]:
        """Masks of the most suspicious images at the largest level that has maps, and these over their pictures."""
        names = [f"where/{sigma:g}" for sigma in self.run.info["sigmas"]]
        arrays = self.run.arrays(self.images[0].sample)
        there = [name for name in names if name in arrays]
        if not there:
            return [], {}
        rows, pictures = [], {}
        for suspect in suspects[:SHOWN]:
            image = self.images[suspect]
            others = [
                o for o, s, seen in zip(self.images, self.strata, self.seen) if not seen and s == self.strata[suspect]
            ]
            maps = [self.run.arrays(other.sample)[there[-1]] for other in others]
            try:
                mask = memorisation_mask(
                    self.run.arrays(image.sample)[there[-1]][None],
                    torch.stack(maps),
                    float(self.run.settings["level"]),
                )[0]
            except InputError:  # too few never-seen images of the stratum to tell what is usual
                continue
            rows.append(number("mask_share", Estimate.of(float(mask.double().mean())), sample=image.sample))
            if picture := self._picture(image.sample):
                pictures[f"{image.sample}.where"] = overlay(picture, mask, torch.zeros_like(mask))
        return rows, pictures

    def _picture(self, sample: str) -> Any:
        from PIL import Image

        path = self.run.picture(sample)
        return None if path is None else Image.open(path).convert("RGB")


def judgement_of(run: Run) -> Judgement:
    """Judge the finished images of a run.

    Raises:
        InputError: too few finished never-seen images of a stratum, or no score is a number.
    """
    images = run_images(run)
    if len({image.role for image in images}) < 2:
        raise run.too_few("images", len(images))
    strata, samples = run.info["strata"], [image.sample for image in images]
    scores, left_out = {}, {}
    for name, score in memorisation_scores().items():
        if name not in run.info["scores"] or score.needs_known:
            continue
        for sigma in run.info["sigmas"] if score.has_level else (None,):
            full = name if sigma is None else at_level(name, sigma)
            estimate = run.estimate_of(name, samples, sigma=sigma) if name in run.quantities else None
            lost = 1.0 if estimate is None else float((~estimate.is_number()).double().mean())
            if estimate is None or lost > _MOST_MISSING:
                left_out[full] = f"no number to rank by at {100 * lost:.0f} % of the images"
            else:
                scores[full] = replace(estimate, passes=0)  # they are told of the score itself
    judged = Judgement(run, images, [strata[sample] for sample in samples], scores, left_out)
    if "nearest_training" in run.info["scores"]:
        scores["nearest_training"] = Estimate.exact(judged.neighbours[1])
    if not scores:
        raise InputError(f"a score that is a number expected, got none: {left_out}")
    return judged
