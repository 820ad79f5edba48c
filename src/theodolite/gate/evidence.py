"""What a run says of a bounded quantity: one number, its mean over samples, or every single one; or their changes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS, STATUSES
from theodolite.estimates.groups import LEAST_SHARE
from theodolite.estimates.statuses import BOUNDS
from theodolite.gate.thresholds import Bound
from theodolite.runs.pairs import SYSTEMATIC, differences, images_of, mean_over_sources, paired_numbers
from theodolite.runs.piece import Row
from theodolite.runs.settings import closest

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["Evidence", "evidence_of"]


@dataclass(frozen=True)
class Evidence:
    """A number with its interval, as far as it can decide.

    Attributes:
        what: which number it is, e.g. ``mean of 24 samples``.
        value: the number; NaN for none.
        stderr: its standard error.
        low: the lower end of its 95 % interval; minus infinity where its status says nothing of that side.
        high: the upper end.
        n: independent samples behind its error.
        status: the worst of those that it is made of.
        fixed: the part of the standard error that does not become less with more samples.
        single: standard error of the measurement of one sample over that of their scatter, squared; NaN where the
            number is no mean.
        reason: why there is no number, where that is not in the status alone.
    """

    what: str
    value: float
    stderr: float
    low: float
    high: float
    n: int
    status: str
    fixed: float = 0.0
    single: float = math.nan
    reason: str = ""

    @property
    def is_number(self) -> bool:
        """Whether there is anything to compare with a bound."""
        return self.status not in NOT_NUMBERS and math.isfinite(self.value)


def evidence_of(run: Run, bound: Bound, reference: Run | None = None, group: str | None = None) -> list[Evidence]:
    """The numbers that a bound is about, in order: one, or with ``over="each"`` one or more.

    What failed, and what has no counterpart in the reference, is never silent: with ``over="each"`` it has an entry
    without a number, and of a mean it counts among the samples that must have one. A change of a quantity that only the
    reference holds is one entry without a number.

    Args:
        run: complete.
        bound: of one of its quantities.
        reference: what changes are counted from.
        group: see `Thresholds`.

    Raises:
        InputError: the quantity was not measured, a coordinate is unknown, or `where` leaves several numbers.
    """
    if bound.of_change:
        other = _reference(run, bound, reference)
        if bound.quantity in other.quantities and bound.quantity not in run.quantities:
            return _without({"": "the reference has this quantity, and the run does not"})
        return _changes(run, bound, _selected(run, bound), other, group)
    rows = _selected(run, bound)
    if bound.over == "each":
        return [*(_single(row, _name(run, row)) for row in rows), *_without(_failed(run, bound, rows))]
    if all(row.get("sample") is not None for row in rows):
        return [_mean(run, bound, rows, _sources(run, group))]
    if len(rows) > 1:
        raise _several(run, bound, rows)
    return [_single(rows[0], "")]


def _selected(run: Run, bound: Bound) -> list[Row]:
    """The rows of the quantity at the coordinates of the bound; numbers agree in six digits."""
    known = ["unit", *run.experiment.coordinates]
    for name in bound.where:
        if name not in known:
            raise InputError(f"{bound}: a coordinate expected in `where`, got {name!r}{closest(name, known)}; {known}")
    rows = [row for row in run.rows(bound.quantity) if all(_same(row[k], v) for k, v in bound.where.items())]
    if not rows:
        raise InputError(
            f"{bound}: no number at {dict(bound.where)} in {run.path}; there are "
            f"{'; '.join(_values(run.rows(bound.quantity), name) for name in bound.where)}"
        )
    return rows


def _same(own: Any, wanted: Any) -> bool:
    if isinstance(own, float) and isinstance(wanted, int | float):
        return f"{own:g}" == f"{wanted:g}"
    return bool(own == wanted)


def _values(rows: Iterable[Row], name: str) -> str:
    values = list(dict.fromkeys(row[name] for row in rows))
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values[:8])
    return f"{name} = {shown}{', ...' if len(values) > 8 else ''}"


def _several(run: Run, bound: Bound, rows: Sequence[Row]) -> InputError:
    names = [name for name in run.experiment.coordinates if len({row[name] for row in rows}) > 1]
    values = "; ".join(_values(rows, name) for name in names)
    return InputError(
        f'{bound}: one number expected, got {len(rows)}; say which in `where`, or over = "each": {values}'
    )


def _name(run: Run, row: Row) -> str:
    coordinates = [
        row[name] for name in run.experiment.coordinates if row[name] is not None and name not in ("model", "map")
    ]
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in coordinates) or str(
        row["unit"]
    )


def _single(row: Row, what: str) -> Evidence:
    status = str(row["status"])
    fixed = _number(row["stderr"]) if status in SYSTEMATIC else 0.0
    return _evidence(what, row, {status}, fixed=fixed)


def _evidence(what: str, row: Row, statuses: set[str], **more: Any) -> Evidence:
    """A number whose interval is open on the sides that its statuses say nothing of."""
    value, stderr, low, high = (_number(row[name]) for name in ("value", "stderr", "low", "high"))
    bounds = {BOUNDS.get(status) for status in statuses}
    low, high = -math.inf if "upper" in bounds else low, math.inf if "lower" in bounds else high
    worst = max({str(row["status"]), *statuses}, key=[*STATUSES].index)
    worst = "undetermined" if math.isnan(low) or math.isnan(high) else worst
    return Evidence(what, value, stderr, low, high, int(row["n"] or 1), worst, **more)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _mean(run: Run, bound: Bound, rows: Sequence[Row], sources: Mapping[str, str]) -> Evidence:
    """The mean over samples, with its error over their sources; samples that failed count as having no number."""
    by_sample = [row["sample"] for row in rows]
    if len(set(by_sample)) < len(by_sample):
        raise _several(run, bound, [row for row in rows if row["sample"] == by_sample[0]])
    failed = _failed(run, bound, rows)
    empty = {**rows[0], "value": math.nan, "stderr": math.nan, "status": "undefined"}
    complete = [*rows, *({**empty, "unit": unit, "sample": unit} for unit in sorted(failed))]
    usable = [row for row in complete if row["status"] not in NOT_NUMBERS]
    mean = mean_over_sources(complete, sources)
    values, errors = ([_number(row[name]) for row in usable] for name in ("value", "stderr"))
    of = len({sources.get(str(row["sample"]), str(row["sample"])) for row in usable})
    what = f"mean of {len(usable)} samples" + (f" of {len(complete)}" if len(usable) < len(complete) else "")
    return _evidence(
        what if of == len(usable) else f"{what}, over {of} sources",
        mean,
        {str(row["status"]) for row in usable},
        fixed=sum(_number(row["stderr"]) for row in usable if row["status"] in SYSTEMATIC) / max(1, len(usable)),
        single=_share(values, errors),
        reason=_lacking(len(usable), len(complete)),
    )


def _failed(run: Run, bound: Bound, rows: Sequence[Row]) -> dict[str, str]:
    """Why, by unit, a number of the bound failed: units that have none and are not ruled out by `where`.

    A failed unit says nothing of its other coordinates, so that it counts whatever `where` says of those. Where numbers
    are of no samples, units differ in what they hold, and only those count that failed as a whole.
    """
    of_samples = all(row.get("sample") is not None for row in rows)
    chosen = {bound.where[name] for name in ("unit", "sample") if name in bound.where}
    present = {row["unit"] for row in rows}
    return {
        unit: str(entry["reason"])
        for entry in run.info["failed"]
        if (unit := entry["unit"]) is not None
        and unit not in present
        and chosen <= {unit}
        and (of_samples or entry["what"] is None)
    }


def _without(reasons: Mapping[str, str]) -> list[Evidence]:
    """An entry without a number for each, which leaves a bound undecided."""
    nan = math.nan
    return [Evidence(what, nan, nan, nan, nan, 1, "undefined", reason=why) for what, why in reasons.items()]


def _lacking(usable: int, whole: int) -> str:
    if usable >= LEAST_SHARE * whole:
        return ""
    return f"{usable} of {whole} samples have a number, and {LEAST_SHARE:.0%} must"


def _share(values: Sequence[float], errors: Sequence[float]) -> float:
    """The mean square error of single numbers over the variance between them, at most 1."""
    if len(values) < 2 or not all(math.isfinite(error) for error in errors):
        return math.nan
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return min(1.0, sum(error**2 for error in errors) / len(errors) / variance) if variance else math.nan


def _sources(run: Run, group: str | None) -> dict[str, str]:
    """What each image was cut from, by sample; a latent is its own source."""
    from theodolite.data.sources import sources_of

    images = images_of(run)
    if not images or run.info["data"].get("latents"):
        return {}
    sources = sources_of([image["file"] for image in images], group or run.settings.get("group"))
    return {image["sample"]: source for image, source in zip(images, sources)}


def _reference(run: Run, bound: Bound, reference: Run | None) -> Run:
    """The run that changes are counted from."""
    if reference is None:
        raise InputError(f"{bound}: a change expects a reference run; give --reference RUN, or `reference` in the file")
    if reference.kind != run.kind:
        raise InputError(f"a reference of the same experiment expected, {run.kind}, got {reference.kind}")
    return reference


def _changes(run: Run, bound: Bound, rows: Sequence[Row], reference: Run, group: str | None) -> list[Evidence]:
    """This run less the reference, paired where both have the same samples."""
    reference.column(bound.quantity)  # its error names what was measured
    keys = {_key(row, run.experiment.coordinates) for row in rows}
    pairs = [
        (where, pair)
        for where, pair in paired_numbers(reference, run)
        if _key(pair[1], run.experiment.coordinates) in keys
    ]
    if not pairs:
        raise InputError(f"{bound}: no number of the same place in {reference.path}; measure the same there")
    failed = _failed(run, bound, rows)
    if bound.over == "each":
        changes = [change for pair in pairs for change in _changed([pair], {}, 1, _name(run, pair[1][1]))]
        paired = {_key(pair[1], run.experiment.coordinates) for _, pair in pairs}
        alone = [row for row in rows if _key(row, run.experiment.coordinates) not in paired]
        unpaired = {_name(run, row): f"{reference.path} has no number of the same place" for row in alone}
        return [*changes, *_without({**unpaired, **failed})]
    if pairs[0][1][1].get("sample") is None and len(pairs) > 1:
        raise _several(run, bound, rows)
    expected = len(rows) + (len(failed) if rows[0].get("sample") is not None else 0)
    changes = _changed(pairs, _sources(run, group), expected)
    if len(changes) > 1:
        raise _several(run, bound, rows)
    return changes


def _key(row: Mapping[str, Any], coordinates: Iterable[str]) -> tuple[Any, ...]:
    return (row["quantity"], row["unit"], *(row[name] for name in coordinates))


def _changed(
    pairs: Sequence[tuple[str, tuple[Row, Row]]], sources: Mapping[str, str], expected: int, what: str = ""
) -> list[Evidence]:
    """The mean change over samples, one a place; a pair that has a name stands alone, with its own errors."""
    sided = [
        {**row, "side": side, "where": where, "sample": None if what else row.get("sample")}
        for where, pair in pairs
        for side, row in zip(("first", "second"), pair)
    ]
    changes = [row for row in differences(sided, sources, ("where",)) if row["part"] == "difference"]
    return [_change(row, [pair for where, pair in pairs if where == row["where"]], expected, what) for row in changes]


def _change(row: Row, pairs: Sequence[tuple[Row, Row]], expected: int, what: str) -> Evidence:
    usable = [pair for pair in pairs if all(side["status"] not in NOT_NUMBERS for side in pair)]
    # What two bounds differ by is bounded on no side: it counts as off to one side by their widths.
    statuses = {"truncated" if BOUNDS.get(s["status"]) else str(s["status"]) for pair in usable for s in pair}
    if len(usable) < LEAST_SHARE * expected:
        statuses.add("undetermined")
    off = sum(_number(s["stderr"]) for pair in usable for s in pair if s["status"] in SYSTEMATIC)
    is_mean = pairs[0][1].get("sample") is not None and not what
    text = what or (f"mean over {len(usable)} samples" if is_mean else "")
    reason = _lacking(len(usable), expected)
    return _evidence(text, row, statuses, fixed=off / max(1, len(usable)), reason=reason)
