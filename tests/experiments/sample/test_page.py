"""The page of drawn samples: its sentence in both directions, sheets in order, and what it says of a distance."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from theodolite import LatentMap, sample
from theodolite.report import page as kit
from theodolite.report import write_report

GIVEN = {"latents": "seed:0..59", "limit": 0, "descriptors": "local_scaling,local_rank"}


def waves(z):
    """Grey images of one level, which rises and falls with the noise: no number of pixels knows how steeply."""
    return 0.9 * torch.sin(5 * z[:, :1])[:, :, None, None].expand(-1, 1, 2, 2)


def flat_is_good(images):
    """A judge that finds samples bad where the waves are steep, in the middle of the grey levels."""
    return images.abs().mean((1, 2, 3))


def dark_is_good(images):
    """A judge that brightness knows all of."""
    return -images.mean((1, 2, 3))


@pytest.fixture
def real(tmp_path):
    """Nine grey images of one level each."""
    (tmp_path / "real").mkdir()
    for level in range(15, 255, 28):
        Image.new("L", (2, 2), level).save(tmp_path / "real" / f"l{level}.png")
    return tmp_path / "real"


@pytest.fixture
def shown(real, tmp_path):
    def of(judge=None, **more):
        model = LatentMap(waves, (2,), name="waves", output_range=(-1, 1))
        run = sample(model, real, tmp_path / "run", judge=judge, **{**GIVEN, **more})
        return run, run.experiment.page(run)

    return of


def section(page, name):
    return next(part for part in page.sections if part.id == name)


def test_a_descriptor_that_tells_what_no_baseline_does_is_said_to(shown):
    run, page = shown(flat_is_good, worst=0.3)
    first = page.readings[0]
    assert first.startswith(("Local scaling", "Gain"))
    assert "tells bad samples of this model better than the best baseline" in first
    assert run.rows("auroc", score="gain")[0]["value"] == 1.0
    assert run.rows("p_value", score="gain")[0]["value"] < 0.05
    assert run.rows("advantage", score="gain")[0]["low"] > 0


def test_where_a_baseline_knows_all_no_descriptor_is_said_to_beat_it(shown):
    _, page = shown(dark_is_good)
    assert "No descriptor is shown to beat the best baseline, Brightness (AUROC 1.00)" in page.readings[0]
    table = next(table for table in page.tables if table.name == "scores")
    cells = {row.cells[0].value: row.cells for row in table.body}
    assert str(cells["brightness"][3]) == "best baseline"


def test_sheets_go_from_the_lowest_to_the_highest_value(shown):
    run, page = shown(flat_is_good)
    (sheets,) = section(page, "sheets").blocks
    assert isinstance(sheets, kit.Pictures)
    words = {label.split(",")[0]: [text for _, text in pictures] for label, pictures in sheets.rows}
    assert "Brightness" in words
    brightness = {row["sample"]: row["value"] for row in run.rows("brightness", side="drawn")}
    shown_values = [brightness[text.split(":")[0]] for text in words["Brightness"]]
    assert shown_values == sorted(shown_values)
    assert (shown_values[0], shown_values[-1]) == (min(brightness.values()), max(brightness.values()))


def test_a_distance_says_that_it_is_one_and_the_report_is_written(shown):
    run, page = shown(latents="seed:0..9", worst=0.3)
    assert any("The judge is a distance to real images" in text for text in page.readings)
    assert not any(part.id == "classes" for part in page.sections)  # the real images lie in one folder
    text = write_report(run).read_text()
    assert 'id="sheets"' in text
    assert "nearest real image by features" in text


def test_a_score_whose_errors_hide_the_differences_is_named(shown, monkeypatch):
    from theodolite.estimates import Estimate
    from theodolite.experiments.sample.judging import Judging

    numbers = Judging._numbers

    def unsure(self, names):
        known = numbers(self, names)
        return {n: Estimate.of(e.value, 9.0 if n == "gain" else 0.0) for n, e in known.items()}

    monkeypatch.setattr(Judging, "_numbers", unsure)
    run, page = shown(flat_is_good, latents="seed:0..19")
    assert [row["value"] for row in run.rows("reliability", score="gain")] == [0.0]
    assert {row["value"] for row in run.rows("reliability")} == {0.0, 1.0}
    assert [text for text in page.warnings if "as large as the differences" in text and "Gain:" in text]


def test_few_bad_samples_are_said_to_tell_nothing(shown):
    _, page = shown(flat_is_good, latents="seed:0..3")
    assert page.readings[0] == "Whether any descriptor beats the baselines cannot be told from these samples."
    assert any("No AUROC" in text for text in page.warnings)
