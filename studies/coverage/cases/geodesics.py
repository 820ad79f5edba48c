"""Shortest curves and lengths with closed forms: hyperbolic planes, spheres, flat ones, and decoders that are known.

Lengths of decoded lines of random networks have 8,000 chords in float64 as truth, 125 times and more those of a draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cases.information import log_uniform, stream
from studies.coverage.cells import Answer, Answers, Cell
from theodolite.families import ParameterGrid
from theodolite.geodesics import curve_length, decoded_length, decoder_geodesic, geodesic

ROOM = "geodesics"

_DISCRETE = "what a finite number of points misses is an estimate of a size, made to be enough."

_Case = tuple[Callable[[Tensor], Tensor], Tensor, Tensor, float]
"""A metric, two points `(2,)`, and their distance."""


def cells() -> Iterator[Cell]:
    """Geodesics in metrics by the number of segments; lengths of given curves; decoders in both precisions."""
    for name in _METRICS:
        for segments in (4, 16):
            draw = partial(in_metric, name, segments, False)
            yield Cell(ROOM, name, segments, "geodesic", draw, _DISCRETE)
    for segments in (5, 64):
        draw = partial(in_metric, "normal laws", segments, False)
        yield Cell(ROOM, "normal laws", segments, "geodesic", draw, _DISCRETE)
    boxed = partial(in_metric, "hyperbolic half plane", 16, True)
    yield Cell(ROOM, "hyperbolic half plane", 16, "geodesic, box", boxed, _DISCRETE, seeds=100)  # a lattice a draw
    for segments in (2, 3, 4, 9, 32):
        yield Cell(ROOM, "wave in the half plane", segments, "curve_length", partial(of_wave, segments), _DISCRETE)
    for dtype in (torch.float64, torch.float32):
        for name in _DECODERS:
            for segments in (2, 16):
                setting = f"decoded_length, {str(dtype).removeprefix('torch.')}"
                yield Cell(ROOM, f"decoder: {name}", segments, setting, partial(of_decoder, name, segments, dtype))
        for segments in (4, 16):
            setting = f"decoder_geodesic, {str(dtype).removeprefix('torch.')}"
            yield Cell(ROOM, "decoder: sphere", segments, setting, partial(on_sphere, segments, dtype))


def half_plane(draws: torch.Generator) -> _Case:
    """`I / y²`."""
    ends = torch.stack([torch.randn(2, generator=draws, dtype=torch.float64), log_uniform(0.3, 3.0, 2, draws)], 1)
    a, b = ends
    cosh = 1 + float((a - b).square().sum() / (2 * a[1] * b[1]))
    return lambda x: torch.eye(2, dtype=x.dtype) / x[:, 1, None, None].square(), a, b, math.acosh(cosh)


def sphere(draws: torch.Generator) -> _Case:
    """`4 I / (1 + r²)²`, the unit sphere from its pole."""
    a, b = 0.7 * torch.randn(2, 2, generator=draws, dtype=torch.float64)
    apart = 2 * (a - b).square().sum() / ((1 + a.square().sum()) * (1 + b.square().sum()))

    def metric(x: Tensor) -> Tensor:
        return 4 * torch.eye(2, dtype=x.dtype) / (1 + x.square().sum(-1)).square()[:, None, None]

    return metric, a, b, math.acos(1 - float(apart))


def normal_family(draws: torch.Generator) -> _Case:
    """Normal laws by mean and standard deviation, `diag(1, 2) / s²`."""
    ends = torch.stack([torch.randn(2, generator=draws, dtype=torch.float64), log_uniform(0.3, 3.0, 2, draws)], 1)
    a, b = ends
    cosh = 1 + float(((a[0] - b[0]) ** 2 / 2 + (a[1] - b[1]) ** 2) / (2 * a[1] * b[1]))

    def metric(x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=x.dtype) / x[:, 1, None, None].square()

    return metric, a, b, 2**0.5 * math.acosh(cosh)


def flat(draws: torch.Generator) -> _Case:
    """A constant matrix."""
    a, b = torch.randn(2, 2, generator=draws, dtype=torch.float64)
    root = torch.randn(2, 2, generator=draws, dtype=torch.float64)
    g = root @ root.T
    return lambda x: g.expand(len(x), 2, 2), a, b, float((a - b) @ g @ (a - b)) ** 0.5


def flat_bent(draws: torch.Generator) -> _Case:
    """The plane in coordinates `(x, y + k sin x)`."""
    a, b = torch.randn(2, 2, generator=draws, dtype=torch.float64)
    k = float(torch.randn((), generator=draws, dtype=torch.float64))

    def chart(x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], x[:, 1] + k * x[:, 0].sin()], 1)

    def metric(x: Tensor) -> Tensor:
        slope, one = k * x[:, 0].cos(), torch.ones_like(x[:, 0])
        return torch.stack([1 + slope.square(), slope, slope, one], 1).unflatten(1, (2, 2))

    return metric, a, b, float((chart(a[None]) - chart(b[None])).norm())


_METRICS: dict[str, Callable[[torch.Generator], _Case]] = {
    "hyperbolic half plane": half_plane,
    "sphere": sphere,
    "normal laws": normal_family,
    "constant metric": flat,
    "plane in bent coordinates": flat_bent,
}


def in_metric(name: str, segments: int, has_box: bool, seed: int) -> Answers:
    """The distance of two random points."""
    metric, a, b, distance = _METRICS[name](stream(seed))
    box = ParameterGrid((-8.0, 0.05), (8.0, 12.0), (16, 16)) if has_box else None
    found = geodesic(metric, a, b, segments=segments, box=box)
    return {"geodesic.length": Answer(found.length, distance)}


def of_wave(segments: int, seed: int) -> Answers:
    """The length of `y = exp(k sin(w x))` in the half plane, from points on it."""
    draws = stream(seed)
    k, w, span = torch.rand(3, generator=draws, dtype=torch.float64).tolist()
    w, span = 3 * w, 0.2 + 2 * span

    def curve(count: int) -> Tensor:
        x = span * torch.arange(count + 1, dtype=torch.float64) / count
        return torch.stack([x, (k * (w * x).sin()).exp()], 1)

    fine = curve(100_000)
    middles = (fine[1:, 1] + fine[:-1, 1]) / 2
    truth = float((fine.diff(dim=0).norm(dim=1) / middles).sum())
    length = curve_length(lambda x: torch.eye(2, dtype=x.dtype) / x[:, 1, None, None].square(), curve(segments)[None])
    return {"curve_length": Answer(length, truth)}


def _network(kind: str, draws: torch.Generator) -> Callable[[Tensor], Tensor]:
    act = {"tanh": torch.tanh, "ReLU": torch.relu, "sine": torch.sin}[kind]
    gain = float(log_uniform(0.5, 3.0, 1, draws))
    A = gain * torch.randn(64, 4, generator=draws, dtype=torch.float64)
    B = torch.randn(64, 64, generator=draws, dtype=torch.float64) / 8
    C, shift = (
        torch.randn(40, 64, generator=draws, dtype=torch.float64) / 8,
        torch.randn(64, generator=draws, dtype=torch.float64),
    )
    return lambda z: act(act(z @ A.T.to(z) + shift.to(z)) @ B.T.to(z)) @ C.T.to(z)


def _circle(draws: torch.Generator) -> Callable[[Tensor], Tensor]:
    direction = torch.randn(4, generator=draws, dtype=torch.float64)
    radius = float(log_uniform(0.1, 100.0, 1, draws))
    return lambda z: radius * torch.stack([(z @ direction.to(z)).cos(), (z @ direction.to(z)).sin()], 1)


def _linear(draws: torch.Generator) -> Callable[[Tensor], Tensor]:
    A = torch.randn(20, 4, generator=draws, dtype=torch.float64)
    shift = 10 * torch.randn(20, generator=draws, dtype=torch.float64)
    return lambda z: z @ A.T.to(z) + shift.to(z)


_DECODERS: dict[str, Callable[[torch.Generator], Callable[[Tensor], Tensor]]] = {
    "linear": _linear,
    "circle": _circle,
    **{f"random {kind} network": partial(_network, kind) for kind in ("tanh", "ReLU", "sine")},
}


def of_decoder(name: str, segments: int, dtype: torch.dtype, seed: int) -> Answers:
    """The decoded straight line between two random latents, near or far."""
    draws = stream(seed)
    decode = _DECODERS[name](draws)
    a = torch.randn(4, generator=draws, dtype=torch.float64)
    b = a + float(log_uniform(1e-3, 1.0, 1, draws)) * torch.randn(4, generator=draws, dtype=torch.float64)

    def line(count: int) -> Tensor:
        s = torch.arange(count + 1, dtype=torch.float64)[:, None] / count
        return a.to(dtype).double() + s * (b.to(dtype).double() - a.to(dtype).double())

    truth = float(decode(line(8_000)).diff(dim=0).norm(dim=1).sum())
    return {"decoded_length": Answer(decoded_length(decode, line(segments).to(dtype)[None]), truth)}


def on_sphere(segments: int, dtype: torch.dtype, seed: int) -> Answers:
    """The great circle between two points of a sphere, decoded from its pole."""
    draws = stream(seed)
    radius = float(log_uniform(0.1, 10.0, 1, draws))
    a, b = (0.7 * torch.randn(2, 2, generator=draws, dtype=torch.float64)).to(dtype)

    def decode(z: Tensor) -> Tensor:
        square = z.square().sum(-1, keepdim=True)
        return radius * torch.cat([2 * z, 1 - square], 1) / (1 + square)

    ends = torch.stack([a, b]).double()
    x, y = decode(ends) / radius
    found = decoder_geodesic(decode, a[None], b[None], segments=segments)
    return {"decoder_geodesic.length": Answer(found.length, radius * 2 * math.asin(float((x - y).norm()) / 2))}
