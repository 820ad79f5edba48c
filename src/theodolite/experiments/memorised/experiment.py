"""`detect --train`: training images and never-seen ones, scored for memorisation and judged within their class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.data.conditions import EMBEDDINGS
from theodolite.errors import InputError, path_of, refusing
from theodolite.experiments.detect.experiment import Detect
from theodolite.experiments.images import ImageExperiment, different_folders, in_one, usual_size
from theodolite.runs.experiment import Derived, Piece, Row, Sitting, numbers_each

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.detection.memorisation import Probe
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.maps.subject import Subject
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "Memorised"]

_SIGMAS = (0.1, 0.4)
"""Noise levels by default: at small noise the loss of a known image is far below that of others, and maps are read at
more."""

_FOREIGN = ("labels", "map", "output", "steps", "guidance", "condition", "eta", "draws")
"""Settings of `detect` that say nothing of training images."""


@dataclass(frozen=True)
class _Spent:
    """What a budget buys at one image and level."""

    draws: int
    colours: int
    steps: int


_SPENT = {"quick": _Spent(2, 7, 8), "standard": _Spent(4, 7, 8), "full": _Spent(8, 14, 16)}
"""Draws of noise, tangents of a diagonal, and steps of the way back: every score within 64 passes at ``standard``."""


class Memorised(ImageExperiment):
    """Training images of a diffusion model beside never-seen ones: what `detect` is once `train` is given.

    Attributes:
        subject: the denoiser.
        levels: noise levels, rising.
        scores: names of what is measured.
        classes: the class of every image by its sample, or the file with the embeddings of its prompt; empty for a
            model without.
    """

    kind, summary = Detect.kind, Detect.summary
    arguments, settings, coordinates = Detect.arguments, Detect.settings, Detect.coordinates
    judging = ("strata",)
    without_derivatives = frozenset(
        ("denoising_loss", "loss_contrast", "score_difference", "return_distance", "guidance_magnitude", "contrast")
    )
    subject: Subject

    def __init__(self, given: Mapping[str, Any]) -> None:
        defaults = {setting.name: setting.checked_default() for setting in self.settings}
        for name in _FOREIGN:
            if given[name] != defaults[name]:
                raise InputError(f"`{name}` says nothing of training images, got it with `train`; leave it out")
        self.levels = sorted({float(sigma) for sigma in given["sigma"] or _SIGMAS})
        super().__init__(given)

    def find(self) -> ImageSet:
        """The images of both folders as one set, from their sources in turn, and the class of each."""
        from theodolite.data import sourced_images
        from theodolite.data.labels import classes_of
        from theodolite.data.sources import sources_of

        given, names = self.given, ("reference", "train")
        fix = "give images of the same kind that the model never saw as reference"
        folders = different_folders(given["reference"], given["train"], names, fix)
        found = [
            sourced_images(folder, given["group"], given["limit"], name, given["seed"])[0]
            for folder, name in zip(folders, names)
        ]
        images, self.roles = in_one(found, {name: own.files for name, own in zip(names, found)})
        files = {image.sample: image.file for image in images.files}
        self.classes = classes_of(given["classes"], files)
        strata = sources_of([*files.values()], given["strata"], "strata") if given["strata"] else None
        # every prompt is another one: images of a model of text are compared with all others
        strata_of = strata or [
            str(known if isinstance(known := self.classes.get(each), int) else "all") for each in files
        ]
        self.strata = dict(zip(files, strata_of))
        self._check_strata(dict(zip(files, sources_of([*files.values()], given["group"]))))
        return images

    def _check_strata(self, sources: Mapping[str, str]) -> None:
        """Refuse, before anything is measured, a stratum of training images that nothing can be compared with.

        Args:
            sources: the photograph of each sample.
        """
        from theodolite.detection.memorisation.judging import enough_unseen

        unseen: dict[str, list[str]] = {
            stratum: [] for sample, stratum in self.strata.items() if self.roles[sample] == "train"
        }
        for sample, stratum in self.strata.items():
            if self.roles[sample] == "reference" and stratum in unseen:
                unseen[stratum].append(sources[sample])
        for stratum, groups in unseen.items():
            enough_unseen(groups, stratum)

    def side(self) -> int | None:
        """Pixels that images are resized to: by default what the model takes."""
        return usual_size(self.model, self.given["size"])

    def open(self) -> None:
        """The denoiser at the first level, and the scores that can be measured of it."""
        import torch

        from theodolite.data.models import opened_denoiser, opened_map
        from theodolite.descriptors.groups import batch_by_work
        from theodolite.detection.memorisation import chosen_scores, memorisation_scores

        spent = _SPENT[self.given["budget"]]
        model = opened_denoiser(self.given["model"], "detect --train", size=self.wanted_size(), **self.loading())
        first = next(iter(self.classes.values()), None)
        settings = {"sigma": self.levels[0], "condition": first}
        self.subject = opened_map(model, "denoiser", images=True, settings=settings)
        self.device, self.model = self.subject.device, self.subject.reader()
        self.accept(self.model)
        chosen = list(self.given["scores"] or ())
        self.left_out = self._without_start(chosen)
        scores = chosen_scores(chosen or None, conditional=bool(self.classes) and not self.left_out, known=True)
        # features of images need a function for them, which this verb is not given
        self.scores = [name for name in scores if name != "nearest_features" or name in chosen]
        leveled = [name for name in self.scores if memorisation_scores()[name].has_level]
        if not leveled:
            raise InputError(f"a score of the model expected among scores, got only {', '.join(self.scores)}")
        for level in self.levels:
            self.subject.at(level)
        with refusing(self.subject.name, "failed on the first image", "see that it takes such images"), torch.no_grad():
            self.first = self.subject.encoded(self.picture_of(self.units[0]))
            self.subject.map(self.first)
        with refusing(self.subject.name, "cannot be differentiated", "it must run in torch operations only"):
            self.together = batch_by_work(self.subject.map, self.first, spent.draws * spent.colours)

    def _without_start(self, chosen: Sequence[str]) -> list[dict[str, str]]:
        """What is left out where nothing stands for no condition, as of models of text without `unconditional`.

        Raises:
            InputError: it was asked for, or what was given does not stand for it.
        """
        from theodolite.data.conditions import value_of
        from theodolite.detection.memorisation import memorisation_scores
        from theodolite.maps import denoiser_map

        start = self.given["unconditional"]
        if not self.classes:
            if start is not None:
                raise InputError(
                    "`unconditional` stands beside the class of each image, and none has one; leave it out"
                )
            return []
        condition = value_of(next(iter(self.classes.values())))
        options: dict[str, Any] = {"guidance": 0.0, "unconditional": value_of(start)}
        try:
            denoiser_map(self.subject.denoiser, self.levels[0], condition=condition, **options)
        except InputError as error:
            if start is not None or any(memorisation_scores()[name].conditional for name in chosen):
                raise
            return [{"what": "scores beside no condition", "reason": f"give `unconditional`: {error}"}]
        return []

    def record(self) -> dict[str, Any]:
        """Model and images, what is measured, and the class and stratum of every image."""
        known = {unit: self.classes[unit] for unit in self.units if unit in self.classes}
        told = {"scores": self.scores, "sigmas": self.levels, "classes": known, "size": self.side()}
        strata = {unit: self.strata[unit] for unit in self.units}
        model = {"model": self.subject.describe(), "data": self.data()}
        told |= {"left_out": self.left_out} if self.left_out else {}
        return {**model, **told, "strata": strata, "denoiser": None, "map": "denoiser", "labelled": None}

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, the images by hash, their classes, and what is measured."""
        known = {unit: self._identity(self.classes.get(unit)) for unit in self.units}
        start = self._identity(self.given["unconditional"])
        told = {
            "classes": known,
            "unconditional": start,
            "scores": self.scores,
            "sigmas": self.levels,
            "side": self.side(),
        }
        return {"model": self.subject.fingerprint(), "images": self.identities(), **told}

    @staticmethod
    def _identity(condition: int | str | None) -> str:
        """A class as text; of embeddings what their file holds, since another file may bear its name."""
        if not isinstance(condition, str) or not condition.endswith(EMBEDDINGS):
            return str(condition)
        return hashlib.sha256(path_of(condition, "a condition").read_bytes()).hexdigest()

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The denoised point at the first image."""
        return self.subject.map, self.first, self.subject.name

    def forecast(self) -> Mapping[str, Any]:
        """Passes of an image by score, at all levels, counted as if each were measured alone; and the seconds of all.

        The seconds are those of the first image, times the number of images.
        """
        import time

        started = time.monotonic()
        first = self.units[:1]
        rows = self._rows(first, [self._probe(first, self.picture_of(first[0]), level) for level in self.levels])[0]
        seconds = (time.monotonic() - started) * len(self.units)
        passes: dict[str, int] = {}
        for row in rows:
            passes[row["quantity"]] = passes.get(row["quantity"], 0) + row["passes"]
        most = max(passes.values(), default=0)
        return {"images": len(self.units), "passes": passes, "passes_a_sample": most, "seconds": seconds}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Every score of an image at every level, where it is known, and what the denoiser makes of it."""
        return self._of_a_class([unit], self.picture_of(unit))[unit]

    def measure_together(self, units: Sequence[str], sitting: Sitting) -> Mapping[str, Piece]:
        """The same of several images, those of a class at once, as a network is told one class."""
        import torch

        read: dict[Any, dict[str, Tensor]] = {}
        for unit in units:
            with suppress(Exception):  # measured alone, it says why
                read.setdefault(self.classes.get(unit), {})[unit] = self.picture_of(unit)
        pieces: dict[str, Piece] = {}
        for images in read.values():
            pieces |= self._of_a_class([*images], torch.cat([*images.values()]))
        return pieces

    def _of_a_class(self, units: Sequence[str], images: Tensor) -> dict[str, Piece]:
        """What images `(n, channels, height, width)` of one class come to."""
        import torch

        from theodolite.data.pixels import picture
        from theodolite.detection.memorisation.where import memorisation_map

        probes = [self._probe(units, images, level) for level in self.levels]
        clean = probes[0].images
        maps = {f"where/{p.sigma:g}": memorisation_map(p).value.float() for p in probes if clean.ndim == 4}
        with torch.no_grad():
            back = self.subject.images(probes[-1].denoised[0])
        operator = probes[0].under
        passes = sum(probe.under.passes for probe in probes)
        about = {"way": operator.way, "status": operator.status, "passes": passes}
        rows, pieces = self._rows(units, probes), {}
        for index, unit in enumerate(units):
            pictures = {"": picture(images[index])}
            if back is not None:
                pictures["reconstruction"] = picture(back[index], self.subject.output_range)
            arrays = {"image": clean[index], **{name: values[index] for name, values in maps.items()}}
            pieces[unit] = Piece(rows[index], arrays, pictures, about)
        return pieces

    def _probe(self, units: Sequence[str], images: Tensor, level: float) -> Probe:
        """Scores are means over noises, so that these are drawn as probes are."""
        import torch

        from theodolite.data.conditions import value_of
        from theodolite.detection.memorisation import Probe
        from theodolite.estimates import Seeds

        spent = _SPENT[self.given["budget"]]
        with torch.no_grad():
            clean = self.subject.encoded(images)
        options: dict[str, Any] = {"draws": spent.draws, "colours": spent.colours, "steps": spent.steps}
        seeds = Seeds([self.probe_seed(unit) for unit in units], len(units))
        condition, nothing = (value_of(each) for each in (self.classes.get(units[0]), self.given["unconditional"]))
        return Probe(self.subject.denoiser, clean, level, condition, unconditional=nothing, seeds=seeds, **options)

    def _rows(self, units: Sequence[str], probes: Sequence[Probe]) -> list[list[Row]]:
        """The scores of every unit."""
        from theodolite.detection.memorisation import memorisation_scores

        rows: list[list[Row]] = [[] for _ in units]
        for name in self.scores:
            score = memorisation_scores()[name]
            if score.needs_known:  # of all images together: see `derive`
                continue
            for probe in probes if score.has_level else probes[:1]:
                at = {"model": self.subject.name, "map": "denoiser", "sigma": probe.sigma if score.has_level else None}
                each = numbers_each({name: score.function(probe)}, [{**at, "sample": unit} for unit in units])
                for own, more in zip(rows, each):
                    own += more
        return rows

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """P-values of every image and score, thresholds by stratum, and the maps of the most suspicious."""
        from theodolite.experiments.memorised.judgement import judgement_of

        return judgement_of(run).derived()

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The words of scores and of what follows from them."""
        from theodolite.detection.memorisation.judging import quantities

        return quantities()

    @classmethod
    def picture_maps(cls) -> Sequence[Quantity]:
        """The contraction of every pixel at each level."""
        from theodolite.detection.memorisation.where import MAP

        return (MAP,)


EXPERIMENT = Memorised
