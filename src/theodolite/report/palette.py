"""The colours of the report, in one place, so that they mean the same in every figure."""

from __future__ import annotations

import math

__all__ = ["ACCENT", "FAINT", "INK", "KINDS", "LINE", "MODELS", "MUTED", "PAPER", "SCALE", "colour_at", "faded", "rgb"]

INK = "#1b2430"
MUTED = "#647084"
FAINT = "#8b95a4"
LINE = "#e7eaee"
PAPER = "#ffffff"
ACCENT = "#0f6996"

SCALE = ("#84d9ad", "#5cc5ac", "#35b0ab", "#0e99a8", "#0e819f", "#0f6996", "#205188", "#293975", "#2b215f")
"""Equal steps of lightness in OKLab (0.82 to 0.30) from green to indigo: perceptually uniform, dark means more."""

MODELS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#b8860b")
"""Colours that tell models apart, to colour-blind readers too (after Okabe and Ito 2008)."""

KINDS = {"joint": INK, "likelihood": MODELS[2], "descriptor": MODELS[0], "ratio": MODELS[1], "baseline": FAINT}
"""Colours of the kinds of scores."""


def colour_at(position: float) -> str:
    """The colour at `position` in [0, 1] of `SCALE`; grey where the position is not a number."""
    if not math.isfinite(position):
        return FAINT
    index = min(max(position, 0.0), 1.0) * (len(SCALE) - 1)
    below = min(int(index), len(SCALE) - 2)
    pairs = zip(rgb(SCALE[below]), rgb(SCALE[below + 1]))
    return "#" + "".join(f"{round(low + (high - low) * (index - below)):02x}" for low, high in pairs)


def faded(colour: str, opacity: float) -> str:
    """`colour` (``#rrggbb``) with an opacity, as CSS ``rgba(...)``."""
    red, green, blue = rgb(colour)
    return f"rgba({red},{green},{blue},{opacity:g})"


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `colour` (``#rrggbb``), 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
