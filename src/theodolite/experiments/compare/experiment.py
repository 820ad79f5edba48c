"""`compare`: every image or latent through both models, and paired differences; or two runs, number by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.models import check_model
from theodolite.data.remote import data_of
from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.compare.autoencoders import spaces_of, through_both
from theodolite.experiments.compare.maps import SIDES, Design, PairOfMaps, pair_of
from theodolite.experiments.images import usual_size
from theodolite.experiments.subjects import SubjectExperiment, drawn_in_roles
from theodolite.experiments.survey.experiment import DESCRIPTORS, known_descriptors
from theodolite.runs.experiment import Derived, Piece, Sitting
from theodolite.runs.record import is_run
from theodolite.runs.settings import (
    BUDGET,
    DATA,
    DEVICE,
    DTYPE,
    GROUP,
    LATENTS,
    LIMIT,
    OF_MAPS,
    SEED,
    SIZE,
    Argument,
    Setting,
)

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.data.latents import LatentSet
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import Autoencoder, LatentMap
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "SIDES", "SPACES", "Compare"]

SPACES = "+diffusability"
"""The unit of both latent spaces as a whole; no image has such a name, in which only letters, digits, - and _ stand."""

_FEWEST = 3
"""Sources below which a gap is no number, see `theodolite.diffusability`."""

_DEFAULT = ("local_scaling", "local_rank", "leading_singular_value", "curvature")
"""Descriptors by default: volume, rank, gain of the leading direction, and bending."""

_KIND = "A model as `theodolite survey` takes it, or a run folder."


class Compare(SubjectExperiment):
    """What differs between two models of one kind at the same images or latents, and how surely?

    FIRST and SECOND are two checkpoints, decoders or normalisations. Every image goes through both: latents (what the
    best map between them leaves, in all and by channel), reconstructions (also each decoder on the other's latents, so
    that a moved latent space is told from a changed decoder), the geometry of both decoders, and how both spaces give
    way to noise (gap, shift, and the curve of resolved variance, as `theodolite rank --budget quick`). Differences are
    second less first, paired by image, with 95 % intervals over source photographs. Cost: two surveys of the images.

    Two generators, samplers or decoders are compared at the same --latents, two denoisers at the same noised images
    (--sigma), two encoders at the same images (--map encoder): their outputs and the geometry of both maps.

    "Same or better reconstruction, worse generation: what differs?" "I fine-tuned the decoder: did the latent space
    move?" Finished images are kept: after Ctrl-C the same command goes on.

    FIRST and SECOND may also be two run folders of one kind: every number that both hold is then compared, paired by
    sample or by where it was measured.

    Examples:
      theodolite compare ./vae-epoch-10 ./vae-epoch-20 --data photos --out runs/epochs
      theodolite compare ./vae ./vae-finetuned --data photos --size 128 --budget standard --out runs/finetuned
      theodolite compare zoo:patches-plain zoo:patches-kl --data photos --size 32 --out runs/kl
      theodolite compare my_package.models:gan my_package.models:gan_of_epoch_9 --latents seed:0..31 --out runs/gans
      theodolite compare runs/survey-a runs/survey-b --out runs/difference
    """

    kind = "compare"
    summary = SUMMARIES["compare"]
    arguments = (Argument("first", _KIND), Argument("second", _KIND))
    settings: ClassVar[Sequence[Setting]] = (
        replace(DATA, required=False, help="Folder of images; not with two runs."),
        LATENTS,
        *OF_MAPS,
        LIMIT,
        SIZE,
        replace(BUDGET, default="quick"),
        replace(DESCRIPTORS, help=f"Of both maps; by default {', '.join(_DEFAULT)}."),
        GROUP,
        SEED,
        DEVICE,
        DTYPE,
    )
    coordinates: ClassVar = {
        "side": str,
        "sample": str,
        "map": str,
        "latents": str,
        "fit": str,
        "channel": int,
        "tau": float,
        "part": str,
        "where": str,
    }
    requires: ClassVar = {"models": list, "data": dict, "data.files": list, "of_runs": bool}
    without_derivatives = frozenset(("psnr", "rmse", "moved", "unexplained", "gap", "shift", "resolved"))

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.descriptors.effort import EFFORTS

        self.is_of_runs = all(is_run(given[side]) for side in SIDES)
        if any(is_run(given[side]) for side in SIDES) and not self.is_of_runs:
            raise InputError("two models or two run folders expected, got one of each; compare like with like")
        self.effort = EFFORTS[given["budget"]]
        self.maps: PairOfMaps | None = None
        if self.is_of_runs:
            self._of_runs(given)
        else:
            self._of_models(given)

    def _of_runs(self, given: Mapping[str, Any]) -> None:
        from theodolite.experiments.compare.differences import rows_of_runs
        from theodolite.runs.pairs import other_images
        from theodolite.runs.registry import read_run

        self.given = dict(given)
        if taken := next((name for name in ("data", "latents") if given[name] is not None), None):
            raise InputError(f"--{taken} belongs to two models, got it with two runs, which hold their numbers already")
        self.runs = [read_run(given[side]) for side in SIDES]
        first, second = self.runs
        if first.kind != second.kind:
            raise InputError(f"two runs of one kind expected, got one of {first.kind} and one of {second.kind}")
        if first.path.resolve() == second.path.resolve():
            raise InputError(f"two different runs expected, got {first.path} twice")
        self.numbers, self.units = rows_of_runs(first, second), ["numbers"]
        self.left_out = [
            {"what": name, "reason": "another image in either run"} for name in other_images(first, second)
        ]

    def _of_models(self, given: Mapping[str, Any]) -> None:
        if (given["data"] is None) == (given["latents"] is None):
            number = "neither" if given["data"] is None else "both"
            raise InputError(
                f"--data FOLDER or --latents SEEDS expected with two models, got {number}: what goes through both"
            )
        check_model(given["second"], device=given["device"], dtype=given["dtype"])
        super().__init__({**given, "model": given["first"]})

    def find_images(self) -> ImageSet:
        """The images, from their sources in turn."""
        from theodolite.data.images import sourced_images

        folder = data_of(self.given["data"])
        return sourced_images(folder, self.given["group"], self.given["limit"], seed=self.given["seed"])[0]

    def side(self) -> int:
        """Pixels that images are resized to: what both models take."""
        return max(usual_size(model, self.given["size"]) for model in self.models)

    def find_drawn(self) -> Mapping[str, tuple[LatentSet, str]]:
        """The latents."""
        return drawn_in_roles({"latent": self.given["latents"]}, "")[0]

    def open(self) -> None:
        """Both models, at points that both take; or nothing for two runs."""
        from theodolite.data.models import opened_model

        if self.is_of_runs:
            return
        size = self.given["size"] or (None if self.drawn else self.images.common_size)
        options = {"device": self.given["device"], "dtype": self.given["dtype"], "size": size}
        models = [opened_model(self.given[side], **options) for side in SIDES]
        self.maps = pair_of(models, not self.drawn, self.given)
        self.models = models if self.maps is None else []
        if not self.drawn:
            self._read_by([*models] if self.maps is None else [subject.reader() for subject in self.maps.subjects])
        if self.maps is None:
            self._open_autoencoders()
        else:
            self._open_maps(self.maps)

    def _read_by(self, models: list[Autoencoder]) -> None:
        """Keep the images that both models take."""
        self.models = models
        first, second = models
        if first.image_channels != second.image_channels:
            raise InputError(
                f"two models of one kind of image expected, {first.name} has {first.image_channels} channels and "
                f"{second.name} {second.image_channels}"
            )
        for model in models:
            self.accept(model)
        self.model = first

    def _open_autoencoders(self) -> None:
        from theodolite.descriptors.together import applicable

        self.device = self.models[0].device
        self.shapes = [self._latent_shape(model) for model in (self.models[1], self.models[0])][::-1]
        self.descriptors, self.left_out = applicable(self._chosen, tuple(self.picture_of(self.units[0]).shape[1:]))
        if not self.are_alike:
            reason = f"latents have shapes {self.shapes[0]} and {self.shapes[1]}"
            self.left_out = [*self.left_out, {"what": "decoders on the other's latents", "reason": reason}]
        self._add_spaces()

    def _open_maps(self, maps: PairOfMaps) -> None:
        from theodolite.descriptors.together import applicable

        if not self.drawn and maps.word == "denoiser":
            first, second = (self.confirmed(subject) for subject in maps.subjects)
            self.maps = maps = maps._replace(subjects=(first, second))
        self.device = maps.subjects[0].device
        points = self._points(self.units[0])
        self.shapes = [tuple(point.shape[1:]) for point in points]
        self.descriptors, self.left_out = applicable(self._chosen, maps.check(points))
        reason = f"they belong to two autoencoders on images, and here two {maps.word}s are compared"
        self.left_out = [*self.left_out, {"what": "reconstructions, latents and diffusability", "reason": reason}]

    @property
    def _chosen(self) -> list[str]:
        return [name for name in known_descriptors() if name in (self.given["descriptors"] or _DEFAULT)]

    def _points(self, unit: str) -> list[Tensor]:
        """Where both maps are measured."""
        assert self.maps is not None
        return [self.point_of(unit, subject)[0] for subject in self.maps.subjects]

    def _add_spaces(self) -> None:
        """Both latent spaces are a unit too, where there are sources enough."""
        from theodolite.data import sources_of

        self.sources = sources_of([image.file for image in self.images.files], self.given["group"])
        if (count := len(set(self.sources))) >= _FEWEST:
            self.units = [*self.units, SPACES]
        else:
            reason = f"needs images of {_FEWEST} independent sources or more, got {count}"
            self.left_out = [*self.left_out, {"what": "diffusability", "reason": reason}]

    def _latent_shape(self, model: Autoencoder) -> tuple[int, ...]:
        """What the model makes of the first image; it stays the one that reads images."""
        self.model = model
        latents, back = self.first_pass()
        image = self.picture_of(self.units[0])
        if back.shape != image.shape:
            raise InputError(
                f"images of shape {tuple(image.shape[1:])} expected back from {model.name}, got "
                f"{tuple(back.shape[1:])}; compare what gives images of the size it takes"
            )
        return tuple(latents.shape[1:])

    @property
    def are_alike(self) -> bool:
        """Whether each decoder can be given the other's latents."""
        return self.shapes[0] == self.shapes[1]

    def record(self) -> dict[str, Any]:
        """Both models and the images; or which runs they are."""
        if self.is_of_runs:
            from theodolite.runs.pairs import images_of

            models = [{"name": str(run.path), "kind": run.kind} for run in self.runs]
            paired = {row["sample"] for row in self.numbers}
            data = {"files": [file for file in images_of(self.runs[0]) if file["sample"] in paired]}
            data |= {"latents": drawn} if (drawn := (self.runs[0].info.get("data") or {}).get("latents")) else {}
            return {"models": models, "data": data, "of_runs": True, "left_out": self.left_out}
        shapes = [[*shape] for shape in self.shapes]
        models = [model.describe() for model in (self.models if self.maps is None else self.maps.subjects)]
        about: dict[str, Any] = {} if self.maps is None else {"map": self.maps.word}
        about |= {"of_runs": False, "latent_shapes": shapes, "left_out": self.left_out}
        return {"models": models, "data": self.data(), **about}

    def identity(self, unit: str) -> Any:
        """Of the spaces, which photograph each image is from: denoisers never saw a sample's source."""
        return dict(zip(self.by_sample, self.sources)) if unit == SPACES else None

    def content(self) -> dict[str, Any]:
        """Fingerprints of models and hashes of images; of runs, their configurations and tables."""
        if self.is_of_runs:
            return {"runs": [[run.info["configuration"], run.units] for run in self.runs]}
        models = self.models if self.maps is None else self.maps.subjects
        prints = [model.fingerprint() for model in models]
        return {"models": prints, "images": self.identities(), "descriptors": self.descriptors}

    def checked_map(self) -> tuple[LatentMap, Tensor, str] | None:
        """The map whose derivatives are found wrong at the first point, or else the first one."""
        if self.is_of_runs:
            return None
        import torch

        from theodolite.runs.self_checks import self_checked

        if self.maps is not None:
            subjects = [(s.map, z, s.name) for s, z in zip(self.maps.subjects, self._points(self.units[0]))]
        else:
            image = self.picture_of(self.units[0])
            with torch.no_grad():
                subjects = [(m.decoder, m.encode(image), m.name) for m in self.models]
        check = self_checked(*subjects[1], cache=self.uses_cache)
        return subjects[0] if check.first_order_holds and check.second_order_holds else subjects[1]

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One image through both models, or both latent spaces; or all numbers of both runs."""
        if self.is_of_runs:
            return Piece(self.numbers)
        if self.maps is not None:
            image = None if self.drawn else self.picture_of(unit)
            return self.maps.measure(unit, self._points(unit), image, self._design(unit, sitting))
        if unit == SPACES:
            return self._spaces(sitting)
        image = self.picture_of(unit)
        return through_both(self.models, unit, image, self._design(unit, sitting), crossed=self.are_alike)

    def _spaces(self, sitting: Sitting) -> Piece:
        import torch

        images = torch.cat([self.picture_of(sample) for sample in self.by_sample])
        return spaces_of(self.models, images, self.sources, self.probe_seed(), sitting)

    def _design(self, unit: str, sitting: Sitting) -> Design:
        return Design(self.descriptors, self.effort, self.probe_seed(unit), sitting)

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Paired differences, and what a map between the latent spaces leaves."""
        from theodolite.experiments.compare.differences import derived_rows

        return Derived(derived_rows(run))

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Those of descriptors, reconstructions, latents, and spaces under noise."""
        from theodolite.diffusability.quantities import QUANTITIES
        from theodolite.experiments.survey.experiment import quantities_of

        return {**quantities_of(), **{name: QUANTITIES[name] for name in sorted(cls.without_derivatives)}}


EXPERIMENT = Compare
