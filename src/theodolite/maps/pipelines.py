"""Denoisers from a diffusers folder: the network, its scheduler, and the autoencoder beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from theodolite.errors import InputError
from theodolite.maps.checkpoints import AUTOENCODERS, diffusers_module, network_from_folder, read_json
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.networks import is_network

__all__ = [
    "NETWORKS",
    "SCHEDULER",
    "autoencoder_folder",
    "diffusion_folder",
    "diffusion_from_folder",
    "is_denoiser",
]

NETWORKS = ("unet", "transformer")
"""What pipelines call the folder of their denoising network."""

SCHEDULER = "scheduler_config.json"
"""The file of a scheduler."""


def diffusion_folder(folder: Path, subfolder: str | None = None) -> Path | None:
    """The folder of the denoising network that is meant, or None where an autoencoder is.

    Of a pipeline with an autoencoder that is the autoencoder, unless `subfolder` names the network.
    """
    network_folder = folder / subfolder if subfolder else folder
    if (network_folder / "config.json").is_file():
        return network_folder if is_denoiser(read_json(network_folder / "config.json")) else None
    if not (network_folder / "model_index.json").is_file() or _part(network_folder, AUTOENCODERS):
        return None
    return _part(network_folder, NETWORKS)


def is_denoiser(config: dict[str, Any]) -> bool:
    """Whether a configuration is that of a denoising network, by its class."""
    name = str(config.get("_class_name", ""))
    return any(text in name for text in ("UNet", "Transformer", "DiT2D", "DiTModel"))


def diffusion_from_folder(network_folder: Path) -> Denoiser:
    """Read the network in `network_folder`, the scheduler in it or beside it, and where it came from; no autoencoder.

    Raises:
        InputError: no scheduler, a network that takes no `timestep`, or as for `network_from_folder`.
    """
    scheduler = _scheduler(network_folder)
    read = network_from_folder(network_folder)
    if not is_network(read.model):
        raise InputError(f"a network with a timestep expected in {network_folder}, got {type(read.model).__name__}")
    return Denoiser(read.model.eval(), schedule=scheduler, name=read.name, source=read.source, notes=read.notes)


def autoencoder_folder(network_folder: Path) -> Path | None:
    """The folder of the autoencoder beside a network, if there is one."""
    return _part(network_folder.parent, AUTOENCODERS)


def _part(pipeline: Path, names: tuple[str, ...]) -> Path | None:
    return next((pipeline / name for name in names if (pipeline / name / "config.json").is_file()), None)


def _scheduler(network_folder: Path) -> Any:
    files = [folder / SCHEDULER for folder in (network_folder.parent / "scheduler", network_folder)]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise InputError(
            f"the scheduler of {network_folder} expected in {files[0]}, which does not exist; save it there with "
            "`scheduler.save_pretrained(...)`, or load the network yourself and give `scheduler`"
        )
    config = read_json(found)
    kind = getattr(diffusers_module(), str(config.get("_class_name")), None)
    if kind is None:
        raise InputError(f"a diffusers scheduler expected in {found}, got {config.get('_class_name')!r}")
    return kind.from_config(config)
