"""Folders of images as people have them: nested, mixed, damaged."""

import io
import json
import os
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from theodolite.data import stored
from theodolite.data.images import find_images, load_file, load_image, load_images, trusting
from theodolite.data.pixels import picture
from theodolite.data.stored import Plain
from theodolite.errors import InputError


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def flat(value, side=8, channels=3):
    return np.full((side, side, channels) if channels > 1 else (side, side), value, np.uint8)


def as_bytes(tensor):
    return ((tensor[0] + 1) * 127.5).round().to(torch.uint8)


def test_finds_every_kind_below_the_folder_in_the_order_of_the_paths(tmp_path):
    for name in ("b.PNG", "a/2.jpeg", "a/1.webp", "c.bmp", "d.tif", "e.tiff", "f.jpg"):
        save(tmp_path / name, flat(9))
    (tmp_path / "notes.txt").write_text("no image")
    found = find_images(tmp_path)
    assert [image.file for image in found.files] == [
        "a/1.webp", "a/2.jpeg", "b.PNG", "c.bmp", "d.tif", "e.tiff", "f.jpg",
    ]  # fmt: skip
    assert not found.skipped


def test_passes_over_hidden_files_and_run_folders(tmp_path):
    for name in ("seen.png", "._seen.png", ".cache/x.png", "run/thumbnails/x.png"):
        save(tmp_path / name, flat(9))
    (tmp_path / "run" / "run.json").write_text("{}")
    assert [image.sample for image in find_images(tmp_path).files] == ["seen"]


def test_sample_ids_are_unique_and_safe_and_do_not_depend_on_the_limit(tmp_path):
    names = ("a.png", "a.jpg", "A.webp", "b/c d.png", "b-c-d.png", "é, ü.png", "x.reconstruction.png", "…", "l" * 120)
    for name in names:
        save(tmp_path / (name if "." in name else f"{name}.png"), flat(9))
    samples = [image.sample for image in find_images(tmp_path).files]
    assert len({sample.casefold() for sample in samples}) == len(names)
    assert all(re.fullmatch(r"[\w-]{1,48}", sample) for sample in samples)
    assert "x-reconstruction" in samples
    assert "é-ü" in samples
    for limit in range(1, len(names)):
        drawn = [image.sample for image in find_images(tmp_path, limit).files]
        assert drawn == [sample for sample in samples if sample in drawn]


def test_damaged_images_are_skipped_with_the_reason_and_do_not_count_towards_the_limit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("b.png", "d.jpg"):
        whole = save(tmp_path / name, noise).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "c.png").write_text("<html>not found</html>")
    (tmp_path / "e.png").symlink_to(tmp_path / "gone.png")
    for name in ("f.png", "g.png", "h.png"):
        save(tmp_path / name, noise)
    assert len(find_images(tmp_path, limit=2).files) == 2
    found = find_images(tmp_path)
    assert [image.file for image in found.files] == ["f.png", "g.png", "h.png"]
    assert [image.file for image in found.skipped] == ["a.png", "b.png", "c.png", "d.jpg", "e.png"]
    assert "truncated" in found.skipped[1].reason
    assert "truncated" in found.skipped[3].reason
    assert all(image.reason for image in found.skipped)
    assert "/" not in found.skipped[0].reason


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "file"),
        (lambda path: path.mkdir(), "holds no image"),
        (lambda path: (path.mkdir(), (path / "a.png").write_text("x")), "none of the 1 images.*a.png"),
    ],
)
def test_a_folder_without_a_usable_image_is_refused(tmp_path, prepare, message):
    prepare(tmp_path / "photos")
    with pytest.raises(InputError, match=message) as caught:
        find_images(tmp_path / "photos")
    assert "\n" not in str(caught.value)


def test_pixels_become_minus_one_to_one(tmp_path):
    image = load_image(save(tmp_path / "a.png", flat(0)), channels=3)
    assert image.shape == (1, 3, 8, 8)
    assert image.dtype == torch.float32
    assert (image == -1).all()
    assert (load_image(save(tmp_path / "b.png", flat(255)), channels=3) == 1).all()


def test_exif_orientation_is_applied(tmp_path):
    pixels = flat(0, side=16)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: the bright top half belongs on the right
    image = load_image(save(tmp_path / "a.png", pixels, exif=exif), channels=3)
    assert (image[..., 8:] == 1).all()
    assert (image[..., :8] == -1).all()


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    image = load_image(save(tmp_path / "a.png", pixels), channels=3)
    assert (image[:, :, :4] == -1).all()
    assert (image[:, :, 4:] == 1).all()
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([10, 10, 10, 20, 20, 20])
    palette.save(tmp_path / "b.png", transparency=1)
    assert (load_image(tmp_path / "b.png", channels=3) == 1).all()


def test_sixteen_bit_grey_keeps_its_depth(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name in ("a.png", "b.tiff"):
        image = load_image(save(tmp_path / name, ramp), channels=3)
        assert torch.allclose(image[0, 0].flatten(), torch.linspace(-1, 1, 64), atol=1e-4)
        assert torch.equal(image[:, 0], image[:, 2])


def test_pixels_without_a_defined_range_are_skipped(tmp_path):
    save(tmp_path / "a.tiff", np.full((8, 8), 0.5, np.float32))
    save(tmp_path / "b.tiff", np.full((8, 8), 1 << 20, np.int32))
    save(tmp_path / "c.png", flat(1))
    found = find_images(tmp_path)
    assert [image.file for image in found.files] == ["c.png"]
    assert all("no defined range" in image.reason for image in found.skipped)


def test_a_model_of_one_channel_gets_the_luminance(tmp_path):
    green = flat(0)
    green[..., 1] = 255
    image = load_image(save(tmp_path / "a.png", green), channels=1)
    assert image.shape == (1, 1, 8, 8)
    assert (as_bytes(image) == 150).all()  # 0.587 of 255
    grey = load_image(save(tmp_path / "b.png", flat(77, channels=1)), channels=3)
    assert (as_bytes(grey) == 77).all()


def test_cmyk_and_bilevel_images_are_read(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    Image.new("1", (8, 8), 1).save(tmp_path / "b.png")
    assert (load_image(tmp_path / "a.jpg", channels=3) == 1).all()
    assert (load_image(tmp_path / "b.png", channels=3) == 1).all()


def test_size_takes_the_centre_square(tmp_path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 255
    image = load_image(save(tmp_path / "a.png", pixels), channels=3, size=4)
    assert image.shape == (1, 3, 4, 4)
    assert (image == 1).all()


def test_resizing_does_not_alias(tmp_path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    image = load_image(save(tmp_path / "a.png", board.astype(np.uint8)), channels=1, size=8)
    assert image.abs().max() < 0.05


def test_without_a_size_the_centre_is_cut_to_the_multiple(tmp_path):
    pixels = np.zeros((11, 18, 3), np.uint8)
    pixels[1:9, 1:17] = 255
    image = load_image(save(tmp_path / "a.png", pixels), channels=3, multiple=8)
    assert image.shape == (1, 3, 8, 16)
    assert (image == 1).all()


def test_images_below_the_least_size_are_skipped(tmp_path):
    save(tmp_path / "a.png", flat(1, side=6))
    save(tmp_path / "b.png", flat(1, side=8))
    found = find_images(tmp_path).at_least(8)
    assert [image.file for image in found.files] == ["b.png"]
    assert "smaller than 8x8" in found.skipped[0].reason
    with pytest.raises(InputError, match="--size"):
        found.at_least(100)


def test_a_picture_shows_the_tensor(tmp_path):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    image = load_image(path, channels=3)
    assert np.array_equal(np.asarray(picture(image[0])), np.asarray(Image.open(path)))
    assert picture(torch.zeros(1, 8, 8)).mode == "L"
    assert picture(torch.zeros(3, 600, 300)).size == (128, 256)
    assert np.asarray(picture(torch.full((3, 2, 2), 0.5), (0.0, 1.0))).max() == 128


def test_images_of_several_sizes_are_refused_with_a_size_to_give(tmp_path):
    save(tmp_path / "a.png", flat(9, side=17))
    save(tmp_path / "b.png", flat(9, side=18))
    found = find_images(tmp_path)
    assert found.of_one_size(8) is found  # both are cut to 16x16
    save(tmp_path / "c.png", np.full((16, 24, 3), 9, np.uint8))
    expected = r"2 sizes, e.g. 16x16 \(b.png\) and 16x24 \(c.png\); give --size, e.g. --size 16"
    with pytest.raises(InputError, match=expected):
        find_images(tmp_path).of_one_size(8)


def test_a_missing_folder_says_what_to_check(tmp_path):
    with pytest.raises(InputError, match="does not exist; check the path"):
        find_images(tmp_path / "nowhere")


def test_a_folder_becomes_one_batch(tmp_path):
    for name, value in (("b.png", 255), ("a.png", 0)):
        save(tmp_path / name, flat(value, side=18))
    batch = load_images(tmp_path, multiple=8)
    assert batch.shape == (2, 3, 16, 16)
    assert [float(image.mean()) for image in batch] == [-1.0, 1.0]
    assert load_images(str(tmp_path), size=4, limit=1, channels=1).shape == (1, 1, 4, 4)
    save(tmp_path / "c.png", flat(9, side=40))
    with pytest.raises(InputError, match="give --size"):
        load_images(tmp_path)
    assert len(load_images(tmp_path, size=16)) == 3
    (tmp_path / "d.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"got d\.png: not an image, or damaged; mend it"):
        load_images(tmp_path, size=16)
    with pytest.raises(InputError, match="image folder expected to be a path"):
        load_images("")


def test_every_suffix_that_pillow_reads_is_an_image_and_the_others_are_counted(tmp_path):
    for suffix in ("png", "gif", "ppm", "pgm", "jfif", "tga", "jp2", "pcx", "qoi"):
        save(tmp_path / f"x.{suffix}", flat(77), format="JPEG" if suffix == "jfif" else None)
    for name in ("a.txt", "b.txt", "c.csv", "none", "x.eps", "x.pdf"):
        (tmp_path / name).write_bytes(b"x")
    found = find_images(tmp_path)
    assert len(found.files) == 9
    for image in found.files:
        assert as_bytes(load_file(image, channels=3)).float().mean() == pytest.approx(77, abs=1)
    kinds = "2 .txt, 1 .csv, 1 .eps, 1 .pdf and 1 other kinds"
    assert found.notes == (f"passed over 6 files that are no images by their suffix: {kinds}",)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_an_image(tmp_path):
    save(tmp_path / "x.avif", flat(77))
    assert len(find_images(tmp_path).files) == 1


def test_a_program_under_the_name_of_an_image_is_not_run(tmp_path):
    """Pillow tells formats by content, and has Ghostscript run an EPS."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    save(tmp_path / "y.png", flat(1))
    (skipped,) = find_images(tmp_path).skipped
    assert skipped.reason == "not an image, or damaged"


def test_linked_class_folders_are_read_once(tmp_path):
    save(tmp_path / "elsewhere" / "b.png", flat(1))
    save(tmp_path / "elsewhere" / "c.png", flat(2))
    save(tmp_path / "train" / "cats" / "a.png", flat(3))
    (tmp_path / "train" / "dogs").symlink_to(tmp_path / "elsewhere")
    found = find_images(tmp_path / "train")
    assert [image.file for image in found.files] == ["cats/a.png", "dogs/b.png", "dogs/c.png"]
    assert not found.notes
    (tmp_path / "train" / "cats" / "all").symlink_to(tmp_path / "train")  # a loop
    (tmp_path / "train" / "hounds").symlink_to(tmp_path / "elsewhere")  # another name
    found = find_images(tmp_path / "train")
    assert [image.file for image in found.files] == ["cats/a.png", "dogs/b.png", "dogs/c.png"]
    assert sorted(note.split()[0] for note in found.notes) == ["cats/all", "hounds"]
    assert all("read already" in note for note in found.notes)


def test_a_fifo_is_skipped_by_name(tmp_path):
    save(tmp_path / "a.png", flat(1))
    os.mkfifo(tmp_path / "p.png")
    found = find_images(tmp_path)
    assert [(entry.file, entry.reason) for entry in found.skipped] == [("p.png", "not a regular file")]


def test_a_limit_draws_over_sub_folders_and_says_so(tmp_path):
    for kind in "abcd":
        for index in range(6):
            save(tmp_path / kind / f"{index}.png", flat(index))
    found = find_images(tmp_path, 8)
    assert sorted(image.file[0] for image in found.files) == [*"aabbccdd"]
    assert [image.file for image in found.files] == sorted(image.file for image in found.files)
    assert found.notes == ("8 of 24 images, drawn with seed 0",)
    assert {image.file for image in found.files} <= {image.file for image in find_images(tmp_path, 13).files}
    draws = {tuple(image.file for image in find_images(tmp_path, 8, seed=seed).files) for seed in range(5)}
    assert len(draws) == 5
    assert not find_images(tmp_path, 24).notes
    assert not find_images(tmp_path).notes


def test_only_the_images_that_are_drawn_are_read(tmp_path, monkeypatch):
    for index in range(20):
        save(tmp_path / f"{index}.png", flat(index))
    (tmp_path / "damaged.png").write_bytes(b"x")
    reads = []
    read = stored.Plain.read
    monkeypatch.setattr(stored.Plain, "read", lambda self: reads.append(self.path) or read(self))
    found = find_images(tmp_path, 3)
    assert len(reads) == 3 + len(found.skipped)


def test_what_a_file_has_beyond_its_pixels_is_said(tmp_path):
    deep = np.full((8, 8), 30000, np.uint16)
    content = io.BytesIO()
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))  # noqa: E731
    rows = b"".join(b"\0" + np.stack([deep] * 3, -1)[row].astype(">u2").tobytes() for row in range(8))
    content.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)))
    content.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    (tmp_path / "deep.png").write_bytes(content.getvalue())
    (tmp_path / "deep.ppm").write_bytes(b"P6 8 8 65535\n" + np.stack([deep] * 3, -1).astype(">u2").tobytes())
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    save(tmp_path / "lab.png", flat(1), icc_profile=lab)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path / "srgb.png", flat(1), icc_profile=srgb)
    save(tmp_path / "many.gif", flat(1), save_all=True, append_images=[Image.fromarray(flat(9))])
    notes = find_images(tmp_path).notes
    assert "16-bit colour is read with 8 bits (2 of 5 images)" in notes
    assert "only the first of several frames is read (1 of 5 images)" in notes
    assert sum("is not applied: pixels are taken as they are stored (1 of 5 images)" in note for note in notes) == 1
    assert len(notes) == 3


def test_a_common_size_is_known(tmp_path):
    save(tmp_path / "a.png", np.zeros((8, 16, 3), np.uint8))
    assert find_images(tmp_path).common_size == (8, 16)
    save(tmp_path / "b.png", flat(1))
    assert find_images(tmp_path).common_size is None


def test_images_that_another_process_has_read_are_found_without_reading_them(tmp_path, monkeypatch):
    for name, side in (("a", 8), ("b", 12), ("c", 16)):
        Image.new("RGB", (side, 8)).save(tmp_path / f"{name}.png")
    before = find_images(tmp_path, 2)
    known = json.loads(json.dumps(before.inventory()))
    with monkeypatch.context() as patch, trusting(known):
        patch.setattr(Plain, "read", None)
        assert find_images(tmp_path, 2).files == before.files
    (tmp_path / before.files[0].file).write_bytes((tmp_path / before.files[1].file).read_bytes())
    with trusting(known), pytest.raises(InputError, match="is another image than when this run began"):
        load_file(find_images(tmp_path, 2).files[0], channels=3)
    assert find_images(tmp_path, 2).files[0] != before.files[0]


def test_samples_are_chosen_by_their_names_or_those_of_their_files(tiny, tmp_path):
    whole = find_images(tiny.write_images(tmp_path / "photos"))
    (first, second), all_files = whole.files[:2], whole.folder
    chosen = find_images(all_files, only=[first.file, second.sample])
    assert [image.sample for image in chosen.files] == [first.sample, second.sample]
    with pytest.raises(InputError, match="--only expected samples of"):
        find_images(all_files, only=["nowhere.png"])
