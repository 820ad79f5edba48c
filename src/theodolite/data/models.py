"""Models that a user names or gives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, refusing

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder

__all__ = ["check_model", "opened_autoencoder"]


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
