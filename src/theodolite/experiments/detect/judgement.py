"""The finished images of a run and how they are judged: from its table to `theodolite.detection.novelty`, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import torch

from theodolite.detection import Novelty, nearest_neighbour, novelty, of_level, prior_nll, score_norm
from theodolite.detection.calibration import quantile_of
from theodolite.detection.novelty import QUANTITIES
from theodolite.detection.scores import Score, computed_at_levels, score_of
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.experiments.images import RunImage, run_images
from theodolite.runs.experiment import Row, number

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["Judgement", "judgement_of"]


@dataclass(frozen=True)
class Judgement:
    """The finished images of a run, reference first, labels by sample, and what `novelty` says of them."""

    run: Run
    images: list[RunImage]
    labels: Mapping[str, int]
    novelty: Novelty

    @property
    def headline(self) -> str:
        """The score that orders the images, or the first there is where that was left out."""
        chosen = str(self.run.settings["score"])
        return chosen if chosen in self.novelty.scores else next(iter(self.novelty.scores))

    def of_role(self, role: str) -> list[RunImage]:
        """The images of a role."""
        return [image for image in self.images if image.role == role]

    @property
    def repeated(self) -> list[str]:
        """Test files whose bytes are those of a reference image."""
        hashes = self.run.info["content"]["images"]
        known = {hashes[image.sample] for image in self.of_role("reference")}
        return [image.file for image in self.of_role("test") if hashes[image.sample] in known]

    @property
    def suspects(self) -> list[RunImage]:
        """The test images, the most suspicious first; those without a number last."""
        values = dict(zip(self.images, self.novelty.scores[self.headline].value.nan_to_num(-math.inf).tolist()))
        return sorted(self.of_role("test"), key=lambda image: -values[image])

    @cached_property
    def scores(self) -> list[Score]:
        """The scores with their words, in order."""
        return [score_of(name) for name in self.novelty.scores]

    @cached_property
    def rows(self) -> list[Row]:
        """Every number that follows: of each score, then of each image and score."""
        of_scores = [row for score in self.scores for row in self._of_score(score.name)]
        return [*of_scores, *(row for score in self.scores for row in self._of_images(score.name))]

    @cached_property
    def _by(self) -> dict[tuple[str, str, str | None], Row]:
        return {(row["quantity"], row["score"], row.get("sample")): row for row in self.rows}

    def row(self, quantity: str, score: str, sample: str | None = None) -> Row | None:
        """A number of a score, or of an image in that score."""
        return self._by.get((quantity, score, sample))

    def above(self, score: str) -> set[str]:
        """Samples of the test images above the threshold."""
        flags = zip(self.images, self.novelty.flagged(score).tolist())
        return {image.sample for image, is_above in flags if is_above and image.role == "test"}

    def _of_score(self, name: str) -> list[Row]:
        """Its rates, the threshold that was applied, and how well that is known as one of all such images."""
        table, limit = self.novelty.table, self.novelty.thresholds[name]
        rates = {} if table is None else table.entries(name)
        quantile = number("quantile", quantile_of(limit), score=name)
        ends = {key: end if math.isfinite(end := quantile[key]) else None for key in ("stderr", "low", "high")}
        return [
            *({"quantity": rate, "score": name, "passes": 0, **entry} for rate, entry in rates.items()),
            number("threshold", Estimate.of(limit.value, n=limit.n), score=name),
            {**quantile, **ends},
        ]

    def _of_images(self, name: str) -> list[Row]:
        estimates = (self.novelty.scores[name], *self.novelty.p_values(name))
        return [
            number(quantity, estimate, place, sample=image.sample, score=name, sigma=of_level(name)[1])
            for place, image in enumerate(self.images)
            for quantity, estimate in zip(("score", "p_value", "p_value_by_source"), estimates)
        ]


def judgement_of(run: Run) -> Judgement:
    """Judge the finished images of a run.

    Raises:
        InputError: too few finished reference images, or no score is a number.
    """
    images, known = run_images(run), run.info["labelled"] or {}
    # Equal names in two folders are no sign of one photograph, unless a pattern says so.
    sources = [image.source if run.settings["group"] else f"{image.role}/{image.source}" for image in images]
    reference = [image.role == "reference" for image in images]
    if len({*compress(sources, reference)}) < 2 or all(reference):
        raise InputError(
            f"{run.path} holds too few finished images yet ({len(images)}); run its command again: "
            f"{run.info['command']}"
        )
    labels = {image.sample: known[image.file] for image in images if image.role == "test" and image.file in known}
    truth = [labels.get(image.sample) for image in images] if labels else None
    quantities = _quantities(run, [image.sample for image in images], sources, sum(reference))
    scores = computed_at_levels(quantities, run.info["scores"])
    judged = novelty(scores, torch.tensor(reference), sources, truth, run.settings["level"])
    there = {of_level(name)[0] for name in scores}
    lost = {name: "its quantities were not measured" for name in run.info["scores"] if name not in there}
    return Judgement(run, images, labels, replace(judged, left_out={**lost, **judged.left_out}))


def _quantities(
    run: Run, samples: list[str], sources: list[str], known: int
) -> dict[float | None, dict[str, Estimate]]:
    """What was measured at every noise level, and under None what has no level; the first `known` are the reference."""
    denoiser, measured = run.info["denoiser"], [name for name in run.quantities if name not in QUANTITIES]
    quantities: dict[float | None, dict[str, Estimate]] = {}
    for sigma in (None, *(denoiser["sigmas"] if denoiser else ())):
        columns = {name: run.estimate_of(name, samples, sigma=sigma) for name in measured}
        quantities[sigma] = {name: replace(e, passes=0) for name, e in columns.items() if e is not None}
    latents = torch.stack([run.arrays(sample)["latent"] for sample in samples])
    near = nearest_neighbour(latents, latents[:known], groups=sources, reference_groups=sources[:known])
    prior = {} if denoiser else {"prior_nll": prior_nll(latents), "score_norm": score_norm(latents)}
    quantities[None] |= {"nearest_neighbour": near, **prior}
    return quantities
