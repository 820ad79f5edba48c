"""`detect`: images of two folders, measured as a survey measures them, and judged by those of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.denoisers import checked_levels
from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import different_folders, in_one, usual_size
from theodolite.experiments.survey.experiment import Survey
from theodolite.runs.experiment import Derived, Piece, Sitting, number, numbers
from theodolite.runs.settings import BUDGET, GROUP, LIMIT, LOADING, MODEL, SEED, SIZE, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.denoisers import NoisedDenoiser
    from theodolite.data.images import ImageSet
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "HEADLINE", "Detect"]

HEADLINE = "departure"
"""The score that orders the images when none is chosen."""

_LABELS = "CSV file with columns file,label of test images: 0 or normal, 1 or unusual."
_SIGMA = "Noise levels of a denoiser, two or more, in units of its points; by default 0.1,0.4,1.6."
_SCORES = "By default all of a decoder but curvature, and of a denoiser those that one spectrum gives."
_SCORE = "The one that orders the images; of a denoiser with its level."
_LEVEL = "Share of the reference below a threshold."


def _scores() -> Sequence[str]:
    from theodolite.detection import SCORES

    return [*SCORES]


def _below_one(level: float) -> float:
    if not level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level!r}; 0.95 flags one reference image in twenty")
    return level


class Detect(Survey):
    """Which images of the test folder are unlike the reference, by the local geometry of MODEL?

    Of an autoencoder that is the geometry of its decoder at every image's latent; of a diffusion model that of its
    denoiser at every image (of a latent one: its latent) with noise of several levels, one draw an image, and scores
    carry their level: local_scaling@0.4. Cost: a survey of both folders, about 170 decoder passes an image (quick, 32
    pixels); of a denoiser some 140 passes an image and level.

    Every score comes with the baselines it has to beat, a threshold set on the reference images alone, a conformal
    p-value for each image, and its AUROC with an interval over source photographs: of test against reference, or of
    --labels. The headline is departure: how far out an image lies in all descriptors, on either side.

    Finished images are kept: after Ctrl-C the same command goes on. On a complete run --labels, --group, --level and
    --score may be changed without measuring again. MODEL is what `theodolite survey` takes, or zoo:coloured-pixels,
    zoo:coloured-latent, the folder of a diffusers pixel pipeline, or of a latent one with --subfolder unet.

    Examples:
      theodolite detect ./my-vae --reference photos --test others --out runs/odd
      theodolite detect ./my-vae --reference photos --test mixed --labels labels.csv --out runs/labelled --limit 0
      theodolite detect ./my-vae --reference photos --test others --out runs/odd --score lc_over_phfe --level 0.9
      theodolite detect zoo:coloured-pixels --reference digits --test odd --out runs/noise --sigma 0.1,0.4
      theodolite detect ./my-vae --reference photos --test others --out runs/large --size 128 --budget standard --json
    """

    kind = "detect"
    summary = SUMMARIES["detect"]
    arguments = (MODEL,)
    settings: ClassVar[Sequence[Setting]] = (
        Setting(name="reference", help="Folder of normal images.", required=True, metavar="FOLDER", role="places"),
        Setting(name="test", help="Folder of images to judge.", required=True, metavar="FOLDER", role="places"),
        Setting(name="labels", help=_LABELS, metavar="FILE.csv", role="judges"),
        Setting(name="sigma", help=_SIGMA, kind=float, above=0.0, many=True, check=lambda s: [*checked_levels(s)]),
        Setting(name="output", help="Which map of a denoiser; eps by default.", choices=("eps", "x0")),
        Setting(name="condition", help="Of a denoiser: 3-red, or a class; by default nothing in particular."),
        LIMIT,
        replace(SIZE, help="Centre square, resized to so many pixels; by default four latents a side, at least 32."),
        replace(BUDGET, default="quick"),
        Setting(name="scores", help=_SCORES, many=True, choices=_scores),
        Setting(name="score", help=_SCORE, default=HEADLINE, role="judges"),
        Setting(name="level", help=_LEVEL, default=0.95, kind=float, above=0.0, check=_below_one, role="judges"),
        *(GROUP, SEED, *LOADING),
    )
    coordinates: ClassVar = {**Survey.coordinates, "score": str}
    judging = ("labelled",)
    without_derivatives = frozenset(("pixel_energy", "reconstruction_error", "denoising_error", "score_norm"))

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.sigmas = checked_levels(given["sigma"])
        super().__init__({**given, "descriptors": None, "rtol": None})

    def find(self) -> ImageSet:
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

    def side(self) -> int:
        """Pixels that images are resized to."""
        return usual_size(self.model, self.given["size"])

    def open(self) -> None:
        """The decoder or the denoiser, its scores, and the descriptors that these need."""
        import torch

        from theodolite.data.denoisers import denoiser_at, opened_subject, refuse_levels
        from theodolite.descriptors.together import applicable
        from theodolite.detection.scores import at_levels, descriptors_for, scores_of
        from theodolite.maps import Autoencoder
        from theodolite.maps.subject import subject_of

        subject = opened_subject(self.given["model"], **self.loading(), size=self.given["size"])
        self.noised: NoisedDenoiser | None = None
        if isinstance(subject, Autoencoder):
            refuse_levels(subject, {name: self.given[name] for name in ("sigma", "output", "condition")})
            self.model = subject
        else:
            output = self.given["output"] or "eps"
            self.noised = denoiser_at(subject, self.sigmas, output, self.given["condition"])
            self.model = self.noised.view
        self.subject = subject_of(self.model)
        self.device = self.model.device
        self.scores = scores_of("denoiser" if self.noised else "decoder", self.given["scores"])
        known = at_levels(self.scores, self.sigmas if self.noised else ())
        if self.given["score"] not in (HEADLINE, *known):
            expected = f"{HEADLINE} or one of {', '.join(known)}"
            raise InputError(f"`score` expected to be {expected}, got {self.given['score']!r}")
        self.accept(self.model)
        if self.noised is not None:
            images = torch.cat([self.picture_of(unit) for unit in self.units[:8]])
            self.noised = self.noised.confirmed(images)
            self.model = self.noised.view
        self.latents, output_image = self.first_pass()
        self.output_shape = tuple(output_image.shape[1:])
        self.descriptors, self.left_out = applicable(descriptors_for(self.scores), self.output_shape)
        if not self.descriptors:
            names = ", ".join(self.scores)
            raise InputError(f"a score of the model's geometry expected among scores, got only {names}")

    def record(self) -> dict[str, Any]:
        """That of a survey, the scores, the size, and of a denoiser its levels."""
        levels = {"sigmas": [*self.sigmas], "output": self.noised.output} if self.noised else {}
        judged = {"scores": self.scores, "labelled": self.labelled, "size": self.side()}
        return {**super().record(), **judged, "denoiser": levels or None}

    def content(self) -> dict[str, Any]:
        """That of a survey, and what is measured."""
        return {**super().content(), "scores": self.scores, "side": self.side()}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The decoder, or the denoiser at its lowest level, at the first image."""
        if self.noised is None:
            return super().checked_map()
        return self.noised.map(self.noised.sigmas[0]), self.latents, self.model.name

    def forecast(self) -> Mapping[str, Any]:
        """That of a survey; of a denoiser at all its levels."""
        told, levels = super().forecast(), len(self.sigmas) if self.noised else 1
        passes = {name: levels * count for name, count in told["passes"].items()}
        scaled = {name: levels * told[name] for name in ("passes_a_sample", "seconds")}
        return {**told, "passes": passes, **scaled}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """The descriptors' numbers, and those of the baselines that need the image."""
        from theodolite.detection import pixel_energy, reconstruction_error

        if self.noised is not None:
            return self._noised(self.noised, unit, sitting)
        piece = super().measure(unit, sitting)
        image = self.picture_of(unit)
        where: dict[str, Any] = {"model": self.model.name, "sample": unit, "map": "decoder", "sigma": None}
        rows = [*piece.rows, number("pixel_energy", pixel_energy(image), **where)]
        if "reconstruction" in piece.pictures:
            rows.append(number("reconstruction_error", reconstruction_error(self.model, image), **where))
        return replace(piece, rows=rows)

    def _noised(self, subject: NoisedDenoiser, unit: str, sitting: Sitting) -> Piece:
        """Every descriptor at one image, noised at every level by the same draw."""
        import torch

        from theodolite.data.pixels import picture
        from theodolite.descriptors.chart import Chart
        from theodolite.detection import pixel_energy
        from theodolite.detection.measuring import denoiser_quantities
        from theodolite.estimates import Seeds
        from theodolite.estimates.streams import seed_of

        image = self.picture_of(unit)
        with torch.no_grad():
            points = self.model.encode(image)
        seed = self.probe_seed(unit)
        e = Seeds(seed_of(self.given["seed"], unit), 1).normal("detection", *points.shape[1:]).to(points)
        where: dict[str, Any] = {"model": self.model.name, "sample": unit, "map": subject.output}
        rows = [number("pixel_energy", pixel_energy(image), sigma=None, **where)]
        exact = {"exact_second": sitting.second_order_holds}
        failed: list[Mapping[str, str]] = []
        messages: dict[str, str] = {}
        operators, denoised = [], {}
        for sigma in subject.sigmas:
            chart = Chart(subject.map(sigma), points + sigma * e, effort=self.effort, generator=seed, **exact)
            with torch.no_grad():
                denoised[sigma] = subject.map(sigma, "x0")(chart.latents)
            measured = denoiser_quantities(chart, self.descriptors, denoised[sigma], points, sigma, seed)
            rows += numbers(measured.estimates, sigma=sigma, **where)
            failed += [{**entry, "reason": f"at sigma {sigma:g}: {entry['reason']}"} for entry in measured.failed]
            messages |= measured.messages
            operators.append(chart.operator)
        with torch.no_grad():
            back = subject.decode(denoised[subject.sigmas[len(subject.sigmas) // 2]])
        pictures = {"": picture(image[0]), "reconstruction": picture(back[0])}
        passes = sum(operator.passes for operator in operators)
        about = {"way": operators[0].way, "status": operators[0].status, "passes": passes}
        return Piece(rows, {"latent": points[0]}, pictures, about, failed, messages)

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Scores and p-values of every image, AUROC and thresholds of every score."""
        from theodolite.experiments.detect.judgement import judgement_of

        return judgement_of(run).derived()

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Those of descriptors and baselines, and what images are judged by."""
        from theodolite.detection.novelty import QUANTITIES
        from theodolite.detection.scores import BASELINE_QUANTITIES

        return {**Survey.quantities(), **BASELINE_QUANTITIES, **QUANTITIES}


EXPERIMENT = Detect
