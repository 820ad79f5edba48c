"""A run's long table as a wide one."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from theodolite import read_run
from theodolite.explorer.frames import frame_of
from theodolite.runs.run import schema_of
from theodolite.runs.tables import _NOTES, parquet


@pytest.fixture
def altered(made, tmp_path):
    """A run whose table holds the rows that a function makes of those of a survey."""

    def alter(change):
        run = read_run(made("survey"))
        rows = change(run.table.to_pylist())
        table = pa.Table.from_pylist(rows, schema=schema_of(run.experiment))
        notes = {unit: {"about": {}, "failed": []} for unit in run.units}
        content = parquet(table.replace_schema_metadata({_NOTES: json.dumps(notes).encode()}))
        (tmp_path / "quantities.parquet").write_bytes(content)
        (tmp_path / "run.json").write_text(json.dumps(run.info))
        return read_run(tmp_path)

    return alter


def test_a_row_a_sample_with_the_numbers_of_the_run(made):
    run = read_run(made("survey"))
    frame = frame_of(run)
    assert frame.of_samples
    assert list(frame.keys["unit"]) == run.units
    assert {column.quantity for column in frame.columns} == set(run.quantities)
    for column in frame.columns:
        rows = {row["unit"]: row for row in run.rows(column.quantity)}
        assert np.allclose(column.value, [rows[unit]["value"] for unit in run.units], equal_nan=True)
        assert np.allclose(column.stderr, [rows[unit]["stderr"] for unit in run.units], equal_nan=True)


def test_what_varies_beside_the_sample_becomes_part_of_the_columns(altered):
    def at_two_levels(rows):
        return [{**row, "sigma": level, "value": level} for row in rows for level in (0.5, 2.0)]

    frame = frame_of(altered(at_two_levels))
    columns = {column.name: column for column in frame.columns}
    assert frame.rows == 6
    assert (columns["local_scaling [sigma=0.5]"].value == 0.5).all()
    assert (columns["local_scaling [sigma=2]"].value == 2.0).all()


def test_a_coordinate_that_only_other_quantities_vary_in_names_no_column(altered):
    def one_with_levels(rows):
        levels = [{**row, "sigma": s} for row in rows if row["quantity"] == "gain" for s in (0.5, 2.0)]
        return [*(row for row in rows if row["quantity"] != "gain"), *levels]

    names = [column.name for column in frame_of(altered(one_with_levels)).columns]
    assert "local_scaling" in names
    assert {"gain [sigma=0.5]", "gain [sigma=2]"} <= set(names)


def test_what_was_not_measured_has_no_status_and_what_is_no_number_keeps_its_own(altered):
    def with_gaps(rows):
        units = sorted({row["unit"] for row in rows})
        worse = {"value": float("nan"), "status": "undetermined"}
        kept = [row for row in rows if (row["unit"], row["quantity"]) != (units[0], "gain")]
        return [{**row, **worse} if (row["unit"], row["quantity"]) == (units[1], "gain") else row for row in kept]

    frame = frame_of(altered(with_gaps))
    gain = next(column for column in frame.columns if column.quantity == "gain")
    assert gain.status[0] == -1
    assert gain.status[1] > 0
    assert np.isnan(gain.value[:2]).all()


def test_intervals_are_sent_where_they_are_not_value_and_error(altered):
    def one_sided(rows):
        """The gain of one sample alone: as long as any interval is no error, all are sent."""
        first = rows[0]["sample"]
        told = [row["quantity"] == "gain" and row["sample"] == first for row in rows]
        return [{**row, "high": row["value"] + 9} if is_told else row for row, is_told in zip(rows, told)]

    frame = frame_of(altered(one_sided))
    plain = {column.quantity: column.is_plain for column in frame.columns}
    assert not plain["gain"]
    assert plain["local_scaling"]
    table = pq.read_table(pa.BufferReader(frame.parquet()))
    place = [column.quantity for column in frame.columns].index("gain")
    assert {f"l{place}", f"h{place}"} <= set(table.column_names)


def test_rows_are_places_where_a_run_has_no_samples(made):
    run = read_run(made("rank"))
    frame = frame_of(run)
    assert not frame.of_samples
    places = {tuple(values) for values in zip(*frame.keys.values())}
    assert len(places) == frame.rows
    column = next(column for column in frame.columns if column.quantity == "resolved")
    row = run.rows("resolved")[7]
    at = next(n for n in range(frame.rows) if all(values[n] == row[name] for name, values in frame.keys.items()))
    assert column.value[at] == row["value"]
