"""What the rounding of a latent does to its spectrum: networks of ReLU change their Jacobian between two roundings.

The derivative of a piecewise linear map jumps wherever a unit switches, and a deep decoder has units that switch within
the rounding of a float32 latent. Its Jacobian is then exact for one latent and not for the next; the scatter between
latents that are the same but for rounding is part of the error. Two moved latents and one product at each show it, by
the first-order change of singular values, `d sigma_i = u_iᵀ dJ v_i`, and of sums over them:

    sum_i g_i d sigma_i = E yᵀ dJ x,    x = sum_i a_i e_i v_i,    y = sum_i g_i e_i / a_i u_i,

with `e` random of variance one, whatever the lengths `a`. They are `sigma_i^-1/2`, which suits the log-volume, but for
the leading direction: that one is as long as all others together, so that `u_1ᵀ dJ x / a_1` is `d sigma_1` with noise
no larger than itself. A single `e` overstates the sum of a matrix of no order by up to the root of its size: bounds in
practice. Derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.descriptors.chart import Chart
from theodolite.estimates import Estimate, student_quantile
from theodolite.spectrum import NULL_SHARE

__all__ = ["Scatter", "scatter", "scatter_passes", "with_scatter"]

_MOVES = 2
"""Moved latents: the fewest that show a spread."""

_ROUNDINGS = 16
"""Length of a move, relative to the latent, in units of the rounding of its type: another order of the same sums in an
encoder moved its float32 latents by `1.8e-6 = 15 * 1.2e-7`."""

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Scatter:
    """How singular values move with the rounding of `n` latents.

    Attributes:
        values: singular values, or Ritz values of one probe, `(n, r)`; the leading one first.
        changes: what each adds to the change of a sum over all of them, at each move, `(moves, n, r)`; zero where null.
        passes: model passes that they cost at one latent.
    """

    values: Tensor
    changes: Tensor
    passes: int

    @property
    def sigma(self) -> Tensor:
        """Standard error of the leading singular value, `(n,)`."""
        return self._error(self.changes[..., 0])

    @property
    def gap(self) -> Tensor:
        """Standard error of the gap `(sigma_1 - sigma_2) / sigma_1`, `(n,)`.

        `d gap = (sigma_2 / sigma_1 d sigma_1 - d sigma_2) / sigma_1`.
        """
        sigma, change = (F.pad(part, (0, 1))[..., :2].unbind(-1) for part in (self.values, self.changes))
        return self._error((sigma[1] / sigma[0] * change[0] - change[1]) / sigma[0].clamp_min(_TINY))

    def of_sum(self, slope: Callable[[Tensor], Tensor]) -> Tensor:
        """Standard error of a sum over all singular values whose terms have this slope, `(n,)`.

        As wide as Student's law asks of so few moves. ``of_sum(torch.reciprocal)`` is that of the log-volume.
        """
        return self._error((slope(self.values) * self.changes).sum(-1))

    def _error(self, changes: Tensor) -> Tensor:
        return changes.square().mean(0).sqrt() * (student_quantile(_MOVES) / 1.96)


@dataclass(frozen=True)
class _Axes:
    """Singular vectors as columns `(n, size, r)`, values and coordinates of a random vector in them, `(n, r)` each."""

    right: Tensor
    left: Tensor
    values: Tensor
    random: Tensor


def scatter(chart: Chart) -> Scatter:
    """Measure how far singular values move with the rounding of the latents.

    Nothing in float64, where a move of its rounding switches no unit that anybody will meet.
    """
    if chart.latents.dtype is torch.float64:
        values = torch.ones(chart.n, 1, dtype=torch.float64, device=chart.latents.device)
        return Scatter(values, torch.zeros_like(values).expand(_MOVES, -1, -1), 0)
    axes = _dense_axes(chart) if chart.is_dense else _ritz_axes(chart)
    alive = axes.values > NULL_SHARE[chart.latents.dtype] * axes.values[:, :1]
    values = torch.where(alive, axes.values, 1.0)
    lengths = values.rsqrt()
    others = (lengths * axes.random * alive)[:, 1:]
    lengths[:, 0] = torch.maximum(lengths[:, 0], others.norm(dim=-1))
    weights = torch.cat([lengths[:, :1], others], -1)
    x = torch.einsum("ncr,nr->nc", axes.right, weights).to(chart.latents)
    here, passes = _image(chart, x, axes, weights)
    moved = jacobian(chart.map, _moved(chart))
    images = moved.flat.matvec(x.repeat(_MOVES, 1)[None])[0].double().unflatten(0, (_MOVES, chart.n))
    chart.operator.passes += _MOVES * moved.passes
    random = torch.cat([torch.ones_like(lengths[:, :1]), axes.random[:, 1:]], -1)
    changes = torch.einsum("nor,mno->mnr", axes.left, images - here) * (random / lengths * alive)
    return Scatter(values, changes, _MOVES * moved.passes + passes)


def scatter_passes() -> int:
    """Model passes of a scatter at one latent: a value and a product a move."""
    return 2 * _MOVES


def with_scatter(estimate: Estimate, error: Tensor) -> Estimate:
    """The estimate with one more standard error in it, `(n,)`."""
    return replace(estimate, stderr=(estimate.stderr.square() + error.square()).sqrt())


def _moved(chart: Chart) -> Tensor:
    """Each latent moved `_MOVES` times, `(_MOVES * n, *latent)`."""
    shape = chart.latents.shape
    draws = chart.seeds.normal("rounding", _MOVES, *shape[1:]).transpose(0, 1).to(chart.rms)
    size = _ROUNDINGS * torch.finfo(chart.latents.dtype).eps * chart.rms
    offsets = size.reshape(-1, *[1] * (len(shape) - 1)) * draws
    return (chart.latents.double() + offsets).to(chart.latents).flatten(0, 1)


def _dense_axes(chart: Chart) -> _Axes:
    S, rows = chart.right
    # Of values that count as null, whose left vectors this does not give, no change is taken.
    U = (chart.jacobians.double() @ rows.mT) / S.clamp_min(_TINY).unsqueeze(-2)
    return _Axes(rows.mT, U, S.clone(), chart.seeds.normal("rounding-probe", chart.dimension).to(chart.rms))


def _ritz_axes(chart: Chart) -> _Axes:
    """Those of the first probe, whose start is the random vector; the leading triplet in place of the first of them."""
    run = chart.probes
    U, S, Vh = torch.linalg.svd(run.matrix()[0])
    left, right = run.U[0].double().mT @ U, run.V[0].double().mT @ Vh.mT
    if not _is_tall(chart):
        left, right = right, left
    leading = chart.leading
    right[..., 0], left[..., 0], S[:, 0] = leading.right.double(), leading.left.double(), leading.sigma
    return _Axes(right, left, S, chart.dimension**0.5 * Vh[..., 0])


def _is_tall(chart: Chart) -> bool:
    return chart.operator.latent_dim <= chart.operator.output_dim


def _image(chart: Chart, x: Tensor, axes: _Axes, weights: Tensor) -> tuple[Tensor, int]:
    """`J x` at the latents themselves, and the passes that it costs.

    None where the matrices are there, or where the recurrence `J V = U B` knows it, as of tall ones.
    """
    if chart.is_dense:
        return torch.einsum("nrc,nc->nr", chart.jacobians.double(), x.double()), 0
    if _is_tall(chart):
        return torch.einsum("nor,nr->no", axes.left, axes.values * weights), 0
    return chart.flat.matvec(x[None])[0].double(), 1
