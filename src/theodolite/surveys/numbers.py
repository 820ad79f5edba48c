"""Single numbers with their errors as rows of a table, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from theodolite.estimates import Estimate

__all__ = ["NUMBER", "estimate_of", "number_rows"]

NUMBER = (("value", pa.float64()), ("stderr", pa.float64()), ("n", pa.int64()), ("status", pa.string()))
"""The columns of a number."""


def number_rows(numbers: Mapping[str, Estimate]) -> Iterator[dict[str, Any]]:
    """A row for each: its name as `quantity`, and `NUMBER`."""
    for quantity, found in numbers.items():
        yield {"quantity": quantity, **found.entry()}


def estimate_of(row: Mapping[str, Any]) -> Estimate:
    """The number of a row."""
    import torch

    value, stderr = (torch.tensor([row[name]], dtype=torch.float64) for name in ("value", "stderr"))
    return Estimate(value, stderr, 0, row["n"], (row["status"],))
