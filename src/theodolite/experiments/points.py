"""What experiments at points of maps have in common: descriptors and other numbers of each, as rows of one table."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.runs.experiment import Experiment, Piece, Row, Sitting, numbers

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from theodolite.descriptors.chart import Chart
    from theodolite.estimates import Estimate
    from theodolite.maps import LatentMap

__all__ = ["PointExperiment", "Points"]


class Points(NamedTuple):
    """Points of one map, their descriptors and coordinates, numbers beside those of descriptors, and pictures."""

    chart: Chart
    descriptors: Sequence[str]
    where: Sequence[Mapping[str, Any]]
    plain: Mapping[str, Estimate] = {}
    pictures: Mapping[str, Image] = {}


class PointExperiment(Experiment):
    """An experiment that measures points of maps, unit by unit.

    Attributes:
        checked: a map, a few latents, and the name of the model, for the self-check; known once it is opened, as are
            the following.
        recorded: what `run.json` says beside settings.
        same: what a run that is continued must agree in.
    """

    checked: tuple[LatentMap, Tensor, str]
    recorded: dict[str, Any]
    same: dict[str, Any]

    @abstractmethod
    def points(self, unit: str) -> Iterator[Points]:
        """The points of a unit."""

    def record(self) -> dict[str, Any]:
        """The model, and where its points are."""
        return self.recorded

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, and what its points come from."""
        return self.same

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The map at a few latents."""
        return self.checked

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """The descriptors and the other numbers at every point of a unit."""
        from theodolite.descriptors.together import measured_at

        rows: list[Row] = []
        failed: list[Mapping[str, str]] = []
        messages: dict[str, str] = {}
        pictures: dict[str, Image] = {}
        for points in self.points(unit):
            measured = measured_at(points.chart, points.descriptors, points.chart.seeds.base)
            for index, where in enumerate(points.where):
                rows += numbers({**measured.estimates, **points.plain}, index, **where)
            failed += [entry for entry in measured.failed if entry not in failed]
            messages |= measured.messages
            pictures |= points.pictures
        return Piece(rows, {}, pictures, {}, failed, messages)
