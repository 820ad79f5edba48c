"""Spectra with values far from all others, drawn at random: what is known of them is not left to the probes."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.derivatives import LinearOperator
from theodolite.estimates import Seeds
from theodolite.spectrum import (
    bidiagonalise,
    effective_rank,
    log_volume,
    log_volume_within,
    null_dimension,
    singular_spectrum,
    tolerance,
)
from theodolite.spectrum.deflation import isolated_ends

D = torch.float64


def diagonal(s, n=1):
    """The operator of a diagonal matrix; random probes see no more of a matrix than its singular values."""
    return LinearOperator(n, len(s), len(s), lambda V: V * s.to(V), lambda U: U * s.to(U), s.dtype, s.device)


def drawn_bulk(d, g):
    """Singular values of width drawn between 1.5 and 4, in `[1 / width, 1]`."""
    width = 1.5 + 2.5 * float(torch.rand(1, generator=g, dtype=D))
    return 1 / width + (1 - 1 / width) * torch.rand(d, generator=g, dtype=D)


def rank_of(s, p):
    return torch.special.entr(s**p / (s**p).sum()).sum().exp()


def with_outliers(seed):
    g = torch.Generator().manual_seed(seed)
    d, count = int(torch.randint(300, 700, (1,), generator=g)), int(torch.randint(1, 4, (1,), generator=g))
    s = drawn_bulk(d, g)
    s[:count] = 10 ** (0.6 + 3.4 * torch.rand(count, generator=g, dtype=D))
    return s


def with_rare_small(seed):
    g = torch.Generator().manual_seed(seed)
    d, count = int(torch.randint(300, 700, (1,), generator=g)), int(torch.randint(1, 4, (1,), generator=g))
    s = drawn_bulk(d, g)
    s[:count] = 10 ** (-5 + 2 * torch.rand(1, generator=g, dtype=D))
    return s


def with_tiny_third(seed):
    """Three values in ten between 3e-6 and 1e-4 of the largest, all above the cut, below a bulk of drawn shape."""
    g = torch.Generator().manual_seed(seed)
    d = int(torch.randint(300, 500, (1,), generator=g))
    bulk = (0.9 * float(torch.rand(1, generator=g)) * torch.randn(d, generator=g, dtype=D)).exp()
    s = bulk / bulk.max()
    s[: 3 * d // 10] = 10 ** torch.empty(3 * d // 10, dtype=D).uniform_(math.log10(3e-6), -4, generator=g)
    return s


def covered(estimate, truth):
    low, high = estimate.interval()
    return (low - 1e-9 <= truth) & (truth <= high + 1e-9)


def coverage(cases, quantity, truth, seeds, **settings):
    """Share of the intervals of all cases that hold the truth, and the statuses."""
    hits, statuses = [], []
    for s in cases:
        estimate = quantity(singular_spectrum(diagonal(s, seeds), exact=False, generator=range(seeds), **settings))
        hits.append(covered(estimate, truth(s)))
        statuses += estimate.statuses
    return float(torch.cat(hits).double().mean()), statuses


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize(("cases", "seeds"), [(6, 25), pytest.param(12, 100, marks=pytest.mark.slow)])
def test_a_rank_beside_outliers_is_a_rank_with_an_honest_error(p, cases, seeds):
    share, statuses = coverage(
        [with_outliers(case) for case in range(cases)],
        lambda measure: effective_rank(measure, p),
        lambda s: rank_of(s, p),
        seeds,
    )
    assert 0.9 <= share <= 1
    assert statuses.count("ok") > 0.8 * len(statuses)


@pytest.mark.parametrize("p", [1.0, 2.0])
@pytest.mark.parametrize("probes", [1, 2, 3])
@pytest.mark.parametrize("factor", [30.0, 1e4])
def test_a_rank_lies_between_one_and_the_dimension(p, probes, factor):
    s = torch.linspace(0.5, 1, 320, dtype=D)
    s[:4] = factor
    rank = effective_rank(singular_spectrum(diagonal(s, 50), probes=probes, exact=False, generator=range(50)), p)
    assert (rank.value >= 1).all()
    assert (rank.value <= 320).all()
    assert covered(rank, rank_of(s, p)).double().mean() >= 0.9


@pytest.mark.parametrize("probes", [1, 2, 3])
def test_where_few_values_decide_a_rank_and_cannot_be_counted_the_status_says_so(probes):
    s = torch.linspace(0.5, 1, 320, dtype=D)
    s[:5] = 1e3
    rank = effective_rank(singular_spectrum(diagonal(s, 20), probes=probes, exact=False, generator=range(20)), 2.0)
    assert set(rank.statuses) == {"truncated"}
    assert "probes" in rank.message


@pytest.mark.parametrize("multiplicity", [1, 2, 3, 4])
def test_multiplicities_are_counted_as_far_as_probes_can_tell(multiplicity):
    s = torch.linspace(0.5, 1, 320, dtype=D)
    s[:multiplicity], s[-multiplicity:] = 1e-3, 20.0
    ends = isolated_ends(bidiagonalise(diagonal(s, 30), 4, 48, Seeds(0, 30)), 1e-6)
    expected = multiplicity if multiplicity < 4 else 0
    # Four vectors of four probes span three dimensions to rounding now and then, which processors do not agree on.
    agree = 30 if multiplicity < 4 else 28
    assert (ends.high[:, 0] == expected).sum() >= agree
    assert (ends.low[:, 0] == expected).sum() >= agree
    if expected:
        torch.testing.assert_close(ends.high_values[:, 0], torch.full((30,), 20.0, dtype=D))
        torch.testing.assert_close(ends.low_values[:, 0], torch.full((30,), 1e-3, dtype=D))


def test_a_null_space_of_known_dimension_is_counted_exactly():
    s = torch.linspace(0.5, 1, 320, dtype=D)
    s[:2] = 0
    measure = singular_spectrum(diagonal(s, 20), exact=False, generator=range(20))
    null = null_dimension(measure)
    torch.testing.assert_close(null.value, torch.full((20,), 2.0, dtype=D))
    assert (null.stderr == 0).all()
    assert set(log_volume(measure).statuses) == {"rank-deficient"}


@pytest.mark.parametrize("settings", [{"probes": 2, "depth": 24}, {"probes": 3, "depth": 48}, {"depth": 96}])
@pytest.mark.parametrize(("cases", "seeds"), [(6, 10), pytest.param(12, 40, marks=pytest.mark.slow)])
def test_no_budget_takes_small_values_for_a_null_space(settings, cases, seeds):
    drawn = [with_tiny_third(case) for case in range(cases)]
    share, _ = coverage(drawn, log_volume, lambda s: s.log().sum(), seeds, **settings)
    assert share >= 0.9
    share, statuses = coverage(drawn, null_dimension, lambda s: 0.0, seeds, **settings)
    assert share >= 0.9
    assert "undefined" not in statuses


@pytest.mark.parametrize("rtol", [0.03, 0.1])
@pytest.mark.parametrize("cases", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_a_request_does_not_stop_on_draws_that_missed_rare_small_values(monkeypatch, rtol, cases):
    monkeypatch.setattr(tolerance, "_dense_fits", lambda operator: False)
    hits = []
    for case in range(cases):
        s = with_rare_small(case)
        hits.append(covered(log_volume_within(diagonal(s), rtol, generator=case), s.log().sum()))
    assert 0.9 <= torch.cat(hits).double().mean() <= 1


@pytest.mark.parametrize("cases", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_a_request_on_ordinary_spectra_is_honest_under_its_own_looks(monkeypatch, cases):
    monkeypatch.setattr(tolerance, "_dense_fits", lambda operator: False)
    hits = []
    for case in range(cases):
        g = torch.Generator().manual_seed(case)
        d = int(torch.randint(300, 700, (1,), generator=g))
        s = (0.1 + 0.9 * float(torch.rand(1, generator=g))) * torch.randn(d, generator=g, dtype=D)
        hits.append(covered(log_volume_within(diagonal(s.exp()), 0.03, generator=case), s.sum()))
    assert 0.9 <= torch.cat(hits).double().mean() <= 1
