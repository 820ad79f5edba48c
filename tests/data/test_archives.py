"""Images in zip and tar archives, good ones and those of strangers."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from theodolite.data import archives, stored
from theodolite.data.images import find_images, load_file, load_images
from theodolite.errors import InputError


def png(value, side=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def zipped(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


MEMBERS = {
    "cats/b.png": png(255),
    "cats/a.png": png(0),
    "dogs/c.png": png(51),
    "dogs/c.json": b"{}",
    "dogs/.c.png": b"",
}
WRITERS = {
    "deflated.zip": zipped,
    "stored.zip": lambda path, members: zipped(path, members, zipfile.ZIP_STORED),
    "plain.tar": tarred,
}


@pytest.mark.parametrize("name", WRITERS)
def test_members_are_read_in_place_in_the_order_of_their_paths(tmp_path, name):
    found = find_images(WRITERS[name](tmp_path / name, MEMBERS))
    assert [image.file for image in found.files] == ["cats/a.png", "cats/b.png", "dogs/c.png"]
    assert [float(load_file(image, channels=3).mean()) for image in found.files] == pytest.approx([-1, 1, -0.6])
    assert found.notes == ("passed over 1 files that are no images by their suffix: 1 .json",)
    assert len({image.sha256 for image in found.files}) == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_an_image_has_one_hash_wherever_it_is(tmp_path, name):
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "a.png").write_bytes(png(7))
    archive = WRITERS[name](tmp_path / name, {"a.png": png(7)})
    assert find_images(archive).files[0].sha256 == find_images(tmp_path / "loose").files[0].sha256


def test_a_folder_of_shards_is_read_and_an_archive_beside_images_is_passed_over(tmp_path):
    for index in range(2):
        tarred(tmp_path / f"shard-{index}.tar", {f"{index}{k}.png": png(9 * index + k) for k in range(2)})
    expected = [f"shard-{index}.tar/{index}{k}.png" for index in range(2) for k in range(2)]
    assert [image.file for image in find_images(tmp_path).files] == expected
    (tmp_path / "loose.png").write_bytes(png(1))
    found = find_images(tmp_path)
    assert [image.file for image in found.files] == ["loose.png"]
    assert found.notes == ("passed over 2 files that are no images by their suffix: 2 .tar",)


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out.png", "a\\..\\out.png"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_are_skipped(tmp_path, kind, name):
    write = zipped if kind == "zip" else tarred
    found = find_images(write(tmp_path / f"x.{kind}", {name: png(1), "in.png": png(2)}))
    assert [image.file for image in found.files] == ["in.png"]
    assert [entry.reason for entry in found.skipped] == ["its name leads out of the archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_special_members_of_a_tar_are_skipped(tmp_path, kind):
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = kind, "/etc/passwd"
    found = find_images(tarred(tmp_path / "x.tar", {"in.png": png(2), link: b""}))
    assert [entry.file for entry in found.skipped] == ["link.png"]
    assert found.skipped[0].reason == "a link or special file"


def test_links_and_encrypted_members_of_a_zip_are_skipped(tmp_path):
    path = tmp_path / "x.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("in.png", png(2))
        archive.writestr("secret.png", png(3))
        archive.filelist[-1].flag_bits |= 1
    found = find_images(path)
    assert [(entry.file, entry.reason) for entry in found.skipped] == [
        ("link.png", "a link"),
        ("secret.png", "encrypted"),
    ]


def test_a_member_that_unpacks_to_more_than_an_image_may_have_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MOST_BYTES", 2**16)
    path = zipped(tmp_path / "x.zip", {"bomb.png": b"\0" * 2**20, "in.png": png(2)})
    found = find_images(path)
    assert [image.file for image in found.files] == ["in.png"]
    assert "images of 0 MiB at most are read" in found.skipped[0].reason


def test_a_member_that_is_longer_than_its_directory_says_is_refused(tmp_path):
    """Unpacking stops a byte beyond what the directory states."""
    path = zipped(tmp_path / "x.zip", {"a.png": b"\0" * 2**20})
    (entry,) = archives.zip_contents(path).entries
    lying = archives.ZipMember(**{**vars(entry.stored), "size": 1000})
    with pytest.raises(OSError, match="damaged in its archive"):
        lying.read()


def test_a_damaged_member_is_skipped(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.png": png(1), "b.png": png(2)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(bytes(content))
    assert [entry.reason for entry in find_images(path).skipped] == ["damaged in its archive"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.zip", b"PK no archive", "no zip archive that can be read"),
        ("x.tar", b"no archive" * 100, "no tar archive that can be read"),
        ("x.tar", b"\x1f\x8b\x08" + b"\0" * 600, "compressed: unpack it once"),
        ("x.txt", b"", "image folder expected, got the file"),
    ],
)
def test_what_is_no_archive_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        find_images(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_truncated_tar_gives_what_is_whole(tmp_path):
    path = tarred(tmp_path / "x.tar", {"a.png": png(1), "b.png": png(2, side=256)})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"b.png") + 600])
    found = find_images(path)
    assert [image.file for image in found.files] == ["a.png"]
    assert {entry.file for entry in found.skipped} <= {"b.png", "the rest of the archive"}
    (tmp_path / "x.tar").write_bytes(content[:1])
    with pytest.raises(InputError, match=r"no tar archive that can be read|truncated"):
        find_images(path)


def test_two_members_of_one_name_are_one_image(tmp_path):
    first, second = tarfile.TarInfo("a.png"), tarfile.TarInfo("a.png")
    found = find_images(tarred(tmp_path / "x.tar", {first: png(0), second: png(255)}))
    assert [float(load_file(image, channels=3).mean()) for image in found.files] == [-1.0]
    assert "1 images have the name of another one" in found.notes[0]


def test_an_archive_that_changed_is_another_image(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.png": png(1)}, zipfile.ZIP_STORED)
    (image,) = find_images(path).files
    zipped(path, {"a.png": png(2)}, zipfile.ZIP_STORED)
    with pytest.raises(InputError, match=r"a\.png (is another image|cannot be read)"):
        load_file(image, channels=3)


def test_an_archive_becomes_one_batch(tmp_path):
    batch = load_images(zipped(tmp_path / "x.zip", MEMBERS), size=4)
    assert batch.shape == (3, 3, 4, 4)
    assert torch.equal(batch[:, 0, 0, 0], torch.tensor([-1.0, 1.0, 51 / 127.5 - 1]))
