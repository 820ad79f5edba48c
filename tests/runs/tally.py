"""`tally`: an experiment without a model. Its units draw numbers from their own streams; one builds on another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity
from theodolite.estimates.streams import seed_of
from theodolite.maps import LatentMap
from theodolite.report.page import Page, Section, Table, number_cell
from theodolite.runs import Argument, Derived, Experiment, Piece, Run, Setting, Sitting, number
from theodolite.runs.settings import SEED


class Tally(Experiment):
    """Count what THING gives.

    The mean of some draws, unit by unit.

    Examples:
      theodolite tally abacus --out runs/tally
    """

    kind = "tally"
    summary = "Count what a thing gives."
    arguments = (Argument("thing", "What is counted."),)
    settings = (
        Setting(name="units", default=3, kind=int, least=1, help="How many units."),
        Setting(name="draws", default=8, kind=int, least=2, help="Draws of each."),
        Setting(name="cut", default=0.0, kind=float, help="What counts as high.", role="judges"),
        Setting(name="only", many=True, role="places", help="Only these units; all by default."),
        SEED,
    )
    coordinates: ClassVar = {"side": str, "step": int, "level": float}
    without_derivatives: ClassVar = frozenset({"count"})
    requires: ClassVar = {"thing": dict, "thing.name": str}

    measured: ClassVar[list[str]] = []
    """Units in the order in which they were measured."""
    broken: ClassVar[dict[str, Exception]] = {}
    """What units raise."""
    doubt: ClassVar[bool] = False
    """Whether derivatives are to be found wrong."""
    builds: ClassVar[bool] = True
    """Whether the others build on the first unit."""
    length: ClassVar[str] = ""
    """Content beside the settings."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        if given["thing"] == "nothing":
            raise InputError("a thing expected, got nothing; name one")

    def open(self) -> None:
        known = [f"u{place}" for place in range(self.given["units"])]
        self.units = [unit for unit in known if unit in (self.given["only"] or known)]

    def needs(self, unit: str) -> Sequence[str]:
        return ["u0"] if self.builds and unit != "u0" and "u0" in self.units else []

    def record(self) -> dict[str, Any]:
        return {"thing": {"name": self.given["thing"]}, "nowhere": math.nan}

    def content(self) -> dict[str, Any]:
        return {"thing": self.given["thing"], "length": self.length, "images": {"a": "1", "b": "2"}}

    def checked_map(self):
        detached = LatentMap(lambda z: z.detach() + 0 * z, latent_shape=(3,), name="detached")
        return (detached, torch.ones(1, 3), "abacus") if self.doubt else None

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        self.measured.append(unit)
        sitting.tell("drawing")
        if unit in self.broken:
            raise self.broken[unit]
        stream = torch.Generator().manual_seed(seed_of(self.given["seed"], unit))
        draws = torch.randn(self.given["draws"], generator=stream, dtype=torch.float64)
        n = len(draws)
        mean = Estimate(draws.mean()[None], draws.std()[None] / n**0.5, 2, n)
        count = Estimate(torch.tensor([float(n)]), torch.zeros(1), 0, n)
        nothing = Estimate(torch.tensor([math.nan]), torch.tensor([math.nan]), 0, n)
        rows = [number("mean", mean, side="left", level=0.5), number("count", count), number("hole", nothing, step=1)]
        if self.needs(unit):
            first = sitting.piece("u0").arrays["draws"]
            rows.append(number("sum", Estimate((first + draws).sum()[None], torch.zeros(1), 1, n)))
        pictures = {"": Image.new("RGB", (4, 4)), "back": Image.new("L", (2, 2))}
        failed = [{"what": "half", "reason": "it was too much"}] if unit == "u1" else []
        return Piece(rows, {"draws": draws}, pictures, {"order": draws.argsort()}, failed, {"hole": "nothing there"})

    @classmethod
    def derive(cls, run: Run) -> Derived:
        means = [row["value"] for row in run.rows("mean")] if run.units else []
        if len(means) < 2:
            raise InputError("two units expected, got fewer; measure more")
        high = sum(value > run.settings["cut"] for value in means)
        share = Estimate(torch.tensor([high / len(means)]), torch.tensor([0.1]), 0, len(means))
        nan = Estimate(torch.tensor([math.nan]), torch.tensor([0.1]), 0, 1)
        rows = [number("high_share", share, side="both"), number("unknown", nan)]
        return Derived(rows, {"ends": [{"least": min(means), "most": max(means)}]}, {"all": Image.new("L", (3, 3))})

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        return {"mean": Quantity("mean", "Mean", "draws", "Σx/n", "derived here", "What is drawn on average.")}

    @classmethod
    def page(cls, run: Run) -> Page:
        rows = [
            [unit, *(number_cell(run.rows(name, unit=unit)[0]) for name in ("mean", "hole", "count"))]
            for unit in run.units
        ]
        table = Table("units", f"Units of {run.info['thing']['name']}", ["unit", "mean", "hole", "count"], rows)
        return Page("A tally", {}, ["It is counted."], [Section("units", "Units", blocks=[table])])


class Other(Tally):
    """Another kind.

    Examples:
      theodolite other abacus --out runs/other
    """

    kind = "other"
