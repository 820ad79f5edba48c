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
from studies.coverage.ridges import Ridge, network, one_less
from studies.coverage.subspaces import Frames
from theodolite.descriptors.decoupling import decoupling
from theodolite.descriptors.hotspots import overlap_of_maps
from theodolite.descriptors.subspaces import subspace_dimension
from theodolite.estimates import Seeds

ROOM = "descriptors"
_DIRECTIONS = 2_000
_ROUNDING = "given the subspace nothing is drawn: the error is a bound of rounding"


def cells() -> Iterator[Cell]:
    """Networks of several sizes, spectra and precisions: what neighbours say, and what needs none."""
    tanh, wide = partial(_network, "tanh", 0.5), partial(_network, "softplus", 2.0)
    for regime, ridge, n, neighbours, options in (
        ("network of tanh", tanh, 16, 1, {}),
        ("network of tanh", tanh, 16, 2, {}),
        ("network of tanh", tanh, 16, 8, {}),
        ("network of tanh", tanh, 32, 4, {"dimension": 2}),
        ("stretches of wide spectrum", wide, 16, 8, {"dimension": 16}),
        ("nearly tied", _nearly_tied, 16, 8, {"dimension": 16}),
    ):
        yield _cell(regime, n, ridge, neighbours, **options)
    yield _cell("network of tanh", 16, tanh, 8, dtype=torch.float32)
    yield _cell("network of tanh", 16, tanh, 2, dtype=torch.float32, is_drawn=False)
    yield _cell("stretches of wide spectrum", 32, wide, 2, is_drawn=False, dimension=32)
    yield _cell("nearly tied", 16, _nearly_tied, 2, is_drawn=False, dimension=16)


def _cell(
    regime: str,
    n: int,
    ridge: Any,
    neighbours: int,
    *,
    dtype: torch.dtype = torch.float64,
    is_drawn: bool = True,
    **options: int,
) -> Cell:
    more = "".join(f", {name}={value}" for name, value in options.items())
    setting = f"{str(dtype).removeprefix('torch.')}{f', neighbours={neighbours}' if is_drawn else ''}{more}"
    draw = partial(_draw, ridge, n, neighbours, dtype, is_drawn, options)
    regime = f"decoupling{'' if is_drawn else ' without neighbours'}, {regime}"
    return Cell(ROOM, regime, n, setting, draw, "" if is_drawn else _ROUNDING)


def _draw(
    ridge: Any, n: int, neighbours: int, dtype: torch.dtype, is_drawn: bool, options: dict[str, int], seed: int
) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator=draws, dtype=torch.float64).to(dtype).double()
    drawn = ridge(z, draws)
    there = decoupling(drawn.map(), z[None].to(dtype), neighbours=neighbours, generator=seed, **options)
    k = subspace_dimension(options.get("dimension"), n)
    frames = Frames(drawn, z, Seeds(seed, 1).frame("subspace", k, n).to(dtype).double().transpose(0, 1))
    if not is_drawn:
        scales = {"ls_log": float(k), "gap": 1.0, "ones_cosine": 1.0}
        return {
            name: Answer(there.quantities[name], truth, scales.get(name, 0.0)) for name, truth in frames.scalars.items()
        }
    u = torch.nn.functional.normalize(torch.randn(1, _DIRECTIONS, k, generator=draws, dtype=torch.float64), dim=-1)
    rates = frames.rotations(u)
    turns = rates * 1e-3 * z.norm()
    truths = {**frames.overlap(u), "lc": rates.mean(1), "axis_cosine": turns.square().mean(1) / 2}
    estimates = {**there.quantities, **overlap_of_maps(there)}
    estimates["axis_cosine"] = one_less(estimates["axis_cosine"])
    return {name: Answer(estimates[name], truth) for name, truth in truths.items()}


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
