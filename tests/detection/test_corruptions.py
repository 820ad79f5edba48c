"""Corruptions against their formulas; severity nought, invariances, and what is refused."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from theodolite.detection import CORRUPTIONS, corrupt
from theodolite.errors import InputError

D = torch.float64


@pytest.fixture
def images():
    """Two smooth images of little range, so that nothing is clamped."""
    g = torch.Generator().manual_seed(0)
    coarse = 0.1 * torch.randn(2, 3, 4, 4, generator=g, dtype=D)
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")


def change(images, name, severity, **options):
    return (corrupt(images, name, severity, **options) - images).square().mean().sqrt().item()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_nought_is_clean_and_more_is_worse(images, name):
    assert corrupt(images, name, 0) is images
    sizes = [change(images, name, severity) for severity in range(5)]
    assert all(less < more for less, more in itertools.pairwise(sizes))
    made = corrupt(images, name, 3)
    assert (made.shape, made.dtype) == (images.shape, images.dtype)
    assert made.abs().max() <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_does_not_depend_on_its_batch(images, name):
    together = corrupt(images, name, 2, generator=[3, 4])
    torch.testing.assert_close(corrupt(images[1:], name, 2, generator=[4])[0], together[1], rtol=1e-12, atol=1e-12)


def test_noise_has_its_size_and_one_draw_for_all_severities(images):
    steps = [(corrupt(images, "gaussian_noise", s, generator=0) - images) / (0.04 * 2**s) for s in (1, 2)]
    torch.testing.assert_close(*steps)
    assert abs(steps[0].std().item() - 1) < 0.05


def test_contrast_and_brightness_are_affine(images):
    torch.testing.assert_close(corrupt(images, "brightness", 2), images + 0.4)
    made = corrupt(images, "contrast", 3)
    torch.testing.assert_close(made.mean((1, 2, 3)), images.mean((1, 2, 3)))
    torch.testing.assert_close(made.std((1, 2, 3)), 0.6**3 * images.std((1, 2, 3)))


def test_blur_damps_a_wave_as_a_gaussian_does():
    x = torch.arange(128, dtype=D)
    wave = 0.5 * (2 * math.pi * 5 * x / 128).cos().expand(1, 1, 128, 128)
    made = corrupt(wave, "gaussian_blur", 2)
    factor = (made[..., 64, 32:96] * wave[..., 64, 32:96]).sum() / wave[..., 64, 32:96].square().sum()
    assert abs(factor.item() - math.exp(-0.5 * (2 * math.pi * 5 / 128) ** 2)) < 1e-3


def test_pixels_are_means_of_blocks(images):
    made = corrupt(images, "pixelate", 3)
    blocks = made.unfold(2, 8, 8).unfold(3, 8, 8)
    torch.testing.assert_close(blocks, blocks.mean((-1, -2), keepdim=True).expand_as(blocks))
    torch.testing.assert_close(blocks.mean((-1, -2)), images.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2)))


def test_jpeg_takes_grey_and_no_other_channels(images):
    assert corrupt(images[:, :1], "jpeg", 1).shape == (2, 1, 32, 32)
    with pytest.raises(InputError, match="one or three channels"):
        corrupt(images[:, :2], "jpeg", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "fog"}, "a corruption among gaussian_noise"),
        ({"severity": 5}, "severity of 0"),
        ({"severity": True}, "severity of 0"),
        ({"images": torch.zeros(3, 4, 4)}, "channels, height, width"),
        ({"images": torch.full((1, 3, 4, 4), 2.0)}, "in \\[-1, 1\\]"),
        ({"images": torch.full((1, 3, 4, 4), math.nan)}, "in \\[-1, 1\\]"),
    ],
)
def test_mistakes_are_told(change, message):
    given = {"images": torch.zeros(1, 3, 4, 4), "name": "contrast", "severity": 1, **change}
    with pytest.raises(InputError, match=message):
        corrupt(**given)
