"""The value of a map at latents, and what is refused before anything is differentiated."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from theodolite.derivatives.memory import Footprint, is_out_of_memory, measure_footprint
from theodolite.derivatives.precision import HalfWatch
from theodolite.errors import InputError
from theodolite.maps.latent_map import LatentMap

__all__ = ["check_point", "evaluated"]


def check_point(map: LatentMap, latents: Tensor) -> None:
    """Raise `InputError` unless `map` can be differentiated at `latents`.

    Raises:
        InputError: latents of the wrong shape or type, half precision, tensors without values, layers in training mode
            that draw noise or mix the latents of a batch.
    """
    map.check(latents)
    _refuse_half(latents, map)
    _refuse_meta(latents.device, map.name, "latents")
    _refuse_training(map, len(latents))


def evaluated(map: LatentMap, latents: Tensor) -> tuple[Tensor, Footprint]:
    """The outputs, and the memory that one latent takes: measured on the first, so that the others come in chunks.

    Raises:
        InputError: outputs that are not one finite floating-point tensor of the latents' type for each latent, or a
            map that computes in half precision.
    """
    first = latents[:1]
    try:
        with HalfWatch(first) as watch:
            outputs, footprint = measure_footprint(map, first)
        _check_outputs(outputs, first, map)
        watch.refuse(map.name)
        rest = latents[1:].split(footprint.tangents(latents.device)) if len(latents) > 1 else ()
        outputs = torch.cat([outputs, *(map(part) for part in rest)])
    except RuntimeError as error:
        for weight in map.weights:
            _refuse_meta(weight.device, map.name, "weights")
        if is_out_of_memory(error) or map.dtype in (None, latents.dtype):
            raise
        raise InputError(
            f"{map.name} expected {map.dtype} latents like its weights, got {latents.dtype}; "
            f"convert one, e.g. `latents.to({map.dtype})` or `map.to(dtype={latents.dtype})`"
        ) from error
    _check_outputs(outputs, latents, map)
    return outputs, footprint


def _refuse_half(latents: Tensor, map: LatentMap) -> None:
    for dtype, what in ((latents.dtype, "latents"), (map.dtype, "weights")):
        if dtype in (torch.float16, torch.bfloat16):
            raise InputError(
                f"float32 or float64 {what} expected, got {dtype}: rounding decides these numbers in half precision; "
                "convert with `.float()`"
            )


def _refuse_training(map: LatentMap, n: int) -> None:
    """Noise makes a map no function of its latent, and statistics of a batch none of a single one of several."""
    for module in (part for held in map.modules for part in held.modules() if part.training):
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise InputError(
                f"{map.name} expected in eval mode, got dropout in training mode; call `.eval()` on the model"
            )
        if n > 1 and isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise InputError(
                f"{map.name} expected in eval mode, got batch normalisation in training mode, which mixes the latents "
                "of a batch; call `.eval()` on the model"
            )


def _refuse_meta(device: torch.device, name: str | None, what: str) -> None:
    if device.type == "meta":
        raise InputError(
            f"{name} expected {what} with values, got some on the device meta, which holds shapes only; load the model "
            "onto 'cpu' or 'cuda' first"
        )


def _check_outputs(outputs: Tensor, latents: Tensor, map: LatentMap) -> None:
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"{map.name} expected to return a tensor, got {type(outputs).__name__}; return one of its parts"
        )
    if outputs.ndim < 1 or len(outputs) != len(latents):
        raise InputError(
            f"{map.name} expected to return one output a latent, got shape {tuple(outputs.shape)} "
            f"for {len(latents)} latents"
        )
    _refuse_meta(outputs.device, map.name, "outputs")
    if not outputs.is_floating_point():
        raise InputError(
            f"{map.name} expected to return {latents.dtype} outputs like its latents, got {outputs.dtype}, which has "
            "no derivative; return what comes before the rounding or the comparison"
        )
    if outputs.dtype != latents.dtype:
        raise InputError(
            f"{map.name} expected to return {latents.dtype} outputs like its latents, got {outputs.dtype}; "
            "compute in one precision throughout, float32 or float64"
        )
    if not torch.isfinite(outputs).all():
        raise InputError(f"{map.name} returned NaN or infinity: check its weights and the scale of the latents")
