"""`decoupling` of networks of one layer, given its random subspace: all of its quantities from closed derivatives.

The truth of what is a mean over neighbours is its limit for a small step, over 2,000 directions of the subspace.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.ridges import Ridge, network
from studies.coverage.subspaces import Frames
from theodolite.descriptors.decoupling import decoupling
from theodolite.descriptors.hotspots import overlap_of_maps
from theodolite.descriptors.subspaces import subspace_dimension
from theodolite.estimates import Seeds

ROOM = "descriptors"
_DIRECTIONS = 2_000


def cells() -> Iterator[Cell]:
    """Networks of several sizes, spectra and precisions."""
    for n, neighbours, options in (
        (16, 8, {}),
        (16, 2, {}),
        (16, 1, {}),
        (8, 8, {"dimension": 8}),
        (32, 4, {}),
        (32, 8, {"dimension": 2}),
    ):
        yield _cell("network of tanh", n, neighbours, partial(_network, "tanh", 0.5), **options)
    yield _cell("stretches of wide spectrum", 16, 8, partial(_network, "softplus", 2.0), dimension=16)
    yield _cell("nearly tied", 16, 8, _nearly_tied, dimension=16)
    yield _cell("network of tanh in float32", 16, 8, partial(_network, "tanh", 0.5), dtype=torch.float32)
    yield _cell("network of tanh in float32", 16, 1, partial(_network, "tanh", 0.5), dtype=torch.float32)


def _cell(
    regime: str, n: int, neighbours: int, ridge: Any, *, dtype: torch.dtype = torch.float64, **options: int
) -> Cell:
    more = "".join(f", {name}={value}" for name, value in options.items())
    draw = partial(_draw, ridge, n, neighbours, dtype, options)
    return Cell(ROOM, f"decoupling, {regime}", n, f"neighbours={neighbours}{more}", draw)


def _draw(ridge: Any, n: int, neighbours: int, dtype: torch.dtype, options: dict[str, int], seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator=draws, dtype=torch.float64).to(dtype).double()
    drawn = ridge(z, draws)
    there = decoupling(drawn.map(), z[None].to(dtype), neighbours=neighbours, generator=seed, **options)
    k = subspace_dimension(options.get("dimension"), n)
    frames = Frames(drawn, z, Seeds(seed, 1).frame("subspace", k, n).to(dtype).double().transpose(0, 1))
    u = torch.nn.functional.normalize(torch.randn(1, _DIRECTIONS, k, generator=draws, dtype=torch.float64), dim=-1)
    rates = frames.rotations(u)
    distance = 1e-3 * z.norm()
    truths = {
        **frames.scalars,
        **frames.overlap(u),
        "lc": rates.mean(1),
        "axis_cosine": 1 - (rates * distance).square().mean(1) / 2,
    }
    estimates = {**there.quantities, **overlap_of_maps(there)}
    scales = {"ls_log": float(k), "gap": 1.0, "ones_cosine": 1.0}
    return {name: Answer(estimates[name], truths[name], scales.get(name, 0.0)) for name in estimates}


def _network(profile: str, spread: float, z: torch.Tensor, draws: torch.Generator) -> Ridge:
    n = len(z)
    size = 4 if n < 32 else 6
    drawn = network(profile, 2 * size * size, n, draws, spread=spread)
    return replace(drawn, space=(2, size, size))


def _nearly_tied(z: torch.Tensor, draws: torch.Generator) -> Ridge:
    """The first two singular values inside the whole latent space differ by 1e-4 to 1."""
    drawn = _network("tanh", 0.5, z, draws)
    J = drawn.jacobian(z[None])[0]
    left, sigma, Vh = torch.linalg.svd(J, full_matrices=False)
    gap = 10 ** (-4 * torch.rand((), generator=draws, dtype=torch.float64))
    sigma[0] = sigma[1] / (1 - gap).clamp_min(1e-2)
    return replace(drawn, A=drawn.A + left * sigma @ Vh - J)
