"""Leading triplets: lower bounds with an honest width; normal parts; seeds; Student's intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from theodolite.derivatives import LinearOperator
from theodolite.descriptors.leading import spectral_gap
from theodolite.estimates import Estimate, Seeds, student_mean
from theodolite.spectrum import converge, dense_triplet, golub_kahan, refine, ritz_triplet


def matrices(s, n=20, rows=90):
    g = torch.Generator().manual_seed(3)
    left = torch.linalg.qr(torch.randn(n, rows, len(s), generator=g, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(n, len(s), len(s), generator=g, dtype=torch.float64)).Q
    return left @ torch.diag(s) @ right.mT


@pytest.mark.parametrize("top", [2.0, 1.05])
@pytest.mark.parametrize("depth", [4, 10, 20])
def test_the_leading_value_is_a_lower_bound_with_its_width(top, depth):
    s = torch.linspace(0.1, 1, 60, dtype=torch.float64)
    s[-1] = top
    A = matrices(s)
    operator = LinearOperator.from_matrices(A)
    run = golub_kahan(operator, Seeds(0, len(A)).frame("spectrum", 2, 60), depth)
    triplet, exact = ritz_triplet(operator, run), dense_triplet(A)
    assert (triplet.sigma <= exact.sigma + 1e-9).all()
    assert (exact.sigma <= triplet.sigma + triplet.residual + 1e-9).all()
    if depth == 20 and top == 2.0:
        torch.testing.assert_close(triplet.sigma, exact.sigma, rtol=1e-8, atol=0)
        assert ((triplet.right * exact.right).sum(-1).abs() > 1 - 1e-6).all()


def test_probes_that_nearly_agree_within_a_tie_still_show_it():
    s = torch.linspace(0.1, 1, 60, dtype=torch.float64)
    s[:2] = 1.5
    start = Seeds(0, 1).frame("spectrum", 2, 60)
    start[1, 0, :2] = start[0, 0, :2] + torch.tensor([0, 1e-3], dtype=torch.float64) * start[0, 0, 0]
    operator = LinearOperator(1, 60, 60, lambda V: V * s, lambda U: U * s, torch.float64, s.device)
    triplet = ritz_triplet(operator, golub_kahan(operator, start, 24))
    assert triplet.gap.item() < 1e-6


def drawn_edges(seed):
    """One leading value, a bulk that begins from 0.5 to 0.99 of it, drawn sizes and shapes."""
    g = torch.Generator().manual_seed(seed)
    d, edge = int(torch.randint(200, 400, (1,), generator=g)), 0.5 + 0.49 * float(torch.rand(1, generator=g))
    power = 0.3 + 2 * float(torch.rand(1, generator=g))
    s = edge * torch.rand(d, generator=g, dtype=torch.float64) ** power
    s[0] = 1.0
    return s


@pytest.mark.parametrize("probes", [1, 2, 3])
@pytest.mark.parametrize("depth", [12, 24, 48])
@pytest.mark.parametrize(("cases", "seeds"), [(5, 20), pytest.param(20, 200, marks=pytest.mark.slow)])
def test_the_gap_holds_the_errors_of_both_values(probes, depth, cases, seeds):
    hits, statuses = [], []
    for case in range(cases):
        s = drawn_edges(case)
        operator = LinearOperator(
            seeds, len(s), len(s), lambda V, s=s: V * s, lambda U, s=s: U * s, torch.float64, s.device
        )
        run = golub_kahan(operator, Seeds(case, seeds).frame("spectrum", probes, len(s)), depth)
        triplet = converge(operator, ritz_triplet(operator, run), angle=0.02, depth=depth // 3, rounds=2)
        gap, top = spectral_gap(triplet), s.sort(descending=True).values
        low, high = gap.interval()
        hits.append((low <= 1 - top[1]) & (1 - top[1] <= high))
        statuses += gap.statuses
    assert torch.cat(hits).double().mean() >= 0.9
    if probes == 1:
        assert set(statuses) == {"truncated"}
    elif depth == 48:
        assert statuses.count("ok") > 0.9 * len(statuses)


@pytest.mark.parametrize("probes", [1, 2])
def test_a_tie_is_allowed_for_where_it_cannot_be_seen(probes):
    s = torch.linspace(0.1, 0.5, 60, dtype=torch.float64)
    s[:2] = 1.0
    operator = LinearOperator.from_matrices(matrices(s))
    run = golub_kahan(operator, Seeds(0, 20).frame("spectrum", probes, 60), 24)
    low, high = spectral_gap(ritz_triplet(operator, run)).interval()
    assert ((low <= 0) & (high >= 0)).all()


def test_refining_from_a_close_start_converges():
    s = torch.linspace(0.1, 1, 60, dtype=torch.float64)
    s[-1] = 1.5
    A = matrices(s)
    exact = dense_triplet(A)
    start = exact.right + 0.1 * torch.randn(
        exact.right.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    better = refine(LinearOperator.from_matrices(A), start, 8)
    assert (better.angle < 1e-2).all()


def test_golub_kahan_identities():
    A = matrices(torch.linspace(0.1, 1, 60, dtype=torch.float64), n=3)
    run = golub_kahan(LinearOperator.from_matrices(A), Seeds(0, 3).unit("x", 2, 60), 15)
    V, U = run.V[1, 2], run.U[1, 2]
    torch.testing.assert_close(A[2] @ V.T, U.T @ run.matrix()[1, 2])
    torch.testing.assert_close(V @ V.T, torch.eye(15, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(U @ U.T, torch.eye(15, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rule", ["gauss", "radau"])
def test_quadrature_is_exact_for_polynomials(rule):
    A = matrices(torch.linspace(0.1, 1, 60, dtype=torch.float64), n=1)
    start = Seeds(0, 1).unit("x", 1, 60)
    run = golub_kahan(LinearOperator.from_matrices(A), start, 5)
    nodes, weights = getattr(run, rule)()
    M = A[0].T @ A[0]
    for power in range(10):
        truth = start[0, 0] @ torch.linalg.matrix_power(M, power) @ start[0, 0]
        torch.testing.assert_close((weights * nodes ** (2 * power)).sum(), truth)


def test_seeds_do_not_depend_on_the_batch():
    whole, part = Seeds([4, 5, 6], 3), Seeds([5, 6], 2)
    torch.testing.assert_close(whole.normal("a", 7)[1:], part.normal("a", 7), rtol=0, atol=0)
    torch.testing.assert_close(Seeds(1, 5).normal("a", 7)[:2], Seeds(1, 2).normal("a", 7), rtol=0, atol=0)
    assert not torch.equal(whole.normal("a", 7), whole.normal("b", 7))
    frame = whole.frame("f", 4, 9)
    torch.testing.assert_close(frame[:, 0] @ frame[:, 0].T, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("draws", [3, 4, 5, 8, 20])
def test_few_draws_are_widened(draws):
    samples = torch.randn(draws, 20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, stderr = student_mean(samples)
    assert 0.945 < (mean.abs() < 1.96 * stderr).double().mean() < 0.955


def test_an_estimate_checks_itself():
    one = torch.zeros(2)
    with pytest.raises(ValueError, match="status"):
        Estimate(one, one, 1, 1, ("ok", "splendid"))
    with pytest.raises(ValueError, match="entry"):
        Estimate(one, torch.zeros(3), 1, 1)
    assert Estimate(one, one, 1, 1, ("ok", "lower-bound")).status == "lower-bound"


def test_the_square_of_the_residual_is_over_the_nearest_that_the_next_value_may_be():
    """`r² / (sigma_1 - sigma_2 - error of sigma_2)`: 0.05² over 1 - 0.8 - 0.1 is 0.025, below the residual itself."""
    exact = dense_triplet(torch.eye(3, dtype=torch.float64)[None])
    one = torch.ones(1, dtype=torch.float64)
    triplet = replace(exact, second=0.8 * one, second_error=0.1 * one, residual=0.05 * one, exact=False)
    assert triplet.error.item() == pytest.approx(0.025, rel=1e-9)
