"""Models that a user names or gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, refusing

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder
    from theodolite.maps.subject import Subject

__all__ = ["check_model", "opened_autoencoder", "opened_map"]


def check_model(model: Any, **options: Any) -> None:
    """Refuse what can be seen to be no model before anything is loaded.

    Raises:
        InputError: text that names no model, or options of loading with a model that is loaded already.
    """
    from theodolite.maps.loading import check_spec

    if model is None or isinstance(model, str | os.PathLike | int | float):
        check_spec(model)
        return
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"{given[0]}= belongs to a model that is loaded here, got it with {type(model).__name__}")


def opened_autoencoder(model: Any, *, size: int | tuple[int, int] | None = None, **options: Any) -> Autoencoder:
    """The autoencoder that is named, with `options` of `theodolite.load`, or the one that was given.

    Args:
        model: its name, or itself.
        size: of the images that are to be measured, for a model that does not say which it takes.
        options: how one that is named is loaded.

    Raises:
        InputError: something else is named, or has no encoder and decoder.
    """
    from theodolite.maps import Autoencoder
    from theodolite.maps.loading import load_autoencoder

    if isinstance(model, str | os.PathLike):
        with refusing(os.fspath(model), "could not be loaded", "mend the model or what it needs"):
            return load_autoencoder(model, size=size, **options)
    check_model(model, **options)
    if not isinstance(model, Autoencoder):
        raise InputError(f"an autoencoder expected, got {type(model).__name__}; see theodolite.Autoencoder")
    return model


def opened_map(
    model: Any,
    kind: str | None = None,
    *,
    settings: Mapping[str, Any] = {},
    size: int | tuple[int, int] | None = None,
    **options: Any,
) -> Subject:
    """One map of the model that is named, with `options` of `theodolite.load`, or of the one that was given.

    Args:
        model: what names a model, an `Autoencoder`, a `LatentMap` or a `Denoiser`.
        kind: of `theodolite.maps.subject.KINDS`; the first that the model has when None.
        settings: `sigma`, `steps`, `guidance` and `condition` of a denoiser or sampler, the last as text: a class, or
            a file that `read_condition` reads.
        size: of the images that are to be measured, for a model that does not say which it takes.
        options: of `theodolite.load`.

    Raises:
        InputError: something else is named, or the model has no such map.
    """
    from theodolite.data.conditions import read_condition
    from theodolite.maps import load
    from theodolite.maps.subject import subject_of

    given = {name: settings[name] for name in ("sigma", "steps", "guidance", "condition") if name in settings}
    if isinstance(given.get("condition"), str):
        given["condition"] = read_condition(given["condition"])
    if isinstance(model, str | os.PathLike):
        with refusing(os.fspath(model), "could not be loaded", "mend the model or what it needs"):
            model = load(model, size=size, **options)
    else:
        check_model(model, **options)
    return subject_of(model, kind, **given)
