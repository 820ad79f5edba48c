"""A latent space watched while it is trained: metrics, a probe for any loop, a Lightning callback."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from theodolite.training.callback import TheodoliteCallback
from theodolite.training.probing import probe

if TYPE_CHECKING:
    from theodolite.training.metrics import FisherInformation, FisherInformationRate

__all__ = ["FisherInformation", "FisherInformationRate", "TheodoliteCallback", "probe"]


def __getattr__(name: str) -> Any:
    """Load the metrics on first use: torchmetrics is paid for by its users only."""
    if name not in __all__:
        raise AttributeError(f"module 'theodolite.training' has no attribute {name!r}")
    return getattr(importlib.import_module("theodolite.training.metrics"), name)
