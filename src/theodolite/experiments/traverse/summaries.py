"""What the points of a traverse come to: means over seeds or photographs, paired differences, and how sides differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from theodolite.detection import evaluate
from theodolite.detection.sensitivity import sensitivity, severity_correlation
from theodolite.estimates import Estimate
from theodolite.estimates.groups import difference, group_mean, group_spread, usable
from theodolite.runs.experiment import Row, number
from theodolite.runs.run import estimate_of

__all__ = ["HEADLINES", "summaries"]

HEADLINES = ("local_scaling", "local_rank", "local_complexity_fraction")
"""Psi, nu, and delta as a part of all units, which does not depend on the network's size."""

_JUDGED = (*HEADLINES, "local_scaling_floored", "local_rank_p2", "score_norm", "condition_norm")
"""What AUROC is computed of."""

_LEAST_SHARE = 0.9
"""Of the pairs of an AUROC, how many must have a number, as for a mean."""


def summaries(over: str, points: Sequence[Row]) -> Iterator[Row]:
    """Numbers that follow from points; of a plane none, whose points speak for themselves.

    Of a trajectory: ``mean`` over seeds, ``difference`` (unusual less normal, paired by seed) and ``auroc`` (of unusual
    against normal). Of corruptions: ``clean``, ``change`` (paired by image), ``sensitivity`` (change over the spread of
    clean images) and ``rank_correlation`` (with severity), over source photographs.
    """
    if over == "denoising":
        yield from _of_levels(points)
    if over == "corruptions":
        yield from _of_corruptions(points)


def _of_levels(points: Sequence[Row]) -> Iterator[Row]:
    for key, group in _grouped(points, ("guidance", "output", "step", "level", "quantity")):
        sides = {side["side"]: {row["seed"]: row for row in rows} for side, rows in _grouped(group, ("side",))}
        for side, rows in sides.items():
            mean = group_mean(estimate_of([*rows.values()]), [*rows])
            yield _row(mean, **key, side=side, measure="mean")
        seeds = [seed for seed in sides.get("normal", ()) if seed in sides.get("unusual", ())]
        if not seeds:
            continue
        normal, unusual = (estimate_of([sides[side][seed] for seed in seeds]) for side in ("normal", "unusual"))
        yield _row(group_mean(difference(normal, unusual), seeds), **key, measure="difference")
        if key["quantity"] in _JUDGED:
            yield _auroc(normal, unusual, **key, measure="auroc")


def _of_corruptions(points: Sequence[Row]) -> Iterator[Row]:
    for quantity, group in _grouped(points, ("quantity",)):
        by_kind = {
            (kind["corruption"], kind["severity"]): {row["image"]: row for row in rows}
            for kind, rows in _grouped(group, ("corruption", "severity"))
        }
        clean = by_kind.get((None, 0), {})
        spread = group_spread(*_samples(clean, clean))
        mean = group_mean(*_samples(clean, clean))
        yield _row(mean, **quantity, severity=0, measure="clean")
        for name in dict.fromkeys(name for name, _ in by_kind if name is not None):
            ladder = [clean, *(rows for (kind, _), rows in sorted(by_kind.items(), key=_severity) if kind == name)]
            yield from _of_corruption(ladder, spread, **quantity, corruption=name)


def _of_corruption(ladder: Sequence[Mapping[str, Row]], spread: tuple[float, int], **key: Any) -> Iterator[Row]:
    """Changes at every severity, in units of the clean images' spread too, and how they follow severity."""
    clean, *worse = ladder
    for rows in worse:
        images = [image for image in clean if image in rows]
        before, groups = _samples(clean, images)
        change = group_mean(difference(before, _samples(rows, images)[0]), groups)
        severity = next(iter(rows.values()))["severity"]
        yield _row(change, **key, severity=severity, measure="change")
        yield _row(sensitivity(change, *spread), **key, severity=severity, measure="sensitivity")
    whole = [image for image in clean if all(image in rows for rows in worse)]
    samples = [_samples(rows, whole) for rows in ladder]
    correlation = severity_correlation([values for values, _ in samples], samples[0][1])
    yield _row(correlation, within=(-1.0, 1.0), **key, measure="rank_correlation")


def _severity(item: tuple[tuple[str | None, int], Any]) -> int:
    return item[0][1]


def _samples(rows: Mapping[str, Row], images: Iterable[str]) -> tuple[Estimate, list[str]]:
    """The numbers of some images, and the photograph of each."""
    chosen = [rows[image] for image in images]
    return estimate_of(chosen), [row["source"] for row in chosen]


def _row(
    estimate: Estimate, within: tuple[float, float] = (-math.inf, math.inf), *, quantity: str, **coordinates: Any
) -> Row:
    """A summary's row, its interval cut to the values that can be."""
    value, reach = float(estimate.value), 1.96 * float(estimate.stderr)
    low, high = (min(max(end, within[0]), within[1]) for end in (value - reach, value + reach))
    return number(quantity, estimate, low=low, high=high, **coordinates)


def _auroc(normal: Estimate, unusual: Estimate, *, quantity: str, **coordinates: Any) -> Row:
    """How well a quantity tells unusual conditions from normal ones, pairs drawn together."""
    kept = usable(normal) & usable(unusual)
    n, passes = int(kept.sum()), max(normal.passes, unusual.passes)
    if n < 2 or n < _LEAST_SHARE * len(kept):
        nothing = torch.full((1,), math.nan, dtype=torch.float64)
        return number(quantity, Estimate(nothing, nothing, passes, n, ("undetermined",)), **coordinates)
    scores = torch.cat([normal.value[kept], unusual.value[kept]])
    table = evaluate(scores, [0] * n + [1] * n, pairs=[*range(n)] * 2, resamples=1000)
    row = table[table.names[0]]
    estimate = Estimate(table.auroc.value[:1], table.auroc.stderr[:1], passes, n, (row["status"],))
    return number(quantity, estimate, low=row["auroc_low"], high=row["auroc_high"], **coordinates)


def _grouped(rows: Iterable[Row], axes: Sequence[str]) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """Rows with the same coordinates: those, and the rows."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[axis] for axis in axes), []).append(row)
    for key, group in groups.items():
        yield dict(zip(axes, key)), group
