"""Many latents: images measured into one run folder, and the run read back; traverses."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from theodolite.data.images import load_images
from theodolite.surveys.decoupling import decouple
from theodolite.surveys.run import Run, read_run

if TYPE_CHECKING:
    from theodolite.surveys.over_corruptions import traverse_corruptions
    from theodolite.surveys.over_denoising import traverse_denoising
    from theodolite.surveys.over_plane import traverse_plane
    from theodolite.surveys.traversed import Traversed, read_traverse

__all__ = [
    "Run",
    "Traversed",
    "decouple",
    "load_images",
    "read_run",
    "read_traverse",
    "traverse_corruptions",
    "traverse_denoising",
    "traverse_plane",
]

_LATE = {
    "Traversed": "traversed",
    "read_traverse": "traversed",
    "traverse_corruptions": "over_corruptions",
    "traverse_denoising": "over_denoising",
    "traverse_plane": "over_plane",
}
"""Loaded on first use: they need the rooms of metrics and of models."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'theodolite.surveys' has no attribute {name!r}")
    return getattr(importlib.import_module(f"theodolite.surveys.{_LATE[name]}"), name)
