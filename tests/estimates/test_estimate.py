"""`Estimate`: what it refuses, its interval, its statuses in order, and Student's means."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.estimates import STATUSES, Estimate, joined, student_mean, worse, worst

ONE = torch.tensor([1.0, 2.0], dtype=torch.float64)


def estimate(**changes):
    return Estimate(**{"value": ONE, "stderr": ONE / 10, "passes": 3, "n": 4, **changes})


def test_statuses_are_ok_unless_said():
    assert estimate().statuses == ("ok", "ok")
    assert estimate(statuses=("ok", "truncated")).status == "truncated"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stderr": torch.zeros(3)}, "one entry a latent"),
        ({"value": torch.zeros(2, 2), "stderr": torch.zeros(2, 2)}, "one entry a latent"),
        ({"value": torch.tensor(1.0), "stderr": torch.tensor(0.0)}, "one entry a latent"),
        ({"statuses": ("ok",)}, "one entry a latent"),
        ({"statuses": ("ok", "splendid")}, "splendid"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        estimate(**changes)


def test_statuses_are_ordered_from_best_to_worst():
    order = list(STATUSES)
    assert order[0] == "ok"
    assert order[-1] == "undefined"
    assert order.index("truncated") < order.index("undetermined")
    assert worse("ok", "truncated") == worse("truncated", "ok") == "truncated"
    assert worst(("ok", "undefined"), ("approximate", "ok")) == ("approximate", "undefined")


def test_the_interval_is_two_sided_or_that_of_a_bound():
    low, high = estimate().interval()
    torch.testing.assert_close(high - low, 2 * 1.96 * ONE / 10)
    low, high = estimate(statuses=("lower-bound", "upper-bound")).interval()
    assert (low[0], high[1]) == (1, 2)
    torch.testing.assert_close(torch.stack([high[0], low[1]]), torch.tensor([1.196, 2 - 0.392], dtype=torch.float64))


def test_parts_have_names():
    whole = estimate(parts={"half": estimate(value=ONE / 2)})
    assert whole["half"].value.tolist() == [0.5, 1.0]
    assert set(whole.named("whole")) == {"whole", "half"}
    assert whole.named("whole")["whole"].parts == {}
    with pytest.raises(KeyError, match="half"):
        whole["third"]
    assert "half" in repr(whole)
    assert "1 ± 0.1" in repr(whole)


def test_groups_of_latents_are_joined_in_order():
    first = estimate(parts={"half": estimate()}, statuses=("ok", "truncated"), message="deeper")
    second = estimate(value=3 * ONE, passes=9, parts={"half": estimate(value=5 * ONE)})
    both = joined([second, first])
    assert both.value.tolist() == [3, 6, 1, 2]
    assert both.statuses == ("ok", "ok", "ok", "truncated")
    assert (both.passes, both.message) == (9, "deeper")
    assert both["half"].value.tolist() == [5, 10, 1, 2]


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
    torch.testing.assert_close(stderr, plain * quantile / 1.96, rtol=2e-3, atol=0)


def test_one_draw_has_no_error():
    with pytest.raises(ValueError, match="two draws"):
        student_mean(torch.ones(1, 3))


def test_equal_draws_have_no_skew():
    draws = torch.full((7, 3), 0.1, dtype=torch.float64) * torch.tensor([1.0, 3.0, 1e9])
    mean, stderr = student_mean(draws, skewed=True)
    torch.testing.assert_close(mean, draws[0])
    assert (stderr < 1e-12 * mean).all()
