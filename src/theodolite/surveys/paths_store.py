"""The run folder of an interpolation: a strip of pictures and numbers for each route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate
from theodolite.surveys.images import picture, side_by_side
from theodolite.surveys.numbers import NUMBER, estimate_of, number_rows
from theodolite.surveys.record import now
from theodolite.surveys.store import (
    RunFolder,
    parquet,
    png_bytes,
    read_info_of,
    read_parquet,
    write_atomically,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["ROUTES_SCHEMA", "STEPS_SCHEMA", "Paths", "Route", "read_paths", "write_paths"]

ROUTES_SCHEMA = pa.schema([("route", pa.string()), ("quantity", pa.string()), *NUMBER])
"""Columns of `routes.parquet`: one row a route and quantity."""

STEPS_SCHEMA = pa.schema([("route", pa.string()), ("step", pa.int64()), ("jump", pa.float64())])
"""Columns of `steps.parquet`: how far each step moves the image, root mean square over pixels."""


@dataclass(frozen=True)
class Route:
    """One way between two latents.

    Attributes:
        name: ``linear``, ``slerp`` or ``geodesic``.
        latents: `(steps + 1, *latent)`.
        images: `(steps + 1, channels, height, width)`.
        numbers: one value each, by name: `length` (a lower bound by chords, with its width), `chord` (from first to
            last image), `tortuosity` (length over chord), `gap` (how much shorter than the straight line of latents,
            as a part of it), `largest_jump`, `jump_variation` (standard deviation over mean of the jumps),
            `latent_length`.
        status: of the curve, from `theodolite.geodesics.curves.STATUSES`.
        evaluations: of the energy, for a geodesic.
    """

    name: str
    latents: Tensor
    images: Tensor
    numbers: Mapping[str, Estimate]
    status: str = "ok"
    evaluations: int = 0

    @property
    def jumps(self) -> Tensor:
        """Root mean square change of the image in each step, `(steps,)`."""
        flat = self.images.detach().cpu().flatten(1).double()
        return flat.diff(dim=0).norm(dim=1) / flat.shape[1] ** 0.5


@dataclass(frozen=True)
class Paths:
    """The routes between two latents, with the content of `run.json`."""

    info: dict[str, Any]
    routes: tuple[Route, ...]


def write_paths(folder: RunFolder, paths: Paths, status: str) -> Paths:
    """Store what there is: pictures, arrays, tables, then the record that says so."""
    from safetensors.torch import save

    for route in paths.routes:
        low, high = paths.info["model"]["output_range"]
        write_atomically(_strip(folder.path, route.name), [png_bytes(strip(route.images, (low, high)))])
    arrays = {
        f"{route.name}/{what}": getattr(route, what).detach().cpu().contiguous()
        for route in paths.routes
        for what in ("latents", "images")
    }
    write_atomically(folder.path / "arrays.safetensors", [save(arrays)])
    tables = {
        "routes": pa.Table.from_pylist(list(_route_rows(paths)), ROUTES_SCHEMA),
        "steps": pa.Table.from_pylist(list(_step_rows(paths)), STEPS_SCHEMA),
    }
    for name, table in tables.items():
        write_atomically(folder.path / f"{name}.parquet", [parquet(table)])
    about = {route.name: {"status": route.status, "evaluations": route.evaluations} for route in paths.routes}
    finished = None if status == "running" else now()
    info = {**paths.info, "status": status, "finished": finished, "routes": about}
    folder.write_info(info)
    return replace(paths, info=info)


def read_paths(path: str | Path) -> Paths:
    """An interpolation from its run folder; of an interrupted one the finished routes.

    Raises:
        InputError: no run folder, that of another kind of run, or one without a finished route.
    """
    from safetensors.torch import load

    folder = path_of(path, "the run folder")
    info = read_info_of(folder, "path", "a path")
    if not info.get("routes"):
        raise InputError(f"{folder} holds no finished route yet; run its command again: {info['command']}")
    arrays = load((folder / "arrays.safetensors").read_bytes())
    rows = read_parquet(folder / "routes.parquet").to_pylist()
    routes = [
        Route(
            name,
            arrays[f"{name}/latents"],
            arrays[f"{name}/images"],
            {row["quantity"]: estimate_of(row) for row in rows if row["route"] == name},
            about["status"],
            about["evaluations"],
        )
        for name, about in info["routes"].items()
    ]
    return Paths(info, tuple(routes))


def strip(images: Tensor, value_range: tuple[float, float], longest: int = 160, gap: int = 2) -> Image:
    """Images `(n, channels, height, width)` side by side."""
    return side_by_side([picture(image, value_range, longest) for image in images], gap)


def _strip(folder: Path, name: str) -> Path:
    return folder / "strips" / f"{name}.png"


def _route_rows(paths: Paths) -> Iterator[dict[str, Any]]:
    for route in paths.routes:
        for row in number_rows(route.numbers):
            yield {"route": route.name, **row}


def _step_rows(paths: Paths) -> Iterator[dict[str, Any]]:
    for route in paths.routes:
        for step, jump in enumerate(route.jumps.tolist(), 1):
            yield {"route": route.name, "step": step, "jump": jump}
