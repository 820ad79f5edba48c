"""Directions along which curvature is measured: isotropic in the mean, and drawn so that few of them are enough."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from theodolite.descriptors.chart import Chart
from theodolite.estimates import Seeds

__all__ = ["CANDIDATES", "Isotropy", "directions"]

Isotropy = Literal["latent", "tangent"]

_FEW = 8
"""Entries of a latent up to which as many directions are drawn for one: a few are too few where curvature has two
values. They are independent: means of whole frames agree by chance where the second form is nearly definite."""

CANDIDATES = 1024
"""Isotropic directions among which those of more entries are drawn by their stretch: the mean of `1 / ||J v||²` over
them errs by a thirtieth of its spread."""

_ANGLES = 8
"""Angles of one rule in the plane. The rule is exact for the first 7 harmonics of curvature, and rules turned against
each other by parts of its step are exact for more, so that their scatter bounds the error of their mean."""


def directions(chart: Chart, isotropic: Isotropy) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors with their weights in a mean, and the relative error of the weights.

    Returns:
        Vectors, the last the leading one, `(count + 1, n, *latent)`; weights `(count + 1, n)`; error `(n,)`.
    """
    dim, exact = chart.operator.latent_dim, torch.zeros(chart.n, dtype=torch.float64, device=chart.rms.device)
    if isotropic == "tangent":
        units, weights, error = *_tangent(chart), exact
    elif chart.is_dense and dim > _FEW:
        units, weights, error = _by_stretch(chart)
    elif chart.is_dense and dim > 1:
        units, weights, error = *_weighted(chart, 2 / dim), exact
    else:
        units = _units(chart.seeds, chart.effort.directions, dim).to(chart.rms)
        weights, error = torch.ones(units.shape[:2], dtype=torch.float64, device=units.device), exact
    V = torch.cat([units, chart.leading.right.to(units)[None]]).to(chart.latents)
    return V.reshape(-1, *chart.latents.shape), torch.cat([weights, torch.ones_like(weights[:1])]), error


def _inverted(chart: Chart, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """`S^-power u` of unit vectors `u`, `(count, n, dim)`; the powers, zero of null values, and which are null."""
    sigma, rows = chart.right
    null = sigma <= torch.finfo(chart.latents.dtype).eps * max(chart.jacobians.shape[1:]) * sigma[:, :1]
    inverse = torch.where(null, 0.0, sigma.clamp_min(torch.finfo(sigma.dtype).tiny).pow(-power))
    units = _units(chart.seeds, chart.effort.directions, chart.operator.latent_dim).to(chart.rms)
    return torch.einsum("nri,nr,nrj,knj->kni", rows, inverse, rows, units), inverse, null


def _tangent(chart: Chart) -> tuple[Tensor, Tensor]:
    """Directions whose images are isotropic in the tangent space (Tyler 1987)."""
    drawn, _, _ = _inverted(chart, 1.0)
    return F.normalize(drawn, dim=-1), torch.ones(drawn.shape[:2], dtype=torch.float64, device=drawn.device)


def _weighted(chart: Chart, power: float) -> tuple[Tensor, Tensor]:
    """Directions of few entries `v = S^-a u / |S^-a u|`, `a = 2 / d`, and their weights against isotropic ones.

    The density of `v` is `|S^a v|^-d det S^a` times that of isotropic ones. Weighted by its inverse, `1 / ||J v||²`
    grows no more: `|S^a v|^d <= |S v|²` by Jensen's inequality.
    """
    (drawn, inverse, null), dim = _inverted(chart, power), chart.operator.latent_dim
    units = _units(chart.seeds, chart.effort.directions, dim).to(chart.rms)
    whole, length = ~null.any(1) & (null.shape[1] == dim), drawn.norm(dim=-1)
    logarithm = inverse.clamp_min(torch.finfo(inverse.dtype).tiny).log().sum(-1) - dim * length.log()
    weights = torch.where(whole, logarithm.exp(), 1.0)
    return torch.where(whole[:, None], drawn / length[..., None], units), weights


def _by_stretch(chart: Chart) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of many entries drawn in proportion to `w = 1 / ||J v||²`, their weights, and the error of these.

    Drawn among isotropic ones, whose stretch the Jacobian tells without a pass; the weight is the mean of `w` over all
    of them over the own one (sampling and importance resampling, Rubin 1987). What is left to scatter is the length of
    the second derivative, a third of the mean where curvature itself scattered by .9 and 2.
    """
    dim, (sigma, rows) = chart.operator.latent_dim, chart.right
    units = chart.seeds.unit("curvature", CANDIDATES, dim).to(chart.rms)
    stretch = (torch.einsum("mnc,nrc->mnr", units, rows) * sigma).square().sum(-1).T.contiguous()
    density = 1 / stretch.clamp_min(torch.finfo(torch.float64).tiny / torch.finfo(torch.float64).eps)
    below = density.cumsum(-1) / density.sum(-1, keepdim=True)
    level = torch.special.ndtr(chart.seeds.normal("curvature-stretch", chart.effort.directions)).to(below)
    chosen = torch.searchsorted(below, level).clamp_max(CANDIDATES - 1)
    mean = density.mean(-1, keepdim=True)
    error = density.std(-1) / mean[:, 0] / CANDIDATES**0.5
    directions = units[chosen.T, torch.arange(chart.n, device=units.device)]
    return directions, (mean / density.gather(-1, chosen)).T, error


def _units(seeds: Seeds, groups: int, dim: int) -> Tensor:
    """`(count, n, dim)`: one direction, turned rules of equal angles, or independent draws."""
    if dim == 1:
        return seeds.unit("curvature", 1, 1)
    if dim == 2:
        start = torch.atan2(*seeds.unit("curvature", 1, 2)[0].unbind(-1))
        shifts = torch.arange(groups)[:, None] / groups + torch.arange(_ANGLES)
        angles = (shifts.flatten().double() * torch.pi / _ANGLES)[:, None] + start
        return torch.stack([angles.cos(), angles.sin()], -1)
    return seeds.unit("curvature", groups * (dim if dim <= _FEW else 1), dim)
