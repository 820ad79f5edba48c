"""`location_map` of convolutions, attention and maps without locality, beside dense Jacobians in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from theodolite import LatentMap
from theodolite.descriptors.locations import location_map

ROOM = "descriptors"

_Decoder = Callable[[Tensor], Tensor]
_Decoders = Callable[[int, torch.Generator], _Decoder]


def cells() -> Iterator[Cell]:
    """Decoders whose locations leak little, far, or all over; sizes and budgets from the least to the dense way."""
    for regime, decoder, side, rounds in (
        ("convolutions of 3 by 3", partial(_convolutions, 3, 1), 8, 8),
        ("convolutions of 3 by 3", partial(_convolutions, 3, 1), 8, 32),
        ("convolutions of 3 by 3", partial(_convolutions, 3, 1), 4, 16),
        ("two convolutions of 5 by 5", partial(_convolutions, 5, 2), 8, 32),
        ("convolutions and attention", _attention, 6, 18),
        ("gains log-normal over locations", _uneven, 6, 18),
        ("no locality", _dense, 6, 12),
    ):
        draw = partial(_draw, decoder, side, rounds)
        yield Cell(ROOM, f"location map, {regime}", side * side, f"passes={rounds} C", draw)


def _draw(decoders: _Decoders, side: int, rounds: int, seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    decoder = decoders(side, draws)
    z = _normal(draws, 1, _CHANNELS, side, side)
    found = location_map(LatentMap(decoder, (_CHANNELS, side, side)), z, passes=rounds * _CHANNELS, generator=seed)
    with torch.no_grad():
        J = torch.func.jacfwd(lambda point: decoder(point[None])[0].flatten())(z[0]).reshape(-1, _CHANNELS, side * side)
    blocks = torch.einsum("ocp,odp->pcd", J, J)
    values = torch.linalg.eigvalsh(blocks).clamp_min(0)
    share = values.sqrt() / values.sqrt().sum(-1, keepdim=True)
    truths = {
        "gain": values.sum(-1),
        "scaling": values.log().sum(-1) / 2,
        "rank": (-torch.special.xlogy(share, share).sum(-1)).exp(),
    }
    return {f"location_{name}": Answer(found.estimate(name), truth, scale=1.0) for name, truth in truths.items()}


_CHANNELS = 3


def _normal(draws: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=draws, dtype=torch.float64)


def _convolutions(width: int, layers: int, side: int, draws: torch.Generator) -> _Decoder:
    """Layers of a square kernel and a softplus, and a last layer that doubles the grid."""
    kernels = [_normal(draws, 8, _CHANNELS if layer == 0 else 8, width, width) for layer in range(layers)]
    last = _normal(draws, 3, 8, 3, 3)

    def decode(z: Tensor) -> Tensor:
        for kernel in kernels:
            z = F.softplus(F.conv2d(z, kernel / kernel[0].numel() ** 0.5, padding=width // 2))
        return F.conv2d(F.interpolate(z, scale_factor=2.0), last / 8, padding=1)

    return decode


def _attention(side: int, draws: torch.Generator) -> _Decoder:
    """Each location looks at all others, by how alike they are."""
    near, query, value = _convolutions(3, 1, side, draws), _normal(draws, 3, 3), _normal(draws, 3, 3) / 3

    def decode(z: Tensor) -> Tensor:
        tokens = z.flatten(2).mT
        weights = (tokens @ query @ tokens.mT / 3**0.5).softmax(-1)
        return near(z + (weights @ tokens @ value).mT.reshape(z.shape))

    return decode


def _uneven(side: int, draws: torch.Generator) -> _Decoder:
    """Gains of locations that differ by a factor of e on average."""
    near, gains = _convolutions(3, 1, side, draws), _normal(draws, side, side).exp()
    return lambda z: near(z * gains)


def _dense(side: int, draws: torch.Generator) -> _Decoder:
    """Every output sees every location alike."""
    matrix = _normal(draws, 3 * side * side, 3 * side * side)
    return lambda z: (z.flatten(1) @ matrix.T).reshape(z.shape)
