"""Every logger gets scalars, tables, pictures and figures; TensorBoard, W&B and trackio are read back locally."""

from __future__ import annotations

import json
import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import theodolite
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.loggers import check_log, lasting, logger_of, opened_logger
from theodolite.training import probe

CHEAP = {"budget": "quick", "descriptors": ["local_rank"]}


@pytest.fixture
def stand_in(monkeypatch):
    """A module with the interface that W&B and trackio share, and everything that was logged to it."""

    def make(name):
        package = ModuleType(name)
        package.logged, package.projects, package.finished = [], [], []

        class Run:
            def log(self, values):
                package.logged.append(dict(values))

        Run.__module__ = f"{name}.run"
        package.Run = Run
        package.init = lambda project: package.projects.append(project) or Run()
        package.finish = lambda: package.finished.append(True)
        for kind in ("Table", "Image", "Plotly"):
            setattr(package, kind, lambda *args, kind=kind, **given: (kind, args, given))
        monkeypatch.setitem(sys.modules, name, package)
        monkeypatch.setattr("theodolite.loggers.opening.find_spec", lambda name: package)
        return package

    return make


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_an_experiment_sends_scalars_tables_pictures_and_figures(name, stand_in, tiny, photos, tmp_path):
    package = stand_in(name)
    run = theodolite.survey("tiny:make", photos, tmp_path / "run", log=f"{name}:mine", **CHEAP)
    assert (package.projects, package.finished) == (["mine"], [True])
    sent = {tag: value for row in package.logged for tag, value in row.items()}
    median = next(entry for entry in run.summary() if entry["quantity"] == "local_rank")["median"]
    assert sent["survey/local_rank/median"] == median
    kind, _, table = sent["survey/quantities"]
    assert (kind, table["columns"][0]) == ("Table", "quantity")
    assert all(len(row) == len(table["columns"]) for row in table["data"])
    kind, (path,), given = sent[f"survey/{run.units[0]}"]
    assert (kind, path, given) == ("Image", str(run.picture(run.units[0])), {"caption": run.units[0]})
    assert any(value[0] == "Plotly" for value in sent.values() if isinstance(value, tuple))


def test_a_run_of_theirs_is_known_and_stays_open(stand_in):
    package = stand_in("wandb")
    with opened_logger(package.Run()) as logger:
        logger.scalars({"a": 1.0}, 3, "step")
        logger.image("b", np.zeros((2, 2, 3), np.uint8), "c", 3)
    assert package.logged[0] == {"step": 3, "a": 1.0}
    assert package.logged[1]["b"][0] == "Image"
    assert package.finished == []


def test_a_complete_run_is_sent_without_being_measured_again(stand_in, tiny, photos, tmp_path):
    theodolite.survey("tiny:make", photos, tmp_path / "run", **CHEAP)
    before = (tmp_path / "run" / "run.json").read_bytes()
    rows = []
    theodolite.survey("tiny:make", photos, tmp_path / "run", log=rows.append, **CHEAP)
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert "survey/local_rank/median" in rows[0]
    assert all(math.isfinite(value) for value in rows[0].values())


def test_a_logger_that_fails_costs_no_run(tiny, photos, tmp_path):
    def broken(values):
        raise OSError("no network")

    with pytest.raises(InputError, match=r"the run is complete in .* but could not be logged .*no network"):
        theodolite.survey("tiny:make", photos, tmp_path / "run", log=broken, **CHEAP)
    assert theodolite.read_run(tmp_path / "run").status == "complete"


def test_calls_of_one_training_share_the_logger_that_is_named(stand_in):
    package = stand_in("trackio")
    assert lasting("trackio:once") is lasting("trackio:once")
    assert package.projects == ["once"]
    assert lasting(None) is None


def test_the_probe_sends_what_a_logger_takes(stand_in):
    package = stand_in("wandb")
    images = torch.rand(600, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = probe(theodolite.load("zoo:digits"), images, 4, log=package.Run(), t=30.0, bent=0)
    scalars, table, *others = package.logged
    assert scalars["theodolite/step"] == 4
    assert scalars["theodolite/fi/t=30"] == found["fi"].item()
    rows = {row[0]: row for row in table["theodolite/numbers"][2]["data"]}
    assert rows["fi"][1:3] == [30.0, found["fi"].item()]
    sent = {tag: value for row in others for tag, value in row.items()}
    assert sent["theodolite/fi"][0] == "Plotly"
    kind, (pixels,), _ = sent["theodolite/reconstructions"]
    assert (kind, pixels.shape, pixels.dtype) == ("Image", (16, 64, 3), np.uint8)
    assert pixels[:8, :8, 0] == pytest.approx(((images[0, 0] + 1) * 127.5).round().numpy(), abs=1)


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("tensorbord:here", "`log` expected as tensorboard:FOLDER, wandb:PROJECT, trackio:PROJECT"),
        ("wandb:", "`log` expected as tensorboard:FOLDER"),
        (3, "`log` expected to have `add_scalar`"),
    ],
)
def test_what_is_no_logger_is_refused_before_work(log, message, tiny, photos, tmp_path):
    with pytest.raises(InputError, match=message):
        theodolite.survey("tiny:make", photos, tmp_path / "run", log=log, **CHEAP)
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named_before_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.setattr("theodolite.loggers.opening.find_spec", lambda name: None)
    with pytest.raises(InputError, match="expected trackio, which is not installed: pip install trackio"):
        check_log("trackio:mine")


def test_a_part_of_a_run_is_not_logged(invoke, tiny, photos, tmp_path):
    words = ("survey", "tiny:make", "--data", photos, "--out", tmp_path / "run", "--shard", "1/2")
    result = invoke(*words, "--log", f"tensorboard:{tmp_path / 'log'}")
    assert result.exit_code == 2
    assert "belongs to a whole run" in result.stderr
    assert not (tmp_path / "log").exists()


def test_tensorboard_holds_scalars_tables_pictures_and_figures(invoke, tiny, photos, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (the `training` extra)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ("survey", "tiny:make", "--data", photos, "--out", tmp_path / "run", "--budget", "quick", "--quiet")
    result = invoke(*words, "--descriptors", "local_rank", "--log", f"tensorboard:{tmp_path / 'log'}")
    assert result.exit_code == 0, result.output
    run = theodolite.read_run(tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    median = next(entry for entry in run.summary() if entry["quantity"] == "local_rank")["median"]
    assert events.Scalars("survey/local_rank/median")[0].value == pytest.approx(median)
    assert f"survey/{run.units[0]}" in events.Tags()["images"]
    table = events.Tensors("survey/quantities/text_summary")[0].tensor_proto.string_val[0].decode()
    assert table.startswith("| quantity |")
    assert "survey/distribution-local_rank" in events.Tags()["images"]


def test_a_table_for_tensorboard_is_escaped():
    texts = []

    class Writer:
        def add_scalar(self, *args): ...

        def add_text(self, tag, text, step):
            texts.append(text)

    logger_of(Writer()).table("t", ["<b>", "x"], [["a|b\n<script>", None], ["c", 0.123456789]], 0)
    assert texts[0].splitlines()[2:] == ["| a&#124;b &lt;script&gt; |  |", "| c | 0.123457 |"]


def test_figures_become_pixels():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the `training` extra)")
    from theodolite.loggers.raster import pixels_of

    points = pixels_of(Estimate(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.2]), 1, 1).plot())
    field = pixels_of(Estimate(torch.rand(3, 4), torch.zeros(3, 4), 1, 1).plot())
    for pixels in (points, field):
        assert pixels.shape == (396, 770, 3)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert not (points == field).all()


def test_figures_of_arrays_are_drawn_and_what_cannot_be_drawn_is_none():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the `training` extra)")
    from plotly import graph_objects as go

    from theodolite.loggers.raster import pixels_of

    x, z = [0.0, 1.0, 2.0], [[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]]
    lines = [go.Figure(go.Scatter(x=own, y=own)) for own in (x, np.array(x))]
    fields = [go.Figure(go.Heatmap(x=x, y=[0, 1], z=own)) for own in (z, np.array(z))]
    for of_lists, of_arrays in (lines, fields):
        assert (pixels_of(of_lists) == pixels_of(of_arrays)).all()
    assert "bdata" in fields[1].to_dict()["data"][0]["z"]
    for trace in (go.Scatter(y=x), go.Heatmap(z=z), go.Bar(x=["a", "b"], y=[1, 2])):
        assert pixels_of(go.Figure(trace)) is None


@pytest.mark.slow
def test_wandb_keeps_it_offline(tiny, photos, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is no dependency of this library; the stand-in holds its interface")
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    theodolite.survey("tiny:make", photos, tmp_path / "run", log="wandb:mine", **CHEAP)
    files = {path.name.split("_")[0] for path in (tmp_path / "wandb").rglob("*.*") if path.is_file()}
    assert any(path.suffix == ".wandb" for path in (tmp_path / "wandb").rglob("*"))
    assert {"quantities", "distribution-local"} <= files


@pytest.mark.slow
def test_trackio_keeps_it_on_this_machine(tiny, photos, tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="trackio is no dependency of this library; the stand-in holds its interface")
    script = (
        "import sys, json, theodolite, trackio\n"
        f"theodolite.survey('tiny:make', {str(photos)!r}, {str(tmp_path / 'run')!r}, log='trackio:mine', **{CHEAP})\n"
        "(run,) = trackio.Api().runs('mine')\n"
        "logs = trackio.SQLiteStorage.get_logs('mine', run.name)\n"
        "print(json.dumps(sorted({tag for row in logs for tag in row})))\n"
    )
    import subprocess

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"survey/local_rank/median", "survey/quantities"} <= {*json.loads(done.stdout.splitlines()[-1])}
    assert [*(tmp_path / "trackio").rglob("*.png")]
