"""Whether products with a Jacobian can be trusted: held against differences of the map, once for each map.

A recording cannot see what leaves torch's operations, as a custom kernel does. Forward mode obeys what code says about
gradients: the straight-through estimator of a quantiser gives a slope to a map that is constant between jumps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from theodolite.derivatives.linearise import NotRecordableError, linearise
from theodolite.derivatives.memory import is_out_of_memory
from theodolite.derivatives.precision import plain_evaluation
from theodolite.derivatives.products import PUSHES, RECORDED, stacked
from theodolite.errors import InputError
from theodolite.maps.latent_map import LatentMap

__all__ = ["ADJOINT_TOLERANCE", "Verdict", "check_recording", "guard"]

_AGREE = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Relative distance up to which two ways to one product are the same: some thousand roundings of a deep network."""

ADJOINT_TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Relative distance of `<u, J v>` from `<Jᵀ u, v>` that rounding may make."""

_STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_VISIBLE = 100
"""Roundings of the output that a step must move it by for its difference to be known to about a hundredth."""

_FAR = 0.3
"""Relative distance of a product from every difference beyond which it is no slope of the map. Smooth maps and maps
with kinks come within some hundredths at one of the steps."""

_LINES, _POINTS = 8, 17
"""Lines on which a jump is looked for, and points of each. A line is four times as long as the latent, and of eight
lines one at least crosses a border of every codebook and rounding that was tried."""

_CUT = (
    "the map cuts its own derivative (detach, no_grad or a custom backward formula): differentiated as it is evaluated"
)
_DIFFERS = "its recording differs from forward mode, which its differences confirm"
_QUANTISED = (
    "the map jumps: a quantiser inside it (nearest code, rounding, argmax) makes it constant in pieces, and its "
    "derivative is no slope; measure the model without the quantiser, on the continuous latents that come after it"
)
_Kind = tuple[object, ...]
_messages: WeakKeyDictionary[object, dict[_Kind, str]] = WeakKeyDictionary()
_verdicts: WeakKeyDictionary[object, dict[_Kind, Verdict]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Verdict:
    """What the guard says of a map's products, as a status with its reason.

    Attributes:
        status: ``ok``, ``undetermined`` where products are no slopes or not adjoint, ``undefined`` for a quantiser.
        message: the reason, empty for ``ok``.
    """

    status: str = "ok"
    message: str = ""


class Products(Protocol):
    """What the guard needs of an operator at one latent."""

    latents: Tensor
    outputs: Tensor

    @property
    def message(self) -> str:
        """What to know of the way taken."""

    def matvec(self, V: Tensor) -> Tensor:
        """`J v`."""

    def rmatvec(self, U: Tensor) -> Tensor:
        """`Jᵀ u`."""


def guard(map: LatentMap, z: Tensor, operator: Callable[[LatentMap, Tensor], Products]) -> Verdict:
    """Hold one product and its adjoint against differences of the map near one latent `z: (1, *latent)`.

    Made once a map, or maps that are `alike`, and kind of latent, a hundredth of the latent's norm beside `z`: a latent
    of zeros, where a network without biases has a kink, says nothing about others. About eight passes, ten more
    where the map bends or has kinks, up to 300 more where the derivative is zero or cut.

    Args:
        map: the map.
        z: where it is in use.
        operator: makes the operator of a map at latents.
    """
    owner, kind = _owner_and_kind(map, z)
    verdicts = _verdicts.setdefault(owner, {})
    if kind not in verdicts:
        try:
            verdicts[kind] = _judged(operator(map, z + 0.01 * _reach(z) * _unit(z, 1)), map)
        except (InputError, RuntimeError) as error:
            # The map has no value or product there (a domain, a cache, memory): products in use say so themselves.
            if is_out_of_memory(error):
                return Verdict()
            verdicts[kind] = Verdict()
    return verdicts[kind]


def check_recording(map: LatentMap, z: Tensor) -> str:
    """Hold a recorded product with one random vector against forward mode at one latent `z: (1, *latent)`.

    Where the two differ, central differences of the map decide: forward mode obeys what the map's code says about
    gradients, the recording does not. Made once a map, or maps that are `alike`, and kind of latent; about four passes.

    Returns:
        A message for the user, mostly empty.

    Raises:
        NotRecordableError: the recording is not the map.
    """
    owner, kind = _owner_and_kind(map, z)
    messages = _messages.setdefault(owner, {})
    if kind not in messages:
        draw = torch.randn(1, *z.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        messages[kind] = _compared(map, z, draw.to(z))
    return messages[kind]


def _owner_and_kind(map: LatentMap, z: Tensor) -> tuple[object, _Kind]:
    """What a check is remembered by: the map, or what maps of the same operations share, and the kind of latent."""
    owner, variant = map.alike or (map, "")
    return owner, (variant, z.shape[1:], z.dtype, z.device)


def _compared(map: LatentMap, z: Tensor, v: Tensor) -> str:
    recorded = linearise(map, z).push(v)
    forward = _forward(map, z, v)
    if forward is not None and _distance(recorded, forward) < _AGREE[z.dtype]:
        return ""
    slopes = list(_slopes(map, z, v, recorded if forward is None else max(recorded, forward, key=_size)))
    ours = _typical(recorded, slopes)
    if forward is None:
        if ours < 0.5:
            return ""
        raise NotRecordableError("its recording is far from its differences")
    if _typical(forward, slopes) <= ours:
        raise NotRecordableError(_DIFFERS)
    return _CUT


def _judged(operator: Products, map: LatentMap) -> Verdict:
    z = operator.latents
    v, u = _unit(z, 2)[None], _unit(operator.outputs, 3)[None]
    Jv, Jtu = operator.matvec(v), operator.rmatvec(u)
    is_disputed = any(reason in operator.message for reason in (_CUT, _DIFFERS))
    if (is_disputed or not Jv.any()) and _jumps(map, z, _size(Jv)):
        return Verdict("undefined", _QUANTISED)
    if max(_size(Jv), _size(Jtu)) <= torch.finfo(z.dtype).eps * _size(operator.outputs) / float(_reach(z)):
        return Verdict()  # the map stands still to its rounding: zero slopes, of which rounding is all that is left
    apart = abs(float((u * Jv).double().sum() - (Jtu * v).double().sum()))
    if apart > ADJOINT_TOLERANCE[z.dtype] * max(_size(Jv), _size(Jtu)):
        return Verdict("undetermined", "products with the Jacobian and with its transpose are not adjoint")
    nearest = math.inf
    with plain_evaluation():
        for slope in _slopes(map, z, v, Jv):  # one at a time: a smooth map needs the first alone
            nearest = min(nearest, _distance(Jv, slope))
            if nearest <= _FAR:
                break
    if nearest > _FAR:
        reason = f"products with the Jacobian differ from small steps of the map by {nearest:.0%}: is it deterministic?"
        return Verdict("undetermined", reason)
    return Verdict()


def _jumps(map: LatentMap, z: Tensor, gain: float) -> bool:
    """Whether the map is discontinuous on one of some lines through `z`."""
    lines = (_unit(z, 4 + index) for index in range(_LINES))
    return any(_jumps_along(map, z.double(), line.double() * _reach(z).double(), gain, z.dtype) for line in lines)


def _jumps_along(map: LatentMap, z: Tensor, v: Tensor, gain: float, dtype: torch.dtype) -> bool:
    """Whether an increment of the map on the line `z ± 2 v` is made smaller by no halving of its interval.

    The interval is the one whose increment differs most from the one before it. A continuous map moves by
    `gain * width` there, and by rounding.
    """
    eps = torch.finfo(dtype).eps

    def at(offsets: Sequence[float]) -> Tensor:
        points = [(z + offset * v).to(dtype) for offset in offsets]
        with plain_evaluation():
            values = torch.cat([map(point) for point in points])
        return values.flatten(1).double()

    offsets = torch.linspace(-2, 2, _POINTS, dtype=torch.float64).tolist()
    values = at(offsets)
    bends = (values[2:] - 2 * values[1:-1] + values[:-2]).norm(dim=1)
    if not bends.any():
        return False
    start = int(bends.argmax())
    low, high, left, right = offsets[start], offsets[start + 2], values[start], values[start + 2]
    while high - low > 8 * eps:
        middle = (low + high) / 2
        value = at([middle])[0]
        if (value - left).norm() > (right - value).norm():
            high, right = middle, value
        else:
            low, left = middle, value
    smooth = max(_VISIBLE * eps * _size(left), 20 * gain * float(v.norm()) * (high - low))
    return _size(right - left) > smooth


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


def _slopes(map: LatentMap, z: Tensor, v: Tensor, product: Tensor) -> Iterator[Tensor]:
    """Central differences along `v: (1, 1, *latent)`, of the steps at which `product` would be seen beside rounding.

    Two passes each, made when it is asked for.
    """
    unit, length = v / v.norm().clamp_min(torch.finfo(v.dtype).tiny), v.norm()
    gain = _size(product) / float(length.clamp_min(torch.finfo(v.dtype).tiny))
    rounding = torch.finfo(v.dtype).eps * _size(map(z))
    steps = [h * float(_reach(z)) for h in _STEPS]
    visible = [h for h in steps if gain * h > _VISIBLE * rounding] or steps[:1]
    for h in visible:
        yield length * (stacked(map, z + h * unit) - stacked(map, z - h * unit)) / (2 * h)


def _typical(product: Tensor, slopes: Sequence[Tensor]) -> float:
    """The lower median distance of a product from differences: most small steps of a quantiser cross no border."""
    distances = sorted(_distance(product, slope) for slope in slopes)
    return distances[(len(distances) - 1) // 2]


def _reach(z: Tensor) -> Tensor:
    return z.norm().clamp_min(1.0)


def _unit(like: Tensor, seed: int) -> Tensor:
    draw = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (draw / draw.norm()).to(like)


def _size(a: Tensor) -> float:
    return float(a.double().norm())


def _distance(a: Tensor, b: Tensor) -> float:
    size = max(_size(a), _size(b))
    return _size(a - b) / size if size else 0.0
