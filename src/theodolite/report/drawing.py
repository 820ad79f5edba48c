"""Plotly figures from plain traces, and the kinds of figure that several pages draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.report import palette
from theodolite.report.render import FONT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["FONT", "escaped", "figure_of", "layout_of", "lines", "plain_axis", "short"]


def figure_of(traces: Sequence[dict[str, Any]], layout: dict[str, Any]) -> Figure:
    """A plotly figure of plain traces."""
    from plotly.graph_objects import Figure

    return Figure(data=list(traces), layout=layout)


def layout_of(highlight: int | None = None) -> dict[str, Any]:
    """What all figures look like; `highlight` is the trace in which the page's script marks a sample, if any."""
    return {
        "template": "none",
        "meta": {} if highlight is None else {"highlight": highlight},
        "font": {"family": FONT, "size": 12, "color": palette.MUTED},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": False,
        "separators": ".\u202f",
        "hovermode": "closest",
        "hoverdistance": 24,
    }


def plain_axis() -> dict[str, Any]:
    """What all axes look like."""
    return {
        "gridcolor": palette.LINE,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": palette.LINE,
        "automargin": True,
        "exponentformat": "power",
        "minexponent": 5,
        "separatethousands": True,
    }


def short(values: Any, digits: int = 5) -> list[float]:
    """Plain numbers of a few significant digits: what a screen can show, a fifth of the bytes."""
    return [float(f"{value:.{digits}g}") for value in values]


def lines(
    curves: Mapping[str, tuple[Any, Any]],
    colours: Mapping[str, str],
    across: str,
    up: str,
    marked: bool = True,
) -> Figure:
    """Curves by name, each `(x, y)` in its colour; `across` and `up` are the titles of the axes."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers" if marked else "lines",
            "name": name,
            "x": short(x),
            "y": short(y),
            "line": {"color": colours[name], "width": 2},
            "marker": {"size": 5},
            "hovertemplate": f"{name}: %{{x}}, %{{y}}<extra></extra>",
        }
        for name, (x, y) in curves.items()
    ]
    axes = {"xaxis": {**plain_axis(), "title": {"text": across}}, "yaxis": {**plain_axis(), "title": {"text": up}}}
    return figure_of(traces, {**layout_of(), "margin": {"l": 58, "r": 12, "t": 12, "b": 48}, **axes})


def escaped(text: str) -> str:
    """Text for a figure: plotly reads a little HTML, so what comes from outside is escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
