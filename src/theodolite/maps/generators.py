"""GAN generators as maps: a mapping of the latent, then the synthesis of an image."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.chain import Chain
from theodolite.maps.latent_map import LatentMap

__all__ = ["Generator", "generator_map", "is_generator"]


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
    return [one for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]


def _takes_noise(part: nn.Module) -> bool:
    parameters = inspect.signature(part.forward).parameters.values()
    return any(one.name == "noise_mode" or one.kind is one.VAR_KEYWORD for one in parameters)
