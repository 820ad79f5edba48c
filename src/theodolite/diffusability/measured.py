"""A cloud of latents, or of images, measured as a space: every sample denoised by what was made without its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from theodolite.diffusability.cross_fitting import Effort, checked_effort, cross_fitted, folds_of, without_networks
from theodolite.diffusability.shape_free import PrincipalCloud, shape_free_losses
from theodolite.diffusability.space import SHAPE_FREE, Space
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.scores.clouds import checked_cloud
from theodolite.scores.mixture import MixtureScore
from theodolite.scores.source import ScoreSource, noised, same_shape

__all__ = ["checked_groups", "floor_grid", "measured_space", "noise_grid", "space_of"]

_PER_DECADE = 3

_LOW = 1e-2
"""The least noise, as a variance in units of that of an entry of the largest space."""

_HIGH = 1e2
"""The most noise, in units of the whole variance of a space."""

_BEYOND = 9
"""Levels by which floors reach farther than gaps, three decades on either side: what lies beyond is a few thousandths
of a floor at most."""

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


def floor_grid(*dimensions: int) -> Tensor:
    """The levels of `noise_grid` with as many more on either side as the floor of a loss needs: `(T,)` float64."""
    grid = noise_grid(*dimensions).log10()
    step, beyond = (grid[-1] - grid[0]) / (len(grid) - 1), torch.arange(1, _BEYOND + 1)
    return 10 ** torch.cat([grid[0] - step * beyond.flip(0), grid, grid[-1] + step * beyond])


def measured_space(
    name: str,
    samples: Tensor,
    names: tuple[str, ...],
    index: Sequence[int],
    tau: Tensor,
    effort: Effort,
    seed: int,
    tell: Callable[[str], None] = lambda stage: None,
    scores: Mapping[str, ScoreSource] = MappingProxyType({}),
) -> Space:
    """Denoise a cloud whose samples belong to groups, and keep what the groups contribute.

    The Gaussian and the mixture come first, which know inner products alone (`shape_free_losses`); then those denoisers
    that know the shape of a sample (`cross_fitted`), and those that are given.
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
    given = [_given_losses(score, flat, tau * m, scale, seed) for score in scores.values()]
    gaussian, untaken = free.gaussian[:, None], torch.full_like(free.mixture, torch.nan)[None]
    return Space(
        name=name,
        shape=tuple(samples.shape[1:]),
        scale=scale,
        groups=names,
        counts=tuple(list(index).count(group) for group in range(len(names))),
        tau=tau,
        candidates=(*SHAPE_FREE, *fit.candidates, *scores),
        loss=_by_group(torch.cat([gaussian[0], free.mixture[None], fit.loss, *given]), share),
        rate=_by_group(torch.cat([gaussian[1], untaken, fit.rate, *[untaken] * len(given)]), share),
        calibration=_by_group(torch.cat([gaussian[2], untaken, fit.calibration, *[untaken] * len(given)]), share),
        spread=scale**2 * spread.cpu(),
        free=_by_group(torch.stack([free.inside, free.mixture]), share),
        half=_by_group(free.half, share),
        lower=_by_group(free.lower[None], share)[0],
    )


def space_of(
    latents: Tensor,
    groups: Sequence[str] | None = None,
    *,
    scores: Mapping[str, ScoreSource] = MappingProxyType({}),
    budget: str = "quick",
    seed: int = 0,
    name: str = "latents",
) -> Space:
    """A cloud of latents as denoisers see it that never saw their source, with one's own among them.

    Every denoiser's loss bounds the MMSE from above, so that another one can only bring the bound down: a trained
    network is `FunctionScore.from_denoiser(network, shape)`. Losses by level are in `Space.losses`, bounds in
    `theodolite.diffusability.floors`.

    Args:
        latents: `(n, *latent)`, of any scale.
        groups: the source of each; samples of one are not independent. By default each its own.
        scores: by name, of flat latents as they are given; made or trained without these samples.
        budget: ``quick``, ``standard`` (a short training of a network too) or ``full``.
        seed: of noise and training.
        name: of the space.

    Returns:
        `Space`, at three noise levels a decade. Cost: inner products of all pairs of latents at about ten levels, and
        one pass of every own score a latent and level.

    Raises:
        InputError: latents that are no cloud, fewer than two groups, an unknown budget, a name that is taken, or a
            score of another dimension, one that holds these latents, or one that fails.

    Example:
        >>> from theodolite.scores import GaussianScore
        >>> z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> space = space_of(z, scores={"truth": GaussianScore(torch.zeros(2), torch.ones(2))})
        >>> space.candidates
        ('Gaussian', 'Mixture', 'truth')
    """
    flat = checked_cloud(latents, name)
    own = [f"{index:06d}" for index in range(len(latents))] if groups is None else [*groups]
    if len(own) != len(latents):
        raise InputError(f"one group a latent expected, got {len(own)} groups of {len(latents)} latents")
    taken = [label for label in scores if label in (*SHAPE_FREE, "Wiener", "PatchMixtureScore", "NetworkScore")]
    if taken:
        raise InputError(f"names of scores other than those of this package expected, got {', '.join(taken)}")
    for label, score in scores.items():
        _check_score(label, score, flat)
    names, index = checked_groups(own)
    effort, _ = without_networks([tuple(latents.shape[1:])], index, checked_effort(budget))
    return measured_space(name, latents, names, index, floor_grid(flat.shape[1]), effort, seed, scores=scores)


def _check_score(label: str, score: ScoreSource, flat: Tensor) -> None:
    if not isinstance(score, ScoreSource):
        raise InputError(
            f"a ScoreSource expected as {label!r}, got {type(score).__name__}; wrap a denoiser as "
            "`FunctionScore.from_denoiser(denoiser, shape)`"
        )
    if score.dimension != flat.shape[1]:
        raise InputError(f"latents of {score.dimension} dimensions expected by {label!r}, got {flat.shape[1]}")
    if isinstance(score, MixtureScore) and score.holds_any(flat):
        raise InputError(f"held-out latents expected, got some that are references of {label!r}; split them in two")


@torch.no_grad()
def _given_losses(score: ScoreSource, flat: Tensor, t: Tensor, scale: float, seed: int) -> Tensor:
    """`|x_0 - D(x_t)|²` of a given score in normalised units, `(1, T, n)`; infinite beyond the levels it knows."""
    noise = Seeds(seed, len(flat)).normal("noise", flat.shape[1]).to(flat)
    losses = torch.full((1, len(t), len(flat)), torch.inf, dtype=torch.float64)
    for index, level in enumerate((t / scale**2).tolist()):
        if score.low <= level <= score.high:
            denoised = same_shape(score.denoise(noised(flat, noise, level), level), flat, score.name)
            losses[0, index] = scale**2 * (denoised - flat).double().square().sum(-1).cpu()
    return losses


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
