"""A run folder while it is held, and units that are measured once more."""

from __future__ import annotations

import pyarrow as pa
import pytest

from theodolite.errors import InputError
from theodolite.runs.folder import RunFolder
from theodolite.runs.lock import is_held
from theodolite.runs.tables import NUMBER, read_rows

SCHEMA = pa.schema([("unit", pa.string()), *NUMBER])


def measured(folder: RunFolder, unit: str, value: float) -> None:
    row = {"quantity": "gain", "value": value, "stderr": 0.1, "low": 0.8, "high": 1.2, "n": 2, "passes": 3}
    folder.write_unit(unit, [{**row, "status": "ok"}], {}, {}, {"seconds": value})


def test_the_lock_lasts_as_long_as_the_work(tmp_path):
    folder = RunFolder(tmp_path / "run", SCHEMA)
    with folder.held():
        assert is_held(folder.path)
        with pytest.raises(InputError, match="another process"), RunFolder(folder.path, SCHEMA).held():
            pass
        folder.write_record({})
    assert not is_held(folder.path)


def test_what_is_measured_once_more_counts_with_its_rows_and_its_notes(tmp_path):
    folder = RunFolder(tmp_path / "run", SCHEMA)
    with folder.held():
        measured(folder, "a", 1.0)
        measured(folder, "b", 2.0)
        folder.merge(["a", "b"])
        measured(folder, "a", 3.0)
        for _ in range(2):  # from its shard, then merged
            table, notes = read_rows(folder.path, SCHEMA)
            assert dict(zip(table["unit"].to_pylist(), table["value"].to_pylist())) == {"a": 3.0, "b": 2.0}
            assert notes == {"a": {"seconds": 3.0}, "b": {"seconds": 2.0}}
            folder.merge(["a", "b"])
