"""Blocks `J_pᵀ J_p` of all latent locations from tangents that locations of a colour share, and what they measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator
from theodolite.descriptors.colouring import Colouring
from theodolite.estimates import student_quantile

__all__ = ["QUANTITIES", "Draw", "along", "draw", "floored", "measured", "slopes_of", "standard_errors"]

_TOGETHER = 32
"""Tangents pushed at once: from about here on their cost is that of the arithmetic alone."""


@dataclass(frozen=True)
class Draw:
    """What one draw of signs gave, each `(H, W, C, C)`; zero at locations that were left out.

    Attributes:
        blocks: from shares of the outputs' energy; positive definite.
        contested: the part of it from cells that are shared, `sum_x w (1 - w) yᵀ y`.
        back: from products back through the map, `s_p J_pᵀ y`: unbiased, but not definite.
    """

    blocks: Tensor
    contested: Tensor
    back: Tensor


def draw(
    operator: JacobianOperator, colours: Colouring, which: Sequence[int], signs: Tensor, *, back: Sequence[int]
) -> Draw:
    """The locations of the colours `which`, those of `back` both ways; `C` passes a colour and way.

    Args:
        operator: the Jacobian at one latent `(C, H, W)`.
        colours: of its locations.
        which: colours to push.
        signs: of the locations, `(H, W)`.
        back: colours to pull back too.
    """
    channels, height, width = operator.latents.shape[1:]
    device = operator.latents.device
    blocks = torch.zeros(3, height, width, channels, channels, dtype=torch.float64, device=device)
    for colour, masks, pushed in _pushed(operator, colours, which, signs):
        shares, (rows, columns) = colours.shares(colour).to(device), colours.members(colour).T.to(device)
        energy = _cell_energy(pushed, height, width)
        blocks[0, rows, columns] = torch.einsum("qhw,hwcd->qcd", shares, energy)
        blocks[1, rows, columns] = torch.einsum("qhw,hwcd->qcd", shares * (1 - shares), energy)
        if colour in back:
            pulled = operator.rmatvec(pushed[:, None])[:, 0].double() * masks
            block = pulled[:, :, rows, columns].permute(2, 0, 1)
            blocks[2, rows, columns] = (block + block.mT) / 2
    return Draw(*blocks)


def standard_errors(
    blocks: Tensor, contested: Tensor, pair: tuple[Draw, Draw], checked: Tensor, floor: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Standard errors of gain, scaling and rank, and by how much each is too high on average: `(H, W)` each.

    Two independent draws err by `b + e` and `b + e'`. `D = b + e - m`, the difference of a draw's two ways, has mean
    `b`, so `D D'` has mean `b²`; half the squared difference of the draws has mean `Var(e)`. Both are averaged over the
    locations checked in units that follow the location (`_units`). The mean of `D` in those units is the part of `b`
    that all locations share: it is known, may be taken off, and then no error. The gain keeps it, as its total is
    unbiased.

    Args:
        blocks: `(H, W, C, C)`.
        contested: their contested part.
        pair: two draws of the checked colours, both ways.
        checked: where those are, `(H, W)`.
        floor: relative rounding level.
    """
    units = _units(blocks, contested, floor)
    first, second = (floored(draw.blocks[checked], floor)[0] for draw in pair)
    slopes = _slopes_without_noise(first, second)
    leaks = [along(slopes, block - draw.back[checked]) for block, draw in zip((first, second), pair)]
    values, others = measured(first), measured(second)
    widening = student_quantile(max(1, int(checked.sum()))) / 1.96
    errors, biases = {}, {}
    for name in QUANTITIES:
        unit = units[name][checked]
        noise = ((values[name] - others[name]) / unit).square().mean() / 2
        left, right = (leak[name] / unit for leak in leaks)
        square, both = (left * right).mean(), (left + right) / 2
        shared, doubt = (both.mean(), both.var(correction=0) / len(both)) if name != "gain" else both.new_zeros(2)
        errors[name] = widening * ((square - shared.square()).clamp_min(0) + doubt + noise).sqrt() * units[name]
        biases[name] = shared * units[name]
    return errors, biases


def _slopes_without_noise(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """The slopes at the mean of which both draws are, `2 f'((M + M') / 2) - (f'(M) + f'(M')) / 2`.

    Slopes are curved: those of `log det` at noisy blocks are too steep, by their variance. The noise of the mean of two
    draws has half that variance, so that the difference takes it out to first order.
    """
    middle, *ends = (slopes_of(blocks) for blocks in ((first + second) / 2, first, second))
    return {name: 2 * middle[name] - (ends[0][name] + ends[1][name]) / 2 for name in QUANTITIES}


def _units(blocks: Tensor, contested: Tensor, floor: float) -> dict[str, Tensor]:
    """What errs by one unit everywhere: each eigenvalue by the root of its product with its contested part.

    Errors are cross products of a location's response with what leaks into it. Rank does not change to first order
    where all eigenvalues are alike; what then remains is its curvature, `rank * mean(share) / 8` for relative errors of
    that squared size.
    """
    values, vectors = torch.linalg.eigh(blocks)
    doubts = torch.einsum("...ci,...cd,...di->...i", vectors, contested, vectors).clamp_min(0)
    shares = doubts / values + floor
    units = {
        name: (slope(values) * values * shares.sqrt()).square().sum(-1).sqrt()
        for name, (_, slope) in QUANTITIES.items()
    }
    units["rank"] = torch.hypot(units["rank"], _rank(values) * shares.mean(-1) / 8)
    return units


def _pushed(
    operator: JacobianOperator, colours: Colouring, which: Sequence[int], signs: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each colour with its signs `(H, W)` and its tangents' outputs `(C, *output)`, several colours in one product."""
    latents = operator.latents
    channels, height, width = latents.shape[1:]
    channel = torch.eye(channels, dtype=latents.dtype, device=latents.device)
    for group in torch.tensor(which).split(max(1, _TOGETHER // channels)):
        masks = ((colours.colours == group[:, None, None]) * signs).to(latents)
        V = torch.einsum("cd,khw->kcdhw", channel, masks).reshape(-1, 1, channels, height, width)
        pushed = operator.matvec(V)[:, 0].unflatten(0, (len(group), channels))
        yield from zip(group.tolist(), masks, pushed)


def _cell_energy(pushed: Tensor, height: int, width: int) -> Tensor:
    """Products of the outputs `(C, channels, Y, X)` of a colour, summed over each latent cell: `(H, W, C, C)`."""
    cells = pushed.double().unflatten(-1, (width, -1)).unflatten(-3, (height, -1))
    return torch.einsum("cohiwj,dohiwj->hwcd", cells, cells)


def _gain(values: Tensor) -> Tensor:
    return values.sum(-1)


def _scaling(values: Tensor) -> Tensor:
    return 0.5 * values.log().sum(-1)


def _rank(values: Tensor) -> Tensor:
    shares = _shares(values)
    return (-(shares * shares.log()).sum(-1)).exp()


def _gain_slope(values: Tensor) -> Tensor:
    return torch.ones_like(values)


def _scaling_slope(values: Tensor) -> Tensor:
    return 0.5 / values


def _rank_slope(values: Tensor) -> Tensor:
    shares, sigma, rank = _shares(values), values.sqrt(), _rank(values).unsqueeze(-1)
    return -rank * (shares.log() + rank.log()) / (2 * sigma * sigma.sum(-1, keepdim=True))


def _shares(values: Tensor) -> Tensor:
    return values.sqrt() / values.sqrt().sum(-1, keepdim=True)


QUANTITIES: Mapping[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = MappingProxyType(
    {"gain": (_gain, _gain_slope), "scaling": (_scaling, _scaling_slope), "rank": (_rank, _rank_slope)}
)
"""By name: a function of the eigenvalues `(..., C)` of a matrix, and its derivative by each of them."""


def measured(blocks: Tensor) -> dict[str, Tensor]:
    """Gain, scaling and rank of `blocks: (..., C, C)`, each `(...)`."""
    values = torch.linalg.eigvalsh(blocks)
    return {name: function(values) for name, (function, _) in QUANTITIES.items()}


def slopes_of(blocks: Tensor) -> dict[str, Tensor]:
    """The derivative of gain, scaling and rank by the entries of `blocks`, symmetric: `(..., C, C)` each."""
    values, vectors = torch.linalg.eigh(blocks)
    return {
        name: torch.einsum("...ci,...i,...di->...cd", vectors, slope(values), vectors)
        for name, (_, slope) in QUANTITIES.items()
    }


def along(slopes: Mapping[str, Tensor], changes: Tensor) -> dict[str, Tensor]:
    """To first order, by how much gain, scaling and rank change when `changes` is added to blocks of these slopes."""
    return {name: (slope * changes).sum((-1, -2)) for name, slope in slopes.items()}


def floored(blocks: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The blocks with eigenvalues of at least `floor` times the largest, and where that changed one, `(...)`."""
    values, vectors = torch.linalg.eigh(blocks)
    least = floor * values[..., -1:].clamp_min(torch.finfo(values.dtype).tiny)
    low = (values < least).any(-1)
    mended = torch.einsum("...ci,...i,...di->...cd", vectors, values.maximum(least), vectors)
    return torch.where(low[..., None, None], mended, blocks), low
