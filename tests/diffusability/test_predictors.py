"""Predictors: closed forms, invariances, what cannot be measured, and one registration a number."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.diffusability import PREDICTORS, Predictor, measure_predictors
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.maps import Autoencoder

SIDE = 8


def images(n=60, seed=0):
    """Grey images with power that falls with frequency, and labels that their mean tells."""
    g = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    x = torch.randn(n, 1, SIDE, SIDE, generator=g)
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(x, (1, 1, 1, 1)), 3, 1)
    return (0.3 * smooth + 0.05 * (2 * label[:, None, None, None] - 1)).clamp(-1, 1), label


def identity(**options):
    return Autoencoder(
        lambda x: x, lambda z: z, name="identity", latent_shape=(1, None, None), image_channels=1, **options
    )


@pytest.fixture(scope="module")
def measured():
    x, label = images()
    return measure_predictors(identity(), x, label, [name for name in PREDICTORS if not name.startswith("probe")])


def test_all_are_estimates_of_one_entry(measured):
    assert all(isinstance(number, Estimate) and number.value.numel() == 1 for number in measured.values())
    missing = {name for name, number in measured.items() if number.status == "undetermined"}
    assert missing <= {"kl", "posterior_response", "ssim"}, {name: measured[name].message for name in missing}


def test_the_identity_is_an_isometry(measured):
    assert measured["gap"].item() == pytest.approx(0, abs=1e-9)
    assert measured["shift"].item() == pytest.approx(0, abs=1e-9)
    assert measured["nu"].item() == pytest.approx(SIDE**2, rel=1e-4)
    assert measured["gain"].item() == pytest.approx(1, rel=1e-4)
    assert measured["log_spread"].item() == pytest.approx(0, abs=1e-4)
    assert measured["eq_rotation"].item() == pytest.approx(0, abs=1e-9)
    assert measured["rfd"].item() == pytest.approx(0, abs=1e-6)
    assert abs(measured["noise_response"].item() - 1) < 3 * float(measured["noise_response"].stderr) + 0.1


def test_a_number_alone_is_that_of_all_together(measured):
    x, label = images()
    for name in ("lds", "gaussian_viv", "lnc"):
        alone = PREDICTORS[name].function(identity(), x, labels=label, generator=0)
        assert alone.item() == measured[name].item()
        assert PREDICTORS[name].quantity.name == name


def test_without_labels_and_posteriors_there_is_no_number_but_a_reason():
    x, _ = images(20)
    names = ["lnc", "linear_probe", "class_viv", "kronecker_viv", "fd_class_gaussians", "kl", "posterior_response"]
    for name, number in measure_predictors(identity(), x, None, names).items():
        assert number.status == "undetermined"
        assert math.isnan(number.item())
        assert ("label" in number.message) or ("posterior" in number.message), name


def test_a_predictor_that_fails_costs_no_other(monkeypatch):
    from theodolite.estimates.quantity import Quantity

    def failing(autoencoder, images, *, generator):
        raise RuntimeError("not today")

    monkeypatch.setattr(PREDICTORS, "_added", {"failing": Predictor(failing, Quantity("failing", "Failing"))})
    monkeypatch.setattr(PREDICTORS, "_known", None)
    x, _ = images(20)
    found = measure_predictors(identity(), x, None, ["failing", "kurtosis"])
    assert found["failing"].status == "undetermined"
    assert "not today" in found["failing"].message
    assert found["kurtosis"].is_number().all()
    monkeypatch.setattr(PREDICTORS, "_known", None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"names": ["gaps"]}, "predictors expected"),
        ({"labels": torch.zeros(3)}, "one of `labels` an image"),
        ({"groups": ["a"] * 20}, "two independent sources"),
        ({"features": "no_colon"}, "module:factory"),
        ({"features": 3}, "module:factory or a callable"),
    ],
)
def test_bad_input_is_one_error(options, said):
    with pytest.raises(InputError, match=said):
        measure_predictors(identity(), images(20)[0], **options)
