"""Rank correlations against SciPy, and intervals that hold for every law of the pairs they promise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite import InputError
from theodolite.estimates import Resamples, jackknife, rank_correlation, ranks, spearman

stats = pytest.importorskip("scipy.stats")

T3 = {0.0: 0.0, 0.3: 0.2754, 0.6: 0.5617, 0.9: 0.8781}
"""Spearman's correlation of Student's pairs with three degrees of freedom, from 8 million draws."""


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs(n: int, r: float, seed: int, freedom: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal pairs with correlation `r`, or Student's with `freedom` degrees of freedom."""
    x, noise = normal(2, n, seed=seed)
    y = r * x + (1 - r**2) ** 0.5 * noise
    if freedom:
        scale = (freedom / normal(freedom, n, seed=seed + 10**6).square().sum(0)).sqrt()
        x, y = x * scale, y * scale
    return x, y


def test_ranks_share_their_mean_at_ties():
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_it_is_scipys_with_ties_alone_in_rows_and_with_an_error(decimals):
    x, y = normal(3, 40).round(decimals=decimals), normal(3, 40, seed=1).round(decimals=decimals)
    truth = torch.tensor([stats.spearmanr(a, b).statistic for a, b in zip(x.numpy(), y.numpy())])
    torch.testing.assert_close(rank_correlation(x, y), truth, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.stack([spearman(a, b).value for a, b in zip(x, y)]), truth, atol=1e-12, rtol=0)
    many = spearman(x, y[0])
    torch.testing.assert_close(many.value, torch.stack([spearman(row, y[0]).value for row in x]))


@given(st.integers(0, 10**6), st.integers(4, 12))
@settings(max_examples=60, deadline=None)
def test_weights_are_repetitions(seed, n):
    """A resample given by weights has the correlation of the samples it repeats."""
    x, y, other = normal(3, n, seed=seed).round(decimals=1)
    resamples = Resamples(n, 4, seed % 1000)
    for given_ in ((), (other,)):
        by_weight = rank_correlation(x, y, given_, resamples.samples)
        for row, found in enumerate(by_weight):
            at = resamples.places(row)
            repeated = rank_correlation(x[at], y[at], [one[at] for one in given_])
            torch.testing.assert_close(found, repeated, equal_nan=True, atol=1e-9, rtol=0)


def test_numbers_that_are_missing_are_left_out_of_both():
    x, y = normal(2, 20)
    x[3], y[7] = math.nan, math.nan
    known = x.isfinite() & y.isfinite()
    torch.testing.assert_close(rank_correlation(x, y), rank_correlation(x[known], y[known]))
    weighted = rank_correlation(x, y, (), torch.ones(1, 20))
    torch.testing.assert_close(weighted[0], rank_correlation(x[known], y[known]))


def test_a_monotone_change_keeps_it_and_what_is_given_is_taken_out():
    x, shared = normal(400), normal(400, seed=1)
    y, both = shared + 0.1 * normal(400, seed=2), shared + 0.1 * normal(400, seed=3)
    for one, other in ((spearman(x.exp(), y**3), spearman(x, y)), (spearman(-x, y), spearman(x, -y))):
        assert (one.item(), float(one.low)) == pytest.approx((other.item(), float(other.low)), abs=1e-12)
    assert spearman(both, y).item() > 0.9
    partial = spearman(both, y, given=[shared])
    assert float(partial.low) < 0 < float(partial.high)


def test_several_given_are_those_of_the_precision_matrix():
    mixed = normal(4, 4, seed=5) @ normal(4, 60)
    x, y, *others = mixed
    C = torch.linalg.inv(torch.corrcoef(torch.stack([ranks(row) for row in mixed])))
    wanted = -C[0, 1] / (C[0, 0] * C[1, 1]).sqrt()
    torch.testing.assert_close(rank_correlation(x, y, others), wanted)
    torch.testing.assert_close(rank_correlation(x, y, others[::-1]), wanted)


def test_constants_have_no_correlation():
    assert rank_correlation(torch.ones(5), torch.arange(5.0)).isnan()
    constant = spearman(torch.stack([torch.ones(12), torch.arange(12.0)]), normal(12))
    assert constant.statuses == ("undefined", "ok")


def test_one_order_is_a_bound_whose_width_falls_with_the_pairs():
    widths = []
    for n in (12, 40, 320):
        link = spearman(normal(n), normal(n).exp())
        assert (link.item(), link.status, link.n) == (1.0, "upper-bound", n)
        widths.append(1 - float(link.low))
        assert spearman(normal(n), -normal(n)).status == "lower-bound"
    assert widths[0] > widths[1] > widths[2] > 0
    assert widths[2] == pytest.approx(3 * (1 - 0.025 ** (1 / 160)))


def test_few_pairs_are_undetermined():
    assert spearman(*pairs(9, 0.3, 0)).status == "undetermined"
    assert spearman(*pairs(10, 0.3, 0)).status == "ok"
    x, y = pairs(10, 0.3, 0)
    assert spearman(x, y, given=[normal(10, seed=9)]).status == "undetermined"
    assert spearman(*pairs(40, 0.3, 0), groups=[place % 8 for place in range(40)]).status == "undetermined"


def coverage(n: int, r: float, freedom: int, cases: int) -> tuple[float, float]:
    """Share of intervals that hold the truth, and of cases with status ok."""
    truth = T3[r] if freedom else 6 / math.pi * math.asin(r / 2)
    held, sure = 0, 0
    for seed in range(cases):
        link = spearman(*pairs(n, r, seed, freedom))
        if link.status == "ok":
            sure += 1
            held += bool(link.low <= truth <= link.high)
            assert link.value - 1.96 * link.stderr <= link.low + 1e-12
            assert link.value + 1.96 * link.stderr >= link.high - 1e-12
    return held / max(sure, 1), sure / cases


@pytest.mark.parametrize(("n", "r", "freedom"), [(12, 0.6, 0), (20, 0.0, 3), (50, 0.9, 0)])
def test_intervals_hold(n, r, freedom):
    held, sure = coverage(n, r, freedom, 400)
    assert 0.925 <= held <= 0.985
    assert sure == 1


@pytest.mark.slow
@pytest.mark.parametrize("freedom", [0, 3])
@pytest.mark.parametrize("r", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("n", [5, 8, 12, 20, 50, 200])
def test_coverage_in_every_cell(n, r, freedom):
    """Within two binomial errors of [0.93, 0.97], or not called ok."""
    cases = 1000 if n < 100 else 300
    held, sure = coverage(n, r, freedom, cases)
    if n < 10:
        assert sure == 0
    else:
        assert 0.93 - 2 * (0.93 * 0.07 / cases) ** 0.5 <= held <= 0.97 + 2 * (0.97 * 0.03 / cases) ** 0.5
        assert sure > 0.99


def test_errors_of_groups_are_over_groups():
    """Six crops of a photograph with one value each say no more than the photograph."""
    held, alone = 0, 0
    for seed in range(150):
        x, y = (column.repeat_interleave(6) for column in pairs(20, 0.6, seed))
        groups = torch.arange(20).repeat_interleave(6).tolist()
        truth = 6 / math.pi * math.asin(0.3)
        grouped, plain = spearman(x, y, groups=groups), spearman(x, y)
        held += bool(grouped.low <= truth <= grouped.high)
        alone += bool(plain.low <= truth <= plain.high)
    assert held / 150 >= 0.9
    assert alone / 150 < 0.75


def test_more_groups_than_blocks_have_the_same_error():
    x, y = pairs(2400, 0.6, 0)
    link = spearman(x, y)
    r = link.item()
    bonett = (1 - r**2) * ((1 + r**2 / 2) / (2400 - 3)) ** 0.5  # Bonett and Wright 2000, for normal pairs
    assert float(link.stderr) == pytest.approx(bonett, rel=0.1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: spearman(torch.zeros(3), torch.zeros(3)),
        lambda: spearman(torch.full((5,), torch.nan), torch.zeros(5)),
        lambda: spearman(torch.zeros(5), torch.zeros(6)),
        lambda: spearman(normal(5), normal(5), given=[normal(4)]),
        lambda: spearman(normal(5), normal(5), groups=["a"] * 5),
        lambda: spearman(normal(5), normal(5), groups=["a", "b"]),
    ],
)
def test_bad_input_is_one_clear_error(call):
    with pytest.raises(InputError, match="expected"):
        call()


def test_the_interval_has_twice_as_many_degrees_of_freedom_as_pairs():
    """`tanh(z ± t s)` written out: `s` by leaving out one pair after the other, `t` with 24 degrees of freedom."""
    x, y = pairs(12, 0.6, 3)
    others = [[place for place in range(12) if place != out] for out in range(12)]
    left = torch.stack([rank_correlation(x[rest], y[rest]) for rest in others]).atanh()
    reach = float(jackknife(left)) * stats.t.ppf(0.975, 24)
    z, link = math.atanh(float(rank_correlation(x, y))), spearman(x, y)
    ends = [float(end) for end in link.interval()]
    assert ends == pytest.approx([math.tanh(z - reach), math.tanh(z + reach)], abs=1e-8)
