"""A complete run."""

from __future__ import annotations

import pytest


@pytest.fixture
def done(invoke, tiny, tmp_path):
    """A complete run of two samples without a report."""
    photos = tiny.write_images(tmp_path / "two", count=2)
    words = ("--budget", "quick", "--descriptors", "local_scaling,local_rank", "--no-report", "--quiet")
    result = invoke("survey", "tiny:make", "--data", photos, "--out", tmp_path / "done", *words)
    assert result.exit_code == 0, result.output
    return tmp_path / "done"
