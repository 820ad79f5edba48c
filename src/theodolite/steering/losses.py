"""Regularisers: what a denoiser pays for an autoencoder, differentiable in its weights.

Each is a scalar tensor on the device and in the dtype of its input, free of the scale of latents and images, with a
minimum of zero. Add one, times a weight, to a training loss. They run in the precision of their input, also under
autocast: derivatives do not survive half precision. Draws are fresh at every call when `generator` is a
`torch.Generator` that lives through the training; an integer repeats the same draws.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theodolite.derivatives.trainable import metric_products, second_derivatives, second_differences
from theodolite.errors import InputError
from theodolite.estimates import Draws, normal_like, permutation_like, signs_like, stream_of
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.outputs import mean_of, read_images
from theodolite.scores.clouds import checked_cloud, checked_levels
from theodolite.scores.mixture import ENOUGH_FOR_FI

__all__ = ["SplitMixture", "encoder_curvature_loss", "fir_loss", "tangential_loss", "tangents"]

_Map = Callable[[Tensor], Any]


def tangential_loss(decoder: _Map | Autoencoder, latents: Tensor, *, generator: Draws, probes: int = 1) -> Tensor:
    """How far a decoder is from a scaled isometry: `m E tr G² / (E tr G)² - 1`, `G = JᵀJ`, over a batch of latents.

    It is `Var(lambda) / E(lambda)²` over the eigenvalues of `G` at all latents, so not negative, and zero only where
    the decoder stretches all directions at all latents alike. With Rademacher probes `v`, `|v|² = m`,

        loss = m mean|G v|² / (mean|J v|²)² - 1

    Both means are unbiased. The ratio is not: its bias is of order one over the number of probes and latents together,
    and vanishes with the distortion, since every single draw is at least zero (Cauchy-Schwarz), and zero for a scaled
    isometry. Outputs and latents may be scaled freely.

    Lower is not better for diffusion: in `docs/prediction.md` autoencoders trained with it gave worse samples than
    plain ones, at both weights that were tried.

    It measures the decoder; of an encoder that inverts it, eigenvalues are the inverse ones. Layers that couple rows
    (batch statistics) make `G` that of the whole batch; running statistics are not updated.

    Args:
        decoder: latents `(n, *latent)` to outputs, or to what a diffusers `decode` returns; or an `Autoencoder`.
        latents: `(n, *latent)`; detach them to train the decoder only.
        generator: a `torch.Generator` or a seed.
        probes: probes a latent; each costs about one forward and one backward pass, twice that with the loss's own.

    Raises:
        InputError: latents that are no finite batch, `probes` below one, or a decoder whose derivative is zero.

    Source: the relaxed distortion measure of Lee et al., *Regularized autoencoders for isometric representation
    learning*, ICLR 2022, with one probe for both traces; the bound on single draws is derived here.

    Example:
        >>> z = torch.randn(16, 2, generator=torch.Generator().manual_seed(0))
        >>> stretch = torch.tensor([[1.0, 0.0], [0.0, 3.0]])  # eigenvalues 1 and 9: variance 16, mean 5
        >>> round(tangential_loss(lambda z: z @ stretch, z, generator=0).item(), 4), 16 / 25
        (0.64, 0.64)
    """
    _check_batch(latents, "latents")
    _check_probes(probes)
    function = decoder.decoder if isinstance(decoder, Autoencoder) else lambda z: read_images(decoder(z))
    z = _repeated(latents, probes)
    Jv, Gv = metric_products(function, z, signs_like(z, z.shape, generator))
    stretch, square = _squared(Jv).mean(), _squared(Gv).mean()
    if not bool(stretch > 0):
        raise InputError("a decoder with a derivative expected, got one that is constant around every latent")
    return latents[0].numel() * square / stretch.square() - 1


def tangents(decoder: _Map | Autoencoder, latents: Tensor, *, generator: Draws) -> Tensor:
    """A random unit tangent `J v / |J v|` of the decoder's image at each of `latents: (n, *latent)`: `(n, *output)`.

    `v` is standard normal, so that directions the decoder stretches most are taken most often. No gradient; about two
    forward passes.

    Example:
        >>> tangents(lambda z: torch.cat([2 * z, 0 * z], 1), torch.zeros(1, 1), generator=0).abs()
        tensor([[1., 0.]])
    """
    function = decoder.decoder if isinstance(decoder, Autoencoder) else lambda z: read_images(decoder(z))
    Jv, _ = metric_products(function, latents.detach(), normal_like(latents, latents.shape, generator))
    length = torch.linalg.vector_norm(Jv.detach().flatten(1), dim=-1)
    return Jv.detach() / length.reshape(-1, *(1,) * (Jv.ndim - 1))


def encoder_curvature_loss(
    encoder: _Map | Autoencoder,
    points: Tensor,
    *,
    generator: Draws,
    step: float | None = None,
    directions: Tensor | None = None,
    probes: int = 1,
) -> Tensor:
    """How much an encoder bends: `E|Hess E(u, u)|² / E|J u|²` over points and unit directions `u`, in 1 / point².

    Dividing by the stretch keeps the encoder from lowering it by shrinking its latents. Zero only for an encoder that
    is straight along the directions. For directions uniform on the sphere in `R^D`, `E|Hess E(u, u)|²` is
    `(|tr Hess E|² + 2 ||Hess E||²) / (D (D + 2))` and `E|J u|²` is `||J||² / D`. Means are unbiased; the ratio has a
    bias of order one over their number. All directions count alike, also those that leave the data; to bend less along
    the data only, as `fisher.penalties` measures, give `directions=tangents(decoder, latents, ...)`.

    Args:
        encoder: points `(n, *point)` to latents, `(mean, ...)` or what a diffusers `encode` returns; or an
            `Autoencoder`.
        points: images, or any points of the encoder's input.
        generator: a `torch.Generator` or a seed.
        step: None for derivatives (forward mode twice, with the operations that torch gets wrong repaired); or a length
            in units of the points over which central differences are taken, `[E(x + h u) - 2 E(x) + E(x - h u)] / h²`.
            They see kinks (ReLU) and need no second derivatives of the layers; as an estimate of the derivative their
            error is `h² / 12` times the fourth one, and that of rounding `4 eps |E| / h²`: in float32 a step below 0.01
            is noise.
        directions: `(n, *point)`, any length but zero, in place of random ones; no gradient flows through them.
        probes: random directions a point.

    Returns:
        The loss; three to four forward passes a direction, and their backward passes.

    Raises:
        InputError: points that are no finite batch, a step or probes out of range, directions of another shape or of
            length zero, an operation without second derivatives (give `step`), or an encoder that is constant.

    Source: the curvature penalty named by Gu et al. (arXiv 2604.02751); estimator derived here.

    Example:
        >>> x = torch.randn(8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> loss = encoder_curvature_loss(lambda x: 3 * x + x**2, x, generator=0)  # 4 / E(3 + 2 x)²
        >>> bool((loss - 4 / (3 + 2 * x).square().mean()).abs() < 1e-12)
        True
    """
    _check_batch(points, "points")
    _check_probes(probes)
    if step is not None and not 0 < step < math.inf:
        raise InputError(f"`step` expected positive and finite, in units of the points, or None, got {step!r}")
    if directions is not None and directions.shape != points.shape:
        raise InputError(
            f"`directions` expected to be {tuple(points.shape)} as the points, got {tuple(directions.shape)}"
        )
    function = encoder.encoder if isinstance(encoder, Autoencoder) else lambda x: mean_of(encoder(x))
    x = points if directions is not None else _repeated(points, probes)
    u = _unit(normal_like(x, x.shape, generator) if directions is None else directions.detach().to(x))
    first, second = second_derivatives(function, x, u) if step is None else second_differences(function, x, u, step)
    stretch, bend = _squared(first).mean(), _squared(second).mean()
    if not bool(stretch > 0):
        raise InputError("an encoder with a derivative expected, got one that is constant along every direction")
    if step is None and not bool(bend > 0):
        warnings.warn(
            "the second derivative of the encoder is zero everywhere: piecewise linear layers (ReLU) bend over finite "
            "steps only; give `step`",
            stacklevel=2,
        )
    return bend / stretch


def fir_loss(
    latents: Tensor,
    t: float,
    *,
    generator: Draws,
    references: Tensor | None = None,
    support: float = ENOUGH_FOR_FI,
) -> Tensor:
    """The Fisher information rate of a batch of latents in noise of variance `t`, above the least it can be.

    With the batch normalised to `E|z|² = m` (one scalar, differentiated too) and `H` the Jacobian of the score of its
    noised distribution,

        loss = (1 + t)² E||H||² / m - 1

    Of all distributions with that variance the isotropic Gaussian has the smallest rate, `m / (1 + t)²` (`F >= tr (S +
    t)⁻²` and Jensen), so the loss is not negative in expectation, and zero for that one only: it grows with clusters,
    thin manifolds and unequal variances alike. Any scale and shift of the latents gives the same loss.

    `H` comes from the empirical mixture of the batch itself, each latent left out of its own: `x = z + sqrt(t) eps`,
    `w = softmax(-|x - z_j|² / 2t)`, `H = C_w / t² - 1 / t`. To keep the noise of few effective samples out of the
    square, the mixture is split at random, `||H||² ~ (H_1 v)·(H_2 v)` with one Rademacher probe, and covariances have
    Bessel's correction `1 / (1 - 1 / ESS)`. On Gaussian batches in 4 to 16 dimensions whose effective sample sizes are
    about 100 in sum, the bias left was measured at -9 % to 0 of `E||H||²`; without the split it was +2 % to +35 %.

    Args:
        latents: `(n, *latent)`; gradients flow to them, as points and as members of the mixture.
        t: noise variance, in units where `E|z|² = m`. In more than a few dimensions a batch supports only `t` above 1.
        generator: a `torch.Generator` or a seed.
        references: more members of the mixture `(N, *latent)`, e.g. latents of the last batches; no gradient flows to
            them. Neither batch nor references may hold one latent twice.
        support: the smallest median effective sample size, of both halves together.

    Returns:
        The loss; `O(n (n + N) m)` operations, no model pass. A single draw may be below zero.

    Raises:
        InputError: latents that are no cloud of at least eight, `t` or `support` not positive, references of another
            shape, or an effective sample size below `support`, where the mixture remembers its members.

    Source: Tweedie; the framework of Gu et al. (arXiv 2604.02751); the bound and the split are derived here.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> cloud = torch.randn(2000, 2, generator=g)
        >>> two = cloud + 3 * (torch.rand(2000, 1, generator=g) < 0.5)
        >>> abs(fir_loss(cloud, 1.0, generator=0).item()) < 0.1 < fir_loss(two, 1.0, generator=0).item()
        True
    """
    checked_cloud(latents)
    (level,) = checked_levels([t]).tolist()
    if not support > 0:
        raise InputError(f"`support` expected positive, got {support!r}")
    others = latents[:0] if references is None else references.detach().to(latents)
    if others.shape[1:] != latents.shape[1:]:
        raise InputError(f"`references` expected to hold {tuple(latents.shape[1:])} each, got {tuple(others.shape)}")
    if len(latents) + len(others) < _FEWEST:
        raise InputError(f"at least {_FEWEST} latents expected, got {len(latents) + len(others)}; use larger batches")
    with torch.autocast(latents.device.type, enabled=False):
        members = _normalised(torch.cat([latents, others]).flatten(1))
        mixture = SplitMixture.drawn(members, len(latents), level, generator)
        effective, rate = mixture.support(), mixture.rate()
    if effective < support:
        raise InputError(
            f"an effective sample size of at least {support:.0f} expected at t = {level:.4g}, got {effective:.3g} of "
            f"{len(members)} latents: the mixture remembers them; take more noise, a larger batch or `references`"
        )
    return (1 + level) ** 2 * rate / members.shape[1] - 1


@dataclass(frozen=True)
class SplitMixture:
    """The noised distribution of a batch as two independent halves of a mixture, for the Jacobian of its score.

    Attributes:
        members: the members of each half, two of `(k, m)`.
        weights: `w = softmax(-|x - y|² / 2t)` of each point over them, without the point itself, two of `(n, k)`.
        probes: `(n, m)`, entries -1 and 1.
        t: noise variance.
    """

    members: tuple[Tensor, Tensor]
    weights: tuple[Tensor, Tensor]
    probes: Tensor
    t: float

    @classmethod
    def drawn(cls, members: Tensor, n: int, t: float, generator: Draws) -> SplitMixture:
        """Noise the first `n` of `members: (N, m)` and split all at random."""
        stream, shape = stream_of(generator), members[:n].shape
        first, second = permutation_like(members, len(members), stream).chunk(2)
        noise, probes = normal_like(members, shape, stream), signs_like(members, shape, stream)
        logits = ((members[:n] + t**0.5 * noise) @ members.mT - members.square().sum(-1) / 2) / t
        own = torch.eye(n, len(members), dtype=torch.bool, device=members.device)
        logits = logits.masked_fill(own, -torch.inf)
        weights = logits[:, first].softmax(-1), logits[:, second].softmax(-1)
        return cls((members[first], members[second]), weights, probes, t)

    def rate(self) -> Tensor:
        """`mean (H_1 v)·(H_2 v)`, whose expectation is `E||H||²` up to the bias of each factor."""
        first, second = (self._product(Y, w) for Y, w in zip(self.members, self.weights))
        return (first * second).sum(-1).mean()

    def support(self) -> float:
        """The median over points of the effective sample sizes of both halves together."""
        first, second = (_effective(w).detach() for w in self.weights)
        return float((first + second).median())

    def _product(self, Y: Tensor, w: Tensor) -> Tensor:
        """`H v = (C_w v / t - v) / t`, with Bessel's correction of `C_w` (at most twofold)."""
        tilted = w * (self.probes @ Y.mT)
        spread = tilted @ Y - tilted.sum(-1, keepdim=True) * (w @ Y)
        unbiased = spread / (1 - 1 / _effective(w)).clamp_min(0.5)[:, None]
        return (unbiased / self.t - self.probes) / self.t


def _effective(w: Tensor) -> Tensor:
    return 1 / w.square().sum(-1)


_FEWEST = 8
"""Latents below which two halves hold no covariance."""


def _normalised(flat: Tensor) -> Tensor:
    centred = flat - flat.mean(0)
    return centred * (flat.shape[1] / centred.square().sum(-1).mean()).sqrt()


def _repeated(batch: Tensor, times: int) -> Tensor:
    return batch.repeat(times, *(1,) * (batch.ndim - 1))


def _squared(vectors: Tensor) -> Tensor:
    return vectors.flatten(1).square().sum(-1)


def _unit(vectors: Tensor) -> Tensor:
    length = _squared(vectors).sqrt()
    if not bool((length > 0).all()):
        raise InputError("directions of positive length expected, got one of length zero")
    return vectors / length.reshape(-1, *(1,) * (vectors.ndim - 1))


def _check_batch(batch: Tensor, name: str) -> None:
    if not isinstance(batch, Tensor) or batch.dtype not in (torch.float32, torch.float64):
        got = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise InputError(f"`{name}` expected as a float32 or float64 tensor, got {got}; convert with `.float()`")
    if batch.ndim < 2 or batch.numel() == 0:
        raise InputError(f"`{name}` expected to be (n, ...) with n > 0, got {tuple(batch.shape)}")
    if not bool(torch.isfinite(batch).all()):
        raise InputError(f"finite `{name}` expected, got NaN or infinity: check the model's weights")


def _check_probes(probes: int) -> None:
    if not isinstance(probes, int) or probes < 1:
        raise InputError(f"`probes` expected a whole number of at least one, got {probes!r}")
