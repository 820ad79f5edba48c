"""`theodolite report`: the report is made again from the run folder alone."""

import pytest

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


def test_the_report_is_written_and_its_path_printed(invoke, done, tmp_path):
    result = invoke("report", done)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{done / 'report.html'}\n"
    assert "<html" in (done / "report.html").read_text()
    elsewhere = tmp_path / "elsewhere.html"
    assert invoke("report", done, "--out", elsewhere).stdout == f"{elsewhere}\n"
    assert elsewhere.exists()


def test_a_folder_without_a_run_is_one_line(invoke, tmp_path):
    result = invoke("report", tmp_path)
    assert result.exit_code == 2
    assert "run.json" in result.stderr
