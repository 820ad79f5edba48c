"""GAN generators as maps: a mapping of the latent, then the synthesis of an image."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.chain import Chain
from theodolite.maps.latent_map import LatentMap

__all__ = ["Generator", "generator_map", "is_generator", "is_plain_generator", "plain_generator_map"]

_SIZES = ("latent_shape", "z_dim", "latent_dim", "nz")
"""Attributes by which generators say what shape a latent has."""


def is_generator(model: Any) -> bool:
    """Whether `model` has the parts of a generator: the modules `mapping` and `synthesis`."""
    return all(isinstance(getattr(model, part, None), nn.Module) for part in ("mapping", "synthesis"))


def generator_map(model: Any, name: str | None = None) -> LatentMap:
    """A generator `z -> synthesis(mapping(z))` as a map from `(n, z_dim)` to images.

    A class label that the mapping asks for is left at zeros of `c_dim`, and the synthesis keeps its noise constant
    (`noise_mode="const"`) where it draws any: a map has one output.

    Args:
        model: with the modules `mapping` and `synthesis` and the number `z_dim`, as in the StyleGAN family; in `eval()`
            mode.
        name: what reports call it; the class when None.

    Raises:
        InputError: no such parts, or no `z_dim`.
    """
    size = getattr(model, "z_dim", None)
    if not is_generator(model) or not isinstance(size, int):
        raise InputError(
            f"a generator with the modules `mapping` and `synthesis` and the number `z_dim` expected, got "
            f"{type(model).__name__}; return a LatentMap(function, latent_shape) for another kind"
        )
    return LatentMap(Generator(model, size), (size,), name=name or type(model).__name__)


def is_plain_generator(model: Any) -> bool:
    """Whether `model` is a module `z -> x`: one argument, and no `encode` or `decode` that would make it another."""
    if not isinstance(model, nn.Module) or hasattr(model, "encode") or hasattr(model, "decode"):
        return False
    return len(_required(model)) == 1


def plain_generator_map(model: nn.Module, name: str) -> LatentMap:
    """A module `z -> x` as a map. The shape of `z` is what the module says of it, or what its first layer takes.

    Args:
        model: in `eval()` mode. `latent_shape`, `z_dim`, `latent_dim` or `nz` say what shape a latent has; otherwise
            the first linear layer does, or the first convolution, of latents `(channels, 1, 1)`.
        name: what reports call it.

    Raises:
        InputError: neither says so, or the module does not run on such latents; one pass of two latents.
    """
    shape = _latent_shape(model)
    mend = "return theodolite.LatentMap(function, latent_shape=...) from the factory"
    if shape is None:
        raise InputError(f"the shape of a latent of {name} is not known: give the module a `latent_shape`, or {mend}")
    weight = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            outputs = model(torch.zeros(2, *shape, dtype=weight.dtype, device=weight.device))
    except Exception as error:  # whatever the user's module raises
        reason = str(error).strip().splitlines()
        raise InputError(f"{name} failed on latents {shape}: {reason[0] if reason else error!r}; {mend}") from error
    if not isinstance(outputs, Tensor) or len(outputs) != 2:
        got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"{name} expected to give one output a latent, got {got} of two; {mend}")
    return LatentMap(model, shape, name=name)


def _latent_shape(model: nn.Module) -> tuple[int, ...] | None:
    for attribute in _SIZES:
        size = getattr(model, attribute, None)
        if isinstance(size, int) and size > 0:
            return (size,)
        if isinstance(size, tuple | list) and size and all(isinstance(axis, int) and axis > 0 for axis in size):
            return tuple(size)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            return (layer.in_features,)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            return (layer.in_channels, 1, 1)
    return None


class Generator(Chain):
    """The two parts of a generator, one after the other."""

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        self.mapping = _Mapping(model.mapping, int(getattr(model, "c_dim", 0)))
        self.synthesis = _Synthesis(model.synthesis)
        self.size = size
        self.training = False

    def make_stages(self) -> tuple[LatentMap, ...]:
        """The mapping and the synthesis."""
        weight = next(self.parameters(), torch.empty(0))
        with torch.no_grad():
            styles = self.mapping(weight.new_zeros(1, self.size))
        return (
            LatentMap(self.mapping, (self.size,), name="mapping"),
            LatentMap(self.synthesis, tuple(styles.shape[1:]), name="synthesis"),
        )


class _Mapping(nn.Module):
    def __init__(self, part: nn.Module, classes: int) -> None:
        super().__init__()
        self.part, self.classes, self.training = part, classes, False
        self.labelled = len(_required(part)) > 1

    def forward(self, z: Tensor) -> Tensor:
        styles: Tensor = self.part(z, z.new_zeros(len(z), self.classes)) if self.labelled else self.part(z)
        return styles


class _Synthesis(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part, self.training = part, False
        self.options = {"noise_mode": "const"} if _takes_noise(part) else {}

    def forward(self, styles: Tensor) -> Tensor:
        images: Tensor = self.part(styles, **self.options)
        return images


def _required(part: nn.Module) -> list[inspect.Parameter]:
    parameters = inspect.signature(part.forward).parameters.values()
    return [own for own in parameters if own.default is own.empty and own.kind is own.POSITIONAL_OR_KEYWORD]


def _takes_noise(part: nn.Module) -> bool:
    parameters = inspect.signature(part.forward).parameters.values()
    return any(parameter.name == "noise_mode" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
