"""The run folder of a ranking: one file for each space that was measured, and tables of what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from theodolite.diffusability.gap import DEVIATIONS
from theodolite.diffusability.ranking import Ranked, Ranking
from theodolite.diffusability.space import Space
from theodolite.errors import InputError, path_of
from theodolite.estimates import Estimate, Resamples
from theodolite.scores.files import read_tensors, write_tensors
from theodolite.surveys.store import is_held, parquet, read_info, write_atomically

__all__ = [
    "CURVES_SCHEMA",
    "IMAGES",
    "MODELS_SCHEMA",
    "PAIRS_SCHEMA",
    "read_ranked",
    "read_ranking",
    "write_ranked",
    "write_tables",
]

IMAGES = "images"
"""The name of the space of the images themselves."""

_KIND = "ranked space"
_TENSORS = ("tau", "loss", "rate", "calibration", "spread")
_WHERE = (("space", pa.string()), ("quantity", pa.string()), ("denoiser", pa.string()))
_NOISE = (("tau", pa.float64()), ("t", pa.float64()))
_NUMBER = (("value", pa.float64()), ("stderr", pa.float64()), ("n", pa.int64()), ("status", pa.string()))
_PAIR = (("first", pa.string()), ("second", pa.string()), ("probability", pa.float64()))

CURVES_SCHEMA = pa.schema([*_WHERE, *_NOISE, *_NUMBER])
"""Columns of `curves.parquet`: one row a space, quantity and level; `denoiser` is ``best`` or ``gaussian``."""

MODELS_SCHEMA = pa.schema([("model", pa.string()), ("quantity", pa.string()), *_NUMBER])
"""Columns of `models.parquet`: one row a model and scalar."""

PAIRS_SCHEMA = pa.schema([*_PAIR, ("difference", pa.float64()), ("stderr", pa.float64()), ("tie", pa.bool_())])
"""Columns of `pairs.parquet`: probability that the first has the smaller gap; `difference` is second less first."""


def write_ranked(path: Path, ranked: Ranked) -> None:
    """Store a finished model, or the images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    space = ranked.space
    tensors = {name: getattr(space, name) for name in _TENSORS}
    config = {
        "name": ranked.name,
        "description": ranked.description,
        "quality": {name: _told(estimate) for name, estimate in ranked.quality.items()},
        "penalties": {name: _told(estimate) for name, estimate in ranked.penalties.items()},
        "space": {name: value for name, value in asdict(space).items() if name not in _TENSORS},
    }
    write_tensors(path, _KIND, tensors, config)


def read_ranked(path: Path) -> Ranked:
    """What `write_ranked` stored."""
    tensors, config = read_tensors(path, _KIND, "cpu")
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config["space"].items()
    }
    return Ranked(
        config["name"],
        Space(**{**fields, **tensors}),
        {name: _estimate(entry) for name, entry in config["quality"].items()},
        {name: _estimate(entry) for name, entry in config["penalties"].items()},
        config["description"],
    )


def read_ranking(path: str | Path) -> tuple[Ranking, dict[str, Any]]:
    """A ranking from its run folder, with the content of `run.json`; of an interrupted one what is finished.

    Raises:
        InputError: no run folder, that of a survey, or one without a finished model.
    """
    folder = path_of(path, "the run folder")
    info = read_info(folder)
    if info.get("status") == "running" and not is_held(folder):
        info["status"] = "interrupted"
    if info.get("kind") != "rank":
        raise InputError(f"the run folder of a ranking expected at {folder}, got that of a survey")
    files = [folder / "spaces" / f"{model['fingerprint']}.safetensors" for model in info["models"]]
    images = folder / "spaces" / f"{IMAGES}.safetensors"
    finished = [read_ranked(file) for file in files if file.is_file()]
    if not images.is_file() or not finished:
        raise InputError(f"{folder} holds no finished model yet; run its command again: {info['command']}")
    space, settings = read_ranked(images).space, info["settings"]
    resamples = Resamples(len(space.groups), info["effort"]["resamples"], settings["seed"])
    return Ranking.of(space, finished, resamples), info


def write_tables(folder: Path, ranking: Ranking) -> None:
    """Write the three tables of a ranking."""
    tables = {
        "curves": pa.Table.from_pylist(list(_curve_rows(ranking)), CURVES_SCHEMA),
        "models": pa.Table.from_pylist(list(_model_rows(ranking)), MODELS_SCHEMA),
        "pairs": pa.Table.from_pylist(list(_pair_rows(ranking)), PAIRS_SCHEMA),
    }
    for name, table in tables.items():
        write_atomically(folder / f"{name}.parquet", [parquet(table)])


def _curve_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    for space in (ranking.images, *(model.space for model in ranking.models)):
        for denoiser, seen in (("best", space), ("gaussian", space.gaussian)):
            yield from _rows(space, denoiser, seen.curves(ranking.resamples))
    for model, gap in zip(ranking.models, ranking.gaps):
        yield from _rows(model.space, "best", {name: gap[name] for name in DEVIATIONS})


def _rows(space: Space, denoiser: str, curves: Mapping[str, Estimate]) -> Iterator[dict[str, Any]]:
    for quantity, curve in curves.items():
        for place, (tau, t) in enumerate(zip(space.tau.tolist(), space.t.tolist())):
            where = {"space": space.name, "quantity": quantity, "denoiser": denoiser, "tau": tau, "t": t}
            yield {**where, **curve.entry(place)}


def _model_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    for model, gap in zip(ranking.models, ranking.gaps):
        scalars = {"gap": gap, "shift": gap["shift"], "gap_gaussian": gap["gaussian"]}
        for name, estimate in {**scalars, **model.quality, **model.penalties}.items():
            yield {"model": model.name, "quantity": name, **estimate.entry()}


def _pair_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    for first, one in enumerate(ranking.models):
        for second, other in enumerate(ranking.models):
            if first != second:
                difference = ranking.differences(first, second)
                yield {
                    "first": one.name,
                    "second": other.name,
                    "probability": float(ranking.probability[first, second]),
                    "difference": float(difference.value),
                    "stderr": float(difference.stderr),
                    "tie": ranking.is_tie(first, second),
                }


def _told(estimate: Estimate) -> dict[str, Any]:
    return {**estimate.entry(), "message": estimate.message, "method": estimate.method}


def _estimate(entry: Mapping[str, Any]) -> Estimate:
    value, stderr = (torch.tensor([entry[name]], dtype=torch.float64) for name in ("value", "stderr"))
    return Estimate(value, stderr, 0, entry["n"], (entry["status"],), entry["message"], entry["method"])
