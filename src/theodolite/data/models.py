"""Models that a user names or gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, refusing

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder
    from theodolite.maps.subject import Subject

__all__ = ["check_model", "opened_autoencoder", "opened_denoiser", "opened_map", "opened_model"]


_OF_SAMPLERS = {"steps": "sampler-steps", "guidance": "scale"}
"""Options of `theodolite.runs.settings.OF_SAMPLERS` by the names that maps have for them."""


def check_model(model: Any, **options: Any) -> None:
    """Refuse what can be seen to be no model before anything is loaded.

    Raises:
        InputError: text that names no model, a device that is not here, or options of loading with a model that is
            loaded already.
    """
    from theodolite.maps.loading import check_named

    if model is None or isinstance(model, str | os.PathLike | int | float):
        check_named(model, options.get("device"))
        return
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{given[0]}= belongs to a model that is loaded here, got it with {type(model).__name__}")


def opened_model(model: Any, *, size: int | tuple[int, int] | None = None, **options: Any) -> Any:
    """The model that is named, with `options` of `theodolite.load`, or the one that was given.

    Args:
        model: its name, or itself.
        size: of the images that are to be measured, for a model that does not say which it takes.
        options: how one that is named is loaded.

    Raises:
        InputError: it cannot be loaded, or options come with a model that is loaded already.
    """
    from theodolite.maps import load

    if isinstance(model, str | os.PathLike):
        other = "" if size is None else ", or give another --size where it takes no such images"
        with refusing(os.fspath(model), "could not be loaded", f"mend the model or what it needs{other}"):
            return load(model, size=size, **options)
    check_model(model, **options)
    return model


def opened_autoencoder(model: Any, verb: str, **options: Any) -> Autoencoder:
    """The autoencoder that is named or given, for a verb that measures nothing else; as for `opened_model`.

    Raises:
        InputError: it is another model.
    """
    from theodolite.maps.adapters import maps_of

    opened = opened_model(model, **options)
    if "decoder" not in (known := maps_of(opened)):
        raise InputError(
            f"`{verb}` measures images and latents of autoencoders, and {opened.name} has neither encoder nor decoder "
            f"but {' and '.join(known)}; give an autoencoder (of a pipeline's folder with --subfolder vae)"
        )
    autoencoder: Autoencoder = opened
    return autoencoder


def opened_denoiser(model: Any, verb: str, **options: Any) -> Any:
    """The diffusion model that is named or given, for a verb that measures nothing else; as for `opened_model`.

    A callable that `theodolite.denoiser_map` takes stays as it is.

    Raises:
        InputError: it is an autoencoder or a generator.
    """
    from theodolite.maps.adapters import is_model, maps_of

    opened = opened_model(model, **options)
    if is_model(opened) and "denoiser" not in (known := maps_of(opened)):
        raise InputError(
            f"`{verb}` measures diffusion models, and {opened.name} has no denoiser but {' and '.join(known)}; give "
            "zoo:coloured-latent, or a pipeline's folder (with --subfolder unet where it has an autoencoder)"
        )
    return opened


def opened_map(
    model: Any,
    kind: str | None = None,
    *,
    images: bool = False,
    settings: Mapping[str, Any] = {},
    size: int | tuple[int, int] | None = None,
    **options: Any,
) -> Subject:
    """One map of the model that is named or given, as for `opened_model`.

    Args:
        model: what names a model, an `Autoencoder`, a `LatentMap` or a `Denoiser`.
        kind: of `theodolite.maps.subject.KINDS`; the first that the model has at images, or at latents, when None.
        images: whether points come from images.
        settings: of the map, by the names of `theodolite.maps.adapters.subject_of`; `condition` also as text: a class,
            or a file that `value_of` reads; so `unconditional`.
        size: of the images that are measured, or that a sampler of any size makes.
        options: of `opened_model`.

    Raises:
        InputError: something else is named, or the model has no such map.
    """
    from theodolite.data.conditions import value_of
    from theodolite.maps.adapters import SETTINGS, subject_of

    names = {name for known in SETTINGS.values() for name in known}
    given = {name: value for name, value in settings.items() if name in names}
    if "sampler_steps" in settings:  # of a verb with other steps, and with several scales in another design
        given |= {"steps": settings["sampler_steps"], "guidance": settings["scale"], "named": _OF_SAMPLERS}
    given |= {name: value_of(given[name]) for name in ("condition", "unconditional") if name in given}
    if not images and isinstance(size, int):
        given["size"] = size
    return subject_of(opened_model(model, size=size, **options), kind, images=images, **given)
