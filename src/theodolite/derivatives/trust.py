"""Whether a recording of a map is the map: it cannot see what leaves torch's operations, as a custom kernel does."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from theodolite.derivatives.linearise import NotRecordableError, linearise
from theodolite.derivatives.memory import is_out_of_memory
from theodolite.derivatives.products import PUSHES, RECORDED, stacked
from theodolite.maps.latent_map import LatentMap

__all__ = ["check_recording"]

_AGREE = {torch.float64: 1e-6, torch.float32: 1e-2}
_STEPS = (1e-1, 1e-2, 1e-3)
_CUT = (
    "the map cuts its own derivative (detach, no_grad or a custom backward formula): differentiated as it is evaluated"
)
_known: WeakKeyDictionary[LatentMap, dict[tuple[object, ...], str]] = WeakKeyDictionary()


def check_recording(map: LatentMap, z: Tensor) -> str:
    """Hold a recorded product with one random vector against forward mode at one latent `z: (1, *latent)`.

    Where the two differ, central differences of the map decide: forward mode obeys what the map's code says about
    gradients, the recording does not. Made once a map and kind of latent; about four passes.

    Returns:
        A message for the user, mostly empty.

    Raises:
        NotRecordableError: the recording is not the map.
    """
    kind = (z.shape[1:], z.dtype, z.device)
    found = _known.setdefault(map, {})
    if kind not in found:
        draw = torch.randn(1, *z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found[kind] = _checked(map, z, draw.to(z))
    return found[kind]


def _checked(map: LatentMap, z: Tensor, v: Tensor) -> str:
    recorded = linearise(map, z).push(v)
    forward = _forward(map, z, v)
    if forward is not None and _distance(recorded, forward) < _AGREE[z.dtype]:
        return ""
    differences = _differences(map, z, v)
    ours = min(_distance(recorded, difference) for difference in differences)
    if forward is None:
        if ours < 0.5:
            return ""
        raise NotRecordableError("its recording is far from its differences")
    theirs = min(_distance(forward, difference) for difference in differences)
    if theirs <= ours:
        raise NotRecordableError("its recording differs from forward mode, which its differences confirm")
    return _CUT


def _forward(map: LatentMap, z: Tensor, v: Tensor) -> Tensor | None:
    for way in PUSHES:
        if way.name == RECORDED or not way.exact or way.passes > 1:
            continue
        try:
            return way.apply(map, z, v)
        except Exception as error:  # another way may work, and a recording alone may do
            if is_out_of_memory(error):
                raise
    return None


def _differences(map: LatentMap, z: Tensor, v: Tensor) -> Sequence[Tensor]:
    unit = v / v.norm().clamp_min(torch.finfo(v.dtype).tiny)
    steps = [h * z.norm().clamp_min(1.0) for h in _STEPS]
    slopes = [(stacked(map, z + h * unit) - stacked(map, z - h * unit)) / (2 * h) for h in steps]
    return [slope * v.norm() for slope in slopes]


def _distance(a: Tensor, b: Tensor) -> float:
    size = max(float(a.norm()), float(b.norm()))
    return float((a - b).norm()) / size if size else 0.0
