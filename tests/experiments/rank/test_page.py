"""The page of a ranking: what it says, in which words, and that it says it to every reader."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from theodolite.diffusability.forecast import calibration
from theodolite.experiments.rank.forecast_page import _said as said
from theodolite.experiments.rank.forecast_page import forecast_readings
from theodolite.experiments.rank.forecasting import forecasts_of
from theodolite.experiments.rank.view import View
from theodolite.report.render import write_report
from theodolite.runs import read_run

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def run(rank, tmp_path_factory):
    return rank("pooled", "isometric", "padded", out=tmp_path_factory.mktemp("ranking") / "run")


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text()


def figures(page):
    return json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])


class Plots(HTMLParser):
    """The places for figures, with their alternative texts."""

    def __init__(self, page):
        super().__init__()
        self.found = {}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "plot" in attrs.get("class", "").split():
            self.found[attrs["id"].removeprefix("figure-")] = attrs.get("aria-label", "")


def test_every_figure_has_a_place_and_an_alternative_text(page):
    places = Plots(page).found
    assert set(places) == set(figures(page))
    assert {"forecast", "gaps", "resolved", "share", "r", "a", "b", "local_dimension", "bars-distortion"} <= set(places)
    assert all(len(text) > 10 for text in places.values())
    assert "isometric 0.0" in places["gaps"]


def test_it_asks_for_nothing_outside(page):
    assert "default-src 'none'" in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)


def test_ties_and_few_sources_are_in_words(page):
    assert re.search(r"tied with (isometric|padded).*: these images cannot tell which is nearer", page)
    assert "6 independent sources" in page
    assert ">tie</span>" in page


def test_the_forecast_says_what_is_proven_and_the_gap_promises_nothing(page):
    assert re.search(r"On 48 latent spaces of fashion-mnist, .* its rank correlation with gFD after 2,000 steps", page)
    assert "Longer trainings and other networks were not forecast" in page
    assert "The gap describes, and forecasts little" in page
    assert "smaller is better" not in page


def test_the_first_screen_says_how_far_the_models_lie_from_the_calibration(run):
    shown = run.experiment.page(run)
    (warning,) = (text for text in shown.warnings if "extrapolated" in text)
    assert "other images (1x8x8) than those of fashion-mnist (1x32x32)" in warning
    assert "pooled: " in warning
    assert any("better 2,000" in text for text in shown.warnings)  # of 24 images
    (reach,) = (table for table in shown.tables if table.name == "reach")
    assert {row["model"] for row in reach.as_json()} == {"pooled", "isometric", "padded"}


def test_the_forecast_leads_and_names_the_weakest_part_with_its_effect(run):
    shown = run.experiment.page(run)
    names = [table.name for table in shown.tables]
    assert names[0] == "models"
    assert names.index("gaps") > names.index("remedies")
    tables = {table.name: table.as_json() for table in shown.tables}
    first, *_ = tables["models"]
    assert first["at_2000"]["value"] == 1
    assert {row["model"]: row["weakest"] for row in tables["remedies"]}["pooled"] == "reconstruction"
    assert all(row["with_best"] is None or row["with_best"]["value"] < 1 for row in tables["remedies"])
    assert re.match(r"A tie: the forecast cannot tell|By an extrapolated forecast ", shown.readings[0])
    assert all(0 <= row["bounds"][0] <= row["bounds"][1] <= 1 for row in tables["gaps"])


def test_bands_lie_around_their_lines(page):
    drawn = figures(page)
    for name in ("resolved", "r", "a", "b", "local_dimension", "share"):
        lines = [trace for trace in drawn[name]["data"] if trace["line"]["width"] == 2.4]
        bands = [trace for trace in drawn[name]["data"] if trace["line"]["width"] == 0]
        assert len(lines) == 4
        assert len(bands) == 8
        for place, line in enumerate(lines):
            low, high = bands[2 * place]["y"], bands[2 * place + 1]["y"]
            assert all(a <= b * (1 + 1e-4) + 1e-4 for a, b in zip(low, line["y"]))
            assert all(a <= b * (1 + 1e-4) + 1e-4 for a, b in zip(line["y"], high))


def changed(run, folder, column, value, **where):
    """A copy of the run in which some rows have another value."""
    shutil.copytree(run.path, folder)
    file = folder / "quantities.parquet"
    table = pq.ParquetFile(file).read(use_threads=False)
    mask = pa.chunked_array([pa.array([True] * len(table))])
    for name, wanted in where.items():
        mask = pc.and_(mask, pc.fill_null(pc.equal(table[name], wanted), False))
    assert pc.sum(mask).as_py() == 1
    changed = pc.if_else(mask, pa.scalar(value, table[column].type), table[column])
    pq.write_table(table.set_column(table.column_names.index(column), column, changed), file)
    return read_run(folder)


def test_what_is_undetermined_has_no_bar_and_flattens_none(run, tmp_path):
    """A mean of squares came out as -28,208 with status undetermined, and was drawn."""
    where = {"quantity": "data_curvature", "space": "pooled"}
    before = figures(write_report(run, tmp_path / "before.html").read_text())["bars-data_curvature"]["data"]
    doubtful = changed(run, tmp_path / "value", "value", -28208.0, **where)
    doubtful = changed(doubtful, tmp_path / "doubtful", "status", "undetermined", **where)
    text = write_report(doubtful).read_text()
    (bar,) = figures(text)["bars-data_curvature"]["data"]
    assert len(bar["x"]) == len(before[0]["x"]) - 1
    assert set(bar["y"]) < set(before[0]["y"])
    assert "28208" not in text.replace("\u202f", "")
    assert "undetermined: " in text


def test_a_gap_at_an_end_is_drawn_whole(run, tmp_path):
    drawn = figures(
        write_report(changed(run, tmp_path / "one", "value", 1.0, quantity="gap", space="pooled")).read_text()
    )
    points = [trace for trace in drawn["gaps"]["data"] if trace["x"] == [1.0]]
    assert points
    assert all(trace["cliponaxis"] is False for trace in drawn["gaps"]["data"])


def test_names_cannot_break_out(run, tmp_path):
    hostile = "</script><img src=x onerror=alert(1)>"
    shutil.copytree(run.path, tmp_path / "hostile")
    record = json.loads((tmp_path / "hostile" / "run.json").read_text())
    for entry in record["models"]:
        entry["label"] = f"{hostile}{entry['label']}"
    (tmp_path / "hostile" / "run.json").write_text(json.dumps(record))
    text = write_report(tmp_path / "hostile").read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_one_model_has_no_pairs(rank, tmp_path):
    calls = []

    def stop(done, total, what):
        calls.append(done)
        if done == 2 and calls.count(2) == 2:  # the images and one model are stored
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank("pooled", "isometric", "padded", out=tmp_path / "run", progress=stop)
    text = write_report(tmp_path / "run").read_text()
    assert 'id="pairs"' not in text
    assert "2 of 4 are finished" in text
    assert "Noise hides the latents of pooled and the images differently" in text


def test_a_killed_run_is_shown_from_its_stored_losses(run, tmp_path):
    """Nothing follows from the units yet where the process was killed before it came to that."""
    shutil.copytree(run.path, tmp_path / "killed")
    file = tmp_path / "killed" / "quantities.parquet"
    table = pq.ParquetFile(file).read(use_threads=False)
    pq.write_table(table.filter(pc.is_valid(table["unit"])), file)
    killed = read_run(tmp_path / "killed")
    shown = {table.name: table.as_json() for table in killed.experiment.page(killed).tables}
    assert shown == {table.name: table.as_json() for table in run.experiment.page(run).tables}


def test_without_a_finished_model_the_page_says_so(rank, tmp_path):
    def stop(done, total, what):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank("pooled", "isometric", out=tmp_path / "run", progress=stop)
    assert "No model is finished yet." in write_report(tmp_path / "run").read_text()


def test_a_network_that_was_not_calibrated_is_forecast_as_the_one_that_was_and_says_so(run):
    settings = {**run.settings, "network": "another"}
    told = SimpleNamespace(info=run.info, units=run.units, about=run.about, rows=run.rows, settings=settings)
    forecasts = forecasts_of(told)
    assert all(out[0].what == "network" for out in forecasts.outside)
    assert forecasts.fit.network == "convolutional"
    assert "another network (another)" in forecasts.level(0).message


def test_a_network_of_its_own_calibration_is_forecast_by_it(run):
    told = SimpleNamespace(info=run.info, units=run.units, about=run.about, rows=run.rows)
    told.settings = {**run.settings, "network": "tokens"}
    forecasts = forecasts_of(told)
    assert forecasts.fit.network == "tokens"
    assert not any(own.what == "network" for out in forecasts.outside for own in out)


class Orders(View):
    """A ranking of which only the probabilities of forecast orders are known: the first model before each other."""

    steps, forecast_models = (2000,), [SimpleNamespace(label=name) for name in "abc"]

    def __init__(self, pairs, outside):
        self.rows = {own.label: {"value": P} for own, P in zip(self.forecast_models[1:], pairs)}
        self.forecasts = SimpleNamespace(models=[SimpleNamespace(name="a")], outside=[outside], missing=[""])

    def pair(self, quantity, first, second, **where):
        return self.rows[second.label]

    def of(self, quantity, space, **where):
        return {"value": 1.2, "low": 1.1, "high": 1.3}


@pytest.mark.parametrize(
    ("pairs", "outside", "words"),
    [
        ((0.99, 0.99), [], "Choose a: its samples"),
        ((0.96, 0.97), [], "a leads, not surely: .* all at once maybe with 0.93"),
        ((0.96, 0.97), [SimpleNamespace(text="far")], "By an extrapolated forecast a leads, not surely"),
        ((0.99, 0.99), [SimpleNamespace(text="far")], "By an extrapolated forecast a comes first"),
        ((0.99, 0.6), [], "A tie: .* a and c"),
    ],
)
def test_a_model_is_chosen_only_if_it_is_surely_before_all_others_at_once(pairs, outside, words):
    assert re.match(words, forecast_readings(Orders(pairs, outside))[0])


def test_images_that_count_as_the_studys_are_told_by_what():
    view, fit = Orders((0.99, 0.99), []), calibration()
    view.forecasts = SimpleNamespace(fit=fit, images=fit.data_sets[0].kind)
    assert "by the shape, mean and deviation of their pixels alone" in said(view)[-1]
    view.forecasts.images = replace(view.forecasts.images, mean=0.5)
    assert "alone" not in said(view)[-1]
