"""The page of a comparison: its sections, its tables, and that no figure draws what is no number."""

from __future__ import annotations

import pytest

from theodolite import write_report
from theodolite.experiments.compare.page import page


@pytest.fixture(scope="module")
def turned(compared):
    return page(compared("turned"))


def test_sections(turned):
    titles = ["Differences", "Latents", "Diffusability", "Spectra", "Images that moved most"]
    assert [section.title for section in turned.sections] == titles


def test_the_most_surely_different_comes_first(turned):
    table = next(table for table in turned.tables if table.name == "differences")
    sure = []
    for row in table.as_json():
        difference = row["difference"]
        sure.append(abs(difference["value"]) / difference["stderr"] if difference["stderr"] else 0.0)
        assert row["differs"] == (sure[-1] > 1.96)
    assert sure == sorted(sure, reverse=True)


def test_what_the_latents_have_in_common_is_said(turned, compared):
    said = "The latent space is the same but for any matrix between channels, and a shift"
    assert any(reading.startswith(said) for reading in turned.readings)
    rescaled = page(compared("rescaled")).readings
    assert any("the same but for one scale for all entries" in reading for reading in rescaled)


def test_every_image_has_a_card_the_most_moved_first(turned, compared):
    (cards,) = (block for block in turned.sections[-1].blocks if block.block == "cards")
    moved = {row["sample"]: row["value"] for row in compared("turned").rows("moved")}
    order = sorted(moved, key=moved.get, reverse=True)
    assert [card.title for card in cards.cards] == [f"{sample}.png" for sample in order]
    assert all(len(card.pictures) == 4 for card in cards.cards)


def test_figures(turned):
    figures = {figure.name: figure.draw() for figure in turned.figures}
    assert set(figures) == {"channels", "hidden", "change", "spectra"}
    points = [trace for trace in figures["channels"].data if trace.mode == "markers"]
    assert len(points) == 4
    assert all(trace.cliponaxis is False for trace in points)
    assert all(min(y - below for y, below in zip(trace.y, trace.error_y.arrayminus)) > -1e-9 for trace in points)


def test_what_is_undetermined_is_not_drawn(compare, pairs, tmp_path):
    run = compare("plain", "turned", tmp_path / "run", data=pairs.photographs(tmp_path / "few", 2, 2))
    shown = page(run)
    assert "Diffusability" not in [section.title for section in shown.sections]
    (channels,) = (figure for figure in shown.figures if figure.name == "channels")
    assert channels.draw() is None
    assert not any("differ" in str(row["differs"]) for row in shown.tables[0].as_json())
    assert shown.readings[0].startswith("0 of ")


def test_the_report_holds_the_words_of_every_quantity(compared):
    text = write_report(compared("turned").path).read_text()
    for words in ("Gain", "Unexplained latents", "Reconstruction moved", "Variance hidden so far", "second less first"):
        assert words in text
