"""The estimators: against exact curves, honest over 400 seeds, redundant, invariant, and careful."""

from __future__ import annotations

import warnings

import pytest
import torch

from theodolite.errors import InputError
from theodolite.information import gaussian_information, information, mixture_information
from theodolite.information.draws import draw
from theodolite.scores import (
    FunctionScore,
    GaussianMixtureScore,
    GaussianScore,
    NetworkScore,
    WienerScore,
    normalised,
)

D = torch.float64
SEEDS = 400
MAIN = ("mmse", "fi", "fir", "rate")


def turned_gaussian():
    axes = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3), dtype=D)).Q
    return GaussianScore(
        torch.zeros(6), axes @ torch.tensor([2, 1.5, 1, 0.5, 0.5, 0.1], dtype=D).diag() @ axes.T, exact=True
    )


def over_seeds(score, t, n):
    for seed in range(SEEDS):
        latents = score.sample(n, torch.Generator().manual_seed(seed))
        yield information(latents, t, score, generator=seed)


def is_honest(z):
    return abs(z.mean()) < 0.25 and 0.7 < z.std() < 1.3


@pytest.mark.parametrize("case", ["three", "two", "gaussian"])
@pytest.mark.slow
def test_error_bars_are_honest(case, three, two):
    if case == "gaussian":
        score, t = turned_gaussian(), [0.1, 1.0, 3.0]
        exact = gaussian_information(score.variances, t)
    else:
        score, t = {"three": (three, [0.2, 1.0]), "two": (two, [0.7, 2.0])}[case]
        exact = mixture_information(score, t)
    curves = list(over_seeds(score, t, 300))
    for name in (*MAIN, "excess_fi", "excess_fir"):
        truth = getattr(exact, name).value
        estimates = [getattr(curve, name) for curve in curves]
        for level in range(len(t)):
            z = torch.stack([(e.value[level] - truth[level]) / e.stderr[level] for e in estimates])
            assert is_honest(z), (name, t[level], z.mean(), z.std())
    parts = {"norm": exact.fi.value, "denoising": exact.fi.value}
    for part in ("norm", "denoising", "self_check", "calibration", "above_bound"):
        truth = parts.get(part, 0)
        z = torch.stack([(curve.fi[part].value - truth) / curve.fi[part].stderr for curve in curves])
        assert all(is_honest(column) for column in z.T), (part, z.mean(0), z.std(0))


def test_rare_events_are_not_passed_off_as_precise(two):
    exact, refused = mixture_information(two, [0.1]), 0
    for _, curve in zip(range(20), over_seeds(two, [0.1], 400)):
        for name in ("mmse", "rate"):
            estimate, truth = getattr(curve, name), getattr(exact, name).value
            refused += estimate.status == "undetermined"
            assert estimate.status == "undetermined" or bool((estimate.low <= truth) & (truth <= estimate.high))
        assert "a few latents carry" in curve.mmse.message
    assert refused >= 36


def test_every_table_within_three_standard_errors(eight, three):
    for score, exact, t in (
        (eight, gaussian_information(eight.variances, [0.02, 0.1, 0.5, 1, 3]), [0.02, 0.1, 0.5, 1, 3]),
        (three, mixture_information(three, [0.05, 0.2, 1]), [0.05, 0.2, 1]),
    ):
        curve = information(score.sample(6000, torch.Generator().manual_seed(1)), t, score, generator=1)
        for name in MAIN:
            estimate, truth = getattr(curve, name), getattr(exact, name).value
            assert ((estimate.value - truth).abs() <= 3 * estimate.stderr + 1e-9).all(), name
        for part in ("norm", "denoising"):
            assert ((curve.fi[part].value - exact.fi.value).abs() < 3 * curve.fi[part].stderr).all(), part
        torch.testing.assert_close(curve.fir["denoising"].value, curve.fir.value, rtol=1e-6, atol=1e-6)
        assert curve.fir["asymmetry"].value.abs().max() == 0


def wrong(x, t):
    """A smooth field that is no score and no gradient."""
    return torch.stack([(x[:, 1] * 2).sin() - x[:, 0], x[:, 0] * x[:, 1] - t * x[:, 1].tanh()], -1)


def test_the_identity_holds_for_any_smooth_field(three):
    latents = three.sample(20_000, torch.Generator().manual_seed(0))
    curve = information(latents, [0.3, 1.0], FunctionScore(wrong, (2,)), generator=0)
    check = curve.fi["self_check"]
    assert (check.value.abs() < 3 * check.stderr).all()
    assert (check.stderr < 0.05 * curve.fi["norm"].value).all()
    assert (curve.fi["calibration"].value.abs() > 10 * curve.fi["calibration"].stderr).all()
    exact = mixture_information(three, [0.3, 1.0])
    assert (curve.fi["denoising"].value < exact.fi.value).all()
    assert (curve.mmse.value > exact.mmse.value).all()
    assert set(curve.fi.statuses) == {"learned"}
    assert "the error of the score" in curve.fi.message
    assert (curve.fir["asymmetry"].value > 10 * curve.fir["asymmetry"].stderr).all()


def test_asymmetry_and_the_symmetric_part_of_a_linear_field():
    A = torch.tensor([[-1.0, 2.0], [-0.6, -0.5]], dtype=D)
    latents, field = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0), dtype=D), lambda x, t: x @ A.T
    draws = draw(latents, torch.tensor([0.5], dtype=D), FunctionScore(field, (2,)), 0)
    S, one = (A + A.T) / 2, torch.eye(2, dtype=D)
    for samples, want in (
        (draws.square, S.square().sum()),
        (draws.rate, (one + 0.5 * S).square().sum()),
        (draws.skew, (A - A.T).square().sum() / 2),
    ):
        assert (samples.mean() - want).abs() < 3 * samples.std() / 4000**0.5 + 1e-12
    assert information(latents, [0.5], FunctionScore(field, (2,)), generator=0).fi.passes == 3


@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_a_mis_scaled_score_is_caught_and_covered(eight, scale):
    exact = gaussian_information(eight.variances, [0.5, 2.0])
    off = FunctionScore(lambda x, t: scale * eight.score(x, t), (8,), symmetric=True)
    curve = information(eight.sample(4000, torch.Generator().manual_seed(0)), [0.5, 2.0], off, generator=0)
    assert set(curve.fi.statuses) == set(curve.fir.statuses) == {"learned"}
    assert "the error of the score" in curve.fi.message
    for name in ("fi", "fir"):
        estimate = getattr(curve, name)
        assert ((estimate.value - getattr(exact, name).value).abs() < 2 * estimate.stderr).all()
    assert (curve.fi["denoising"].value < exact.fi.value + 3 * curve.fi["denoising"].stderr).all()


def test_few_latents_on_the_wrong_side_of_the_denoising_bound_are_flagged():
    """A Gaussian of too little variance: the bound contradicts it, calibration does not yet."""
    latents = 1.4 * torch.randn(60, 6, generator=torch.Generator().manual_seed(0), dtype=D)
    curve = information(latents, [8.0, 20.0], GaussianScore(torch.zeros(6), torch.ones(6)), generator=0)
    above = curve.fi["above_bound"]
    assert (curve.fi["denoising"].value < curve.fi.value - above.value).all()  # it is moved down to bound
    assert (above.value.abs() > 3 * above.stderr).all()
    assert (curve.fi["calibration"].value.abs() < 3 * curve.fi["calibration"].stderr).all()
    assert set(curve.fi.statuses) == {"learned"}
    assert "the error of the score" in curve.fi.message
    assert (above.value.abs() <= curve.fi.stderr).all()


@pytest.mark.parametrize("other", [0.05, 2.0])
def test_a_bound_that_is_not_contradicted_is_not_flagged(eight, other):
    flagged = 0
    for seed in range(100):
        latents = eight.sample(40, torch.Generator().manual_seed(seed))
        flagged += information(latents, [0.5, other], eight, generator=seed).fi.statuses.count("miscalibrated")
    assert flagged <= 6


def test_scale_law_to_machine_precision(three):
    c, latents = 2.5, three.sample(300, torch.Generator().manual_seed(0))
    grown = GaussianMixtureScore(three.weights, c * three.means, c**2 * torch.stack(_covs(three)), exact=True)
    plain = information(latents, [0.1, 0.7], three, generator=4)
    scaled = information(c * latents, [c**2 * 0.1, c**2 * 0.7], grown, generator=4)
    for name, power in zip(MAIN, (2, -2, -4, 0)):
        torch.testing.assert_close(
            getattr(scaled, name).value, c**power * getattr(plain, name).value, rtol=1e-9, atol=0
        )
    for name in ("a", "b", "r"):
        torch.testing.assert_close(getattr(scaled, name).value, getattr(plain, name).value, rtol=1e-9, atol=0)
    torch.testing.assert_close(scaled.excess_fi.value, plain.excess_fi.value / c**2, rtol=1e-8, atol=1e-12)


def _covs(mixture):
    return [axes @ spread.diag() @ axes.T for axes, spread in zip(mixture.axes, mixture.variances)]


def test_isometric_embedding_to_machine_precision(three):
    Q = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=D)).Q[:, :2]
    shift = torch.arange(5, dtype=D)
    embedded = GaussianMixtureScore(
        three.weights, three.means @ Q.T + shift, torch.stack([Q @ cov @ Q.T for cov in _covs(three)])
    )
    z = three.sample(200, torch.Generator().manual_seed(1))
    eps = torch.randn(200, 5, generator=torch.Generator().manual_seed(2), dtype=D)
    for t in (0.05, 1.0):
        x = z @ Q.T + shift + t**0.5 * eps
        H_X, H_Z = embedded.hessian(x, t), three.hessian((x - shift) @ Q, t)
        J = [-H.diagonal(dim1=1, dim2=2).sum(-1).mean() for H in (H_X, H_Z)]
        F = [H.square().sum((1, 2)).mean() for H in (H_X, H_Z)]
        torch.testing.assert_close(J[0] - J[1], torch.tensor(3 / t, dtype=D), rtol=1e-11, atol=0)
        torch.testing.assert_close(F[0] - F[1], torch.tensor(3 / t**2, dtype=D), rtol=1e-11, atol=0)


def test_isometric_embedding_of_a_gaussian(eight):
    plain = gaussian_information(eight.variances, [0.1, 1])
    embedded = gaussian_information(torch.cat([eight.variances, torch.zeros(4, dtype=D)]), [0.1, 1])
    torch.testing.assert_close(embedded.mmse.value, plain.mmse.value)
    torch.testing.assert_close(embedded.local_dimension.value, plain.local_dimension.value)


def test_one_noise_serves_all_levels(three):
    latents, levels = three.sample(200, torch.Generator().manual_seed(0)), [0.1, 0.4, 2.0]
    together = information(latents, levels, three, generator=7)
    for i, t in enumerate(levels):
        alone = information(latents, t, three, generator=7)
        for name in MAIN:
            torch.testing.assert_close(getattr(alone, name).value[0], getattr(together, name).value[i])
    close = information(latents, [0.4, 0.401], three, generator=7)
    fall = (close.fi_samples[0] - close.fi_samples[1]).std()
    assert fall < 0.1 * close.fi_samples[0].std()


def test_groups_leave_no_trace_and_seeds_repeat(three, monkeypatch):
    latents = three.sample(50, torch.Generator().manual_seed(0))
    whole = information(latents, [0.3], three, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr("theodolite.information.draws._ENTRIES", 14)
    parts = information(latents, [0.3], three, generator=torch.Generator().manual_seed(5))
    other = information(latents, [0.3], three, generator=6)
    for name in MAIN:
        torch.testing.assert_close(getattr(parts, name).value, getattr(whole, name).value)
        assert getattr(other, name).value != getattr(whole, name).value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_results_follow_the_dtype_and_any_latent_shape(eight, dtype):
    latents = eight.sample(400, torch.Generator().manual_seed(0))
    exact = information(latents, [0.1, 1], eight, generator=0)
    curve = information(latents.to(dtype).reshape(400, 2, 2, 2), [0.1, 1], eight, generator=0)
    for name in (*MAIN, "a", "b", "r", "excess_fi", "local_dimension"):
        estimate = getattr(curve, name)
        assert estimate.value.dtype == estimate.stderr.dtype == dtype
        torch.testing.assert_close(estimate.value.double(), getattr(exact, name).value, rtol=1e-3, atol=1e-3)
    assert curve.t.dtype == dtype


def test_curves_free_of_dimension(eight):
    t = torch.tensor([0.02, 0.5, 3], dtype=D)
    curve = information(eight.sample(1000, torch.Generator().manual_seed(0)), t, eight, generator=0)
    torch.testing.assert_close(curve.a.value, curve.mmse.value / (8 * t))
    torch.testing.assert_close(curve.b.value, curve.fir.value * t**2 / 8)
    torch.testing.assert_close(curve.r.stderr, curve.rate.stderr / 8)
    torch.testing.assert_close(curve.local_dimension.value, 8 * curve.a.value)


def test_normalised_clouds_are_comparable(three):
    latents = three.sample(500, torch.Generator().manual_seed(0))
    cloud, grown = normalised(latents), normalised(40 * latents + 3)
    torch.testing.assert_close(cloud.latents, grown.latents)
    torch.testing.assert_close(cloud.latents, cloud.scale * (latents - cloud.mean))
    torch.testing.assert_close(cloud.latents.square().sum(-1).mean(), torch.tensor(2.0, dtype=D))
    assert normalised(latents.float().reshape(500, 1, 2)).latents.shape == (500, 1, 2)


def test_the_floor_of_few_latents_is_corrected(eight):
    exact, curves = gaussian_information(eight.variances, [0.1]), []
    for seed in range(100):
        curves.append(information(eight.sample(40, torch.Generator().manual_seed(seed)), [0.1], eight, generator=seed))
    left = torch.stack([curve.excess_fi.value - exact.excess_fi.value for curve in curves])
    naive = torch.stack(
        [
            curve.fi.value - (curve.floor._moments[0] + 0.1).reciprocal().sum() - exact.excess_fi.value
            for curve in curves
        ]
    )
    assert abs(left.mean()) < 0.2 * abs(naive.mean())


def test_fewer_latents_than_dimensions_refuse_only_the_excess(eight):
    latents = eight.sample(7, torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="7 latents in 8 dimensions: .* `excess_fi` and `excess_fir` are refused"):
        curve = information(latents, [0.5], eight, generator=0)
    assert all(torch.isfinite(getattr(curve, name).value).all() for name in MAIN)
    for name in ("excess_fi", "excess_fir"):
        with pytest.raises(InputError, match=f"`{name}` needs a covariance of full rank: more than 9 latents"):
            getattr(curve, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        information(eight.sample(30, torch.Generator().manual_seed(0)), [0.5], eight, generator=0)


def bad_clouds():
    good = torch.ones(5, 2)
    return {
        "NaN or infinity": good.fill_diagonal_(torch.nan),
        "zero variance": torch.ones(5, 2),
        "at least two samples": torch.ones(1, 2),
        "one row for each sample": torch.ones(5),
        "float32 or float64": torch.ones(5, 2, dtype=torch.int64),
    }


@pytest.mark.parametrize("message", bad_clouds())
def test_bad_clouds(message):
    with pytest.raises(InputError, match=message) as caught:
        information(bad_clouds()[message], [1.0], GaussianScore(torch.zeros(2), torch.ones(2)))
    assert "\n" not in str(caught.value)


def test_bad_settings():
    latents, score = torch.eye(5, 2), GaussianScore(torch.zeros(2), torch.ones(2))
    for t in (0.0, -1.0, [1.0, 0.0], [], float("nan"), [float("inf")]):
        with pytest.raises(InputError, match="noise variances `t`"):
            information(latents, t, score)
    with pytest.raises(InputError, match="latents of 3 dimensions expected by GaussianScore, got 2"):
        information(latents, [1.0], GaussianScore(torch.zeros(3), torch.ones(3)))
    with pytest.raises(InputError, match="wrap a function as"):
        information(latents, [1.0], lambda x, t: x)
    with pytest.raises(InputError, match="one seed a latent"):
        information(latents, [1.0], score, generator=[1, 2])


def separated():
    """Two narrow Gaussians far apart, which no Gaussian resembles."""
    means = torch.tensor([[-3.0, 0.0], [3.0, 0.0]], dtype=D)
    return GaussianMixtureScore(torch.ones(2), means, torch.full((2, 2), 0.3, dtype=D), exact=True)


def misled(x, t):
    """The score of the mixture with every second latent on the wrong side."""
    return separated().score(x * torch.tensor([0.7, 1.0], dtype=D), t)


WRONG = {
    "gaussian": GaussianScore.fitted,
    "declared gaussian": lambda z: GaussianScore(z.mean(0), torch.cov(z.T)),
    "wiener": WienerScore,
    "one component": lambda z: GaussianMixtureScore(torch.ones(1), z.mean(0)[None], torch.cov(z.T)[None]),
    "function": lambda z: FunctionScore(misled, (2,)),
    "network": lambda z: NetworkScore.fit(z, steps=5, generator=0),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_score_that_is_not_the_truth_gives_bounds(kind):
    law, t = separated(), [0.1, 1.0, 5.0]
    exact = mixture_information(law, t)
    draws = torch.Generator().manual_seed(0)
    score = WRONG[kind](law.sample(4000, draws))
    curve = information(law.sample(1000, draws), t, score, generator=0)
    assert set(curve.mmse.statuses) == set(curve.a.statuses) == {"upper-bound"}
    assert set(curve.fi["denoising"].statuses) == {"lower-bound"}
    assert set(curve.fi.statuses) <= {"learned", "miscalibrated", "undetermined"}
    assert "ok" not in {*curve.fir.statuses, *curve.rate.statuses, *curve.excess_fi.statuses, *curve.b.statuses}
    assert (curve.mmse.value >= exact.mmse.value).all()
    assert (curve.fi["denoising"].value <= exact.fi.value).all()
    assert (curve.mmse.low == 0).all()  # what the score lacks is unknown, and the MMSE is not negative
    torch.testing.assert_close(curve.fi["denoising"].high, 2 / torch.tensor(t, dtype=D))
    assert curve.fi.message
    assert curve.fir.message


def test_the_exact_score_is_declared():
    law = separated()
    latents = law.sample(2000, torch.Generator().manual_seed(0))
    curve = information(latents, [1.0], law, generator=0)
    assert curve.fi.status == curve.mmse.status == curve.fir.status == curve.rate.status == "ok"
    known = FunctionScore(law.score, (2,), symmetric=True, exact=True)
    assert information(latents, [1.0], known, generator=0).fi.status == "ok"
    unknown = FunctionScore(law.score, (2,), symmetric=True)
    same = information(latents, [1.0], unknown, generator=0)
    assert same.fi.status == "learned"
    assert same.mmse.status == "upper-bound"
    torch.testing.assert_close(same.fi.high, curve.fi.high)
    torch.testing.assert_close(same.mmse.value, curve.mmse.high)  # a bound stands at the end of the same interval


def test_bounds_bound_where_the_score_is_nearly_right(eight):
    """A Gaussian fitted to a Gaussian: what is left of its error is far below sampling."""
    t = [0.1, 1.0]
    exact, missed = gaussian_information(eight.variances, t), 0
    for seed in range(100):
        draws = torch.Generator().manual_seed(seed)
        score = GaussianScore.fitted(eight.sample(4000, draws))
        curve = information(eight.sample(200, draws), t, score, generator=seed)
        missed += int((curve.mmse.value < exact.mmse.value).sum())
        missed += int((curve.fi["denoising"].value > exact.fi.value).sum())
    assert missed <= 0.05 * 400


def test_the_error_of_a_rate_is_twice_that_of_its_information(eight):
    """`s -> (1 + e) s`: `J` is off by `e J`, `F = E||H||²` by `2 e F`."""
    off = FunctionScore(lambda x, t: 1.1 * eight.score(x, t), (8,), symmetric=True)
    curve = information(eight.sample(4000, torch.Generator().manual_seed(0)), [1.0], off, generator=0)
    share = (curve.fi["score_error"].value / curve.fi_samples.mean()).item()
    assert share > 0.05
    assert (curve.fir["score_error"].value / curve.fir_samples.mean()).item() == pytest.approx(2 * share, rel=1e-6)


def test_the_error_of_a_score_is_known_to_about_itself(eight):
    """A contradiction of estimators can be chance, so that nought is inside."""
    off = FunctionScore(lambda x, t: 1.2 * eight.score(x, t), (8,), symmetric=True)
    error = information(eight.sample(2000, torch.Generator().manual_seed(0)), [1.0], off, generator=0).fi["score_error"]
    assert error.value.item() > 0
    assert error.low.item() < 0


def test_few_latents_say_little_of_a_rate():
    """Modes between which few latents lie hide what they add to `F`: few-samples up to 400, while `J` is ok from 20."""
    two = GaussianMixtureScore(torch.ones(2), torch.tensor([[-1.5], [1.5]]), torch.full((2, 1), 0.2), exact=True)
    draws = torch.Generator().manual_seed(0)
    for n, first, second in ((16, "few-samples", "few-samples"), (399, "ok", "few-samples"), (400, "ok", "ok")):
        curve = information(two.sample(n, draws), [4.0], two, generator=1)
        assert (curve.fi.status, curve.fir.status, curve.rate.status) == (first, second, second)
    assert "modes" in information(two.sample(50, draws), [4.0], two, generator=1).fir.message
