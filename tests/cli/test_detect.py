"""`theodolite detect`: what it prints and writes, how it fails, how it is interrupted and resumed."""

from __future__ import annotations

import json
import shutil
import signal
import time

import pyarrow.parquet as pq
import pytest

SCORES = "local_scaling,local_rank,negative_log_likelihood,reconstruction_error,score_norm,nearest_neighbour"


@pytest.fixture
def folders(tiny, tmp_path):
    """Six reference images of three photographs, and six test images of which three are the same as some of those."""
    tiny.write_images(tmp_path / "all", count=9)
    images = sorted((tmp_path / "all").iterdir())
    for place, path in enumerate(images[:6]):
        (tmp_path / "reference").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "reference" / f"photo{place // 2}_0000_{place % 2 * 16:04d}.png")
    for path in images[3:]:
        (tmp_path / "test").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "test" / path.name)
    return tmp_path / "reference", tmp_path / "test"


@pytest.fixture
def detect(invoke, folders, tmp_path):
    def call(*words, model="tiny:make", reference=folders[0], test=folders[1], out=tmp_path / "run"):
        given = ("--reference", reference, "--test", test, "--out", out, "--size", 16)
        return invoke("detect", model, *given, "--scores", SCORES, *words)

    return call


@pytest.fixture
def labels(tmp_path):
    def write(text):
        (tmp_path / "labels.csv").write_text(text)
        return tmp_path / "labels.csv"

    return write


def refused(result, message):
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    line = result.stderr.splitlines()[-1]
    assert line.startswith("theodolite: error: ")
    assert message in line


def test_scores_images_and_the_reports_path_are_printed(detect, tmp_path):
    pytest.importorskip("plotly")
    result = detect()
    assert result.exit_code == 0, result.output
    assert "6 reference and 6 test images, budget quick, complete" in result.stdout
    assert "departure" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    assert "3 test images are reference images too" in result.stderr
    text = (tmp_path / "run" / "report.html").read_text()
    assert "default-src 'none'" in text


def test_the_tables_hold_every_image_and_score(detect, tmp_path):
    assert detect("--no-report", "--quiet").output == ""
    rows = pq.read_table(tmp_path / "run" / "scores.parquet").to_pylist()
    names = {"departure", *SCORES.split(",")}
    assert len(rows) == 12 * len(names)
    assert {row["score"] for row in rows} == names
    assert {row["role"] for row in rows} == {"reference", "test"}
    assert {row["source"] for row in rows if row["role"] == "reference"} == {f"reference/photo{k}" for k in range(3)}
    assert all(1 / 7 - 1e-9 <= row["p_value"] <= 1 and 0.25 - 1e-9 <= row["p_source"] <= 1 for row in rows)
    results = pq.read_table(tmp_path / "run" / "detection.parquet").to_pylist()
    assert {row["score"] for row in results} == names
    for row in results:
        assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
        above = {one["file"]: one["value"] for one in rows if one["score"] == row["score"] and one["flagged"]}
        assert all(value > row["threshold"] for value in above.values())
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (info["kind"], info["status"]) == ("detect", "complete")


def test_the_same_image_has_the_same_scores_and_no_neighbour_distance(detect, tmp_path):
    detect("--no-report", "--quiet")
    rows = pq.read_table(tmp_path / "run" / "scores.parquet").to_pylist()
    values = {(row["file"], row["score"]): row["value"] for row in rows}
    assert values["03.png", "nearest_neighbour"] == 0
    assert values["photo0_0000_0000.png", "nearest_neighbour"] > 0
    for score in ("reconstruction_error", "score_norm"):
        assert values["03.png", score] == pytest.approx(values["photo1_0000_0016.png", score])
    psi, norm = values["03.png", "local_scaling"], values["03.png", "score_norm"]
    likelihood = psi + norm**2 / 2 + 32 / 2 * 1.8378770664093453
    assert values["03.png", "negative_log_likelihood"] == pytest.approx(likelihood, rel=1e-5)


def test_json_is_the_only_thing_on_stdout(detect):
    found = json.loads(detect("--json", "--no-report").stdout)
    assert found["status"] == "complete"
    assert (found["images"], found["reference"], found["report"]) == (12, 6, None)
    assert [row["score"] for row in found["suspicious"]] == sorted(
        (row["score"] for row in found["suspicious"]), reverse=True
    )
    assert {row["score"] for row in found["results"]} == {"departure", *SCORES.split(",")}


def test_show_and_report_know_a_detection(detect, invoke, tmp_path):
    pytest.importorskip("plotly")
    detect("--no-report", "--quiet")
    shown = invoke("show", tmp_path / "run", "--sort", "local_rank")
    assert "test images by local_rank" in shown.stdout
    assert json.loads(invoke("show", tmp_path / "run", "--json").stdout)["images"] == 12
    made = invoke("report", tmp_path / "run", "--out", tmp_path / "again.html")
    assert made.stdout.strip() == str(tmp_path / "again.html")
    refused(invoke("show", tmp_path / "run", "--sort", "nothing"), "there are departure")


def test_labels_decide_what_auroc_means_and_may_come_later(detect, labels, tmp_path):
    detect("--no-report", "--quiet")
    before = (tmp_path / "run" / "quantities.parquet").stat().st_mtime_ns
    file = labels("file,label\n03.png,0\n04.png,normal\n05.png,0\n06.png,1\n07.png,unusual\n08.png,1\n")
    result = detect("--no-report", "--labels", file, "--level", "0.8", "--score", "local_scaling")
    assert "AUROC of labels" in result.stdout.replace("\n", " ")
    assert "test images by local_scaling" in result.stdout
    assert (tmp_path / "run" / "quantities.parquet").stat().st_mtime_ns == before
    rows = pq.read_table(tmp_path / "run" / "scores.parquet").to_pylist()
    assert {row["file"]: row["label"] for row in rows if row["role"] == "test"}["07.png"] == 1
    assert pq.read_table(tmp_path / "run" / "detection.parquet").to_pylist()[0]["level"] == 0.8


def test_a_limit_is_spread_over_sources(detect, tmp_path):
    detect("--no-report", "--quiet", "--limit", 3)
    rows = pq.read_table(tmp_path / "run" / "scores.parquet").to_pylist()
    assert {row["source"] for row in rows if row["role"] == "reference"} == {f"reference/photo{k}" for k in range(3)}
    assert len({row["sample"] for row in rows}) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scores", "nothing"), "there are negative_log_likelihood"),
        (("--scores", "score_norm"), "of the decoder's geometry"),
        (("--score", "curvature"), "departure or one of"),
        (("--level", "1.5"), "between 0 and 1"),
        (("--budget", "huge"), "quick, standard, full"),
        (("--group", "("), "regular expression"),
        (("--group", "^photo|^0"), "two sources or more"),
        (("--size", "10"), "divisible by 4"),
        (("--labels", "missing.csv"), "cannot read the labels file"),
    ],
)
def test_mistakes_are_one_line(detect, tmp_path, words, message):
    refused(detect(*words), message)
    assert not (tmp_path / "run").exists()


def test_mistakes_in_folders(detect, folders, tmp_path):
    refused(detect(test=tmp_path / "nowhere"), "does not exist")
    refused(detect(reference=tmp_path / "nowhere"), "does not exist")
    (tmp_path / "empty").mkdir()
    refused(detect(test=tmp_path / "empty"), "holds no image")
    refused(detect(test=folders[0]), "two folders expected")
    refused(detect(test=folders[0] / ".." / "reference"), "two folders expected")
    refused(detect(model="nowhere"), "no model 'nowhere'")
    refused(detect(model="tiny:five_channels"), "5 channels")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n03.png,0\n99.png,1\n", "'99.png'"),
        ("file,label\n03.png,0\n04.png,0\n", "got only 0"),
        ("file,label\n03.png,0\n04.png,2\n", "0 (normal) or 1 (unusual)"),
        ("file,label\n03.png,0\n03.png,1\n", "twice"),
        ("name,kind\n03.png,0\n", "columns file,label"),
        ("", "columns file,label"),
        ("file,label\n", "got none"),
        ("file,label\n03.png\n04.png,1\n", "got None"),
    ],
)
def test_mistakes_in_labels(detect, labels, text, message, tmp_path):
    refused(detect("--labels", labels(text)), message)
    assert not (tmp_path / "run").exists()


def test_nan_weights_are_told(detect, tmp_path):
    refused(detect("--no-report", model="tiny:broken_weights"), "returned NaN or infinity")
    assert not (tmp_path / "run").exists()


def test_other_runs_are_not_overwritten(detect, done, invoke, tmp_path):
    refused(detect(out=done), "another configuration")
    detect("--no-report", "--quiet")
    refused(detect("--limit", 2), "images")
    refused(detect(model="tiny:other"), "model fingerprint")
    words = ("--data", tmp_path / "photos", "--out", tmp_path / "run")
    refused(invoke("survey", "tiny:make", *words), "kind detect there, survey here")
    refused(invoke("rank", "tiny:make", "tiny:other", *words), "not a ranking")


def test_few_images_have_scores_without_auroc(detect, folders):
    for path in sorted(folders[1].iterdir())[1:]:
        path.unlink()
    result = detect("--no-report")
    assert result.exit_code == 0, result.output
    assert "no AUROC: at least two independent" in result.stdout


def test_an_interrupt_leaves_a_run_that_goes_on(start, invoke, folders, tmp_path):
    out = tmp_path / "run"
    words = ("detect", "tiny:slow", "--reference", folders[0], "--test", folders[1], "--out", out, "--size", 16)
    words = (*words, "--scores", "local_scaling,local_rank", "--no-report")
    process = start(*words)
    deadline = time.monotonic() + 60
    while len(list(out.glob("shards/*.parquet"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    result = invoke(*words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 12


def test_help_is_quick_and_has_examples(invoke):
    result = invoke("detect", "--help")
    assert "Examples:" in result.stdout
    assert "--labels" in result.stdout
