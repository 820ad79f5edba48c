"""Maps whose geometry is known in closed form, for tests and for teaching.

Every toy follows the device and the dtype of its latents. In the closed forms, `J` is the Jacobian at a latent, the
log-volume is the sum of the logarithms of its singular values, and the normal curvature along a latent direction `v` is
`|II(v, v)| / |J v|²`, with `II` the part of the second directional derivative orthogonal to the tangent space.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.maps.latent_map import LatentMap

__all__ = ["linear", "parabola", "sphere", "swiss_roll"]


def linear(matrix: Tensor) -> LatentMap:
    """The linear map `x = A z`, from `(n, E)` to `(n, D)`.

    Singular values: those of `A`, everywhere. Log-volume: `½ log det(AᵀA)`. Normal curvature: 0.

    Args:
        matrix: `A`, of shape `(D, E)`.

    Raises:
        InputError: `matrix` is not a floating-point matrix.

    Example:
        >>> linear(torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))(torch.ones(1, 2))
        tensor([[1., 2., 0.]])
    """
    if matrix.ndim != 2 or not matrix.is_floating_point():
        raise InputError(
            f"linear toy `matrix` expected (D, E) in floating point, got {tuple(matrix.shape)}, {matrix.dtype}"
        )

    def multiply(latents: Tensor) -> Tensor:
        return latents @ matrix.to(latents.device, latents.dtype).mT

    return LatentMap(multiply, (matrix.shape[1],), name="zoo:linear")


def sphere(radius: float = 1.0) -> LatentMap:
    """The sphere `R (sin θ cos φ, sin θ sin φ, cos θ)`, from `(n, 2)` to `(n, 3)`.

    The latent is `(θ, φ)`: the angle from the pole and the longitude, in radians.
    Singular values: `R` and `R |sin θ|`, so rank 1 at the poles. Log-volume: `2 log R + log |sin θ|`. Normal curvature:
    `1 / R` along every direction.

    Args:
        radius: `R`, positive.

    Raises:
        InputError: `radius` is not a positive number.

    Example:
        >>> sphere(2.0)(torch.tensor([[torch.pi / 2, 0.0]])).round(decimals=4)
        tensor([[2., 0., -0.]])
    """
    if not (math.isfinite(radius) and radius > 0):
        raise InputError(f"sphere toy `radius` expected to be positive and finite, got {radius!r}")

    def wrap(latents: Tensor) -> Tensor:
        theta, phi = latents.unbind(-1)
        return radius * torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=-1)

    return LatentMap(wrap, (2,), output_range=(-radius, radius), name="zoo:sphere")


def parabola(coefficient: float = 1.0) -> LatentMap:
    """The graph `(z, c |z|² / 2)`, from `(n, d)` to `(n, d + 1)` for any `d`.

    Write `s = √(1 + c²|z|²)`. Singular values: `s` once (along `z`) and 1 otherwise. Log-volume: `log s`. Normal
    curvature along `v`: `|c| |v|² / (s (|v|² + c² (z·v)²))`; at most `|c| / s` (`v` orthogonal to `z`), at least
    `|c| / s³` (along `z`).

    Args:
        coefficient: `c`, any finite number; 0 gives the flat map.

    Raises:
        InputError: `coefficient` is not finite.

    Example:
        >>> parabola(2.0)(torch.tensor([[1.0, 3.0]]))
        tensor([[ 1.,  3., 10.]])
    """
    if not math.isfinite(coefficient):
        raise InputError(f"parabola toy `coefficient` expected to be finite, got {coefficient!r}")

    def lift(latents: Tensor) -> Tensor:
        height = coefficient / 2 * latents.square().sum(-1, keepdim=True)
        return torch.cat([latents, height], dim=-1)

    return LatentMap(lift, (None,), name="zoo:parabola")


def swiss_roll() -> LatentMap:
    """The rolled sheet `(t cos t, h, t sin t)`, from `(n, 2)` to `(n, 3)`; the latent is `(t, h)`, `t` in radians.

    Singular values: `√(1 + t²)` (along `t`) and 1 (along `h`). Log-volume: `½ log(1 + t²)`. Normal curvature along
    `v = (a, b)`: `a² (t² + 2) / (√(1 + t²) (a² (1 + t²) + b²))`, so `(t² + 2) / (1 + t²)^{3/2}` along `t`
    and 0 along `h`.

    Example:
        >>> swiss_roll()(torch.tensor([[0.0, 5.0]]))
        tensor([[0., 5., 0.]])
    """

    def roll(latents: Tensor) -> Tensor:
        angle, height = latents.unbind(-1)
        return torch.stack([angle * angle.cos(), height, angle * angle.sin()], dim=-1)

    return LatentMap(roll, (2,), name="zoo:swiss_roll")
