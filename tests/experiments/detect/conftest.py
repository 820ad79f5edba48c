"""Two folders of images that all differ."""

from __future__ import annotations

import pytest


@pytest.fixture
def pair(tiny, tmp_path):
    """Four reference and four test images of 8x8 pixels."""
    for place, path in enumerate(sorted(tiny.write_images(tmp_path / "all", count=8, side=8).iterdir())):
        folder = tmp_path / ("reference" if place < 4 else "test")
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    return tmp_path / "reference", tmp_path / "test"
