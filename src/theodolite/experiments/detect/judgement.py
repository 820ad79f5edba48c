"""How the finished images of a run are judged: from its table to `theodolite.detection.novelty`, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING

import torch

from theodolite.detection import Novelty, nearest_neighbour, novelty, of_level, prior_nll, score_norm
from theodolite.detection.calibration import quantile_of
from theodolite.detection.novelty import QUANTITIES
from theodolite.detection.scores import computed_at_levels
from theodolite.estimates import Estimate
from theodolite.experiments.images import RunImage, run_images
from theodolite.runs.experiment import Derived, Row, number, numbers_each, open_ended

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["Judgement", "judgement_of"]


@dataclass(frozen=True)
class Judgement:
    """The finished images of a run, reference first, and what `novelty` says of them."""

    images: list[RunImage]
    novelty: Novelty

    def derived(self) -> Derived:
        """Every number that follows, of each score and then of each image and score, and what there is none of."""
        names, why = [*self.novelty.scores], self.novelty.why_no_table
        rows = [row for of in (self._of_score, self._of_images) for name in names for row in of(name)]
        left_out = [{"what": name, "reason": reason} for name, reason in self.novelty.left_out.items()]
        return Derived(rows, left_out=left_out, messages={"auroc": why} if why else {})

    def _of_score(self, name: str) -> list[Row]:
        """Its rates, the threshold that was applied, and how well that is known as one of all such images."""
        table, limit = self.novelty.table, self.novelty.thresholds[name]
        rates = {} if table is None else table.entries(name)
        return [
            *({"quantity": rate, "score": name, "passes": 0, **entry} for rate, entry in rates.items()),
            number("threshold", limit["sample"], score=name),
            open_ended(number("quantile", quantile_of(limit), score=name)),
        ]

    def _of_images(self, name: str) -> list[Row]:
        estimates = {"score": self.novelty.scores[name], "p_value": self.novelty.p_value(name)}
        sigma = of_level(name)[1]
        places = [{"sample": image.sample, "score": name, "sigma": sigma} for image in self.images]
        return [row for rows in numbers_each(estimates, places) for row in rows]


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
        raise run.too_few("images", len(images))
    labels = {image.sample: known[image.file] for image in images if image.role == "test" and image.file in known}
    truth = [labels.get(image.sample) for image in images] if labels else None
    quantities = _quantities(run, [image.sample for image in images], sources, sum(reference))
    scores = computed_at_levels(quantities, run.info["scores"])
    judged = novelty(scores, torch.tensor(reference), sources, truth, run.settings["level"])
    measured = {of_level(name)[0] for name in scores}
    lost = {name: "its quantities were not measured" for name in run.info["scores"] if name not in measured}
    return Judgement(images, replace(judged, left_out={**lost, **judged.left_out}))


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
