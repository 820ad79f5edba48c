"""Theodolite: survey the geometry of a generative model's latent space, every number with an error bar.

The names below are loaded on first use, so that importing the package (and the command line's ``--help``) costs
nothing until a tensor is needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from theodolite.data import load_images
    from theodolite.derivatives import JacobianOperator, jacobian
    from theodolite.descriptors import (
        LocationMap,
        axis_rotation,
        detail_energy,
        leading_singular_value,
        local_complexity,
        local_rank,
        local_scaling,
        location_map,
    )
    from theodolite.descriptors.curvature import curvature
    from theodolite.errors import InputError
    from theodolite.estimates import Estimate
    from theodolite.extension import register
    from theodolite.maps import Autoencoder, Denoiser, LatentMap, denoiser_map, load, sampler_map
    from theodolite.report import write_report
    from theodolite.runs import Run, read_run, verify
    from theodolite.spectrum import singular_spectrum

    compare: Callable[..., Run]
    decouple: Callable[..., Run]
    detect: Callable[..., Run]
    floor: Callable[..., Run]
    guide: Callable[..., Run]
    hotspots: Callable[..., Run]
    path: Callable[..., Run]
    phases: Callable[..., Run]
    rank: Callable[..., Run]
    sample: Callable[..., Run]
    survey: Callable[..., Run]
    traverse: Callable[..., Run]

__version__ = "0.1.0"

_HOMES = {
    "derivatives": ("JacobianOperator", "jacobian"),
    "descriptors": (
        "LocationMap",
        "axis_rotation",
        "curvature",
        "detail_energy",
        "hotspot_maps",
        "leading_singular_value",
        "local_complexity",
        "local_rank",
        "local_scaling",
        "location_map",
    ),
    "detection": (),
    "data": ("load_images",),
    "errors": ("InputError",),
    "extension": ("register",),
    "diffusability": (),
    "estimates": ("Estimate",),
    "families": (),
    "gate": (),
    "geodesics": (),
    "information": (),
    "loggers": (),
    "scores": (),
    "maps": ("Autoencoder", "Denoiser", "LatentMap", "denoiser_map", "load", "sampler_map"),
    "report": ("write_report",),
    "runs": ("Run", "read_run", "verify"),
    "spectrum": ("singular_spectrum",),
    "steering": (),
    "training": (),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Autoencoder",
    "Denoiser",
    "Estimate",
    "InputError",
    "JacobianOperator",
    "LatentMap",
    "LocationMap",
    "Run",
    "axis_rotation",
    "compare",
    "curvature",
    "decouple",
    "denoiser_map",
    "detail_energy",
    "detect",
    "floor",
    "guide",
    "hotspot_maps",
    "hotspots",
    "jacobian",
    "leading_singular_value",
    "load",
    "load_images",
    "local_complexity",
    "local_rank",
    "local_scaling",
    "location_map",
    "path",
    "phases",
    "rank",
    "read_run",
    "register",
    "sample",
    "sampler_map",
    "singular_spectrum",
    "survey",
    "traverse",
    "verify",
    "write_report",
]


def __getattr__(name: str) -> Any:
    from theodolite.experiments import SUMMARIES

    if name in SUMMARIES and name not in _HOMES:  # a room keeps its name: `theodolite.diffusability` is a folder
        from theodolite.runs.functions import function_of

        return function_of(name)
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"theodolite.{_HOME_OF[name]}"), name)
    try:
        return importlib.import_module(f"theodolite.{name}")
    except ModuleNotFoundError:
        return _experiment_of_another_package(name)


def _experiment_of_another_package(name: str) -> Any:
    from theodolite.runs.functions import function_of
    from theodolite.runs.registry import kinds

    if name not in kinds():
        raise AttributeError(f"module 'theodolite' has no attribute {name!r}")
    return function_of(name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_HOMES])
