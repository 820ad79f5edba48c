"""Golub-Kahan: its identities, its breakdown, and the exactness of its quadrature."""

from __future__ import annotations

import pytest
import torch

from theodolite.derivatives import LinearOperator
from theodolite.estimates import Seeds
from theodolite.spectrum import golub_kahan
from theodolite.spectrum.bidiagonal import deepened, side_by_side

D = torch.float64


def run_on(A, k, depth, seed=0):
    operator = LinearOperator.from_matrices(A)
    return golub_kahan(operator, Seeds(seed, len(A)).unit("start", k, A.shape[-1]).to(A), depth)


@pytest.mark.parametrize("name", ["linear", "log-uniform", "log-normal", "broad"])
def test_the_bases_are_orthonormal_and_carry_the_matrix(matrices, spectra, name):
    A = matrices(spectra(60)[name], n=3)
    run = run_on(A, 2, 25)
    V, U, B = run.V, run.U, run.matrix()
    torch.testing.assert_close(V @ V.mT, torch.eye(25, dtype=D).expand(2, 3, -1, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(U @ U.mT, torch.eye(25, dtype=D).expand(2, 3, -1, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.einsum("nrc,knsc->knrs", A, V), U.mT @ B, rtol=0, atol=1e-12 * float(A.norm()))
    residual = torch.einsum("nrc,knr->knc", A, U[:, :, -1]) - run.alpha[..., -1:] * V[:, :, -1]
    torch.testing.assert_close(residual.norm(dim=-1), run.beta[..., -1], rtol=1e-9, atol=1e-12)
    assert (run.alpha >= 0).all()
    assert (run.beta >= 0).all()


def test_a_run_taken_further_is_the_longer_run(matrices, spectra):
    operator = LinearOperator.from_matrices(matrices(spectra(60)["log-normal"], n=2))
    start = Seeds(0, 2).unit("start", 3, 60)
    whole = golub_kahan(operator, start, 20)
    resumed = deepened(operator, deepened(operator, golub_kahan(operator, start, 7), 9), 4)
    for name in ("alpha", "beta", "V", "U", "ahead"):
        torch.testing.assert_close(getattr(resumed, name), getattr(whole, name), rtol=0, atol=1e-11)
    assert deepened(operator, whole, 100).depth == 60


def test_runs_side_by_side_are_the_run_of_all_their_starts(matrices, spectra):
    operator = LinearOperator.from_matrices(matrices(spectra(30)["linear"]))
    start = Seeds(0, 1).unit("start", 5, 30)
    whole = golub_kahan(operator, start, 6)
    joined = side_by_side(golub_kahan(operator, start[:2], 6), golub_kahan(operator, start[2:], 6))
    torch.testing.assert_close(joined.gauss(), whole.gauss())


def test_the_start_is_normalised_and_comes_first(matrices, spectra):
    A = matrices(spectra(20)["linear"])
    start = torch.randn(1, 1, 20, dtype=D)
    run = golub_kahan(LinearOperator.from_matrices(A), 5 * start, 4)
    torch.testing.assert_close(run.V[:, :, 0], start / start.norm())


def test_the_depth_is_cut_to_the_smaller_side(matrices, spectra):
    wide = matrices(spectra(5)["linear"], rows=5, columns=9)
    assert run_on(wide, 1, 50).depth == 5
    assert run_on(wide.mT, 1, 50).depth == 5


def test_at_full_depth_the_nodes_are_the_singular_values(matrices, spectra):
    s = spectra(24)["linear"]
    nodes, weights = run_on(matrices(s), 3, 24).gauss()
    torch.testing.assert_close(nodes, s.expand(3, 1, -1), rtol=1e-10, atol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1, dtype=D))


@pytest.mark.parametrize("rule", ["gauss", "radau"])
@pytest.mark.parametrize("name", ["linear", "log-normal", "a third null"])
def test_quadrature_is_exact_for_polynomials(matrices, spectra, rule, name):
    s = spectra(60)[name]
    A = matrices(s / s.max())
    start, depth = Seeds(0, 1).unit("start", 1, 60), 5
    run = golub_kahan(LinearOperator.from_matrices(A), start, depth)
    nodes, weights = getattr(run, rule)()
    M = A[0].T @ A[0]
    for power in range(2 * depth):
        truth = start[0, 0] @ torch.linalg.matrix_power(M, power) @ start[0, 0]
        torch.testing.assert_close((weights * nodes ** (2 * power)).sum(), truth, rtol=1e-9, atol=1e-14)
    beyond = start[0, 0] @ torch.linalg.matrix_power(M, 2 * depth + 1) @ start[0, 0]
    assert ((weights * nodes ** (4 * depth + 2)).sum() - beyond).abs() > 1e-9 * beyond


def test_the_node_at_zero_makes_one_power_more_exact(matrices, spectra):
    """`E sigma^(4 depth)`: Gauss is exact below it, Gauss-Radau at it."""
    A, start, depth = matrices(spectra(60)["linear"]), Seeds(0, 1).unit("start", 1, 60), 5
    run = golub_kahan(LinearOperator.from_matrices(A), start, depth)
    truth = start[0, 0] @ torch.linalg.matrix_power(A[0].T @ A[0], 2 * depth) @ start[0, 0]
    gauss, radau = ((weights * nodes ** (4 * depth)).sum() for nodes, weights in (run.gauss(), run.radau()))
    torch.testing.assert_close(radau, truth, rtol=1e-9, atol=0)
    assert (gauss - truth).abs() > 1e-6 * truth


def test_the_node_at_zero_comes_last_and_its_weight_falls_to_the_null_share(matrices, spectra):
    run = run_on(matrices(spectra(60)["a third null"]), 1, 30)
    shares = []
    for depth in (5, 10, 20, 30):
        nodes, weights = run.radau(depth)
        assert nodes[0, 0, -1] == 0
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, dtype=D))
        shares.append(float(weights[0, 0, -1]))
    assert shares == sorted(shares, reverse=True)
    null = torch.linalg.svd(matrices(spectra(60)["a third null"])[0]).Vh[40:]
    assert abs(shares[-1] - float((null @ run.V[0, 0, 0]).square().sum())) < 1e-6


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_an_exhausted_space_ends_in_exact_zeros_without_weight(matrices, rank):
    s = torch.cat([torch.linspace(1, 2, rank, dtype=D), torch.zeros(12 - rank, dtype=D)])
    run = run_on(matrices(s), 2, 12)
    assert torch.isfinite(run.V).all()
    nodes, weights = run.gauss()
    torch.testing.assert_close(nodes[..., :rank], s[:rank].flip(0).expand(2, 1, -1), rtol=1e-9, atol=0)
    assert (run.alpha[..., rank + 2 :] == 0).all()
    assert (run.beta[..., rank + 2 :] == 0).all()
    null = torch.linalg.svd(matrices(s)[0]).Vh[rank:]
    share = torch.einsum("rc,knc->knr", null, run.V[:, :, 0]).square().sum(-1)
    torch.testing.assert_close((weights * (nodes < 1e-9)).sum(-1), share)


def test_repeated_singular_values_are_one_node(matrices):
    run = run_on(matrices(torch.ones(30)), 1, 6)
    nodes, weights = run.gauss()
    torch.testing.assert_close((weights * nodes).sum(-1), torch.ones(1, 1, dtype=D))
    assert ((nodes - 1).abs() < 1e-12).logical_or(weights < 1e-12).all()


def test_a_zero_matrix_has_nodes_at_zero():
    run = run_on(torch.zeros(2, 7, 5, dtype=D), 2, 4)
    nodes, weights = run.gauss()
    assert (nodes == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, dtype=D))


def test_operators_in_a_batch_do_not_touch_each_other(matrices, spectra):
    A = torch.cat([matrices(spectra(16)["linear"], seed=1), torch.zeros(1, 23, 16, dtype=D)])
    both = run_on(A, 2, 8)
    alone = golub_kahan(LinearOperator.from_matrices(A[:1]), both.V[:, :1, 0], 8)
    torch.testing.assert_close(both.alpha[:, :1], alone.alpha)
    torch.testing.assert_close(both.beta[:, :1], alone.beta)


def test_float32_stays_orthonormal_and_close(matrices, spectra):
    A = matrices(spectra(60)["log-normal"])
    single, double = run_on(A.float(), 1, 30), run_on(A, 1, 30)
    assert single.alpha.dtype is torch.float64
    gram = single.V[0, 0] @ single.V[0, 0].T
    torch.testing.assert_close(gram, torch.eye(30), rtol=0, atol=1e-5)
    (nodes, weights), (exact_nodes, exact_weights) = single.gauss(), double.gauss()
    torch.testing.assert_close(
        (weights * nodes.log()).sum(), (exact_weights * exact_nodes.log()).sum(), rtol=1e-3, atol=0
    )
