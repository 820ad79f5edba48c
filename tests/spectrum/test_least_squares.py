"""The part of a vector outside the tangent space: dense closed forms, bounds, and an expected bias that covers."""

from __future__ import annotations

import pytest
import torch

from theodolite.derivatives import LinearOperator
from theodolite.estimates import Seeds
from theodolite.spectrum import bidiagonalise, dense_normal_norm, normal_norm, spectral_measure

SEEDS = 100


def solved(A, a, *, depth=8, probes=3, steps=24, seed=0):
    operator = LinearOperator.from_matrices(A)
    run = bidiagonalise(operator, probes, steps, Seeds(seed, len(A)))
    return normal_norm(operator, a, depth, run=run, measure=spectral_measure(run, operator))


def vectors(A, count, seed=0):
    """Vectors with as much inside the range of each matrix as outside, `(count, n, rows)`."""
    g = torch.Generator().manual_seed(seed)
    n, rows, _ = A.shape
    Q = torch.linalg.svd(A, full_matrices=False).U
    inside = torch.einsum("nrc,knc->knr", Q, torch.randn(count, n, Q.shape[-1], generator=g, dtype=A.dtype))
    return inside + torch.randn(count, n, rows, generator=g, dtype=A.dtype)


def test_dense_is_the_distance_from_a_plane():
    A = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    norm, bias = dense_normal_norm(A, torch.tensor([[[5.0, -7.0, 3.0, 4.0]]], dtype=torch.float64))
    torch.testing.assert_close(norm, torch.full_like(norm, 5.0))
    assert (bias == 0).all()


def test_dense_leaves_the_null_space_out(matrices, spectra):
    A = matrices(spectra(60)["a third null"], rows=90)
    a = vectors(A, 4)
    kept = torch.linalg.svd(A[0]).U[:, :40]
    expected = (a[:, 0] - a[:, 0] @ kept @ kept.T).norm(dim=-1)
    torch.testing.assert_close(dense_normal_norm(A, a)[0][:, 0], expected)


@pytest.mark.parametrize("name", ["flat", "linear", "log-uniform", "log-normal", "a third null", "repeated leading"])
def test_the_residual_bounds_the_truth_and_its_bias_covers_the_rest(matrices, spectra, name):
    A = matrices(spectra(150)[name], rows=220).expand(SEEDS, -1, -1)
    a = vectors(A, 2)
    truth, _ = dense_normal_norm(A[:1], a.transpose(0, 1).reshape(2 * SEEDS, 1, -1))
    truth = truth.reshape(SEEDS, 2).T
    residual, bias = solved(A, a)
    assert (residual >= truth * (1 - 1e-9)).all()
    assert (bias >= 0).all()
    assert (residual - 2 * bias <= truth * (1 + 1e-9)).double().mean() > 0.95


def test_the_bias_falls_with_the_depth(matrices, spectra):
    A = matrices(spectra(150)["log-uniform"], rows=220)
    a = vectors(A, 8)
    residuals = [solved(A, a, depth=depth)[0] for depth in (2, 8, 32)]
    assert (residuals[0] >= residuals[1]).all()
    assert (residuals[1] >= residuals[2]).all()


def test_enough_steps_give_the_truth(matrices, spectra):
    A = matrices(spectra(40)["linear"], rows=70)
    a = vectors(A, 3)
    residual, bias = solved(A, a, depth=40, steps=16, probes=1)
    torch.testing.assert_close(residual, dense_normal_norm(A, a)[0])
    assert (bias <= 1e-9 * residual).all()


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_scale_of_the_map_does_not_matter(matrices, spectra, factor):
    A = matrices(spectra(80)["log-normal"], rows=120)
    a = vectors(A, 3)
    for found, expected in zip(solved(factor * A, a), solved(A, a)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)


def test_the_length_of_the_vector_scales_the_result(matrices, spectra):
    A = matrices(spectra(80)["log-normal"], rows=120)
    a = vectors(A, 3)
    for found, expected in zip(solved(A, 7 * a), solved(A, a)):
        torch.testing.assert_close(found, 7 * expected)


def test_a_vector_inside_the_range_leaves_little_and_says_so(matrices, spectra):
    A = matrices(spectra(60)["linear"], rows=90)
    a = torch.einsum("nrc,knc->knr", A, torch.randn(3, 1, 60, generator=torch.Generator().manual_seed(0)).double())
    residual, bias = solved(A, a)
    assert (residual <= 0.2 * a.norm(dim=-1)).all()
    assert (residual - 2 * bias <= 1e-7 * a.norm(dim=-1)).all()


def test_a_tall_latent_has_no_normal_space(matrices, spectra):
    A = matrices(spectra(30)["linear"], rows=30, columns=50)
    a = torch.randn(2, 1, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    residual, bias = solved(A, a, depth=30)
    assert (residual <= 1e-6 * a.norm(dim=-1)).all()
    assert (bias >= 0).all()
