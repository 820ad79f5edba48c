"""`survey`: every descriptor at every image's latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError, refusing
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import ImageExperiment
from theodolite.runs.experiment import Piece, Sitting, numbers
from theodolite.runs.settings import (
    BUDGET,
    CONDITION,
    DATA,
    GUIDANCE,
    LATENTS,
    LIMIT,
    LOADING,
    MAP,
    MODEL,
    SEED,
    SIGMA,
    SIZE,
    STEPS,
    Setting,
)

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.data.latents import LatentSet
    from theodolite.descriptors.chart import Chart
    from theodolite.descriptors.effort import Effort
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap

__all__ = ["DESCRIPTORS", "EXPERIMENT", "RTOL", "Survey", "known_descriptors", "quantities_of", "spectrum_of"]


def known_descriptors() -> Sequence[str]:
    """Names of the registry, those of other packages among them."""
    from theodolite.descriptors.registry import REGISTRY

    return [*REGISTRY]


def quantities_of() -> Mapping[str, Quantity]:
    """Every quantity of every descriptor, by name."""
    from theodolite.descriptors.registry import REGISTRY

    return {quantity.name: quantity for descriptor in REGISTRY.values() for quantity in descriptor.quantities}


def _not_empty(names: list[str]) -> list[str]:
    if not names:
        raise InputError("`descriptors` expected at least one descriptor, got none; leave it out for all")
    return names


DESCRIPTORS = Setting(
    name="descriptors", help="What is measured; all by default.", many=True, choices=known_descriptors, check=_not_empty
)
RTOL = Setting(
    name="rtol",
    kind=float,
    above=0.0,
    metavar="ERROR",
    help="Instead of the budget's probes, as many as this standard error of local scaling takes, in nats for each "
    "latent dimension, e.g. 0.01.",
)


class Survey(ImageExperiment):
    """Measure the local geometry of a map of MODEL at the latent of every image of a folder, or at drawn latents.

    Every image has its own random stream, made of the seed and its name: its numbers depend neither on the other images
    nor on their order. A budget of quick, standard or full is about 350, 850 or 2400 decoder passes an image; the more,
    the smaller the errors. Finished images are kept as they are made: after Ctrl-C, a crash or a full disk the same
    command goes on where it stopped.

    MODEL is a hub id (owner/name, read through diffusers), a folder with config.json and safetensors weights, a factory
    (package.module:function, without arguments), or one that ships: zoo:digits, zoo:patches-plain, zoo:patches-kl,
    zoo:patches-smooth. Of an autoencoder the decoder is measured, or the encoder with --map encoder. A generator (a
    factory that returns a module z -> x) takes no images: give --latents.

    Examples:
      theodolite survey zoo:patches-kl --data photos --out runs/kl --size 32
      theodolite survey stabilityai/sdxl-turbo --subfolder vae --data photos --out runs/sdxl --size 128
      theodolite survey ./my-vae --data photos --out runs/mine --budget quick --descriptors local_scaling,local_rank
      theodolite survey my_package.models:gan --latents seed:0..63 --out runs/gan
      theodolite survey ./my-vae --data photos --size 256 --rtol 0.01 --dry-run
      theodolite survey my_package.models:make --data photos --out runs/made --device cuda --json > summary.json
    """

    kind = "survey"
    summary = SUMMARIES["survey"]
    arguments = (MODEL,)
    settings: ClassVar[Sequence[Setting]] = (
        replace(DATA, instead="latents"),
        LATENTS,
        MAP,
        SIGMA,
        STEPS,
        GUIDANCE,
        CONDITION,
        replace(LIMIT, default=None, help="Only the first N images, by path; 0 or nothing for all."),
        SIZE,
        BUDGET,
        RTOL,
        DESCRIPTORS,
        SEED,
        *LOADING,
    )
    coordinates: ClassVar = {"model": str, "sample": str, "map": str, "sigma": float}

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.effort: Effort = _effort(given["budget"], given.get("rtol"))
        self.drawn = _latents_of(given)
        super().__init__(given)
        if self.drawn is not None:
            self.units = [*self.drawn.samples]

    def find(self) -> ImageSet:
        """The images; none where latents are given."""
        from theodolite.data.images import ImageSet

        return super().find() if self.drawn is None else ImageSet(Path(), (), ())

    def open(self) -> None:
        """The map, where it is measured, and what can be measured of its outputs."""
        from theodolite.data.models import opened_map
        from theodolite.descriptors.together import applicable

        options = {**self.loading(), "size": self.given["size"] if self.drawn else self.wanted_size()}
        self.subject = opened_map(self.given["model"], self.given["map"], settings=self.given, **options)
        self.device = self.subject.device
        if self.drawn is None:
            self.model = self.subject.reader()
            self.accept(self.model)
        self.latents, output = self._first()
        self.output_shape = tuple(output.shape[1:])
        chosen = [name for name in known_descriptors() if name in (self.given["descriptors"] or known_descriptors())]
        self.descriptors, self.left_out = applicable(chosen, self.output_shape)
        if not self.descriptors:
            raise InputError(f"no descriptor left: {self.left_out[0]['what']} {self.left_out[0]['reason']}")

    def _first(self) -> tuple[Tensor, Tensor]:
        """The first point and its output: what the model cannot do is told before anything is written."""
        if self.drawn is None and self.subject.kind == "decoder":
            return self.first_pass()
        points, _ = self.point_of(self.units[0])
        fix = "see that it takes such points; a LatentMap says what shape they have"
        with refusing(self.subject.name, f"failed on the first point, of shape {tuple(points.shape)}", fix):
            return points, self.subject.outputs(points)

    def point_of(self, unit: str) -> tuple[Tensor, Tensor | None]:
        """Where a sample is measured, `(1, *latent)`, and its image where it has one."""
        import torch

        from theodolite.estimates.streams import seed_of

        if self.drawn is not None:
            return self.drawn.latent(unit, self.subject, self.side()), None
        image = self.picture_of(unit)
        with torch.no_grad():  # the noise of a denoiser's point defines it: the run's own seed, never that of probes
            return self.subject.points(image, seed_of(self.given["seed"], unit)), image

    def record(self) -> dict[str, Any]:
        """Model, samples, shapes, what is left out, and what the budget stands for."""
        effort = {name: value for name, value in asdict(self.effort).items() if value is not None}
        shapes = {"latent_shape": [*self.latents.shape[1:]], "output_shape": [*self.output_shape]}
        about = {"map": self.subject.kind, **shapes, "left_out": self.left_out, "effort": effort}
        if self.drawn is None:
            return {**super().record(), **about}
        files = [{"sample": sample, "file": sample} for sample in self.units]
        data = {"latents": self.drawn.spec, "files": files, "skipped": []}
        return {"model": self.subject.describe(), "data": data, **about}

    def content(self) -> dict[str, Any]:
        """Model and samples, the descriptors, and what the budget stands for."""
        measured = {"descriptors": self.descriptors, "effort": asdict(self.effort)}
        if self.drawn is None:
            return {**super().content(), **measured}
        samples = {sample: self.drawn.identity(sample) for sample in self.units}
        return {"model": self.subject.fingerprint(), "images": samples, **measured}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The map at the first point."""
        return self.subject.map, self.latents, self.subject.name

    def forecast(self) -> Mapping[str, Any]:
        """Passes of a sample by descriptor, counted; and seconds, from a pass that is timed."""
        from theodolite.descriptors.forecast import forecast_of

        with refusing(self.subject.name, "cannot be differentiated", "it must run in torch operations only"):
            found = forecast_of(self.descriptors, self.effort, self.subject.map, self.latents, len(self.units))
        return {**found.as_dict(), "left_out": self.left_out}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Every descriptor at one point."""
        from theodolite.data.pixels import picture
        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.together import measured_at

        points, image = self.point_of(unit)
        outputs = self.subject.outputs(points)
        seed = self.probe_seed(unit)
        exact = {"exact_second": sitting.second_order_holds}
        chart = Chart(self.subject.map, points, effort=self.effort, generator=seed, **exact)
        measured = measured_at(chart, self.descriptors, seed)
        where: dict[str, Any] = {"model": self.subject.name, "sample": unit, "map": self.subject.kind}
        where["sigma"] = self.subject.sigma or None
        rows = numbers(measured.estimates, **where)
        pictures = {} if image is None else {"": picture(image[0])}
        made = self.subject.images(outputs)
        if made is not None:
            pictures["" if image is None else "reconstruction"] = picture(made[0], self.subject.output_range)
        about = {"way": chart.operator.way, "status": chart.operator.status, "passes": chart.operator.passes}
        return Piece(
            rows, {"latent": points[0], **spectrum_of(chart)}, pictures, about, measured.failed, measured.messages
        )

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Every quantity of every descriptor."""
        return quantities_of()


def _latents_of(given: Mapping[str, Any]) -> LatentSet | None:
    from theodolite.data.latents import find_latents

    return find_latents(given["latents"], given["limit"]) if given.get("latents") is not None else None


def _effort(budget: str, rtol: float | None) -> Effort:
    from theodolite.descriptors.effort import EFFORTS

    return replace(EFFORTS[budget], rtol=rtol)


def spectrum_of(chart: Chart, name: str = "spectrum") -> dict[str, Tensor]:
    """Nodes and weights of a chart's spectrum, where one was computed, as arrays of a unit."""
    if not chart.has_spectrum:
        return {}
    return {f"{name}/nodes": chart.spectrum.nodes[0], f"{name}/weights": chart.spectrum.weights[0]}


EXPERIMENT = Survey
