"""Autoencoders whose stretching and bending have formulas, on images drawn from a law that is known.

Truths are closed forms, or averages of closed forms over 50,000 points of the law, 500 times the images of a draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cases.information import stream
from studies.coverage.cells import Answer, Answers, Cell
from theodolite.diffusability import Penalties, penalties
from theodolite.maps import Autoencoder

ROOM = "diffusability"

_POINTS = 50_000
"""Of the law, that a truth is an average over."""

_FEW = "among few images an interval allows for a tail that bounded numbers do not have."


def cells() -> Iterator[Cell]:
    """Encoders that are linear, that bend, of data that bend, and both by probes."""
    for m, D, n in ((1, 2, 2), (3, 8, 6)):
        yield Cell(ROOM, f"linear encoder, {D} to {m} dimensions", n, "penalties", partial(linear, m, D, n))
    for n in (6, 40):
        yield Cell(ROOM, "parabola", n, "penalties", partial(parabola, n), _FEW)
    for n in (2, 8, 60):
        yield Cell(ROOM, "circle under a parabola", n, "penalties", partial(circle, n), _FEW)
    for n in (6, 30):
        draw = partial(bent_sheet, {}, n)
        yield Cell(ROOM, "bent sheet of 12 dimensions", n, "4 probes", draw, _FEW, seeds=100)
    solved = partial(bent_sheet, {"dense": False, "depth": 14}, 6)
    yield Cell(ROOM, "bent sheet of 12 dimensions", 6, "least squares", solved, _FEW, seeds=30)


def made(encoder: Callable[[Tensor], Tensor], decoder: Callable[[Tensor], Tensor], m: int, D: int) -> Autoencoder:
    """An autoencoder from functions on flat points, for images of `D` channels and one pixel."""
    return Autoencoder(
        lambda x: encoder(x.flatten(1)),
        lambda z: decoder(z)[:, :, None, None],
        name="made",
        latent_shape=(m,),
        image_channels=D,
    )


def uniform(n: int, D: int, draws: torch.Generator) -> Tensor:
    """Points of the cube of side two."""
    return 2 * torch.rand(n, D, generator=draws, dtype=torch.float64) - 1


def images(points: Tensor) -> Tensor:
    """Flat points as images of one pixel."""
    return points[:, :, None, None]


def participation(covariance: Tensor) -> float:
    """`(tr S)² / tr S²`."""
    return float(covariance.trace().square() / covariance.square().sum())


def every(measured: Penalties, truths: Mapping[str, float], n: int) -> Answers:
    """The quantities of which truths are known, by name; parts are `whole.part`."""
    answers = {}
    for name, truth in truths.items():
        whole, _, part = name.partition(".")
        if part in ("image_filled", "latent_filled") and n < 6:
            continue
        estimate = getattr(measured, whole)
        answers[f"penalties.{name}"] = Answer(estimate[part] if part else estimate, truth, scale=1.0)
    return answers


def linear(m: int, D: int, n: int, seed: int) -> Answers:
    """A random matrix and its pseudoinverse on a box of drawn sides: nothing bends, all images are stretched alike."""
    draws = stream(seed)
    A = torch.randn(m, D, generator=draws, dtype=torch.float64) / D**0.5
    sides = 0.2 + 0.8 * torch.rand(D, generator=draws, dtype=torch.float64)
    pair = made(lambda x: x @ A.T, lambda z: z @ torch.linalg.pinv(A).T, m, D)
    measured = penalties(pair, images(sides * uniform(n, D, draws)), generator=seed)
    G = torch.linalg.svdvals(A).square()
    S = (sides.square() / 3).diag()
    nothing = ("encoder_curvature", "encoder_curvature.normal", "data_curvature", "data_curvature.pushed", "cross")
    more = (
        "curvature",
        "latent_curvature",
        "latent_curvature.encoder",
        "latent_curvature.data",
        "latent_curvature.cross",
    )
    truths = {
        "compression": D - m,
        "compression.image_dimension": D,
        "compression.latent_dimension": m,
        "compression.tangent_dimension": m,
        "compression.image_filled": participation(S),
        "compression.latent_filled": participation(A @ S @ A.T),
        "distortion": float(G.var(correction=0) / G.mean().square()),
        "distortion.stretch": float(G.mean()),
        "distortion.within": float(G.var(correction=0) / G.mean().square()),
        "distortion.delta": float((G - 1).abs().max()),
        "distortion.log10_condition": float((G.max() / G.min()).log10()),
        "distortion.information": 0.0,
        **dict.fromkeys((*nothing, *more), 0.0),
    }
    return every(measured, truths, n)


def parabola(n: int, seed: int) -> Answers:
    """`(x, y) -> (x, y + k x² / 2)` on a square, whose volume does not change."""
    draws = stream(seed)
    k = 2 * float(torch.randn((), generator=draws, dtype=torch.float64))
    pair = made(lambda x: _bent(x, k), lambda z: _bent(z, -k), 2, 2)
    measured = penalties(pair, images(uniform(n, 2, draws)), generator=seed)
    x = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS * 2 - 1
    trace = 2 + (k * x).square()  # of G, whose determinant is one
    root = (trace.square() - 4).clamp_min(0).sqrt()
    high, low = (trace + root) / 2, 2 / (trace + root)
    truths = {
        "compression": 0,
        "compression.image_filled": 2.0,
        "distortion": float(2 * (trace.square() - 2).mean() / trace.mean().square() - 1),
        "distortion.stretch": float(trace.mean() / 2),
        "distortion.within": float((1 - 4 / trace.square()).mean()),
        "distortion.delta": float((high - 1).mean()),
        "distortion.log10_condition": float((high / low).log10().mean()),
        "distortion.information": 0.0,
        "encoder_curvature": k**2,
        "encoder_curvature.relative": k**2 / float(trace.mean() / 2),
        "bound": abs(k),
        "curvature": k**2,
        "data_curvature": 0.0,
        "cross": 0.0,
    }
    return every(measured, truths, n)


def _bent(x: Tensor, k: float) -> Tensor:
    return torch.stack([x[:, 0], x[:, 1] + k * x[:, 0].square() / 2], 1)


def circle(n: int, seed: int) -> Answers:
    """Data on a circle of drawn radius, encoded by a parabola: the latents are a curve with a formula."""
    draws = stream(seed)
    k = float(torch.randn((), generator=draws, dtype=torch.float64))
    R = 0.3 + 0.7 * float(torch.rand((), generator=draws, dtype=torch.float64))
    pair = made(lambda x: _bent(x, k), lambda z: R * torch.nn.functional.normalize(_bent(z, -k), dim=1), 2, 2)
    angles = 2 * math.pi * torch.rand(n, generator=draws, dtype=torch.float64)
    measured = penalties(pair, images(R * torch.stack([angles.cos(), angles.sin()], 1)), generator=seed)
    u = torch.arange(4096, dtype=torch.float64) * (2 * math.pi / 4096)
    c, s = u.cos(), u.sin()
    # derivatives of the latents' curve by arc length of the circle
    first = torch.stack([-s, c - k * R * c * s])
    second = torch.stack([-c, -s - k * R * (c * c - s * s)]) / R
    speed = first.square().sum(0)
    turn = (first[0] * second[1] - first[1] * second[0]).square() / speed**3
    volume = (first * second).sum(0).square() / speed**3
    hessian = torch.stack([0 * s, k * s * s])
    pushed = second - hessian
    truths = {
        "compression": 0,
        "compression.tangent_dimension": 1,
        "distortion": float(speed.var(correction=0) / speed.mean().square()),
        "distortion.stretch": float(speed.mean()),
        "distortion.within": 0.0,
        "distortion.information": float(volume.mean()),
        "distortion.delta": float((speed - 1).abs().mean()),
        "encoder_curvature": float(hessian.square().sum(0).mean()),
        "encoder_curvature.relative": float(hessian.square().sum(0).mean() / speed.mean()),
        "data_curvature": 1 / R**2,
        "data_curvature.mean_curvature": 1 / R**2,
        "data_curvature.information": -0.5 / R**2,
        "data_curvature.pushed": float(pushed.square().sum(0).mean()),
        "cross": float(2 * (hessian * pushed).sum(0).mean()),
        "curvature": float(second.square().sum(0).mean()),
        "latent_curvature": float(turn.mean()),
        "latent_curvature.information": float(-turn.mean() / 2),
        "bound": abs(k) * float(torch.quantile(s * s, 0.95)),
        "reach": R,
    }
    return every(measured, truths, n)


def bent_sheet(options: dict[str, int | bool], n: int, seed: int) -> Answers:
    """The graph of `c |y|² / 2` over twelve dimensions, each encoded by `sinh(a y) / a`: second derivatives by probes.

    With `w = 1 + c² |y|²` the inverse metric of the graph is `P = 1 - c² y yᵀ / w`, its second fundamental form has the
    coefficients `c P / sqrt(w)` along the normal `(-c y, 1) / sqrt(w)`.
    """
    draws, d = stream(seed), 12
    a, c = (torch.rand(2, generator=draws, dtype=torch.float64) + 0.2).tolist()
    c = c / d  # so that images stay in [-1, 1]

    def decoder(z: Tensor) -> Tensor:
        y = torch.asinh(a * z) / a
        return torch.cat([y, c / 2 * y.square().sum(1, keepdim=True)], 1)

    pair = made(lambda x: torch.sinh(a * x[:, :d]) / a, decoder, d, d + 1)
    y = uniform(n, d, draws)
    points = torch.cat([y, c / 2 * y.square().sum(1, keepdim=True)], 1)
    measured = penalties(pair, images(points), generator=seed, **options)
    truths = {name: float(values.mean()) for name, values in _of_graph(uniform(_POINTS, d, draws), a, c).items()}
    stretch = truths.pop("stretch") / d
    square = truths.pop("stretch_square") / d
    relative = truths["encoder_curvature"] / stretch
    more = {
        "distortion": square / stretch**2 - 1,
        "distortion.stretch": stretch,
        "encoder_curvature.relative": relative,
    }
    return every(measured, {**truths, **more}, n)


def _of_graph(y: Tensor, a: float, c: float) -> dict[str, Tensor]:
    d, w = y.shape[1], 1 + c**2 * y.square().sum(1)
    cosh, bend = (a * y).cosh(), a * (a * y).sinh()
    diagonal = 1 - c**2 * y.square() / w[:, None]
    # of P², whose diagonal is 1 - 2 c² y² / w + c⁴ y² |y|² / w²
    twice = 1 - 2 * c**2 * y.square() / w[:, None] + c**2 * y.square() * ((w - 1) / w**2)[:, None]
    norm, trace = c**2 / w * (d - 1 + 1 / w**2), c**2 / w * (d - 1 + 1 / w).square()
    scaled = c**2 * (cosh * y).square() / w[:, None]
    tr_GG = ((cosh.square() * diagonal).square()).sum(1) + (scaled.sum(1).square() - scaled.square().sum(1))
    encoder = (bend * diagonal).square().sum(1)
    pushed = norm * scaled.sum(1)
    cross = -2 * c**2 / w * (bend * y * cosh * twice).sum(1)
    return {
        "stretch": (cosh.square() * diagonal).sum(1),
        "stretch_square": tr_GG,
        "encoder_curvature": encoder,
        "data_curvature": norm,
        "data_curvature.mean_curvature": trace,
        "data_curvature.information": trace - 1.5 * norm,
        "data_curvature.pushed": pushed,
        "cross": cross,
        "curvature": encoder + pushed + cross,
    }
