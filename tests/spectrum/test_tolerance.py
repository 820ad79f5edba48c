"""Log-volume to a requested error: what it costs, what it promises, and when it says that it cannot."""

from __future__ import annotations

import pytest
import torch

import theodolite.spectrum.tolerance as tolerance
from theodolite import InputError
from theodolite.derivatives import LinearOperator
from theodolite.spectrum import BlockPreconditioner, forecast, log_volume_within

D = torch.float64


def diagonal(s, counts=None, n=1):
    """The operator of a diagonal matrix; random probes see no more of a matrix than its singular values."""

    def product(V):
        if counts is not None:
            counts.append(len(V))
        return V * s.to(V)

    return LinearOperator(n, len(s), len(s), product, product, s.dtype, s.device)


@pytest.fixture
def decoder_like():
    """A convolution's Jacobian in miniature: 4 channels at 256 locations, blocks of their own and weak neighbours."""
    g = torch.Generator().manual_seed(0)
    locations, channels = 256, 4
    mixing = torch.linalg.qr(torch.randn(locations, channels, channels, generator=g, dtype=D)).Q
    mixing = mixing * torch.linspace(-1, 1, channels, dtype=D).exp() @ mixing.mT
    mixing = mixing * torch.randn(locations, 1, 1, generator=g, dtype=D).mul(0.5).exp()
    A = torch.zeros(channels, locations, channels, locations, dtype=D)
    here = torch.arange(locations)
    A[:, here, :, here] = mixing
    A[:, here[1:], :, here[:-1]] = 0.3 * mixing[1:]
    return A.reshape(1, channels * locations, -1), mixing.mT @ mixing


@pytest.mark.parametrize(
    ("name", "rtol"), [("linear", 0.01), ("log-uniform", 0.02), ("log-normal", 0.02), ("Marchenko-Pastur", 0.005)]
)
@pytest.mark.slow
def test_the_error_asked_for_is_kept_and_is_honest(spectra, name, rtol):
    s = spectra(1500)[name]
    estimate = log_volume_within(diagonal(s, n=40), rtol)
    assert (estimate.stderr <= rtol * 1500).all()
    assert estimate.passes < 1500
    assert estimate.n >= tolerance.PROBES
    z = (estimate.value - s.log().sum()) / estimate.stderr
    assert z.mean().abs() < 0.3
    assert 0.6 < z.std() < 1.3
    assert (z.abs() < 1.96).double().mean() > 0.88


def test_passes_are_those_that_were_made(spectra):
    counts = []
    estimate = log_volume_within(diagonal(spectra(1500)["log-normal"], counts), 0.01)
    assert estimate.passes == sum(counts)


def test_a_looser_error_costs_less(spectra):
    s = spectra(1500)["linear"]
    loose, tight = (log_volume_within(diagonal(s), rtol) for rtol in (0.02, 0.008))
    assert loose.passes < tight.passes < 1500
    assert tight.stderr < loose.stderr


def test_a_small_matrix_is_taken_whole(spectra):
    s = spectra(256)["log-normal"]
    estimate = log_volume_within(diagonal(s), 0.01)
    assert (estimate.method, estimate.passes, float(estimate.stderr)) == ("dense", 256, 0.0)
    torch.testing.assert_close(estimate.value, s.log().sum()[None])


def test_where_probes_cost_more_the_matrix_is_taken_whole_after_all(spectra):
    s = spectra(600)["broad"]
    estimate = log_volume_within(diagonal(s), 0.02)
    assert not forecast(600, 0.02).dense
    assert estimate.method == "dense"
    assert 600 < estimate.passes < 1200
    torch.testing.assert_close(estimate.value, s.log().sum()[None])


def test_a_matrix_that_does_not_fit_is_estimated_as_well_as_can_be(spectra, monkeypatch):
    monkeypatch.setattr(tolerance, "_dense_fits", lambda operator: False)
    s = spectra(600)["broad"]
    estimate = log_volume_within(diagonal(s), 0.02)
    assert "reached" in estimate.message
    assert estimate.stderr > 0.02 * 600
    assert (estimate.value - s.log().sum()).abs() < 3 * estimate.stderr


@pytest.mark.parametrize("exact", [True, False], ids=["its own blocks", "any blocks"])
def test_a_preconditioner_changes_the_cost_and_not_the_value(decoder_like, exact):
    A, blocks = decoder_like
    if not exact:
        blocks = blocks + torch.eye(4, dtype=D)
    P = BlockPreconditioner(blocks[None])
    truth = torch.linalg.svdvals(A[0]).log().sum()
    whitened = P.applied(LinearOperator.from_matrices(A)).dense()
    torch.testing.assert_close(torch.linalg.svdvals(whitened[0]).log().sum() + P.log_root[0], truth, rtol=1e-10, atol=0)
    V, U = torch.randn(2, 1, 1024, dtype=D), torch.randn(2, 1, 1024, dtype=D)
    operator = P.applied(LinearOperator.from_matrices(A))
    torch.testing.assert_close((operator.matvec(V) * U).sum(-1), (V * operator.rmatvec(U)).sum(-1))


def test_blocks_of_locations_save_passes(decoder_like):
    A, blocks = decoder_like
    operator = LinearOperator.from_matrices(A)
    P = BlockPreconditioner(blocks[None], passes=16)
    plain, helped = (log_volume_within(operator, 0.02, preconditioner=given) for given in (None, P))
    truth = torch.linalg.svdvals(A[0]).log().sum()
    assert helped.method == "golub-kahan, block preconditioner"
    assert helped.passes < 0.75 * plain.passes
    assert (helped.value - truth).abs() < 3 * helped.stderr
    assert helped.stderr <= 0.02 * 1024


def test_a_preconditioner_is_set_aside_where_there_is_a_null_space(decoder_like):
    A, blocks = decoder_like
    A = A.reshape(4, 256, 4, 256).clone()
    A[:, :, 1] = A[:, :, 0]
    A = A.reshape(1, 1024, 1024)
    P = BlockPreconditioner(blocks[None], passes=16)
    estimate = log_volume_within(LinearOperator.from_matrices(A), 0.02, preconditioner=P)
    s = torch.linalg.svdvals(A[0])
    truth = s[s > 1e-6 * s[0]].log().sum()
    assert estimate.status == "rank-deficient"
    assert "preconditioner" not in estimate.method
    assert (estimate.value - truth).abs() < max(3 * float(estimate.stderr), 1e-6)


def test_singular_blocks_are_not_used(decoder_like):
    A, blocks = decoder_like
    P = BlockPreconditioner(torch.zeros_like(blocks)[None])
    assert not P.usable.any()
    estimate = log_volume_within(LinearOperator.from_matrices(A), 0.02, preconditioner=P)
    assert (estimate.value - torch.linalg.svdvals(A[0]).log().sum()).abs() < 3 * estimate.stderr


def test_scaling_the_map_shifts_the_value_and_keeps_the_error(spectra):
    s = spectra(1500)["log-normal"]
    one, scaled = (log_volume_within(diagonal(factor * s), 0.01, generator=3) for factor in (1.0, 50.0))
    torch.testing.assert_close(scaled.value - one.value, 1500 * torch.tensor([50.0], dtype=D).log())
    torch.testing.assert_close(scaled.stderr, one.stderr)


def test_a_wide_matrix_is_measured_from_its_smaller_side(spectra, matrices):
    s = spectra(300)["log-normal"]
    A = matrices(s, rows=300, columns=340)
    estimate = log_volume_within(LinearOperator.from_matrices(A), 0.05)
    assert not estimate.method.startswith("dense")
    assert (estimate.value - s.log().sum()).abs() < 3 * estimate.stderr


@pytest.mark.parametrize("bad", [0, -0.1, 1, 2.0, float("nan"), "0.01", True, None])
def test_a_bad_request_is_refused(spectra, bad):
    with pytest.raises(InputError, match="rtol"):
        log_volume_within(diagonal(spectra(300)["linear"]), bad)


def test_a_forecast_names_the_cheaper_way():
    assert forecast(256, 0.01).dense
    assert forecast(256, 0.01).passes == 256
    large = forecast(16_384, 0.01)
    assert (large.probes, large.dense) == (tolerance.PROBES, False)
    assert large.passes == 2 * large.probes * large.depth
    assert forecast(16_384, 0.01, setup=16).passes == large.passes + 16
