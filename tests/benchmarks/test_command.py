"""`python -m benchmarks`: its page, its comparison with the last run, and that it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.__main__ import BEGIN, END, compared, page, written  # noqa: E402

ABOUT = {"date": "2026-12-01", "processor": "x", "cores": 2, "load": 1.0, "torch": "2"}


def result(seconds):
    table = {"title": "Small", "about": "A model.", "rows": {"one": {"seconds": seconds, "passes": 20}, "two": {}}}
    return {"about": ABOUT, "tables": {"small": table}}


def test_a_page_has_every_row_and_leaves_a_place_for_what_is_missing():
    text = page(result(0.12345))
    assert "| one | 0.123 | 20 |" in text
    assert "| two |  |  |" in text
    assert "load 1.0" in text


def test_only_what_moved_by_more_than_a_quarter_is_told():
    assert compared(result(1.2), result(1.0))[0].endswith("nothing moved by more than a quarter.")
    assert compared(result(2.5), result(1.0))[1:] == ["  Small, one, seconds: 1 -> 2.5"]


def test_the_docs_are_written_between_their_marks_only():
    docs = f"before\n{BEGIN}\n\nold\n{END}\nafter\n"
    once = written(docs, "new")
    assert once == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    assert written(once, "new") == once


@pytest.mark.slow
def test_it_measures_and_stores_nothing_where_it_is_asked_for_some_tables():
    before = (ROOT / "docs" / "benchmarks.md").read_bytes()
    command = [sys.executable, "-m", "benchmarks", "self_checks", "plans", "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "| 64 entries, whole |" in done.stdout
    assert (ROOT / "docs" / "benchmarks.md").read_bytes() == before
