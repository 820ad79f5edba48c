"""The page of a path: every figure has its place, and its numbers are those of the run."""

from __future__ import annotations

import json
import re

import pytest

from theodolite.experiments.path.page import QUANTITIES
from theodolite.report.render import write_report
from theodolite.runs.functions import function_of

pytest.importorskip("plotly")


def test_the_page_of_a_path(tmp_path):
    run = function_of("path")("zoo:digits", "seed:1", "seed:2", out=tmp_path / "run", steps=4)
    text = write_report(run).read_text()
    drawn = json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.S)[1])
    assert set(drawn) == set(re.findall(r'id="figure-([^"]+)"', text))
    own = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert own.count("data:image/png") == 3 * 5
    assert not re.findall(r'(?:src|href)="(?!#|data:)', own)
    assert all(quantity.label in text for quantity in QUANTITIES.values())
    jumps = run.column("jump", route="linear")["value"].tolist()
    assert drawn["jumps"]["data"][0]["y"] == pytest.approx(jumps, rel=1e-4)
    assert "times the distance between the two" in text
