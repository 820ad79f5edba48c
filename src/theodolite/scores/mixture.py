"""The score without a network: the noised empirical distribution of reference latents, streamed in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.scores.clouds import checked_cloud, checked_points
from theodolite.scores.source import Products, ScoreSource

__all__ = ["ENOUGH_FOR_FI", "ENOUGH_FOR_FIR", "MixtureScore"]

ENOUGH_FOR_FI = 100.0
"""Median effective sample size above which the score may be read: 130 gives about 6 % error in Fisher information."""

ENOUGH_FOR_FIR = 400.0
"""The same for its Jacobian: 130 gives about 12 % error in the rate, 470 about 2 %."""

_ENTRIES = 2**21
"""Numbers in one tile of inner products of queries and references."""

_SLACK = 8.0
"""Nats by which log weights may exceed the maximum on record before all sums are brought down to them."""


class MixtureScore(ScoreSource):
    """The score of `p_t = mean_i N(y_i, t)` over reference latents `y_i`, asked at held-out points.

    With weights `w_i = softmax(-|x - y_i|² / 2t)`, mean `ybar = sum w_i y_i` and covariance `C_w` of the references
    under them: `s = (ybar - x) / t` and `H v = -v / t + C_w v / t²`. The references pass by in blocks with an online
    log-sum-exp, all noise levels from one set of inner products; neither an `N × N` nor a `D × D` matrix is formed.
    For `n` queries at `T` levels that is `2 n N D (3 + 2 T)` operations in matrix products. No gradients are kept.

    Below some noise the mixture is a memory of the references (`J -> D / t`, `MMSE -> 0`), not a density. The sign is
    the effective sample size `ESS = 1 / sum w_i²`: below `ENOUGH_FOR_FI` in the median over queries the score is
    refused, below `ENOUGH_FOR_FIR` its Jacobian too. Above, a bias of a few per cent remains, which the calibration
    error of `information` sees in part. Weights are computed from inner products in the dtype of the points: in
    float32 their relative error is about `1e-7 |x| |y| / t`.

    Args:
        references: `(N, *latent)`; not the latents that are then asked about.
        block: references in one block; by default as many as keep a tile of inner products, and the block itself, at
            2²¹ numbers.

    Raises:
        InputError: references that are no cloud.

    Source: the empirical Bayes (Tweedie) score; thresholds measured on a Gaussian in 8 dimensions; derived here.

    Example:
        >>> draws = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
        >>> MixtureScore(draws).score(torch.tensor([[1.0, -2.0]]), t=1.0).round(decimals=1)  # the truth is (-0.5, 1)
        tensor([[-0.5000,  1.0000]])
    """

    name = "MixtureScore"
    differentiable = False
    exact = True  # it tends to the score of the references' law, and `information` knows its error for their number
    together = 512

    def __init__(self, references: Tensor, *, block: int | None = None) -> None:
        self.references = checked_cloud(references, "references")
        self.count, self.dimension = self.references.shape
        self.centre = self.references.mean(0)
        self.block = block

    def score(self, x: Tensor, t: float) -> Tensor:
        """The score at `x: (n, D)`; `N` inner products a point.

        Raises:
            InputError: the median effective sample size is below `ENOUGH_FOR_FI`.
        """
        return self._accepted(x, t, torch.zeros_like(x), "fi").score

    def jvp(self, x: Tensor, t: float, v: Tensor) -> Tensor:
        """`H v` at `x: (n, D)`; three sets of `N` inner products a point.

        Raises:
            InputError: the median effective sample size is below `ENOUGH_FOR_FIR`.
        """
        return self._accepted(x, t, v, "fir").push

    def products(self, x: Tensor, t: float, v: Tensor) -> Products:
        """Score, product and effective sample size, whatever that is; the caller judges it with `refusal`."""
        return next(self.at_levels(x, torch.zeros_like(x), v, torch.tensor([t], dtype=torch.float64)))

    def effective_sample_size(self, x: Tensor, t: float) -> Tensor:
        """`1 / sum_i w_i²` at `x: (n, D)`, between 1 and `N`: `(n,)`."""
        support = self.products(x, t, torch.zeros_like(x)).support
        assert support is not None
        return support

    def refusal(self, support: float, quantity: str) -> str:
        """Why `quantity` (``fi`` or ``fir``) must not be read at this median effective sample size, or nothing."""
        needed = ENOUGH_FOR_FI if quantity == "fi" else ENOUGH_FOR_FIR
        if support >= needed:
            return ""
        return (
            f"effective sample size {support:.3g} of {self.count} references, at least {needed:.0f} needed for "
            f"`{quantity}`: the mixture remembers its references here; ask at more noise, give more references or a "
            "trained denoiser"
        )

    @torch.no_grad()
    def at_levels(self, clean: Tensor, noise: Tensor, probes: Tensor, t: Tensor) -> Iterator[Products]:
        """The products at `clean + sqrt(t) noise` for each variance of `t: (T,)`, from one pass over the references."""
        for part in (clean, noise, probes):
            checked_points(part, self.dimension, self.name)
        centred = clean - self.centre.to(clean)
        sums = [_Sums(clean, level) for level in t.tolist()]
        base = (centred * probes).sum(-1, keepdim=True)
        for Y in self.references.split(self.block or max(1, _ENTRIES // max(clean.shape))):
            Y = Y.to(clean) - self.centre.to(clean)
            near = (centred @ Y.mT).sub_(0.5 * Y.square().sum(-1))
            noisy, along = noise @ Y.mT, (probes @ Y.mT).sub_(base)
            room = clean.new_empty(2, *near.shape)
            for running in sums:
                running.add(near, noisy, along, Y, room)
        for running in sums:
            yield running.products(centred + running.t**0.5 * noise, probes)

    def holds_any(self, latents: Tensor) -> bool:
        """Whether one of `latents: (n, D)` is among the references, bit for bit."""
        known = {hash(row.tobytes()) for row in self.references.cpu().numpy()}
        return any(hash(row.tobytes()) in known for row in latents.to(self.references.dtype).cpu().numpy())

    def _accepted(self, x: Tensor, t: float, v: Tensor, quantity: str) -> Products:
        products = self.products(x, t, v)
        assert products.support is not None
        reason = self.refusal(float(products.support.median()), quantity)
        if reason:
            raise InputError(f"{self.name} refused at t = {t:.4g}: {reason}")
        return products


class _Sums:
    """Sums over references of the weights `w`, `w²`, `w y`, `w a` and `w a y`, `a = <y - x_0, v>`, at one level.

    All are relative to `exp(top)`. Subtracting `<x_0, v>` first keeps the covariance from being a difference of two
    large numbers.
    """

    def __init__(self, clean: Tensor, t: float) -> None:
        n, D = clean.shape
        self.t = t
        self.top = clean.new_full((n, 1), -torch.inf)
        self.squares = clean.new_zeros(n)
        self.totals = clean.new_zeros(2, n)
        self.vectors = clean.new_zeros(2 * n, D)

    def add(self, near: Tensor, noisy: Tensor, along: Tensor, Y: Tensor, room: Tensor) -> None:
        """Take in a block of references.

        Args:
            near: `<y, x_0> - |y|² / 2`, `(n, B)`.
            noisy: `<y, eps>`.
            along: `a`.
            Y: references `(B, D)`.
            room: `(2, n, B)`, overwritten.
        """
        w, tilted = room
        torch.add(near, noisy, alpha=self.t**0.5, out=w).div_(self.t)
        self._raise(w.amax(-1, keepdim=True))
        torch.mul(w.sub_(self.top).exp_(), along, out=tilted)
        self.squares += torch.linalg.vector_norm(w, dim=-1).square()
        self.totals += room.sum(-1)
        self.vectors.addmm_(room.flatten(0, 1), Y)

    def _raise(self, top: Tensor) -> None:
        """Bring all sums down where log weights exceed the maximum on record by more than `_SLACK`."""
        above = top > self.top + _SLACK
        if not bool(above.any()):
            return
        top = torch.where(above, top, self.top)
        shrink = (self.top - top).exp()
        self.squares *= shrink[:, 0].square()
        self.totals *= shrink[:, 0]
        self.vectors *= shrink.repeat(2, 1)
        self.top = top

    def products(self, x: Tensor, probes: Tensor) -> Products:
        """Score, product and effective sample size of all references seen, at `x: (n, D)` from their centre."""
        weight, along = self.totals[..., None]
        mean, moment = self.vectors.view(2, *x.shape)
        ybar = mean / weight
        push = ((moment - along * ybar) / weight / self.t - probes) / self.t
        return Products((ybar - x) / self.t, push, push, weight[:, 0].square() / self.squares)
