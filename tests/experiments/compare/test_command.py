"""`theodolite compare` on the command line: two models, two runs, and what it refuses."""

from __future__ import annotations

import json

import pytest

from theodolite.runs import read_run
from theodolite.runs.functions import function_of
from theodolite.zoo import bundled_images

SMALL = ("--limit", 3, "--size", 16, "--descriptors", "local_scaling", "--budget", "quick")


@pytest.fixture
def models(monkeypatch):
    """Names of two of the models, for the command line."""
    return "pairs:plain", "pairs:finetuned"


def test_the_terminal_shows_differences_latents_and_images(invoke, models, photos, tmp_path):
    result = invoke("compare", *models, "--data", photos, *SMALL, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    for words in ("second less first", "differs", "gain", "affine", "images that moved most", "report.html"):
        assert words in result.output
    assert "The latent space is the same: less than 1 % of its variance is left unexplained." in result.output


def test_json_holds_the_tables_with_numbers(invoke, models, photos, tmp_path):
    result = invoke("compare", *models, "--data", photos, *SMALL, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.output
    tables = json.loads(result.stdout)["tables"]
    gain = next(row for row in tables["differences"] if row["quantity"] == "gain")
    assert gain["second"]["value"] == pytest.approx(1.5 * gain["first"]["value"], rel=1e-5)
    assert gain["differs"] is True
    assert gain["n"] == 3
    assert {row["fit"]: row["unexplained"]["value"] for row in tables["latents"]}["identity"] == 0.0
    shown = invoke("show", tmp_path / "run", "--json")
    assert json.loads(shown.stdout)["tables"] == tables


def test_help_names_both_ways(invoke):
    result = invoke("compare", "--help")
    assert result.exit_code == 0
    for words in ("FIRST SECOND", "--data", "two run folders of one kind", "did the latent space"):
        assert words in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pairs:plain", "{survey}"), "two models or two run folders expected, got one of each"),
        (("{survey}", "{survey}"), "two different runs expected, got"),
        (("{survey}", "{elsewhere}"), "two runs with numbers in common expected, got none"),
        (("{survey}", "{path}"), "two runs of one kind expected, got one of survey and one of path"),
        (("{survey}", "{other}", "--data", "{photos}"), "--data belongs to two models"),
        (("pairs:plain", "pairs:turned"), "--data FOLDER or --latents SEEDS expected with two models"),
        (("pairs:plain", "zoo:nothing", "--data", "{photos}"), "nothing"),
        (("pairs:plain", "pairs:grey", "--data", "{photos}"), "one kind of image expected"),
    ],
)
def test_what_cannot_be_compared_is_one_line(invoke, words, said, surveys, paths, photos, tmp_path):
    folders = {"survey": surveys / "plain", "other": surveys / "finetuned", "elsewhere": surveys / "elsewhere"}
    folders |= {"photos": photos, "path": paths / "plain"}
    result = invoke("compare", *(word.format(**folders) for word in words), "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def paths(pairs, photos, tmp_path_factory):
    """The same way through two models."""
    folder = tmp_path_factory.mktemp("paths")
    ends = sorted(map(str, photos.iterdir()))[:2]
    for name in ("plain", "finetuned"):
        function_of("path")(getattr(pairs, name)(), *ends, out=folder / name, steps=4, size=16, via="linear")
    return folder


@pytest.fixture(scope="module")
def rankings(tmp_path_factory):
    """Two rankings that share one model and the images."""
    folder = tmp_path_factory.mktemp("rankings")
    options = {"limit": 12, "size": 16, "budget": "quick"}
    for name, others in (("first", ["plain", "kl"]), ("second", ["plain", "smooth"])):
        models = [f"zoo:patches-{other}" for other in others]
        function_of("rank")(models, data=bundled_images(), out=folder / name, **options)
    return folder


class TestTwoRuns:
    def test_surveys_are_paired_by_image_although_their_models_differ(self, invoke, surveys, tmp_path):
        result = invoke("compare", surveys / "plain", surveys / "finetuned", "--out", tmp_path / "run")
        assert result.exit_code == 0, result.output
        run = read_run(tmp_path / "run")
        rows = {row["part"]: row for row in run.rows("gain") if row["part"]}
        first, second = (read_run(surveys / name).rows("gain") for name in ("plain", "finetuned"))
        ratio = rows["second"]["value"] / rows["first"]["value"]
        assert ratio == pytest.approx(1.5, rel=1e-5)
        assert rows["difference"]["value"] == pytest.approx(
            sum(b["value"] - a["value"] for a, b in zip(first, second)) / 5
        )
        assert rows["difference"]["n"] == 5
        assert "Gain" in (tmp_path / "run" / "report.html").read_text()

    def test_paths_are_paired_step_by_step_with_their_own_errors(self, invoke, paths, tmp_path):
        result = invoke("compare", paths / "plain", paths / "finetuned", "--out", tmp_path / "run")
        assert result.exit_code == 0, result.output
        run = read_run(tmp_path / "run")
        chord = {row["part"]: row for row in run.rows("chord") if row["part"]}
        assert chord["second"]["value"] == pytest.approx(1.5 * chord["first"]["value"], rel=1e-5)
        jumps = [row for row in run.rows("jump") if row["part"] == "difference"]
        assert [row["where"] for row in jumps] == ["step=1", "step=2", "step=3", "step=4"]
        length = {row["part"]: row for row in run.rows("length") if row["part"]}
        assert [length[part]["status"] for part in length] == ["lower-bound", "lower-bound", "truncated"]
        assert length["difference"]["stderr"] == pytest.approx(length["first"]["stderr"] + length["second"]["stderr"])

    def test_rankings_are_paired_by_model_and_what_is_left_by_elimination(self, invoke, rankings, tmp_path):
        result = invoke("compare", rankings / "first", rankings / "second", "--out", tmp_path / "run")
        assert result.exit_code == 0, result.output
        run = read_run(tmp_path / "run")
        gaps = {row["where"]: row["value"] for row in run.rows("gap") if row["part"] == "difference"}
        assert gaps["space=zoo:patches-plain"] == 0.0
        assert set(gaps) == {"space=zoo:patches-plain", "space=zoo:patches-kl / zoo:patches-smooth"}
        assert {
            row["value"]
            for row in run.rows("resolved")
            if "space=images" in row["where"] and row["part"] == "difference"
        } == {0.0}
        table = json.loads(invoke("show", tmp_path / "run", "--json").stdout)["tables"]["differences"]
        on_curves = ["tau=" in row["where"] for row in table]
        assert on_curves == sorted(on_curves)  # whole numbers come before points of curves
        assert not on_curves[0]

    def test_an_image_that_is_another_one_in_either_run_is_left_out(self, invoke, surveys, pairs, photos, tmp_path):
        import shutil

        from PIL import Image, ImageOps

        changed = shutil.copytree(photos, tmp_path / "changed")
        file = changed / "photo0_0000_0000.png"
        ImageOps.invert(Image.open(file)).save(file)
        options = {"budget": "quick", "size": 16, "descriptors": ["local_scaling"]}
        function_of("survey")(pairs.finetuned(), data=changed, out=tmp_path / "second", **options)
        result = invoke("compare", surveys / "plain", tmp_path / "second", "--out", tmp_path / "run")
        assert result.exit_code == 0, result.output
        run = read_run(tmp_path / "run")
        assert run.info["left_out"] == [{"what": "photo0_0000_0000", "reason": "another image in either run"}]
        assert {row["n"] for row in run.rows("gain") if row["part"] == "difference"} == {4}
