import math

import numpy as np
import pytest

from theodolite.report.density import kernel_density, mean_density, silverman, student_quantile


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (5, 2.571), (15, 2.131), (200, 1.972)])
def test_student_quantile_is_that_of_the_tables(freedom, quantile):
    assert student_quantile(freedom) == pytest.approx(quantile, abs=2e-3)


def test_a_density_integrates_to_one_and_centres_where_its_points_are():
    grid = np.linspace(-8, 8, 2001)
    density = kernel_density(grid, np.array([-1.0, 3.0]), 0.5, np.array([0.25, 0.75]))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-9)
    assert np.trapezoid(density * grid, grid) == pytest.approx(2.0, abs=1e-9)


def test_the_mean_spectrum_averages_over_samples_with_students_band():
    random = np.random.default_rng(0)
    nodes = [np.exp(random.normal(1.0, 0.8, 50)) for _ in range(6)]
    found = mean_density(nodes, [np.full(50, 1 / 50)] * 6)
    assert found is not None
    assert found.margin is not None
    np.testing.assert_allclose(found.mean, found.curves.mean(axis=0))
    np.testing.assert_allclose(found.margin, student_quantile(5) * found.curves.std(axis=0, ddof=1) / math.sqrt(6))
    np.testing.assert_allclose(np.trapezoid(found.curves, found.grid, axis=1), 1.0, atol=0.01)
    assert 0.03 <= found.bandwidth <= 0.2


def test_the_null_space_is_counted_and_not_drawn():
    nodes = np.array([0.0, 1e-9, 1.0, 10.0])
    found = mean_density([nodes, np.zeros(4)], [np.full(4, 0.25)] * 2)
    assert found is not None
    assert found.kept == (0,)
    assert found.null_share == pytest.approx(0.5)
    assert np.trapezoid(found.mean, found.grid) == pytest.approx(0.5, abs=0.01)
    assert found.margin is None
    assert mean_density([np.zeros(3)], [np.full(3, 1 / 3)]) is None


def test_the_bandwidth_of_equal_values_is_zero():
    assert silverman(np.ones(9)) == 0.0
    assert silverman(np.arange(9.0)) > 0.0
