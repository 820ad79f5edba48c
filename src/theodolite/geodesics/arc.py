"""The arc between two latents."""

from __future__ import annotations

import math

from torch import Tensor

from theodolite.errors import InputError

__all__ = ["slerp"]


def slerp(first: Tensor, second: Tensor, fractions: Tensor) -> Tensor:
    """Latents on the arc between two directions, with norms between those of the ends (Shoemake 1985).

    Args:
        first: `(*latent)`.
        second: `(*latent)`.
        fractions: `(n,)` in [0, 1].

    Returns:
        `(n, *latent)`.

    Raises:
        InputError: a zero, or opposite directions, between which there is no one arc.
    """
    a, b = first.flatten().double(), second.flatten().double()
    lengths = a.norm(), b.norm()
    if not float(min(lengths)) > 0:
        raise InputError("latents other than zero expected for slerp, got a zero; go via linear")
    cosine = float((a @ b / (lengths[0] * lengths[1])).clamp(-1, 1))
    if cosine < -1 + 1e-9:  # within rounding of opposite
        raise InputError("directions that are not opposite expected for slerp, got opposite ones; go via linear")
    s = fractions.double().to(a.device)[:, None]
    angle = math.acos(cosine)
    if angle < 1e-6:  # the arc is then its chord within 1e-12, and the formula below divides by its sine
        return (first + s.to(first).reshape(-1, *[1] * first.ndim) * (second - first)).to(first)
    u, v = a / lengths[0], b / lengths[1]
    turned = (((1 - s) * angle).sin() * u + (s * angle).sin() * v) / math.sin(angle)
    norms = (1 - s) * lengths[0] + s * lengths[1]
    return (norms * turned).unflatten(1, first.shape).to(first)
