"""Descriptors on a real pretrained decoder, against dense float64 Jacobians."""

from __future__ import annotations

import pytest
import torch

import theodolite
from theodolite.descriptors import Chart
from theodolite.spectrum import dense_measure, dense_triplet, effective_rank, log_volume
from theodolite.surveys.images import load_image

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def taesd(shared):
    pytest.importorskip("diffusers")
    return theodolite.load(str(shared / "models" / "taesd"))


def latent(shared, taesd, size):
    photo = shared / "images" / "photos" / "astronaut_0128_0128.png"
    return taesd.encode(load_image(photo, channels=3, size=size))


@pytest.mark.parametrize("size", [32, 64])
def test_against_the_dense_jacobian_in_float64(shared, taesd, size):
    z = latent(shared, taesd, size)
    J = theodolite.jacobian(taesd.decoder.to(dtype=torch.float64), z.double()).dense()
    truth = {
        "local_scaling": log_volume(dense_measure(J)).value,
        "local_rank": effective_rank(dense_measure(J)).value,
        "leading_singular_value": dense_triplet(J).sigma,
    }
    chart = Chart(taesd.decoder, z)
    forced = Chart(taesd.decoder, z, dense=False, generator=1)
    assert chart.is_dense
    for name, value in truth.items():
        descriptor = getattr(theodolite, name)
        torch.testing.assert_close(descriptor(taesd.decoder, z, chart=chart).value, value, rtol=0.01, atol=0)
        drawn = descriptor(taesd.decoder, z, chart=forced)
        assert (drawn.value - value).abs() <= 3 * drawn.stderr + 1e-4 * value.abs()


def test_a_relu_decoder_bends_only_over_a_finite_step(shared, taesd):
    found = theodolite.curvature(taesd.decoder, latent(shared, taesd, 32))
    assert found.value.item() > 0.05
    assert found["curvature_infinitesimal"].value.item() < 1e-5 * found.value.item()


def test_the_reference_latent(taesd):
    data = pytest.importorskip("skimage.data")
    image = torch.tensor(data.astronaut()[100:228, 180:308] / 127.5 - 1).permute(2, 0, 1)[None].float()
    chart = Chart(taesd.decoder, taesd.encode(image), generator=0)
    psi = theodolite.local_scaling(taesd.decoder, chart.latents, chart=chart)
    nu = theodolite.local_rank(taesd.decoder, chart.latents, chart=chart)
    assert abs(psi.value.item() - 1151.44) < 3 * psi.stderr.item()
    assert abs(nu.value.item() - 720.4) < 3 * nu.stderr.item()
    assert abs(nu["local_rank_p2"].value.item() - 342.2) < 3 * nu["local_rank_p2"].stderr.item()
    assert abs(theodolite.leading_singular_value(taesd.decoder, chart.latents, chart=chart).value.item() - 32.30) < 0.01
