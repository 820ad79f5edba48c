"""Rank correlations and their paired intervals."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from theodolite import InputError
from theodolite.detection.links import PairedDraws, partial_spearman, ranks, spearman


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_ranks_share_their_mean_at_ties_and_spearman_is_scipys() -> None:
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0])).tolist() == [2.5, 0.0, 2.5, 1.0]
    x, y = normal(3, 40).round(decimals=1), normal(3, 40, seed=1).round(decimals=1)
    for row in range(3):
        wanted = spearmanr(x[row].numpy(), y[row].numpy()).statistic
        assert abs(float(spearman(x, y)[row]) - wanted) < 1e-12


def test_a_constant_has_no_correlation() -> None:
    assert torch.isnan(spearman(torch.ones(5), torch.arange(5.0)))


def test_a_monotone_change_keeps_it_and_what_is_given_is_taken_out() -> None:
    x, given = normal(4000), normal(4000, seed=1)
    y = given + 0.1 * normal(4000, seed=2)
    assert spearman(x.exp(), y) == spearman(x, y)
    both = given + 0.1 * normal(4000, seed=3)
    assert spearman(both, y) > 0.9
    assert abs(partial_spearman(both, y, given)) < 0.1


def test_intervals_cover_as_they_say_and_differences_are_paired() -> None:
    covered, misses = 0, 150
    for seed in range(misses):
        shared = normal(40, seed=1000 + seed)
        x, y = shared + normal(40, seed=2000 + seed), shared + normal(40, seed=3000 + seed)
        draws = PairedDraws(40, 400, seed)
        number = draws.number(spearman(draws(x), draws(y)))
        truth = 0.4826  # 6 / pi arcsin(r / 2) of a normal pair with r = 1/2
        covered += number.low <= truth <= number.high
        assert draws.number(spearman(draws(x), draws(y)) - spearman(draws(x), draws(y))).high == 0
    assert 0.89 <= covered / misses <= 0.99


def test_whole_groups_are_drawn_however_large_they_are() -> None:
    groups = ["a", "b", "b", "b", "c", "c"]
    draws, values = PairedDraws(6, 50, groups=groups), torch.arange(6.0)
    assert draws.independent == 3
    for row in draws(values):
        kept = row[~row.isnan()].tolist()
        assert all(kept.count(1) == kept.count(other) for other in (2, 3))
        assert kept.count(4) == kept.count(5)
    assert draws(values)[0].nanmean() == values.mean()
    x, y = normal(6), normal(6, seed=1)
    assert abs(float(spearman(draws(x), draws(y))[0]) - spearmanr(x.numpy(), y.numpy()).statistic) < 1e-12
    with pytest.raises(InputError, match="two groups"):
        PairedDraws(4, groups=["a"] * 4)


def test_two_pairs_are_the_least() -> None:
    with pytest.raises(InputError, match="two pairs"):
        PairedDraws(1)
