"""Axis rotation of networks, graphs and polynomials, with and without a gap behind the leading direction.

The truth of a smooth map is the limit of a small step, `v_1'(u) = sum_j v_j (v_j . dA[u] v_1) / (l_1 - l_j)` with
`A = JᵀJ`, from closed derivatives, its mean taken over 4,000 directions; that of a network of ReLU, which has no such
limit, the mean over 800 neighbours at the distance of the definition, from dense Jacobians in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.ridges import PROFILES, Ridge, graph, network, one_less
from theodolite import axis_rotation
from theodolite.descriptors import EFFORTS

ROOM = "descriptors"
_STEP = 1e-3
_PLANE, _SPACE, _NEIGHBOURS = 4096, 4_000, 800
_KRYLOV = (
    "without the Jacobian the error is a bound: how much larger a singular value may be than its Krylov space says"
)
_ALONE = "one dimension has one direction: nothing turns, and nothing is drawn"

_Ridges = Callable[[Tensor, torch.Generator], Ridge]


def cells() -> Iterator[Cell]:
    """Maps of several kinds, sizes and budgets."""
    tanh, relu = partial(_network, "tanh"), partial(_network, "relu")
    many, wide = partial(_network, "relu", ridges=256), partial(_network, "softplus", spread=2.0)
    for regime, ridge, settings in (
        ("network of tanh", tanh, ((3, "quick"), (32, "standard"))),
        ("stretches of wide spectrum", wide, ((2, "standard"), (16, "full"))),
        ("graph of one quadratic", _graph, ((8, "standard"),)),
        ("gaps from 1e-4 to 1", _nearly_tied, ((2, "quick"), (8, "full"))),
        ("gaps from 1e-3 to 3e-3", partial(_nearly_tied, low=-3, high=-2.5), ((8, "standard"),)),
        ("network of ReLU, many kinks", many, ((8, "standard"), (16, "quick"))),
        ("network of ReLU, few kinks", relu, ((4, "standard"),)),
    ):
        for n, budget in settings:
            yield _cell(regime, n, budget, ridge)
    for n, budget in ((8, "quick"), (64, "quick")):
        yield _cell("network of tanh", n, budget, tanh, dense=False)
    yield _cell("network of tanh", 1, "quick", tanh, conservative=_ALONE)


def _cell(regime: str, n: int, budget: str, ridge: _Ridges, *, conservative: str = "", **options: Any) -> Cell:
    more = "".join(f", {name}={value}" for name, value in options.items())
    draw = partial(_draw, ridge, n, budget, options)
    return Cell(ROOM, f"axis rotation, {regime}", n, f"budget={budget}{more}", draw, conservative)


def _draw(ridge: _Ridges, n: int, budget: str, options: dict[str, Any], seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator=draws, dtype=torch.float64)
    drawn = ridge(z, draws)
    estimate = axis_rotation(drawn.map(), z[None], generator=seed, effort=EFFORTS[budget], **options)
    rate = (_at_a_distance if drawn.profile is PROFILES["relu"] else _in_the_limit)(drawn, z, draws)
    sigma = F.pad(torch.linalg.svdvals(drawn.jacobian(z[None])[0]), (0, 1))
    return {
        "axis_rotation": Answer(estimate.named("axis_rotation")["axis_rotation"], rate),
        "axis_cosine": Answer(one_less(estimate["axis_cosine"]), (rate * _STEP * z.norm().item()) ** 2 / 2),
        "axis_gap": Answer(
            estimate["axis_gap"], 1 - (sigma[1] / sigma[0]).item(), 1.0, "" if options.get("dense", True) else _KRYLOV
        ),
    }


def _in_the_limit(ridge: Ridge, z: Tensor, draws: torch.Generator) -> float:
    return _directions(len(z), _SPACE, draws).matmul(turning(ridge, z).T).norm(dim=-1).mean().item()


def turning(ridge: Ridge, z: Tensor, frame: Tensor | None = None) -> Tensor:
    """The matrix `(k, k)` that takes a step inside a frame `(k, d)` to the change of its leading direction."""
    W = torch.eye(len(z), dtype=z.dtype) if frame is None else frame
    J, B = ridge.jacobian(z[None])[0] @ W.T, ridge.B @ W.T
    bend = ridge.profile.bend(ridge.B @ z + ridge.b)
    values, vectors = torch.linalg.eigh(J.T @ J)
    axis, others = vectors[:, -1], vectors[:, :-1]
    change = B.T * (bend * (ridge.C.T @ (J @ axis))) @ B + J.T @ (ridge.C * (bend * (B @ axis))) @ B
    return others @ (others.T @ change / (values[-1] - values[:-1])[:, None])


def _at_a_distance(ridge: Ridge, z: Tensor, draws: torch.Generator) -> float:
    distance = _STEP * z.norm()
    points = torch.cat([z[None], z + distance * _directions(len(z), _NEIGHBOURS, draws)])
    J = ridge.jacobian(points)
    axes = torch.linalg.eigh(J.mT @ J)[1][..., -1]
    signs = torch.where(axes @ axes[0] < 0, -1.0, 1.0)[:, None]
    return ((signs * axes - axes[0])[1:].norm(dim=-1).mean() / distance).item()


def _directions(n: int, count: int, draws: torch.Generator) -> Tensor:
    if n == 2:
        angle = torch.arange(_PLANE, dtype=torch.float64) * (2 * math.pi / _PLANE)
        return torch.stack([angle.cos(), angle.sin()], -1)
    return F.normalize(torch.randn(count, n, generator=draws, dtype=torch.float64), dim=-1)


def _network(profile: str, z: Tensor, draws: torch.Generator, **options: Any) -> Ridge:
    return network(profile, 2 * len(z) + 3, len(z), draws, **options)


def _graph(z: Tensor, draws: torch.Generator) -> Ridge:
    return graph(len(z), 1, draws)


def _nearly_tied(z: Tensor, draws: torch.Generator, *, low: float = -4, high: float = 0) -> Ridge:
    """A network of tanh whose Jacobian at `z` has a gap drawn between `10**low` and `10**high`."""
    drawn = network("tanh", 2 * len(z) + 3, len(z), draws)
    left, sigma, Vh = torch.linalg.svd(drawn.jacobian(z[None])[0], full_matrices=False)
    gap = 10 ** (low + (high - low) * torch.rand((), generator=draws, dtype=torch.float64))
    sigma[0] = sigma[1] / (1 - gap).clamp_min(1e-2)
    return replace(drawn, A=drawn.A + left * sigma @ Vh - drawn.jacobian(z[None])[0])
