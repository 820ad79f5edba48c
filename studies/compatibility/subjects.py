"""The classes that are tried: every public model and scheduler of the installed diffusers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from studies.compatibility.autoencoders import AUTOENCODERS
from studies.compatibility.denoisers import NETWORKS
from theodolite.errors import InputError
from theodolite.maps.diffusers import check_class

KINDS = ("autoencoder", "denoiser", "scheduler")

_OTHERS = {
    "audio": ("Audio", "Vocoder", "Music", "1D", "Oobleck", "SAME", "T5Film", "AceStep"),
    "proteins": ("Proteina",),
    "videos": ("3D", "Video", "Motion", "SpatioTemporal", "VidTok", "Allegro", "Temporal", "I2VGen"),
    "parts of a model": ("ControlNet", "Adapter", "Prior", "Projection"),
    "discrete tokens": ("UVit", "Omni"),
}
"""What classes are of whose name holds one of these texts, and for which no tiny configuration is written here."""

_NEED_TRANSFORMERS = ("AutoencoderRAE",)


@dataclass(frozen=True)
class Class:
    """A class of diffusers.

    Attributes:
        name: of the class.
        kind: of `KINDS`.
        untried: why it is not tried; empty where it is.
    """

    name: str
    kind: str
    untried: str = ""


def classes() -> list[Class]:
    """Every class, by kind and name."""
    return sorted(_all(), key=lambda each: (KINDS.index(each.kind), each.name))


def _all() -> Iterator[Class]:
    import diffusers

    for name in sorted({*dir(diffusers), *AUTOENCODERS, *NETWORKS}):
        value = getattr(diffusers, name, None)
        if name in AUTOENCODERS or name in NETWORKS:
            kind = "autoencoder" if name in AUTOENCODERS else "denoiser"
            yield Class(name, kind, _missing(name, value))
        elif name.endswith("Scheduler") and inspect.isclass(value):
            yield Class(name, "scheduler")
        elif inspect.isclass(value) and (kind := _kind_of(value)):
            yield Class(name, kind, _reason(name, kind))


def _missing(name: str, value: object) -> str:
    """What a class with a configuration lacks here; empty where it lacks nothing."""
    if value is None:
        return "this diffusers does not have it"
    if name in _NEED_TRANSFORMERS and find_spec("transformers") is None:
        return "needs transformers, which is not installed"
    return ""


def _kind_of(value: type) -> str:
    """By the folder of diffusers that a class is in; nothing for what is no model."""
    if ".dummy_" in value.__module__:  # stands for a class that needs a package which is not here
        return ""
    if not hasattr(value, "from_pretrained") or not hasattr(value, "forward"):
        return ""
    module = value.__module__
    if ".autoencoders." in module:
        return "autoencoder"
    return "denoiser" if ".transformers." in module or ".unets." in module else ""


def _reason(name: str, kind: str) -> str:
    if kind == "autoencoder":
        try:
            check_class(name)
        except InputError as error:
            return "refused: " + str(error).rpartition(": ")[2]
    of = next((what for what, texts in _OTHERS.items() if any(text in name for text in texts)), "")
    return f"of {of}" if of else "no tiny configuration written yet"
