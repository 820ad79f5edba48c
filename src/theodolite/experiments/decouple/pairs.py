"""The finished pairs of a run as columns, and what follows from them: claims, and hotspots beside the same seeds."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import nan, prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.descriptors.subspaces import subspace_dimension
from theodolite.detection import Hotspots
from theodolite.detection.claim_columns import Columns
from theodolite.detection.claims import Claim, claims
from theodolite.detection.hotspot_shares import paired_hotspots
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.experiments.decouple import STUDENT
from theodolite.experiments.hotspots.shares import overlaid, share_rows
from theodolite.runs.experiment import Row, number

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.runs.run import Run

__all__ = ["Pairs"]

_HOTTEST = 6
"""Pairs whose hotspots are drawn."""
_FEWEST = 2
"""Independent pairs, or prompt pairs, from which hotspots are told."""


@dataclass(frozen=True)
class Pairs:
    """The finished pairs of a run."""

    run: Run

    @cached_property
    def names(self) -> list[str]:
        """Their ids, in order."""
        return sorted(unit for unit in self.run.units if unit.startswith("pair-"))

    @cached_property
    def values(self) -> dict[str, dict[str, Tensor]]:
        """By condition and quantity, `(n,)` over `names`; NaN where a value is no number to rank by."""
        return {kind: side for kind, side in self._every.items() if not kind.startswith(STUDENT)}

    @cached_property
    def _every(self) -> dict[str, dict[str, Tensor]]:
        """Those of a student too."""
        values = self.run.values(self.names, "condition")
        return {kind: {name: torch.from_numpy(v) for name, v in side.items()} for kind, side in values.items()}

    @property
    def student(self) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """`values` of the student under a normal and an unusual condition; None where none was measured."""
        sides = [self._every.get(f"{STUDENT}{kind}") for kind in ("normal", "unusual")]
        return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])

    @cached_property
    def prompts(self) -> dict[str, tuple[str, str]]:
        """The normal and the unusual condition of each pair."""
        side = {(row["unit"], row["condition"]): str(row["prompt"]) for row in self.run.rows("ls_max")}
        return {pair: (side[pair, "normal"], side[pair, "unusual"]) for pair in self.names}

    @cached_property
    def columns(self) -> Columns:
        """What the claims are judged by.

        Raises:
            InputError: no pair is finished.
        """
        if not self.names:
            raise InputError(f"no pair of {self.run.path} is finished yet; repeat: {self.run.info['command']}")
        row_of = {int(pair.removeprefix("pair-")): row for row, pair in enumerate(self.names)}
        ends = [[row, row_of[end + 1]] for end, row in row_of.items() if end % 2 == 0 and end + 1 in row_of]
        paths = torch.tensor(ends, dtype=torch.int64).reshape(-1, 2)
        dimension = subspace_dimension(self.run.settings["dimension"], prod(self.run.info["model"]["shape"]))
        pairs = tuple("/".join(self.prompts[pair]) for pair in self.names)
        return Columns(self.values["normal"], self.values["unusual"], paths, dimension, pairs, self.student)

    @cached_property
    def claims(self) -> list[Claim]:
        """C1 to C8."""
        return claims(self.columns, self.run.settings["seed"])

    def claim_rows(self) -> Iterator[Row]:
        """The deciding number of each claim, then those beside it."""
        for claim in self.claims:
            nothing = Estimate.of(nan, nan, n=claim.n, statuses="undetermined")
            yield number("claim", nothing if claim.number is None else claim.number, claim=claim.id)
            for name, beside in claim.others.items():
                yield number("claim", beside, claim=claim.id, beside=name)

    def verdicts(self) -> list[dict[str, Any]]:
        """What follows from each claim's numbers, in words."""
        names = ("id", "text", "test", "n", "prompts", "verdict", "why")
        return [{name: getattr(claim, name) for name in names} for claim in self.claims]

    @cached_property
    def leading(self) -> dict[str, Hashable]:
        """The pairs that have a leading direction under every condition, and what each is drawn with."""
        known = torch.stack([side["lc"].isfinite() for side in self.values.values()]).all(0).tolist()
        return {pair: unit for pair, unit, is_known in zip(self.names, self.columns.units, known) if is_known}

    @cached_property
    def hotspots(self) -> dict[str, Hotspots]:
        """Those of the `leading` pairs by condition, pairs drawn as for the claims; none where these are too few."""
        units = [*self.leading.values()]
        if len({*units}) < _FEWEST:
            return {}
        arrays = [self.run.arrays(pair) for pair in self.leading]
        curvature, detail = (
            {kind: torch.stack([maps[f"{kind}/{name}"] for maps in arrays]) for kind in self.values}
            for name in ("lc_map", "phfe_map")
        )
        return paired_hotspots(curvature, detail, "normal", groups=units, seed=self.run.settings["seed"])

    @property
    def hottest(self) -> dict[str, int]:
        """The pairs with the most hotspots under a normal or an unusual condition, with their places in masks."""
        if not self.hotspots:
            return {}
        normal, unusual = (self.hotspots[kind].images["area"].value for kind in ("normal", "unusual"))
        rows = normal.maximum(unusual).argsort(descending=True, stable=True)[:_HOTTEST].tolist()
        return {[*self.leading][row]: row for row in rows}

    def hotspot_rows(self) -> Iterator[Row]:
        """Shares by condition with their parts, then those of the pairs that have most."""
        for kind, side in self.hotspots.items():
            yield from share_rows(side, condition=kind)
            for pair, row in self.hottest.items():
                for name in ("area", "wasted_area"):
                    yield number(name, side.images[name], row, part="value", condition=kind, pair=pair)

    def overlays(self) -> dict[str, Image]:
        """The pictures of the pairs that have most, with their hotspots; none where the grid is no plane."""
        drawn = {
            f"{pair}.{kind}.overlay": overlaid(self.run, pair, kind, self.hotspots[kind], place, 192)
            for pair, place in self.hottest.items()
            for kind in ("normal", "unusual")
        }
        return {name: picture for name, picture in drawn.items() if picture is not None}
