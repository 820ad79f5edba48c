"""A traverse in words and tables: what its numbers are called, and the tables that page and terminal share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.report.rounding import shown

if TYPE_CHECKING:
    from theodolite.surveys.traversed import Traversed

__all__ = ["LABELS", "Table", "level_text", "readings", "tables"]

Row = Mapping[str, Any]

LABELS = {
    "local_scaling": "ψ",
    "local_scaling_floored": "ψ, floored",
    "local_rank": "ν",
    "local_rank_p2": "ν, p = 2",
    "local_complexity": "δ",
    "local_complexity_fraction": "δ / units",
    "null_dimension": "null dimension",
    "reconstruction_error": "reconstruction error",
    "pixel_energy": "pixel energy",
    "score_norm": "norm of the score",
    "condition_norm": "shift by the condition",
}
"""What the quantities of a traverse are called."""

_SHOWN_LEVELS = 4


class Table(NamedTuple):
    """A table as text.

    Attributes:
        title: in small letters.
        columns: the first names the rows.
        rows: of cells.
        caption: what to know.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    caption: str = ""


def tables(found: Traversed) -> list[Table]:
    """The tables of a traverse."""
    return list(_TABLES[found.over](found))


def readings(found: Traversed) -> list[str]:
    """The result in sentences, and no more than it says."""
    return list(_READINGS[found.over](found))


def level_text(level: float) -> str:
    """A noise level."""
    return f"σ = {level:.2g}"


def _plane_tables(found: Traversed) -> Iterator[Table]:
    cells, anchors = _by_quantity(found.chosen(measure="cell")), _by_quantity(found.chosen(measure="anchor"))
    names = [anchor["name"] for anchor in found.info["design"]["anchors"]]
    rows = []
    for name in (name for name in LABELS if name in cells):
        values = _finite(cells[name])
        ends = [_plain(one) for one in ((sum(values) / len(values), min(values), max(values)) if values else ())]
        rows.append((LABELS[name], *(_cell(row) for row in anchors.get(name, ())), *(ends or ["–"] * 3)))
    caption = "Anchors with the error of one point; mean, least and most over the cells of the plane."
    yield Table("over the plane", ("", *names, "mean", "least", "most"), rows, caption)


def _plane_readings(found: Traversed) -> Iterator[str]:
    cells = _by_quantity(found.chosen(measure="cell"))
    for name in ("local_scaling", "local_rank", "local_complexity"):
        values = _finite(cells.get(name, ()))
        error = max((row["stderr"] for row in cells.get(name, ())), default=0.0)
        if not values:
            yield f"{LABELS[name]} is not defined on this plane."
            continue
        spread = max(values) - min(values)
        known = f"the largest error of a cell is {_plain(error)}" if error else "without sampling error"
        if spread <= max(1e-6 * max(abs(one) for one in values), 1.96 * error):
            yield f"{LABELS[name]} is {_plain(values[0])} all over the plane ({known})."
        else:
            yield f"{LABELS[name]} runs from {_plain(min(values))} to {_plain(max(values))} ({known})."


def _denoising_tables(found: Traversed) -> Iterator[Table]:
    judged = found.chosen(measure="auroc")
    for output in dict.fromkeys(row["output"] for row in judged):
        rows = [row for row in judged if row["output"] == output and row["quantity"] in _ORDER]
        caption = "Of unusual against normal conditions with the same noise; 0.5 is chance, below it: lower there."
        yield _over_levels(f"AUROC, map {output}", rows, ("guidance", "quantity"), caption, _interval)
    means = [row for row in found.chosen(measure="mean") if row["quantity"] in _HEADS]
    for output in dict.fromkeys(row["output"] for row in means):
        rows = [row for row in means if row["output"] == output]
        yield _over_levels(f"means over seeds, map {output}", rows, ("guidance", "side", "quantity"), "", _cell)


_HEADS = ("local_scaling", "local_rank", "local_complexity_fraction")
_ORDER = (*_HEADS, "score_norm", "condition_norm")


def _over_levels(
    title: str, rows: Sequence[Row], keys: Sequence[str], caption: str, text: Callable[[Row], str]
) -> Table:
    """Some of the noise levels as columns."""
    levels = sorted({row["level"] for row in rows}, reverse=True)
    count = min(_SHOWN_LEVELS, len(levels))
    chosen = [levels[round(i * (len(levels) - 1) / max(1, count - 1))] for i in range(count)]
    lines: dict[tuple[Any, ...], dict[float, str]] = {}
    for row in rows:
        lines.setdefault(tuple(row[key] for key in keys), {})[row["level"]] = text(row)
    body = [
        (*map(_word, key), *(line.get(level, "–") for level in chosen))
        for key, line in sorted(lines.items(), key=_order)
    ]
    return Table(title, (*keys, *map(level_text, chosen)), body, caption)


def _order(item: tuple[tuple[Any, ...], Any]) -> tuple[Any, ...]:
    *first, quantity = item[0]
    return (_ORDER.index(quantity), *first)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else LABELS.get(value, str(value))


def _denoising_readings(found: Traversed) -> Iterator[str]:
    judged = found.chosen(measure="auroc")
    if not judged:
        yield "One kind of condition only: there is nothing to tell apart."
    for quantity in _ORDER if judged else ():
        rows = [row for row in judged if row["quantity"] == quantity]
        if not rows:
            continue
        scales = sorted({row["guidance"] for row in rows})
        outputs = dict.fromkeys(row["output"] for row in rows)
        words = "; ".join(_told([row for row in rows if row["output"] == output], output, scales) for output in outputs)
        given = ", ".join(f"{scale:g}" for scale in scales)
        yield f"{LABELS[quantity]} tells unusual conditions from normal ones {words} (at guidance {given})."


def _told(rows: Sequence[Row], output: str, scales: Sequence[float]) -> str:
    """At how many levels of each guidance scale an interval leaves chance out."""
    of_scale = {scale: [row for row in rows if row["guidance"] == scale] for scale in scales}
    sure = [str(sum(row["low"] > 0.5 or row["high"] < 0.5 for row in own)) for own in of_scale.values()]
    return f"by the {output} map at {', '.join(sure)} of {max(map(len, of_scale.values()))} noise levels"


def _corruption_tables(found: Traversed) -> Iterator[Table]:
    names = list(found.info["settings"]["corruption"])
    wanted = (*_HEADS, "reconstruction_error", "pixel_energy")
    strong = max((row["severity"] for row in found.chosen(measure="sensitivity")), default=0)
    parts = {
        f"sensitivity at severity {strong}": found.chosen(measure="sensitivity", severity=strong),
        "rank correlation with severity": found.chosen(measure="rank_correlation"),
    }
    captions = (
        "Change against the clean image, paired, in standard deviations of clean images.",
        "Spearman, over severities 0 to 4 of each image; mean over source photographs.",
    )
    for (title, rows), caption in zip(parts.items(), captions):
        cells = {(row["corruption"], row["quantity"]): _cell(row) for row in rows}
        body = [(name.replace("_", " "), *(cells.get((name, one), "–") for one in wanted)) for name in names]
        yield Table(title, ("corruption", *(LABELS[one] for one in wanted)), body, caption)
    clean = {row["quantity"]: row for row in found.chosen(measure="clean")}
    yield Table(
        "clean images",
        ("", *(LABELS[one] for one in wanted)),
        [("mean", *(_cell(clean[one]) if one in clean else "–" for one in wanted))],
    )


def _corruption_readings(found: Traversed) -> Iterator[str]:
    for quantity in _HEADS:
        rows = found.chosen(measure="sensitivity", quantity=quantity)
        strong = [row for row in rows if row["severity"] == max(one["severity"] for one in rows)]
        seen = [row for row in strong if row["low"] > 0 or row["high"] < 0]
        if not any(math.isfinite(row["value"]) for row in strong):
            yield f"{LABELS[quantity]} has no spread over clean images in whose units a change could be told."
            continue
        words = ", ".join(
            f"{row['corruption'].replace('_', ' ')} ({'up' if row['value'] > 0 else 'down'})" for row in seen
        )
        even = [
            row["corruption"] for row in rows if row["severity"] == 1 and _one_way(found, row["corruption"], quantity)
        ]
        yield (
            f"{LABELS[quantity]} changes surely under {words or 'none of the corruptions'} at severity "
            f"{strong[0]['severity']}; its mean change goes one way with severity under {len(even)} of {len(strong)}."
        )


def _one_way(found: Traversed, corruption: str, quantity: str) -> bool:
    rows = found.chosen(measure="change", corruption=corruption, quantity=quantity)
    values = [0.0, *(row["value"] for row in sorted(rows, key=lambda row: row["severity"]))]
    steps = [after - before for before, after in pairwise(values)]
    return all(step > 0 for step in steps) or all(step < 0 for step in steps)


def _interval(row: Row) -> str:
    if row["value"] is None or not math.isfinite(row["value"]):
        return "–"
    return f"{row['value']:.2f} ({row['low']:.2f}–{row['high']:.2f})"


def _cell(row: Row) -> str:
    return str(shown(row["value"], row["stderr"], row["status"]))


def _plain(value: float) -> str:
    return str(shown(value))


def _finite(rows: Sequence[Row]) -> list[float]:
    return [row["value"] for row in rows if row["value"] is not None and math.isfinite(row["value"])]


def _by_quantity(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["quantity"], []).append(row)
    return found


_TABLES: Mapping[str, Callable[[Traversed], Iterator[Table]]] = {
    "plane": _plane_tables,
    "denoising": _denoising_tables,
    "corruptions": _corruption_tables,
}
_READINGS: Mapping[str, Callable[[Traversed], Iterator[str]]] = {
    "plane": _plane_readings,
    "denoising": _denoising_readings,
    "corruptions": _corruption_readings,
}
