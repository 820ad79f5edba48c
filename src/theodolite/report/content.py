"""What a report says, taken from a run folder: quantities, samples and the order from least to most brittle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.estimates import NOT_NUMBERS, STATUSES
from theodolite.report import palette, pictures
from theodolite.report.rounding import MOST_DIGITS, Shown, rounded, shown

if TYPE_CHECKING:
    from theodolite.surveys import Run

__all__ = [
    "AT_EACH_END",
    "BRITTLE_BY",
    "MOST_SAMPLES",
    "Brittleness",
    "Content",
    "Quantity",
    "Sample",
    "is_wide",
    "read_content",
]

BRITTLE_BY = ("curvature", "leading_singular_value")
"""Quantities that define brittleness, the first that was measured counts."""

MOST_SAMPLES = 2000
"""Samples drawn and listed one by one; of a larger run every k-th and the ends are, while the summaries use all."""

AT_EACH_END = 4
"""Samples shown as the most and as the least brittle."""

_SHARES = ("axis_cosine", "axis_gap", "spectral_gap", "local_complexity_fraction")
"""Quantities that cannot exceed one."""

_ALWAYS_SHOWN = ("local_scaling_per_dimension",)
_WIDE = 30.0
_NOT_RANKED = (*NOT_NUMBERS, "")


@dataclass(frozen=True, eq=False)
class Quantity:
    """One measured quantity: what it is, its value at each listed sample, and its summary over all samples.

    `values` and `stderr` have one entry a listed sample, NaN where it was not measured; `statuses` is empty there.
    `family` is the quantity it is a variant of: itself for most, ``curvature`` for ``curvature_leading``. `message` is
    what its estimator had to say where its status was not ok.
    """

    name: str
    label: str
    unit: str
    formula: str
    source: str
    meaning: str
    family: str
    values: NDArray[np.float64]
    stderr: NDArray[np.float64]
    statuses: tuple[str, ...]
    summary: Mapping[str, Any]
    message: str = ""
    map: str = "decoder"

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Samples where it is a finite number that may be ranked."""
        ranked = np.array([status not in _NOT_RANKED for status in self.statuses], dtype=bool)
        return np.asarray(np.isfinite(self.values) & ranked, dtype=bool)

    @property
    def most(self) -> float:
        """What it cannot exceed."""
        return 1.0 if self.name.startswith(_SHARES) else math.inf

    @property
    def is_variant(self) -> bool:
        """Whether it is a variant of another measured quantity."""
        return self.family != self.name

    def at(self, index: int) -> Shown:
        """Its value at one sample as text."""
        return shown(float(self.values[index]), float(self.stderr[index]), self.statuses[index])

    def note(self, index: int) -> str:
        """What to know about its value at one sample; empty when its status is ok."""
        status = self.statuses[index]
        return "" if status in ("ok", "") else f"{status}: {STATUSES.get(status, 'unknown status')}"

    def summarised(self, most: int = MOST_DIGITS) -> dict[str, str]:
        """Median, quartiles and typical error as texts of one precision, with `most` significant digits at most."""
        values = [self.summary.get(key) for key in ("median", "low", "high")]
        (median, low, high), error, power = rounded(values, self.summary.get("median_stderr"), most=most)
        return {"median": median, "low": low, "high": high, "error": error, "power": power}


@dataclass(frozen=True)
class Sample:
    """One listed sample: its position in the arrays, identity, pictures (data URIs, empty if none) and colour."""

    index: int
    id: str
    file: str
    image: str
    reconstruction: str
    colour: str


@dataclass(frozen=True)
class Brittleness:
    """The quantity that orders samples from least to most brittle.

    `positions` in [0, 1] place each listed sample on the colour scale (NaN: not ranked), `order` lists the ranked
    ones from least to most brittle.
    """

    quantity: Quantity
    positions: NDArray[np.float64]
    order: tuple[int, ...]
    logarithmic: bool

    @property
    def ends(self) -> tuple[Shown, Shown]:
        """The least and the greatest value as text."""
        return self.quantity.at(self.order[0]), self.quantity.at(self.order[-1])


@dataclass(frozen=True)
class Content:
    """Everything a report shows, read once."""

    info: Mapping[str, Any]
    quantities: tuple[Quantity, ...]
    samples: tuple[Sample, ...]
    count: int
    brittleness: Brittleness | None
    spectra: tuple[tuple[int, Any, Any], ...] = ()
    latent_shape: tuple[int, ...] = ()
    flagged: Mapping[str, int] = field(default_factory=dict)
    status: str = ""

    @property
    def model_name(self) -> str:
        """What the run calls its model."""
        settings = self.info.get("settings") or {}
        return str((self.info.get("model") or {}).get("name") or settings.get("model") or "model")

    @property
    def doubt(self) -> str:
        """Why no number of this run can be trusted: what its self-check found; empty when the derivatives hold."""
        check = self.info.get("self_check") or {}
        only_second = check.get("passed") is not False or check.get("second_order_holds") is False
        holds = check.get("first_order_holds", only_second)
        return "" if holds else str(check.get("message") or "see Method")

    def quantity(self, name: str) -> Quantity | None:
        """The quantity of that name if it was measured and is a number somewhere."""
        return next((item for item in self.quantities if item.name == name and item.usable.any()), None)

    @property
    def has_pictures(self) -> bool:
        """Whether any sample has a thumbnail."""
        return any(sample.image for sample in self.samples)


def read_content(run: Run) -> Content:
    """Read what the report needs from a run folder; thumbnails are reduced, arrays are opened one sample at a time."""
    listed = _listed(run)
    quantities = _quantities(run, listed)
    brittleness = _brittleness(quantities)
    spectra, latent_shape = _arrays(run, listed)
    return Content(
        info=run.info,
        quantities=quantities,
        samples=_samples(run, listed, brittleness),
        count=len(run.samples),
        brittleness=brittleness,
        spectra=spectra,
        latent_shape=latent_shape,
        flagged=_flagged(run),
        status=run.status,
    )


def _listed(run: Run) -> list[str]:
    """All samples, or of very many those at even steps and the most and least brittle."""
    names = list(run.samples)
    step = math.ceil(len(names) / MOST_SAMPLES)
    if step <= 1:
        return names
    brittleness = _brittleness(_quantities(run, names))
    order = brittleness.order if brittleness else ()
    ends = (names[index] for index in (*order[:AT_EACH_END], *order[-AT_EACH_END:]))
    chosen = {*names[::step], *ends}
    return [name for name in names if name in chosen]


def _quantities(run: Run, listed: Sequence[str]) -> tuple[Quantity, ...]:
    described = run.info.get("quantities") or {}
    summaries = {row["quantity"]: row for row in run.summary()}
    names = list(run.quantities)
    return tuple(
        _quantity(run, name, names, listed, described.get(name) or {}, summaries.get(name) or {}) for name in names
    )


def _quantity(
    run: Run,
    name: str,
    names: Sequence[str],
    listed: Sequence[str],
    described: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> Quantity:
    column = run.column(name)
    place = {str(sample): row for row, sample in enumerate(column["sample"])}
    rows = [place.get(sample) for sample in listed]
    words = {key: str(described.get(key) or "") for key in ("unit", "formula", "source", "meaning")}
    return Quantity(
        name=name,
        label=str(described.get("label") or name.replace("_", " ")),
        family=_family(name, names),
        values=np.array([np.nan if row is None else column["value"][row] for row in rows], dtype=np.float64),
        stderr=np.array([np.nan if row is None else column["stderr"][row] for row in rows], dtype=np.float64),
        statuses=tuple("" if row is None else str(column["status"][row]) for row in rows),
        summary=summary,
        message=str((run.info.get("messages") or {}).get(name) or ""),
        **words,
    )


def _family(name: str, names: Sequence[str]) -> str:
    """The shortest measured name that `name` continues after an underscore, e.g. ``curvature`` of ``curvature_h1``."""
    if name in _ALWAYS_SHOWN:
        return name
    return min((other for other in names if name.startswith(f"{other}_")), key=len, default=name)


def _brittleness(quantities: Sequence[Quantity]) -> Brittleness | None:
    found = {item.name: item for item in quantities if item.usable.any()}
    quantity = next((found[name] for name in BRITTLE_BY if name in found), None)
    if quantity is None:
        return None
    values = np.where(quantity.usable, quantity.values, np.nan)
    order = tuple(int(i) for i in np.argsort(values, kind="stable")[: int(quantity.usable.sum())])
    low, high = values[order[0]], values[order[-1]]
    logarithmic = is_wide(low, high)
    if logarithmic:
        values, low, high = np.log(values), math.log(low), math.log(high)
    positions = (values - low) / (high - low) if high > low else np.where(np.isfinite(values), 0.5, np.nan)
    return Brittleness(quantity, positions, order, logarithmic)


def is_wide(low: float, high: float) -> bool:
    """Whether values from `low` to `high` are better shown on a logarithmic scale."""
    return bool(low > 0 and high / low > _WIDE)


def _samples(run: Run, listed: Sequence[str], brittleness: Brittleness | None) -> tuple[Sample, ...]:
    side = pictures.largest_side(len(listed))
    files = {str(row.get("sample")): str(row.get("file")) for row in (run.info.get("data") or {}).get("files") or []}
    positions = [0.6] * len(listed) if brittleness is None else brittleness.positions.tolist()
    return tuple(
        Sample(
            index=index,
            id=name,
            file=files.get(name, name),
            image=pictures.data_uri(run.thumbnail(name), side),
            reconstruction=pictures.data_uri(run.reconstruction(name), side),
            colour=palette.colour_at(positions[index]),
        )
        for index, name in enumerate(listed)
    )


def _arrays(run: Run, listed: Sequence[str]) -> tuple[tuple[tuple[int, Any, Any], ...], tuple[int, ...]]:
    spectra: list[tuple[int, Any, Any]] = []
    shape: tuple[int, ...] = ()
    for index, name in enumerate(listed):
        arrays = run.arrays(name)
        if "spectrum/nodes" in arrays and "spectrum/weights" in arrays:
            spectra.append((index, arrays["spectrum/nodes"].numpy(), arrays["spectrum/weights"].numpy()))
        if "latent" in arrays:
            shape = shape or tuple(arrays["latent"].shape)
    return tuple(spectra), shape


def _flagged(run: Run) -> dict[str, int]:
    """How often each status other than ok occurs, from the mildest to the worst."""
    counts = Counter(run.table.column("status").to_pylist())
    return {status: counts[status] for status in STATUSES if status != "ok" and counts[status]}
