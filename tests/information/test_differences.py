"""R3, the rate as a fall of Fisher information: against exact curves, honest over seeds, refused where it cannot be."""

from __future__ import annotations

import pytest
import torch

from theodolite.information import gaussian_information, information, mixture_information
from theodolite.scores import FunctionScore, GaussianScore, MixtureScore, NetworkScore

D = torch.float64
SEEDS = 120


def fall(latents, t, score, seed):
    return information(latents, t, score, differences=True, generator=seed).fir["difference"]


def test_a_gaussian_up_to_the_step(eight):
    t = [0.02, 0.1, 0.5, 1, 3]
    found = fall(eight.sample(50, torch.Generator().manual_seed(0)), t, eight, 0)
    exact = gaussian_information(eight.variances, t).fir.value
    torch.testing.assert_close(found.value, exact, rtol=0.05**2 / 6, atol=0)
    assert ((found.value - exact).abs() <= found.stderr).all()
    assert set(found.statuses) == {"ok"}


@pytest.mark.parametrize(("case", "t"), [("three", [0.2, 1.0]), ("two", [0.5, 2.0])])
@pytest.mark.slow
def test_error_bars_are_honest(case, t, request):
    score = request.getfixturevalue(case)
    exact = mixture_information(score, t).fir.value
    found = [fall(score.sample(300, torch.Generator().manual_seed(seed)), t, score, seed) for seed in range(SEEDS)]
    z = torch.stack([(one.value - exact) / one.stderr for one in found])
    assert (z.mean(0).abs() < 0.25).all(), z.mean(0)
    assert ((z.std(0) > 0.7) & (z.std(0) < 1.3)).all(), z.std(0)


def test_an_empirical_mixture_within_its_error(eight):
    exact = gaussian_information(eight.variances, [1.0, 3.0]).fir.value
    for seed in range(4):
        draws = torch.Generator().manual_seed(seed)
        references, latents = eight.sample(8000, draws), eight.sample(200, draws)
        found = fall(latents, [1.0, 3.0], MixtureScore(references), seed)
        assert ((found.value - exact).abs() < 3 * found.stderr).all()


def test_noise_in_the_jacobian_does_not_add_to_it(eight):
    """A score that ripples has a Jacobian too large in square, and right on average."""
    rippled = FunctionScore(lambda x, t: eight.score(x, t) + 0.05 * (20 * x).sin(), (8,), symmetric=True)
    curve = information(
        eight.sample(2000, torch.Generator().manual_seed(0)), [1.0], rippled, differences=True, generator=0
    )
    exact = gaussian_information(eight.variances, [1.0]).fir.value
    assert curve.fir.value > 1.5 * exact
    assert (curve.fir["difference"].value - exact).abs() < 3 * curve.fir["difference"].stderr


def test_the_scale_law(three):
    latents = three.sample(50, torch.Generator().manual_seed(0))
    plain = fall(latents, [0.4], three, 3)
    grown = FunctionScore(lambda x, t: three.score(x / 2, t / 4) / 2, (2,), symmetric=True)
    torch.testing.assert_close(fall(2 * latents, [1.6], grown, 3).value, plain.value / 16)


def test_nothing_else_changes(three):
    latents = three.sample(50, torch.Generator().manual_seed(0))
    with_it, without = (
        information(latents, [0.3, 1.0], three, differences=asked, generator=1) for asked in (True, False)
    )
    assert set(with_it.fir.parts) - set(without.fir.parts) == {"difference"}
    for name in ("mmse", "fi", "fir", "rate"):
        assert torch.equal(getattr(with_it, name).value, getattr(without, name).value)


def test_outside_a_trained_range_it_is_refused_with_the_reason():
    cloud = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    score = NetworkScore.fit(cloud[:150], steps=2, t_min=0.1, t_max=10.0, generator=0)
    curve = information(cloud[150:], [0.1, 1.0, 10.0], score, differences=True, generator=0)
    found = curve.fir["difference"]
    assert torch.isnan(found.value).tolist() == [True, False, True]
    assert found.statuses[0] == found.statuses[2] == "undetermined"
    assert "refused at 2 of 3 levels" in found.message
    assert "outside the score's range, 0.1 to 10" in found.message
    assert torch.isfinite(curve.fir.value).all()


def test_where_the_mixture_remembers_it_is_refused(eight):
    draws = torch.Generator().manual_seed(0)
    references, latents = eight.sample(8000, draws), eight.sample(50, draws)
    found = fall(latents, [0.1, 1.0], MixtureScore(references), 0)
    assert torch.isnan(found.value).tolist() == [True, False]
    assert "effective sample size" in found.message


def test_it_follows_the_dtype():
    latents = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    found = fall(latents, [1.0], GaussianScore(torch.zeros(3), torch.ones(3)), 0)
    assert found.value.dtype == found.stderr.dtype == torch.float32
    assert found.value.item() == pytest.approx(0.75, rel=1e-3)
