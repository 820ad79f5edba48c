"""Two maps at the same points: two decoders, generators, samplers, denoisers or encoders, whatever their models are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.errors import InputError, refusing
from theodolite.runs.experiment import Piece, Row, Sitting, number, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.descriptors.effort import Effort
    from theodolite.descriptors.together import Measurements
    from theodolite.maps.latent_map import LatentMap
    from theodolite.maps.subject import Subject

__all__ = ["SIDES", "Design", "PairOfMaps", "geometry", "pair_of"]

SIDES = ("first", "second")


class Design(NamedTuple):
    """What is measured at every point, and how."""

    descriptors: Sequence[str]
    effort: Effort
    seed: int
    sitting: Sitting


class PairOfMaps(NamedTuple):
    """Two subjects that are measured at the same points.

    Attributes:
        subjects: the first and the second.
        word: what both are, ``map`` where they are of two kinds.
    """

    subjects: tuple[Subject, Subject]
    word: str

    def check(self, points: Sequence[Tensor]) -> tuple[int, ...]:
        """The shape of an output; of the first map where the two differ.

        Args:
            points: the first one of either map.

        Raises:
            InputError: a map that fails there, or points of two shapes, which are not the same.
        """
        shapes = [tuple(point.shape[1:]) for point in points]
        if shapes[0] != shapes[1]:
            first, second = (subject.name for subject in self.subjects)
            raise InputError(
                f"points of one shape expected, {first} has {shapes[0]} and {second} {shapes[1]}; compare maps of the "
                "same points"
            )
        outputs = []
        for subject, point in zip(self.subjects, points):
            with refusing(subject.name, f"failed on the first point, of shape {tuple(point.shape)}", "see its shape"):
                outputs.append(subject.outputs(point))
        return tuple(outputs[0].shape[1:])

    def measure(self, unit: str, points: Sequence[Tensor], image: Tensor | None, design: Design) -> Piece:
        """The geometry of both maps at one point, both outputs, and how far they are apart."""
        from theodolite.data.pixels import picture
        from theodolite.estimates import Estimate

        rows: list[Row] = []
        arrays: dict[str, Tensor] = {"latent": points[0][0]}
        pictures = {} if image is None else {"": picture(image[0])}
        failed: list[dict[str, str]] = []
        messages: dict[str, str] = {}
        outputs = []
        for side, subject, point in zip(SIDES, self.subjects, points):
            design.sitting.tell(f"{side} {subject.kind}")
            outputs.append(subject.outputs(point))
            shown = subject.images(outputs[-1])
            if shown is not None:
                pictures[side] = picture(shown[0], subject.output_range)
            measured = geometry(subject.map, point, side, design, arrays)
            rows += numbers(measured.estimates, side=side, sample=unit, map=self.word)
            failed += [{**entry, "what": f"{side} {subject.kind}, {entry['what']}"} for entry in measured.failed]
            messages |= measured.messages
        if outputs[0].shape == outputs[1].shape:
            change = (outputs[1].double().cpu() - outputs[0].double().cpu())[0]
            moved = Estimate.of(float(change.square().mean().sqrt()))
            rows.append(number("moved", moved, sample=unit, map=self.word))
            if change.ndim == 3 and change.shape[0] in (1, 3):
                pictures["difference"] = picture(change.float(), (-0.5, 0.5))
        return Piece(rows, arrays, pictures, {}, failed, messages)


def geometry(map: LatentMap, point: Tensor, side: str, design: Design, arrays: dict[str, Tensor]) -> Measurements:
    """Descriptors of one side at one point, by the draws that both sides share; its spectrum goes to `arrays`."""
    from theodolite.descriptors.chart import Chart
    from theodolite.descriptors.together import measured_at
    from theodolite.experiments.survey.experiment import spectrum_of

    exact = {"exact_second": design.sitting.second_order_holds}
    chart = Chart(map, point, effort=design.effort, generator=design.seed, **exact)
    measured = measured_at(chart, design.descriptors, design.seed)
    arrays |= spectrum_of(chart, f"spectrum/{side}")
    return measured


def pair_of(models: Sequence[Any], images: bool, settings: Mapping[str, Any]) -> PairOfMaps | None:
    """The maps of two models that are compared; None of two autoencoders on images, which have more in common.

    Args:
        models: as they were loaded.
        images: whether points come from images.
        settings: `map`, and what it is told.

    Raises:
        InputError: maps of different points.
    """
    from theodolite.data.models import opened_map
    from theodolite.maps.adapters import map_at

    kinds = [map_at(model, settings["map"], images or settings["sigma"] is not None) for model in models]
    if images and kinds == ["decoder", "decoder"]:
        return None
    if images and kinds[0] != kinds[1]:
        raise InputError(
            f"two maps of one kind expected on images, {models[0].name} is measured as a {kinds[0]} and "
            f"{models[1].name} as a {kinds[1]}; give --latents for maps of latents, or one --map that both have"
        )
    options = {"images": images, "settings": settings, "size": settings["size"]}
    first, second = (opened_map(model, settings["map"], **options) for model in models)
    return PairOfMaps((first, second), kinds[0] if kinds[0] == kinds[1] else "map")
