"""`Traversed`: what a traverse found, read from its run folder, and the tables that are derived from its points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from theodolite.errors import InputError, path_of
from theodolite.estimates import NOT_NUMBERS, worse
from theodolite.surveys.store import parquet, read_info_of, read_parquet, read_rows, write_atomically

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AXES", "HEADLINES", "Traversed", "read_traverse", "summarised", "write_tables"]

Row = dict[str, Any]

HEADLINES = ("local_scaling", "local_rank", "local_complexity_fraction")
"""What reports draw: psi, nu, and delta as a part of all units, which does not depend on the network's size."""

AXES: Mapping[str, tuple[tuple[str, pa.DataType], ...]] = {
    "plane": (("anchor", pa.string()), ("a", pa.float64()), ("b", pa.float64())),
    "denoising": (
        ("guidance", pa.float64()),
        ("side", pa.string()),
        ("output", pa.string()),
        ("step", pa.int64()),
        ("level", pa.float64()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
    ),
    "corruptions": (
        ("corruption", pa.string()),
        ("severity", pa.int64()),
        ("image", pa.string()),
        ("source", pa.string()),
    ),
}
"""Coordinates of a point, by what is traversed."""

_AVERAGED = ("seed", "prompt", "image", "source")
"""Coordinates that a summary takes means over."""

_NUMBER = (
    ("measure", pa.string()),
    ("quantity", pa.string()),
    *((name, pa.float64()) for name in ("value", "stderr", "low", "high")),
    ("passes", pa.int64()),
    ("n", pa.int64()),
    ("status", pa.string()),
)

_JUDGED = (*HEADLINES, "local_scaling_floored", "local_rank_p2", "score_norm", "condition_norm")
"""What AUROC is computed of."""

_LEAST_SHARE = 0.9
"""Of the samples of a mean, how many must have a number."""

_ROUNDING = 1e-6
"""Relative differences below this are rounding: values are then the same."""


@dataclass(frozen=True)
class Traversed:
    """The points of a traverse and what they come to.

    Attributes:
        path: the run folder.
        info: the content of `run.json`, ``interrupted`` where nothing writes to it any more.
        points: one dictionary a point and quantity: its coordinates (`AXES`), then the columns of a survey.
    """

    path: Path
    info: dict[str, Any]
    points: tuple[Row, ...]

    @property
    def over(self) -> str:
        """``plane``, ``denoising`` or ``corruptions``."""
        return str(self.info["over"])

    @cached_property
    def rows(self) -> list[Row]:
        """What the points come to: the rows of `traverse.parquet`.

        Coordinates, then `measure`, `quantity`, `value`, `stderr`, `low` and `high` (the 95 % interval), `passes`, `n`
        and `status`. Measures: of a plane ``cell`` and ``anchor``; of a trajectory ``mean`` over seeds, ``difference``
        (unusual less normal, paired by seed) and ``auroc`` (of unusual against normal); of corruptions ``clean``,
        ``change`` (paired), ``sensitivity`` (over the spread of the clean images) and ``rank_correlation`` (with
        severity). The derived table is read where it is whole, and made again from the points where it is not.
        """
        table = self.path / "traverse.parquet"
        if self.info["status"] != "running" and table.is_file():
            return list(read_parquet(table).to_pylist())
        return list(summarised(self.over, self.points))

    def chosen(self, **values: Any) -> list[Row]:
        """The rows of the summary with these values in their columns."""
        return [row for row in self.rows if all(row[name] == value for name, value in values.items())]


def read_traverse(path: str | Path) -> Traversed:
    """A traverse from its run folder; of an interrupted one what is finished.

    Raises:
        InputError: no run folder, that of another kind of run, or one without a finished unit.
    """
    folder = path_of(path, "the run folder")
    info = read_info_of(folder, "traverse", "a traverse")
    points = tuple(_points(folder))
    if not points:
        raise InputError(f"{folder} holds nothing finished yet; run its command again: {info['command']}")
    return Traversed(folder, info, points)


def write_tables(folder: Path, info: dict[str, Any]) -> None:
    """Write `design.parquet` and `traverse.parquet` from what is finished."""
    found = Traversed(folder, info, tuple(_points(folder)))
    axes = AXES[found.over]
    kept = [axis for axis in axes if axis[0] not in _AVERAGED]
    design = {
        row["sample"]: {name: row[name] for name in ("sample", *(axis[0] for axis in axes))} for row in found.points
    }
    tables = {
        "design": pa.Table.from_pylist([*design.values()], pa.schema([("sample", pa.string()), *axes])),
        "traverse": pa.Table.from_pylist(list(summarised(found.over, found.points)), pa.schema([*kept, *_NUMBER])),
    }
    for name, table in tables.items():
        write_atomically(folder / f"{name}.parquet", [parquet(table)])


def summarised(over: str, points: Iterable[Row]) -> Iterator[Row]:
    """The rows of the summary, from points with coordinates."""
    yield from _SUMMARIES[over](list(points))


def _points(folder: Path) -> Iterator[Row]:
    table, notes = read_rows(folder)
    places = {sample: coordinates for note in notes.values() for sample, coordinates in note["points"].items()}
    for row in table.to_pylist():
        yield {**places[row["sample"]], **row}


def _plane(points: list[Row]) -> Iterator[Row]:
    for point in points:
        reach = 1.96 * point["stderr"]
        low, high = point["value"] - reach, point["value"] + reach
        kept = {name: point[name] for name in ("anchor", "a", "b", "quantity", "value", "stderr")}
        kept |= {name: point[name] for name in ("passes", "n", "status")}
        yield {**kept, "measure": "cell" if point["anchor"] is None else "anchor", "low": low, "high": high}


def _denoising(points: list[Row]) -> Iterator[Row]:
    axes = ("guidance", "output", "step", "level", "quantity")
    for key, group in _grouped(points, axes):
        sides = {side: {row["seed"]: row for row in rows} for (side,), rows in _grouped(group, ("side",))}
        for side, rows in sides.items():
            yield _mean({**key, "side": side, "measure": "mean"}, [*rows.values()])
        if {"normal", "unusual"} <= sides.keys():
            shared = [seed for seed in sides["normal"] if seed in sides["unusual"]]
            pairs = [(sides["normal"][seed], sides["unusual"][seed]) for seed in shared]
            yield _mean({**key, "side": None, "measure": "difference"}, [_less(*pair) for pair in pairs])
            if key["quantity"] in _JUDGED:
                yield _auroc({**key, "side": None, "measure": "auroc"}, pairs)


def _corruptions(points: list[Row]) -> Iterator[Row]:
    for (quantity,), group in _grouped(points, ("quantity",)):
        images = {image: _by_corruption(rows) for (image,), rows in _grouped(group, ("image",))}
        clean = [rows["clean", 0] for rows in images.values() if ("clean", 0) in rows]
        spread = _spread(clean)
        key: Row = {"quantity": quantity}
        yield _mean({**key, "corruption": None, "severity": 0, "measure": "clean"}, clean)
        for name in dict.fromkeys(row["corruption"] for row in group if row["severity"]):
            yield from _corruption({**key, "corruption": name}, images, name, spread)


def _by_corruption(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    return {(row["corruption"] or "clean", row["severity"]): row for row in rows}


def _corruption(
    key: Row, images: Mapping[str, Mapping[tuple[str, int], Row]], name: str, spread: tuple[float, int]
) -> Iterator[Row]:
    """Changes at every severity, in units of the clean images' spread too, and how they follow severity."""
    severities = sorted({severity for rows in images.values() for one, severity in rows if one == name})
    for severity in severities:
        pairs = [(rows["clean", 0], rows[name, severity]) for rows in images.values() if (name, severity) in rows]
        change = _mean({**key, "severity": severity, "measure": "change"}, [_less(*pair) for pair in pairs])
        yield change
        yield _in_units(change, *spread)
    whole = [
        [rows["clean", 0], *(rows[name, s] for s in severities)]
        for rows in images.values()
        if (name, severities[-1]) in rows
    ]
    yield _rank_correlation({**key, "severity": None, "measure": "rank_correlation"}, whole)


def _rank_correlation(key: Row, ladders: Sequence[Sequence[Row]]) -> Row:
    """Mean over sources of each image's Spearman correlation with severity.

    Correlations that happen to agree are not known better than their step: its variance `step² / 12` is added.
    """
    import torch

    from theodolite.estimates import rank_correlation

    found = []
    for ladder in ladders:
        values = torch.tensor([_number(row) for row in ladder], dtype=torch.float64)
        told = float(values.max() - values.min()) > _ROUNDING * float(values.abs().max())  # False where one is NaN
        r = float(rank_correlation(values, torch.arange(len(ladder)).double())) if told else math.nan
        found.append({**ladder[0], "value": r, "status": "ok", "passes": sum(row["passes"] for row in ladder)})
    steps = len(ladders[0]) if ladders else 2
    step = 12 / (steps * (steps**2 - 1))  # twice the least change of the sum of squared rank differences
    return _mean(key, found, floor=step**2 / 12, within=(-1.0, 1.0))


def _in_units(change: Row, spread: float, groups: int) -> Row:
    """A change over the standard deviation of the clean images, whose own error is `s / sqrt(2 (G - 1))`."""
    row = {**change, "measure": "sensitivity"}
    if not spread > 0 or not math.isfinite(change["value"]):
        return {**row, **_nothing("undefined")}
    value = change["value"] / spread
    stderr = math.hypot(change["stderr"] / spread, value / math.sqrt(2 * (groups - 1)))
    return {**row, "value": value, "stderr": stderr, "low": value - 1.96 * stderr, "high": value + 1.96 * stderr}


def _spread(clean: Sequence[Row]) -> tuple[float, int]:
    """Standard deviation of clean images over sources, and how many sources; zero where it is rounding."""
    values = _by_source(clean)
    if len(values) < 2:
        return math.nan, len(values)
    spread = float(values.std())
    return (spread if spread > _ROUNDING * float(values.abs().max()) else 0.0), len(values)


def _mean(
    key: Row, rows: Sequence[Row], floor: float = 0.0, within: tuple[float, float] = (-math.inf, math.inf)
) -> Row:
    """Mean over seeds or source photographs with Student's interval; samples without a number are left out."""
    from theodolite.estimates import student_mean

    passes = max((row["passes"] for row in rows), default=0)
    values = _by_source(rows)
    head = {**key, "passes": passes, "n": len(values)}
    usable = [row for row in rows if math.isfinite(_number(row))]
    if len(values) < 2 or len(usable) < _LEAST_SHARE * len(rows):
        return {**head, **_nothing("undetermined" if usable else "undefined")}
    mean, error = student_mean(values)
    value, stderr = float(mean), math.sqrt(float(error) ** 2 + floor / len(values))
    low, high = (min(max(value + side * 1.96 * stderr, within[0]), within[1]) for side in (-1, 1))
    status = reduce(worse, (row["status"] for row in usable), "ok")
    return {**head, "value": value, "stderr": stderr, "low": low, "high": high, "status": status}


def _auroc(key: Row, pairs: Sequence[tuple[Row, Row]]) -> Row:
    """How well a quantity tells unusual conditions from normal ones, pairs drawn together."""
    from theodolite.detection import evaluate

    kept = [pair for pair in pairs if all(math.isfinite(_number(row)) for row in pair)]
    head = {**key, "passes": max((row["passes"] for pair in pairs for row in pair), default=0), "n": len(kept)}
    if len(kept) < 2 or len(kept) < _LEAST_SHARE * len(pairs):
        return {**head, **_nothing("undetermined")}
    scores = [_number(pair[side]) for side in (0, 1) for pair in kept]
    labels = [0] * len(kept) + [1] * len(kept)
    table = evaluate(scores, labels, pairs=[*range(len(kept))] * 2, resamples=1000)
    row = table[table.names[0]]
    stderr = float(table.auroc.stderr[0])
    ends = {"low": row["auroc_low"], "high": row["auroc_high"]}
    return {**head, "value": row["auroc"], "stderr": stderr, **ends, "status": row["status"]}


def _less(first: Row, second: Row) -> Row:
    """The second point less the first."""
    value = _number(second) - _number(first)
    passes = first["passes"] + second["passes"]
    return {**second, "value": value, "passes": passes, "status": worse(first["status"], second["status"])}


def _by_source(rows: Sequence[Row]) -> Tensor:
    """The mean of each source, `(G,)`; every seed is its own."""
    import torch

    values: dict[Any, list[float]] = {}
    for row in rows:
        if math.isfinite(_number(row)):
            values.setdefault(row["source"] if "source" in row else row["seed"], []).append(_number(row))
    return torch.tensor([sum(own) / len(own) for own in values.values()], dtype=torch.float64)


def _number(row: Row) -> float:
    """The value, NaN where it is no number to rank by."""
    return math.nan if row["status"] in NOT_NUMBERS or row["value"] is None else float(row["value"])


def _nothing(status: str) -> Row:
    return {**dict.fromkeys(("value", "stderr", "low", "high"), math.nan), "status": status}


def _grouped(rows: Iterable[Row], axes: Sequence[str]) -> Iterator[tuple[Any, list[Row]]]:
    """Rows with the same coordinates: those, as a dictionary of several or a tuple of one, and the rows."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    for key, group in found.items():
        yield (key if len(axes) == 1 else dict(zip(axes, key))), group


_SUMMARIES: Mapping[str, Callable[[list[Row]], Iterator[Row]]] = {
    "plane": _plane,
    "denoising": _denoising,
    "corruptions": _corruptions,
}
