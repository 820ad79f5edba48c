"""`detect`: images of two folders, or two sets of latents, measured as in a survey and judged by the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import different_folders, in_one, usual_size
from theodolite.experiments.subjects import drawn_in_roles
from theodolite.experiments.survey.experiment import Survey
from theodolite.runs import settings as usual
from theodolite.runs.experiment import Derived, Piece, Sitting, number, numbers
from theodolite.runs.settings import Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.data.latents import LatentSet
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "Detect"]

_HEADLINE = "departure"
"""The score that orders the images when none is chosen."""

_REFERENCE = "Folder of normal images; with --latents normal latents: seed:0..63, or a .safetensors file."
_TEST = "Folder of images to judge."
_TRAIN = (
    "Folder of training images of a diffusion model, with --reference of images that it never saw: which of them it "
)
_CLASSES = (
    "With --train: CSV file with columns file,class; by default the folder that is named by a number, 3/shoe.png. Of "
    "models of text a .safetensors file with the embeddings of each image's prompt."
)
_STRATA = "With --train: regular expression for the part of a path within which images are compared; their class."
_LABELS = "CSV file with columns file,label of test images (of latents seed-3): 0 or normal, 1 or unusual."
_SIGMA = "Noise levels of a denoiser, two or more, in units of its points; by default 0.1,0.4,1.6."
_SCORES = "By default all but curvature, and of a denoiser those that one spectrum gives."
_SCORE = "The one that orders the images; of a denoiser with its level."
_LEVEL = "Share of the reference below a threshold."


def _scores() -> Sequence[str]:
    from theodolite.detection import SCORES
    from theodolite.detection.memorisation import memorisation_scores

    return [*SCORES, *memorisation_scores()]


def _below_one(level: float) -> float:
    if not level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level!r}; 0.95 flags one reference image in twenty")
    return level


def _levels(sigmas: Sequence[float]) -> list[float]:
    from theodolite.detection.scores import checked_levels

    return [*checked_levels(sigmas)]


class Detect(Survey):
    """Which test samples are unlike the reference, by the local geometry of MODEL?

    Samples are images of two folders, or latents (--latents, with --reference seeds or a file). Of an autoencoder the
    decoder is measured at every image's latent, or the encoder at the image; of a diffusion model the denoiser at
    every image (of a latent one: its latent) with noise of several levels, one draw an image, and scores carry their
    level: local_scaling@0.4. At latents it is the decoder, a generator, or a sampler. Cost: a survey of both sets,
    about 170 passes a sample (quick, 32 pixels); of a denoiser some 140 passes an image and level.

    Every score comes with the baselines it has to beat, a threshold set on the reference alone, a conformal p-value for
    each sample, and its AUROC with an interval over source photographs: of test against reference, or of --labels. The
    headline is departure: how far out a sample lies in all descriptors, on either side. A latent that is drawn has no
    label: what is flagged is unusual among the reference's latents, not wrong.

    With --train the question is another one: which images of that folder does a diffusion model know by heart, and
    where? Each is noised at every level and scored (flipd, sharpness, denoising_loss, ...; docs/memorisation.md), and
    its p-value is conformal among the reference's images of its class, which the model must never have seen: of such
    images a share of 1 - level is flagged, no more. Cost: at most 64 passes an image, level and score (standard).

    Finished samples are kept: after Ctrl-C the same command goes on. On a complete run --labels, --group, --level and
    --score may be changed without measuring again. MODEL is what `theodolite survey` takes, or zoo:coloured-pixels,
    zoo:coloured-latent, the folder of a diffusers pixel pipeline, or of a latent one with --subfolder unet.

    Examples:
      theodolite detect ./my-vae --reference photos --test others --out runs/odd
      theodolite detect ./my-vae --reference photos --test mixed --labels labels.csv --out runs/labelled --limit 0
      theodolite detect ./my-vae --reference photos --test others --out runs/odd --score lc_over_phfe --level 0.9
      theodolite detect zoo:coloured-pixels --reference digits --test odd --out runs/noise --sigma 0.1,0.4
      theodolite detect zoo:fashion-duplicated --reference unseen --train seen --sigma 0.1,0.4 --limit 0 --out runs/seen
      theodolite detect my_package.models:gan --reference seed:0..63 --latents mine.safetensors --out runs/gan
      theodolite detect ./my-vae --reference photos --test others --out runs/large --size 128 --budget standard --json
    """

    kind = "detect"
    summary = SUMMARIES["detect"]
    arguments = (usual.MODEL,)
    settings: ClassVar[Sequence[Setting]] = (
        Setting(name="reference", help=_REFERENCE, required=True, metavar="FOLDER|SEEDS|FILE", role="places"),
        Setting(name="test", help=_TEST, required=True, instead=("latents", "train"), metavar="FOLDER", role="places"),
        replace(usual.LATENTS, help=usual.LATENTS.help.replace("--data", "--test")),
        Setting(name="train", help=f"{_TRAIN}knows by heart.", metavar="FOLDER", role="places"),
        Setting(name="classes", help=_CLASSES, metavar="FILE.csv", role="places"),
        Setting(name="strata", help=_STRATA, metavar="REGEX", role="judges"),
        Setting(name="labels", help=_LABELS, metavar="FILE.csv", role="judges"),
        usual.MAP,
        Setting(name="sigma", help=_SIGMA, kind=float, above=0.0, many=True, check=_levels),
        Setting(name="output", help="Which map of a denoiser; eps by default.", choices=("eps", "x0")),
        *(*usual.OF_DIFFUSION, usual.LIMIT),
        replace(
            usual.SIZE, help="Centre square, resized to so many pixels; by default four latents a side, at least 32."
        ),
        replace(usual.BUDGET, default="quick"),
        Setting(name="scores", help=_SCORES, many=True, choices=_scores),
        Setting(name="score", help=_SCORE, default=_HEADLINE, role="judges"),
        Setting(name="level", help=_LEVEL, default=0.95, kind=float, above=0.0, check=_below_one, role="judges"),
        *(usual.GROUP, usual.SEED, *usual.LOADING),
    )
    coordinates: ClassVar = {**Survey.coordinates, "score": str}
    variants: ClassVar = {"train": "theodolite.experiments.memorised.experiment"}
    judging = ("labelled",)
    without_derivatives = frozenset(("pixel_energy", "reconstruction_error", "denoising_error", "score_norm"))

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.detection.scores import checked_levels

        for name in ("classes", "strata"):
            if given[name] is not None:
                raise InputError(f"`{name}` belongs to training images, got it without `train`; leave it out")
        self.sigmas = checked_levels(given["sigma"])
        super().__init__({**given, "descriptors": None, "rtol": None})

    def find_images(self) -> ImageSet:
        """The images of both folders as one set, from their sources in turn; labels are read on the way."""
        from theodolite.data import sourced_images, sources_of
        from theodolite.data.images import readable_images
        from theodolite.data.labels import labels_among, read_labels
        from theodolite.data.listing import list_images
        from theodolite.data.sources import several_sources

        group, limit, seed, names = self.given["group"], self.given["limit"], self.given["seed"], ("reference", "test")
        fix = "give other images to judge"
        folders = different_folders(self.given["reference"], self.given["test"], names, fix)
        reference, sources = sourced_images(folders[0], group, limit, "reference", seed)
        listing = list_images(folders[1], "test")
        crops = sources_of(listing.files, group)
        several_sources(sources, reference.folder, limit, "or tell sources apart with --group")
        labels = read_labels(self.given["labels"], listing.files)
        groups = [(labels.get(file), crop) for file, crop in zip(listing.files, crops)]
        test = readable_images(listing, limit, seed, groups, [*map(labels.get, listing.files)] if labels else None)
        self.labelled = labels_among(labels, [image.file for image in test.files], self.given["labels"])
        images, self.roles = in_one([reference, test], {"reference": reference.files, "test": test.files})
        return images

    def find_drawn(self) -> Mapping[str, tuple[LatentSet, str]]:
        """The latents of both roles; labels name them as the table of images does, ``seed-3``."""
        from theodolite.data.labels import labels_among, read_labels

        specs = {"reference": str(self.given["reference"]), "test": self.given["latents"]}
        drawn, self.roles = drawn_in_roles(specs, "give other latents to judge")
        names = [sample for unit, (_, sample) in drawn.items() if self.roles[unit] == "test"]
        self.labelled = labels_among(read_labels(self.given["labels"], names), names, self.given["labels"])
        if len(drawn) - len(names) < 2:
            raise InputError(f"two reference latents or more expected, got {specs['reference']}; e.g. seed:0..63")
        return drawn

    def side(self) -> int | None:
        """Pixels that images are resized to."""
        return self.given["size"] if self.drawn else usual_size(self.model, self.given["size"])

    def open(self) -> None:
        """The map, at every noise level of a denoiser, its scores, and the descriptors that these need."""
        from theodolite.data.models import opened_model
        from theodolite.detection.scores import at_levels, descriptors_for, scores_of
        from theodolite.maps.adapters import map_at

        size = self.given["size"] if self.drawn else self.wanted_size()
        model = opened_model(self.given["model"], size=size, **self.loading())
        told = {"model": model, **dict.fromkeys(self.loading())}
        if map_at(model, self.given["map"], not self.drawn) == "denoiser":
            told |= {"sigma": self.sigmas[0], "output": self.given["output"] or "eps"}
        self.open_subject(**told)
        self.levels = [self.subject.at(sigma) for sigma in self.sigmas] if self.subject.kind == "denoiser" else []
        self.scores = scores_of(self.subject.kind, self.given["scores"])
        known = at_levels(self.scores, self.sigmas if self.levels else ())
        if self.given["score"] not in (_HEADLINE, *known):
            expected = f"{_HEADLINE} or one of {', '.join(known)}"
            raise InputError(f"`score` expected to be {expected}, got {self.given['score']!r}")
        if not (descriptors := descriptors_for(self.scores)):
            names = ", ".join(self.scores)
            raise InputError(f"a score of the model's geometry expected among scores, got only {names}")
        self.choose(descriptors)

    def record(self) -> dict[str, Any]:
        """That of a survey, the scores, the size, and of a denoiser its levels."""
        levels = {"sigmas": [*self.sigmas], "output": self.subject.output} if self.levels else {}
        judged = {"scores": self.scores, "labelled": self.labelled, "size": self.side()}
        return {**super().record(), **judged, "denoiser": levels or None}

    def content(self) -> dict[str, Any]:
        """That of a survey, and what is measured."""
        return {**super().content(), "scores": self.scores, "side": self.side()}

    def forecast(self) -> Mapping[str, Any]:
        """That of a survey; of a denoiser at all its levels."""
        costs, levels = super().forecast(), len(self.levels) or 1
        passes = {name: levels * count for name, count in costs["passes"].items()}
        scaled = {name: levels * costs[name] for name in ("passes_a_sample", "seconds")}
        return {**costs, "passes": passes, **scaled}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """The descriptors' numbers, and those of the baselines that need the image."""
        return self._noised(unit, sitting) if self.levels else super().measure(unit, sitting)

    def measure_together(self, units: Sequence[str], sitting: Sitting) -> Mapping[str, Piece]:
        """As a survey does; at noise levels one by one."""
        return {} if self.levels else super().measure_together(units, sitting)

    def beside(self, images: Tensor | None, outputs: Tensor) -> Mapping[str, Estimate]:
        """The baselines that need the image."""
        from theodolite.detection import pixel_energy, reconstruction_error

        made = self.subject.images(outputs)
        shown = made if images is None else images
        beside = {} if shown is None else {"pixel_energy": pixel_energy(shown)}
        if images is not None and made is not None:
            beside["reconstruction_error"] = reconstruction_error(self.model, images)
        return beside

    def _noised(self, unit: str, sitting: Sitting) -> Piece:
        """Every descriptor at one image, noised at every level by the same draw."""
        import torch

        from theodolite.descriptors.chart import Chart
        from theodolite.detection import pixel_energy
        from theodolite.detection.measuring import denoiser_quantities

        image, seed = self.picture_of(unit), self.probe_seed(unit)
        with torch.no_grad():
            clean = self.subject.encoded(image)
        coordinates: dict[str, Any] = {**self.where(unit), "map": self.subject.output}
        rows = [number("pixel_energy", pixel_energy(image), **{**coordinates, "sigma": None})]
        failed: list[Mapping[str, str]] = []
        messages: dict[str, str] = {}
        operators, shown = [], []
        for level in self.levels:
            with torch.no_grad():
                points = level.points(image, self.noise_seed(unit))
            chart = Chart(level.map, points, generator=seed, **self.of_charts(sitting))
            denoised = level.denoised(points, level.outputs(points))
            measured = denoiser_quantities(chart, self.descriptors, denoised, clean, level.sigma, seed)
            rows += numbers(measured.estimates, **{**coordinates, "sigma": level.sigma})
            failed += [{**entry, "reason": f"at sigma {level.sigma:g}: {entry['reason']}"} for entry in measured.failed]
            messages |= measured.messages
            operators.append(chart.operator)
            shown.append(denoised)
        with torch.no_grad():
            pictures = self.pictures(image, shown[len(shown) // 2])
        about = {"way": operators[0].way, "status": operators[0].status, "passes": sum(own.passes for own in operators)}
        return Piece(rows, {"latent": clean[0]}, pictures, about, failed, messages)

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Scores and p-values of every image, AUROC and thresholds of every score."""
        from theodolite.experiments.detect.judgement import judgement_of

        return judgement_of(run).derived()

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Those of descriptors, baselines and scores of memorisation, and what images are judged by."""
        from theodolite.detection.memorisation.judging import quantities
        from theodolite.detection.novelty import QUANTITIES
        from theodolite.detection.scores import BASELINE_QUANTITIES

        return {**quantities(), **Survey.quantities(), **BASELINE_QUANTITIES, **QUANTITIES}


EXPERIMENT = Detect
