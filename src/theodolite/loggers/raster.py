"""A Plotly figure as pixels, by matplotlib: lines, points, bars and fields, for loggers that show pictures alone."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from plotly.graph_objects import Figure

__all__ = ["pixels_of"]

_DRAWN = ("scatter", "bar", "heatmap")
_INCHES = (7.0, 3.6)
_DOTS = 110
_DASHES = {"dash": "--", "dot": ":", "dashdot": "-."}


def pixels_of(figure: Figure) -> np.ndarray[Any, Any] | None:
    """The figure as `(height, width, 3)` of 8 bits; None without matplotlib, or where it cannot be drawn.

    Titles, axes, ranges, logarithms, lines, points, bars, error bars and fields are drawn; hover texts, shapes and
    filled bands are not.

    Args:
        figure: of Plotly.
    """
    try:
        import matplotlib  # noqa: F401 (an extra)
    except ImportError:
        return None
    content = figure.to_dict()
    if any(trace.get("type", "scatter") not in _DRAWN for trace in content["data"]):
        return None
    try:
        return _painted(content)
    except (KeyError, TypeError, ValueError):  # axes of names or dates, traces without `x`, texts that are no formula
        return None


def _painted(content: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(_INCHES, _DOTS, layout="constrained")
    axes = canvas.subplots()
    for trace in content["data"]:
        _draw(axes, trace)
    _frame(axes, content["layout"])
    painter = FigureCanvasAgg(canvas)
    painter.draw()
    return np.asarray(painter.buffer_rgba())[..., :3].copy()


def _draw(axes: Any, trace: dict[str, Any]) -> None:
    kind = trace.get("type", "scatter")
    if kind == "heatmap":
        axes.pcolormesh(
            _floats(trace["x"]), _floats(trace["y"]), [_floats(row) for row in _entries(trace["z"])], shading="auto"
        )
        return
    x, y = _floats(trace["x"]), _floats(trace["y"])
    marker, line = trace.get("marker") or {}, trace.get("line") or {}
    colour = _colour(line.get("color") or marker.get("color"))
    if kind == "bar":
        axes.bar(x, y, color=colour or "tab:blue")
    else:
        mode = trace.get("mode", "lines")
        style = _DASHES.get(line.get("dash", ""), "-") if "lines" in mode and line.get("width") != 0 else ""
        axes.plot(x, y, linestyle=style, marker="o" if "markers" in mode else "", color=colour or "tab:blue", ms=4)
    reach = {f"{axis}err": _reach(trace.get(f"error_{axis}")) for axis in "xy"}
    if any(own is not None for own in reach.values()):
        axes.errorbar(x, y, **reach, fmt="none", ecolor=colour or "0.4", elinewidth=1)


def _reach(error: dict[str, Any] | None) -> list[list[float]] | None:
    if not error or error.get("array") is None:
        return None
    above = _floats(error["array"])
    below = above if error.get("arrayminus") is None else _floats(error["arrayminus"])
    return [[max(0.0, b) for b in below], [max(0.0, a) for a in above]]


def _floats(values: Any) -> list[float]:
    return [math.nan if value is None else float(value) for value in _entries(values)]


def _entries(values: Any) -> Any:
    """The entries of a list; Plotly writes arrays of NumPy as the base64 of their bytes, with dtype and shape."""
    if not isinstance(values, dict):
        return values
    import numpy as np

    flat = np.frombuffer(base64.b64decode(values["bdata"]), np.dtype(values["dtype"]))
    shape = values.get("shape")
    return flat if shape is None else flat.reshape([int(size) for size in str(shape).split(",")])


def _colour(colour: Any) -> Any:
    """A colour as matplotlib takes it; None for lists, scales and whatever else it does not know."""
    if not isinstance(colour, str):
        return None
    if colour.startswith("rgba("):
        red, green, blue, opacity = (float(part) for part in colour[5:-1].split(","))
        return (red / 255, green / 255, blue / 255, opacity)
    return colour if colour.startswith("#") else None


def _frame(axes: Any, layout: dict[str, Any]) -> None:
    for name in "xy":
        own = layout.get(f"{name}axis") or {}
        if own.get("type") == "log":
            getattr(axes, f"set_{name}scale")("log")
        ends = own.get("range")
        if ends:
            getattr(axes, f"set_{name}lim")([10.0**end for end in ends] if own.get("type") == "log" else ends)
        if own.get("tickvals") and own.get("ticktext"):
            getattr(axes, f"set_{name}ticks")(_floats(own["tickvals"]), own["ticktext"])
        getattr(axes, f"set_{name}label")(((own.get("title") or {}).get("text") or "").replace("$", r"\$"))
    axes.set_title(((layout.get("title") or {}).get("text") or "").replace("$", r"\$"), fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
