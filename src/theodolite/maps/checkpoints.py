"""Diffusers models from a folder: found, checked, and read from safetensors only."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from theodolite.errors import InputError, informative_line
from theodolite.maps.diffusers import check_class

__all__ = [
    "AUTOENCODERS",
    "WEIGHTS",
    "Checkpoint",
    "check_finite",
    "diffusers_module",
    "from_folder",
    "network_from_folder",
    "read_json",
    "refuse_pickle",
    "variant_of",
]

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
AUTOENCODERS = ("vae", "movq", "vqvae")
"""What pipelines call the folder of their autoencoder."""

_SHARD = r"(?:-\d+-of-\d+)?"
WEIGHTS = re.compile(rf"diffusion_pytorch_model{_SHARD}(?:\.(?P<variant>\w+))?{_SHARD}\.safetensors")
"""The names of weights that diffusers saves."""
_HALF_ON_DISK = ("F16", "BF16", "F8_E4M3", "F8_E5M2")


@dataclass(frozen=True)
class Checkpoint:
    """A model as it was read.

    Attributes:
        model: the diffusers model, float32, in `eval()` mode, on the CPU.
        name: what reports call it.
        source: the folder, or the hub id with its commit.
        notes: what to know about how it was read.
    """

    model: nn.Module
    name: str
    source: str
    notes: list[str] = field(default_factory=list)


def from_folder(folder: Path, subfolder: str | None = None) -> Checkpoint:
    """Read the autoencoder in `folder`, in its `subfolder`, or in the pipeline that `folder` holds.

    Raises:
        InputError: no such folder, no configuration, no weights, pickled weights, an unknown class, broken weights.
    """
    place = _autoencoder_folder(folder, subfolder)
    return _checkpoint(place, _autoencoder_class(read_json(place / "config.json"), str(place)))


def network_from_folder(place: Path) -> Checkpoint:
    """Read the diffusers model of any class whose `config.json` is in `place`.

    Raises:
        InputError: as for `from_folder`.
    """
    return _checkpoint(place, _class_of(read_json(place / "config.json"), str(place)))


def _checkpoint(place: Path, kind: type[nn.Module]) -> Checkpoint:
    variant = variant_of([path.name for path in place.iterdir()], str(place), kind.__name__)
    model, notes = _read(kind, place, variant)
    notes += [f"weights of the variant {variant!r}"] if variant else []
    is_part = place.name in AUTOENCODERS or (place.parent / "model_index.json").is_file()
    name = f"{place.parent.name}/{place.name}" if is_part else place.name
    return Checkpoint(model, name, str(place), [*notes, *_precision_notes(place)])


def refuse_pickle(place: str, kind: str | None = None) -> InputError:
    """The error for weights that only unpickling could read, with the safe way for the class `kind`."""
    kind = kind or "CLASS"
    where = " (CLASS as its config.json names it)" if kind == "CLASS" else ""
    return InputError(
        f"safetensors weights expected in {place}, got pickled ones, which can run any code when opened; if you trust "
        f"them, convert them once: diffusers.{kind}.from_pretrained(OLD, use_safetensors=False).save_pretrained(NEW)"
        f"{where}"
    )


def check_finite(model: nn.Module, name: str, fix: str = "the file is damaged, download it again") -> None:
    """Raise `InputError`, naming the tensor and the `fix`, where a weight is NaN or infinite."""
    for key, weight in model.state_dict().items():
        if isinstance(weight, torch.Tensor) and weight.is_floating_point() and not torch.isfinite(weight).all():
            raise InputError(f"finite weights expected in {name}, got NaN or infinity in {key!r}: {fix}")


def _autoencoder_folder(folder: Path, subfolder: str | None) -> Path:
    """The folder that holds the autoencoder's own `config.json`."""
    if folder.is_file():
        if folder.suffix in PICKLED:
            raise refuse_pickle(str(folder), _class_beside(folder))
        raise InputError(f"a model folder with config.json and weights expected, got the file {folder}")
    place = folder / subfolder if subfolder else folder
    if not place.is_dir():
        raise InputError(f"a model folder expected, {place} does not exist")
    if (place / "config.json").is_file():
        return place
    if (place / "model_index.json").is_file():
        return _component(place)
    raise InputError(f"a diffusers model folder expected, {place} has no config.json{_suggestion(place)}")


def _class_beside(file: Path) -> str | None:
    """The class that the `config.json` next to a file names."""
    config = file.with_name("config.json")
    name = read_json(config).get("_class_name") if config.is_file() else None
    return name if isinstance(name, str) else None


def _component(pipeline: Path) -> Path:
    """The autoencoder of a pipeline."""
    found = [name for name in AUTOENCODERS if (pipeline / name / "config.json").is_file()]
    if not found:
        parts = sorted(path.parent.name for path in pipeline.glob("*/config.json"))
        raise InputError(
            f"a pipeline with an autoencoder in {'/, '.join(AUTOENCODERS)}/ expected, {pipeline} has "
            f"{', '.join(parts) or 'no model'}; name its folder with subfolder="
        )
    return pipeline / found[0]


def _suggestion(place: Path) -> str:
    below = sorted(path.parent.name for path in place.glob("*/config.json"))
    return f"; give subfolder= as one of {', '.join(below)}" if below else ""


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; empty where that is no dictionary.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} expected to be readable JSON, got: {informative_line(error)}") from error
    return content if isinstance(content, dict) else {}


def _class_of(config: dict[str, Any], place: str) -> type[nn.Module]:
    """The diffusers class that a configuration names."""
    diffusers, name = diffusers_module(), config.get("_class_name")
    if not isinstance(name, str):
        raise InputError(f"a diffusers model expected in {place}, its config.json names no _class_name")
    kind = getattr(diffusers, name, None)
    if not isinstance(kind, type):
        raise InputError(
            f"{name} of {place} is unknown to diffusers {diffusers.__version__}: upgrade with "
            "`pip install -U diffusers`, or wrap the model in a factory (package.module:factory)"
        )
    return kind


def _autoencoder_class(config: dict[str, Any], place: str) -> type[nn.Module]:
    """The same, where it is an autoencoder of images."""
    name = config.get("_class_name")
    if isinstance(name, str):
        check_class(name)
    kind = _class_of(config, place)
    if not (hasattr(kind, "encode") and hasattr(kind, "decode") and issubclass(kind, nn.Module)):
        raise InputError(f"an autoencoder expected in {place}, got {name}; give the folder of the VAE, or subfolder=")
    return kind


def variant_of(names: list[str], place: str, kind: str | None = None) -> str | None:
    """Which weights to read of the files in a folder: None for the plain ones, which win, e.g. ``fp16`` for others."""
    variants = [match["variant"] for name in names if (match := WEIGHTS.fullmatch(name))]
    if not variants and any(name.endswith(PICKLED) for name in names):
        raise refuse_pickle(place, kind)
    if not variants:
        other = next((f"; it has {name}, expected under that name" for name in names if "safetensors" in name), "")
        raise InputError(f"weights expected in {place}, no diffusion_pytorch_model.safetensors there{other}")
    return None if None in variants else variants[0]


def _read(kind: type[Any], place: Path, variant: str | None) -> tuple[nn.Module, list[str]]:
    """The model with all its weights, and notes; every failure in one line."""
    try:
        with _quiet():
            model, info = kind.from_pretrained(
                place,
                variant=variant,
                use_safetensors=True,
                low_cpu_mem_usage=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # from_pretrained raises many types for bad files
        raise InputError(f"{kind.__name__} could not be read from {place}: {_reason(place, error)}") from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise InputError(f"{place} lacks {len(missing)} of the weights of {kind.__name__}, the first {missing[0]!r}")
    check_finite(model, str(place))
    unused = sorted(info["unexpected_keys"])
    return model, [f"{len(unused)} tensors of the file are not used, the first {unused[0]!r}"] if unused else []


def _reason(place: Path, error: Exception) -> str:
    """Why a model could not be read, with the fix where the file itself is broken."""
    from safetensors import safe_open

    for path in sorted(place.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except Exception as damage:  # the format's own error type, or the system's
            if "git-lfs" in str(error):
                break
            return f"{path.name} is damaged or incomplete ({informative_line(damage)}); download it again"
    return informative_line(error)


def _precision_notes(folder: Path) -> list[str]:
    """A note where weights are stored in half precision: they are computed in float32."""
    from safetensors import safe_open

    stored = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            stored |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118  (no mapping)
    half = sorted(stored & set(_HALF_ON_DISK))
    return [f"weights stored as {', '.join(half)}, up-cast to float32"] if half else []


def diffusers_module() -> ModuleType:
    """Diffusers, imported when it is needed.

    Raises:
        InputError: it is not installed.
    """
    try:
        import diffusers
    except ImportError as error:
        raise InputError(
            'this model needs diffusers, which is not installed: pip install "theodolite[diffusers]"'
        ) from error
    return diffusers  # type: ignore[no-any-return]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what diffusers says while it loads (it logs defaults as warnings), and restore its verbosity."""
    from diffusers.utils import logging as diffusers_logging

    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers_logging.set_verbosity(before)
