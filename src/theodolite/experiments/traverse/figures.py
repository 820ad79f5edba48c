"""The figures of a traverse: maps over a plane, and lines with bands over noise levels and severities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.experiments.traverse.page import QUANTITIES, where
from theodolite.report.drawing import COLOURSCALE, figure_of, is_drawn, layout_of, named_points, plain_axis, short
from theodolite.report.page import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.experiment import Row

__all__ = ["along_levels", "of_severity", "over_plane"]

_NOISE = {"type": "log", "autorange": "reversed", "dtick": 1}
"""From much noise on the left to little, as the sampler goes."""


def over_plane(cells: Sequence[Row], anchors: Mapping[str, tuple[float, float]], quantity: Quantity) -> Figure:
    """One quantity over the plane, the anchors as diamonds; cells without a number are blank."""

    def draw() -> Plot | None:
        numbers = {(row["a"], row["b"]): row for row in cells if is_drawn(row)}
        return _map(cells, numbers, anchors, quantity.label) if numbers else None

    label = f"{quantity.label} over the plane of a and b"
    return Figure(quantity.name, label, draw, quantity.label, size="square", empty="No cell has a number.")


def _map(
    cells: Sequence[Row],
    numbers: Mapping[tuple[float, float], Row],
    anchors: Mapping[str, tuple[float, float]],
    label: str,
) -> Plot:
    across, up = (sorted({row[axis] for row in cells}) for axis in ("a", "b"))
    grid = [[numbers.get((a, b)) for a in across] for b in up]
    field = {
        "type": "heatmap",
        "x": short(across, 6),
        "y": short(up, 6),
        "z": [[row and short([row["value"]], 6)[0] for row in line] for line in grid],
        "customdata": [[row and short([row["stderr"]], 2)[0] for row in line] for line in grid],
        "colorscale": COLOURSCALE,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 0.9},
        "hovertemplate": f"a %{{x:.3g}}, b %{{y:.3g}}<br>{label} %{{z:.5g}} ± %{{customdata}}<extra></extra>",
    }
    axis = {**plain_axis(), "showgrid": False, "constrain": "domain", "fixedrange": True}
    axes = {
        "xaxis": {**axis, "range": _range(across), "title": {"text": "a"}},
        "yaxis": {**axis, "range": _range(up), "title": {"text": "b"}, "scaleanchor": "x"},
    }
    layout = {**layout_of(), "margin": {"l": 44, "r": 8, "t": 8, "b": 44}, **axes}
    return figure_of([field, *named_points(anchors)], layout)


def _range(places: Sequence[float]) -> list[float]:
    """Half a cell beyond the outer places; half a unit where one row alone is finished."""
    half = (places[-1] - places[0]) / (len(places) - 1) / 2 if len(places) > 1 else 0.5
    return [places[0] - half, places[-1] + half]


def along_levels(rows: Sequence[Row], tones: Mapping[float, str]) -> list[Figure]:
    """Means, or AUROC, at every noise level: a figure a quantity and output, a line a guidance scale and condition."""
    pairs = dict.fromkeys((row["quantity"], row["output"]) for row in rows)
    order = [*QUANTITIES]
    return [
        _of_levels(where(rows, quantity=q, output=o), tones) for q, o in sorted(pairs, key=lambda p: order.index(p[0]))
    ]


def _of_levels(rows: Sequence[Row], tones: Mapping[float, str]) -> Figure:
    label, output, measure = QUANTITIES[rows[0]["quantity"]].label, rows[0]["output"], rows[0]["measure"]
    is_auroc = measure == "auroc"

    def draw() -> Plot | None:
        from theodolite.report.curves import banded, curve_of

        kinds = sorted(dict.fromkeys((row["guidance"], row["side"] or "") for row in rows))
        curves = []
        for scale, side in kinds:
            own, dash = where(rows, guidance=scale, side=side or None), "dash" if side == "unusual" else "solid"
            name = f"guidance {scale:g}{side and f', {side}'}"
            curves += curve_of(own, "level", name, tones[scale], dash=dash, marked=True)
        chance: dict[str, Any] = {"span": (0.0, 1.0), "level": 0.5} if is_auroc else {}
        return banded(curves, "noise level σ", f"AUROC of {label}" if is_auroc else label, axis=_NOISE, **chance)

    text = f"{'AUROC' if is_auroc else 'Mean'} of {label} of the {output} map by noise level"
    name = f"{measure}-{rows[0]['quantity']}-{output}"
    return Figure(name, text, draw, f"{label}, {output} map", empty="No level has a number.")


def of_severity(rows: Sequence[Row], tones: Mapping[str, str], quantity: Quantity) -> Figure:
    """Sensitivity at every severity, a line a corruption; the clean image has no change."""
    clean = {"severity": 0, "value": 0.0, "low": 0.0, "high": 0.0, "status": "ok"}

    def draw() -> Plot | None:
        from theodolite.report.curves import banded, curve_of

        if not any(is_drawn(row) for row in rows):
            return None
        ladders = {name: [clean, *where(rows, corruption=name)] for name in tones}
        curves = [
            curve
            for name, own in ladders.items()
            for curve in curve_of(own, "severity", name.replace("_", " "), tones[name], marked=True)
        ]
        return banded(curves, "severity", "change / spread of clean images", axis={"dtick": 1}, level=0.0)

    label = f"Change of {quantity.label} by severity, a line a corruption"
    empty = "Clean images do not differ in it."
    return Figure(f"severity-{quantity.name}", label, draw, quantity.label, empty=empty)
