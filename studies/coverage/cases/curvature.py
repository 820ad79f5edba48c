"""Curvature of spheres, ellipsoids, tori, graphs of quadratics, polynomials and networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.ridges import Ridge, graph, network
from theodolite import LatentMap, curvature
from theodolite.descriptors import EFFORTS

ROOM = "descriptors"
_PLANE, _SPACE, _MANY = 4096, 6_000, 2_000
"""Directions behind a truth, in the plane equally spaced: more than 100 times those of the largest budget."""
_ROUNDING = "nothing is drawn: the error is a bound of rounding"
_RULES = "rules of equal angles err much less than they scatter: turned against each other they cancel"
_BOUND = "the error is a bound: of rounding, and of how far the direction may lie from the leading one"


@dataclass(frozen=True)
class _Surface:
    """A map of `(n, d)` in float64, a latent `(d,)`, the Jacobian there, and its second derivative along `(k, d)`."""

    function: Callable[[Tensor], Tensor]
    latent: Tensor
    jacobian: Tensor
    second: Callable[[Tensor], Tensor]


_Surfaces = Callable[[int, torch.Generator], _Surface]


def cells() -> Iterator[Cell]:
    """Surfaces of several kinds, sizes and budgets, with the Jacobian and without it."""
    yield from _means()
    yield from _in_the_plane()
    yield from _constants()
    yield from _leading()


def _means() -> Iterator[Cell]:
    """Means over directions of which some are drawn."""
    tanh, polynomial = partial(_network, "tanh"), partial(_network, "quartic")
    wide, relu = partial(_network, "softplus", spread=2.0), partial(_network, "relu")
    many = partial(_network, "relu", ridges=256)
    for regime, surface, settings in (
        ("ellipsoid, half-axes log-normal", _ellipsoid, ((5, "standard"),)),
        ("graph of one quadratic", _graph_of(1), ((3, "quick"), (8, "standard"))),
        ("graph of four quadratics", _graph_of(4), ((5, "quick"),)),
        ("polynomial of degree 4", polynomial, ((16, "quick"),)),
        ("network of tanh", tanh, ((4, "quick"), (32, "full"))),
        ("network of ReLU, few kinks", relu, ((4, "quick"), (16, "standard"))),
        ("network of ReLU, many kinks", many, ((8, "standard"),)),
        ("stretches of wide spectrum", wide, ((6, "standard"), (32, "quick"))),
    ):
        for n, budget in settings:
            yield _cell(regime, n, budget, surface)
    for n, budget in ((6, "quick"),):
        yield _cell("network of tanh", n, budget, tanh, isotropic="tangent")
    for regime, surface, n, budget in (
        ("network of tanh", tanh, 16, "quick"),
        ("network of tanh", tanh, 64, "quick"),
        ("stretches of wide spectrum", wide, 32, "standard"),
    ):
        yield _cell(regime, n, budget, surface, dense=False)


def _in_the_plane() -> Iterator[Cell]:
    for regime, surface, budget in (
        ("torus", _torus, "standard"),
        ("graph of one quadratic", _graph_of(1), "quick"),
        ("network of tanh", partial(_network, "tanh"), "full"),
        ("stretches of wide spectrum", partial(_network, "softplus", spread=2.0), "quick"),
    ):
        yield _cell(regime, 2, budget, surface, conservative=_RULES)
    yield _cell("torus", 2, "quick", _torus, conservative=_RULES, isotropic="tangent")


def _constants() -> Iterator[Cell]:
    """One value in every direction: nothing is drawn, or the draws agree."""
    for n in (1, 8):
        yield _cell("sphere", n, "quick", _sphere, conservative=_ROUNDING)
    yield _cell("network of tanh", 1, "standard", partial(_network, "tanh"), conservative=_ROUNDING)


def _leading() -> Iterator[Cell]:
    """Along the direction of largest stretch, which is computed and not drawn."""
    tanh, wide = partial(_network, "tanh"), partial(_network, "softplus", spread=2.0)
    for regime, surface, n, budget in (
        ("ellipsoid, half-axes log-normal", _ellipsoid, 3, "standard"),
        ("polynomial of degree 4", partial(_network, "quartic"), 32, "full"),
        ("network of ReLU, many kinks", partial(_network, "relu", ridges=256), 8, "quick"),
        ("stretches of wide spectrum", wide, 32, "standard"),
    ):
        yield _cell(regime, n, budget, surface, leading=True, conservative=_BOUND)
    for regime, surface, n in (
        ("network of tanh", tanh, 100),
        ("stretches of wide spectrum", wide, 64),
    ):
        yield _cell(regime, n, "quick", surface, leading=True, conservative=_BOUND, dense=False)


def _cell(
    regime: str,
    n: int,
    budget: str,
    surface: _Surfaces,
    *,
    leading: bool = False,
    conservative: str = "",
    **options: Any,
) -> Cell:
    more = "".join(f", {name}={value}" for name, value in options.items())
    regime = f"curvature{' along the leading direction' if leading else ''}, {regime}"
    draw = partial(_draw, surface, n, budget, leading, options)
    return Cell(ROOM, regime, n, f"budget={budget}{more}", draw, conservative)


def _draw(surface: _Surfaces, n: int, budget: str, leading: bool, options: dict[str, Any], seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    drawn = surface(n, draws)
    subject = LatentMap(drawn.function, (n,))
    estimate = curvature(subject, drawn.latent[None], generator=seed, effort=EFFORTS[budget], **options)
    Vh = torch.linalg.svd(drawn.jacobian, full_matrices=False)[2]
    directions = Vh[:1] if leading else _directions(n, draws, drawn.jacobian if "isotropic" in options else None)
    parts = estimate.named("curvature")
    truths = {name: _kappa(drawn, scale, directions).mean().item() for name, scale in _scales(budget).items()}
    named = {f"{name}_leading" if leading else name: truth for name, truth in truths.items()}
    return {
        name: Answer(parts[name], truth, scale=max(truths.values())) for name, truth in named.items() if name in parts
    }


def _scales(budget: str) -> dict[str, float | None]:
    headline, *others = EFFORTS[budget].scales
    return {"curvature": headline, "curvature_infinitesimal": None, **{f"curvature_h{h:g}": h for h in others}}


def _directions(n: int, draws: torch.Generator, tangent_of: Tensor | None) -> Tensor:
    """Isotropic in latent space, or in the tangent space of a Jacobian."""
    if n == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if n == 2:
        angle = torch.arange(_PLANE, dtype=torch.float64) * (math.pi / _PLANE)
        V = torch.stack([angle.cos(), angle.sin()], -1)
    else:
        V = F.normalize(torch.randn(_SPACE if n <= 8 else _MANY, n, generator=draws, dtype=torch.float64), dim=-1)
    if tangent_of is None:
        return V
    _, sigma, Vh = torch.linalg.svd(tangent_of, full_matrices=False)
    return F.normalize(V @ (Vh.T / sigma) @ Vh, dim=-1)


def _kappa(surface: _Surface, scale: float | None, V: Tensor) -> Tensor:
    """Normal curvature along unit vectors `V`, by the definition."""
    z, J = surface.latent, surface.jacobian
    if scale is None:
        second = surface.second(V)
    else:
        h = scale * z.square().mean().sqrt()
        second = (surface.function(z + h * V) - 2 * surface.function(z[None]) + surface.function(z - h * V)) / h**2
    tangent = torch.linalg.qr(J).Q
    return (second - second @ tangent @ tangent.T).norm(dim=-1) / (V @ J.T).square().sum(-1)


def _by_autograd(function: Callable[[Tensor], Tensor], z: Tensor) -> _Surface:
    """Dense derivatives in float64."""
    jacobian = torch.func.jacfwd(lambda point: function(point[None])[0])
    hessian = torch.func.jacfwd(jacobian)(z)
    return _Surface(function, z, jacobian(z), lambda V: torch.einsum("oij,ki,kj->ko", hessian, V, V))


def _sphere(n: int, draws: torch.Generator) -> _Surface:
    """Of a drawn radius, by stereographic projection: `1 / R` in every direction."""
    return _stereographic(n, torch.randn((), generator=draws, dtype=torch.float64).exp().expand(n + 1), draws)


def _ellipsoid(n: int, draws: torch.Generator) -> _Surface:
    return _stereographic(n, torch.randn(n + 1, generator=draws, dtype=torch.float64).exp(), draws)


def _stereographic(n: int, axes: Tensor, draws: torch.Generator) -> _Surface:
    def function(z: Tensor) -> Tensor:
        square = z.square().sum(-1, keepdim=True)
        return axes * torch.cat([2 * z, square - 1], -1) / (square + 1)

    return _by_autograd(function, torch.randn(n, generator=draws, dtype=torch.float64))


def _torus(n: int, draws: torch.Generator) -> _Surface:
    inner = torch.rand((), generator=draws, dtype=torch.float64)

    def function(z: Tensor) -> Tensor:
        out, along = 1 + inner * z[:, 1].cos(), z[:, 0]
        return torch.stack([out * along.cos(), out * along.sin(), inner * z[:, 1].sin()], -1)

    return _by_autograd(function, 2 * torch.randn(2, generator=draws, dtype=torch.float64))


def _graph_of(codimension: int) -> _Surfaces:
    def surface(n: int, draws: torch.Generator) -> _Surface:
        return _of_ridge(graph(n, codimension, draws), n, draws)

    return surface


def _network(profile: str, n: int, draws: torch.Generator, **options: Any) -> _Surface:
    return _of_ridge(network(profile, 2 * n + 3, n, draws, **options), n, draws)


def _of_ridge(ridge: Ridge, n: int, draws: torch.Generator) -> _Surface:
    z = torch.randn(n, generator=draws, dtype=torch.float64)
    return _Surface(ridge, z, ridge.jacobian(z[None])[0], partial(ridge.second, z))
