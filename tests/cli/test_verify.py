"""`theodolite verify`: exit codes, tables, JSON, refusals, and real surveys that hold."""

from __future__ import annotations

import json

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

import theodolite
from theodolite.zoo import bundled_images

CHEAP = {"budget": "quick", "descriptors": ["local_scaling", "local_rank"]}


@pytest.fixture
def surveyed(tiny, photos, tmp_path):
    """A survey of the four photographs with a tiny model."""
    theodolite.survey("tiny:make", photos, tmp_path / "run", **CHEAP)
    return tmp_path / "run"


def divide(path, by):
    """Divide every stored error of a run."""
    file = path / "quantities.parquet"
    table = pq.read_table(file)
    column = pc.divide(table["stderr"], by)
    changed = table.set_column(table.column_names.index("stderr"), "stderr", column)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), file)


@pytest.mark.parametrize("name", ["patches-plain", "patches-kl", "patches-smooth"])
@pytest.mark.slow
def test_an_honest_survey_holds_and_divided_errors_do_not(name, invoke, tmp_path):
    options = {**CHEAP, "descriptors": ["local_scaling", "local_rank", "local_complexity", "axis_rotation"]}
    run = theodolite.survey(f"zoo:{name}", bundled_images(), tmp_path / "run", size=32, limit=6, **options)
    for seed in range(3):
        assert invoke("verify", run.path, "--seed", seed, "--units", 0, "--quiet").exit_code == 0
    divide(run.path, 5.0)
    result = invoke("verify", run.path, "--units", 0)
    assert result.exit_code == 1
    assert "stored errors smaller than those found again" in result.stdout
    assert "The run does not hold." in result.stdout


def test_the_table_and_the_sentences(invoke, surveyed):
    result = invoke("verify", surveyed)
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())  # lines end where the length of a path has them end
    assert "4 of 4 units of survey, measured again in float64" in words
    assert "local_scaling" in words
    assert "Nothing contradicts the run (chance of an alarm where errors hold: 0.01)." in words


def test_json_is_one_object(invoke, surveyed):
    told = json.loads(invoke("verify", surveyed, "--json", "--units", "2", "--no-float64").stdout)
    assert (told["precision"], len(told["units"]), told["of"]) == ("float32", 2, 4)
    assert {"quantity", "rows", "inside", "p", "verdict", "holds"} <= {*told["quantities"][0]}
    assert {"sample", "stored", "again", "z"} <= {*told["rows"][0]}


def test_quiet_tells_by_the_exit_code(invoke, surveyed):
    assert invoke("verify", surveyed, "--quiet").stdout == ""


def test_a_changed_image_is_refused(refused, surveyed, photos):
    first = sorted(photos.glob("*.png"))[0]
    Image.new("RGB", (16, 16), (200, 10, 10)).save(first)
    refused("images 1 changed", "verify", surveyed)


def test_another_model_is_refused(refused, surveyed):
    refused("(another model)", "verify", surveyed, "--at", "model=zoo:patches-kl")


def test_images_may_have_moved(invoke, refused, surveyed, photos, tmp_path):
    photos.rename(tmp_path / "elsewhere")
    refused("where things are now is said with --at NAME=VALUE", "verify", surveyed)
    assert invoke("verify", surveyed, "--at", f"data={tmp_path / 'elsewhere'}").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--at", "data"), "--at expected NAME=VALUE"),
        (("--at", "dta=photos"), "did you mean 'data'?"),
        (("--units", "-1"), "--units"),
        (("--budget", "huge"), "quick, standard, full"),
        (("--level", "2"), "`level` expected"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(words, message, refused, surveyed):
    refused(message, "verify", surveyed, *words)


def test_a_model_that_was_given_as_an_object_is_given_again(tiny, photos, tmp_path):
    model = tiny.make()
    run = theodolite.survey(model, photos, tmp_path / "run", **CHEAP)
    result = theodolite.verify(run, at={"model": model})
    assert result.holds
    assert [*result.notes] == ["measured in the run's own precision: the model was given as an object"]
