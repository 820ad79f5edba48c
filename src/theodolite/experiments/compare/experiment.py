"""`compare`: every image through both models, and paired differences over sources; or two runs, number by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.models import check_model
from theodolite.errors import InputError, refusing
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import ImageExperiment, usual_size
from theodolite.experiments.survey.experiment import DESCRIPTORS, known_descriptors
from theodolite.runs.experiment import Derived, Piece, Row, Sitting, number, numbers
from theodolite.runs.settings import BUDGET, DATA, DEVICE, DTYPE, GROUP, LIMIT, SEED, SIZE, Argument, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import Autoencoder, LatentMap
    from theodolite.report.page import Page
    from theodolite.runs.run import Run

__all__ = ["DECODERS", "EXPERIMENT", "SIDES", "Compare"]

SIDES = ("first", "second")

DECODERS = {"first": "second", "second": "first"}
"""Whose latents each decoder is given beside its own: the other's, where shapes agree."""

_DEFAULT = ("local_scaling", "local_rank", "leading_singular_value", "curvature")
"""Descriptors by default: volume, rank, gain of the leading direction, and bending."""

_KIND = "A model as `theodolite survey` takes it, or a run folder."


class Compare(ImageExperiment):
    """What differs between two autoencoders of one kind on the same images, and how surely?

    FIRST and SECOND are two checkpoints, decoders or normalisations. Every image goes through both: latents (what the
    best map between them leaves, in all and by channel), reconstructions (also each decoder on the other's latents, so
    that a moved latent space is told from a changed decoder), and the geometry of both decoders. Differences are second
    less first, paired by image, with 95 % intervals over source photographs. Cost: two surveys of the images.

    "Same or better reconstruction, worse generation: what differs?" "I fine-tuned the decoder: did the latent space
    move?" Finished images are kept: after Ctrl-C the same command goes on.

    FIRST and SECOND may also be two run folders of one kind: every number that both hold is then compared, paired by
    unit.

    Examples:
      theodolite compare ./vae-epoch-10 ./vae-epoch-20 --data photos --out runs/epochs
      theodolite compare ./vae ./vae-finetuned --data photos --size 128 --budget standard --out runs/finetuned
      theodolite compare zoo:patches-plain zoo:patches-kl --data photos --size 32 --out runs/kl
      theodolite compare runs/survey-a runs/survey-b --out runs/difference
    """

    kind = "compare"
    summary = SUMMARIES["compare"]
    arguments = (Argument("first", _KIND), Argument("second", _KIND))
    settings: ClassVar[Sequence[Setting]] = (
        replace(DATA, required=False, help="Folder of images; not with two runs."),
        LIMIT,
        SIZE,
        replace(BUDGET, default="quick"),
        replace(DESCRIPTORS, help=f"Of both decoders; by default {', '.join(_DEFAULT)}."),
        GROUP,
        SEED,
        DEVICE,
        DTYPE,
    )
    coordinates: ClassVar = {
        "side": str,
        "sample": str,
        "map": str,
        "decoder": str,
        "fit": str,
        "channel": int,
        "part": str,
        "where": str,
    }
    requires: ClassVar = {"models": list, "data": dict}
    without_derivatives = frozenset(("psnr", "rmse", "moved", "unexplained"))

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.descriptors.effort import EFFORTS

        self.is_of_runs = all(_is_run(given[side]) for side in SIDES)
        if any(_is_run(given[side]) for side in SIDES) and not self.is_of_runs:
            raise InputError("two models or two run folders expected, got one of each; compare like with like")
        self.effort = EFFORTS[given["budget"]]
        if self.is_of_runs:
            self._of_runs(given)
        else:
            self._of_models(given)

    def _of_runs(self, given: Mapping[str, Any]) -> None:
        from theodolite.runs.run import read_run

        self.given, self.roles = dict(given), {}
        if given["data"] is not None:
            raise InputError("--data belongs to two models, got it with two runs, which hold their numbers already")
        self.runs = [read_run(given[side]) for side in SIDES]
        kinds = [run.kind for run in self.runs]
        if kinds[0] != kinds[1]:
            raise InputError(f"two runs of one kind expected, got one of {kinds[0]} and one of {kinds[1]}")
        self.units = ["numbers"]

    def _of_models(self, given: Mapping[str, Any]) -> None:
        if given["data"] is None:
            raise InputError("--data FOLDER expected with two models, got none: the images that go through both")
        check_model(given["second"], device=given["device"], dtype=given["dtype"])
        super().__init__({**given, "model": given["first"]})

    def find(self) -> ImageSet:
        """The images, from their sources in turn."""
        from theodolite.data import find_images, sources_of, spread
        from theodolite.errors import path_of

        images = find_images(path_of(self.given["data"], "the image folder"))
        sources = sources_of([image.file for image in images.files], self.given["group"])
        return replace(images, files=tuple(spread(images.files, sources, self.given["limit"])))

    def side(self) -> int:
        """Pixels that images are resized to: what both models take."""
        return max(usual_size(model, self.given["size"]) for model in self.models)

    def open(self) -> None:
        """Both models, on images that both take; or nothing for two runs."""
        from theodolite.data.models import opened_autoencoder
        from theodolite.descriptors.together import applicable

        if self.is_of_runs:
            return
        options = {"device": self.given["device"], "dtype": self.given["dtype"]}
        self.models: list[Autoencoder] = [opened_autoencoder(self.given[side], **options) for side in SIDES]
        first, second = self.models
        self.model, self.device = first, first.device
        if first.image_channels != second.image_channels:
            raise InputError(
                f"two models of one kind of image expected, {first.name} has {first.image_channels} channels and "
                f"{second.name} {second.image_channels}"
            )
        for model in self.models:
            self.accept(model)
        image = self.picture_of(self.units[0])
        self.shapes = [self._latent_shape(model, image) for model in self.models]
        chosen = self.given["descriptors"] or _DEFAULT
        names = [name for name in known_descriptors() if name in chosen]
        self.descriptors, self.left_out = applicable(names, tuple(image.shape[1:]))

    def _latent_shape(self, model: Autoencoder, image: Tensor) -> tuple[int, ...]:
        import torch

        fix = "try another --size, and see that encode and decode belong together"
        failure = refusing(model.name, f"failed on the first image, of shape {tuple(image.shape)}", fix)
        with failure, torch.no_grad():
            latents = model.encode(image.to(model.device))
            model.decode(latents)
            return tuple(latents.shape[1:])

    @property
    def are_alike(self) -> bool:
        """Whether each decoder can be given the other's latents."""
        return self.shapes[0] == self.shapes[1]

    def record(self) -> dict[str, Any]:
        """Both models and the images; or which runs they are."""
        if self.is_of_runs:
            models = [{"name": str(run.path), "kind": run.kind} for run in self.runs]
            return {"models": models, "data": {"files": []}, "of_runs": True}
        data = super().record()["data"]
        shapes = [[*shape] for shape in self.shapes]
        models = [model.describe() for model in self.models]
        return {"models": models, "data": data, "of_runs": False, "latent_shapes": shapes, "left_out": self.left_out}

    def content(self) -> dict[str, Any]:
        """Fingerprints of models and hashes of images; of runs, their configurations and tables."""
        if self.is_of_runs:
            return {"runs": [[run.info["configuration"], run.units] for run in self.runs]}
        hashes = {image.sample: image.sha256 for image in self.images.files}
        return {"models": [m.fingerprint() for m in self.models], "images": hashes, "descriptors": self.descriptors}

    def checked_map(self) -> tuple[LatentMap, Tensor, str] | None:
        """The first decoder at the first latent."""
        if self.is_of_runs:
            return None
        import torch

        with torch.no_grad():
            latents = self.model.encode(self.picture_of(self.units[0]))
        return self.model.decoder, latents, self.model.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One image through both models; or all numbers of both runs."""
        if self.is_of_runs:
            from theodolite.experiments.compare.differences import rows_of_runs

            return Piece(rows_of_runs(*self.runs))
        return self._image(unit, sitting)

    def _image(self, unit: str, sitting: Sitting) -> Piece:
        import torch

        from theodolite.data.images import picture
        from theodolite.estimates import Estimate

        image = self.picture_of(unit)
        with torch.no_grad():
            latents = [model.encode(image.to(model.device)) for model in self.models]
        rows: list[Row] = []
        arrays: dict[str, Tensor] = {}
        pictures = {"": picture(image[0])}
        backs: dict[tuple[str, str], Tensor] = {}
        for side, z in zip(SIDES, latents):
            arrays[f"latent/{side}"] = z[0]
            for decoder, model in zip(SIDES, self.models):
                if decoder == side or self.are_alike:
                    with torch.no_grad():
                        backs[side, decoder] = model.decode(z.to(model.device)).float().cpu()
                    rows += _reconstruction(image, backs[side, decoder], unit, side, decoder)
        for side, model, z in zip(SIDES, self.models, latents):
            pictures[side] = picture(backs[side, side][0], model.output_range)
            rows += self._geometry(side, model, z, unit, sitting, arrays)
        change = (backs["second", "second"] - backs["first", "first"])[0]
        pictures["difference"] = picture(change, (-0.5, 0.5))
        moved = Estimate.of(float(change.double().square().mean().sqrt()))
        rows.append(number("moved", moved, sample=unit, map="autoencoder"))
        return Piece(rows, arrays, pictures)

    def _geometry(
        self, side: str, model: Autoencoder, z: Tensor, unit: str, sitting: Sitting, arrays: dict[str, Tensor]
    ) -> list[Row]:
        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.together import measured_at
        from theodolite.estimates.streams import seed_of

        sitting.tell(f"{side} decoder")
        seed = seed_of(self.given["seed"], unit)
        chart = Chart(model.decoder, z, effort=self.effort, generator=seed, exact_second=sitting.second_order_holds)
        measured = measured_at(chart, self.descriptors, seed)
        if chart.has_spectrum:
            arrays[f"spectrum/{side}/nodes"] = chart.spectrum.nodes[0]
            arrays[f"spectrum/{side}/weights"] = chart.spectrum.weights[0]
        return numbers(measured.estimates, side=side, sample=unit, map="decoder")

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Paired differences, and what a map between the latent spaces leaves."""
        from theodolite.experiments.compare.differences import derived_rows

        return Derived(derived_rows(run))

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Those of descriptors, reconstructions and latents."""
        from theodolite.experiments.compare.differences import QUANTITIES
        from theodolite.experiments.survey.experiment import quantities_of

        return {**quantities_of(), **QUANTITIES}

    @classmethod
    def page(cls, run: Run) -> Page:
        """What differs, by size of its evidence; latents, spectra, and the images that moved most."""
        from theodolite.experiments.compare.page import page

        return page(run)


def _is_run(value: Any) -> bool:
    return isinstance(value, str | Path) and (Path(value) / "run.json").is_file()


def _reconstruction(image: Tensor, back: Tensor, unit: str, side: str, decoder: str) -> list[Row]:
    """Root mean square error and peak signal-to-noise ratio of images in [-1, 1]."""
    from theodolite.estimates import Estimate

    error = float((image.cpu().float() - back.clamp(-1, 1)).double().square().mean())
    import math

    scores: dict[str, Estimate] = {
        "rmse": Estimate.of(math.sqrt(error)),
        "psnr": Estimate.of(10 * math.log10(4 / max(error, 1e-12))),  # 4: the squared range of the images
    }
    return numbers(scores, side=side, decoder=decoder, sample=unit, map="autoencoder")


EXPERIMENT = Compare
