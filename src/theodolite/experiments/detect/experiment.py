"""`detect`: images of two folders, measured as a survey measures them, and judged by those of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import different_folders, in_one, usual_size
from theodolite.experiments.survey.experiment import Survey
from theodolite.runs.experiment import Derived, Piece, Sitting, number, numbers
from theodolite.runs.settings import (
    BUDGET,
    DEVICE,
    DTYPE,
    GROUP,
    LIMIT,
    MODEL,
    REVISION,
    SEED,
    SIZE,
    SUBFOLDER,
    Setting,
)

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.denoisers import NoisedDenoiser
    from theodolite.data.images import ImageSet
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.report.page import Page
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "HEADLINE", "Detect"]

HEADLINE = "departure"
"""The score that orders the images when none is chosen."""

_LEFT_OUT = ("curvature", "denoising_error")
"""Scores of a decoder that are left out by default: curvature costs as much as all others together."""

_OF_DENOISERS = (
    "local_scaling",
    "local_rank",
    "local_complexity",
    "leading_singular_value",
    "denoising_error",
    "score_norm",
    "nearest_neighbour",
    "pixel_energy",
)
"""Scores of a denoiser by default: what one spectrum gives at every noise level, and baselines."""

_FOREIGN = {"denoiser": ("negative_log_likelihood", "reconstruction_error"), "decoder": ("denoising_error",)}
"""Scores that such a model does not have."""

_LEVEL_FREE = ("nearest_neighbour", "pixel_energy")


def _scores() -> Sequence[str]:
    from theodolite.detection import SCORES

    return [*SCORES]


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
        Setting(
            name="labels",
            help="CSV file with columns file,label of test images: 0 or normal, 1 or unusual.",
            metavar="FILE.csv",
            role="judges",
        ),
        Setting(
            name="sigma",
            help="Noise levels of a denoiser, two or more, in units of its points; by default 0.1,0.4,1.6.",
            kind=float,
            above=0.0,
            many=True,
            check=lambda levels: [*_levels(levels)],
        ),
        Setting(name="output", help="Which map of a denoiser; eps by default.", choices=("eps", "x0")),
        Setting(
            name="condition",
            help="Of a denoiser: 3-red, or a class; by default nothing in particular.",
            check=lambda value: value,
        ),
        LIMIT,
        replace(SIZE, help="Centre square, resized to so many pixels; by default four latents a side, at least 32."),
        replace(BUDGET, default="quick"),
        Setting(
            name="scores",
            help="By default all of a decoder but curvature, and of a denoiser those that one spectrum gives.",
            many=True,
            choices=_scores,
        ),
        Setting(
            name="score",
            help="The one that orders the images; of a denoiser with its level.",
            default=HEADLINE,
            role="judges",
        ),
        Setting(
            name="level",
            help="Share of the reference below a threshold.",
            default=0.95,
            kind=float,
            above=0.0,
            check=lambda level: _below_one(level),
            role="judges",
        ),
        GROUP,
        SEED,
        DEVICE,
        DTYPE,
        SUBFOLDER,
        REVISION,
    )
    coordinates: ClassVar = {**Survey.coordinates, "score": str}
    judging = ("labelled",)
    without_derivatives = frozenset(("pixel_energy", "reconstruction_error", "denoising_error", "score_norm"))

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.sigmas = _levels(given["sigma"])
        super().__init__({**given, "descriptors": None, "rtol": None})

    def find(self) -> ImageSet:
        """The images of both folders as one set, from their sources in turn; labels are read on the way."""
        from theodolite.data import find_images, sources_of, spread
        from theodolite.data.labels import read_labels

        given, limit = self.given, self.given["limit"]
        folders = different_folders(
            given["reference"], given["test"], ("reference", "test"), "give other images to judge"
        )
        reference, test = (find_images(path, None, name) for path, name in zip(folders, ("reference", "test")))
        sources = [sources_of([image.file for image in images.files], given["group"]) for images in (reference, test)]
        if len(used := set(spread(sources[0], sources[0], limit))) < 2:
            raise InputError(
                f"reference images of two sources or more expected, since crops of one photograph are not independent; "
                f"got one of {reference.folder}, {used.pop()!r}, of at most {limit or 'all'} images; give more images, "
                "a larger --limit, or tell sources apart with --group"
            )
        labels = read_labels(given["labels"], test)
        keys = [(labels.get(image.file), source) for image, source in zip(test.files, sources[1])]
        chosen = {"reference": spread(reference.files, sources[0], limit), "test": spread(test.files, keys, limit)}
        self.labelled = self._labelled(labels, [image.file for image in chosen["test"]])
        images, self.roles = in_one([reference, test], chosen)
        return images

    def _labelled(self, labels: Mapping[str, int], files: Sequence[str]) -> dict[str, int] | None:
        if not labels:
            return None
        known = {file: labels[file] for file in files if file in labels}
        if len(set(known.values())) < 2:
            raise InputError(
                f"labels of both kinds expected among the {len(files)} test images, got "
                f"{'only ' + str(*set(known.values())) if known else 'none'} in {self.given['labels']}"
            )
        return known

    def side(self) -> int:
        """Pixels that images are resized to."""
        return usual_size(self.model, self.given["size"])

    def open(self) -> None:
        """The decoder or the denoiser, its scores, and the descriptors that these need."""
        from theodolite.data.denoisers import denoiser_at, opened_subject
        from theodolite.descriptors.together import applicable
        from theodolite.detection.scores import at_level, descriptors_for
        from theodolite.maps import Autoencoder

        subject = opened_subject(self.given["model"], **self.loading())
        self.noised: NoisedDenoiser | None = None
        if isinstance(subject, Autoencoder):
            self._refuse_levels(subject.name)
            self.model = subject
        else:
            output = self.given["output"] or "eps"
            self.noised = denoiser_at(subject, self.sigmas, output, self.given["condition"])
            self.model = self.noised.view
        self.device = self.model.device
        self.scores = self._chosen("denoiser" if self.noised else "decoder")
        sigmas = self.sigmas if self.noised else ()
        known = [at_level(name, s) for name in self.scores if name not in _LEVEL_FREE for s in sigmas]
        known = [*known, *(name for name in self.scores if not sigmas or name in _LEVEL_FREE)]
        if self.given["score"] not in (HEADLINE, *known):
            raise InputError(
                f"`score` expected to be {HEADLINE} or one of {', '.join(known)}, got {self.given['score']!r}"
            )
        self.accept(self.model)
        self.latents, output_image = self.first_pass()
        self.output_shape = tuple(output_image.shape[1:])
        self.descriptors, self.left_out = applicable(descriptors_for(self.scores), self.output_shape)
        if not self.descriptors:
            raise InputError(
                f"a score of the model's geometry expected among scores, got only {', '.join(self.scores)}"
            )

    def _refuse_levels(self, name: str) -> None:
        for setting in ("sigma", "output", "condition"):
            if self.given[setting] is not None:
                raise InputError(
                    f"--{setting} belongs to a denoiser, and {name} is an autoencoder, whose decoder has no noise "
                    "levels; leave it out, or give a diffusion model (of a pipeline's folder with --subfolder unet)"
                )

    def _chosen(self, kind: str) -> list[str]:
        default = _OF_DENOISERS if kind == "denoiser" else [name for name in _scores() if name not in _LEFT_OUT]
        names = [name for name in _scores() if name in (self.given["scores"] or default)]
        wrong = [name for name in names if name in _FOREIGN[kind]]
        if wrong:
            raise InputError(f"scores of a {kind} expected, got {wrong[0]}, which it does not have; leave it out")
        return names

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

        from theodolite.data.images import picture
        from theodolite.detection import pixel_energy
        from theodolite.estimates import Seeds
        from theodolite.estimates.streams import seed_of

        image = self.picture_of(unit)
        with torch.no_grad():
            points = self.model.encode(image)
        seed = self.probe_seed(unit)
        e = Seeds(seed_of(self.given["seed"], unit), 1).normal("detection", *points.shape[1:]).to(points)
        where: dict[str, Any] = {"model": self.model.name, "sample": unit, "map": subject.output}
        rows = [number("pixel_energy", pixel_energy(image), sigma=None, **where)]
        pieces = [self._at_level(subject, points, points + s * e, s, seed, where, sitting) for s in subject.sigmas]
        middle = subject.sigmas[len(subject.sigmas) // 2]
        with torch.no_grad():
            back = subject.decode(subject.map(middle, "x0")(points + middle * e))
        pictures = {"": picture(image[0]), "reconstruction": picture(back[0])}
        rows += [row for piece in pieces for row in piece.rows]
        failed = [entry for piece in pieces for entry in piece.failed]
        messages = {name: text for piece in pieces for name, text in piece.messages.items()}
        passes = sum(int(piece.about["passes"]) for piece in pieces)
        about = {**pieces[0].about, "passes": passes}
        return Piece(rows, {"latent": points[0]}, pictures, about, failed, messages)

    def _at_level(
        self,
        subject: NoisedDenoiser,
        points: Tensor,
        noisy: Tensor,
        sigma: float,
        seed: int,
        where: Mapping[str, Any],
        sitting: Sitting,
    ) -> Piece:
        """Descriptors and baselines at one noise level."""
        import torch

        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.together import measured_at
        from theodolite.detection import denoising_error, score_norm
        from theodolite.detection.curves import FLOOR
        from theodolite.detection.measuring import floored

        exact = {"exact_second": sitting.second_order_holds}
        chart = Chart(subject.map(sigma), noisy, effort=self.effort, generator=seed, **exact)
        measured = measured_at(chart, self.descriptors, seed)
        estimates = {**measured.estimates, **floored(chart, measured.estimates, FLOOR)}
        with torch.no_grad():
            denoised = subject.map(sigma, "x0")(noisy)
        estimates["denoising_error"] = denoising_error(denoised, points)
        estimates["score_norm"] = score_norm((denoised - noisy) / sigma**2)
        failed = [{**entry, "reason": f"at sigma {sigma:g}: {entry['reason']}"} for entry in measured.failed]
        about = {"way": chart.operator.way, "status": chart.operator.status, "passes": chart.operator.passes}
        rows = numbers(estimates, sigma=sigma, **where)
        return Piece(rows, {}, {}, about, failed, measured.messages)

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Scores and p-values of every image, AUROC and thresholds of every score."""
        from theodolite.experiments.detect.judgement import judged

        return Derived(judged(run).rows())

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Those of descriptors and baselines, and what images are judged by."""
        from theodolite.detection import BASELINES, SCORES
        from theodolite.estimates.quantity import Quantity
        from theodolite.experiments.detect.judgement import QUANTITIES

        scores = [SCORES[name] for name in BASELINES if name in SCORES]
        beside = {s.name: Quantity(s.name, s.label, formula=s.formula, source=s.source) for s in scores}
        return {**Survey.quantities(), **beside, **QUANTITIES}

    @classmethod
    def page(cls, run: Run) -> Page:
        """The most suspicious images, every score with its AUROC, and distributions."""
        from theodolite.experiments.detect.page import page

        return page(run)


def _levels(sigmas: Sequence[float] | None) -> tuple[float, ...]:
    from theodolite.data.denoisers import checked_levels

    return checked_levels(sigmas)


def _below_one(level: float) -> float:
    if not level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level!r}; 0.95 flags one reference image in twenty")
    return level


EXPERIMENT = Detect
