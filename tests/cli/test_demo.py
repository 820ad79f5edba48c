"""`theodolite demo`: the main job on what ships, ending with the path of a report."""

import pytest

from theodolite import read_run
from theodolite.cli import demo as verb


def test_the_demo_ends_with_the_path_of_a_report(invoke, tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    pytest.importorskip("jinja2")
    real = verb.conduct
    small = {"limit": 2, "budget": "quick"}
    monkeypatch.setattr(verb, "conduct", lambda kind, words, out, given: real(kind, words, out, {**given, **small}))
    result = invoke("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(tmp_path / "demo" / "report.html")
    assert result.stderr.splitlines()[-1].endswith(f"theodolite explore {tmp_path / 'demo'} --model zoo:patches-kl")
    run = read_run(tmp_path / "demo")
    assert run.info["status"] == "complete"
    assert len(run.units) == 2
    assert run.info["failed"] == []
    assert run.info["self_check"]["passed"]
