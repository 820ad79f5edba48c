"""`theodolite detect`: what it prints and writes, how it fails, how it is interrupted and resumed."""

from __future__ import annotations

import json
import shutil
import signal
import time

import pyarrow.parquet as pq
import pytest

SCORES = "local_scaling,local_rank,negative_log_likelihood,reconstruction_error,score_norm,nearest_neighbour"
NAMES = {"departure", *SCORES.split(",")}


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
def words_of(folders, tmp_path):
    def words(*more, model="tiny:make", reference=folders[0], test=folders[1], out=tmp_path / "run"):
        given = ("--reference", reference, "--test", test, "--out", out, "--size", 16)
        scores = () if "--scores" in more else ("--scores", SCORES)
        return ("detect", model, *given, *scores, *more)

    return words


@pytest.fixture
def detect(invoke, words_of):
    return lambda *more, **given: invoke(*words_of(*more, **given))


@pytest.fixture
def labels(tmp_path):
    def write(text):
        (tmp_path / "labels.csv").write_text(text)
        return tmp_path / "labels.csv"

    return write


def rows_of(run, **where):
    rows = pq.read_table(run / "quantities.parquet").to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in where.items())]


def record_of(run):
    return json.loads((run / "run.json").read_text())


def sources(run):
    """The photograph of every reference image, as the names of samples tell it."""
    samples = {row["sample"] for row in rows_of(run, quantity="score")}
    return {sample.removeprefix("reference-").split("_")[0] for sample in samples if sample.startswith("reference-")}


def test_scores_images_and_the_reports_path_are_printed(detect, tmp_path):
    pytest.importorskip("plotly")
    result = detect()
    assert result.exit_code == 0, result.output
    assert "tiny, 6 reference and 6 test images" in result.stdout
    assert "departure" in result.stdout
    assert "Left out to fit: negative_log" not in result.stdout  # only scores that were asked for come into the list
    assert result.stdout.splitlines()[-1] == str(tmp_path / "run" / "report.html")
    assert "3 test images are byte for byte reference images, e.g. 03.png." in result.stdout
    text = (tmp_path / "run" / "report.html").read_text()
    assert "default-src 'none'" in text


def test_the_table_holds_every_image_and_score(detect, tmp_path):
    assert detect("--no-report", "--quiet").output == ""
    rows = rows_of(tmp_path / "run", quantity="score")
    assert len(rows) == 12 * len(NAMES)
    assert {row["score"] for row in rows} == NAMES
    assert sources(tmp_path / "run") == {f"photo{k}" for k in range(3)}
    ps = [row["value"] for row in rows_of(tmp_path / "run", quantity="p_value")]
    assert len(ps) == 12 * len(NAMES)
    assert all(0.25 - 1e-9 <= p <= 1 for p in ps), "three photographs, each counted once"
    for quantity in ("auroc", "average_precision", "tpr"):
        rates = rows_of(tmp_path / "run", quantity=quantity)
        assert {row["score"] for row in rates} == NAMES
        assert all(row["low"] <= row["value"] <= row["high"] for row in rates)
    for limit in rows_of(tmp_path / "run", quantity="threshold"):
        known = [row["value"] for row in rows if row["score"] == limit["score"] and row["sample"].startswith("ref")]
        assert limit["value"] == max(known)  # 95 % of six are all six
    info = record_of(tmp_path / "run")
    assert (info["kind"], info["status"]) == ("detect", "complete")
    assert {file["role"] for file in info["data"]["files"]} == {"reference", "test"}


def test_too_few_reference_images_bound_the_quantile_from_below_only(detect, tmp_path):
    detect("--no-report", "--quiet")
    quantiles = rows_of(tmp_path / "run", quantity="quantile")
    assert {row["score"] for row in quantiles} == NAMES
    assert {(row["status"], row["high"]) for row in quantiles} == {("lower-bound", None)}


def test_the_same_image_has_the_same_scores_and_no_neighbour_distance(detect, tmp_path):
    detect("--no-report", "--quiet")
    values = {(row["sample"], row["score"]): row["value"] for row in rows_of(tmp_path / "run", quantity="score")}
    assert values["test-03", "nearest_neighbour"] == 0
    assert values["reference-photo0_0000_0000", "nearest_neighbour"] > 0
    for score in ("reconstruction_error", "score_norm"):
        assert values["test-03", score] == pytest.approx(values["reference-photo1_0000_0016", score])
    psi, norm = values["test-03", "local_scaling"], values["test-03", "score_norm"]
    likelihood = psi + norm**2 / 2 + 32 / 2 * 1.8378770664093453
    assert values["test-03", "negative_log_likelihood"] == pytest.approx(likelihood, rel=1e-5)


def test_json_is_the_only_thing_on_stdout(detect):
    answer = json.loads(detect("--json", "--no-report").stdout)
    assert (answer["status"], answer["units"], answer["report"]) == ("complete", 12, None)
    images, scores = answer["tables"]["images"], answer["tables"]["scores"]
    values = [row["departure"]["value"] for row in images]
    assert len(images) == 6
    assert values == sorted(values, reverse=True)
    assert {row["score"] for row in scores} == NAMES
    assert {*SCORES.split(",")} <= set(images[0])
    assert any("byte for byte" in line for line in answer["warnings"])


def test_show_and_report_know_a_detection(detect, invoke, refused, tmp_path):
    pytest.importorskip("plotly")
    detect("--no-report", "--quiet")
    run = tmp_path / "run"
    assert "test images" in invoke("show", run, "--sort", "local_rank").stdout
    images = json.loads(invoke("show", run, "--json", "--sort", "local_rank").stdout)["tables"]["images"]
    ranks = [row["local_rank"]["value"] for row in images]
    assert ranks == sorted(ranks, reverse=True)
    assert json.loads(invoke("show", run, "--json").stdout)["units"] == 12
    made = invoke("report", run, "--out", tmp_path / "again.html")
    assert made.stdout.strip() == str(tmp_path / "again.html")
    refused("known are above, auroc, average_precision, departure", "show", run, "--sort", "nothing")


def test_labels_decide_what_auroc_means_and_may_come_later(detect, labels, tmp_path):
    detect("--no-report", "--quiet")
    before = {row["sample"]: row for row in rows_of(tmp_path / "run", quantity="local_scaling")}
    sittings = record_of(tmp_path / "run")["sittings"]
    file = labels("file,label\n03.png,0\n04.png,normal\n05.png,0\n06.png,1\n07.png,unusual\n08.png,1\n")
    result = detect("--no-report", "--labels", file, "--level", "0.8", "--score", "local_scaling")
    assert "AUROC of unusual against normal labels" in result.stdout
    assert "By Local scaling ψ" in result.stdout
    assert {row["sample"]: row for row in rows_of(tmp_path / "run", quantity="local_scaling")} == before
    info = record_of(tmp_path / "run")
    assert sum(sitting["units"] for sitting in info["sittings"]) == sum(s["units"] for s in sittings) == 12
    assert info["labelled"]["07.png"] == 1
    assert info["settings"]["level"] == 0.8


def test_a_changed_labels_file_is_judged_by_anew(detect, labels, tmp_path):
    words = ("--no-report", "--labels", labels("file,label\n03.png,0\n04.png,0\n05.png,1\n06.png,1\n"))
    answer = json.loads(detect(*words, "--json").stdout)
    labels("file,label\n03.png,1\n04.png,1\n05.png,0\n06.png,0\n")
    again = json.loads(detect(*words, "--json").stdout)
    for old, new in zip(answer["tables"]["scores"], again["tables"]["scores"]):
        assert new["auroc"]["value"] == pytest.approx(1 - old["auroc"]["value"])
    assert record_of(tmp_path / "run")["labelled"]["03.png"] == 1
    before = (tmp_path / "run" / "run.json").read_bytes()
    detect(*words)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_limit_is_spread_over_sources(detect, tmp_path):
    detect("--no-report", "--quiet", "--limit", 3)
    assert sources(tmp_path / "run") == {f"photo{k}" for k in range(3)}
    assert len({row["sample"] for row in rows_of(tmp_path / "run", quantity="score")}) == 6


def test_the_cost_is_told_before(invoke, folders, tmp_path):
    words = ("--reference", folders[0], "--test", folders[1], "--size", 16, "--dry-run", "--json")
    told = json.loads(invoke("detect", "tiny:make", *words).stdout)
    assert told["samples"] == 12
    assert told["passes_a_sample"] == sum(told["passes"].values()) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scores", "nothing"), "one of negative_log_likelihood"),
        (("--scores", "score_norm"), "of the model's geometry"),
        (("--score", "curvature"), "departure or one of"),
        (("--level", "1.5"), "between 0 and 1"),
        (("--budget", "huge"), "quick, standard, full"),
        (("--group", "("), "regular expression"),
        (("--group", "^photo|^0"), "two sources or more"),
        (("--size", "10"), "divisible by 4"),
        (("--labels", "missing.csv"), "cannot read the labels file"),
        (("--limit", "1"), "a larger --limit"),
    ],
)
def test_mistakes_are_one_line(refused, words_of, tmp_path, words, message):
    refused(message, *words_of(*words))
    assert not (tmp_path / "run").exists()


def test_mistakes_in_folders(refused, words_of, folders, tmp_path):
    refused("does not exist; check the path (--test)", *words_of(test=tmp_path / "nowhere"))
    refused("does not exist; check the path (--reference)", *words_of(reference=tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    refused("holds no image", *words_of(test=tmp_path / "empty"))
    refused("two folders expected", *words_of(test=folders[0]))
    refused("two folders expected", *words_of(test=folders[0] / ".." / "reference"))
    refused("no model 'nowhere'", *words_of(model="nowhere"))
    refused("5 channels", *words_of(model="tiny:five_channels"))


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
def test_mistakes_in_labels(refused, words_of, labels, text, message, tmp_path):
    refused(message, *words_of("--labels", labels(text)))
    assert not (tmp_path / "run").exists()


def test_nan_weights_are_told(refused, words_of, tmp_path):
    refused("NaN or infinity", *words_of("--no-report", model="tiny:broken_weights"))
    assert not (tmp_path / "run").exists()


def test_other_runs_are_not_overwritten(detect, refused, words_of, invoke, photos, tmp_path):
    words = ("--data", photos, "--out", tmp_path / "other", "--limit", 1, "--budget", "quick", "--no-report", "--quiet")
    assert invoke("survey", "tiny:make", "--descriptors", "local_rank", *words).exit_code == 0
    refused("holds a run of `theodolite survey`, not of `theodolite detect`", *words_of(out=tmp_path / "other"))
    detect("--no-report", "--quiet")
    refused("images", *words_of("--limit", 2))
    refused("another model", *words_of(model="tiny:other"))
    words = ("--data", photos, "--out", tmp_path / "run")
    refused("holds a run of `theodolite detect`, not of `theodolite survey`", "survey", "tiny:make", *words)


def test_few_images_have_scores_without_auroc(detect, folders, tmp_path):
    for path in sorted(folders[1].iterdir())[1:]:
        path.unlink()
    result = detect("--no-report")
    assert result.exit_code == 0, result.output
    assert "No AUROC: at least two independent" in result.stdout
    assert rows_of(tmp_path / "run", quantity="auroc") == []


def test_an_interrupt_leaves_a_run_that_goes_on(start, invoke, folders, tmp_path):
    out = tmp_path / "run"
    words = ("detect", "tiny:slow", "--reference", folders[0], "--test", folders[1], "--out", out, "--size", 16)
    words = (*words, "--scores", "local_scaling,local_rank", "--no-report")
    process = start(*words)
    deadline = time.monotonic() + 120
    while len(list(out.glob("shards/*.parquet"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert record_of(out)["status"] == "interrupted"
    result = invoke(*words, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["units"] == 12


def test_help_is_quick_and_has_examples(invoke):
    result = invoke("detect", "--help")
    assert "Examples:" in result.stdout
    assert "--labels" in result.stdout
