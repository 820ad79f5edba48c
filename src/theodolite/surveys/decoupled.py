"""`Decoupled`: pairs and claims, read from the run folder that `decouple` writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from theodolite.errors import InputError, path_of
from theodolite.estimates import NOT_NUMBERS
from theodolite.surveys.decoupling_claims import Claim, claims
from theodolite.surveys.decoupling_columns import Columns
from theodolite.surveys.store import is_held, read_info, read_rows

__all__ = ["KINDS", "Decoupled", "read_decoupling"]

KINDS = ("normal", "unusual", "null")


@dataclass(frozen=True)
class Decoupled:
    """The finished pairs of a `decouple` run.

    Attributes:
        path: the run folder.
        info: the content of `run.json`.
        table: one row a pair, condition (`map`: ``normal``, ``unusual`` or ``null``) and quantity.
    """

    path: Path
    info: dict[str, Any]
    table: pa.Table

    @property
    def status(self) -> str:
        """``complete``, ``interrupted`` or ``running``."""
        status = str(self.info["status"])
        return "interrupted" if status == "running" and not is_held(self.path) else status

    @cached_property
    def samples(self) -> list[str]:
        """Ids of the finished pairs, in order."""
        there = set(self.table["sample"].to_pylist())
        return [sample for sample in self.info["data"]["samples"] if sample in there]

    @cached_property
    def values(self) -> dict[str, dict[str, Tensor]]:
        """By condition and quantity, `(n,)` over `samples`; NaN where a value is no number to rank by."""
        place = {sample: row for row, sample in enumerate(self.samples)}
        found: dict[str, dict[str, Tensor]] = {}
        for row in self.table.select(["sample", "map", "quantity", "value", "status"]).to_pylist():
            side = found.setdefault(row["map"], {})
            column = side.setdefault(row["quantity"], torch.full((len(place),), torch.nan, dtype=torch.float64))
            if row["status"] not in NOT_NUMBERS and row["value"] is not None:
                column[place[row["sample"]]] = row["value"]
        return found

    @cached_property
    def undetermined(self) -> dict[str, int]:
        """Pairs without a leading direction, by condition: they are left out of what needs LC."""
        return {kind: int(side["lc"].isnan().sum()) for kind, side in self.values.items()}

    @cached_property
    def columns(self) -> Columns:
        """What the claims are judged by."""
        if not self.samples:
            raise InputError(f"no pair of {self.path} is finished yet; run its command again: {self.info['command']}")
        order = self.info["data"]["samples"]
        place = {sample: row for row, sample in enumerate(self.samples)}
        ends = [(one, other) for one, other in zip(order[::2], order[1::2]) if one in place and other in place]
        paths = torch.tensor([[place[one], place[other]] for one, other in ends], dtype=torch.int64).reshape(-1, 2)
        names = ["/".join(pair) for pair in self.info["prompts"]]
        prompts = dict(zip(order, self.info["data"]["prompts"]))
        normal, unusual = self.values["normal"], self.values["unusual"]
        dimension = self.info["settings"]["dimension"] or _dimension(self.info["model"]["shape"])
        return Columns(normal, unusual, paths, dimension, tuple(names[prompts[sample]] for sample in self.samples))

    @cached_property
    def claims(self) -> list[Claim]:
        """C1 to C8."""
        return claims(self.columns, self.info["settings"]["seed"])

    def picture(self, sample: str, kind: str) -> Path:
        """The image of a pair under a condition; the file need not exist."""
        return self.path / "thumbnails" / f"{sample}.{kind}.png"


def read_decoupling(path: str | Path) -> Decoupled:
    """Open the run folder of `decouple`: complete, interrupted, or still being written.

    Raises:
        InputError: the folder is missing, or holds no such run.
    """
    folder = path_of(path, "the run folder")
    info = read_info(folder)
    if info.get("kind") != "decouple":
        raise InputError(f"a run of `theodolite decouple` expected in {folder}, got another")
    return Decoupled(folder, info, read_rows(folder)[0])


def _dimension(shape: list[int]) -> int:
    from math import prod

    from theodolite.descriptors.decoupling import subspace_dimension

    return subspace_dimension(None, prod(shape))
