"""Many latents: a folder of images measured into one run folder, and the run read back; phase maps and paths too."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from theodolite.surveys.decoupling import decouple
from theodolite.surveys.detection import detect
from theodolite.surveys.engine import survey, survey_forecast
from theodolite.surveys.forecast import Forecast
from theodolite.surveys.images import load_images
from theodolite.surveys.ranking import rank
from theodolite.surveys.run import Run, read_run

if TYPE_CHECKING:
    from theodolite.surveys.hotspots import find_hotspots
    from theodolite.surveys.paths import interpolate
    from theodolite.surveys.phase_maps import map_phases

__all__ = [
    "Forecast",
    "Run",
    "decouple",
    "detect",
    "find_hotspots",
    "interpolate",
    "load_images",
    "map_phases",
    "rank",
    "read_run",
    "survey",
    "survey_forecast",
]

_LATE = {"find_hotspots": "hotspots", "interpolate": "paths", "map_phases": "phase_maps"}
"""Loaded on first use: few need them."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'theodolite.surveys' has no attribute {name!r}")
    return getattr(importlib.import_module(f"theodolite.surveys.{_LATE[name]}"), name)
