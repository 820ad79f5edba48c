"""The data manifold as the decoder's image: its tangent space at `n` points, by a dense frame or by least squares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator, second_derivative, second_difference
from theodolite.estimates import Seeds
from theodolite.spectrum import NULL_SHARE, golub_kahan

__all__ = ["DenseSheet", "Directions", "Frame", "Sheet", "SolvedSheet"]


class Directions(NamedTuple):
    """Tangent vectors in image space, `(k, n, D)`, and what the decoder maps to them in latent space, `(k, n, m)`."""

    image: Tensor
    latent: Tensor


class Frame(NamedTuple):
    """Tangent vectors as columns, `(n, D, r)` and `(n, m, r)`; zero columns where the manifold has fewer dimensions."""

    image: Tensor
    latent: Tensor

    def combine(self, coefficients: Tensor) -> Directions:
        """Linear combinations, `coefficients: (k, n, r)`."""
        return Directions(*(torch.einsum("ndr,knr->knd", part, coefficients.to(part)) for part in self))


class Sheet(ABC):
    """The image of the decoder near `n` of its points, with the encoder linearised at the same points.

    Attributes:
        decoder: the decoder's Jacobian at the latents; its `outputs` are the points.
        encoder: the encoder's Jacobian at the points.
        sigma: step of second derivatives, in units of the images; None for the limit of a small step.
    """

    def __init__(self, decoder: JacobianOperator, encoder: JacobianOperator, sigma: float | None) -> None:
        self.decoder = decoder
        self.encoder = encoder
        self.sigma = sigma
        self._differenced = False

    @property
    def approximate(self) -> bool:
        """Whether a derivative came from finite differences where the limit was asked for."""
        return self._differenced or not self.decoder.status == self.encoder.status == "ok"

    @abstractmethod
    def tangent(self, x: Tensor) -> Directions:
        """The tangent part of `x: (k, n, D)`."""

    @abstractmethod
    def probes(self, seeds: Seeds, count: int) -> Directions:
        """Independent normal tangent vectors whose covariance is the projector on the tangent space."""

    def normal(self, x: Tensor) -> Tensor:
        """What of `x: (k, n, D)` is orthogonal to the tangent space."""
        return x - self.tangent(x).image

    def push(self, x: Tensor) -> Tensor:
        """`J_E x` for `x: (k, n, D)`."""
        return self.encoder.flat.matvec(x)

    def second_of_encoder(self, v: Directions) -> Tensor:
        """`Hess E(u, u)` for tangent vectors `u`, `(k, n, m)`; over a finite step where `sigma` is set."""
        return self._second(self.encoder, v.image)

    def second_fundamental_form(self, v: Directions) -> Tensor:
        """`II_X(u, u) = P_N D²D(a, a)` with `u = J_D a`, `(k, n, D)`."""
        return self.normal(self._second(self.decoder, v.latent))

    def _second(self, operator: JacobianOperator, V: Tensor) -> Tensor:
        V = V.reshape(len(V), *operator.latents.shape)
        if self.sigma is not None:
            step = torch.full((operator.n,), self.sigma, dtype=torch.float64, device=V.device)
            return second_difference(operator, V, step).flatten(2)
        second, way = second_derivative(operator, V)
        self._differenced |= way != "taylor"
        return second.flatten(2)


class DenseSheet(Sheet):
    """An orthonormal frame from the singular vectors of explicit Jacobians: `min(m, D)` products with each map.

    Directions whose singular value lies below `least: (n,)` at a point do not belong to the manifold there.

    Attributes:
        frame: orthonormal tangent vectors, `(n, D, r)`, along the leading left singular vectors of the decoder.
        live: which of its columns are there, `(n, r)`: singular values above rounding, and not below `least`.
        images: `J_E` of the frame, `(n, m, r)`; the metric is `G = imagesᵀ images`.
    """

    def __init__(
        self,
        decoder: JacobianOperator,
        encoder: JacobianOperator,
        sigma: float | None,
        dimension: int | None,
        least: Tensor | None = None,
    ) -> None:
        super().__init__(decoder, encoder, sigma)
        J = decoder.dense()
        Q, R = torch.linalg.qr(J)
        left, s, right = torch.linalg.svd(R, full_matrices=False)
        r = min(dimension or s.shape[1], s.shape[1])
        left, s, right = left[..., :r], s[:, :r], right[:, :r].mT
        self.live = s > NULL_SHARE[J.dtype] * s[:, :1]
        if least is not None:  # the leading direction stays, so that a manifold is left at every point
            self.live &= (s >= least[:, None]) | (s == s[:, :1])
        inverse = torch.where(self.live, 1 / torch.where(self.live, s, 1), 0)
        self.frame = Frame(Q @ left * self.live.unsqueeze(-2), right * inverse.unsqueeze(-2))
        self.images = self.push(self.frame.image.permute(2, 0, 1)).permute(1, 2, 0)

    @property
    def rank(self) -> Tensor:
        """Dimension of the manifold at each point, `(n,)`."""
        return self.live.sum(-1)

    @property
    def metric(self) -> Tensor:
        """`G = (J_E Q)ᵀ (J_E Q)`, `(n, r, r)`, float64."""
        W = self.images.double()
        return W.mT @ W

    def tangent(self, x: Tensor) -> Directions:
        """The tangent part of `x: (k, n, D)`; no model pass."""
        return self.frame.combine(torch.einsum("ndr,knd->knr", self.frame.image, x))

    def probes(self, seeds: Seeds, count: int) -> Directions:
        """Normal combinations of the frame."""
        r = self.frame.image.shape[-1]
        return self.frame.combine(seeds.normal("tangent", count, r).transpose(0, 1).to(self.frame.image))

    def whitened(self) -> tuple[Frame, Tensor]:
        """A frame that `J_E` maps to an orthonormal one, and that one, `(n, m, r)`: the frame times `G^(-1/2)`."""
        W, s, V = torch.linalg.svd(self.images.double(), full_matrices=False)
        alive = s > NULL_SHARE[self.images.dtype] * s[:, :1]
        inverse = torch.where(alive, 1 / torch.where(alive, s, 1), 0).unsqueeze(-2)
        turn = (V.mT * inverse).to(self.images)
        return Frame(self.frame.image @ turn, self.frame.latent @ turn), (W * alive.unsqueeze(-2)).to(self.images)


class SolvedSheet(Sheet):
    """Projections by `depth` least-squares steps (Golub-Kahan, as in LSQR): `2 depth + 1` products with the decoder.

    The manifold is taken to have as many dimensions as the latent. A tangent probe is the tangent part of normal noise
    in image space. Too few steps miss the directions that the decoder stretches least (`coverage`).
    """

    def __init__(self, decoder: JacobianOperator, encoder: JacobianOperator, sigma: float | None, depth: int) -> None:
        super().__init__(decoder, encoder, sigma)
        self.depth = depth

    def tangent(self, x: Tensor) -> Directions:
        """The tangent part of `x: (k, n, D)`."""
        run = golub_kahan(self.decoder.flat.T, x, self.depth)
        lower = torch.cat([run.matrix().mT, torch.zeros_like(run.alpha).unsqueeze(-2)], -2)
        lower[..., -1, -1] = run.beta[..., -1]
        y = torch.linalg.pinv(lower, rtol=NULL_SHARE[x.dtype])[..., 0] * x.double().norm(dim=-1, keepdim=True)
        latent = torch.einsum("kns,knsm->knm", y.to(x), run.U)
        return Directions(self.decoder.flat.matvec(latent), latent)

    def probes(self, seeds: Seeds, count: int) -> Directions:
        """Tangent parts of normal noise in image space."""
        noise = seeds.normal("tangent", count, self.decoder.output_dim).transpose(0, 1)
        return self.tangent(noise.to(self.decoder.latents))
