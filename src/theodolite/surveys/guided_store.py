"""The run folder of a guidance run: a table, strips of pictures, and the reward."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate
from theodolite.surveys.numbers import NUMBER, estimate_of
from theodolite.surveys.record import now
from theodolite.surveys.self_checked import doubted, worsened
from theodolite.surveys.store import (
    RunFolder,
    parquet,
    png_bytes,
    read_info_of,
    read_parquet,
    refuse_another_kind,
    write_atomically,
)

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.steering.sweep import Sweep

__all__ = ["GUIDANCE_SCHEMA", "Guided", "clear_guidance", "read_guidance", "write_guidance"]

GUIDANCE_SCHEMA = pa.schema([("reward", pa.string()), ("rho", pa.float64()), ("quantity", pa.string()), *NUMBER])
"""Columns of `guidance.parquet`: one row a reward, scale and quantity (`theodolite.steering.Sweep`)."""

_COLUMNS = 16


@dataclass(frozen=True)
class Guided:
    """A guidance run, read from its folder.

    Attributes:
        path: the run folder.
        info: the content of `run.json`.
        rows: those of `guidance.parquet`.
    """

    path: Path
    info: dict[str, Any]
    rows: list[dict[str, Any]]

    @property
    def rewards(self) -> tuple[str, ...]:
        """Those done at every scale, that of local scaling first."""
        return tuple(self.info["rises"])

    @cached_property
    def rhos(self) -> tuple[float, ...]:
        """Scales, rising."""
        return tuple(sorted({row["rho"] for row in self.rows}))

    @cached_property
    def estimates(self) -> Mapping[tuple[str, float, str], Estimate]:
        """By reward, scale and quantity."""
        return {(row["reward"], row["rho"], row["quantity"]): estimate_of(row) for row in self.rows}

    def strip(self, reward: str, rho: float) -> Path:
        """The samples of a reward at a scale, side by side."""
        return _strip(self.path, reward, rho)


def write_guidance(
    folder: RunFolder, info: Mapping[str, Any], found: Sweep, decode: Callable[[Tensor], Tensor], status: str
) -> dict[str, Any]:
    """Store the rewards that are done: pictures, table, then the record that says so."""
    import torch

    for (name, rho), samples in found.samples.items():
        with torch.no_grad():
            images = decode(samples[:_COLUMNS])
        write_atomically(_strip(folder.path, name, rho), [_png(images)])
    by_derivatives = [row["quantity"].startswith("local_scaling") for row in found.rows()]
    rows = [worsened([row], info)[0] if is_by else row for row, is_by in zip(found.rows(), by_derivatives)]
    table = pa.Table.from_pylist(rows, GUIDANCE_SCHEMA)
    write_atomically(folder.path / "guidance.parquet", [parquet(table)])
    rises = {name: found.rises(name) and not doubted(info) for name in found.rewards}
    written = {**info, "rises": rises, "status": status, "finished": None if status == "running" else now()}
    folder.write_info(written)
    return written


def clear_guidance(folder: RunFolder) -> None:
    """Remove what an earlier run left, which would speak of this one."""
    shutil.rmtree(folder.path / "strips", ignore_errors=True)
    for name in ("guidance.parquet", "reward.safetensors", "report.html"):
        (folder.path / name).unlink(missing_ok=True)


def read_guidance(path: str | Path) -> Guided:
    """A guidance run from its folder; of an interrupted one the rewards that were done at every scale.

    Raises:
        InputError: no run folder, that of another kind of run, or one without results.
    """
    folder = path_of(path, "the run folder")
    refuse_another_kind(folder, "guide")
    info = read_info_of(folder, "guide", "a guidance run")
    if not info.get("rises"):
        raise InputError(f"{folder} holds no results yet; run its command again: {info['command']}")
    return Guided(folder, info, read_parquet(folder / "guidance.parquet").to_pylist())


def _strip(folder: Path, reward: str, rho: float) -> Path:
    return folder / "strips" / f"{reward}_{rho:+g}.png"


def _png(images: Tensor) -> bytes:
    """Images in [-1, 1] side by side."""
    import torch
    from PIL import Image

    row = torch.cat(list(images.float().cpu()), -1)
    pixels = ((row + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return png_bytes(Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels))
