"""Real images beside drawn ones: nearest neighbours against a search by hand, and classes from folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from theodolite.data.images import find_images
from theodolite.data.plane_family import embedding_of
from theodolite.data.references import read_references
from theodolite.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Grey images of 4x4 pixels in two folders: brightness 0, 40 and 80 in one, 200 and 255 in the other."""
    for name, levels in (("dark", (0, 40, 80)), ("light", (200, 255))):
        (tmp_path / name).mkdir()
        for level in levels:
            Image.new("L", (4, 4), level).save(tmp_path / name / f"l{level}.png")
    return tmp_path


def references(folder, shape=(1, 4, 4)):
    return read_references(find_images(Path(folder)), shape, embedding_of("pixels"))


def of(level):
    return torch.full((1, 1, 4, 4), level / 127.5 - 1)


def test_the_nearest_image_its_distance_and_its_class(folder):
    real = references(folder)
    near = real.nearest_pixels(of(90))
    assert real.samples[int(near.place)] == find_images(folder).files[int(near.place)].sample
    assert float(near.distance) == pytest.approx(10 / 127.5, rel=1e-5)
    said = real.verdict(real.nearest_features(of(190)))
    assert said.classes == ("light",)
    assert float(said.score) == pytest.approx(-10 / 127.5, rel=1e-5)


def test_real_images_have_their_nearest_other_one(folder):
    pixels, features = references(folder).others()
    expected = torch.tensor([40, 40, 40, 55, 55], dtype=torch.float64) / 127.5
    torch.testing.assert_close(pixels.distance, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(features.distance, expected, rtol=1e-5, atol=0)


def test_images_in_one_folder_have_no_classes(folder):
    real = references(folder / "dark")
    assert real.verdict(real.nearest_features(of(1))).classes is None


def test_images_are_resized_to_drawn_ones_and_refused_where_that_is_no_square(folder):
    assert references(folder, (3, 2, 2)).images.shape == (5, 3, 2, 2)
    with pytest.raises(InputError, match="real images of 4x6 pixels expected"):
        references(folder, (1, 4, 6))
    (folder / "one").mkdir()
    Image.new("L", (4, 4)).save(folder / "one" / "a.png")
    with pytest.raises(InputError, match="two real images or more expected"):
        references(folder / "one")
