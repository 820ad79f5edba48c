"""`theodolite floor`: the floor of a training loss by noise level, beside a user's own losses."""

from __future__ import annotations

import json
import math

import pytest

from theodolite.diffusability.floors import time_sampling
from theodolite.errors import InputError
from theodolite.experiments.floor.training_log import read_losses
from theodolite.zoo import bundled_images

WORDS = ("zoo:patches-kl", "--data", bundled_images(), "--group", "^[a-z]+", "--size", 16, "--limit", 8)
LOG = "step,t,loss\n0,0.1,1.9\n0,0.9,1.2\n500,0.1,1.2\n500,0.9,1.05\n"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "losses.csv"
    path.write_text(LOG)
    return path


def test_a_floor_is_made_shown_and_judged_anew_without_measuring(invoke, log, tmp_path):
    pytest.importorskip("plotly")
    out = tmp_path / "run"
    result = invoke("floor", *WORDS, "--out", out)
    assert result.exit_code == 0, result.output
    assert "No network gets its velocity loss with uniform times below a floor between" in result.stdout
    stored = (out / "arrays.safetensors").read_bytes()
    again = invoke("floor", *WORDS, "--out", out, "--losses", log)
    assert again.exit_code == 0, again.output
    assert "Your training stands at" in again.stdout
    (row,) = json.loads(invoke("show", out, "--json").stdout)["tables"]["floor"]
    assert row["learned"]["value"] == pytest.approx((1.9 + 1.2 - 1.2 - 1.05) / 2)
    assert row["loss_floor"]["status"] == row["impossible"]["status"] == "upper-bound"
    assert row["left"]["status"] == "lower-bound"
    assert (out / "arrays.safetensors").read_bytes() == stored
    assert "Floor by noise level" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--time", "often"), "a time sampling expected"),
        (("--time", "uniform:-1"), "a shift and a deviation above zero"),
        (("--loss", "l1"), "l1"),
        (("--losses", "nowhere.csv"), "a CSV file of losses expected"),
        (("--losses", bundled_images()), "got a folder"),
    ],
)
def test_mistakes_are_one_line(refused, tmp_path, words, message):
    refused(message, "floor", *WORDS, *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_of_losses_is_read_by_level(log):
    losses = read_losses(str(log), time_sampling("uniform"))
    assert losses.steps == (0, 500)
    assert {round(sigma, 6): loss for sigma, loss in losses.last.items()} == {round(1 / 9, 6): 1.2, 9.0: 1.05}


@pytest.mark.parametrize(
    ("text", "time", "said"),
    [
        ("loss\n1\n", "uniform", "columns step and loss"),
        ("step,loss,t,sigma\n0,1,.5,1\n", "uniform", "one of sigma and t"),
        ("step,loss\n0,nan\n", "uniform", "numbers expected in column loss"),
        ("step,t,loss\n0,1.5,1\n", "uniform", "above 0 and below 1"),
        ("step,t,loss\n0,.5,1\n", "cosine", "of straight lines"),
        ("step,sigma,loss\n0,1,1\n9,2,1\n", "cosine", "the same noise levels"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_error(tmp_path, text, time, said):
    path = tmp_path / "losses.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_losses(str(path), time_sampling(time))


def test_losses_without_levels_stand_beside_the_whole_floor(tmp_path):
    path = tmp_path / "losses.csv"
    path.write_text("step,loss\n0,2.0\n100,1.5\n")
    losses = read_losses(str(path), time_sampling("logit-normal"))
    assert (losses.first, losses.last) == ({None: 2.0}, {None: 1.5})
    assert math.isfinite(losses.steps[1])
