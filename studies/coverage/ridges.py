"""Smooth maps with closed derivatives of every order that the cases of curvature and rotation need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from theodolite import LatentMap
from theodolite.estimates import Estimate


class Profile(NamedTuple):
    """A function of one number with its first two derivatives."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    bend: Callable[[Tensor], Tensor]


def _tanh_slope(t: Tensor) -> Tensor:
    return 1 - t.tanh().square()


PROFILES = {
    "quadratic": Profile(lambda t: t.square() / 2, lambda t: t, torch.ones_like),
    "quartic": Profile(
        lambda t: t.square() / 2 + t.pow(3) / 6 + t.pow(4) / 24,
        lambda t: t + t.square() / 2 + t.pow(3) / 6,
        lambda t: 1 + t + t.square() / 2,
    ),
    "tanh": Profile(torch.tanh, _tanh_slope, lambda t: -2 * t.tanh() * _tanh_slope(t)),
    "softplus": Profile(
        torch.nn.functional.softplus, torch.sigmoid, lambda t: torch.sigmoid(t) * (1 - torch.sigmoid(t))
    ),
    "sine": Profile(torch.sin, torch.cos, lambda t: -t.sin()),
    "relu": Profile(torch.relu, lambda t: (t > 0).to(t), torch.zeros_like),
}


@dataclass(frozen=True)
class Ridge:
    """`x(z) = A z + C phi(B z + b)`: networks of one layer, graphs of quadratics and polynomials, by the profile `phi`.

    Attributes:
        profile: `phi` and its derivatives.
        A: `(outputs, latents)`.
        B: `(ridges, latents)`.
        C: `(outputs, ridges)`.
        b: `(ridges,)`.
        space: shape of one output; flat when empty.
    """

    profile: Profile
    A: Tensor
    B: Tensor
    C: Tensor
    b: Tensor
    space: tuple[int, ...] = ()

    def __call__(self, z: Tensor) -> Tensor:
        """Images of latents `(n, *latent)`."""
        flat = z.flatten(1)
        images = flat @ self.A.to(z).T + self.profile.value(flat @ self.B.to(z).T + self.b.to(z)) @ self.C.to(z).T
        return images.reshape(len(z), *(self.space or (-1,)))

    def map(self, *latent: int) -> LatentMap:
        """As a map of latents of this shape, flat when none is given."""
        return LatentMap(self, latent or (self.A.shape[1],))

    def jacobian(self, z: Tensor) -> Tensor:
        """At latents `(n, d)`: `(n, outputs, d)`."""
        slopes = self.profile.slope(z @ self.B.T + self.b)
        return self.A + torch.einsum("or,nr,rd->nod", self.C, slopes, self.B)

    def second(self, z: Tensor, V: Tensor) -> Tensor:
        """`D²x(z)[v, v]` at one latent `(d,)` along `V: (k, d)`: `(k, outputs)`."""
        return (self.profile.bend(self.B @ z + self.b) * (V @ self.B.T).square()) @ self.C.T


def lognormal_matrix(outputs: int, latents: int, spread: float, draws: torch.Generator) -> Tensor:
    """Log-normal singular values between random bases."""
    rank = min(outputs, latents)
    left, right = (torch.linalg.qr(_normal(draws, size, rank)).Q for size in (outputs, latents))
    return left * (spread * _normal(draws, rank)).exp() @ right.T


def network(
    profile: str, outputs: int, latents: int, draws: torch.Generator, *, spread: float = 0.5, ridges: int | None = None
) -> Ridge:
    """A random layer between random matrices of log-normal spectrum, beside a linear part of half its size."""
    count = ridges or 2 * latents
    A = lognormal_matrix(outputs, latents, spread, draws) / 2
    B, C = _normal(draws, count, latents), lognormal_matrix(outputs, count, spread, draws)
    return Ridge(PROFILES[profile], A, B / latents**0.5, C, _normal(draws, count) / 2)


def graph(latents: int, codimension: int, draws: torch.Generator) -> Ridge:
    """`(z, q_1(z), ..., q_c(z))` with random quadratic forms, seen through a random rotation of the space."""
    frame = torch.linalg.qr(_normal(draws, latents + codimension, latents + codimension)).Q
    C = torch.zeros(latents + codimension, latents, dtype=torch.float64)
    C[latents:] = _normal(draws, codimension, latents)
    B = torch.linalg.qr(_normal(draws, latents, latents)).Q
    return Ridge(PROFILES["quadratic"], frame[:, :latents], B, frame @ C, torch.zeros(latents, dtype=torch.float64))


def _normal(draws: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draws, dtype=torch.float64)


def one_less(cosine: Estimate) -> Estimate:
    """`1 - cosine`: of cosines that differ from one by 1e-8 the table of draws, in float32, would keep no interval."""
    low, high = cosine.interval()
    return replace(cosine, value=1 - cosine.value, ends=(1 - high, 1 - low))
