"""What is guided: its conditions in turn, what its rewards read, and the zoo's classifier as a judge of samples."""

from __future__ import annotations

import pytest
import torch

from theodolite.errors import InputError
from theodolite.maps import Autoencoder
from theodolite.steering import Judge
from theodolite.steering.properties import contrast
from theodolite.steering.subject import subject_of
from theodolite.zoo import coloured_digits, conditional_diffusion, pixel_diffusion
from theodolite.zoo.coloured import CONDITIONS, labels_of


def test_the_zoos_classifier_is_sure_of_data_and_not_of_other_labels():
    model = conditional_diffusion()
    images, labels = coloured_digits([(3, "red"), (8, "green")] * 6, held_out=True, generator=0)
    points = model.autoencoder.encode(images)
    right = dict(Judge(**model.judging(labels, references=60))(points))
    others = labels_of([(3, "blue"), (8, "red")] * 6)
    wrong = dict(Judge(**model.judging(others, references=60))(points))
    assert float(right["confidence"].value) > 0.8
    assert float(wrong["confidence"].value) < 0.1
    assert float(wrong["accuracy"].value) == 0.0
    assert float(wrong["frechet_distance"].value) > 2 * float(right["frechet_distance"].value)
    assert float(right["diversity"].value) > 0


def test_conditions_are_taken_in_turn_all_or_spread():
    model = conditional_diffusion()
    assert torch.equal(model.labels(40), labels_of([*CONDITIONS, *CONDITIONS[:8]]))
    assert torch.equal(model.labels(6, 4), labels_of([CONDITIONS[n] for n in (0, 8, 16, 24, 0, 8)]))
    assert len(model.labels(3, 100).unique(dim=0)) == 3


def test_the_map_of_a_pixel_model_is_its_denoiser_and_of_a_latent_one_its_decoder():
    pixels, latents = subject_of(pixel_diffusion(), 0.1), subject_of(conditional_diffusion(), 0.1)
    assert (pixels.shape, latents.shape) == ((3, 16, 16), (4, 8, 8))
    points = pixels.noise(2, 0)
    assert pixels.decode(points) is points
    assert pixels.map.latent_shape == pixels.shape
    assert latents.map is latents.model.autoencoder.decoder
    with pytest.raises(InputError, match="a diffusion model expected, got Autoencoder"):
        subject_of(Autoencoder(lambda x: x, lambda z: z, name="none", latent_shape=(1,)), 0.1)


def test_a_plain_property_is_read_from_images_and_says_nothing_of_progress():
    subject, said = subject_of(conditional_diffusion(), 0.1), []
    points = subject.noise(2, 0)
    with torch.no_grad():
        expected = contrast(subject.decode(points)).double()
    assert torch.equal(subject.target("contrast", points, 0, said.append), expected)
    assert said == []
