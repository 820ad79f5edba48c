"""Curves as a PNG, drawn with Pillow, so that the examples need nothing that Theodolite does not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 460, 300, 70, 44, 40, 16
COLUMNS, SCALE = 3, 2
COLOURS = ("#0f6996", "#c2571a", "#2b8a57", "#7b4aa8", "#8a6d00")
INK, GRID, PAPER = "#222222", "#dddddd", "#ffffff"


@dataclass
class Panel:
    """One picture of the sheet: by the name of each curve its points `(x, y, error)`; NaN is left out."""

    title: str
    curves: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)

    def add(self, name: str, x: float, y: float, error: float) -> None:
        if math.isfinite(y):
            self.curves.setdefault(name, []).append((x, y, error))


def draw(panels: Sequence[Panel], path: Path, *, axis: str) -> None:
    """Write the panels, three in a row, with bands of 1.96 standard errors; `axis` is the name of x."""
    panels = [panel for panel in panels if panel.curves]
    rows = math.ceil(len(panels) / COLUMNS)
    sheet = Image.new("RGB", (SCALE * COLUMNS * WIDTH, SCALE * rows * HEIGHT), PAPER)
    for index, panel in enumerate(panels):
        sheet.paste(_picture(panel, axis), (SCALE * WIDTH * (index % COLUMNS), SCALE * HEIGHT * (index // COLUMNS)))
    sheet.reduce(SCALE).save(path)


def _picture(panel: Panel, axis: str) -> Image.Image:
    image = Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), PAPER)
    pen = ImageDraw.Draw(image, "RGBA")
    place = _frame(pen, panel, axis)
    for index, (name, points) in enumerate(panel.curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        ahead = [place(x, y + 1.96 * error) for x, y, error in points]
        behind = [place(x, y - 1.96 * error) for x, y, error in points]
        if len(points) > 1:
            pen.polygon([*ahead, *reversed(behind)], fill=colour + "30")
            pen.line([place(x, y) for x, y, _ in points], fill=colour, width=2 * SCALE)
        for x, y, _ in points:
            cx, cy = place(x, y)
            pen.ellipse([cx - 5, cy - 5, cx + 5, cy + 5], fill=colour)
        if len(panel.curves) > 1:
            _text(pen, WIDTH - RIGHT - 66 * (len(panel.curves) - index), TOP - 16, name, colour)
    return image


def _frame(pen: ImageDraw.ImageDraw, panel: Panel, axis: str):
    """Title, axes and ticks; returns where a point goes."""
    points = [point for curve in panel.curves.values() for point in curve]
    left, right = min(x for x, _, _ in points), max(x for x, _, _ in points)
    low, high = min(y - 1.96 * error for _, y, error in points), max(y + 1.96 * error for _, y, error in points)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - margin, high + margin

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        up = (y - low) / (high - low)
        return SCALE * (LEFT + across * (WIDTH - LEFT - RIGHT)), SCALE * (
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)
        )

    _text(pen, LEFT, 6, panel.title, INK, 15)
    for y in _ticks(low, high):
        pen.line([place(left, y), place(right, y)], fill=GRID, width=SCALE)
        _text(pen, LEFT - 8, place(left, y)[1] / SCALE, f"{y:.4g}", INK, anchor="rm")
    for x in _ticks(left, right):
        _text(pen, place(x, low)[0] / SCALE, HEIGHT - BOTTOM + 5, f"{x:.4g}", INK, anchor="ma")
    _text(pen, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 20, axis, INK, anchor="ma")
    return place


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two bounds, about five of them."""
    if high <= low:
        return [low]
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= raw)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(
    pen: ImageDraw.ImageDraw, x: float, y: float, words: str, colour: str, size: int = 12, anchor: str = "la"
) -> None:
    pen.text((SCALE * x, SCALE * y), words, fill=colour, font=ImageFont.load_default(SCALE * size), anchor=anchor)


def panels_of(history: Sequence[tuple[int, Mapping[str, object]]], levels: Sequence[float], but: str) -> list[Panel]:
    """A panel for each quantity that a probe found but one, a curve for each noise level."""
    panels = {name: Panel(name.replace("_", " ")) for name in history[0][1] if name != but}
    for epoch, found in history:
        for name, panel in panels.items():
            estimate = found[name]
            several = len(estimate.value) > 1
            for level, value, error in zip(levels, estimate.value.tolist(), estimate.stderr.tolist()):
                panel.add(f"t = {level:g}" if several else "", epoch, value, error)
    return list(panels.values())
