"""Images in NumPy's files: stacks of every layout, one at a time, never by unpickling."""

import io
import zipfile

import numpy as np
import pytest
import torch

from theodolite.data.images import find_images, load_file
from theodolite.errors import InputError

DRAWS = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)


def pixels(images, channels=3):
    return torch.cat([load_file(image, channels=channels) for image in images])


def expected(stack):
    return torch.from_numpy(stack.astype(np.float32) / 127.5 - 1).movedim(-1, 1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_colour_is_taken_from_either_axis(tmp_path, save):
    save(tmp_path / "x.npz", last=DRAWS, first=np.moveaxis(DRAWS, -1, 1), labels=np.arange(5))
    found = find_images(tmp_path / "x.npz")
    assert [image.file for image in found.files[:2]] == ["first/000000", "first/000001"]
    assert len(found.files) == 10
    assert torch.equal(pixels(found.files[:5]), expected(DRAWS))
    assert torch.equal(pixels(found.files[5:]), expected(DRAWS))
    assert torch.equal(pixels(found.files[4::-1]), expected(DRAWS[::-1].copy()))  # backwards: opened anew
    assert not found.skipped


def test_grey_bilevel_and_sixteen_bits(tmp_path):
    grey, deep = DRAWS[..., 0], DRAWS[..., 0].astype(np.uint16) * 257
    np.savez(tmp_path / "x.npz", a=grey, b=deep, c=deep.astype(">u2"), d=grey > 127)
    found = find_images(tmp_path / "x.npz").files
    for start in (0, 5, 10):
        assert torch.allclose(pixels(found[start : start + 5], 1)[:, 0], expected(grey[..., None])[:, 0], atol=1e-6)
    assert torch.equal(pixels(found[15:], 1)[:, 0] > 0, torch.from_numpy(grey > 127))


def test_colour_of_sixteen_bits_is_said(tmp_path):
    np.save(tmp_path / "x.npy", DRAWS.astype(np.uint16) * 257)
    found = find_images(tmp_path / "x.npy")
    assert torch.equal(pixels(found.files), expected(DRAWS))
    assert found.notes == ("16-bit colour is read with 8 bits (5 of 5 images)",)


def test_one_image_is_no_stack(tmp_path):
    np.save(tmp_path / "x.npy", DRAWS[0])
    (image,) = find_images(tmp_path / "x.npy").files
    assert torch.equal(pixels([image]), expected(DRAWS[:1]))


class Trap:
    """Unpickling it would raise."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([Trap()], dtype=object), "Python objects"),
        (DRAWS.astype(np.float32) / 255, "floating-point pixels have no defined range"),
        (np.asfortranarray(DRAWS), "Fortran order"),
        (np.arange(5), "an array of shape \\(5,\\)"),
        (DRAWS.reshape(5, -1), "images are \\(n, height, width\\)"),
    ],
)
@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_other_arrays_are_refused_with_the_reason(tmp_path, name, array, message):
    with (tmp_path / name).open("wb") as file:
        np.save(file, array, allow_pickle=True) if name.endswith("npy") else np.savez(file, arr=array)
    with pytest.raises(InputError, match=message) as caught:
        find_images(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_an_array_that_claims_more_than_its_file_holds_is_not_listed(tmp_path, name):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    if name.endswith("npy"):
        (tmp_path / name).write_bytes(head.getvalue())
    else:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("arr.npy", head.getvalue())
    with pytest.raises(InputError, match="claims"):
        find_images(tmp_path / name)


def test_what_is_no_array_is_one_line(tmp_path):
    for name in ("x.npz", "x.npy"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(InputError, match="can be read"):
            find_images(tmp_path / name)
