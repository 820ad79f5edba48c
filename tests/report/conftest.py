"""A run folder made up from random numbers, as `survey` writes it: what the report is tested on without a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.runs import read_run
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import Run, schema_of

QUANTITIES = {
    "local_scaling": ("Local scaling", "nats", "Σ log σᵢ", "arXiv 2408.08307"),
    "local_scaling_per_dimension": ("Local scaling per dimension", "nats", "(1/d) Σ log σᵢ", "arXiv 2408.08307"),
    "null_dimension": ("Null dimension", "directions", "#{i : σᵢ = 0}", "derived here"),
    "local_rank": ("Local rank", "directions", "exp(−Σ αᵢ log αᵢ), αᵢ = σᵢ / Σ σⱼ", "arXiv 2408.08307"),
    "local_rank_p2": ("Local rank, p = 2", "directions", "as local rank, with αᵢ = σᵢ² / Σ σⱼ²", "derived here"),
    "leading_singular_value": ("Leading singular value", "output / latent unit", "σ₁", "arXiv 2604.18804"),
    "spectral_gap": ("Spectral gap", "", "(σ₁ − σ₂) / σ₁", "derived here"),
    "axis_rotation": ("Axis rotation", "rad / latent unit", "‖v₁(z) − v₁(z′)‖ / ε", "arXiv 2604.18804"),
    "detail_share": ("Detail share", "", "‖L u₁‖² / ‖u₁‖²", "derived here"),
    "local_complexity": ("Local complexity", "hyperplanes", "Σ units cut by the cross-polytope", "arXiv 2408.08307"),
    "curvature": ("Curvature", "1 / output unit", "E ‖P⊥ D²f(v, v)‖ / ‖J v‖² at h = 0.1", "derived here"),
    "curvature_leading": (
        "Curvature along the leading direction",
        "1 / output unit",
        "as curvature, v = v₁",
        "derived",
    ),
}
"""Label, unit, formula and source of each quantity in the made-up runs."""

ABOUT = {"about": {"way": "forward", "status": "ok", "passes": 3456}, "failed": [], "messages": {}, "seconds": 13.4}
"""What is remembered of every sample."""

STATUS_OF = {"curvature": "truncated", "leading_singular_value": "lower-bound", "axis_rotation": "undetermined"}


def write_run(
    folder: Path,
    *,
    samples: int = 12,
    quantities: tuple[str, ...] = tuple(QUANTITIES),
    pictures: bool = True,
    flagged: bool = True,
    nothing: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    model: str = "zoo:made-up",
    seed: int = 0,
    **info: Any,
) -> Path:
    """Write a run folder; `nothing` names quantities that are NaN at every sample, `info` replaces keys of run.json."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    store = RunFolder(folder, schema_of(EXPERIMENT))
    ids = [f"sample_{index:03d}" for index in range(samples)]
    files = list(names) + [f"crop_{index:03d}.png" for index in range(len(names), samples)]
    store.write_record({**_info(model, ids, files, quantities), **info})
    for index, sample in enumerate(ids):
        stretch, bend = random.normal(1.1, 0.12), np.exp(random.normal(3.0, 0.5))
        drawn = {name: _value(name, stretch, bend, random) for name in quantities}
        rows = [_row(sample, name, *drawn[name], index, flagged, name in nothing) for name in quantities]
        shown = _pictures(random) if pictures else {}
        store.write_unit(sample, rows, _arrays(stretch, random), shown, ABOUT)
    store.merge(ids)
    return folder


def _value(name: str, stretch: float, bend: float, random: np.random.Generator) -> tuple[float, float]:
    exact = {"local_scaling": 64 * stretch, "local_scaling_per_dimension": stretch, "null_dimension": 0.0}
    if name in exact:
        return exact[name], 0.0 if name == "null_dimension" else 0.012 * exact[name]
    centre = {
        "local_rank": 52 - 18 * stretch,
        "local_rank_p2": 30 - 12 * stretch,
        "leading_singular_value": np.exp(2 + stretch),
        "spectral_gap": 0.12,
        "axis_rotation": 0.9,
        "detail_share": 0.31,
        "local_complexity": 140.0,
    }.get(name, bend)
    return float(centre * np.exp(random.normal(0, 0.08))), float(centre * 0.03)


def _row(
    sample: str, name: str, value: float, stderr: float, index: int, flagged: bool, nothing: bool
) -> dict[str, Any]:
    status = STATUS_OF.get(name, "ok") if flagged and index % 5 == 1 else "ok"
    if nothing:
        value, stderr, status = float("nan"), float("nan"), "undefined"
    fixed = {"model": "made-up", "map": "decoder", "sigma": None, "passes": 288, "n": 6}
    low = value if status == "lower-bound" else value - 1.96 * stderr
    ends = {"low": low, "high": value + 1.96 * stderr}
    return {**fixed, "sample": sample, "quantity": name, "value": value, "stderr": stderr, **ends, "status": status}


def _arrays(stretch: float, random: np.random.Generator) -> dict[str, torch.Tensor]:
    return {
        "latent": torch.tensor(random.normal(size=(4, 4, 4)), dtype=torch.float32),
        "spectrum/nodes": torch.tensor(np.exp(np.sort(random.normal(stretch, 0.9, 64)))),
        "spectrum/weights": torch.full((64,), 1 / 64, dtype=torch.float64),
    }


def _pictures(random: np.random.Generator) -> dict[str, Image.Image]:
    ramp = np.linspace(0, 1, 32)
    tint = random.uniform(0.3, 1.0, 3)
    pixels = (255 * np.stack(np.meshgrid(ramp, ramp), -1).mean(-1)[..., None] * tint).astype(np.uint8)
    return {"": Image.fromarray(pixels), "reconstruction": Image.fromarray(pixels // 2 + 60)}


def _info(model: str, ids: list[str], files: list[str], quantities: tuple[str, ...]) -> dict[str, Any]:
    keys = ("label", "unit", "formula", "source")
    return {
        "format": 2,
        "kind": "survey",
        "theodolite": "0.1.0",
        "command": "theodolite survey zoo:made-up --data photos --out run",
        "configuration": "0" * 64,
        "status": "complete",
        "created": "2026-03-12T10:04:11+00:00",
        "finished": "2026-03-12T10:06:52+00:00",
        "arguments": {"model": model},
        "settings": {"data": "photos", "limit": None, "size": 32, "budget": "standard", "seed": 0},
        "content": {},
        "effort": {"probes": 6, "depth": 24, "neighbours": 8, "scales": [0.1, 1.0]},
        "model": {
            "name": model,
            "class": "AutoencoderTiny",
            "fingerprint": "9f2c4b7a1d3e5f60",
            "normalisation": {"scaling_factor": 0.18215, "shift_factor": 0.0},
            "latent_shape": [4, None, None],
            "parameters": 2445063,
            "dtype": "float32",
        },
        "latent_shape": [4, 4, 4],
        "output_shape": [3, 32, 32],
        "data": {
            "folder": "photos",
            "files": [{"sample": sample, "file": file} for sample, file in zip(ids, files)],
            "skipped": [{"file": "broken.png", "reason": "truncated image file"}],
        },
        "left_out": [],
        "self_check": {"passed": True, "first_order": 2.1e-7, "second_order": 4.4e-5, "tolerance": 1e-3},
        "units": ids,
        "failed": [],
        "messages": {},
        "quantities": {
            name: {
                **dict(zip(keys, QUANTITIES[name])),
                "meaning": f"What {QUANTITIES[name][0].lower()} tells about a latent.",
            }
            for name in quantities
        },
        "sittings": [
            {
                "started": "2026-03-12T10:04:11+00:00",
                "finished": "2026-03-12T10:06:52+00:00",
                "theodolite": "0.1.0",
                "versions": {"theodolite": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
                "machine": {"system": "Linux", "cores": 2, "accelerator": None},
                "units": len(ids),
                "seconds": 161.2,
            }
        ],
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """A function that writes a made-up run and opens it; its arguments are those of `write_run`."""

    def make(name: str = "run", **options: Any) -> Run:
        return read_run(write_run(tmp_path / name, **options))

    return make
