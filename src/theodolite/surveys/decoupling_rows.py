"""What a run folder of a decoupling experiment stores of one pair under one condition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.descriptors.decoupling import Decoupling

__all__ = ["overlap_of", "plain_rows", "rows_of"]


def rows_of(measured: Decoupling, more: Mapping[str, Tensor], row: int) -> Iterator[dict[str, Any]]:
    """Quantities of one pair under one condition, as the run folder stores them."""
    from theodolite.surveys.measure import row_of

    for name, one in measured.quantities.items():
        yield row_of(name, one, row)
    yield from plain_rows(more, row)


def plain_rows(more: Mapping[str, Tensor], row: int) -> Iterator[dict[str, Any]]:
    """The same of numbers without an error."""
    for name, values in more.items():
        status = "ok" if bool(values[row].isfinite()) else "undefined"
        yield {"quantity": name, "value": float(values[row]), "stderr": 0.0, "passes": 0, "n": 1, "status": status}


def overlap_of(measured: Decoupling) -> dict[str, Tensor]:
    """How the map of LC lies on that of PHFE: their rank correlation, and LC's mass on the top tenth of PHFE."""
    from theodolite.descriptors.hotspots import mass_on_detail
    from theodolite.estimates import rank_correlation

    rotation, detail = (measured.maps[name].flatten(1).double().cpu() for name in ("lc_map", "phfe_map"))
    return {"map_correlation": rank_correlation(rotation, detail), "mass_on_detail": mass_on_detail(rotation, detail)}
