"""How well latents are denoised by scores that never saw their source: losses of several candidates, by source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.diffusability.space import Space
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.information.draws import draw
from theodolite.scores.clouds import checked_cloud
from theodolite.scores.mixture import MixtureScore
from theodolite.scores.network import NetworkScore
from theodolite.scores.patches import PatchMixtureScore
from theodolite.scores.preconditioning import is_spatial
from theodolite.scores.source import ScoreSource, noised
from theodolite.scores.tiles import TiledScore, tile_side, tiled
from theodolite.scores.wiener import WienerScore

__all__ = [
    "EFFORTS",
    "CrossFit",
    "Effort",
    "checked_effort",
    "checked_groups",
    "cross_fitted",
    "folds_of",
    "measured_space",
    "noise_grid",
    "without_networks",
]

NETWORK_RANGE = (1e-2, 1e2)
"""Noise variances at which a network is trained, for latents whose entries have unit variance."""

_TILE = 16
"""Side of the feature maps that a network is trained on; larger ones are cut into tiles."""

_JUDGES = 0.15
"""Share of the samples whose groups judge a network's training."""

_FEWEST = 32
"""Samples (tiles count) from which a network is trained."""

_PATCH_ENTRIES = 2**13
"""Entries of a feature map up to which patches are compared."""

_ENTRIES = 2**22
"""Numbers in one group of noised samples."""


@dataclass(frozen=True)
class Effort:
    """How much is spent on denoisers.

    Attributes:
        steps: of the training of a network; 0 for none.
        folds: parts into which groups are divided, each denoised by what was made from the others.
        depth: blocks of the network.
        patches: try a mixture of patches too.
        resamples: of the bootstrap over groups.
        penalised: most images on which penalties are measured.
    """

    steps: int
    folds: int
    depth: int
    patches: bool
    resamples: int
    penalised: int


EFFORTS = {
    "quick": Effort(0, 5, 3, False, 1000, 6),
    "standard": Effort(200, 3, 3, False, 2000, 12),
    "full": Effort(3000, 5, 6, True, 5000, 48),
}
"""What a budget's name stands for."""


def checked_effort(budget: str) -> Effort:
    """The effort of that name.

    Raises:
        InputError: there is none.
    """
    if budget not in EFFORTS:
        raise InputError(f"budget expected to be one of {', '.join(EFFORTS)}, got {budget!r}")
    return EFFORTS[budget]


@dataclass(frozen=True)
class CrossFit:
    """What every sample contributes at every level, each from scores made of other groups only.

    Attributes:
        candidates: the denoisers tried; the first is the Gaussian.
        loss: `|x_0 - D(x_t)|²`, `(c, T, n)` float64; infinite where a candidate was not asked.
        rate: `(|J v|² + Jᵀv·J v) / 2` for the denoiser's Jacobian `J`, `(c, T, n)`; NaN where it was not taken.
        calibration: `t² (|s|² - m / t) + loss`, zero in expectation for a score that no rescaling improves, the same.
    """

    candidates: tuple[str, ...]
    loss: Tensor
    rate: Tensor
    calibration: Tensor


def folds_of(groups: Sequence[int], count: int) -> list[int]:
    """The fold of each group, `min(count, groups)` of them, with about as many samples each."""
    sizes = [groups.count(group) for group in range(max(groups) + 1)]
    loads = [0] * min(count, len(sizes))
    fold = [0] * len(sizes)
    for group in sorted(range(len(sizes)), key=lambda group: (-sizes[group], group)):
        fold[group] = loads.index(min(loads))
        loads[fold[group]] += sizes[group]
    return fold


def cross_fitted(
    latents: Tensor,
    groups: Sequence[int],
    t: Tensor,
    effort: Effort,
    seed: int,
    *,
    jacobians: bool = True,
    tell: Callable[[str], None] = lambda stage: None,
) -> CrossFit:
    """Denoise every sample with scores that were made without its group.

    All are asked at the same noise. The Gaussian's loss has an exact expectation over it, which takes the place of what
    was drawn; the other losses are moved by the same difference, a control variate with coefficient one.

    Args:
        latents: `(n, *latent)`, entries of unit variance on average.
        groups: the group of each, from 0 on without gaps, at least two.
        t: variances `(T,)`.
        effort: what to try.
        seed: of noise and training.
        jacobians: take those of the networks' denoisers too (three passes in place of one).
        tell: called with a few words before every step of work.
    """
    fold, belongs = folds_of(list(groups), effort.folds), torch.tensor(groups)
    seeds = Seeds(seed, len(latents)).base
    by_candidate: dict[str, Tensor] = {}
    for index in range(max(fold) + 1):
        in_fold = torch.tensor([fold[group] == index for group in groups])
        queries, own = latents[in_fold].flatten(1), [seeds[i] for i in in_fold.nonzero().flatten().tolist()]
        drift = torch.zeros(len(t), len(queries), dtype=torch.float64)
        for score in _candidates(latents[~in_fold], belongs[~in_fold], effort, seed + index, tell):
            full = jacobians or not isinstance(score, TiledScore | NetworkScore)
            rows = _evaluated(score, queries, own, t, full)
            if isinstance(score, WienerScore):
                drift = score.expected_loss(queries, t).cpu() - rows[0]
            rows[0] += drift
            table = by_candidate.setdefault(score.name, _nothing(len(t), len(latents)))
            table[:, :, in_fold] = rows
    stacked = torch.stack(list(by_candidate.values()))
    loss, rate, calibration = stacked.unbind(1)
    return CrossFit(tuple(by_candidate), loss, rate, calibration)


def _nothing(levels: int, n: int) -> Tensor:
    return torch.tensor([torch.inf, torch.nan, torch.nan], dtype=torch.float64)[:, None, None].repeat(1, levels, n)


def _candidates(
    latents: Tensor, groups: Tensor, effort: Effort, seed: int, tell: Callable[[str], None]
) -> Iterator[ScoreSource]:
    """The denoisers worth trying, made of these latents only."""
    tell("denoise")
    yield WienerScore(latents)
    yield MixtureScore(latents)
    spatial = is_spatial(latents.shape[1:])
    if effort.patches and spatial and latents[0].numel() <= _PATCH_ENTRIES and min(latents.shape[2:]) >= 3:
        tell("denoise by patches")
        yield PatchMixtureScore(latents, window=3)
    if effort.steps:
        yield _network(latents, groups, effort, seed, tell)


def _network(latents: Tensor, groups: Tensor, effort: Effort, seed: int, tell: Callable[[str], None]) -> ScoreSource:
    """A denoiser network whose training is judged by groups of its own."""
    shape, judges = tuple(latents.shape[1:]), _judges(groups)
    side = _side(shape)
    learnt, held = (latents[mask] if side is None else tiled(latents[mask], side) for mask in (~judges, judges))
    tell("train a network")
    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seed))
    low, high = NETWORK_RANGE
    budget: dict[str, Any] = {"steps": effort.steps, "depth": effort.depth}
    held = held[order.to(held.device)]
    score = NetworkScore.fit(learnt, held_out=held, t_min=low, t_max=high, generator=seed, **budget)
    if score.record.interrupted:
        raise KeyboardInterrupt
    return score if side is None else TiledScore(score, shape, side)  # type: ignore[arg-type]


def _side(shape: tuple[int, ...]) -> int | None:
    """Side of the tiles that a network is trained on; None for the whole, 0 where there is none that fits."""
    if not is_spatial(torch.Size(shape)) or max(shape[1:]) <= _TILE:
        return None
    return tile_side(shape[1], shape[2], _TILE) or 0


def without_networks(shapes: Sequence[tuple[int, ...]], groups: Sequence[int], effort: Effort) -> tuple[Effort, str]:
    """The effort, without networks unless every one of these spaces can have one, and why.

    Latents that a network denoised must not be compared with images that none did.
    """
    if not effort.steps:
        return effort, ""
    belongs, fold = torch.tensor(groups), folds_of(list(groups), effort.folds)
    reason = ""
    for index in range(max(fold) + 1):
        others = belongs[torch.tensor([fold[group] != index for group in groups])]
        if not bool(_judges(others).any()):
            reason = "too few sources to train one, to judge it and to ask it"
        for shape in shapes:
            side = _side(shape)
            if side == 0:
                reason = f"no tile of 4 to {_TILE} divides {shape[1]}x{shape[2]}"
            elif len(others) * (math.prod(shape[1:]) // side**2 if side else 1) < _FEWEST:
                reason = f"fewer than {_FEWEST} samples to train one"
    return (replace(effort, steps=0), f"no networks: {reason}") if reason else (effort, "")


def _judges(groups: Tensor) -> Tensor:
    """Samples of the smallest groups that make up a share large enough; none where a group would not be left."""
    present, sizes = groups.unique(return_counts=True)
    chosen: list[int] = []
    taken = 0
    for rank in sizes.argsort(stable=True).tolist()[:-1]:
        if taken >= _JUDGES * len(groups):
            break
        chosen.append(int(present[rank]))
        taken += int(sizes[rank])
    return torch.isin(groups, torch.tensor(chosen, dtype=groups.dtype))


def _evaluated(score: ScoreSource, queries: Tensor, seeds: list[int], t: Tensor, full: bool) -> Tensor:
    """Loss, rate and calibration of each query at each level, `(3, T, n)`."""
    inside = torch.ones(len(t), dtype=torch.bool)
    if isinstance(score, NetworkScore | TiledScore):
        low, high = NETWORK_RANGE
        inside = (t >= low) & (t <= high)
    rows = _nothing(len(t), len(queries))
    levels = t[inside]
    if full:
        d = draw(queries, levels, score, seeds)
        own = levels.to(d.norm)[:, None]
        rows[:, inside] = torch.stack([d.error, d.rate, own.square() * d.norm - d.dimension * own + d.error]).cpu()
    else:
        rows[0, inside] = _losses(queries, levels, score, seeds).cpu()
    return rows


@torch.no_grad()
def _losses(queries: Tensor, levels: Tensor, score: ScoreSource, seeds: list[int]) -> Tensor:
    """`|x_0 - D(x_t)|²` with the noise that `draw` takes, `(T, n)`; one pass a sample and level."""
    size = max(1, _ENTRIES // queries.shape[1])
    parts = []
    for start in range(0, len(queries), size):
        clean, own = queries[start : start + size], seeds[start : start + size]
        noise = Seeds(own, len(own)).normal("noise", clean.shape[1]).to(clean)
        errors = [score.denoise(noised(clean, noise, level), level) - clean for level in levels.tolist()]
        parts.append(torch.stack([error.double().square().sum(-1) for error in errors]))
    return torch.cat(parts, -1)


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
    """Denoise a cloud whose samples belong to groups, and keep what the groups contribute."""
    flat = checked_cloud(samples, name)
    member = torch.nn.functional.one_hot(torch.tensor(index, device=flat.device), len(names)).T.double()
    member = member / member.sum(-1, keepdim=True)
    spread = member @ _from_the_mean(flat, index, effort.folds)
    m = flat.shape[1]
    scale = float((m / spread.mean()).sqrt())
    z = scale * (flat - member.mean(0).to(flat) @ flat)
    fit = cross_fitted(z.reshape(samples.shape), index, tau * m, effort, seed, jacobians=m <= _SMALL, tell=tell)
    share = member.cpu()
    return Space(
        name=name,
        shape=tuple(samples.shape[1:]),
        scale=scale,
        groups=names,
        counts=tuple(list(index).count(group) for group in range(len(names))),
        tau=tau,
        candidates=fit.candidates,
        loss=_by_group(fit.loss, share),
        rate=_by_group(fit.rate, share),
        calibration=_by_group(fit.calibration, share),
        spread=scale**2 * spread.cpu(),
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
