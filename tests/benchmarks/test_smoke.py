"""Every benchmark runs, on a small model, and prints a table of numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("[!_]*.py"))


def cells(text):
    """The cells of the body rows of all Markdown tables in a text, without the first column."""
    rows = [line.strip("| ").split("|") for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [cell.strip() for row in rows[1:] for cell in row[1:]]


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_it_prints_a_table(path, request):
    if path.stem == "explorer":
        request.getfixturevalue("chromium")  # skips where there is none
    done = subprocess.run([sys.executable, path, "--smoke"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    numbers = [float(cell) for cell in cells(done.stdout) if cell.lstrip("+-").replace(".", "").isdigit()]
    assert len(numbers) >= 10
    assert any(number > 0 for number in numbers)
