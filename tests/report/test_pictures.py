import base64
import io

import torch
from PIL import Image

from theodolite.report import palette
from theodolite.report.pictures import data_uri, heat_uri, largest_side


def test_a_small_picture_is_embedded_byte_for_byte(tmp_path):
    path = tmp_path / "small.png"
    Image.new("L", (8, 8), 77).save(path)
    uri = data_uri(path)
    assert uri == "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def test_a_large_picture_is_reduced(tmp_path):
    path = tmp_path / "large.png"
    Image.effect_noise((600, 300), 50).convert("RGBA").save(path)
    uri = data_uri(path, 128)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (128, 64)
        assert image.format == "JPEG"


def test_a_missing_or_damaged_picture_is_left_out(tmp_path):
    assert data_uri(tmp_path / "absent.png") == ""
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert data_uri(tmp_path / "damaged.png") == ""


def test_pictures_get_smaller_as_samples_get_many():
    assert largest_side(10) > largest_side(300) > largest_side(5000)


def test_a_map_is_dark_where_it_is_large():
    uri = heat_uri(torch.arange(8.0).reshape(2, 4), side=40)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (40, 20)
        ends = [image.getpixel(place) for place in ((0, 0), (39, 19))]
    wanted = [
        tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5)) for colour in (palette.SCALE[0], palette.SCALE[-1])
    ]
    assert ends == wanted
