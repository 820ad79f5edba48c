"""Denoisers made of inner products alone: equal for spaces that are isometric, whatever the shape of their tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["PrincipalCloud", "ShapeFree", "ShrunkGaussian", "shape_free_losses"]

_MOST = 3000
"""Samples and dimensions from which principal coordinates cost minutes: a cloud with more of both keeps its own."""

_EMPTY = 1e-10
"""Share of the largest variance below which a direction is rounding of float32 samples."""

_PARTS = 3
"""Parts of the samples: axes come from all but one, the variances along them from that one."""

_FEWEST = 6
"""Samples below which no part can be left out: variances are then those of the samples along their own axes."""

_LARGE = 300
"""Dimensions from which one part is enough: variances of so many samples are known well, and spectra take seconds."""

_ENTRIES = 2**22
"""Numbers in one block of weights of a mixture."""

_HOPELESS = 3.0
"""Loss of a mixture, in losses of the Gaussian, from which less noise is not tried: it remembers its references."""

_NOTHING = 1e-3
"""Lower bound, in losses of the Gaussian, from which it is zero at less noise: zero is a lower bound too."""


@dataclass(frozen=True)
class PrincipalCloud:
    """A cloud of `n` samples in coordinates along its own principal axes, with noise along the same axes.

    Isometric clouds have the same coordinates up to rounding: axes are put in order of their variance, and their signs
    are those of the entry that is largest. The noise of a coordinate depends on the seed, the number of samples and the
    place of the coordinate alone, so that it is the same too; given the samples it is standard normal.

    Attributes:
        points: `(n, r)` float64, `r` the rank.
        noise: `(n, r)` float64.
        missing: dimensions that no sample reaches, `m - r`.
        unseen: those of them that are only so for lack of samples; 0 where the samples are more than the rank.
    """

    points: Tensor
    noise: Tensor
    missing: int
    unseen: int

    @classmethod
    def of(cls, flat: Tensor, seed: int) -> PrincipalCloud:
        """The principal coordinates of a centred cloud `(n, m)`; `min(n, m)³` operations."""
        z, (n, m) = flat.detach().double().cpu(), flat.shape
        if min(n, m) > _MOST:
            points = z
        elif m <= n:
            values, axes = torch.linalg.eigh(z.T @ z)
            points = (z @ axes)[:, _filled(values)].flip(1)
        else:
            values, axes = torch.linalg.eigh(z @ z.T)
            points = (axes * values.clamp_min(0).sqrt())[:, _filled(values)].flip(1)
        points = points * points.gather(0, points.abs().argmax(0, keepdim=True)).sign()
        r, stream = points.shape[1], torch.Generator().manual_seed(seed)
        noise = torch.stack([torch.randn(n, generator=stream, dtype=torch.float64) for _ in range(r)], 1)
        return cls(points, noise, m - r, m - r if r >= n - 1 else 0)


def _filled(values: Tensor) -> Tensor:
    return values > _EMPTY * values[-1]


@dataclass(frozen=True)
class ShrunkGaussian:
    """The best linear denoiser of a Gaussian with the principal axes of samples and variances that are shrunk.

    Variances of samples along their own axes spread too far. Each is replaced by what samples that had no part in the
    axes have along the axis of the same rank, made monotonous: cross-validated eigenvalues.

    Attributes:
        mean: `(r,)`.
        axes: `(r, q)`, orthonormal.
        variances: `(q,)`.
        rest: the variance along every other axis.
        others: how many these are, beyond the `r` coordinates of the cloud too.

    Source: Lam 2016, Ann. Stat. 44, 928; Bartz 2016 (arXiv 1611.00798).
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor
    rest: float
    others: int

    @classmethod
    def fitted(cls, points: Tensor, source: Tensor, missing: int = 0, unseen: int = 0) -> ShrunkGaussian:
        """The Gaussian of `points: (N, r)` float64, in a space with further axes; see `PrincipalCloud`.

        Args:
            points: samples.
            source: of each, `(N,)`: samples of one source are on one side of every division.
            missing: axes beyond the `r` coordinates.
            unseen: those of them on which other samples may vary.
        """
        mean = points.mean(0)
        axes = _principal_axes(points - mean)
        q, room = axes.shape[1], points.shape[1] + unseen
        variances, total = _held_out_variances(points, source, q)
        rest = max(0.0, total - float(variances.sum())) / (room - q) if room > q else 0.0
        return cls(mean, axes, variances, rest, points.shape[1] - q + missing)

    def expected_loss(self, points: Tensor, t: Tensor) -> Tensor:
        """`E|x - D(x + sqrt(t) eps)|²` over the noise at clean `points: (n, r)`, exact: `(T, n)`.

        With `y` the components of `x - mean` along the axes of variances `l`, it is the sum of
        `(t / (l + t))² y² + t (l / (l + t))²`, over the axes without samples too.
        """
        y, outside = self._components(points)
        passed, kept = self._shares(t)
        level = t[:, None]
        bias = (1 - passed).square() @ y.square().T + (1 - kept).square() * outside
        return bias + level * (passed.square().sum(-1, keepdim=True) + self.others * kept.square())

    def inside(self) -> ShrunkGaussian:
        """The same with nothing along the axes without samples: it does not know how many dimensions there are."""
        return replace(self, rest=0.0)

    def checks(self, loss: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The MMSE rate of its Jacobian, and its calibration error `E t² |s|² - m t + loss`, for `loss: (T, n)`."""
        passed, kept = self._shares(t)
        rate = passed.square().sum(-1, keepdim=True) + self.others * kept.square()
        trace = passed.sum(-1, keepdim=True) + self.others * kept
        return rate.expand_as(loss), 2 * (loss - t[:, None] * trace)

    def deviation(self, points: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The loss under a draw of noise less `expected_loss`, within the cloud's coordinates: `(T, n)`.

        Its mean is zero: a control variate for denoisers that are asked with the same noise.
        """
        y, _ = self._components(points)
        e = noise @ self.axes
        cross = ((points - self.mean) * noise).sum(1) - (y * e).sum(1)
        beyond = noise.square().sum(1) - e.square().sum(1) - (points.shape[1] - y.shape[1])
        passed, kept = self._shares(t)
        level = t[:, None]
        mixed = (passed * (passed - 1)) @ (y * e).T + kept * (kept - 1) * cross
        squares = passed.square() @ (e.square() - 1).T + kept.square() * beyond
        return 2 * level.sqrt() * mixed + level * squares

    def _components(self, points: Tensor) -> tuple[Tensor, Tensor]:
        centred = points - self.mean
        y = centred @ self.axes
        return y, (centred.square().sum(1) - y.square().sum(1)).clamp_min(0)

    def _shares(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """What passes of each component at each level, `(T, q)`, and of all others, `(T, 1)`."""
        level = t[:, None]
        return self.variances / (self.variances + level), self.rest / (self.rest + level)


def _principal_axes(centred: Tensor) -> Tensor:
    """Axes of the covariance of `(N, r)` along which samples vary, `(r, min(N - 1, r))`, by rising variance."""
    N, r = centred.shape
    z = centred.float() if min(N, r) > _LARGE else centred
    if r < N:
        return torch.linalg.eigh(z.T @ z).eigenvectors.double()
    values, left = torch.linalg.eigh(z @ z.T)
    axes = z.T @ (left[:, 1:] / values[1:].clamp_min(1e-30).sqrt())
    return torch.linalg.qr(axes.flip(1)).Q.flip(1).double()


def _held_out_variances(points: Tensor, source: Tensor, q: int) -> tuple[Tensor, float]:
    """Variances of axes by rising rank, `(q,)`, and the whole variance, both of samples without a part in the axes."""
    if len(points) < _FEWEST:
        along = ((points - points.mean(0)) @ _principal_axes(points - points.mean(0))).square().sum(0)
        return along / max(1, len(points) - 1), float(along.sum()) / max(1, len(points) - 1)
    part = source.unique(return_inverse=True)[1] % _PARTS
    if len(part.unique()) < _PARTS:
        part = torch.arange(len(points)) % _PARTS
    chosen = range(_PARTS if q <= _LARGE else 1)
    rows, wholes = [], []
    for own in chosen:
        inside = part == own
        mean = points[~inside].mean(0)
        held = points[inside] - mean
        along = (held @ _principal_axes(points[~inside] - mean)).square().mean(0)
        rows.append(torch.nn.functional.interpolate(along[None, None], q, mode="linear", align_corners=True)[0, 0])
        wholes.append(held.square().sum(1).mean())
    return torch.stack(rows).mean(0).cummax(0).values, float(torch.stack(wholes).mean())


@dataclass(frozen=True)
class ShapeFree:
    """What every sample contributes to losses that inner products decide, `(T, n)` float64 each.

    Attributes:
        gaussian: the loss of `ShrunkGaussian` without the sample's fold, expected over noise, with the rate and the
            calibration error of its `checks`, `(3, T, n)`.
        inside: the loss of the Gaussian within the span of the other folds, which is the same for isometric embeddings.
        mixture: that of the mixture of the other folds' samples; infinite where it was not asked.
        half: `inside` and `mixture`, `(2, T, n)`, made of half as many folds; infinite where there are too few.
        lower: the loss of the mixture of *all* samples, whose mean is below the MMSE in expectation.
    """

    gaussian: Tensor
    inside: Tensor
    mixture: Tensor
    half: Tensor
    lower: Tensor


def shape_free_losses(cloud: PrincipalCloud, weights: Tensor, source: Tensor, fold: Tensor, t: Tensor) -> ShapeFree:
    """Losses of denoisers that are the same for isometric clouds, and a lower bound of the MMSE.

    The MMSE is concave in the law, as an infimum of functions that are linear in it. So for the empirical law `p_n` of
    samples from `p`, independent or crops of a few photographs, `E[MMSE(p_n)] <= MMSE(p)`: samples are noised and
    denoised by the mixture that holds them.

    Args:
        cloud: of `n` samples.
        weights: of the samples in the law, `(n,)`; their sum is one.
        source: of each sample, `(n,)`.
        fold: of each sample, `(n,)`; each is denoised by what was made of the other folds.
        t: variances `(T,)`, rising.

    A part of the law that no sample shows is in neither bound. Source: derived here.
    """
    n, count = len(cloud.points), int(fold.max()) + 1
    whole = torch.full((6, len(t), n), torch.inf, dtype=torch.float64)
    half = torch.full((2, len(t), n), torch.inf, dtype=torch.float64)
    for own in range(count):
        inside, others = fold == own, [(own + step) % count for step in range(1, count)]
        whole[:, :, inside] = _asked(cloud, source, fold != own, inside, t)
        if len(others) > 1:
            fewer = torch.isin(fold, torch.tensor(others[: len(others) // 2]))
            half[:, :, inside] = _asked(cloud, source, fewer, inside, t)[[3, 4]]
    gaussian, drift = whole[:3], whole[5]
    floor = gaussian[0].mean(1)
    lower = _mixture(cloud, cloud.points, weights, torch.ones(n, dtype=torch.bool), t, _NOTHING * floor, below=True)
    return ShapeFree(gaussian, whole[3], whole[4], half, _steadied(lower, drift))


def _asked(cloud: PrincipalCloud, source: Tensor, made_of: Tensor, queries: Tensor, t: Tensor) -> Tensor:
    """What denoisers made of some samples lose at others, `(6, T, n)`.

    Loss, rate and calibration of the Gaussian, its loss within the span, that of the mixture, and the deviation of the
    Gaussian's loss under the noise drawn.
    """
    references = cloud.points[made_of]
    score = ShrunkGaussian.fitted(references, source[made_of], cloud.missing, cloud.unseen)
    points, noise = cloud.points[queries], cloud.noise[queries]
    loss, drift = score.expected_loss(points, t), score.deviation(points, noise, t)
    even = torch.full((len(references),), 1 / len(references), dtype=torch.float64)
    mixture = _mixture(cloud, references, even, queries, t, _HOPELESS * loss.mean(1), below=False)
    within = score.inside().expected_loss(points, t)
    return torch.stack([loss, *score.checks(loss, t), within, _steadied(mixture, drift), drift])


def _mixture(
    cloud: PrincipalCloud,
    references: Tensor,
    weights: Tensor,
    queries: Tensor,
    t: Tensor,
    limit: Tensor,
    *,
    below: bool,
) -> Tensor:
    """Losses of a weighted mixture of points, from the most noise down to where their mean crosses `limit`."""
    Y, x, eps = references.float(), cloud.points[queries].float(), cloud.noise[queries].float()
    prior = weights.log().float()
    losses = torch.full((len(t), len(x)), 0.0 if below else torch.inf, dtype=torch.float64)
    size = max(1, _ENTRIES // len(Y))
    parts = [(slice(i, i + size), x[i : i + size], eps[i : i + size]) for i in range(0, len(x), size)]
    squares = Y.square().sum(1) / 2
    products = [((own @ Y.T).sub_(squares), noise @ Y.T) for _, own, noise in parts]
    for index in range(len(t) - 1, -1, -1):
        level = float(t[index])
        for (rows, own, _), (near, along) in zip(parts, products):
            logits = torch.add(near, along, alpha=level**0.5).div_(level).add_(prior)
            losses[index, rows] = (logits.softmax(1) @ Y - own).double().square().sum(1)
        mean = losses[index].mean()
        if bool(mean < limit[index] if below else mean > limit[index]):
            losses[index] = 0.0 if below else torch.inf
            break
    return losses


def _steadied(losses: Tensor, drift: Tensor) -> Tensor:
    """Losses less what the Gaussian's loss of the same noise tells of it, with the coefficient of least variance.

    The coefficient is between 0 and 1: where a mixture does something else than the Gaussian nothing is taken off.
    """
    centred = losses - losses.mean(1, keepdim=True)
    slope = (centred * drift).sum(1) / drift.square().sum(1).clamp_min(1e-300)
    return losses - slope.nan_to_num(0.0).clamp(0, 1)[:, None] * drift
