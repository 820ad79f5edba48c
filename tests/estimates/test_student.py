"""Student's law against SciPy at every degree of freedom, and means of few draws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.estimates import student_cdf, student_mean, student_quantile

stats = pytest.importorskip("scipy.stats")
freedoms = st.floats(0, 9).map(lambda power: 10**power)
"""From 1 to a milliard, mostly not whole."""


@given(freedoms, st.floats(-60, 60))
@settings(max_examples=300, deadline=None)
def test_the_distribution_function_is_scipys(freedom, x):
    assert student_cdf(x, freedom) == pytest.approx(float(stats.t.cdf(x, freedom)), abs=1e-7)
    assert student_cdf(-x, freedom) == pytest.approx(1 - student_cdf(x, freedom), abs=1e-12)


@given(freedoms, st.floats(0.02, 0.998))
@settings(max_examples=300, deadline=None)
def test_the_quantile_is_scipys(freedom, level):
    truth = float(stats.t.ppf((1 + level) / 2, freedom))
    assert student_quantile(freedom, level) == pytest.approx(truth, rel=1e-6)


def test_closed_forms():
    """One degree of freedom is Cauchy's law, two have `q = a sqrt(2 / (1 - a²))`."""
    assert student_quantile(1) == pytest.approx(math.tan(math.pi * 0.475), rel=1e-8)
    assert student_quantile(2) == pytest.approx(0.95 * (2 / (1 - 0.95**2)) ** 0.5, rel=1e-8)
    assert student_cdf(1.0, 1) == pytest.approx(0.75, abs=1e-12)
    assert student_cdf(math.inf, 3) == 1
    assert student_cdf(-math.inf, 3) == 0
    assert student_quantile(math.inf) == pytest.approx(1.959963985, rel=1e-8)


@pytest.mark.parametrize("freedom", [0, -1, math.nan])
def test_no_degrees_of_freedom_are_refused(freedom):
    with pytest.raises(ValueError, match="above zero"):
        student_cdf(1.0, freedom)
    with pytest.raises(ValueError, match="above zero"):
        student_quantile(freedom)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_probability(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        student_quantile(3, level)


@pytest.mark.parametrize("draws", [2, 3, 4, 5, 8, 12, 20])
def test_few_draws_are_widened_to_students_interval(draws):
    samples = torch.randn(draws, 20000, generator=torch.Generator().manual_seed(draws), dtype=torch.float64)
    mean, stderr = student_mean(samples)
    torch.testing.assert_close(mean, samples.mean(0))
    assert 0.945 < (mean.abs() < 1.96 * stderr).double().mean() < 0.955


@pytest.mark.parametrize(("draws", "quantile"), [(2, 12.706), (4, 3.182), (11, 2.228), (12, 2.201), (31, 2.042)])
def test_the_quantiles_are_those_of_the_tables(draws, quantile):
    samples = torch.linspace(-1, 1, draws, dtype=torch.float64)[:, None]
    _, stderr = student_mean(samples)
    plain = samples.std(0) / math.sqrt(draws)
    torch.testing.assert_close(stderr, plain * quantile / 1.96, rtol=3e-4, atol=0)


def test_one_draw_has_no_error():
    with pytest.raises(ValueError, match="two draws"):
        student_mean(torch.ones(1, 3))


def test_the_skewed_mean_is_moved_by_the_third_moment():
    """`mean + m_3 / (k s²)`, worked by hand: draws 0, 0, 3 have mean 1, third moment 2 and variance 3."""
    mean, _ = student_mean(torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64), skewed=True)
    assert float(mean) == pytest.approx(1 + 2 / (3 * 3))


def test_equal_draws_have_no_skew():
    draws = torch.full((7, 3), 0.1, dtype=torch.float64) * torch.tensor([1.0, 3.0, 1e9])
    mean, stderr = student_mean(draws, skewed=True)
    torch.testing.assert_close(mean, draws[0])
    assert (stderr < 1e-12 * mean).all()
