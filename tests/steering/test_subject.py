"""The zoo's classifier as a judge of samples."""

from __future__ import annotations

from theodolite.steering import Judge
from theodolite.zoo import coloured_digits, conditional_diffusion
from theodolite.zoo.coloured import labels_of


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
