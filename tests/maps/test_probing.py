"""Shapes found by running: which sizes are tried and in which order, what follows the size of the image."""

import pytest
import torch
from torch import nn

from theodolite.errors import InputError
from theodolite.maps import probing
from theodolite.maps.probing import SIDES, probe, sides_by_cost


def probed(model, **options):
    return probe(model.encode, model.decode, name="mine", **options)


def test_a_small_size_is_tried_first_and_a_large_one_where_its_cost_puts_it():
    assert sides_by_cost(None) == [(side, side) for side in SIDES]
    assert sides_by_cost((28, 36))[:2] == [(28, 36), (32, 32)]
    assert sides_by_cost((16, 16))[:2] == [(16, 16), (32, 32)]
    order = sides_by_cost((300, 200))
    assert order.index((128, 128)) < order.index((300, 200)) < order.index((256, 256))
    assert sides_by_cost((256, 256)) == sides_by_cost(None)
    assert all(sorted(sides_by_cost(size)) == sorted({*sides_by_cost(None), size}) for size in ((28, 28), (90, 90)))


@pytest.mark.parametrize("side", [28, 64, 128])
def test_a_model_of_one_size_is_found_without_a_look_at_larger_ones(situations, side):
    model = situations.Attending(side)
    shapes = probed(model)
    assert (shapes.image_size, shapes.image_channels) == ((side, side), 1)
    assert max(model.sides) <= max(2 * side if side <= 64 else side, 32)


def test_an_odd_size_is_found_where_the_images_have_it(situations):
    with pytest.raises(InputError, match="could not encode and decode an image"):
        probed(situations.Attending(40), sides=(32, 28, 64))
    assert probed(situations.Attending(40), sides=(32, 28, 64), size=(40, 40)).image_size == (40, 40)


def test_sizes_that_would_take_too_much_memory_are_left_out_and_named(situations, monkeypatch):
    monkeypatch.setattr(probing, "_MOST", 2**20)
    model = situations.Attending(7)
    with pytest.raises(InputError, match="64x64 and above would take gigabytes and were not tried; give its size"):
        probed(model)
    assert max(model.sides) == 32  # at 64 pixels, attention over 32² positions takes 2**22 bytes
    with pytest.raises(InputError):
        probed(model, size=(128, 128))
    assert model.sides[-1] == 128  # what the user wants is tried whatever it costs


@pytest.mark.parametrize("first", [0, 1, 4])
def test_tokens_of_a_model_of_several_sizes_keep_a_free_axis(situations, first):
    shapes = probed(situations.Tokens(first))
    assert (shapes.latent_shape, shapes.image_size, shapes.downsampling) == ((None, 6), None, 8)


def test_a_decoder_of_one_size_makes_a_model_of_one_size(situations):
    class Fixed(situations.Autoencoding):
        def decode(self, latents):
            return nn.functional.interpolate(super().decode(latents), size=(32, 32))

    assert probed(Fixed()).image_size == (32, 32)
    assert probed(situations.Autoencoding()).image_size is None


def test_a_model_for_which_half_is_too_small_is_tried_above(situations):
    class Wide(situations.Autoencoding):
        def encode(self, images):
            if images.shape[-1] < 32:
                raise ValueError("too small")
            return super().encode(images)

    shapes = probed(Wide())
    assert (shapes.latent_shape, shapes.image_size, shapes.downsampling) == ((2, None, None), None, 4)


def test_outputs_in_the_unit_range_are_noted(situations):
    assert "stay in [0, 1]" in probed(situations.of_unit_range()).notes[0]
    for end in (nn.Tanh(), nn.Identity()):
        assert probed(situations.Autoencoding(end=end)).notes == ()


def test_a_failure_names_the_informative_line(situations):
    class Loading(situations.Autoencoding):
        def decode(self, latents):
            nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)})

    with pytest.raises(InputError, match=r"Error.s. in loading state_dict for Linear: size mismatch for weight"):
        probed(Loading())
