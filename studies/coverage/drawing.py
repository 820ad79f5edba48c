"""What a worker process of the study does."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import torch

from studies.coverage import store
from studies.coverage.cells import all_cells, rows_of
from studies.coverage.judge import verdicts


def draw(task: tuple[str, str]) -> str:
    """Draw a cell and store it; what it came to, in a line."""
    name, code = task
    cell = next(cell for cell in all_cells() if cell.name == name)
    start = time.monotonic()
    rows = [{**row, "code": code} for seed in range(cell.seeds) for row in rows_of(cell, seed)]
    store.write(rows, store.part_of(name))
    breaches = [f"{each.quantity} {each.breach} ({each.coverage:.3f})" for each in verdicts(rows) if each.breach]
    return f"{name}: {time.monotonic() - start:.0f} s{'; ' if breaches else ''}{', '.join(breaches)}"


def one_thread() -> None:
    """Set a worker up: one thread, and silence."""
    torch.set_num_threads(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (open for as long as the process is)
    # what a case prints would break the lines of progress


def code_version() -> str:
    """The commit that draws, with a plus where the tree differs from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=store.FOLDER, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"
