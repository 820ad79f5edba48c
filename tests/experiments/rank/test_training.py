"""`--train`: every training is a unit, stands beside the forecast, and is left out where it cannot win."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from theodolite.diffusability.trainer import entrant_of
from theodolite.errors import InputError
from theodolite.estimates import Estimate, student_mean
from theodolite.experiments.rank.training import _lost, trainings_of
from theodolite.runs.experiment import Piece

OPTIONS = {"train": 3, "seeds": 2}


@pytest.fixture(scope="module")
def run(rank, many, tmp_path_factory):
    return rank("pooled", "isometric", out=tmp_path_factory.mktemp("trained") / "run", data=many, **OPTIONS)


def test_every_training_is_a_unit_and_its_seeds_make_one_number(run):
    names = [f"train.{model}.convolutional.s{seed}" for seed in (0, 1) for model in ("pooled", "isometric")]
    assert run.units == ["images", "pooled", "isometric", *names]
    for model in ("pooled", "isometric"):
        own = run.rows("trained_run", space=model, steps=3)
        assert [row["seed"] for row in own] == [0, 1]
        logs = torch.tensor([[math.log(row["value"])] for row in own], dtype=torch.float64)
        mean, stderr = student_mean(logs)
        (trained,) = run.rows("trained", space=model, steps=3)
        assert trained["value"] == pytest.approx(math.exp(mean))
        assert trained["high"] / trained["value"] == pytest.approx(math.exp(1.96 * float(stderr)))
        assert trained["status"] == "learned"
    assert all(run.words(name).label != name for name in run.quantities)


def test_it_stands_beside_the_forecast(run):
    (table,) = (table for table in run.experiment.page(run).tables if table.name == "trained")
    for row in table.as_json():
        assert row["trained_3"]["value"] > 0
        assert row["forecast_2000"]["value"] >= 1


def test_a_run_is_trained_later_and_nothing_is_measured_again(rank, many, run, tmp_path):
    out, seen = tmp_path / "run", []
    rank("pooled", "isometric", out=out, data=many)
    later = rank(
        *("pooled", "isometric"), out=out, data=many, **OPTIONS, progress=lambda done, total, what: seen.append(what)
    )
    assert not {"images", "pooled", "isometric"} & set(seen)
    assert repr(later.rows("trained")) == repr(run.rows("trained"))
    without = rank("pooled", "isometric", out=out, data=many)
    assert without.units == ["images", "pooled", "isometric"]
    assert "trained" not in without.quantities


def test_without_images_enough_it_is_refused(rank, tmp_path):
    with pytest.raises(InputError, match="--train expects at least 64 images"):
        rank("pooled", "isometric", out=tmp_path / "run", train=3)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"seeds": 3}, "--seeds expected beside --train STEPS, got 3"), ({"train": -5}, "or 0 for none, got -5")],
)
def test_training_that_makes_no_sense_is_refused(rank, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        rank("pooled", "isometric", out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_what_cannot_win_is_left_out():
    rows = [{"quantity": "trained_run", "space": "best", "value": 0.1, "stderr": 0.005}]
    others = [Piece(rows), Piece([{**rows[0], "space": "worse", "value": 0.3}]), Piece()]

    def lost(share, label="mine", beside=others):
        return _lost(Estimate.of(math.log(20 * share), 0.05), 20.0, label, beside)

    assert "best generates" in lost(0.2)
    assert lost(0.12) == ""
    assert lost(0.2, "best", others[:1]) == ""
    assert lost(0.2, beside=[]) == ""


def test_first_seeds_come_before_second_ones():
    given = {"train": 1500, "network": "tokens", "seeds": 2}
    made = trainings_of(given, ["a", "b"])
    assert [(own.seed, own.model) for own in made.values()] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert made["train.a.tokens.s0"].checkpoints == (500, 1000, 1500)
    assert trainings_of({**given, "train": None}, ["a"]) == {}


def test_an_entrant_is_normalised_and_held_out_by_source(linear):
    model, x, sources = linear.padded(), linear.images(6, 10), linear.sources(6, 10)
    entrant = entrant_of(model, x, sources)
    z: Tensor = entrant.latents
    assert len(z) == 40
    assert len(entrant.held_out) == entrant.judge.samples == 20
    assert float(z.mean((0, 2, 3)).abs().max()) < 1e-5
    assert float(z.square().mean()) == pytest.approx(1, abs=1e-4)
    # decoding undoes the normalisation, so that what comes back are the images, in another order
    decoded = entrant.judge.decode(torch.cat([z, entrant.held_out]))
    norms = [images.flatten(1).norm(dim=1).sort().values for images in (decoded, x)]
    torch.testing.assert_close(*norms, rtol=1e-4, atol=1e-4)


def test_a_dry_run_tells_what_is_trained(invoke, tiny, tmp_path):
    folder = tiny.write_images(tmp_path / "images", count=110)
    words = ("--data", folder, "--train", 2000, "--seeds", 3, "--dry-run", "--json")
    told = json.loads(invoke("rank", "tiny:make", "tiny:other", *words).stdout)
    assert (told["reference trainings"], told["steps of each"]) == (6, 2000)
