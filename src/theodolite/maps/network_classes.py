"""What the pipelines of diffusers tell each class of network: the time, and where the tokens of a point lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.channels import Time
from theodolite.maps.networks import takes

__all__ = ["places_of", "time_of", "time_scale_of"]


@dataclass(frozen=True)
class _Positions:
    """Coordinates `(tokens, axes)` as the pipelines of a class make them.

    Attributes:
        image: the first coordinate of the tokens of an image; row and column follow it.
        text: the axes along which the tokens of a text are counted; the others are zero.
        axes: how many coordinates a token has.
    """

    image: float = 0.0
    text: tuple[int, ...] = ()
    axes: int = 3


_TIMES: dict[str, Time] = {
    "AuraFlowTransformer2DModel": "u",
    "BriaFiboTransformer2DModel": "step",
    "BriaTransformer2DModel": "step",
    "LuminaNextDiT2DModel": "1-u",
    "Lumina2Transformer2DModel": "1-u",
    "PRXTransformer2DModel": "u",
    "QwenImageTransformer2DModel": "u",
}
"""What classes are told that depart from the rule: the step of the scheduler, divided by the number of steps where a
network takes coordinates of tokens. With `1-u` the velocity points to the data. Read from the pipelines of diffusers
0.42.1."""

_POSITIONS = {
    "Flux2Transformer2DModel": _Positions(text=(3,), axes=4),
    "LongCatImageTransformer2DModel": _Positions(image=1.0, text=(1, 2)),
    "OvisImageTransformer2DModel": _Positions(text=(1, 2)),
}
"""Classes whose pipelines place tokens otherwise than those of Flux: row and column of an image, zeros for a text."""


def time_of(model: Any) -> Time | None:
    """What the pipelines of a diffusers class tell its network; None of a class without pipelines of its own."""
    return _TIMES.get(type(model).__name__, "u" if takes(model, "img_ids") else None)


def time_scale_of(model: Any) -> float:
    """The factor on the time: that of the configuration (Sana), else 1."""
    return float(getattr(model, "config", {}).get("timestep_scale", 1.0))


def places_of(model: Any, given: Mapping[str, Any], x: Tensor) -> dict[str, Any]:
    """Coordinates of the tokens of images and texts, where a network takes them and they are not given.

    Raises:
        InputError: tokens that make no square, or coordinates of a class whose pipelines are not known.
    """
    made: dict[str, Any] = {}
    if takes(model, "img_shapes") and "img_shapes" not in given:  # Qwen-Image: frames, rows and columns of each image
        made["img_shapes"] = [[(1, *(_side(x, "img_shapes"),) * 2)]] * len(x)
    if not takes(model, "img_ids"):
        return made
    positions = _positions_of(model, given)
    if "img_ids" not in given:
        rows = torch.arange(_side(x, "img_ids"), device=x.device, dtype=x.dtype)
        grid = torch.cartesian_prod(rows, rows)
        first = grid.new_full((len(grid), 1), positions.image)
        made["img_ids"] = torch.cat([first, grid, grid.new_zeros(len(grid), positions.axes - 3)], 1)
    if "txt_ids" not in given and "encoder_hidden_states" in given:
        tokens = given["encoder_hidden_states"].shape[1]
        made["txt_ids"] = x.new_zeros(tokens, positions.axes)
        made["txt_ids"][:, list(positions.text)] = torch.arange(tokens, device=x.device, dtype=x.dtype)[:, None]
    return made


def _positions_of(model: Any, given: Mapping[str, Any]) -> _Positions:
    """Those of the class, else those of Flux.

    Raises:
        InputError: the network takes another number of coordinates, and they are not given.
    """
    name, axes = type(model).__name__, getattr(model, "config", {}).get("axes_dims_rope")
    positions = _POSITIONS.get(name, _Positions())
    if axes is not None and len(axes) != positions.axes and not {"img_ids", "txt_ids"} <= set(given):
        raise InputError(
            f"coordinates of tokens with {len(axes)} axes expected, {name} is of a class whose pipeline is not known; "
            "give `img_ids` and `txt_ids` in the condition"
        )
    return positions


def _side(x: Tensor, argument: str) -> int:
    """Tokens along a side of a square image."""
    side = math.isqrt(x.shape[1])
    if side**2 != x.shape[1]:
        raise InputError(f"tokens of a square expected, got {x.shape[1]}; give `{argument}` in the condition")
    return side
