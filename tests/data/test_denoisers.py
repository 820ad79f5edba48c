"""Denoisers at several noise levels, seen as experiments on images see a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theodolite.data.denoisers import SIGMAS, checked_levels, denoiser_at, opened_subject
from theodolite.errors import InputError
from theodolite.zoo import ConditionalDiffusion


class Halved(nn.Module):
    """Gives half of what it is given back."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def forward(self, x, sigma, condition=None):
        return x / 2


def model(shape=(3, 4, 4)):
    return ConditionalDiffusion("halved", Halved(shape).eval(), None)


def test_levels_rise_and_are_those_by_default():
    assert checked_levels(None) == SIGMAS
    assert checked_levels([2, 0.5]) == (0.5, 2.0)


@pytest.mark.parametrize("levels", [[], [0.4], [0.4, 0.4], [0.4, 0.4 + 1e-12]])
def test_one_level_can_show_anything(levels):
    with pytest.raises(InputError, match="two or more different noise levels"):
        checked_levels(levels)


def test_points_of_a_denoiser_of_images_are_images():
    denoiser = denoiser_at(model(), (0.5, 2.0), "x0", None)
    images = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)
    assert torch.equal(denoiser.view.encode(images), images)
    assert torch.equal(denoiser.decode(images), images)
    assert (denoiser.view.image_size, denoiser.view.image_channels) == ((4, 4), 3)
    torch.testing.assert_close(denoiser.map(0.5)(images), images / 2)
    torch.testing.assert_close(denoiser.map(0.5, "eps")(images), images)  # (x - x / 2) / 0.5


def test_another_output_is_refused():
    with pytest.raises(InputError, match="`output` expected to be one of"):
        denoiser_at(model(), (0.5, 2.0), "noise", None)


def test_another_object_is_refused():
    with pytest.raises(InputError, match="an autoencoder or a diffusion model expected, got Linear"):
        opened_subject(nn.Linear(1, 1))
