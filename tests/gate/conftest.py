"""Runs of a survey that hold given numbers, without measuring any."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from theodolite.runs.registry import experiment_of
from theodolite.runs.run import Run, schema_of


@pytest.fixture
def run_of():
    """A complete survey: values by quantity, one a sample; a number may be (value, stderr, status)."""

    def make(values, *, path="run", failed=(), kind="survey", group=None, of="plain", **more):
        experiment, rows, units = experiment_of(kind), [], []
        for quantity, own in values.items():
            for place, entry in enumerate(own):
                value, stderr, status = entry if isinstance(entry, tuple) else (entry, 0.0, "ok")
                sample = f"s{place:03}"
                units += [sample] if sample not in units else []
                low, high = value - 1.96 * stderr, value + 1.96 * stderr
                low, high = (value if status == "lower-bound" else low), (value if status == "upper-bound" else high)
                number = {"value": value, "stderr": stderr, "low": low, "high": high, "n": 1, "passes": 1}
                where = {"unit": sample, "model": of, "sample": sample, "map": "decoder", "sigma": None}
                rows.append({**where, "quantity": quantity, **number, "status": status, **more})
        schema = schema_of(experiment)
        info = {
            "kind": kind,
            "status": "complete",
            "command": "theodolite survey",
            "units": [*units, *failed],
            "failed": [{"unit": unit, "what": None, "reason": "broke"} for unit in failed],
            "quantities": {},
            "settings": {"group": group},
            "content": {},
            "data": {"files": [{"sample": unit, "file": f"{unit}.png"} for unit in units]},
        }
        run = Run(Path(path), info, experiment)
        table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema)
        run.__dict__["_rows"] = table, {unit: {} for unit in units}
        return run

    return make


@pytest.fixture
def nan():
    """A row without a number."""
    return (math.nan, math.nan, "undetermined")
