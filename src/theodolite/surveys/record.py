"""The content of `run.json`: what was asked, of which model, on which images, and what came of it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.data.images import ImageSet
from theodolite.estimates import worse
from theodolite.surveys.plan import Plan
from theodolite.surveys.store import FORMAT

if TYPE_CHECKING:
    import torch

    from theodolite.descriptors.descriptor import Descriptor
    from theodolite.maps import Autoencoder

__all__ = ["configuration", "described_quantities", "machine", "now", "outcome", "versions"]


def configuration(plan: Plan, autoencoder: Autoencoder, images: ImageSet, out: Path) -> dict[str, Any]:
    """The part that decides the numbers, known before the first of them is."""
    files = [{"sample": image.sample, "file": image.file, "sha256": image.sha256} for image in images.files]
    skipped = [asdict(image) for image in images.skipped]
    return {
        "format": FORMAT,
        "theodolite": theodolite.__version__,
        "command": plan.command(out),
        "status": "running",
        "created": now(),
        "finished": None,
        "settings": dict(plan.settings),
        "effort": plan.effort_as_dict(),
        "model": autoencoder.describe(),
        "data": {"folder": str(images.folder), "files": files, "skipped": skipped},
    }


def outcome(notes: dict[str, dict[str, Any]], lost: Sequence[Mapping[str, Any]], status: str) -> dict[str, Any]:
    """The part that is known once samples are measured.

    Args:
        notes: of every finished sample.
        lost: samples that could not be measured at all.
        status: ``complete`` or ``interrupted``.
    """
    ways = [note["way"] for note in notes.values() if note["way"]]
    worst = reduce(worse, (note["status"] for note in notes.values()), "ok")
    messages = {name: text for note in reversed(notes.values()) for name, text in note["messages"].items()}
    timing = {what: sum(note[what] for note in notes.values()) for what in ("seconds", "passes")}
    return {
        "status": status,
        "finished": now(),
        "derivatives": {"way": ways[0] if ways else "", "status": worst},
        "messages": messages,
        "failed": [*lost, *(failure for note in notes.values() for failure in note["failed"])],
        "timing": {"seconds": round(timing["seconds"], 3), "passes": timing["passes"]},
    }


def described_quantities(
    registry: Mapping[str, Descriptor], descriptors: Iterable[str], measured: Iterable[str] | None = None
) -> dict[str, dict[str, str]]:
    """Label, unit, formula, source and meaning of quantities by name.

    Args:
        registry: the descriptors by name.
        descriptors: whose quantities to describe, in their order.
        measured: only these, in this order; a name the registry does not hold (another scale or radius) is described
            as a variant of the quantity whose name it begins with.
    """
    known = {
        quantity.name: {key: value for key, value in asdict(quantity).items() if key != "name"}
        for name in descriptors
        for quantity in registry[name].quantities
    }
    if measured is None:
        return known
    return {name: known.get(name) or _variant(name, known) for name in measured}


def _variant(name: str, known: Mapping[str, dict[str, str]]) -> dict[str, str]:
    bases = [base for base in known if name.startswith(f"{base}_")]
    if not bases:
        return {"label": name.replace("_", " "), "unit": "", "formula": "", "source": "", "meaning": ""}
    base = max(bases, key=len)
    return {**known[base], "label": f"{known[base]['label']} ({name[len(base) + 1 :]})"}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of everything that decides numbers or files."""
    found = {"python": platform.python_version(), "theodolite": theodolite.__version__}
    for package in ("torch", "numpy", "diffusers", "safetensors", "pyarrow", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine(device: torch.device | None) -> dict[str, Any]:
    """Where the run was made; nothing that names its owner."""
    import torch

    accelerator = torch.cuda.get_device_name(device) if device is not None and device.type == "cuda" else None
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device or "cpu"),
        "accelerator": accelerator,
        "byteorder": sys.byteorder,
    }
