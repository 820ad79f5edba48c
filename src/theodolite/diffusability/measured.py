"""A cloud of latents, or of images, measured as a space: every sample denoised by what was made without its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from theodolite.diffusability.cross_fitting import Effort, cross_fitted, folds_of
from theodolite.diffusability.shape_free import PrincipalCloud, shape_free_losses
from theodolite.diffusability.space import SHAPE_FREE, Space
from theodolite.errors import InputError
from theodolite.scores.clouds import checked_cloud

__all__ = ["checked_groups", "measured_space", "noise_grid"]

_PER_DECADE = 3

_LOW = 1e-2
"""The least noise, as a variance in units of that of an entry of the largest space."""

_HIGH = 1e2
"""The most noise, in units of the whole variance of a space."""

_SMALL = 2**13
"""Dimensions up to which Jacobians of a network's denoiser are taken."""


def checked_groups(groups: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Names of the groups in order, and the index of each sample's.

    Raises:
        InputError: fewer than two groups, or two of which one has a single sample.
    """
    names = tuple(sorted(set(groups)))
    if len(names) < 2:
        raise InputError(
            f"samples of two independent sources or more expected, got {len(groups)} of {', '.join(names) or 'none'}; "
            "errors are taken over sources: give more photographs, or say with `group` which part of a file's name "
            "tells its source"
        )
    if len(names) == 2 and 1 in (list(groups).count(name) for name in names):
        raise InputError(
            f"three sources, or several samples of each of two, expected, got {len(groups)} samples of {names[0]} and "
            f"{names[1]}: what is made from one source alone must be a cloud; give more photographs"
        )
    index_of = {name: index for index, name in enumerate(names)}
    return names, [index_of[group] for group in groups]


def noise_grid(*dimensions: int) -> Tensor:
    """Noise as a share of the whole variance, three levels a decade, for spaces of these dimensions: `(T,)` float64."""
    low, high = math.log10(_LOW / max(dimensions)), math.log10(_HIGH)
    return torch.logspace(low, high, math.ceil((high - low) * _PER_DECADE) + 1, dtype=torch.float64)


def measured_space(
    name: str,
    samples: Tensor,
    names: tuple[str, ...],
    index: Sequence[int],
    tau: Tensor,
    effort: Effort,
    seed: int,
    tell: Callable[[str], None] = lambda stage: None,
) -> Space:
    """Denoise a cloud whose samples belong to groups, and keep what the groups contribute.

    The Gaussian and the mixture come first, which know inner products alone (`shape_free_losses`); then those denoisers
    that know the shape of a sample (`cross_fitted`).
    """
    flat = checked_cloud(samples, name)
    member = torch.nn.functional.one_hot(torch.tensor(index, device=flat.device), len(names)).T.double()
    member = member / member.sum(-1, keepdim=True)
    spread = member @ _from_the_mean(flat, index, effort.folds)
    m = flat.shape[1]
    scale = float((m / spread.mean()).sqrt())
    z = scale * (flat - member.mean(0).to(flat) @ flat)
    tell("denoise")
    share, fold = member.cpu(), torch.tensor(folds_of(list(index), effort.folds))[torch.tensor(index)]
    free = shape_free_losses(PrincipalCloud.of(z, seed), share.mean(0), torch.tensor(index), fold, tau * m)
    fit = cross_fitted(z.reshape(samples.shape), index, tau * m, effort, seed, jacobians=m <= _SMALL, tell=tell)
    gaussian, untaken = free.gaussian[:, None], torch.full_like(free.mixture, torch.nan)[None]
    return Space(
        name=name,
        shape=tuple(samples.shape[1:]),
        scale=scale,
        groups=names,
        counts=tuple(list(index).count(group) for group in range(len(names))),
        tau=tau,
        candidates=(*SHAPE_FREE, *fit.candidates),
        loss=_by_group(torch.cat([gaussian[0], free.mixture[None], fit.loss]), share),
        rate=_by_group(torch.cat([gaussian[1], untaken, fit.rate]), share),
        calibration=_by_group(torch.cat([gaussian[2], untaken, fit.calibration]), share),
        spread=scale**2 * spread.cpu(),
        free=_by_group(torch.stack([free.inside, free.mixture]), share),
        half=_by_group(free.half, share),
        lower=_by_group(free.lower[None], share)[0],
    )


def _from_the_mean(flat: Tensor, index: Sequence[int], folds: int) -> Tensor:
    """Squared distance of every sample from the mean of the other folds, `(n,)` float64."""
    fold = torch.tensor(folds_of(list(index), folds))[torch.tensor(index)]
    distances = torch.zeros(len(flat), dtype=torch.float64, device=flat.device)
    for own in fold.unique():
        inside = (fold == own).to(flat.device)
        distances[inside] = (flat[inside].double() - flat[~inside].double().mean(0)).square().sum(-1)
    return distances


def _by_group(samples: Tensor, member: Tensor) -> Tensor:
    """Means over groups of `(c, T, n)`; infinite where any sample is."""
    finite = torch.einsum("ctn,gn->ctg", samples.nan_to_num(0.0, posinf=0.0), member)
    missing = ~torch.isfinite(samples).all(-1, keepdim=True)
    filler = torch.inf if bool(torch.isinf(samples).any()) else torch.nan
    return finite.masked_fill(missing, filler)
