"""An experiment: how far an image moves when it is encoded and decoded again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from theodolite.estimates.quantity import Quantity
from theodolite.experiments.images import ImageExperiment
from theodolite.report.page import Column, Page, Section, Table, number_cell
from theodolite.runs import Piece, Setting, Sitting, number
from theodolite.runs.settings import DATA, DEVICE, LIMIT, MODEL, SIZE

_MOVED = Quantity(
    name="moved",
    label="Moved",
    unit="RMS",
    formula="√ mean (x_k − x_0)²",
    source="example",
    meaning="Distance of the image after k round trips from the image before the first.",
)


class Roundtrip(ImageExperiment):
    """How far does an image move when MODEL encodes and decodes it again and again?

    Examples:
      theodolite roundtrip ./my-vae --data photos --out runs/roundtrip --rounds 4
    """

    kind = "roundtrip"
    summary = "Encode and decode images again and again."
    arguments = (MODEL,)
    settings = (
        DATA,
        LIMIT,
        SIZE,
        Setting(name="rounds", help="How often.", kind=int, default=3, least=1),
        DEVICE,
    )
    coordinates: ClassVar = {"sample": str, "round": int}
    without_derivatives = frozenset(("moved",))

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One image through all rounds."""
        import torch

        from theodolite.data.pixels import picture
        from theodolite.estimates import Estimate

        first = self.picture_of(unit).to(self.model.device)
        image, rows = first, []
        for place in range(1, self.given["rounds"] + 1):
            with torch.no_grad():
                image = self.model.decode(self.model.encode(image)).clamp(-1, 1)
            moved = Estimate.of(float((image - first).double().square().mean().sqrt()))
            rows.append(number("moved", moved, sample=unit, round=place))
        return Piece(rows, {}, {"": picture(first[0]), "last": picture(image[0])})

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What its numbers are called."""
        return {_MOVED.name: _MOVED}

    @classmethod
    def page(cls, run: Any) -> Page:
        """One row an image."""
        rounds = range(1, run.settings["rounds"] + 1)
        rows = [[unit, *(number_cell(row) for row in run.rows("moved", unit=unit))] for unit in run.units]
        columns = [Column("sample"), *(Column(f"round_{place}") for place in rounds)]
        table = Table("moved", "moved (RMS) after each round", columns, rows, sortable=True)
        sections = [Section("moved", "Moved", [_MOVED.meaning], [table])]
        return Page(str(run.info["model"]["name"]), {"Images": len(run.units)}, [], sections)
