"""Images at addresses: the same images, ids and draws as those of a folder, and one line where nothing can be read."""

from __future__ import annotations

import builtins
import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

import theodolite
from theodolite import InputError
from theodolite.data.images import find_images, load_images
from theodolite.data.listing import list_images
from theodolite.data.remote import Remote, data_of
from theodolite.errors import path_of

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

NAMES = ("cat_0000_0000.png", "birds/a.png", "birds/b.png", "dog.png")


@pytest.fixture
def photos(tmp_path):
    """Four images in a folder, a text beside them, a hidden one, and one of a run."""
    folder = tmp_path / "photos"
    for number, name in enumerate((*NAMES, ".hidden/c.png", "run/pictures/d.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "run" / "run.json").write_text("{}")
    (folder / "notes.txt").write_text("x")
    return folder


@pytest.fixture
def stored(photos):
    """The same in a storage: its address."""
    system = fsspec.filesystem("memory")
    system.put(str(photos), "/bucket/photos", recursive=True)
    yield "memory://bucket/photos"
    system.rm("/bucket", recursive=True)


def test_an_address_holds_what_the_folder_holds(photos, stored):
    here, there = find_images(photos), find_images(data_of(stored))
    assert [image.file for image in there.files] == [image.file for image in here.files] == sorted(NAMES)
    for a, b in zip(here.files, there.files):
        assert (a.sample, a.sha256, a.size) == (b.sample, b.sha256, b.size)
    assert here.notes == there.notes
    drawn = [[image.sample for image in find_images(data, 2, seed=3).files] for data in (photos, data_of(stored))]
    assert drawn[0] == drawn[1]
    assert (load_images(photos, size=8) == load_images(stored, size=8)).all()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_at_an_address_is_read_in_place(photos, kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in NAMES:
                archive.write(photos / name, name)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in NAMES:
                archive.add(photos / name, name)
    system = fsspec.filesystem("memory")
    system.pipe(f"/archives/photos.{kind}", buffer.getvalue())
    there = find_images(data_of(f"memory://archives/photos.{kind}"))
    assert {image.file: image.sha256 for image in there.files} == {
        image.file: image.sha256 for image in find_images(photos).files
    }
    system.pipe(f"/archives/photos.{kind}", buffer.getvalue()[:200])
    with pytest.raises(InputError, match="can be read; the first is"):
        find_images(data_of(f"memory://archives/photos.{kind}"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://bucket/nothing", r"image folder expected at memory://bucket/nothing, got none; check .* \(--data\)"),
        ("memory://bucket/photos/notes.txt", "image folder expected at .*notes.txt, got none"),
        ("nothing-of-the-kind://bucket", "cannot be opened .* install the package for this kind of storage"),
        ("memory://bucket/photos.parquet", r"\.parquet is read from a disk only"),
        ("s3://key:secret@bucket/photos", "without a password, since run.json keeps its address"),
    ],
)
def test_what_cannot_be_read_is_one_line(stored, address, message):
    with pytest.raises(InputError, match=message) as refused:
        list_images(data_of(address))
    assert "secret" not in str(refused.value)


def test_a_storage_that_fails_is_one_line_and_an_image_of_it_is_skipped(stored, monkeypatch):
    system = fsspec.filesystem("memory")

    def refuse(self, path, **options):
        raise RuntimeError("Unable to locate\ncredentials")

    real = type(system).cat_file
    picked = lambda self, path, **options: (refuse if "dog" in path else real)(self, path, **options)  # noqa: E731
    monkeypatch.setattr(type(system), "cat_file", picked)
    images = find_images(data_of(stored))
    assert [(image.file, image.reason) for image in images.skipped] == [
        ("dog.png", "RuntimeError: Unable to locate credentials")
    ]
    monkeypatch.setattr(type(system), "find", refuse)
    with pytest.raises(InputError, match=r"cannot be listed .*Unable to locate credentials.*; check address and cred"):
        find_images(data_of(stored))


def test_without_fsspec_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name.startswith("fsspec"):
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="s3://bucket needs the package fsspec; install it: pip install fsspec"):
        list_images(Remote("s3://bucket"))


def test_a_survey_of_an_address_is_that_of_its_folder(photos, stored, tmp_path):
    options = {"budget": "quick", "descriptors": ["local_scaling"], "size": 16, "limit": 2}
    runs = [
        theodolite.survey("zoo:patches-kl", data, tmp_path / out, **options)
        for data, out in ((photos, "here"), (stored, "there"))
    ]
    assert runs[0].table.equals(runs[1].table)
    assert runs[1].info["data"]["folder"] == stored
    assert f"--data {stored}" in runs[1].info["command"]


def test_an_address_where_a_path_is_meant_is_refused(tmp_path):
    with pytest.raises(InputError, match="the run folder expected to be a path of this machine, got s3://bucket/run"):
        path_of("s3://bucket/run", "the run folder")
    assert data_of(tmp_path) == tmp_path
    assert data_of("photos") == path_of("photos", "")
