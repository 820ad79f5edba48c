import base64
import io

from PIL import Image

from theodolite.report.pictures import data_uri, largest_side


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
