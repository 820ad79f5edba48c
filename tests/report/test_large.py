"""A run of very many samples still makes a report that a browser opens."""

import json

import numpy as np
import pyarrow as pa
import pytest
import safetensors
from PIL import Image
from safetensors.numpy import save_file

from theodolite.experiments.survey.experiment import EXPERIMENT
from theodolite.report import write_report
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import schema_of
from theodolite.runs.tables import with_notes

MANY = 20_000
NAMES = ("local_scaling_per_dimension", "local_rank", "curvature")


@pytest.fixture
def many(make_run):
    """A made-up run of one sample, of which many are made at once."""
    run = make_run(samples=1, quantities=NAMES)
    ids = [f"sample_{index:05d}" for index in range(MANY)]
    files = [{"sample": sample, "file": f"{sample}.png"} for sample in ids]
    random, schema = np.random.default_rng(0), schema_of(EXPERIMENT)
    value = np.exp(random.normal(size=3 * MANY))
    columns = {
        "unit": np.repeat(ids, 3),
        "sample": np.repeat(ids, 3),
        "model": ["made-up"] * 3 * MANY,
        "map": ["decoder"] * 3 * MANY,
        "sigma": pa.nulls(3 * MANY, pa.float64()),
        "quantity": list(NAMES) * MANY,
        "value": value,
        "stderr": 0.01 * value,
        "low": 0.98 * value,
        "high": 1.02 * value,
        "n": [4] * 3 * MANY,
        "passes": [10] * 3 * MANY,
        "status": ["ok"] * 3 * MANY,
    }
    notes = {sample: {"about": {}, "failed": [], "messages": {}, "seconds": 0.1} for sample in ids}
    table = pa.table({name: columns[name] for name in schema.names}, schema=schema)
    (run.path / "quantities.parquet").write_bytes(with_notes(table, notes))
    spectrum = {"nodes": np.exp(random.normal(size=16)), "weights": np.full(16, 1 / 16)}
    arrays = {f"{sample}/spectrum/{name}": array for sample in ids for name, array in spectrum.items()}
    save_file(arrays, run.path / "arrays.safetensors")
    noise = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for sample in ids:
        Image.fromarray(noise).save(run.path / "pictures" / f"{sample}.png", compress_level=0)
    record = {**run.info, "units": ids, "data": {**run.info["data"], "files": files}}
    RunFolder(run.path, schema).write_record(record)
    return run.path


@pytest.mark.slow
def test_a_report_of_many_samples_is_small_and_opens_their_arrays_once(many, monkeypatch):
    opened, real = [], safetensors.safe_open

    def counted(file, *more, **options):
        opened.append(file)
        return real(file, *more, **options)

    monkeypatch.setattr(safetensors, "safe_open", counted)
    report = write_report(many)
    assert report.stat().st_size < 60e6
    assert len(opened) == 1
    text = report.read_text(encoding="utf-8")
    assert f"Of {MANY} samples, 20" in text
    assert json.loads((many / "run.json").read_text())["status"] == "complete"
