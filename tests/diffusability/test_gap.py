"""The scalar against its closed form, its invariances, and the honesty of its interval."""

from __future__ import annotations

import re

import pytest
import torch

from theodolite.diffusability import Space, diffusability
from theodolite.diffusability.cross_fitting import EFFORTS, folds_of
from theodolite.diffusability.gap import contrasted, gap, tells_more
from theodolite.diffusability.measured import checked_groups, measured_space, noise_grid
from theodolite.errors import InputError
from theodolite.estimates import Resamples
from theodolite.scores import WienerScore

QUICK = EFFORTS["quick"]


def cloud(variances, n, seed=0, groups=None):
    """A centred Gaussian cloud; with `groups`, each group is louder or softer as a whole."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, len(variances), generator=g, dtype=torch.float64) * torch.tensor(variances).double().sqrt()
    if groups is None:
        return x.float()
    loud = torch.exp(0.4 * torch.randn(groups, generator=g, dtype=torch.float64))
    return (x * loud.repeat_interleave(n // groups)[:, None]).float()


def labels(n, groups):
    return [f"{place * groups // n:03d}" for place in range(n)]


def hidden(variances, tau):
    """`MMSE / V` of a Gaussian in closed form."""
    s = torch.tensor(variances).double()
    t = tau[:, None] * s.sum()
    return (s * t / (s + t)).sum(-1) / s.sum()


def closed_form(latents, images, tau):
    rises = [torch.cat([torch.zeros(1), hidden(s, tau), torch.ones(1)]).diff() for s in (latents, images)]
    return float((rises[0] - rises[1]).abs().sum() / 2)


def spaces(*clouds, groups=20):
    names, index = checked_groups(labels(len(clouds[0]), groups))
    tau = noise_grid(*(one.shape[1] for one in clouds))
    return [measured_space("space", one, names, index, tau, QUICK, 0) for one in clouds]


def test_gaussian_clouds_give_the_closed_form():
    images, latents = (4.0, 1.0, 0.25, 0.05), (1.0, 1.0, 1.0)
    tau = noise_grid(4)
    truth = closed_form(latents, images, tau)
    found = diffusability(cloud(latents, 1600), cloud(images, 1600, 1), labels(1600, 40), budget="quick")
    assert abs(float(found.value) - truth) < 3 * float(found.stderr) + 0.003
    assert float(found.stderr) < 0.02
    fine = torch.logspace(-7, 6, 6000, dtype=torch.float64)
    assert closed_form(latents, images, fine) == pytest.approx(truth, abs=0.004)  # steps of noise lose little


def test_curves_of_a_gaussian_are_the_exact_ones():
    s = (2.0, 1.5, 1.0, 1.0, 0.5, 0.5, 0.1, 0.1)
    (space,) = spaces(cloud(s, 3000))
    curve, t = space.curve(Resamples(20, 2, 0).weights[:1]), space.t
    v = torch.tensor(s).double() * len(s) / sum(s)
    P = 1 / (v + t[:, None])
    inside = (t > 0.02) & (t < 20)
    for name, exact, tolerance in (
        ("mmse", (v * t[:, None] * P).sum(-1), 0.02),
        ("r", (v * P).square().mean(-1), 0.015),
        ("a", (v * P).mean(-1), 0.015),
        ("b", (t[:, None] * P).square().mean(-1), 0.025),
    ):
        scale = exact if name == "mmse" else torch.ones_like(exact)
        assert ((curve[name][0] - exact).abs() / scale)[inside].max() < tolerance, name


@pytest.mark.parametrize("scale", [1e-3, 7.0])
def test_scale_leaves_the_scalar(scale):
    x, z = cloud((3.0, 1.0, 0.1), 400), cloud((1.0, 1.0), 400, 1)
    one, other = (diffusability(factor * z, x, labels(400, 20), budget="quick") for factor in (1.0, scale))
    torch.testing.assert_close(one.value, other.value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.stderr, other.stderr, rtol=1e-3, atol=1e-6)


def test_an_isometric_embedding_has_no_gap():
    z = cloud((3.0, 1.0, 0.1), 1200)
    Q = torch.linalg.qr(torch.randn(12, 3, generator=torch.Generator().manual_seed(3))).Q
    found = diffusability(z, z @ Q.T + 5, labels(1200, 30), budget="quick")
    assert float(found.value) < 2e-3
    assert float(found["shift"].value.abs()) < 2e-3
    corrected, raw = found["fi_deviation"].value, found["fi_deviation_raw"].value
    assert corrected.max() < 0.02  # rounding of the mean of many small losses
    assert raw.max() > 0.5


def test_linear_encoders_are_ordered_as_known():
    images = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25)
    x = cloud(images, 1000)
    rotated, cut, white = x.flip(1), x[:, :3], x / torch.tensor(images).sqrt()
    pixels, *latents = spaces(x, rotated, cut, white)
    weights = Resamples(20, 2, 0).weights[:1]
    found = [float(gap(one, pixels, weights)) for one in latents]
    tau = pixels.tau
    truth = [closed_form(s, images, tau) for s in (images, images[:3], (1.0,) * 6)]
    assert found[0] < found[1] < found[2]
    assert found == pytest.approx(truth, abs=0.02)


def test_padding_with_noise_is_a_gap_and_with_zeros_is_none():
    x = cloud((4.0, 2.0, 1.0), 1000)
    zeros, noise = torch.zeros(1000, 5), cloud((0.3,) * 5, 1000, 2)
    pixels, padded, noisy = spaces(x, torch.cat([x, zeros], 1), torch.cat([x, noise], 1))
    weights = Resamples(20, 2, 0).weights[:1]
    assert float(gap(padded, pixels, weights)) < 0.01
    assert float(gap(noisy, pixels, weights)) == pytest.approx(
        closed_form((4.0, 2.0, 1.0) + (0.3,) * 5, (4.0, 2.0, 1.0), pixels.tau), abs=0.02
    )


def test_a_group_counts_once_however_many_crops_it_has():
    x = cloud((3.0, 1.0), 60, 5)
    names = ["a"] * 30 + ["b"] * 20 + ["c"] * 10
    (space,) = spaces_of(x, names)
    assert space.counts == (30, 20, 10)
    assert float(space.spread.mean()) == pytest.approx(2.0, rel=1e-5)  # the dimension


def spaces_of(x, names):
    groups, index = checked_groups(names)
    return [measured_space("space", x, groups, index, noise_grid(x.shape[1]), QUICK, 0)]


def test_folds_keep_groups_together_and_are_balanced():
    groups = [0] * 16 + [1] * 6 + [2] * 15 + [3] * 12 + [4] * 15 + [5] * 15
    fold = folds_of(groups, 3)
    loads = [sum(fold[group] == index for group in groups) for index in range(3)]
    assert len(set(fold)) == 3
    assert max(loads) - min(loads) <= 9
    assert len(set(folds_of([0, 1], 5))) == 2


def test_networks_never_see_what_they_are_asked(monkeypatch):
    from theodolite.diffusability import cross_fitting

    seen = []
    fit = cross_fitting.NetworkScore.fit.__func__

    def spied(cls, latents, **options):
        seen.append((latents, options["held_out"]))
        return fit(cls, latents, **{**options, "steps": 2})

    monkeypatch.setattr(cross_fitting.NetworkScore, "fit", classmethod(spied))
    x = cloud((3.0, 1.0), 120, 5)
    index = [place // 20 for place in range(120)]
    found = cross_fitting.cross_fitted(x, index, torch.tensor([0.1, 1.0, 1e3]), EFFORTS["standard"], 0)
    assert found.candidates == ("NetworkScore",)
    assert torch.isinf(found.loss[0, 2]).all()  # beyond the range it was trained at
    fold = cross_fitting.folds_of(index, EFFORTS["standard"].folds)
    for part, (learnt, judges) in enumerate(seen):
        asked = {tuple(row) for row, group in zip(x.tolist(), index) if fold[group] == part}
        learnt, judges = ({tuple(row) for row in some.tolist()} for some in (learnt, judges))
        assert learnt
        assert judges
        assert not asked & learnt
        assert not asked & judges
        assert not judges & learnt
        owners = [{index[x.tolist().index(list(row))] for row in some} for some in (learnt, judges)]
        assert not owners[0] & owners[1]  # judges come from groups of their own


def test_the_wiener_filter_is_the_gaussian_where_its_axes_are_right():
    x = cloud((3.0, 0.5), 5000)
    score, t = WienerScore(x), 0.7
    truth = -x[:5] / (torch.tensor([3.0, 0.5]) + t)
    torch.testing.assert_close(score.score(x[:5], t), truth, rtol=0.1, atol=0.1)
    noise = torch.randn(20000, 2, generator=torch.Generator().manual_seed(1))
    drawn = (score.denoise(x[:1] + t**0.5 * noise, t) - x[:1]).square().sum(-1).mean()
    assert float(score.expected_loss(x[:1], torch.tensor([t]))) == pytest.approx(float(drawn), rel=0.03)
    v = torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(score.jvp(x[:1], t, v), score.score(x[:1] + v, t) - score.score(x[:1], t))


@pytest.mark.parametrize(
    ("latents", "images", "groups", "said"),
    [
        (torch.randn(1, 3), torch.randn(1, 3), None, "at least two"),
        (torch.randn(6, 3), torch.randn(5, 3), None, "one latent an image"),
        (torch.full((6, 3), torch.nan), torch.randn(6, 3), None, "finite"),
        (torch.ones(6, 3), torch.randn(6, 3), None, "vary"),
        (torch.randn(6, 3), torch.randn(6, 3), ["cat"] * 6, "independent sources"),
        (torch.randn(6, 3), torch.randn(6, 3), ["cat", "dog"], "one group a sample"),
    ],
)
def test_bad_input_is_one_error(latents, images, groups, said):
    with pytest.raises(InputError, match=said):
        diffusability(latents, images, groups, budget="quick")


def test_an_unknown_budget():
    with pytest.raises(InputError, match="quick, standard, full"):
        diffusability(torch.randn(4, 2), torch.randn(4, 2), budget="fast")


def made_up(variances, energy, tau):
    """A space of groups with component energies `(G, m)`, each denoised by the best filter of the mean `variances`."""
    s = torch.tensor(variances).double() * len(variances) / sum(variances)
    t = tau[:, None] * len(variances)
    loss = (t / (s + t)).square() @ (s * energy).T + (t * (s / (s + t)).square()).sum(-1, keepdim=True)
    G, rate = len(energy), torch.full((1, len(tau), len(energy)), torch.nan)
    names = tuple(str(group) for group in range(G))
    return Space(
        "made up",
        (len(variances),),
        1.0,
        names,
        (1,) * G,
        tau,
        ("Gaussian",),
        loss[None],
        rate,
        rate,
        (s * energy).sum(-1),
    )


@pytest.mark.parametrize("groups", [3, 6, 24])
def test_errors_over_groups_are_honest(groups):
    """Groups are louder or softer in each component; the truth is that of their mean, variance and all."""
    images, latents = (4.0, 1.0, 0.25, 0.05), (1.0, 1.0, 1.0)
    tau = noise_grid(4)
    truth = closed_form(latents, images, tau)
    scores, covered = [], 0
    for seed in range(200):
        g = torch.Generator().manual_seed(seed)
        own = [torch.empty(groups, n, dtype=torch.float64).exponential_(generator=g) for n in (3, 4)]
        resamples = Resamples(groups, 200, seed)
        z, x = (made_up(s, (1 + e) / 2, tau) for s, e in zip((latents, images), own))
        replicates = gap(z, x, resamples.weights)
        found = resamples.estimate(replicates)
        scores.append(float((found.value - truth) / found.stderr))
        low, high = found.interval()
        covered += bool(low <= truth <= high)
    z = torch.tensor(scores)
    assert abs(float(z.mean())) < 0.3
    assert 0.7 < float(z.std()) < 1.3
    assert covered / 200 > 0.9


def test_what_more_samples_would_change_is_counted_once():
    """Twelve clouds of forty sources: intervals hold the truth, and are 0.15 wide (with the skew too 0.23)."""
    images, latents, held, widths = (4.0, 2.0, 1.0, 0.5, 0.3, 0.1), (4.0, 2.0, 1.0), 0, []
    for seed in range(12):
        x = cloud(images, 40, seed)
        found = diffusability(x[:, :3], x, budget="quick", seed=seed)
        truth = closed_form(latents, images, noise_grid(3, 6))
        held += bool(found.low <= truth <= found.high)
        widths.append(float(found.high - found.low))
    assert held >= 10
    assert sum(widths) / 12 < 0.18


def test_a_skewed_statistic_keeps_its_skew_where_nothing_tells_of_more_samples():
    g = torch.Generator().manual_seed(0)
    own = [torch.empty(12, n, dtype=torch.float64).exponential_(generator=g) for n in (3, 4)]
    tau, resamples = noise_grid(4), Resamples(12, 200, 0)
    z, x = (made_up(s, (1 + e) / 2, tau) for s, e in zip(((1.0, 1.0, 1.0), (4.0, 1.0, 0.25, 0.05)), own))
    found, plain = (
        contrasted(z, z, x, resamples)["gap"][0],
        resamples.estimate(gap(z, x, resamples.weights), skewed=False),
    )
    assert not tells_more(z, x)
    assert found.high > plain.high


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sources", [2, 4, 5, 20])
def test_too_few_sources_give_no_number(sources: int, seed: int):
    """A number in [0, 1] whose interval is that range is none, and two sources say nothing of their spread."""
    images = cloud((4.0, 2.0, 1.0, 0.5), 40, seed, groups=sources)
    found = diffusability(images[:, :2].pow(3), images, labels(40, sources), budget="quick")
    wide = float((found.high - found.low).clamp_min(3.92 * found.stderr)) >= 1
    assert (found.status == "undetermined") == (sources == 2 or wide)
    if found.status == "undetermined":
        needed = int(re.search(r"at least (\d+) are needed", found.message).group(1))
        assert needed >= max(10, sources + 1)
    assert found.interval()[1] - found.interval()[0] < 1 or found.status == "undetermined"


def test_more_noise_hides_no_less():
    """Of losses 0.01, 0.09, 0.05 at growing noise the second is no bound: what more noise hides is less already."""
    tau = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    loss, nothing = (
        torch.tensor([0.01, 0.09, 0.05], dtype=torch.float64)[None, :, None],
        torch.full((1, 3, 1), torch.nan),
    )
    spread = torch.ones(1, dtype=torch.float64)
    space = Space("one", (1,), 1.0, ("a",), (1,), tau, ("Gaussian",), loss, nothing, nothing, spread)
    hidden = space.unresolved(torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(hidden, torch.tensor([[0.01, 0.05, 0.05]], dtype=torch.float64))


def test_what_rests_on_fitted_denoisers_says_so():
    x = cloud([1.0, 0.5, 0.2], 60)
    whole = diffusability(x[:, :2], x, labels(60, 20), budget="quick")
    assert whole.status == "learned"
    bounds = {name: whole[name].status for name in ("least", "most")}
    assert bounds == {"least": "lower-bound", "most": "upper-bound"}
    assert {part.status for name, part in whole.parts.items() if name not in bounds} <= {"learned", "undetermined"}
