"""The quantities of `hotspot_maps`: means over random subspaces of networks of one layer.

The truth is the mean over 400 subspaces, of each with eight neighbours, from closed derivatives: 100 times the budget
and more.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from studies.coverage.cases.decoupling import _network as spatial_network
from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.ridges import one_less
from studies.coverage.subspaces import Frames
from theodolite.descriptors.hotspots import hotspot_maps
from theodolite.descriptors.subspaces import subspace_dimension

ROOM = "descriptors"
_WHOLE = "of all dimensions there is one subspace only, and the error is a bound of rounding"
_SUBSPACES, _NEIGHBOURS = 400, 8


def cells() -> Iterator[Cell]:
    """Networks and budgets; subspaces that are the whole latent space do not scatter."""
    tanh, wide = partial(spatial_network, "tanh", 0.5), partial(spatial_network, "softplus", 1.5)
    for regime, ridge, n, options in (
        ("network of tanh", tanh, 16, {"subspaces": 1}),
        ("network of tanh", tanh, 16, {"subspaces": 4}),
        ("network of tanh", tanh, 8, {"subspaces": 3, "dimension": 8}),
        ("stretches of wide spectrum", wide, 16, {"subspaces": 2, "neighbours": 2}),
    ):
        setting = ", ".join(f"{name}={value}" for name, value in options.items())
        draw = partial(_draw, ridge, n, options)
        yield Cell(ROOM, f"hotspots, {regime}", n, setting, draw)


def _draw(ridge: Any, n: int, options: dict[str, int], seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator=draws, dtype=torch.float64)
    drawn = ridge(z, draws)
    estimates = hotspot_maps(drawn.map(), z[None], generator=seed, **options).quantities
    estimates = {**estimates, "subspace_axis_cosine": one_less(estimates["subspace_axis_cosine"])}
    k = subspace_dimension(options.get("dimension"), n)
    W = torch.linalg.qr(torch.randn(_SUBSPACES, n, k, generator=draws, dtype=torch.float64)).Q.mT
    W = W * torch.randn(_SUBSPACES, k, 1, generator=draws, dtype=torch.float64).sign()
    frames = Frames(drawn, z, W)
    u = F.normalize(torch.randn(_SUBSPACES, _NEIGHBOURS, k, generator=draws, dtype=torch.float64), dim=-1)
    rates = frames.rotations(u)
    turns = rates * 1e-3 * z.norm()
    truths = {**frames.scalars, "lc": rates, "axis_cosine": turns.square() / 2}
    scales = {"ls_log": float(k), "gap": 1.0, "ones_cosine": 1.0}
    return {
        f"subspace_{name}": Answer(
            estimates[f"subspace_{name}"],
            truth.mean().item(),
            scales.get(name, 0.0),
            _WHOLE if k == n and name not in ("lc", "axis_cosine", "ones_cosine") else "",
        )
        for name, truth in truths.items()
    }
