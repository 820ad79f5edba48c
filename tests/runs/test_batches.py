"""Batches: units measured together are those measured alone, and who measures them changes no bit."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import theodolite
from theodolite import LatentMap, read_run
from theodolite.experiments.hotspots.experiment import HotspotsExperiment as Hotspots
from theodolite.experiments.survey.experiment import Survey
from theodolite.runs import merge
from theodolite.runs.batches import Batch, batch_size, batches
from theodolite.runs.experiment import Sitting
from theodolite.runs.folder import RunFolder
from theodolite.runs.measuring import opened, prepared
from theodolite.runs.sharding import Shard

UNITS = [f"seed-{seed}" for seed in range(40)]
SPECTRAL = ["local_scaling", "local_rank", "leading_singular_value"]


class Net(nn.Module):
    """A generator that refuses one latent, alone and among others."""

    def __init__(self, refused=None):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(5, 20), nn.SiLU(), nn.Linear(20, 12))
        self.refused = refused
        self._sizes = []

    def forward(self, z):
        self._sizes.append(len(z))
        if self.refused is not None and bool((z.detach() == self.refused).all(-1).any()):
            raise ArithmeticError("not this one")
        return self.layers(z)


def generator(**given):
    return LatentMap(Net(**given).eval(), (5,), name="net")


def survey(out, model=None, **given):
    options = {"latents": "seed:0..39", "descriptors": SPECTRAL, **given}
    return theodolite.survey(generator() if model is None else model, None, out, **options)


def same(one, other):
    tables = [pq.read_table(run.path / "quantities.parquet").replace_schema_metadata() for run in (one, other)]
    assert tables[0].equals(tables[1])
    a, b = (load_file(run.path / "arrays.safetensors") for run in (one, other))
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_names_of_batches_are_no_units_and_say_what_is_stored():
    units = ["a", "b", "c", "d", "e"]
    assert batches(units, units, 2) == ["0:2", "2:4", "e"]
    assert batches(units, ["b", "c", "d"], 2) == ["0:2@1", "2:4"]
    assert batches(units, ["b", "d"], 1) == ["b", "d"]
    assert Batch.of_name("0:4@1,3") == Batch(0, 4, (1, 3))
    assert str(Batch(0, 4, (1, 3))) == "0:4@1,3"
    assert Batch.of_name("seed-3") is None


def test_few_units_are_measured_one_by_one():
    assert [batch_size(256, count) for count in (3, 31, 32, 256, 10_000)] == [1, 1, 8, 64, 256]
    assert batch_size(1, 10_000) == batch_size(7, 10_000) == 1


def test_parts_of_a_run_take_whole_batches_or_else_units():
    assert Shard(2, 2).units(range(10), 3) == [3, 4, 5, 9]
    assert Shard(2, 4).units(range(8), 4) == [1, 5]


@pytest.mark.parametrize("kind", ["generator", "images", "hotspots"])
def test_numbers_do_not_depend_on_the_batch_but_for_last_digits(tiny, photos, kind):
    experiment, given = (Hotspots, {"reference": None}) if kind == "hotspots" else (Survey, {"budget": "quick"})
    model, data = (generator(), {"latents": "seed:0..7"}) if kind == "generator" else (tiny.make(), {"data": photos})
    work = opened(prepared(experiment, [model], {**data, **given}))
    sitting = Sitting(print, lambda unit: None, {})
    together = work.measure_together(work.units, sitting)
    assert list(together) == work.units
    for unit in work.units:
        alone = work.measure(unit, sitting)
        assert [row["status"] for row in together[unit].rows] == [row["status"] for row in alone.rows]
        for one, other in zip(alone.rows, together[unit].rows):
            if one["status"] != "ok":
                continue
            # Differences of float32 outputs and of directions a thousandth apart, beside their errors.
            apart = abs(one["value"] - other["value"])
            assert apart <= max(5e-4 * abs(one["value"]), 0.1 * one["stderr"]), (one, other)
        assert together[unit].about == alone.about
        assert together[unit].pictures.keys() == alone.pictures.keys()
        latents = (piece.arrays["latent"] for piece in (together[unit], alone))
        torch.testing.assert_close(*latents, rtol=1e-5, atol=1e-6)


def test_a_run_is_measured_in_batches_and_its_parts_are_equal_to_the_bit(tmp_path):
    model = generator()
    whole = survey(tmp_path / "whole", model)
    assert whole.info["batch"] == 10
    assert whole.info["sittings"][-1]["units"] == 40
    assert max(model.function._sizes) >= 10
    for count in (2, 7):  # 7 parts are more than there are batches
        parts = [survey(tmp_path / f"{count}-{part}", shard=f"{part}/{count}") for part in range(1, count + 1)]
        assert sum(len(part.units) for part in parts) == 40
        same(whole, merge([part.path for part in parts], tmp_path / f"merged-{count}"))


@pytest.mark.slow
def test_workers_are_equal_to_one_process_to_the_bit(tmp_path, situations, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "named.py").write_text(
        "import torch\nfrom torch import nn\nfrom theodolite import LatentMap\n\n"
        "def make():\n    torch.manual_seed(0)\n"
        "    return LatentMap(nn.Sequential(nn.Linear(5, 9), nn.SiLU(), nn.Linear(9, 8)), (5,), name='net')\n"
    )
    same(survey(tmp_path / "one", "named:make"), survey(tmp_path / "two", "named:make", workers=2))


def test_a_unit_that_fails_costs_the_others_nothing(tmp_path):
    refused = torch.randn(5, generator=torch.Generator().manual_seed(13), dtype=torch.float64).float()
    run = survey(tmp_path / "run", generator(refused=refused))
    assert [entry["unit"] for entry in run.info["failed"]] == ["seed-13"]
    assert "not this one" in run.info["failed"][0]["reason"]
    assert run.units == [unit for unit in UNITS if unit != "seed-13"]
    assert run.info["sittings"][-1]["units"] == 39
    whole = survey(tmp_path / "whole")
    before, after = ({row["unit"]: row["value"] for row in one.rows("local_rank")} for one in (whole, run))
    assert all(before[unit] == after[unit] for unit in UNITS[20:])  # of other batches, to the bit
    assert all(abs(before[unit] - after[unit]) < 1e-5 * before[unit] for unit in after)


def test_an_interrupted_run_is_read_and_goes_on_to_equal_tables(tmp_path, monkeypatch):
    whole = survey(tmp_path / "whole")
    there = []

    def stop(done, total, what):
        if done == 20 and what:
            run = read_run(tmp_path / "run")  # before shards are merged
            there.extend([run.units, run.arrays("seed-13")["latent"], run.rows("local_rank", unit="seed-13")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(tmp_path / "run", progress=stop)
    assert there[0] == UNITS[:20]
    torch.testing.assert_close(there[1], whole.arrays("seed-13")["latent"], rtol=0, atol=0)
    assert there[2] == whole.rows("local_rank", unit="seed-13")
    # What there is memory for may change; what is together may not.
    monkeypatch.setattr("theodolite.descriptors.groups.batch_size", lambda *given: 1)
    same(whole, survey(tmp_path / "run"))


def test_what_a_killed_process_left_of_a_batch_is_kept(tmp_path, monkeypatch):
    whole = survey(tmp_path / "whole")
    monkeypatch.setattr(RunFolder, "merge", lambda *given: (_ for _ in ()).throw(SystemExit("killed")))
    with pytest.raises(SystemExit):
        survey(tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "run" / "shards" / "seed-10.parquet").unlink()  # its last file was not there yet
    measured = []
    run = survey(tmp_path / "run", progress=lambda *call: measured.append(call))
    assert measured[0] == (30, 40, "")
    same(whole, run)
