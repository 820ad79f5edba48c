"""The images that ship: sizes, number, weight, and that they are what the script makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from theodolite.errors import InputError
from theodolite.zoo import bundled_images

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "count", "size", "mode"), [("photos", 24, (64, 64), "RGB"), ("digits", 40, (8, 8), "L")]
)
def test_bundled_images_have_their_stated_number_size_and_mode(kind: str, count: int, size: tuple[int, int], mode: str):
    files = sorted(bundled_images(kind).iterdir())
    images = [Image.open(file) for file in files]
    assert len(files) == count
    assert {file.suffix for file in files} == {".png"}
    assert {image.size for image in images} == {size}
    assert {image.mode for image in images} == {mode}
    assert len({image.tobytes() for image in images}) == count


def test_photographs_are_the_default():
    assert bundled_images() == bundled_images("photos")


def test_bundled_images_are_light():
    assert sum(file.stat().st_size for kind in ("photos", "digits") for file in bundled_images(kind).iterdir()) < 350e3


def test_every_photograph_has_its_source_and_licence():
    sources = (bundled_images().parent / "SOURCES.md").read_text()
    for file in bundled_images().iterdir():
        assert f"`{file.name.split('-')[0]}-*`" in sources


def test_unknown_kind_is_refused_with_the_choice():
    with pytest.raises(InputError, match=r"'photos', 'digits'.*'films'"):
        bundled_images("films")


def test_the_script_makes_the_images_that_ship(tmp_path: Path):
    pytest.importorskip("skimage", reason="scikit-image is in the `zoo` extra")
    pytest.importorskip("sklearn", reason="scikit-learn is in the `zoo` extra")
    subprocess.run([sys.executable, ROOT / "scripts" / "make_bundled_images.py", "--out", tmp_path], check=True)
    for kind in ("photos", "digits"):
        names = sorted(file.name for file in (tmp_path / kind).iterdir())
        assert names == sorted(file.name for file in bundled_images(kind).iterdir())
        for name in names:
            # pixels rather than bytes: JPEG decoders differ by a level, and so do PNG encoders in their compression
            made, shipped = (
                np.asarray(Image.open(folder / name), int) for folder in (tmp_path / kind, bundled_images(kind))
            )
            assert abs(made - shipped).max() <= 8
