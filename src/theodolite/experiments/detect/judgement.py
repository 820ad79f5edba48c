"""How images are judged by the reference images: scores, thresholds, p-values and AUROC, from what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from theodolite.data.sources import sources_of
from theodolite.detection import (
    SCORES,
    DetectionTable,
    at_level,
    computed,
    conformal_p,
    departure,
    evaluate,
    nearest_neighbour,
    of_level,
    prior_nll,
    score_norm,
    threshold,
)
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.runs.experiment import Row
from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "Judged", "Judgement", "judged"]

_TOO_MANY = 0.1
"""A score that is no number at more than this share of the images is left out: comparisons would be of other images."""

RATES = ("auroc", "average_precision", "tpr")

_ALL = (
    Quantity("auroc", "AUROC", "", "P(unusual > normal) + ½ P(equal)", "standard", "0.5 is chance."),
    Quantity("average_precision", "Average precision", "", "Σ (R_k − R_{k−1}) P_k", "standard", "Of recall."),
    Quantity("tpr", "Found at 5 % false alarms", "", "", "standard", "Share of unusual images above that threshold."),
    Quantity("threshold", "Threshold", "", "", "", "What the level's share of the reference images stays below."),
    Quantity("quantile", "Quantile", "", "", "Clopper and Pearson 1934", "That of all images like the reference."),
    Quantity("score", "Score", "", "", "", "Of one image; higher is taken to mean more suspicious."),
    Quantity("p_value", "p", "", "(1 + #{reference ≥}) / (1 + n)", "conformal", "Share of the reference as high."),
    Quantity("p_value_by_source", "p by source", "", "", "conformal", "The same with each photograph counted once."),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}


@dataclass(frozen=True)
class Judged:
    """One image: `role` is ``reference`` or ``test``, `label` 0, 1 or None, `source` its photograph."""

    sample: str
    file: str
    role: str
    label: int | None
    source: str


@dataclass(frozen=True)
class Judgement:
    """The finished images of a run and their scores.

    Attributes:
        run: the run.
        images: the finished images, reference first.
        scores: by name, one entry an image; NaN where a score is no number.
        left_out: scores that are no numbers too often, with the reason.
        table: AUROC of every score over images at which all are numbers; None where that cannot be told.
        why_no_table: in words; empty when there is one.
    """

    run: Run
    images: tuple[Judged, ...]
    scores: Mapping[str, Estimate]
    left_out: Mapping[str, str]
    table: DetectionTable | None
    why_no_table: str

    @property
    def headline(self) -> str:
        """The score that orders the images, or the first there is where that was left out."""
        chosen = str(self.run.settings["score"])
        return chosen if chosen in self.scores else next(iter(self.scores))

    @property
    def by_label(self) -> bool:
        """Whether AUROC is of labels."""
        return any(image.label is not None for image in self.images)

    @cached_property
    def reference(self) -> Tensor:
        """Which images are reference images, `(n,)` bool."""
        return torch.tensor([image.role == "reference" for image in self.images])

    @cached_property
    def thresholds(self) -> dict[str, Estimate]:
        """The threshold of every score, from reference images only."""
        limits = {}
        for name, score in self.scores.items():
            known = self.reference & ~score.value.isnan()
            limits[name] = threshold(score.value[known], self.run.settings["level"], self._sources(known))
        return limits

    def p_values(self, name: str) -> tuple[Tensor, Tensor]:
        """Conformal p-values of every image: as if images were independent, and with each source counted once.

        A reference image is compared with the others, itself included.
        """
        value = self.scores[name].value
        known = self.reference & ~value.isnan()
        alone, grouped = (conformal_p(value, value[known], groups) for groups in (None, self._sources(known)))
        return alone, grouped

    def flagged(self, name: str) -> Tensor:
        """Images above the threshold, `(n,)` bool."""
        return self.scores[name].value > self.thresholds[name].item()

    @property
    def repeated(self) -> list[str]:
        """Test files whose bytes are those of a reference image."""
        hashes = self.run.info["content"]["images"]
        known = {hashes[image.sample] for image in self.images if image.role == "reference"}
        return [image.file for image in self.images if image.role == "test" and hashes[image.sample] in known]

    def order(self) -> list[int]:
        """Places of the test images, the most suspicious first; those without a number last."""
        value = self.scores[self.headline].value
        places = [place for place, image in enumerate(self.images) if image.role == "test"]
        return sorted(places, key=lambda place: -float(value[place].nan_to_num(-torch.inf)))

    def rows(self) -> list[Row]:
        """Every number that follows: of each score, then of each image and score."""
        rows: list[Row] = []
        for name in self.scores:
            rows += [{"score": name, "passes": 0, **row} for row in (*self._rates(name), *self._limits(name))]
        for name in self.scores:
            rows += [{"score": name, "map": None, "sigma": of_level(name)[1], **row} for row in self._of_images(name)]
        return rows

    def _rates(self, name: str) -> Iterator[Row]:
        if self.table is None:
            return
        entry, n = self.table[name], min(self.table.independent)
        for quantity in RATES:
            value, low, high = (entry[f"{quantity}{end}"] for end in ("", "_low", "_high"))
            ends = {"low": low, "high": high, "stderr": (high - low) / (2 * 1.96), "n": n, "status": entry["status"]}
            yield {"quantity": quantity, "value": value, **ends}

    def _limits(self, name: str) -> Iterator[Row]:
        """The threshold that was applied, a number like any other; and how well it is that of all such images."""
        limit = self.thresholds[name]
        applied = limit.item()
        plain = {"value": applied, "stderr": 0.0, "low": applied, "high": applied}
        yield {"quantity": "threshold", **plain, "n": limit.n, "status": "ok"}
        low, high = (end if math.isfinite(end) else None for end in (limit.low.item(), limit.high.item()))
        n = max(1, round(limit["effective"].item()))
        common = {"quantity": "quantile", "low": low, "high": high, "n": n}
        if low is not None and high is not None:
            yield {**common, "value": applied, "stderr": (high - low) / (2 * 1.96), "status": "ok"}
        elif low is not None:  # too few reference images to bound it from above
            yield {**common, "value": low, "stderr": 0.0, "status": "lower-bound"}
        else:
            yield {**common, "value": applied, "stderr": None, "status": "undetermined"}

    def _of_images(self, name: str) -> Iterator[Row]:
        score = self.scores[name]
        known = int((self.reference & ~score.value.isnan()).sum())
        columns = (score.value.tolist(), score.stderr.tolist(), *(p.tolist() for p in self.p_values(name)))
        for place, (image, value, stderr, *ps) in enumerate(zip(self.images, *columns)):
            status = score.statuses[place] if math.isfinite(value) else "undetermined"
            low, high = value - 1.96 * stderr, value + 1.96 * stderr
            common = {"sample": image.sample, "passes": score.passes, "n": score.n}
            yield {
                **common,
                "quantity": "score",
                "value": value,
                "stderr": stderr,
                "low": low,
                "high": high,
                "status": status,
            }
            for quantity, p in zip(("p_value", "p_value_by_source"), ps):
                exact = {"value": p, "stderr": 0.0, "low": p, "high": p, "status": "ok" if p == p else "undetermined"}
                yield {**common, "quantity": quantity, **exact, "n": known}

    def _sources(self, chosen: Tensor) -> list[str]:
        return [image.source for image, is_chosen in zip(self.images, chosen.tolist()) if is_chosen]


def judged(run: Run) -> Judgement:
    """Judge the finished images of a run.

    Raises:
        InputError: too few finished reference images, or no score is a number.
    """
    images = _images(run)
    known = {image.source for image in images if image.role == "reference"}
    if len(known) < 2 or not any(image.role == "test" for image in images):
        raise InputError(
            f"{run.path} holds too few finished images yet ({len(images)}); run its command again: "
            f"{run.info['command']}"
        )
    scores, left_out = _scores(run, images)
    table, why = _table(scores, images)
    return Judgement(run, images, scores, left_out, table, why)


def _images(run: Run) -> tuple[Judged, ...]:
    done, labelled = set(run.units), run.info["labelled"] or {}
    files = [file for file in run.info["data"]["files"] if file["sample"] in done]
    group = run.settings["group"]
    sources = sources_of([file["file"] for file in files], group)
    return tuple(
        Judged(
            file["sample"],
            file["file"],
            file["role"],
            labelled.get(file["file"]) if file["role"] == "test" else None,
            source if group else f"{file['role']}/{source}",
        )
        for file, source in zip(files, sources)
    )


def _scores(run: Run, images: tuple[Judged, ...]) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Every score over the images, and which were left out."""
    latents = torch.stack([run.arrays(image.sample)["latent"] for image in images])
    reference, sources = [image.role == "reference" for image in images], [image.source for image in images]
    nearest = nearest_neighbour(
        latents,
        latents[torch.tensor(reference)],
        groups=sources,
        reference_groups=[source for source, known in zip(sources, reference) if known],
    )
    wanted = run.info["scores"]
    scores = _of_denoiser(run, images, wanted) if run.info["denoiser"] else _of_decoder(run, images, wanted, latents)
    if "nearest_neighbour" in wanted:
        scores |= computed({"nearest_neighbour": nearest})
    scores = _in_order(scores)
    there = {of_level(name)[0] for name in scores}
    left_out = {name: "its quantities were not measured" for name in wanted if name not in there}
    for name, score in list(scores.items()):
        missing = float(score.value.isnan().double().mean())
        if missing > _TOO_MANY:
            left_out[name] = f"no number to rank by at {100 * missing:.0f} % of the images"
            del scores[name]
    descriptors = {n: score.value for n, score in scores.items() if SCORES[of_level(n)[0]].kind == "descriptor"}
    if descriptors:
        out = departure(descriptors, torch.tensor(reference), sources)
        scores = {"departure": Estimate(out, torch.zeros_like(out), 0, len(descriptors)), **scores}
    if not scores:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise InputError(f"no score of {run.path} is a number: {reasons}")
    return scores, left_out


def _of_decoder(run: Run, images: tuple[Judged, ...], wanted: Sequence[str], latents: Tensor) -> dict[str, Estimate]:
    quantities = {name: _column(run, name, images) for name in _measured(run)}
    quantities |= {"prior_nll": prior_nll(latents), "score_norm": score_norm(latents)}
    return {name: score for name, score in computed(quantities).items() if name in wanted}


def _of_denoiser(run: Run, images: tuple[Judged, ...], wanted: Sequence[str]) -> dict[str, Estimate]:
    """Every score at every noise level under its name there; what has no level as it is."""
    scores = computed({"pixel_energy": _column(run, "pixel_energy", images)})
    for sigma in run.info["denoiser"]["sigmas"]:
        quantities = {name: _column(run, name, images, sigma) for name in _measured(run) if name != "pixel_energy"}
        scores |= {at_level(name, sigma): score for name, score in computed(quantities).items()}
    return {name: score for name, score in scores.items() if of_level(name)[0] in wanted}


def _measured(run: Run) -> list[str]:
    """Quantities of images, without those that follow from them."""
    return [name for name in run.quantities if name not in QUANTITIES]


def _in_order(scores: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """In the order of the registry, and each by rising noise."""
    places = {name: place for place, name in enumerate(SCORES)}
    order = sorted(scores, key=lambda name: (places[of_level(name)[0]], of_level(name)[1] or 0.0))
    return {name: scores[name] for name in order}


def _column(run: Run, quantity: str, images: tuple[Judged, ...], sigma: float | None = None) -> Estimate:
    """A measured quantity in the order of the images; ``undefined`` where it is missing."""
    rows = {row["unit"]: row for row in run.rows(quantity, **({} if sigma is None else {"sigma": sigma}))}
    missing = {"value": math.nan, "stderr": math.nan, "status": "undefined"}
    mine = [rows.get(image.sample, missing) for image in images]
    value, stderr = (torch.tensor([row[part] for row in mine], dtype=torch.float64) for part in ("value", "stderr"))
    return Estimate(value, stderr, 0, 1, tuple(row["status"] for row in mine))


def _table(scores: Mapping[str, Estimate], images: tuple[Judged, ...]) -> tuple[DetectionTable | None, str]:
    """AUROC of labels where there are any, otherwise of test against reference."""
    by_label = any(image.label is not None for image in images)
    truth = [image.label if by_label else int(image.role == "test") for image in images]
    whole = torch.stack([score.value for score in scores.values()]).isfinite().all(0).tolist()
    used = [place for place, label in enumerate(truth) if label is not None and whole[place]]
    try:
        table = evaluate(
            {name: score.value[used] for name, score in scores.items()},
            [int(truth[place] or 0) for place in used],
            groups=[images[place].source for place in used],
        )
    except InputError as error:
        return None, str(error)
    return table, ""
