"""The figure of the page: forecast against truth, a dot a design, as an SVG that needs no library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_SIZE, _MARGIN = 420, 56
_TICKS = (1, 2, 5, 10, 15, 20, 30, 50, 100, 200)
_Place = Callable[[float, float], tuple[float, float]]
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")
"""Tol's bright scheme, which people with colour blindness tell apart."""


@dataclass(frozen=True)
class Dot:
    """One design: forecast and truth of log gFD, each with its standard error.

    Attributes:
        name: shown when the pointer rests on it.
        kind: what it is coloured by.
        x: forecast.
        y: truth.
        dx: standard error of the forecast.
        dy: standard error of the truth.
    """

    name: str
    kind: str
    x: float
    y: float
    dx: float
    dy: float


def scatter(dots: Sequence[Dot], across: str, up: str) -> str:
    """An SVG with logarithmic axes that share their range, the diagonal, and bars of two standard errors."""
    low = min(min(d.x, d.y) for d in dots) - 0.1
    high = max(max(d.x, d.y) for d in dots) + 0.1
    scale = (_SIZE - 2 * _MARGIN) / (high - low)

    def at(x: float, y: float) -> tuple[float, float]:
        return _MARGIN + (x - low) * scale, _SIZE - _MARGIN - (y - low) * scale

    kinds = sorted({d.kind for d in dots})
    parts = [*_frame(low, high, at, across, up)]
    for d in dots:
        parts += _dot(d, at, _COLOURS[kinds.index(d.kind) % len(_COLOURS)])
    for place, kind in enumerate(kinds):
        x, y, colour = _SIZE - 10, _MARGIN + 18 * place, _COLOURS[place % len(_COLOURS)]
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 9}" y="{y + 4}">{escape(kind)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE + 80} {_SIZE}" width="{_SIZE + 80}" '
    style = 'font-family="sans-serif" font-size="12" fill="#222" style="background:#fff">'
    return "\n".join([head + style, *parts, "</svg>", ""])


def _dot(d: Dot, at: _Place, colour: str) -> list[str]:
    (x, y), (left, bottom) = at(d.x, d.y), at(d.x - 2 * d.dx, d.y - 2 * d.dy)
    right, top = at(d.x + 2 * d.dx, d.y + 2 * d.dy)
    bars = f"M{left:.1f} {y:.1f}H{right:.1f}M{x:.1f} {bottom:.1f}V{top:.1f}"
    return [
        f'<path d="{bars}" stroke="{colour}" opacity=".35"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(d.name)}</title></circle>',
    ]


def _frame(low: float, high: float, at: _Place, across: str, up: str) -> list[str]:
    (x0, y0), (x1, y1) = at(low, low), at(high, high)
    axes = f"M{x0:.1f} {y1:.1f}V{y0:.1f}H{x1:.1f}M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"
    lines = [f'<path d="{axes}" fill="none" stroke="#999"/>']
    for gfd in _TICKS:
        if low <= math.log(gfd) <= high:
            x, y = at(math.log(gfd), math.log(gfd))
            lines.append(f'<text x="{x:.1f}" y="{y0 + 16:.1f}" text-anchor="middle">{gfd}</text>')
            lines.append(f'<text x="{x0 - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{gfd}</text>')
    middle = (x0 + x1) / 2
    lines.append(f'<text x="{middle:.1f}" y="{y0 + 36:.1f}" text-anchor="middle">{escape(across)}</text>')
    turned = f"translate({x0 - 36:.1f} {middle:.1f}) rotate(-90)"
    lines.append(f'<text transform="{turned}" text-anchor="middle">{escape(up)}</text>')
    return lines
