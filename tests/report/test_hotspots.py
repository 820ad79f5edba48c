"""The report of hotspots: every image is there, nothing is asked for outside, and shares are put in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from theodolite import find_hotspots
from theodolite.estimates import Estimate
from theodolite.report.hotspot_words import SHARE_WORDS, interval, percent
from theodolite.zoo import bundled_images


def estimate(value: float, stderr: float, status: str = "ok") -> Estimate:
    return Estimate(torch.tensor([value]), torch.tensor([stderr]), 0, 9, (status,))


def test_the_page_shows_every_image_and_asks_for_nothing(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    from theodolite.report.hotspots import write_hotspots_report

    found = find_hotspots("zoo:digits", bundled_images(), tmp_path / "run", size=8, limit=4, neighbours=1)
    page = write_hotspots_report(found).read_text()
    assert page.count(".png with its hotspots") == 4
    assert all(SHARE_WORDS[name].label in page for name in found.found.shares)
    assert "by chance" in page
    assert "less reference" not in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)


def test_shares_are_printed_in_percent_with_the_digits_their_errors_support() -> None:
    assert str(percent(estimate(0.2467, 0.005))) == "24.7 ± 0.5"
    assert str(percent(estimate(0.05, float("nan"), "undetermined"))) == "–"
    assert interval(estimate(-0.01, 0.01)) == "−3.0 to +1.0"
    assert interval(estimate(0.0, 0.0)) == "+0.0"
    assert interval(estimate(0.0, 0.1, "undefined")) == "–"
