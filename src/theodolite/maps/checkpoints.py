"""Diffusers models from a folder: found, checked, and read from safetensors only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from theodolite.errors import InputError, informative_line
from theodolite.maps.diffusers import check_class
from theodolite.maps.weights import fill, quiet, stored_tensors

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

    `folder` may also be one safetensors file, with the `config.json` of its model beside it.

    Raises:
        InputError: no such folder, no configuration, no weights, pickled weights, an unknown class, broken weights.
    """
    if folder.is_file():
        return _from_file(folder)
    weights = _autoencoder_folder(folder, subfolder)
    return _checkpoint(weights, _autoencoder_class(read_json(weights / "config.json"), str(weights)))


def network_from_folder(folder: Path) -> Checkpoint:
    """Read the diffusers model of any class whose `config.json` is in `folder`.

    Raises:
        InputError: as for `from_folder`.
    """
    return _checkpoint(folder, _class_of(read_json(folder / "config.json"), str(folder)))


def _checkpoint(folder: Path, kind: type[nn.Module]) -> Checkpoint:
    names = [path.name for path in folder.iterdir()]
    return _checkpoint_of(kind, folder, variant_of(names, str(folder), kind.__name__))


def _checkpoint_of(kind: type[nn.Module], folder: Path, variant: str | None) -> Checkpoint:
    files = _files_of(folder, variant)
    model, notes = _read(kind, folder, variant, files)
    notes += [f"weights of the variant {variant!r}"] if variant else []
    return Checkpoint(model, _name_of(folder), str(folder), [*notes, *_precision_notes(files)])


def _name_of(folder: Path) -> str:
    is_part = folder.name in AUTOENCODERS or (folder.parent / "model_index.json").is_file()
    return f"{folder.parent.name}/{folder.name}" if is_part else folder.name


def _files_of(folder: Path, variant: str | None) -> list[Path]:
    """The weights of one variant."""
    matches = [(path, WEIGHTS.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    return [path for path, match in matches if match and match["variant"] == variant]


def _from_file(file: Path) -> Checkpoint:
    """Read one file of weights, by the configuration beside it.

    Raises:
        InputError: another kind of file, or no configuration; as for `from_folder`.
    """
    config = file.with_name("config.json")
    if file.suffix in PICKLED:
        raise refuse_pickle(str(file), _class_beside(file))
    if file.suffix != ".safetensors":
        raise InputError(f"a model folder with config.json and weights expected, got the file {file}")
    if not config.is_file():
        raise InputError(
            f"{file} expected to have the config.json of its model beside it; put it there, or convert a checkpoint of "
            "Stable Diffusion once: diffusers.AutoencoderKL.from_single_file(OLD).save_pretrained(NEW)"
        )
    folder, content = file.parent, read_json(config)
    kind: Any = _autoencoder_class(content, str(folder))
    if match := WEIGHTS.fullmatch(file.name):
        return _checkpoint_of(kind, folder, match["variant"])
    try:
        with quiet():
            model = kind.from_config(content).eval()
        tensors = stored_tensors([file])
    except Exception as error:  # a class raises many types for a bad configuration, the format its own
        raise InputError(f"{kind.__name__} could not be read from {file}: {informative_line(error)}") from error
    notes = fill(model, list(model.state_dict()), list(tensors), lambda: tensors, str(file))
    check_finite(model, str(file))
    return Checkpoint(model, file.stem, str(file), [*notes, *_precision_notes([file])])


def refuse_pickle(source: str, kind: str | None = None) -> InputError:
    """The error for weights that only unpickling could read, with the safe way for the class `kind`."""
    kind = kind or "CLASS"
    hint = " (CLASS as its config.json names it)" if kind == "CLASS" else ""
    return InputError(
        f"safetensors weights expected in {source}, got pickled ones, which can run any code when opened; if you trust "
        f"them, convert them once: diffusers.{kind}.from_pretrained(OLD, use_safetensors=False).save_pretrained(NEW)"
        f"{hint}"
    )


def check_finite(model: nn.Module, name: str, fix: str = "the file is damaged, download it again") -> None:
    """Raise `InputError`, naming the tensor and the `fix`, where a weight is NaN or infinite."""
    for key, weight in model.state_dict().items():
        if isinstance(weight, torch.Tensor) and weight.is_floating_point() and not torch.isfinite(weight).all():
            raise InputError(f"finite weights expected in {name}, got NaN or infinity in {key!r}: {fix}")


def _autoencoder_folder(folder: Path, subfolder: str | None) -> Path:
    """The folder that holds the autoencoder's own `config.json`."""
    part = folder / subfolder if subfolder else folder
    if not part.is_dir():
        raise InputError(f"a model folder expected, {part} does not exist")
    if (part / "config.json").is_file():
        return part
    if (part / "model_index.json").is_file():
        return _component(part)
    raise InputError(f"a diffusers model folder expected, {part} has no config.json{_suggestion(part)}")


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


def _suggestion(folder: Path) -> str:
    below = sorted(path.parent.name for path in folder.glob("*/config.json"))
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


def _class_of(config: dict[str, Any], source: str) -> type[nn.Module]:
    """The diffusers class that a configuration names."""
    diffusers, name = diffusers_module(), config.get("_class_name")
    if not isinstance(name, str):
        raise InputError(f"a diffusers model expected in {source}, its config.json names no _class_name")
    kind = getattr(diffusers, name, None)
    if not isinstance(kind, type):
        raise InputError(
            f"{name} of {source} is unknown to diffusers {diffusers.__version__}: upgrade with "
            "`pip install -U diffusers`, or wrap the model in a factory (package.module:factory)"
        )
    return kind


def _autoencoder_class(config: dict[str, Any], source: str) -> type[nn.Module]:
    """The same, where it is an autoencoder of images."""
    name = config.get("_class_name")
    if isinstance(name, str):
        check_class(name)
    kind = _class_of(config, source)
    # Of a pipeline whose own packages are missing diffusers has a stand-in that raises at any look at it.
    if not (issubclass(kind, nn.Module) and hasattr(kind, "encode") and hasattr(kind, "decode")):
        raise InputError(f"an autoencoder expected in {source}, got {name}; give the folder of the VAE, or subfolder=")
    return kind


def variant_of(names: list[str], source: str, kind: str | None = None) -> str | None:
    """Which weights to read of the files in a folder: None for the plain ones, which win, e.g. ``fp16`` for others."""
    variants = [match["variant"] for name in names if (match := WEIGHTS.fullmatch(name))]
    if not variants and any(name.endswith(PICKLED) for name in names):
        raise refuse_pickle(source, kind)
    if not variants:
        single = next((name for name in sorted(names) if name.endswith(".safetensors")), None)
        other = f"; it has {single}: give the path of that file" if single else ""
        raise InputError(f"weights expected in {source}, no diffusion_pytorch_model.safetensors there{other}")
    return None if None in variants else variants[0]


def _read(kind: type[Any], folder: Path, variant: str | None, files: list[Path]) -> tuple[nn.Module, list[str]]:
    """The model with all its weights, and notes; every failure in one line."""
    try:
        with quiet():
            model, info = _from_pretrained(kind, folder, variant, files)
    except Exception as error:  # from_pretrained raises many types for bad files
        raise InputError(f"{kind.__name__} could not be read from {folder}: {_reason(folder, error)}") from error
    missing, unused = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    notes = fill(model, missing, unused, lambda: stored_tensors(files), str(folder))
    check_finite(model, str(folder))
    return model, notes


def _from_pretrained(
    kind: type[Any], folder: Path, variant: str | None, files: list[Path]
) -> tuple[nn.Module, dict[str, list[str]]]:
    """The model as diffusers reads it, and which weights are missing or left over.

    Diffusers reads classes with parts that it keeps in float32 through accelerate alone. They are filled here: every
    weight is read in the type that its file has anyway.
    """
    if getattr(kind, "_keep_in_fp32_modules", None) is None:
        return kind.from_pretrained(  # type: ignore[no-any-return]
            folder,
            variant=variant,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            local_files_only=True,
            output_loading_info=True,
        )
    model = kind.from_config(kind.load_config(folder, local_files_only=True))
    missing, unexpected = model.load_state_dict(stored_tensors(files), strict=False)
    return model, {"missing_keys": missing, "unexpected_keys": unexpected}


def _reason(folder: Path, error: Exception) -> str:
    """Why a model could not be read, with the fix where the file itself is broken."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except Exception as damage:  # the format's own error type, or the system's
            if "git-lfs" in str(error):
                break
            return f"{path.name} is damaged or incomplete ({informative_line(damage)}); download it again"
    return informative_line(error)


def _precision_notes(files: list[Path]) -> list[str]:
    """A note where the weights that were read are stored in half precision: they are computed in float32."""
    from safetensors import safe_open

    stored = set()
    for path in files:
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
