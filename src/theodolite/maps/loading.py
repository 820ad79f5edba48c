"""`load`: a model from a folder, a hub id, a factory of the user's, or the zoo."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from theodolite.errors import InputError, typed_line
from theodolite.maps.autoencoders import HALF, Autoencoder
from theodolite.maps.checkpoints import AUTOENCODERS, PICKLED, Checkpoint, check_finite, from_folder, refuse_pickle
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoising import BaseDenoiser
from theodolite.maps.diffusers import from_diffusers
from theodolite.maps.factories import call_factory, kind_of
from theodolite.maps.families import family_of
from theodolite.maps.generators import generator_map, is_generator, is_plain_generator, plain_generator_map
from theodolite.maps.hub import Fetched, fetch
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.networks import is_network, is_plain_denoiser
from theodolite.maps.pipelines import autoencoder_folder, diffusion_folder, diffusion_from_folder
from theodolite.maps.probing import probe

__all__ = ["check_spec", "load"]

_FORMS = "a folder, a hub id 'owner/name', 'package.module:factory' or 'zoo:name'"
_MEND = "the factory must initialise or load every weight"
_RAW_LATENTS = "latents as the model gives them: return an Autoencoder with a Normalisation to change that"
_READ_AS_CLEAN = "read as D(x, sigma), the denoised point: return a theodolite.Denoiser for another convention"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FACTORY = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)")
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def load(
    spec: str | os.PathLike[str],
    *,
    subfolder: str | None = None,
    revision: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    size: int | tuple[int, int] | None = None,
) -> Autoencoder | Denoiser | LatentMap:
    """Load a model, in `eval()` mode and with frozen weights: mostly an `Autoencoder`, else as below.

    Args:
        spec: one of

            - a folder with the `config.json` and the safetensors weights of a diffusers autoencoder, or a pipeline's
              folder (its `vae` is taken);
            - a pipeline's folder without autoencoder, or with its network named by `subfolder` (``unet``,
              ``transformer``): gives a `Denoiser`, for `denoiser_map` and `sampler_map`;
            - a hub id ``owner/name``: the same from a repository of the hub, of which only the files of that model are
              downloaded, safetensors only;
            - ``package.module:factory``, looked for in the current folder too: a function without arguments that
              returns an `Autoencoder`, an `nn.Module` with `encode` and `decode`, or a pair of functions
              `(encode, decode)`; shapes that are not given are found by running them on noise. One that returns a
              `LatentMap`, or a generator (a module z -> x, or one with `mapping`, `synthesis` and `z_dim`), gives a
              `LatentMap`; a module `D(x, sigma)` that says its `shape` gives a `Denoiser`;
            - ``zoo:name``, a model that ships with the package, among them the diffusion models of
              `theodolite.zoo.DIFFUSIONS` and `MEMORISING`;
            - what a registered `ModelFamily` matches.
        subfolder: where the model is inside a folder or a hub repository.
        revision: branch, tag or commit of a hub repository.
        device: where the weights go, e.g. ``cuda``; the CPU when None.
        dtype: float32 or float64; as stored when None, half precision up-cast to float32.
        size: side, or height and width, of the images that are to be measured. A model that does not say its shapes is
            tried at this size too, among others by growing cost.

    Raises:
        InputError: in one line, what of the above is missing or broken, and how to mend it.

    Example:
        >>> load("zoo:digits").latent_shape
        (8,)
    """
    text, device, dtype, size = check_spec(spec), _device(device), _dtype(dtype), _size(size)
    if (family := family_of(text)) is not None:
        return family.load(text, subfolder=subfolder, revision=revision, device=device, dtype=dtype)  # type: ignore[no-any-return]
    if text.startswith("zoo:"):
        _reject_hub_options(text, subfolder, revision)
        return _from_zoo(text.removeprefix("zoo:"), device, dtype)
    folder = Path(text).expanduser()
    if folder.exists():
        _reject_hub_options(text, None, revision)
        network_folder = diffusion_folder(folder, subfolder)
        if network_folder is not None:
            return _diffusion(network_folder, device, dtype)
        return _from_checkpoint(from_folder(folder, subfolder), device, dtype, size)
    if match := _FACTORY.fullmatch(text):
        _reject_hub_options(text, subfolder, revision)
        return _from_factory(call_factory(match["module"], match["name"]), text, device, dtype, size)
    if text.endswith(PICKLED):
        raise refuse_pickle(text)
    if _is_hub_id(text, spec):
        return _from_hub(fetch(text, subfolder, revision), device, dtype, size)
    raise _no_model(text)


def check_spec(spec: Any) -> str:
    """The text of what names a model.

    Raises:
        InputError: it is no text and no path, or empty.
    """
    if not isinstance(spec, str | os.PathLike) or not os.fspath(spec):
        given = repr(spec) if spec is None or isinstance(spec, str) else type(spec).__name__
        raise InputError(
            f"a model expected ({_FORMS}), got {given}; a model of your own becomes one with a factory, or with "
            "theodolite.Autoencoder(encode, decode, name=..., latent_shape=...) for `survey`"
        )
    return os.fspath(spec)


def check_named(spec: Any, device: torch.device | str | None = None) -> None:
    """Refuse a name that no model has, and a device that is not here, without loading anything.

    What a factory returns, what a folder holds and whether the hub has a repository show when the model is loaded.

    Raises:
        InputError: as `load` says it.
    """
    text, _ = check_spec(spec), _device(device)
    if family_of(text) is not None:
        return
    if text.startswith("zoo:"):
        _check_zoo(text.removeprefix("zoo:"))
    elif not (Path(text).expanduser().exists() or _FACTORY.fullmatch(text) or _is_hub_id(text, spec)):
        raise refuse_pickle(text) if text.endswith(PICKLED) else _no_model(text)


def _no_model(text: str) -> InputError:
    from theodolite.zoo import AUTOENCODERS

    hint = f"did you mean 'zoo:{text}'?" if text in AUTOENCODERS else "check the path"
    return InputError(f"no model {text!r}: no such folder; {_FORMS} expected; {hint}")


def _is_hub_id(text: str, spec: str | os.PathLike[str]) -> bool:
    """Whether `text` can only be a hub id: a folder may be missing inside one that exists."""
    return isinstance(spec, str) and _HUB_ID.fullmatch(text) is not None and not Path(text).parent.is_dir()


def _reject_hub_options(text: str, subfolder: str | None, revision: str | None) -> None:
    if subfolder is not None:
        raise InputError(f"subfolder= belongs to a folder or a hub id, got it with {text!r}; leave it out")
    if revision is not None:
        raise InputError(f"revision= belongs to a hub id, got it with {text!r}; leave it out")


def _device(device: torch.device | str | None) -> torch.device:
    try:
        chosen = torch.device("cpu" if device is None else device)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"a device such as 'cpu' or 'cuda' expected, got {device!r}; leave it out for 'cpu'"
        ) from error
    available = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(chosen.type, 1)
    if (chosen.index or 0) >= available:
        described = f"{available} of its kind found" if available else "none found"
        raise InputError(f"device {str(chosen)!r} asked for, {described}; use 'cpu' or install a torch build for it")
    try:
        torch.zeros(1, device=chosen).cpu()
    except Exception as error:  # each back end that is absent raises its own type, and `meta` holds no numbers
        raise InputError(
            f"device {str(chosen)!r} asked for, torch has no use of it here: {typed_line(error)}; use 'cpu'"
        ) from error
    return chosen


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    name = str(dtype).removeprefix("torch.")
    if dtype is not None and name not in _DTYPES:
        raise InputError(
            f"dtype float32 or float64 expected, got {name}: finite precision decides these numbers; leave it out"
        )
    return _DTYPES.get(name)


def _size(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    pair = (size, size) if isinstance(size, int) else size
    if pair is None:
        return None
    if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise InputError(f"`size` expected to be a side in pixels or (height, width), got {size!r}")
    return pair


def _from_checkpoint(
    checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype | None, size: tuple[int, int] | None = None
) -> Autoencoder:
    model = _prepared(checkpoint.model, device, dtype)
    return from_diffusers(model, name=checkpoint.name, source=checkpoint.source, notes=checkpoint.notes, size=size)


def _check_zoo(name: str) -> None:
    from theodolite import zoo

    names = [*zoo.AUTOENCODERS, *zoo.DIFFUSIONS, *zoo.MEMORISING]
    if name not in names:
        raise InputError(f"a model of the zoo expected, one of zoo:{', zoo:'.join(names)}, got 'zoo:{name}'")


def _from_zoo(name: str, device: torch.device, dtype: torch.dtype | None) -> Autoencoder | Denoiser:
    from theodolite import zoo

    _check_zoo(name)
    if name in zoo.DIFFUSIONS:
        return zoo.load_diffusion(name).to(device, dtype)
    if name in zoo.MEMORISING:
        return zoo.load_fashion(name).to(device, dtype)
    return _moved(zoo.load_autoencoder(name), device, dtype)


def _from_hub(
    fetched: Fetched, device: torch.device, dtype: torch.dtype | None, size: tuple[int, int] | None
) -> Autoencoder | Denoiser:
    network_folder = diffusion_folder(fetched.folder, fetched.subfolder)
    if network_folder is None:
        return _from_checkpoint(_called(from_folder(fetched.place), fetched.place, fetched), device, dtype, size)
    name, source = fetched.called(network_folder)
    return _diffusion(network_folder, device, dtype, fetched).named(name=name, source=source)


def _diffusion(
    network_folder: Path, device: torch.device, dtype: torch.dtype | None, fetched: Fetched | None = None
) -> Denoiser:
    """The network in `place` with its scheduler, and the autoencoder beside it."""
    read, vae_folder = diffusion_from_folder(network_folder), autoencoder_folder(network_folder)
    autoencoder = None
    if vae_folder is not None:
        autoencoder = _from_checkpoint(_called(from_folder(vae_folder), vae_folder, fetched), device, dtype)
    _prepared(read, device, dtype)
    return read if autoencoder is None else read.named(autoencoder=autoencoder)


def _called(checkpoint: Checkpoint, folder: Path, fetched: Fetched | None) -> Checkpoint:
    """A checkpoint under the name that the hub knows it by."""
    if fetched is None:
        return checkpoint
    name, source = fetched.called(folder)
    return replace(checkpoint, name=name, source=source)


def _prepared(model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """A model of ours: in `eval()` mode, frozen, and where it is wanted."""
    nn.Module.to(model, device=device, dtype=dtype)  # diffusers' own `to` logs and may refuse
    return model.eval().requires_grad_(False)


def _moved(autoencoder: Autoencoder, device: torch.device, dtype: torch.dtype | None) -> Autoencoder:
    for module in autoencoder.modules:
        module.eval().requires_grad_(False)
    if autoencoder.device == device and dtype in (None, autoencoder.dtype):
        return autoencoder
    return autoencoder.to(device, dtype)


def _from_factory(
    made: Any, spec: str, device: torch.device, dtype: torch.dtype | None, size: tuple[int, int] | None = None
) -> Autoencoder | Denoiser | LatentMap:
    """A model of what a factory returned."""
    made = _autoencoder_of(made)
    if is_generator(made):
        made = generator_map(made, spec)
    if isinstance(made, LatentMap):
        return _map(made, spec, device, dtype)
    if isinstance(made, BaseDenoiser):
        return _denoiser(made, spec, device, dtype)
    if isinstance(made, Autoencoder):
        made_dtype = dtype or (torch.float32 if made.dtype in HALF else None)
        return _moved(made, device, made_dtype)
    if isinstance(made, nn.Module) and hasattr(made, "encode") and hasattr(made, "decode"):
        check_finite(made, spec, _MEND)
        if not type(made).__module__.startswith("diffusers."):
            return _probed(made.encode, made.decode, spec, type(made).__name__, device, dtype, size)
        notes = _half_notes([made])
        model = _prepared(made, device, dtype or (torch.float32 if notes else None))
        return from_diffusers(model, name=spec, source=spec, notes=notes, size=size)
    if isinstance(made, tuple | list) and len(made) == 2 and all(callable(part) for part in made):
        return _probed(made[0], made[1], spec, "functions", device, dtype, size)
    if is_plain_generator(made):
        check_finite(made, spec, _MEND)
        prepared = _prepared(made, device, dtype or (torch.float32 if _half_notes([made]) else None))
        return plain_generator_map(prepared, spec)
    if is_plain_denoiser(made):
        return _denoiser(Denoiser(made, name=spec, notes=[_READ_AS_CLEAN]), spec, device, dtype)
    if is_network(made):
        raise InputError(
            f"factory {spec} returned {kind_of(made)} without what it was trained on; return "
            "theodolite.Denoiser(network, schedule=scheduler)"
        )
    raise InputError(
        f"factory {spec} expected to return an Autoencoder, a module with encode and decode, or (encode, decode), "
        f"a LatentMap or a generator (a module z -> x), a Denoiser or a module D(x, sigma) with its `shape`, got "
        f"{kind_of(made)}"
    )


def _denoiser(made: Any, spec: str, device: torch.device, dtype: torch.dtype | None) -> Any:
    check_finite(made, spec, _MEND)
    _prepared(made, device, dtype or (torch.float32 if _half_notes([made]) else None))
    return made.named(source=made.source or spec) if isinstance(made, Denoiser) else made


def _autoencoder_of(made: Any) -> Any:
    """The autoencoder of a diffusers pipeline; anything else as it is."""
    parts = getattr(made, "components", None)
    if isinstance(made, nn.Module) or not isinstance(parts, dict):
        return made
    return next((parts[name] for name in AUTOENCODERS if isinstance(parts.get(name), nn.Module)), made)


def _map(made: LatentMap, spec: str, device: torch.device, dtype: torch.dtype | None) -> LatentMap:
    for module in made.modules:
        check_finite(module, spec, _MEND)
        _prepared(module, device, dtype or (torch.float32 if _half_notes([module]) else None))
    return made


def _probed(
    encode: Any,
    decode: Any,
    spec: str,
    kind: str,
    device: torch.device,
    dtype: torch.dtype | None,
    size: tuple[int, int] | None,
) -> Autoencoder:
    """An autoencoder of two callables, with all modules they hold made ready, and shapes found by running them."""
    trial = Autoencoder(encode, decode, name=spec, latent_shape=())
    notes = _half_notes(trial.modules)
    for module in trial.modules:
        check_finite(module, spec, _MEND)
        _prepared(module, device, dtype or (torch.float32 if notes else None))
    shapes = probe(encode, decode, name=spec, size=size, device=trial.device, dtype=trial.dtype)
    return Autoencoder(
        encode,
        decode,
        name=spec,
        latent_shape=shapes.latent_shape,
        image_channels=shapes.image_channels,
        downsampling=shapes.downsampling,
        image_size=shapes.image_size,
        settings={"class": kind},
        source=spec,
        notes=[*notes, *shapes.notes, _RAW_LATENTS],
    )


def _half_notes(modules: Iterable[nn.Module]) -> list[str]:
    half = any(weight.dtype in HALF for module in modules for weight in module.parameters())
    return ["weights made in half precision, up-cast to float32"] if half else []
