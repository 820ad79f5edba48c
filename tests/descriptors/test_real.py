"""Descriptors on a real pretrained decoder, against dense float64 Jacobians."""

from __future__ import annotations

import pytest
import torch

import theodolite
from theodolite.data.images import load_image
from theodolite.derivatives import LinearOperator
from theodolite.descriptors import EFFORTS, Chart
from theodolite.spectrum import dense_measure, effective_rank, log_volume, singular_spectrum

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def taesd(shared):
    pytest.importorskip("diffusers")
    return theodolite.load(str(shared / "models" / "taesd"))


def latent(shared, taesd, size):
    photo = shared / "images" / "photos" / "astronaut_0128_0128.png"
    return taesd.encode(load_image(photo, channels=3, size=size))


@pytest.fixture(scope="module", params=[32, 64])
def exact(request, shared, taesd):
    """The decoder in float64 at the latent of a photograph, 4x4 or 8x8, with its dense Jacobian."""
    return Chart(taesd.decoder.to(dtype=torch.float64), latent(shared, taesd, request.param).double())


@pytest.mark.slow
def test_the_dense_path_is_exact_in_float64(exact):
    assert exact.is_dense
    s = torch.linalg.svdvals(torch.linalg.qr(exact.jacobians, mode="r").R)
    share = s / s.sum(-1, keepdim=True)
    expected = {
        "local_scaling": s.log().sum(-1),
        "local_rank": torch.special.entr(share).sum(-1).exp(),
        "leading_singular_value": s[:, 0],
    }
    for name, value in expected.items():
        found = getattr(theodolite, name)(exact.map, exact.latents, chart=exact)
        torch.testing.assert_close(found.value, value, rtol=1e-6, atol=0)


@pytest.mark.slow
def test_single_precision_against_the_dense_jacobian_in_float64(exact, taesd):
    z = exact.latents.float()
    chart, forced = Chart(taesd.decoder, z), Chart(taesd.decoder, z, dense=False, generator=1)
    assert chart.is_dense
    for name in ("local_scaling", "local_rank", "leading_singular_value"):
        descriptor = getattr(theodolite, name)
        value = descriptor(exact.map, exact.latents, chart=exact).value
        torch.testing.assert_close(descriptor(taesd.decoder, z, chart=chart).value, value, rtol=0.01, atol=0)
        drawn = descriptor(taesd.decoder, z, chart=forced)
        assert (drawn.value - value).abs() <= 3 * drawn.stderr + 1e-4 * value.abs()


def test_the_infinitesimal_normal_part_vanishes_and_the_finite_one_does_not(exact):
    found = theodolite.curvature(exact.map, exact.latents, chart=exact)
    assert found.value.item() > 0.05
    for name in ("curvature_infinitesimal", "curvature_infinitesimal_leading"):
        assert found[name].value.item() < 1e-9 * found.value.item()


def test_a_relu_decoder_bends_only_over_a_finite_step(shared, taesd):
    found = theodolite.curvature(taesd.decoder, latent(shared, taesd, 32))
    assert found.value.item() > 0.05
    assert found["curvature_infinitesimal"].value.item() < 1e-5 * found.value.item()


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_projection_of_the_reference_latent(taesd):
    """The output projected on 128 rows keeps 128 of 1024 singular values, which shifts the log-volume by over 1000."""
    data = pytest.importorskip("skimage.data")
    image = torch.tensor(data.astronaut()[100:228, 180:308] / 127.5 - 1).permute(2, 0, 1)[None].float()
    found = theodolite.local_scaling(taesd.decoder, taesd.encode(image), mode="paper")
    assert found.passes == 128
    assert found.value.item() == pytest.approx(-33.2, abs=0.5)


@pytest.mark.parametrize("effort", ["quick", "standard"])
@pytest.mark.slow
def test_error_bars_hold_over_many_seeds(shared, taesd, effort):
    """On the spectrum of the decoder at an 8x8 latent, kept in a triangular factor, dense path forbidden."""
    spent, seeds = EFFORTS[effort], 100
    J = theodolite.jacobian(taesd.decoder, latent(shared, taesd, 64)).dense().double()
    R = torch.linalg.qr(J, mode="r").R
    copies = LinearOperator.from_matrices(R.expand(seeds, -1, -1))
    drawn = singular_spectrum(copies, probes=spent.probes, depth=spent.depth, generator=range(seeds), exact=False)
    exact = dense_measure(R)
    for quantity in (log_volume, effective_rank, lambda measure: effective_rank(measure, 2.0)):
        found = quantity(drawn)
        z = (found.value - quantity(exact).value) / found.stderr
        assert abs(z.mean()) < 0.25
        assert 0.7 < z.std() < 1.3
