"""Families of models that others add: what they match is opened by them, wherever a model is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from theodolite.registry import GROUPS, Registry

__all__ = ["FAMILIES", "ModelFamily", "family_of"]


@dataclass(frozen=True)
class ModelFamily:
    """How a kind of model is told and opened.

    Attributes:
        name: of the family.
        matches: whether this text names one of its models, e.g. by a prefix of its own, ``mine:``, or a suffix.
        load: opens it: `(spec, *, subfolder, revision, device, dtype) -> Autoencoder | Denoiser | LatentMap`.
    """

    name: str
    matches: Callable[[str], bool]
    load: Callable[..., Any]


FAMILIES: Registry[ModelFamily] = Registry(GROUPS["model"], ModelFamily, dict)
"""By name; what this package opens by itself is told by the form of the text (`theodolite.load`)."""


def family_of(spec: str) -> ModelFamily | None:
    """The first family that this text names a model of; None where it is left to this package."""
    return next((family for family in FAMILIES.values() if family.matches(spec)), None)
