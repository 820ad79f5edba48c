"""Means of long-tailed contributions: degrees of freedom, widened errors, centred values."""

from __future__ import annotations

import pytest
import torch

from theodolite.estimates import Estimate, mean_estimate, mean_over_latents, student_mean, student_quantile
from theodolite.estimates.groups import group_mean
from theodolite.estimates.means import skewed_ends

D = torch.float64


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=D)


def test_normal_draws_have_their_own_freedom():
    mean = mean_over_latents(normal(200, 400))
    assert mean.freedom.median().item() == pytest.approx(400, rel=0.1)
    z = mean.value / mean.stderr
    assert abs(z.mean()) < 0.2
    assert 0.85 < z.std() < 1.15


def test_one_latent_that_carries_all_leaves_no_freedom():
    draws = 1e-3 * normal(1, 300)
    draws[0, 7] = 5
    mean = mean_over_latents(draws)
    plain = student_mean(draws.T)[1]
    assert mean.freedom.item() == pytest.approx(2, abs=0.05)
    ratio = student_quantile(mean.freedom.item()) / student_quantile(299)
    assert (mean.stderr / plain).item() == pytest.approx(ratio)
    assert ratio > 2


def test_long_tails_are_centred():
    draws = normal(2000, 60).exp()
    truth = torch.tensor(0.5, dtype=D).exp()
    plain, centred = (mean_over_latents(draws, skewed=skewed) for skewed in (False, True))
    stderr = student_mean(draws.T)[1]  # not widened, so that the centring alone is seen
    z = [((mean.value - truth) / stderr).mean().abs() for mean in (plain, centred)]
    assert z[1] < 0.5 * z[0]


@pytest.mark.parametrize("n", [8, 20])
def test_intervals_of_few_draws_with_a_long_tail_hold_the_mean(n):
    """Squares of normal numbers: Student's interval holds their mean 86 and 90 times in 100."""
    draws = normal(4000, n).square()
    mean = mean_over_latents(draws)
    low, high = mean.ends
    held = ((low <= 1) & (high >= 1)).double().mean()
    assert ((mean.value - 1).abs() <= 1.96 * mean.stderr).double().mean() < 0.92
    assert 0.93 < held < 0.97
    assert (high - mean.value > mean.value - low).double().mean() > 0.95  # the tail is above


def test_intervals_turn_with_their_draws():
    draws = normal(50, 12).square()
    (low, high), (negative_low, negative_high) = (mean_over_latents(sign * draws).ends for sign in (1, -1))
    torch.testing.assert_close(negative_low, -high)
    torch.testing.assert_close(negative_high, -low)


def test_draws_without_a_tail_have_the_interval_of_student():
    draws = torch.tensor([[-2.0, -1.0, 0.0, 1.0, 2.0]], dtype=D)
    mean = mean_over_latents(draws)
    torch.testing.assert_close(mean.ends[1], 1.96 * mean.stderr)
    torch.testing.assert_close(mean.ends[0], -mean.ends[1])


@pytest.mark.parametrize(
    ("count", "outlier", "status"),
    [(10, 1.0, "few-samples"), (10, 40.0, "undetermined"), (20, 1.0, "ok"), (20, 200.0, "undetermined")],
)
def test_a_mean_of_few_draws_or_that_rests_on_one_says_so(count, outlier, status):
    draws = normal(1, count)
    draws[0, 0] = outlier
    assert mean_over_latents(draws).statuses == (status,)


def test_few_draws_that_are_the_same_are_enough():
    alike = torch.full((1, 3), 0.1, dtype=D) + torch.tensor([0.0, 1e-9, -1e-9])
    assert mean_over_latents(alike).statuses == ("ok",)


def test_equal_contributions_are_exact():
    draws = torch.tensor([[0.1], [0.3], [1e9]], dtype=D).expand(3, 7)
    mean = mean_over_latents(draws, skewed=True)
    torch.testing.assert_close(mean.value, draws[:, 0])
    assert torch.isfinite(mean.freedom).all()
    assert (mean.stderr < 1e-12 * mean.value).all()


def test_a_skewed_mean_moves_by_half_the_third_moment():
    """`mean + m_3 / (2 n m_2)` (Johnson 1978), worked by hand: draws 0, 0, 3 have mean 1 and moments 2 and 2."""
    mean = mean_over_latents(torch.tensor([[0.0, 0.0, 3.0]], dtype=D), skewed=True)
    assert mean.value.item() == pytest.approx(1 + 2 / (2 * 3 * 2))


def test_without_skew_the_interval_is_students():
    value, stderr = torch.tensor([2.0], dtype=D), torch.tensor([0.5], dtype=D)
    low, high = skewed_ends(value, stderr, torch.zeros(1, dtype=D), 9)
    reach = student_quantile(9) * 0.5
    torch.testing.assert_close(torch.cat([low, high]), torch.tensor([2 - reach, 2 + reach], dtype=D))


def test_the_end_on_the_side_of_the_tail_is_where_halls_transformation_is_students_quantile():
    """The upper end is at `T = (value - high) / stderr`, at which `T + k T² / 3 + k² T³ / 27 + k / 6 = -q`."""
    k, q = torch.tensor([0.4], dtype=D), student_quantile(11)
    low, high = skewed_ends(torch.zeros(1, dtype=D), torch.ones(1, dtype=D), k, 11)
    T = -high
    torch.testing.assert_close(T + k * T**2 / 3 + k**2 * T**3 / 27 + k / 6, torch.tensor([-q], dtype=D))
    assert float(low) == pytest.approx(-q)
    mirrored = skewed_ends(torch.zeros(1, dtype=D), torch.ones(1, dtype=D), -k, 11)
    torch.testing.assert_close(torch.cat(mirrored), -torch.cat([high, low]))


def test_the_mean_of_few_exponential_samples_is_held_where_students_interval_is_too_short():
    """Of 300 means of 12; 0.95 less three standard deviations of a count is 274."""
    draws = torch.rand(300, 12, generator=torch.Generator().manual_seed(0), dtype=D).log().neg()
    found = [mean_estimate(row) for row in draws]
    held = sum(float(one.low) <= 1 <= float(one.high) for one in found)
    plain = sum(abs(one.item() - 1) <= 1.96 * float(one.stderr) for one in found)
    assert held >= 274
    assert plain < held - 6


def test_few_samples_and_whole_numbers_that_agree_say_so():
    assert mean_estimate(normal(19)).status == "few-samples"
    assert mean_estimate(normal(20)).status == "ok"
    assert mean_estimate(torch.ones(20)).status == "undetermined"
    assert mean_estimate(torch.full((20,), 0.3)).status == "ok"  # a constant, as psi of a linear map is one
    assert mean_estimate(normal(7), "lower-bound").status == "lower-bound"
    assert group_mean(Estimate.exact(normal(7)), range(7)).status == "few-samples"


def test_a_long_tail_moves_the_end_on_its_side():
    mean = mean_over_latents(normal(1, 60).exp())
    assert float(mean.ends[1] - mean.value) > 1.1 * float(mean.value - mean.ends[0])
