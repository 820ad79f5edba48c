"""Reading a run back, in whatever state its survey was left."""

import math

import numpy as np
import pytest
import torch

from theodolite.errors import InputError
from theodolite.surveys.run import read_run
from theodolite.surveys.store import FORMAT, RunFolder

VALUES = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 40.0}
DESCRIBED = {"label": "Local rank", "unit": "dimensions", "formula": "", "source": "", "meaning": ""}


def row(sample, quantity, value, status="ok"):
    return {
        "model": "tiny", "sample": sample, "map": "decoder", "sigma": None, "quantity": quantity,
        "value": value, "stderr": value / 10, "passes": 3, "n": 2, "status": status,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Four finished samples that nobody merged, as a kill leaves them."""
    result = RunFolder(tmp_path / "run")
    result.make()
    files = [{"sample": sample, "file": f"{sample}.png", "sha256": ""} for sample in "dcbae"]
    info = {"format": FORMAT, "status": "running", "data": {"files": files}, "quantities": {"local_rank": DESCRIBED}}
    result.write_info(info)
    for sample, value in VALUES.items():
        broken = row(sample, "curvature", math.nan, "undefined") if sample == "a" else row(sample, "curvature", value)
        rotation = row(sample, "axis_rotation", value, "undetermined" if sample == "d" else "lower-bound")
        arrays = {"latent": torch.full((2, 3), value), "spectrum/nodes": torch.ones(4)}
        result.write_shard(sample, [broken, row(sample, "local_rank", value), rotation], arrays, {}, {})
    return result


@pytest.fixture(params=["killed", "merged"])
def run(folder, request):
    if request.param == "merged":
        folder.merge(list("dcbae"))
    return read_run(folder.path)


def test_a_killed_run_reads_like_a_merged_one(run):
    assert run.samples == ["d", "c", "b", "a"]
    assert run.quantities[0] == "local_rank"
    assert sorted(run.quantities) == ["axis_rotation", "curvature", "local_rank"]
    assert run.table.num_rows == 12
    assert repr(run).endswith("interrupted, 4 of 5 samples)")  # nobody writes to it
    with RunFolder(run.path).locked():
        assert repr(run).endswith("running, 4 of 5 samples)")
    assert run.thumbnail("a") == run.path / "thumbnails" / "a.png"
    assert run.reconstruction("a") == run.path / "thumbnails" / "a.reconstruction.png"


def test_a_column_is_one_quantity_of_every_sample(run):
    column = run.column("local_rank")
    assert dict(zip(column["sample"], column["value"])) == VALUES
    assert np.allclose(column["stderr"], column["value"] / 10)
    assert set(column["status"]) == {"ok"}
    with pytest.raises(InputError, match="did you mean 'local_rank'"):
        run.column("local_rnk")


def test_arrays_are_found_by_sample(run):
    found = run.arrays("b")
    assert sorted(found) == ["latent", "spectrum/nodes"]
    assert torch.equal(found["latent"], torch.full((2, 3), 2.0))
    with pytest.raises(InputError, match="'e'"):
        run.arrays("e")


def test_the_summary_leaves_out_what_is_no_number(run):
    summary = {entry["quantity"]: entry for entry in run.summary()}
    rank = summary["local_rank"]
    assert (rank["label"], rank["unit"]) == ("Local rank", "dimensions")
    assert (rank["low"], rank["median"], rank["high"]) == (1.75, 2.5, 12.25)
    assert (rank["count"], rank["flagged"]) == (4, 0)
    assert rank["median_stderr"] == pytest.approx(0.25)
    assert (summary["curvature"]["count"], summary["curvature"]["flagged"]) == (3, 1)
    assert summary["curvature"]["median"] == 3.0
    assert (summary["axis_rotation"]["count"], summary["axis_rotation"]["flagged"]) == (3, 4)
    assert summary["axis_rotation"]["high"] == 2.5


def test_a_run_without_a_finished_sample_is_empty(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.make()
    folder.write_info({"format": FORMAT, "status": "running", "data": {"files": []}, "quantities": {}})
    run = read_run(str(folder.path))
    assert (run.samples, run.quantities, run.summary()) == ([], [], [])


def test_the_parquet_opens_with_one_line_elsewhere(folder):
    folder.merge(list("dcbae"))
    file = str(folder.path / "quantities.parquet")
    pandas = pytest.importorskip("pandas")
    duckdb = pytest.importorskip("duckdb")
    frame = pandas.read_parquet(file)
    assert frame.pivot(index="sample", columns="quantity", values="value").loc["d", "local_rank"] == 40.0
    median = f"select median(value) from '{file}' where quantity = 'local_rank'"
    assert duckdb.sql(median).fetchall() == [(2.5,)]
    columns = duckdb.sql(f"select * from '{file}'").columns
    assert columns == list(frame.columns)
    assert columns[:5] == ["model", "sample", "map", "sigma", "quantity"]


def test_the_parquet_opens_in_polars(folder):
    folder.merge(list("dcbae"))
    polars = pytest.importorskip("polars")
    assert polars.read_parquet(folder.path / "quantities.parquet").height == 12
