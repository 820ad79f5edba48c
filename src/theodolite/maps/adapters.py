"""Which maps a model has, and one of them as a `Subject`: an adapter for every class of model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from theodolite.errors import InputError
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoisers import Output, denoiser_map
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.samplers import sampler_map
from theodolite.maps.subject import Subject

__all__ = ["SETTINGS", "STEPS", "is_model", "map_at", "maps_of", "subject_of"]

STEPS = 10
"""Steps of a sampler where the model says no number: the fewest that deterministic samplers of images commonly take."""

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "decoder": (),
    "encoder": (),
    "generator": (),
    "denoiser": ("sigma", "guidance", "condition", "unconditional", "output"),
    "sampler": ("steps", "guidance", "condition", "unconditional", "eta", "draws"),
}
"""What each map can be told."""

_OUTPUTS = ("x0", "eps")
"""Of a denoiser: each gives the other back, so that a denoised point costs no further pass."""


def subject_of(
    model: Any,
    kind: str | None = None,
    *,
    images: bool = False,
    sigma: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    condition: Any = None,
    unconditional: Any = None,
    output: str | None = None,
    eta: float | None = None,
    draws: int | None = None,
    size: int | None = None,
    named: Mapping[str, str] = {},
) -> Subject:
    """The map of a model that is asked for; its first where none is.

    Args:
        model: an `Autoencoder` (``decoder``, ``encoder``), a `LatentMap` (``generator``) or a `Denoiser` (``sampler``;
            ``denoiser``, first where `sigma` is given or images are measured).
        kind: of `KINDS`.
        images: whether points come from images, and not from latents.
        sigma: noise level of a denoiser.
        steps: of a sampler; by default what the model was distilled for, else `STEPS`.
        guidance: of a denoiser or sampler, as for `theodolite.denoiser_map`.
        condition: of a denoiser or sampler; that of nothing in particular when None.
        unconditional: what guidance starts from, as for `theodolite.denoiser_map`.
        output: of a denoiser, ``x0`` (the default) or ``eps``.
        eta: of a sampler, as for `theodolite.sampler_map`.
        draws: seed of the noise that a scheduler adds on its way, the same for every latent; 0 by default.
        size: side in pixels of what a sampler of any size makes; of tokens, where there is no autoencoder, the side of
            their square.
        named: what messages call a setting, where that is another name.

    Raises:
        InputError: another model, a map that it has not, or settings of another map.
    """
    given = {"sigma": sigma, "steps": steps, "guidance": guidance, "condition": condition, "output": output}
    given |= {"eta": eta, "draws": draws, "unconditional": unconditional}
    chosen = map_at(model, kind, images or sigma is not None)
    for name in (name for name, value in given.items() if value is not None and name not in SETTINGS[chosen]):
        raise _foreign(name, named.get(name, name), model, chosen)
    if unconditional is not None and guidance in (None, 1):
        called = named.get("guidance", "guidance")
        raise InputError(f"--unconditional is what guidance starts from, got no guidance; give --{called}, e.g. 4")
    return _adapter(model).subject(model, chosen, {**given, "size": size})


def _foreign(setting: str, called: str, model: Any, chosen: str) -> InputError:
    """A setting of another map than the one that is measured."""
    owners = [kind for kind, names in SETTINGS.items() if setting in names]
    other = next((kind for kind in owners if kind in maps_of(model)), None)
    fix = f"give --map {other}" if other else "give a diffusion model (of a pipeline's folder with --subfolder unet)"
    return InputError(
        f"--{called} belongs to a {' or a '.join(owners)}, and {model.name} is measured as a {chosen}; leave it out, "
        f"or {fix}"
    )


def map_at(model: Any, kind: str | None, images: bool) -> str:
    """The map that is measured: the one that is asked for, else the first that images, or latents, are points of.

    Raises:
        InputError: the model has not the one that is asked for, or it is no model that verbs can measure.
    """
    known = maps_of(model)
    if kind is None:
        return next((name for name in known if images and name != "sampler"), known[0])
    if kind not in known:
        network = kind in ("denoiser", "sampler") and isinstance(model, Autoencoder)
        hint = "; of a pipeline's folder give its network, as FOLDER/unet or FOLDER/transformer" if network else ""
        raise InputError(f"{model.name} has no {kind}: it has {' and '.join(known)}; give --map {known[0]}{hint}")
    return kind


def maps_of(model: Any) -> list[str]:
    """The maps of a model, of `KINDS`; the first is measured where none is asked for.

    Raises:
        InputError: it is no model that verbs can measure.
    """
    return [*_adapter(model).maps]


def is_model(model: Any) -> bool:
    """Whether it is of a class that `theodolite.load` returns."""
    return isinstance(model, tuple(adapter.model for adapter in ADAPTERS))


def _adapter(model: Any) -> Adapter:
    for adapter in ADAPTERS:
        if isinstance(model, adapter.model):
            return adapter
    raise InputError(
        f"an autoencoder, a generator or a denoiser expected, got {type(model).__name__}; see "
        "theodolite.Autoencoder, theodolite.LatentMap and theodolite.Denoiser"
    )


def _of_autoencoder(model: Autoencoder, kind: str, given: Mapping[str, Any]) -> Subject:
    return Subject(kind, model.encoder if kind == "encoder" else model.decoder, model.name, model)


def _of_generator(model: LatentMap, kind: str, given: Mapping[str, Any]) -> Subject:
    return Subject(kind, model, str(model.name))


def _of_denoiser(model: Denoiser, kind: str, given: Mapping[str, Any]) -> Subject:
    condition, guidance = given["condition"], 1.0 if given["guidance"] is None else float(given["guidance"])
    bound = _bound(model, condition)
    if kind == "sampler":
        shape = _shape_of(model, given["size"])
        decode = model.autoencoder
        if decode is not None and len(decode.latent_shape) != len(shape):
            decode = None  # tokens that are no patches of its latents stay as they are
        is_noisy = model.scheduler is not None or bool(given["eta"])
        draws = 0 if given["draws"] is None and is_noisy else given["draws"]
        options = {"decode": decode, "condition": condition, "guidance": guidance, "shape": shape}
        options |= {"unconditional": given["unconditional"]}
        options |= {"eta": given["eta"], "noise": draws}
        steps = given["steps"] or model.sampler_steps or STEPS
        return Subject(kind, sampler_map(bound, steps, **options), model.name, decode, bound)
    if given["sigma"] is None:
        raise InputError(f"the denoiser of {model.name} is measured at a noise level: give --sigma, e.g. 0.4")
    output: Output = given["output"] or "x0"
    if output not in _OUTPUTS:
        raise InputError(f"`output` expected to be one of {', '.join(_OUTPUTS)}, got {output!r}")
    level, start = float(given["sigma"]), given["unconditional"]
    map = denoiser_map(bound, level, output, condition, guidance, unconditional=start)
    return Subject(kind, map, model.name, model.autoencoder, bound, level, output, guidance, condition, start)


def _bound(model: Denoiser, condition: Any) -> Denoiser:
    """The model with a condition: the one that is given, its own, or that of nothing in particular."""
    if condition is not None or _is_conditioned(model):
        return model.with_condition(condition)
    try:
        return model.with_condition(None, null=True)
    except InputError as error:
        raise InputError(
            f"{model.name} needs a condition: give --condition CLASS, or a .safetensors file of embeddings by the "
            "names of the network's arguments (that of the empty prompt for nothing in particular)"
        ) from error


def _shape_of(model: Denoiser, size: int | None) -> tuple[int | None, ...]:
    """The shape of a point of a sampler at a size: the number of tokens decides the levels of some schedulers."""
    shape, autoencoder = model.shape, model.autoencoder
    if size is None or None not in shape:
        return shape
    down = 1 if autoencoder is None else autoencoder.downsampling
    if len(shape) == 2:
        return tuple((size // down) ** 2 if axis is None else axis for axis in shape)
    return tuple(size // down if axis is None else axis for axis in shape)


def _is_conditioned(model: Denoiser) -> bool:
    """Whether the model holds a condition of its own, which stays where no other is given."""
    values = model.given.values() if isinstance(model.given, dict) else model.given
    return any(value is not None for value in values)


class Adapter(NamedTuple):
    """How the models of one class are measured.

    Attributes:
        model: the class.
        maps: of `KINDS`, the first by default.
        subject: from a model, one of its maps and all settings by name, to a subject.
    """

    model: type
    maps: tuple[str, ...]
    subject: Callable[[Any, str, Mapping[str, Any]], Subject]


ADAPTERS = (
    Adapter(Autoencoder, ("decoder", "encoder"), _of_autoencoder),
    Adapter(LatentMap, ("generator",), _of_generator),
    Adapter(Denoiser, ("sampler", "denoiser"), _of_denoiser),
)
"""One for every class of model that `theodolite.load` returns: verbs know none of them."""
