"""Spectral quantities against dense linear algebra, and error bars that are honest over 200 seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from theodolite.derivatives import LinearOperator
from theodolite.spectrum import (
    dense_measure,
    density,
    effective_rank,
    gain,
    log_volume,
    null_dimension,
    singular_spectrum,
)

SEEDS = 200
QUANTITIES = {
    "log-volume": log_volume,
    "rank": effective_rank,
    "rank, p = 2": lambda measure: effective_rank(measure, 2.0),
}


def spectra(d):
    g = torch.Generator().manual_seed(d)
    t = torch.linspace(0, 1, d, dtype=torch.float64)
    null = torch.exp(0.3 * torch.randn(d, generator=g, dtype=torch.float64))
    null[: d // 3] = 0
    hidden = torch.exp(torch.randn(d, generator=g, dtype=torch.float64))
    hidden[: d // 3] = 0
    return {
        "flat": 1 + t,
        "linear": 0.02 + 5 * t,
        "log-normal": torch.exp(0.9 * torch.randn(d, generator=g, dtype=torch.float64)),
        "rank-deficient": null,
        "a null space that is not reached": hidden,
    }


def rotated(s, extra=10):
    g = torch.Generator().manual_seed(1)
    d = len(s)
    left = torch.linalg.qr(torch.randn(d + extra, d, generator=g, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q
    return left @ torch.diag(s) @ right.T


def repeated(A):
    return LinearOperator.from_matrices(A.expand(SEEDS, -1, -1))


@pytest.mark.parametrize("name", ["flat", "linear", "log-normal", "rank-deficient"])
@pytest.mark.parametrize("d", [64, 192])
def test_error_bars_are_honest(name, d):
    A = rotated(spectra(d)[name])
    measure = singular_spectrum(repeated(A), exact=False, generator=range(SEEDS))
    exact = dense_measure(A[None])
    for label, quantity in QUANTITIES.items():
        estimate, truth = quantity(measure), quantity(exact).value
        z = (estimate.value - truth) / estimate.stderr
        assert abs(z.mean()) < 0.25, label
        assert 0.7 < z.std() < 1.3, label


@pytest.mark.parametrize("depth", [16, 24, 32])
def test_a_crowd_of_small_values_is_no_null_space(depth):
    """A quarter of the values a five-hundredth of the largest, as unused latent channels have, at too small a depth."""
    s = torch.cat([torch.linspace(0.2, 5, 225, dtype=torch.float64), torch.linspace(0.008, 0.03, 75).double()])
    A = rotated(s)
    volume = log_volume(singular_spectrum(repeated(A), exact=False, probes=3, depth=depth, generator=range(SEEDS)))
    low, high = volume.interval()
    assert ((low <= s.log().sum()) & (s.log().sum() <= high)).double().mean() > 0.95
    assert set(volume.statuses) == {"truncated"}


def test_a_null_space_is_counted_and_left_out():
    A = rotated(spectra(192)["rank-deficient"])
    measure = singular_spectrum(repeated(A), exact=False, generator=range(SEEDS))
    null = null_dimension(measure)
    z = (null.value - 64) / null.stderr
    assert abs(z.mean()) < 0.25
    assert 0.7 < z.std() < 1.3
    assert log_volume(measure).statuses.count("rank-deficient") > 0.9 * SEEDS
    exact = log_volume(dense_measure(A[None]))
    assert exact.status == "rank-deficient"
    assert torch.isfinite(exact.value).all()


def test_a_null_space_that_is_not_reached_is_allowed_for_and_not_claimed():
    """Above the cut, zeros and small values look the same to the probes, whatever the budget."""
    A = rotated(spectra(192)["a null space that is not reached"])
    measure = singular_spectrum(repeated(A), exact=False, generator=range(SEEDS))
    exact = dense_measure(A[None])
    for quantity in (log_volume, null_dimension):
        low, high = quantity(measure).interval()
        truth = quantity(exact).value
        assert ((low <= truth) & (truth <= high)).double().mean() > 0.95
        assert set(quantity(measure).statuses) == {"truncated"}


@pytest.mark.parametrize("budget", [{"probes": 2, "depth": 24}, {"probes": 3, "depth": 48}])
def test_few_null_directions_are_in_the_error(budget):
    """Their weight in few probes is small, and so is what an extrapolation leaves of it."""
    s = torch.exp(0.5 * torch.randn(150, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    s[:2] = 0
    measure = singular_spectrum(repeated(rotated(s)), exact=False, generator=range(SEEDS), **budget)
    exact = dense_measure(rotated(s)[None])
    for quantity in (null_dimension, lambda measure: log_volume(measure, floor=1e-4)):
        low, high = quantity(measure).interval()
        truth = quantity(exact).value
        assert ((low - 1e-9 <= truth) & (truth <= high + 1e-9)).double().mean() > 0.93


def test_null_directions_at_the_end_of_a_tail_are_in_the_error_of_a_floored_volume():
    """As networks of ReLU have them: values fall without a gap to nine that are zero, and no node sinks."""
    s = torch.linspace(0, 1, 100, dtype=torch.float64) ** 2
    s[:9] = 0
    measure = singular_spectrum(repeated(rotated(s)), exact=False, generator=range(SEEDS), probes=2, depth=24)
    low, high = log_volume(measure, floor=1e-4).interval()
    truth = s.clamp_min(1e-4).log().sum()
    assert ((low <= truth) & (truth <= high)).double().mean() > 0.93


@pytest.mark.parametrize(("highest", "value", "has_error"), [(0.06, 0.0, False), (0.3, 1.5, True)])
def test_less_than_one_null_direction_is_none(highest, value, has_error):
    measure = dense_measure(torch.diag(torch.arange(1.0, 11)).double()[None])
    shares = (torch.zeros(1, dtype=torch.float64), torch.full((1,), highest, dtype=torch.float64))
    null = null_dimension(replace(measure, null_share=shares, open_weights=measure.weights))
    assert null.item() == pytest.approx(value)
    assert (null.stderr.item() > 0) == has_error


def test_where_truncation_dominates_the_status_says_so_and_the_interval_covers():
    A = rotated(torch.logspace(-4, 0, 400, dtype=torch.float64))
    measure = singular_spectrum(repeated(A), depth=12, exact=False, generator=range(SEEDS))
    estimate, truth = log_volume(measure), log_volume(dense_measure(A[None])).value
    assert estimate.statuses.count("truncated") > 0.9 * SEEDS
    low, high = estimate.interval()
    assert ((low < truth) & (truth < high)).double().mean() > 0.9


@pytest.mark.parametrize(("is_double", "probes"), [(False, 1), (True, 64)])
def test_exact_at_full_depth(is_double, probes):
    """One probe meets every simple value; of a double one all probes together know the weight."""
    s = spectra(64)["log-normal"]
    s[1] = s[0] if is_double else s[1]
    A = rotated(s)[None]
    measure = singular_spectrum(LinearOperator.from_matrices(A), probes=probes, depth=64, exact=False, generator=0)
    exact = dense_measure(A)
    for quantity in QUANTITIES.values():
        torch.testing.assert_close(quantity(measure).value, quantity(exact).value, rtol=1e-8, atol=1e-8)
        assert quantity(measure).stderr.max() < 1e-6


def test_dense_is_taken_by_itself_where_it_costs_no_more():
    A = LinearOperator.from_matrices(rotated(spectra(64)["flat"])[None])
    assert singular_spectrum(A, probes=3, depth=11).exact
    assert not singular_spectrum(A, probes=3, depth=10).exact


def test_scaling_and_wide_matrices():
    A = rotated(spectra(64)["log-normal"])[None]
    both = [
        singular_spectrum(LinearOperator.from_matrices(matrix), exact=False, generator=[5]) for matrix in (A, 3 * A)
    ]
    plain, scaled = (log_volume(measure).value for measure in both)
    torch.testing.assert_close(scaled - plain, torch.full_like(plain, 64 * torch.log(torch.tensor(3.0)).item()))
    torch.testing.assert_close(*(effective_rank(measure).value for measure in both))
    wide = dense_measure(A.mT)
    torch.testing.assert_close(log_volume(wide).value, log_volume(dense_measure(A)).value)


def test_density_integrates_to_one():
    measure = dense_measure(rotated(spectra(64)["log-normal"])[None])
    grid = torch.linspace(-4, 4, 2001, dtype=torch.float64)
    assert abs(torch.trapezoid(density(measure, grid), grid).item() - 1) < 1e-6


def test_the_error_of_a_gain_is_neither_too_narrow_nor_too_wide():
    s = 0.02 + 5 * torch.linspace(0, 1, 96, dtype=torch.float64)
    operator = LinearOperator(SEEDS, 96, 96, lambda V: V * s, lambda U: U * s, torch.float64, s.device)
    estimate = gain(singular_spectrum(operator, probes=2, depth=6, exact=False, generator=range(SEEDS)))
    z = (estimate.value - s.norm()) / estimate.stderr
    assert 0.8 < z.std() < 1.2
    assert z.mean().abs() < 0.25


def test_an_outlier_in_float32_has_the_rounding_of_the_largest_in_every_error():
    """Beside ten thousand times the bulk, the last digit of float32 is more than the probes leave open."""
    g = torch.Generator().manual_seed(0)
    hits = []
    for seed in range(20):
        s = 0.5 + 0.5 * torch.rand(60, generator=g)
        s[:2] = 10 ** (3 + torch.rand(2, generator=g))
        A = torch.linalg.qr(torch.randn(60, 60, generator=g, dtype=torch.float64)).Q.float() * s
        exact = dense_measure(A.double()[None])
        measure = singular_spectrum(
            LinearOperator.from_matrices(A[None]), probes=3, depth=24, exact=False, generator=seed
        )
        for number in (gain, lambda m: effective_rank(m, 4.0), lambda m: log_volume(m, floor=0.03)):
            low, high = number(measure).interval()
            hits.append(bool((low <= number(exact).value) & (number(exact).value <= high)))
    assert sum(hits) >= 0.9 * len(hits)


@pytest.mark.parametrize(("p", "is_seen"), [(0.5, True), (1.0, False)])
def test_null_directions_that_probes_may_have_missed_are_in_a_rank_of_small_power(p, is_seen):
    """Of power one the error of the sampling holds them."""
    s = torch.exp(0.6 * torch.randn(150, generator=torch.Generator().manual_seed(4), dtype=torch.float64))
    measure = singular_spectrum(LinearOperator.from_matrices(rotated(s)[None]), exact=False, generator=0)
    sure, unsure = (replace(measure, null_share=(torch.zeros(1), torch.full((1,), share))) for share in (0.0, 2 / 150))
    before, after = (effective_rank(each, p) for each in (sure, unsure))
    assert (after.stderr.item() > before.stderr.item()) == is_seen
