"""`survey`: every descriptor at every image's latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError, refusing
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import ImageExperiment
from theodolite.runs.experiment import Piece, Sitting, numbers
from theodolite.runs.settings import (
    BUDGET,
    DATA,
    LIMIT,
    LOADING,
    MODEL,
    SEED,
    SIZE,
    Setting,
)

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.descriptors.chart import Chart
    from theodolite.descriptors.effort import Effort
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap

__all__ = ["DESCRIPTORS", "EXPERIMENT", "RTOL", "Survey", "known_descriptors", "quantities_of"]


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
    name="descriptors",
    help="What is measured; all by default.",
    many=True,
    choices=known_descriptors,
    check=_not_empty,
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
    """Measure the local geometry of MODEL's decoder at the latent of every image of a folder.

    Every image has its own random stream, made of the seed and its name: its numbers depend neither on the other images
    nor on their order. A budget of quick, standard or full is about 350, 850 or 2400 decoder passes an image; the more,
    the smaller the errors. Finished images are kept as they are made: after Ctrl-C, a crash or a full disk the same
    command goes on where it stopped.

    MODEL is a hub id (owner/name, read through diffusers), a folder with config.json and safetensors weights, a factory
    (package.module:function, without arguments), or one that ships: zoo:digits, zoo:patches-plain, zoo:patches-kl,
    zoo:patches-smooth.

    Examples:
      theodolite survey zoo:patches-kl --data photos --out runs/kl --size 32
      theodolite survey stabilityai/sdxl-turbo --subfolder vae --data photos --out runs/sdxl --size 128
      theodolite survey ./my-vae --data photos --out runs/mine --budget quick --descriptors local_scaling,local_rank
      theodolite survey ./my-vae --data photos --size 256 --rtol 0.01 --dry-run
      theodolite survey my_package.models:make --data photos --out runs/made --device cuda --json > summary.json
    """

    kind = "survey"
    summary = SUMMARIES["survey"]
    arguments = (MODEL,)
    settings: ClassVar[Sequence[Setting]] = (
        DATA,
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
        super().__init__(given)

    def open(self) -> None:
        """The model, its images, and what can be measured of its outputs."""
        from theodolite.descriptors.together import applicable

        super().open()
        self.latents, output = self.first_pass()
        self.output_shape = tuple(output.shape[1:])
        chosen = [name for name in known_descriptors() if name in (self.given["descriptors"] or known_descriptors())]
        self.descriptors, self.left_out = applicable(chosen, self.output_shape)
        if not self.descriptors:
            raise InputError(f"no descriptor left: {self.left_out[0]['what']} {self.left_out[0]['reason']}")

    def record(self) -> dict[str, Any]:
        """Model, images, shapes, what is left out, and what the budget stands for."""
        effort = {name: value for name, value in asdict(self.effort).items() if value is not None}
        shapes = {"latent_shape": [*self.latents.shape[1:]], "output_shape": [*self.output_shape]}
        return {**super().record(), **shapes, "left_out": self.left_out, "effort": effort}

    def content(self) -> dict[str, Any]:
        """Model and images, the descriptors, and what the budget stands for."""
        return {**super().content(), "descriptors": self.descriptors, "effort": asdict(self.effort)}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The decoder at the first latent."""
        return self.model.decoder, self.latents, self.model.name

    def forecast(self) -> Mapping[str, Any]:
        """Passes of a sample by descriptor, counted; and seconds, from a pass that is timed."""
        from theodolite.descriptors.forecast import forecast_of

        with refusing(self.model.name, "cannot be differentiated", "its decoder must run in torch operations only"):
            found = forecast_of(self.descriptors, self.effort, self.model.decoder, self.latents, len(self.units))
        return {**found.as_dict(), "left_out": self.left_out}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Every descriptor at the latent of one image."""
        import torch

        from theodolite.data.pixels import picture
        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.together import measured_at

        image = self.picture_of(unit)
        with torch.no_grad():
            latents = self.model.encode(image)
            output = self.model.decode(latents)
        seed = self.probe_seed(unit)
        exact = {"exact_second": sitting.second_order_holds}
        chart = Chart(self.model.decoder, latents, effort=self.effort, generator=seed, **exact)
        measured = measured_at(chart, self.descriptors, seed)
        rows = numbers(measured.estimates, model=self.model.name, sample=unit, map="decoder", sigma=None)
        pictures = {"": picture(image[0])}
        if output.ndim == 4 and output.shape[1] in (1, 3):
            pictures["reconstruction"] = picture(output[0], self.model.output_range)
        about = {"way": chart.operator.way, "status": chart.operator.status, "passes": chart.operator.passes}
        return Piece(rows, _arrays(chart, latents), pictures, about, measured.failed, measured.messages)

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Every quantity of every descriptor."""
        return quantities_of()


def _effort(budget: str, rtol: float | None) -> Effort:
    from theodolite.descriptors.effort import EFFORTS

    return replace(EFFORTS[budget], rtol=rtol)


def _arrays(chart: Chart, latents: Tensor) -> dict[str, Tensor]:
    if not chart.has_spectrum:
        return {"latent": latents[0]}
    spectrum = chart.spectrum
    return {"latent": latents[0], "spectrum/nodes": spectrum.nodes[0], "spectrum/weights": spectrum.weights[0]}


EXPERIMENT = Survey
