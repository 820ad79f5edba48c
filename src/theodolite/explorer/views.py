"""What single views show, ready for JSON: curves with bands, spectra, projections, pairs and phase maps."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.estimates import NOT_NUMBERS
from theodolite.report.density import mean_density

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.experiments.phases.level import Curve, Level
    from theodolite.runs.run import Run

__all__ = ["LATENT", "curves_of", "pairs_of", "phases_of", "projection_of", "spectra_of", "spectrum_sides"]

LATENT = "latent"
"""The array of a unit that is the point at which it was measured."""

MOST_SPECTRA = 2000
"""Spectra that are drawn one by one; of a larger run those at even steps are."""

_AXES = 3
_MOST_FITTED = 2048
"""Latents that a projection is fitted to, and the widest covariance that is formed: 32 MiB in float64."""

_LEAST_POINTS = 3
_MOST_SERIES = 24
"""Curves of one figure: more cannot be told apart by their colours and dashes."""


def packed(values: NDArray[Any]) -> str:
    """An array as base64 of little-endian float32, which JSON holds in a quarter of the room of its digits."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def curves_of(run: Run) -> list[dict[str, Any]]:
    """Every quantity that stands at three or more values of a numeric coordinate, a series for each of the others.

    Returns:
        By quantity and coordinate: `series` with a label and points ``[x, value, low, high, is number]``, sorted by x.
    """
    kinds = run.experiment.coordinates
    axes = [name for name, kind in kinds.items() if kind in (float, int) and _varies(run, name)]
    if not axes:
        return []
    rows = run.table.to_pylist()
    by_quantity: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_quantity.setdefault(row["quantity"], []).append(row)
    curves = []
    for quantity in run.quantities:
        for axis in axes:
            # Coordinates that go along with this one (`t` beside `tau`) tell its points apart and not its series.
            others = [name for name in kinds if name not in axes]
            own = by_quantity[quantity]
            others += [name for name in axes if name != axis and not _follows(own, others, axis, name)]
            series = _series(by_quantity[quantity], axis, others)
            if series:
                described = run.words(quantity)
                shown = series[:_MOST_SERIES]
                about = {
                    "quantity": quantity,
                    "label": described.label,
                    "unit": described.unit,
                    "meaning": described.meaning,
                }
                curves.append(
                    {**about, "x": axis, "log": _is_wide(shown), "series": shown, "left": len(series) - len(shown)}
                )
    return curves


def _varies(run: Run, name: str) -> bool:
    return len({*run.table[name].unique().to_pylist()} - {None}) >= _LEAST_POINTS


def _follows(rows: Iterable[Mapping[str, Any]], groups: Sequence[str], axis: str, other: str) -> bool:
    """Whether, in every group of rows, the value on the axis decides that on the other one, which varies with it."""
    pairs = {(*(row[name] for name in groups), row[axis], row[other]) for row in rows if row[axis] is not None}
    return len(pairs) == len({pair[:-1] for pair in pairs}) and len({pair[-1] for pair in pairs}) > 1


def _series(rows: Iterable[Mapping[str, Any]], axis: str, others: Sequence[str]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[list[Any]]] = {}
    for row in rows:
        if row[axis] is not None and row["value"] is not None:
            shown = [_plain(row[name]) for name in ("value", "low", "high")]
            key = tuple(row[name] for name in others)
            groups.setdefault(key, []).append([_plain(row[axis]), *shown, int(row["status"] not in NOT_NUMBERS)])
    complete = {key: points for key, points in groups.items() if len({point[0] for point in points}) >= _LEAST_POINTS}
    telling = [n for n in range(len(others)) if len({key[n] for key in complete}) > 1]
    series = []
    for key, points in complete.items():
        parts = dict.fromkeys(_word(others[n], key[n]) for n in telling if key[n] is not None)  # each once
        series.append({"label": ", ".join(parts), "points": sorted(points, key=lambda point: point[0])})
    return series


def _word(name: str, value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{name} {value:.3g}"


def _plain(value: Any) -> Any:
    return None if value is None or value != value or abs(value) == float("inf") else value


def _is_wide(series: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the axis is positive and spans more than a factor of fifty, which only a logarithm shows evenly."""
    xs = [point[0] for entry in series for point in entry["points"]]
    return min(xs) > 0 and max(xs) > 50 * min(xs)


def spectrum_sides(names: Iterable[str]) -> list[str]:
    """The beginnings of names of arrays that hold a spectrum: ``spectrum``, or one of each side of a comparison."""
    return sorted(
        name.removesuffix("/nodes") for name in names if name.startswith("spectrum") and name.endswith("/nodes")
    )


def spectra_of(run: Run, units: Sequence[str]) -> dict[str, Any]:
    """The density of log10 singular values of units that have a spectrum, and its mean with a 95 % band, by side."""
    listed = range(0, len(units), -(-len(units) // MOST_SPECTRA) or 1)
    stored = [(index, run.numpy_arrays(units[index])) for index in listed]
    sides: dict[str, Any] = {}
    for side in sorted({side for _, arrays in stored for side in spectrum_sides(arrays)}):
        stored_densities = [
            (index, arrays) for index, arrays in stored if {f"{side}/nodes", f"{side}/weights"} <= arrays.keys()
        ]
        density = mean_density(
            *([arrays[f"{side}/{what}"] for _, arrays in stored_densities] for what in ("nodes", "weights"))
        )
        if density is not None:
            sides[side] = {
                "grid": density.grid.tolist(),
                "mean": density.mean.tolist(),
                "margin": None if density.margin is None else density.margin.tolist(),
                "nullShare": density.null_share,
                "bandwidth": density.bandwidth,
                "rows": [stored_densities[index][0] for index in density.kept],
                "curves": packed(density.curves),
            }
    return {"of": len(units), "drawn": len(stored), "sides": sides}


def projection_of(run: Run, units: Sequence[str]) -> dict[str, Any]:
    """The stored latents on their first three principal axes, and the share of variance of each.

    Latents that are missing, or of another shape than the first, have no coordinates (NaN). Beyond 2,048 dimensions the
    axes are those of at most 2,048 latents at even steps.
    """
    latents = [run.numpy_arrays(unit).get(LATENT) for unit in units]
    shape = next((latent.shape for latent in latents if latent is not None), None)
    rows = [n for n, latent in enumerate(latents) if latent is not None and latent.shape == shape]
    if shape is None or len(rows) < 2:
        return {"axes": 0, "share": [], "points": "", "shape": [], "fitted": 0}
    X = np.stack([np.asarray(latents[n], dtype=np.float32).ravel() for n in rows])
    X = np.nan_to_num(X - X.mean(0, dtype=np.float64).astype(np.float32))
    axes, share, fitted = _principal(X)
    points = np.full((len(units), _AXES), np.nan, dtype=np.float32)
    points[rows, : len(share)] = X @ axes.T.astype(np.float32)
    return {"axes": len(share), "share": share, "points": packed(points), "shape": [*shape], "fitted": fitted}


def _principal(X: NDArray[np.float32]) -> tuple[NDArray[np.float64], list[float], int]:
    """Principal axes of centred rows, their shares of variance, and how many rows they are fitted to."""
    if X.shape[1] <= _MOST_FITTED:
        variances, vectors = np.linalg.eigh(X.T.astype(np.float64) @ X)
        axes, fitted = vectors[:, ::-1].T, len(X)
        variances = variances[::-1]
    else:
        part = X[:: -(-len(X) // _MOST_FITTED)].astype(np.float64)
        _, singular, axes = np.linalg.svd(part, full_matrices=False)
        variances, fitted = singular**2, len(part)
    count = min(_AXES, len(X) - 1, len(variances))
    total = max(float(variances.clip(0).sum()), np.finfo(float).tiny)
    return axes[:count], [float(max(v, 0) / total) for v in variances[:count]], fitted


def pairs_of(run: Run) -> list[dict[str, Any]]:
    """Of a comparison: every quantity with its first, its second and its difference, the surest difference first."""
    grouped: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in run.table.to_pylist():
        if row["part"] and row["tau"] is None:
            grouped.setdefault((row["quantity"], row["map"], row["latents"], row["where"]), {})[row["part"]] = row
    pairs = []
    for (quantity, *at), parts in grouped.items():
        if {"first", "second", "difference"} <= parts.keys():
            described = run.words(quantity)
            where = ", ".join(str(part) for part in at if part and part != "own")
            shown = {part: [_plain(row[name]) for name in ("value", "low", "high")] for part, row in parts.items()}
            shown |= {"status": parts["difference"]["status"], "n": parts["difference"]["n"]}
            pairs.append(
                {"quantity": quantity, "label": described.label, "unit": described.unit, "where": where, **shown}
            )
    return sorted(pairs, key=lambda pair: -_sureness(pair["difference"]))


def _sureness(interval: Sequence[Any]) -> float:
    """How many half-widths of its interval a difference is away from zero."""
    value, low, high = interval
    if None in (value, low, high):
        return -1.0
    return abs(value) / max((high - low) / 2, 1e-300)


def phases_of(run: Run) -> dict[str, Any]:
    """The fields of every level of a phase map over its grid, its ridges, regions and geodesics."""
    from theodolite.experiments.phases.level import Level

    family = run.info["family"]
    levels = [{"unit": unit, **_level(Level(run.piece(unit)))} for unit in run.units]
    return {"parameters": [str(name) for name in family["parameters"]], "name": str(family["name"]), "levels": levels}


def _level(level: Level) -> dict[str, Any]:
    grid = level.grid
    return {
        "shape": [*grid.shape],
        "low": [*map(float, grid.low)],
        "high": [*map(float, grid.high)],
        "points": packed(grid.points.double().numpy()),
        "fields": {name: _field(level.field(name)) for name in ("log_determinant", "potential")},
        "regions": level.marks("regions").tolist(),
        "ridges": level.marks("ridges").tolist(),
        "curves": [_geodesic(curve) for curve in level.curves],
    }


def _field(estimate: Estimate) -> dict[str, Any]:
    hidden = np.array([status in NOT_NUMBERS for status in estimate.statuses])
    parts = {"value": estimate.value, "stderr": estimate.stderr}
    shown = {name: packed(np.where(hidden, np.nan, part.numpy().ravel())) for name, part in parts.items()}
    return {**shown, "status": [*estimate.statuses]}


def _geodesic(curve: Curve) -> dict[str, Any]:
    numbers = {name: curve.numbers[name] for name in ("length", "gap")}
    shown = {name: [_plain(row[key]) for key in ("value", "stderr")] for name, row in numbers.items()}
    return {"kind": curve.kind, "status": curve.status, "points": curve.points.double().tolist(), **shown}
