"""Images in Parquet and Arrow files as data sets of the hub have them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from theodolite.data import tables
from theodolite.data.images import find_images, load_file
from theodolite.errors import InputError


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def hub_table(count=100):
    """As `datasets` writes images: a structure of bytes and a path that is never opened."""
    images = [{"bytes": png(value), "path": "/etc/passwd"} for value in range(count)]
    return pa.table({"label": [value % 3 for value in range(count)], "image": images})


def as_parquet(path, table):
    pq.write_table(table, path, row_group_size=40)
    return path


def as_stream(path, table):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)
    return path


def as_file(path, table):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)
    return path


WRITERS = {"x.parquet": as_parquet, "stream.arrow": as_stream, "file.arrow": as_file}


def values(images):
    return [round(float((load_file(image, channels=3).mean() + 1) * 127.5)) for image in images]


@pytest.mark.parametrize("name", WRITERS)
def test_every_row_is_its_image_in_any_order(tmp_path, name):
    found = find_images(WRITERS[name](tmp_path / name, hub_table()))
    numbers = [int(image.file.rpartition("/")[2]) for image in found.files]
    assert sorted(numbers) == [*range(100)]
    assert values(found.files) == numbers
    assert values(found.files[::-7]) == numbers[::-7]
    assert {image.file.split("/")[0] for image in found.files} == {"label-0", "label-1", "label-2"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_draw_is_spread_over_labels(tmp_path, name):
    found = find_images(WRITERS[name](tmp_path / name, hub_table()), limit=6)
    assert sorted(image.file[:7] for image in found.files) == ["label-0"] * 2 + ["label-1"] * 2 + ["label-2"] * 2
    assert found.notes == ("6 of 100 images, drawn with seed 0",)


def test_a_column_of_bytes_is_found_by_its_name_and_an_only_one_by_itself(tmp_path):
    bytes_ = pa.array([png(5)], pa.binary())
    for columns in ({"image": bytes_, "hash": bytes_}, {"anything": bytes_, "text": ["a"]}):
        assert values(find_images(as_parquet(tmp_path / "x.parquet", pa.table(columns))).files) == [5]
    for columns in ({"one": bytes_, "other": bytes_}, {"text": ["a"]}):
        with pytest.raises(InputError, match="no column of images among"):
            find_images(as_parquet(tmp_path / "x.parquet", pa.table(columns)))


@pytest.mark.parametrize("name", WRITERS)
def test_rows_without_an_image_are_skipped(tmp_path, name):
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"bytes": None, "path": "/etc/passwd"}, {"bytes": png(3), "path": None}, {"bytes": b"text", "path": None}]
    found = find_images(WRITERS[name](tmp_path / name, pa.table({"image": pa.array(rows, kind)})))
    assert values(found.files) == [3]
    assert [entry.reason for entry in found.skipped] == ["no image in this row", "not an image, or damaged"]


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_what_is_no_table_is_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(InputError, match=r"no (Parquet|Arrow) file with images that can be read") as caught:
        find_images(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_row_group_that_claims_too_much_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MOST_GROUP", 100)
    with pytest.raises(InputError, match="smaller row groups"):
        find_images(as_parquet(tmp_path / "x.parquet", hub_table(3)))


def test_a_batch_is_in_memory_at_a_time(tmp_path, monkeypatch):
    """Rows are asked for in order once: each batch is decoded once, and the one before is let go."""
    path = as_parquet(tmp_path / "x.parquet", hub_table())
    sizes = []
    rows = tables._parquet_rows

    def counted(*arguments):
        for batch in rows(*arguments):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(tables, "_parquet_rows", counted)
    tables._cursor.cache_clear()
    found = find_images(path, limit=None)
    assert len(found.files) == 100
    assert sum(sizes) == 100 * (1 + 2)
    assert max(sizes) <= 32
