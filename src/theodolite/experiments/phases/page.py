"""The page of a phase map: fields over the box, regions with samples, geodesics, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.estimates.quantity import Quantity
from theodolite.experiments.phases import figures as drawing
from theodolite.report.page import (
    Cell,
    Column,
    Details,
    Facts,
    Figure,
    Figures,
    Legend,
    Page,
    Pictures,
    Row,
    Section,
    Table,
    Term,
    number_cell,
)
from theodolite.report.pictures import data_uri

if TYPE_CHECKING:
    from theodolite.experiments.phases.level import Curve, Level
    from theodolite.report.page import Block
    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "page"]

_OF_LEVELS = (
    Quantity("regions", "regions", meaning="valleys of log λ_max that no low pass unites"),
    Quantity(
        "codazzi_residual",
        "Codazzi residual",
        source="Shima 2007, Prop. 2.1",
        meaning="0: the direct metric is the Hessian of a function of these parameters; 1: not at all",
    ),
    Quantity(
        "misfit", "misfit", "nats", meaning="divergence of the posteriors that the potential gives from the samples'"
    ),
    Quantity(
        "potential_converged",
        "potential converged",
        meaning="1: its fit reached the optimum, or hardly got better any more",
    ),
    Quantity(
        "posterior_width",
        "posterior width",
        "cells",
        meaning="median of the narrowest standard deviation; below 1 the grid does not resolve them",
    ),
    Quantity("edge_mass", "edge mass", meaning="mean probability in the outermost cells, where the box cuts it off"),
    Quantity(
        "bundle", "bundle", "samples", meaning="samples in a bundle N; of features, the sharpness of their kernel"
    ),
    Quantity(
        "error_median",
        "error, median",
        meaning="relative Frobenius error against the exact metric, its norm at least 1 % of its median",
    ),
    Quantity("error_p95", "error, 95 %", meaning="its 95th percentile"),
    Quantity(
        "coverage",
        "coverage",
        meaning="part of the metric's entries whose 95 % interval holds the exact one; 0.95 were honest",
    ),
)
_OF_CURVES = (
    Quantity(
        "length",
        "length",
        formula="∫ √(t′ᵀ g t′)",
        meaning="in the fitted metric: how many standard deviations of one sample apart",
    ),
    Quantity("straight_length", "straight length", meaning="the same along the straight line of parameters"),
    Quantity("gap", "gap", meaning="how much shorter than the straight line, as a part of it; resampled together"),
    Quantity("bend", "bend", "sides", meaning="largest distance from the straight line, in sides of the box"),
    Quantity(
        "speed_variation", "speed variation", meaning="standard deviation over mean of the speed; 0 at constant speed"
    ),
)
QUANTITIES = {quantity.name: quantity for quantity in (*_OF_LEVELS, *_OF_CURVES)}
_SPARE = ("speed_variation", "straight_length")
_GREEK = {"alpha": "α", "beta": "β"}
_CONCEPTS = (
    Term(
        "Fisher metric",
        "g(t) = E of the squared gradient of log p(x | t), for one sample x.",
        source="Rao 1945; as a Hessian: Lobashev et al. 2025 (arXiv 2506.10632)",
    ),
    Term(
        "Region",
        "A place where samples change little with the parameters. It is no thermodynamic phase by itself: a "
        "second-order transition may leave no pass, and a coarse grid smooths a sharp one away.",
    ),
)


def page(run: Run) -> Page:
    """The report of a phase map; its tables are the terminal's too.

    Raises:
        InputError: no level is finished.
    """
    from theodolite.experiments.phases.level import Level

    if not run.units:
        raise InputError(f"{run.path} holds no finished map yet; run its command again: {run.info['command']}")
    family, levels = run.info["family"], [Level(run.piece(unit)) for unit in run.units]
    names = [_GREEK.get(name, name) for name in family["parameters"]]
    anchors = [end["name"] for end in family.get("anchors", ())]
    grid = levels[0].grid
    return Page(
        str(family["name"]),
        {
            **{name: _range(levels[0], axis) for axis, name in enumerate(names)},
            "Anchors": ", ".join(anchors),
            "Cells": " × ".join(map(str, grid.shape)),
            "Samples": family.get("samples"),
            "Metric": run.info["metric"],
        },
        _readings(levels[0], family),
        [
            *_maps(run, levels[0], names, dict(zip(anchors, ((0, 0), (1, 0), (0, 1))))),
            _geodesics(run, levels),
            *(_zoom(run, n, level, names) for n, level in enumerate(levels) if n),
            _numbers(levels, by_features=family.get("posterior") == "features"),
        ],
        _method(family, levels[0]),
        [*_CONCEPTS, *(Term(q.label, q.meaning, q.unit, q.formula, q.source, q.name) for q in QUANTITIES.values())],
        kind="phase map",
    )


def _range(level: Level, axis: int) -> str:
    return f"{_signed(level.grid.low[axis])} to {_signed(level.grid.high[axis])}"


def _signed(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}".replace("-", "−")


def _at(point: Any) -> str:
    return ", ".join(_signed(x if abs(x) > 1e-12 else 0, 3) for x in point.tolist())  # a middle is 0 up to rounding


def _readings(level: Level, family: dict[str, Any]) -> list[str]:
    """The result in sentences, and no more than it says."""
    count, ridges = int(level.marks("regions").max()) + 1, level.marks("ridges")
    low, high = family["parameters"]
    where = "of the plane" if family.get("anchors") else f"over {low} and {high}"
    sentences = [f"Ridges of the Fisher metric part the box {where} into {count} regions."]
    if count == 1:
        crests = f"{int(ridges.sum())} of {len(ridges)} cells on crests"
        sentences = [f"No pass parts the box {where}: it is one region, with {crests}."]
    if not family["exponential"]:
        sentences.append(_potential_reading(level))
    width = level.numbers["posterior_width"]["value"]
    if width < 1:
        sentences.append(f"Posteriors are narrower than a cell ({width:.2g}): take a smaller bundle or a finer grid.")
    return sentences


def _potential_reading(level: Level) -> str:
    from theodolite.estimates import NOT_NUMBERS

    residual = level.numbers["codazzi_residual"]
    size, far = residual["value"], residual["value"] + 1.96 * residual["stderr"]
    word = "can nearly have" if size < 0.1 else "cannot quite have" if size < 0.3 else "cannot have"
    unsure = 0.1 <= size < 2 * residual["stderr"] or (size < 0.1 and far > 0.3)
    word = "may or may not have" if unsure or residual["status"] in NOT_NUMBERS else word
    return (
        f"A potential {word} this metric in these parameters (Codazzi residual {number_cell(residual)}): maps, lengths "
        "and regions below are those of the direct metric."
    )


def _maps(run: Run, level: Level, names: Sequence[str], anchors: dict[str, tuple[float, float]]) -> list[Section]:
    """Metric, regions and potential of the first level."""
    family = run.info["family"]
    determinant, errors, regions, potential = _figures(0, level, names, anchors)
    sampled = "what is decoded" if family.get("posterior") == "features" else "a sample"
    resampled = "the residuals of features" if family.get("posterior") == "features" else "the bundles"
    replicates = level.piece.about["replicates"]
    note = "" if family["exponential"] else "These parameters are no natural parameters of an exponential family; see "
    note = note and f"{note}the Codazzi residual and the misfit before reading it as log Z."
    return [
        Section(
            "map",
            "Metric",
            (
                "The logarithm of the determinant of the Fisher metric of one sample: how many parameters can be told "
                "apart in a small area. Dark: many. Colours span all but a hundredth of the cells at either end.",
                "Dots: ridges, where the metric is a maximum across its direction of steepest fall by more than three "
                "standard errors. Lines: geodesics, with their straight lines dotted; grey where their status is not "
                f"ok.{' Diamonds: the anchors.' if anchors else ''}",
                f"Its error is from {replicates} resamples of {resampled}, and from what the grid does not resolve. "
                "Blank: no number.",
            ),
            [determinant, Details("Its standard error", [errors])],
        ),
        Section(
            "regions",
            "Regions",
            (
                "Valleys of the logarithm of the largest eigenvalue, parted where the lowest pass between them stands "
                "above both floors by 0.7 (a metric that doubles) and by three standard errors.",
                f"Below, {sampled} at cells of each region from its floor (left) to its steepest cell (right).",
            ),
            [regions, *_samples(run, 0, level)],
        ),
        Section(
            "potential",
            "Log-partition function",
            (
                "The fitted convex potential, less its best affine function, which no posterior tells. Lines: equal "
                "heights.",
                *([note] if note else []),
            ),
            [potential],
        ),
    ]


def _figures(n: int, level: Level, names: Sequence[str], anchors: dict[str, tuple[float, float]]) -> list[Figure]:
    where = f"over {names[0]} and {names[1]}"

    def figure(name: str, label: str, draw: Any, *more: Any) -> Figure:
        size: Any = 420 if n else 520
        return Figure(
            f"{name}-{n}", f"{label} {where}", lambda: draw(level, names, *more), label if n else "", size=size
        )

    return [
        figure("determinant", "Log-determinant", drawing.determinant, anchors),
        figure("errors", "Standard error of the log-determinant", drawing.errors),
        figure("regions", "Regions", drawing.regions, anchors),
        figure("potential", "Log-partition function", drawing.potential),
    ]


def _samples(run: Run, n: int, level: Level) -> list[Block]:
    """A legend of regions, and a row of pictures each."""
    marks, rows = [], []
    for region, cells in enumerate(level.piece.about["pictured"]):
        share = float((level.marks("regions") == region).double().mean())
        marks.append(
            (drawing.COLOURS[region % len(drawing.COLOURS)], "square", f"region {region}: {share:.0%} of the box")
        )
        pictures = [run.picture(f"level-{n}", f"region-{region}-{place}") for place in range(len(cells))]
        at = [f"sample of region {region} at {_at(level.grid.points[cell])}" for cell in cells]
        rows.append((f"region {region}", [(data_uri(path, 160), text) for path, text in zip(pictures, at)]))
    return [Legend(marks), Pictures(rows, wide=True)]


def _geodesics(run: Run, levels: Sequence[Level]) -> Section:
    family = run.info["family"]
    more = " and what direct metric and potential differ by" if family["exponential"] else ""
    text = (
        "Curves of least energy in the metric in use, between the middles of regions (across) and inside one. Where "
        "the metric is constant they run straight; they bend to cross a ridge where that is cheapest.",
        f"Below the table, eight samples along each. Errors: the spread over resamples of the same curve{more}.",
    )
    curves = [(n, place, curve) for n, level in enumerate(levels) for place, curve in enumerate(level.curves)]
    if not curves:
        return Section("geodesics", "Geodesics", text, [])
    columns = [
        Column("kind", "geodesic"),
        *([Column("level")] if len(levels) > 1 else []),
        Column("ends", "from, to"),
        *(Column(q.name, q.label, q.unit, about=q.name, spare=q.name in _SPARE) for q in _OF_CURVES),
        Column("status"),
    ]
    rows = [_curve_row(curve, [n] if len(levels) > 1 else []) for n, _, curve in curves]
    caption = "Gap: how much shorter than the straight line; bend: largest distance from it, in sides of the box."
    strips = [
        (
            _along(curve),
            [(data_uri(run.picture(f"level-{n}", f"curve-{place}"), 1300), f"samples along {_along(curve)}")],
        )
        for n, place, curve in curves
    ]
    return Section(
        "geodesics",
        "Geodesics",
        text,
        [Table("geodesics", "geodesics", columns, rows, caption), Pictures(strips, wide=True)],
    )


def _along(curve: Curve) -> str:
    return f"{curve.kind}, {_ends(curve)}"


def _ends(curve: Curve) -> str:
    return f"({_at(curve.points[0])}) to ({_at(curve.points[-1])})"


def _curve_row(curve: Curve, level: Sequence[int]) -> Row:
    from theodolite.geodesics.curves import STATUSES

    note = "" if curve.status == "ok" else STATUSES[curve.status]
    numbers = [number_cell(curve.numbers[q.name]) for q in _OF_CURVES]
    return Row([curve.kind, *level, _ends(curve), *numbers, Cell(curve.status, curve.status, note=note)])


def _zoom(run: Run, n: int, level: Level, names: Sequence[str]) -> Section:
    box = ", ".join(f"{name} {_range(level, axis)}" for axis, name in enumerate(names))
    text = (
        f"New samples in a smaller box around the steepest cell: {box}.",
        "A smooth family looks smoother the closer one looks; structure that goes on at every scale would not.",
    )
    return Section("zoom", "Zoom", text, [Figures(_figures(n, level, names, {})), *_samples(run, n, level)])


def _numbers(levels: Sequence[Level], *, by_features: bool) -> Section:
    known = "error_median" in levels[0].numbers
    how = " (JᵀJ of the features, by differences, without noise)" if by_features else ""
    more = f" The family's own exact metric is known here{how}, so the errors are measured." if known else ""
    there = [q for q in _OF_LEVELS if q.name in levels[0].numbers]
    columns = [Column("quantity"), Column("value"), *([Column("zoomed")] if len(levels) > 1 else [])]
    rows = [
        [Cell(q.label, q.name, below=q.unit), *(number_cell(level.numbers.get(q.name)) for level in levels)]
        for q in there
    ]
    table = Table("numbers", "numbers", columns, rows)
    text = f"What decides how far the maps above can be trusted.{more}"
    return Section("numbers", "Numbers", (text,), [table])


def _method(family: dict[str, Any], level: Level) -> list[Facts]:
    exact = family.get("posterior") == "exact"
    posteriors = (
        "The family's own likelihood of every bundle at every cell, under a uniform prior on the box."
        if exact
        else "Of each sample (at most 1500), from how alike its features are to those of all samples: the logarithm of "
        "exp(−N |f − f′|² / 2), regressed on the parameters by local cubics. Features are root mean squares over "
        "entries. The metric is that of unit normal laws around the features."
    )
    direct = "expected observed information by differences of log-posteriors over seven cells"
    direct = direct if exact else "JᵀJ of the regressed features, less what their scatter adds"
    potential = (
        "an input-convex network, a local minimum"
        if family["exponential"]
        else "tensor-product quartic B-splines with a positive definite Hessian, a convex programme on the first 300 "
        "bundles"
    )
    anchors = dict(zip(("(0, 0)", "(1, 0)", "(0, 1)"), (end["name"] for end in family.get("anchors", ()))))
    facts = {key: value for key, value in family.items() if key not in ("anchors", "parameters", "name")}
    return [
        Facts("Family", facts),
        *([Facts("Anchors", anchors)] if anchors else []),
        Facts("Posteriors", {}, posteriors),
        Facts("Metric", {}, f"Direct: {direct}. Potential: {potential}."),
    ]
