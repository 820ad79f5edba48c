"""The page of a phase map: fields over the box, regions with samples, geodesics, and how far to trust them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.data.plane import CORNERS
from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS
from theodolite.experiments.phases.boundaries import QUANTITIES as OF_BOUNDARIES
from theodolite.experiments.phases.level import COLOURS, Drawing, Level
from theodolite.families.family_map import QUANTITIES as OF_MAPS
from theodolite.families.family_map import method_of
from theodolite.geodesics.curves import STATUSES
from theodolite.geodesics.phase_curves import QUANTITIES as OF_CURVES
from theodolite.report import page as kit
from theodolite.report.pictures import data_uri
from theodolite.report.rounding import typeset
from theodolite.report.series import curves_of, legend_of, series_of
from theodolite.runs.rows import where

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["page"]

_SPARE = ("speed_variation", "straight_length")
_GREEK = {"alpha": "α", "beta": "β"}
_CONCEPTS = (
    kit.Term(
        "Fisher metric",
        "g(t) = E of the squared gradient of log p(x | t), for one sample x.",
        source="Rao 1945; as a Hessian: Lobashev et al. 2025 (arXiv 2506.10632)",
    ),
    kit.Term(
        "Region",
        "A place where samples change little with the parameters. It is no thermodynamic phase by itself: a "
        "second-order transition may leave no pass, and a coarse grid smooths a sharp one away.",
    ),
)


def page(run: Run) -> kit.Page:
    """The report of a phase map; its tables are the terminal's too.

    Raises:
        InputError: no level is finished.
    """
    if not run.units:
        raise InputError(f"{run.path} holds no finished map yet; run its command again: {run.info['command']}")
    family, levels = run.info["family"], [Level(run.piece(unit)) for unit in run.units]
    first, second = (_GREEK.get(name, name) for name in family["parameters"])
    anchors = [end["name"] for end in family.get("anchors", ())]
    named = dict(zip(anchors, CORNERS))
    drawings = [Drawing(level, (first, second), {} if n else named) for n, level in enumerate(levels)]
    facts = {
        **_box(drawings[0]),
        "Anchors": ", ".join(anchors),
        "Cells": " × ".join(map(str, levels[0].grid.shape)),
        "Samples": family.get("samples"),
        "Metric": run.info["metric"],
    }
    sections = [
        *_maps(run, drawings[0]),
        _geodesics(run, levels),
        *_boundaries(levels),
        *(_zoom(run, drawing) for drawing in drawings[1:]),
        _numbers(levels, by_features=family.get("posterior") == "features"),
    ]
    followed = OF_BOUNDARIES if levels[0].boundaries else ()
    glossary, readings = [*_CONCEPTS, *kit.terms_of((*OF_MAPS, *OF_CURVES, *followed))], _readings(levels[0], family)
    return kit.Page(family["name"], facts, readings, sections, _method(family), glossary, kind="phase map")


def _box(drawing: Drawing) -> dict[str, str]:
    """The range of each parameter."""
    grid = drawing.level.grid
    ends = [[typeset(f"{end:.4g}") for end in both] for both in zip(grid.low, grid.high)]
    return {name: f"{low} to {high}" for name, (low, high) in zip(drawing.names, ends)}


def _at(point: Any) -> str:
    middle = 1e-12  # of a box around zero: 0 up to rounding
    return ", ".join(typeset(f"{x if abs(x) > middle else 0:.3g}") for x in point.tolist())


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
    residual = level.numbers["codazzi_residual"]
    size, far = residual["value"], residual["value"] + 1.96 * residual["stderr"]
    word = "can nearly have" if size < 0.1 else "cannot quite have" if size < 0.3 else "cannot have"
    unsure = 0.1 <= size < 2 * residual["stderr"] or (size < 0.1 and far > 0.3)
    word = "may or may not have" if unsure or residual["status"] in NOT_NUMBERS else word
    return (
        f"A potential {word} this metric in these parameters (Codazzi residual {kit.cell(residual)}): maps, lengths "
        "and regions below are those of the direct metric."
    )


def _maps(run: Run, drawing: Drawing) -> list[kit.Section]:
    """Metric, regions and potential of the first level."""
    family = run.info["family"]
    determinant, errors, regions, potential = _figures(drawing, 0)
    sampled, resampled = "a sample", "the bundles"
    if family.get("posterior") == "features":
        sampled, resampled = "what is decoded", "the residuals of features"
    metric = (
        "The logarithm of the determinant of the Fisher metric of one sample: how many parameters can be told apart in "
        "a small area. Dark: many. Colours span all but a hundredth of the cells at either end.",
        "Dots: ridges, where the metric is a maximum across its direction of steepest fall by more than three standard "
        "errors. Lines: geodesics, with their straight lines dotted; grey where their status is not "
        f"ok.{' Diamonds: the anchors.' if drawing.anchors else ''}",
        f"Its error is from {drawing.level.about['replicates']} resamples of {resampled}, and from what the grid does "
        "not resolve. Blank: no number.",
    )
    valleys = (
        "Valleys of the logarithm of the largest eigenvalue, parted where the lowest pass between them stands above "
        "both floors by 0.7 (a metric that doubles) and by three standard errors.",
        f"Below, {sampled} at cells of each region from its floor (left) to its steepest cell (right).",
    )
    surface = [
        "The fitted convex potential, less its best affine function, which no posterior tells. Lines: equal heights."
    ]
    if not family["exponential"]:
        surface.append(
            "These parameters are no natural parameters of an exponential family; see the Codazzi residual and the "
            "misfit before reading it as log Z."
        )
    return [
        kit.Section("map", "Metric", metric, [determinant, kit.Details("Its standard error", [errors])]),
        kit.Section("regions", "Regions", valleys, [regions, *_samples(run, 0, drawing.level)]),
        kit.Section("potential", "Log-partition function", surface, [potential]),
    ]


def _figures(drawing: Drawing, n: int) -> list[kit.Figure]:
    """Those of a level; the titles of the first are those of its sections."""
    where = f"over {' and '.join(drawing.names)}"
    figures = {
        "determinant": ("Log-determinant", drawing.determinant),
        "errors": ("Standard error of the log-determinant", drawing.errors),
        "regions": ("Regions", drawing.regions),
        "potential": ("Log-partition function", drawing.potential),
    }
    return [
        kit.Figure(f"{name}-{n}", f"{label} {where}", draw, label if n else "", size=420 if n else 520)
        for name, (label, draw) in figures.items()
    ]


def _samples(run: Run, n: int, level: Level) -> list[kit.Block]:
    """A legend of regions, and a row of pictures each."""
    marks, rows = [], []
    for region, cells in enumerate(level.about["pictured"]):
        share = float((level.marks("regions") == region).double().mean())
        marks.append((COLOURS[region % len(COLOURS)], "square", f"region {region}: {share:.0%} of the box"))
        pictures = [data_uri(run.picture(f"level-{n}", f"region-{region}-{k}"), 160) for k in range(len(cells))]
        texts = [f"sample of region {region} at {_at(level.grid.points[cell])}" for cell in cells]
        rows.append((f"region {region}", [*zip(pictures, texts)]))
    return [kit.Legend(marks), kit.Pictures(rows, wide=True)]


def _geodesics(run: Run, levels: Sequence[Level]) -> kit.Section:
    more = " and what direct metric and potential differ by" if run.info["family"]["exponential"] else ""
    text = (
        "Curves of least energy in the metric in use, between the middles of regions (across) and inside one. Where "
        "the metric is constant they run straight; they bend to cross a ridge where that is cheapest.",
        f"Below the table, eight samples along each. Errors: the spread over resamples of the same curve{more}.",
    )
    rows: list[list[Any]] = []
    strips = []
    for n, level in enumerate(levels):
        for k, curve in enumerate(level.curves):
            ends = f"({_at(curve.points[0])}) to ({_at(curve.points[-1])})"
            status = kit.Cell(curve.status, curve.status, note="" if curve.status == "ok" else STATUSES[curve.status])
            numbers = [curve.numbers[quantity.name] for quantity in OF_CURVES]
            rows.append([curve.kind, *([n] if len(levels) > 1 else []), ends, *numbers, status])
            picture, name = data_uri(run.picture(f"level-{n}", f"curve-{k}"), 1300), f"{curve.kind}, {ends}"
            strips.append((name, [(picture, f"samples along {name}")]))
    columns = [
        kit.Column("kind", "geodesic"),
        *([kit.Column("level")] if len(levels) > 1 else []),
        kit.Column("ends", "from, to"),
        *kit.columns_of(OF_CURVES, _SPARE),
        kit.Column("status"),
    ]
    caption = "Gap: how much shorter than the straight line; bend: largest distance from it, in sides of the box."
    table = kit.Table("geodesics", "geodesics", columns, rows, caption)
    return kit.Section("geodesics", "Geodesics", text, [table, kit.Pictures(strips, wide=True)] if rows else [])


def _boundaries(levels: Sequence[Level]) -> list[kit.Section]:
    """How steep the map is across boundaries at every scale, and their dimension; nothing where none was followed."""
    followed = [(n, k, rows) for n, level in enumerate(levels) for k, rows in level.boundaries.items()]
    if not followed:
        return []
    names = {
        f"{n}-{k}": f"level {n}, {rows[0]['kind']}" if len(levels) > 1 else rows[0]["kind"] for n, k, rows in followed
    }
    series = series_of({label: key for key, label in names.items()})
    of = {f"{n}-{k}": {row["quantity"]: row for row in rows} for n, k, rows in followed}
    slopes = {f"{n}-{k}": where(rows, quantity="boundary_slope") for n, k, rows in followed}
    options: dict[str, Any] = {"x": "scale", "across": "distance of neighbours", "up": "slope", "logarithmic": True}
    figure = curves_of("boundaries", "Slope", series, lambda item: slopes[item.key], marked=True, **options)
    shown = ("boundary_constant", "boundary_exponent")
    rows = [[item.cell, *(of[item.key].get(name) for name in shown)] for item in series]
    words = {quantity.name: quantity for quantity in OF_BOUNDARIES}
    columns = [kit.Column("boundary"), *kit.columns_of(words[name] for name in shown)]
    dimensions = [level.numbers.get("boundary_dimension") for level in levels]
    told = ["boundaries of the level", *(kit.interval_cell(row) for row in dimensions)]
    heads = [kit.Column("dimension"), *(kit.Column(f"level_{n}", f"level {n}") for n in range(len(levels)))]
    text = (
        "Where the map is steepest across the boundary of two regions, followed to smaller and smaller distances: the "
        "slope of a smooth map settles at its Lipschitz constant, that of a jump grows as one over the distance.",
        "The dimension is of all boundaries of a level: 1 for smooth curves. With intervals of 95 %.",
    )
    tables: list[kit.Block] = [
        kit.Table("boundaries", "boundaries between regions", columns, rows),
        kit.Table("dimension", "dimension of the boundaries", heads, [told]),
    ]
    return [kit.Section("boundaries", "Boundaries", text, [legend_of(series), figure, *tables])]


def _zoom(run: Run, drawing: Drawing) -> kit.Section:
    box = ", ".join(f"{name} {ends}" for name, ends in _box(drawing).items())
    text = (
        f"New samples in a smaller box around the steepest cell: {box}.",
        "A smooth family looks smoother the closer one looks; structure that goes on at every scale would not.",
    )
    return kit.Section("zoom", "Zoom", text, [kit.Figures(_figures(drawing, 1)), *_samples(run, 1, drawing.level)])


def _numbers(levels: Sequence[Level], *, by_features: bool) -> kit.Section:
    first = levels[0].numbers
    how = " (JᵀJ of the features, by differences, without noise)" if by_features else ""
    more = f" The family's own exact metric is known here{how}, so the errors are measured."
    text = f"What decides how far the maps above can be trusted.{more if 'error_median' in first else ''}"
    measured = [quantity for quantity in OF_MAPS if quantity.name in first]
    columns = dict(zip(("value", "zoomed"), (level.numbers for level in levels)))
    return kit.Section(
        "numbers", "Numbers", (text,), [kit.Table.of_quantities("numbers", "numbers", measured, columns)]
    )


def _method(family: Mapping[str, Any]) -> list[kit.Facts]:
    exact = family.get("posterior") == "exact"
    anchors = {f"({a:g}, {b:g})": end["name"] for (a, b), end in zip(CORNERS, family.get("anchors", ()))}
    facts = {key: value for key, value in family.items() if key not in ("anchors", "parameters", "name")}
    return [
        kit.Facts("Family", facts),
        *([kit.Facts("Anchors", anchors)] if anchors else []),
        *(
            kit.Facts(title, {}, text)
            for title, text in method_of(exponential=family["exponential"], exact=exact).items()
        ),
    ]
