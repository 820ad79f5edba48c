"""`survey`: every descriptor at every image's latent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError, refusing
from theodolite.experiments import SUMMARIES
from theodolite.experiments.subjects import SubjectExperiment
from theodolite.runs.experiment import Piece, Sitting, numbers_each
from theodolite.runs.settings import (
    BUDGET,
    DATA,
    LATENTS,
    LIMIT,
    LOADING,
    MODEL,
    OF_MAPS,
    ONLY,
    SEED,
    SIZE,
    Setting,
)

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.descriptors.chart import Chart
    from theodolite.descriptors.effort import Effort
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity

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


class Survey(SubjectExperiment):
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
        replace(DATA, instead=("latents",)),
        LATENTS,
        *OF_MAPS,
        replace(
            LIMIT,
            default=None,
            help="So many images, drawn at random by the seed, from their sources and sub-folders in turn, or the "
            "first latents; 0 or nothing for all.",
        ),
        ONLY,
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
        """The map, where it is measured, and what can be measured of its outputs."""
        self.open_subject()
        self.choose(self.given["descriptors"] or known_descriptors())

    def choose(self, descriptors: Sequence[str]) -> None:
        """Measure these descriptors, as far as the outputs allow, in the cheapest way to all of them.

        Raises:
            InputError: none is left.
        """
        from theodolite.descriptors.groups import batch_size
        from theodolite.descriptors.plan import plan_of
        from theodolite.descriptors.together import applicable

        chosen = [name for name in known_descriptors() if name in descriptors]
        self.descriptors, self.left_out = applicable(chosen, self.output_shape)
        if not self.descriptors:
            raise InputError(f"no descriptor left: {self.left_out[0]['what']} {self.left_out[0]['reason']}")
        self.plan = plan_of(self.descriptors, self.effort, self.latents.shape[1:], self.output_shape)
        with refusing(self.subject.name, "cannot be differentiated", "it must run in torch operations only"):
            self.together = batch_size(self.subject.map, self.latents, self.effort, self.plan.dense)

    def record(self) -> dict[str, Any]:
        """Model, samples, shapes, what is left out, and what the budget stands for."""
        effort = {name: value for name, value in asdict(self.effort).items() if value is not None}
        shapes = {"latent_shape": [*self.latents.shape[1:]], "output_shape": [*self.output_shape]}
        return {**super().record(), **shapes, "left_out": self.left_out, "effort": effort, "plan": self.plan.as_dict()}

    def content(self) -> dict[str, Any]:
        """Model and samples, the descriptors, what the budget stands for, and the way that was planned."""
        way = [self.plan.dense, self.plan.volume]
        return {**super().content(), "descriptors": self.descriptors, "effort": asdict(self.effort), "way": way}

    def forecast(self) -> Mapping[str, Any]:
        """Passes of a sample by descriptor, counted; and seconds, from a pass that is timed."""
        from theodolite.descriptors.forecast import forecast_of

        with refusing(self.subject.name, "cannot be differentiated", "it must run in torch operations only"):
            costs = forecast_of(self.descriptors, self.effort, self.subject.map, self.latents, len(self.units))
        return {**costs.as_dict(), "left_out": self.left_out}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Every descriptor at one point."""
        point, image = self.point_of(unit, self.subject)
        return self._measured([unit], point, image, sitting)[unit]

    def measure_together(self, units: Sequence[str], sitting: Sitting) -> Mapping[str, Piece]:
        """Every descriptor at several points; nothing where one of them has no number at any of them."""
        readable, points, images = self.points_of(units)
        pieces = self._measured(readable, points, images, sitting)
        return {} if any(piece.failed for piece in pieces.values()) else pieces

    def _measured(
        self, units: Sequence[str], points: Tensor, images: Tensor | None, sitting: Sitting
    ) -> dict[str, Piece]:
        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.together import measured_at
        from theodolite.estimates import Seeds

        seeds = [Seeds(self.probe_seed(unit), 1).base[0] for unit in units]
        chart = Chart(self.subject.map, points, generator=seeds, **self.of_charts(sitting))
        measured = measured_at(chart, self.descriptors, seeds)
        estimates = {**measured.estimates, **self.beside(images, chart.outputs)}
        rows = numbers_each(estimates, [self.where(unit) for unit in units])
        about = {"way": chart.operator.way, "status": chart.operator.status, "passes": chart.operator.passes}
        pieces = {}
        for index, unit in enumerate(units):
            own = slice(index, index + 1)
            pictures = self.pictures(None if images is None else images[own], chart.outputs[own])
            arrays = {"latent": points[index], **spectrum_of(chart, index=index)}
            messages = measured.messages_at(index)
            pieces[unit] = Piece(rows[index], arrays, pictures, about, measured.failed, messages)
        return pieces

    def of_charts(self, sitting: Sitting) -> dict[str, Any]:
        """What every chart of this run is told."""
        way = {"dense": self.plan.dense, "own_volume": self.plan.volume == "preconditioned"}
        return {"effort": self.effort, "exact_second": sitting.second_order_holds, **way}

    def beside(self, images: Tensor | None, outputs: Tensor) -> Mapping[str, Estimate]:
        """Further numbers of each point, from its image where it has one and from what the map makes of it."""
        return {}

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """Every quantity of every descriptor."""
        return quantities_of()


def _effort(budget: str, rtol: float | None) -> Effort:
    from theodolite.descriptors.effort import EFFORTS

    return replace(EFFORTS[budget], rtol=rtol)


def spectrum_of(chart: Chart, name: str = "spectrum", index: int = 0) -> dict[str, Tensor]:
    """Nodes and weights of a chart's spectrum at one of its latents, where one was computed, as arrays of a unit."""
    if not chart.has_spectrum:
        return {}
    return {f"{name}/nodes": chart.spectrum.nodes[index], f"{name}/weights": chart.spectrum.weights[index]}


EXPERIMENT = Survey
