"""Losses of denoisers that know the shape of latents and never saw their source: filters, patches and networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.information.draws import draw
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
    "cross_fitted",
    "folds_of",
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
        candidates: the denoisers tried; none for vectors without networks.
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

    All are asked at the same noise. The loss of the Wiener filter along cosines has an exact expectation over it, which
    takes the place of what was drawn; the losses of patches are moved by the same difference, a control variate with
    coefficient one. What inner products alone tell is in `shape_free`.

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
            if isinstance(score, WienerScore):
                rows = _expected(score, queries, t)
                drift = rows[0] - _losses(queries, t, score, own).cpu() if effort.patches else drift
            else:
                rows = _evaluated(score, queries, own, t, jacobians or not isinstance(score, TiledScore | NetworkScore))
                rows[0] += drift
            table = by_candidate.setdefault(score.name, _nothing(len(t), len(latents)))
            table[:, :, in_fold] = rows
    if not by_candidate:
        nothing = torch.zeros(0, len(t), len(latents), dtype=torch.float64)
        return CrossFit((), nothing, nothing, nothing)
    loss, rate, calibration = torch.stack(list(by_candidate.values())).unbind(1)
    return CrossFit(tuple(by_candidate), loss, rate, calibration)


def _nothing(levels: int, n: int) -> Tensor:
    return torch.tensor([torch.inf, torch.nan, torch.nan], dtype=torch.float64)[:, None, None].repeat(1, levels, n)


def _candidates(
    latents: Tensor, groups: Tensor, effort: Effort, seed: int, tell: Callable[[str], None]
) -> Iterator[ScoreSource]:
    """The denoisers of their shape worth trying, made of these latents only."""
    spatial = is_spatial(latents.shape[1:])
    if spatial:
        yield WienerScore(latents)
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


def _expected(score: WienerScore, queries: Tensor, t: Tensor) -> Tensor:
    """Loss, rate and calibration of the Wiener filter, expected over noise, `(3, T, n)`."""
    loss = score.expected_loss(queries, t).cpu()
    own = (score.scales.variances.flatten() * score.scales.scale**2).cpu()
    passed = own / (own + t[:, None])
    rate, trace = passed.square().sum(-1, keepdim=True), passed.sum(-1, keepdim=True)
    return torch.stack([loss, rate.expand_as(loss), 2 * (loss - t[:, None] * trace)])


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
