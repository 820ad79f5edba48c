"""`Detection`: scores, thresholds and AUROC, read from the run folder that `detect` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

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
from theodolite.surveys.run import Run, read_run
from theodolite.surveys.sources import sources_of
from theodolite.surveys.store import kind_of, parquet, write_atomically

__all__ = ["DETECTION_SCHEMA", "SCORES_SCHEMA", "Detection", "Judged", "read_detection", "write_tables"]

_TOO_MANY = 0.1
"""A score that is no number at more than this share of the images is left out."""

_FILE = (("sample", pa.string()), ("file", pa.string()), ("role", pa.string()), ("label", pa.int8()))
_NUMBERS = ("value", "stderr", "p_value", "p_source")
SCORES_SCHEMA = pa.schema(
    [
        *_FILE,
        ("source", pa.string()),
        ("score", pa.string()),
        *((name, pa.float64()) for name in _NUMBERS),
        ("flagged", pa.bool_()),
    ]
)
"""Columns of `scores.parquet`: one row an image and score."""

_RATES = [f"{name}{end}" for name in ("auroc", "average_precision", "tpr") for end in ("", "_low", "_high")]
_LIMITS = ("threshold", "threshold_low", "threshold_high", "level", "effective")
DETECTION_SCHEMA = pa.schema(
    [("score", pa.string()), *((name, pa.float64()) for name in (*_RATES, *_LIMITS)), ("status", pa.string())]
)
"""Columns of `detection.parquet`: one row a score; `effective` is how many independent reference images there are."""


@dataclass(frozen=True)
class Judged:
    """One image: `role` is ``reference`` or ``test``, `label` 0, 1 or None, `source` its photograph."""

    sample: str
    file: str
    role: str
    label: int | None
    source: str


@dataclass(frozen=True)
class Detection:
    """The finished images of a `detect` run and their scores.

    Attributes:
        run: the run folder.
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
        chosen = str(self.run.info["evaluation"]["score"])
        return chosen if chosen in self.scores else next(iter(self.scores))

    @property
    def level(self) -> float:
        """Of the thresholds."""
        return float(self.run.info["evaluation"]["level"])

    @cached_property
    def reference(self) -> Tensor:
        """Which images are reference images, `(n,)` bool."""
        return torch.tensor([image.role == "reference" for image in self.images])

    @cached_property
    def thresholds(self) -> dict[str, Estimate]:
        """The threshold of every score, from reference images only."""
        found = {}
        for name, score in self.scores.items():
            known = self.reference & ~score.value.isnan()
            found[name] = threshold(score.value[known], self.level, self._sources(known))
        return found

    def p_values(self, name: str) -> tuple[Tensor, Tensor]:
        """Conformal p-values of every image: if images were independent, and with each source counted once.

        A reference image is compared with the others, itself included.
        """
        value = self.scores[name].value
        known = self.reference & ~value.isnan()
        pairs = (conformal_p(value, value[known], groups) for groups in (None, self._sources(known)))
        alone, grouped = pairs
        return alone, grouped

    def flagged(self, name: str) -> Tensor:
        """Images above the threshold, `(n,)` bool."""
        return self.scores[name].value > self.thresholds[name].item()

    @property
    def repeated(self) -> list[str]:
        """Test files whose bytes are those of a reference image."""
        files = self.run.info["data"]["files"]
        known = {file["sha256"] for file in files if file["role"] == "reference"}
        return [file["file"] for file in files if file["role"] == "test" and file["sha256"] in known]

    def order(self, name: str | None = None) -> list[int]:
        """Places of the test images, the most suspicious first; those without a number last."""
        value = self.scores[name or self.headline].value
        places = [place for place, image in enumerate(self.images) if image.role == "test"]
        return sorted(places, key=lambda place: -float(value[place].nan_to_num(-torch.inf)))

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of `scores.parquet`."""
        for name, score in self.scores.items():
            (alone, grouped), above = self.p_values(name), self.flagged(name)
            for place, image in enumerate(self.images):
                columns = (score.value, score.stderr, alone, grouped)
                numbers = {column: float(values[place]) for column, values in zip(_NUMBERS, columns)}
                yield {**vars(image), "score": name, **numbers, "flagged": bool(above[place])}

    def results(self) -> Iterator[dict[str, Any]]:
        """The rows of `detection.parquet`."""
        for name, limit in self.thresholds.items():
            ends = *(float(end) for end in (limit.value, *limit.interval())), self.level, limit["effective"].item()
            row = {"score": name, **dict(zip(_LIMITS, ends)), "status": "undefined"}
            yield row if self.table is None else {**row, **self.table[name]}

    def _sources(self, chosen: Tensor) -> list[str]:
        return [image.source for image, one in zip(self.images, chosen.tolist()) if one]


def read_detection(path: str | Path) -> Detection:
    """Open the run folder of `detect`; of an interrupted run what is finished.

    Raises:
        InputError: no run folder, one of another kind, or too few finished reference images.
    """
    run = read_run(path)
    if kind_of(path) != "detect":
        raise InputError(f"the run folder of `theodolite detect` expected at {path}, got that of a {kind_of(path)}")
    images = _judged(run)
    known = {image.source for image in images if image.role == "reference"}
    if len(known) < 2 or not any(image.role == "test" for image in images):
        raise InputError(
            f"{path} holds too few finished images yet ({len(images)}); run its command again: {run.info['command']}"
        )
    scores, left_out = _scores(run, images)
    table, why = _table(scores, images)
    return Detection(run, images, scores, left_out, table, why)


def _judged(run: Run) -> tuple[Judged, ...]:
    done, labelled = set(run.samples), run.info["evaluation"]["labelled"] or {}
    files = [file for file in run.info["data"]["files"] if file["sample"] in done]
    group = run.info["evaluation"]["group"]
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
    asked = run.info["evaluation"]["scores"]
    found = _of_denoiser(run, images, asked) if run.sigmas else _of_decoder(run, images, asked, latents)
    if "nearest_neighbour" in asked:
        found |= computed({"nearest_neighbour": nearest})
    found = _in_order(found)
    there = {of_level(name)[0] for name in found}
    left_out = {name: "its quantities were not measured" for name in asked if name not in there}
    for name, score in list(found.items()):
        missing = float(score.value.isnan().double().mean())
        if missing > _TOO_MANY:
            left_out[name] = f"no number to rank by at {100 * missing:.0f} % of the images"
            del found[name]
    descriptors = {name: score.value for name, score in found.items() if SCORES[of_level(name)[0]].kind == "descriptor"}
    if descriptors:
        out = departure(descriptors, torch.tensor(reference), sources)
        found = {"departure": Estimate(out, torch.zeros_like(out), 0, len(descriptors)), **found}
    if not found:
        raise InputError(f"no score of {run.path} is a number: {'; '.join(f'{k}: {v}' for k, v in left_out.items())}")
    return found, left_out


def _of_decoder(run: Run, images: tuple[Judged, ...], asked: Sequence[str], latents: Tensor) -> dict[str, Estimate]:
    quantities = {name: _column(run, name, images) for name in run.quantities}
    quantities |= {"prior_nll": prior_nll(latents), "score_norm": score_norm(latents)}
    return {name: score for name, score in computed(quantities).items() if name in asked}


def _of_denoiser(run: Run, images: tuple[Judged, ...], asked: Sequence[str]) -> dict[str, Estimate]:
    """Every score at every noise level under its name there; what has no level as it is."""
    found = computed({"pixel_energy": _column(run, "pixel_energy", images)})
    for sigma in run.sigmas:
        quantities = {name: _column(run, name, images, sigma) for name in run.quantities if name != "pixel_energy"}
        found |= {at_level(name, sigma): score for name, score in computed(quantities).items()}
    return {name: score for name, score in found.items() if of_level(name)[0] in asked}


def _in_order(scores: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """In the order of the registry, and each by rising noise."""
    places = {name: place for place, name in enumerate(SCORES)}
    order = sorted(scores, key=lambda name: (places[of_level(name)[0]], of_level(name)[1] or 0.0))
    return {name: scores[name] for name in order}


def _column(run: Run, quantity: str, images: tuple[Judged, ...], sigma: float | None = None) -> Estimate:
    """A measured quantity in the order of the images; ``undefined`` where it is missing."""
    column = run.column(quantity, sigma)
    rows = {
        sample: (float(value), float(stderr), str(status))
        for sample, value, stderr, status in zip(*(column[name] for name in ("sample", "value", "stderr", "status")))
    }
    missing = (float("nan"), float("nan"), "undefined")
    values, errors, statuses = zip(*(rows.get(image.sample, missing) for image in images))
    value, stderr = (torch.tensor(part, dtype=torch.float64) for part in (values, errors))
    return Estimate(value, stderr, 0, 1, tuple(statuses))


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


def write_tables(found: Detection) -> None:
    """Write `scores.parquet` and `detection.parquet` into the run folder."""
    tables = {
        "scores": pa.Table.from_pylist(list(found.rows()), SCORES_SCHEMA),
        "detection": pa.Table.from_pylist(list(found.results()), DETECTION_SCHEMA),
    }
    for name, table in tables.items():
        write_atomically(found.run.path / f"{name}.parquet", [parquet(table)])
