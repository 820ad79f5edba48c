"""Scores of memorisation against closed forms, dense Jacobians and their own promises."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from theodolite.detection import evaluate
from theodolite.detection.memorisation import Known, Probe, chosen_scores, memorisation_scores
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeds
from theodolite.maps import Denoiser
from theodolite.zoo.fashion import CLASSES, fashion_images, load_fashion

SHAPE = (1, 4, 4)
VARIANCES = torch.linspace(0.05, 2.0, 16, dtype=torch.float64).reshape(SHAPE)


def images(n=3, seed=0):
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(x, sigma, condition=None):
    """The denoiser of N(0, v), and under a condition of N(c, v / 4)."""
    if condition is None:
        return x * VARIANCES / (VARIANCES + sigma**2)
    v = VARIANCES / 4
    return condition + (x - condition) * v / (v + sigma**2)


def probe(model=gaussian, x=None, sigma=0.5, condition=None, **options):
    x = images() if x is None else x
    return Probe(Denoiser(model, shape=tuple(x.shape[1:])), x, sigma, condition, **options)


def value(name, own):
    return memorisation_scores()[name].function(own).value


def local_dimension(v, t):
    return float((v / (v + t)).sum())


def test_sharpness_of_a_gaussian_is_the_dimension_that_noise_hides():
    estimate = memorisation_scores()["sharpness"].function(probe())
    assert estimate.value.tolist() == pytest.approx([16 - local_dimension(VARIANCES, 0.25)] * 3)
    assert estimate.stderr.max() < 1e-9, "the Jacobian is diagonal: signs cancel"
    assert estimate.passes == 4 * (1 + probe().colours)


def test_flipd_of_a_gaussian_is_its_closed_form():
    own, t = probe(), 0.25
    distance = (own.images * t / (VARIANCES + t)).square().flatten(1).sum(1) / t
    wanted = -(local_dimension(VARIANCES, t) + distance)
    assert value("flipd", own).tolist() == pytest.approx(wanted.tolist())


def test_an_exact_diagonal_is_made_once_and_a_noisy_one_in_every_draw():
    """A mixing Jacobian: with a tangent an entry the diagonal is exact, with few it differs from draw to draw."""
    mixing = torch.randn(16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def mixed(x, sigma, condition=None):
        scale = 1.0 if condition is None else condition
        return scale * (x.flatten(1) @ mixing.T).reshape(x.shape)

    exact, noisy = (probe(mixed, condition=3.0, colours=colours) for colours in (16, 2))
    trace = 3 * float(mixing.trace())
    assert exact.rounds_clean == 1
    assert exact.diagonal_clean.shape == noisy.diagonal_clean.shape == (4, 3, *SHAPE)
    torch.testing.assert_close(exact.diagonal_clean.flatten(2).sum(-1), torch.full((4, 3), trace, dtype=torch.float64))
    assert memorisation_scores()["flipd"].function(exact).passes == 17
    assert noisy.rounds_clean == 4
    assert noisy.diagonal_clean.flatten(2).sum(-1).std(0).min() > 0.1
    torch.testing.assert_close(exact.denoised, 3 * exact.denoised_bare)


def test_flipd_tells_the_dimension_of_a_plane_at_little_noise():
    flat = torch.zeros(SHAPE, dtype=torch.float64)
    flat[0, :2] = 1
    own = probe(lambda x, sigma: x * flat / (flat + sigma**2), images() * flat, sigma=0.01)
    assert value("flipd", own).tolist() == pytest.approx([-8] * 3, abs=0.01)


def test_the_loss_is_one_sample_of_the_local_dimension():
    own = probe(x=images(400) * VARIANCES.sqrt(), draws=2)
    losses = -value("denoising_loss", own)
    assert abs(losses.mean() - local_dimension(VARIANCES, 0.25)) < 4 * losses.std() / 20


def test_what_the_condition_changes_has_closed_forms():
    own, t, c = probe(condition=1.0), 0.25, 1.0
    narrow = VARIANCES / 4
    dimensions = local_dimension(VARIANCES, t) - local_dimension(narrow, t)
    assert value("sharpness_contrast", own).tolist() == pytest.approx([dimensions] * 3)
    under, bare = gaussian(own.noisy, 0.5, c), gaussian(own.noisy, 0.5)
    wanted = ((under - bare).flatten(2).norm(dim=-1) / 0.5).mean(0)
    assert value("score_difference", own).tolist() == pytest.approx(wanted.tolist())
    slope = narrow / (narrow + t) - VARIANCES / (VARIANCES + t)
    product = ((slope * (under - bare)).flatten(2).norm(dim=-1) / 0.5).mean(0)
    assert value("curvature_product", own).tolist() == pytest.approx(product.tolist())
    losses = [(own.images - made).square().flatten(2).sum(-1) / t for made in (bare, under)]
    assert value("loss_contrast", own).tolist() == pytest.approx((losses[0] - losses[1]).mean(0).tolist())


def test_the_way_back_to_a_single_image_is_straight_and_ends_there():
    target = images(1, seed=5)
    own = probe(lambda x, sigma: target.expand_as(x), x=target.clone())
    assert value("path_curvature", own).tolist() == pytest.approx([0], abs=1e-12)
    assert value("return_distance", own).tolist() == pytest.approx([0], abs=1e-12)
    other = probe(lambda x, sigma: target.expand_as(x), x=images(1))
    assert value("return_distance", other).item() == pytest.approx(-(target - images(1)).square().mean().sqrt().item())


def test_a_way_that_bends_is_longer_than_its_chord():
    assert (value("path_curvature", probe()) < -1e-4).all()


def test_the_spectrum_of_the_denoised_point():
    own, slopes = probe(), VARIANCES / (VARIANCES + 0.25)
    assert value("minus_psi", own).tolist() == pytest.approx([-float(slopes.log().sum())] * 3)
    assert value("minus_gain", own).tolist() == pytest.approx([-float(slopes.norm())] * 3)
    assert value("flattest_direction", own).tolist() == pytest.approx([-float(slopes.max())] * 3)
    shares = slopes / slopes.sum()
    assert value("minus_nu", own).tolist() == pytest.approx([-math.exp(-float((shares * shares.log()).sum()))] * 3)


def test_less_a_lower_bound_is_an_upper_bound():
    known = Estimate.of(torch.tensor([0.9]), 0.1, statuses="lower-bound", ends=(0.8, 1.1))
    own = SimpleNamespace(once=lambda make: {"leading_singular_value": known})
    less = memorisation_scores()["flattest_direction"].function(own)
    assert less.statuses == ("upper-bound",)
    assert (less.low.item(), less.high.item()) == pytest.approx((-1.1, -0.9))


def dense(seed=0, d=36):
    return torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / d**0.5


def linear(W):
    return lambda x, sigma: (x.flatten(1) @ W.T).reshape(x.shape)


@pytest.mark.parametrize("shape", [(1, 6, 6), (4, 3, 3), (36,)])
def test_the_diagonal_is_exact_in_expectation_with_an_error_that_holds(shape):
    W = dense()
    own = probe(linear(W), torch.zeros(40, *shape, dtype=torch.float64), draws=10, colours=9)
    mean, stderr = own.diagonal.mean(0).flatten(1), own.diagonal.std(0).flatten(1) / 10**0.5
    z = (mean - W.diagonal()) / stderr
    assert z.mean().abs() < 4 / z.numel() ** 0.5 * 1.2
    assert 0.9 < z.square().mean().sqrt() < 1.4  # Student's with nine degrees of freedom: 1.13


def test_with_a_colour_for_each_cell_the_diagonal_is_that_of_the_dense_jacobian():
    W = dense()
    own = probe(linear(W), torch.zeros(2, 1, 6, 6, dtype=torch.float64), colours=36)
    assert own.diagonal.flatten(2).flatten(0, 1).tolist() == [pytest.approx(W.diagonal().tolist())] * 8


def test_numbers_of_an_image_do_not_depend_on_the_others():
    seeds = [3, 14, 15]
    together = probe(condition=1.0, seeds=Seeds(seeds, 3))
    alone = [probe(x=images()[k : k + 1], condition=1.0, seeds=Seeds([seeds[k]], 1)) for k in range(3)]
    for name in ("flipd", "sharpness", "curvature_product", "return_distance", "minus_psi"):
        assert value(name, together).tolist() == pytest.approx([value(name, own).item() for own in alone]), name


def test_the_nearest_training_image_is_another_one():
    x = images(4)
    x[3] = x[0] + 0.25
    known = Known(x, torch.tensor([0, 1, 2, -1]), lambda points: points.flatten(1)[:, :1])
    near = value("nearest_training", probe(x=x, known=known))
    assert near[0].item() == pytest.approx(1.0)
    assert near[3].item() == pytest.approx(0.0), "what is no training image may meet itself"
    assert value("nearest_features", probe(x=x, known=known))[0].item() == pytest.approx(0.25)
    assert value("contrast", probe(x=x)).tolist() == pytest.approx((-x.flatten(1).var(1)).tolist())


def test_a_single_draw_tells_no_error():
    estimate = memorisation_scores()["denoising_loss"].function(probe(draws=1))
    assert estimate.status == "undetermined"


def test_scores_within_the_budget_are_measured_by_default():
    within = chosen_scores(None, conditional=True, known=True)
    assert "minus_psi" not in within
    assert {"flipd", "denoising_loss", "score_difference", "nearest_training"} <= set(within)
    assert not {"score_difference", "nearest_training"} & set(chosen_scores(None, conditional=False, known=False))
    assert chosen_scores(["minus_psi", "flipd"], conditional=False, known=False) == ["flipd", "minus_psi"]


@pytest.mark.parametrize(
    ("names", "word"), [(["nothing"], "a score of memorisation"), (["loss_contrast"], "a condition of each image")]
)
def test_scores_that_cannot_be_had_are_refused(names, word):
    with pytest.raises(InputError, match=word):
        chosen_scores(names, conditional=False, known=True)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"x": torch.zeros(0, *SHAPE)}, "one or more images"),
        ({"draws": 0}, "one or more images"),
        ({"x": torch.zeros(2, 1, 4, 4), "sigma": -1.0}, "noise level"),
    ],
)
def test_probes_that_cannot_be_made_are_refused(options, word):
    with pytest.raises(InputError, match=word):
        probe(**options)


def test_an_image_of_another_shape_is_refused():
    with pytest.raises(InputError, match="images of shape"):
        Probe(Denoiser(gaussian, shape=SHAPE), torch.zeros(1, 1, 5, 5), 0.5)


def test_images_seen_often_are_told_from_those_seen_once():
    """The model of the zoo that memorised: what was seen a hundred times is known by heart."""
    known, model = fashion_images(), load_fashion("zoo:fashion-duplicated")
    scores, labels = {"flipd": [], "denoising_loss": []}, []
    for label in list(CLASSES)[:3]:
        once = ((known.labels == label) & (known.copies == 1)).nonzero()[:12, 0]
        often = ((known.labels == label) & (known.copies == 100)).nonzero()[:, 0]
        own = Probe(model, known.images[torch.cat([once, often])], 0.1, label, draws=2)
        for name, values in scores.items():
            values += value(name, own).tolist()
        labels += [0] * len(once) + [1] * len(often)
    table = evaluate(scores, labels, resamples=50)
    assert table["flipd"]["auroc"] > 0.95
    assert table["denoising_loss"]["auroc"] > 0.95


def test_intervals_of_four_draws_hold_the_truth():
    """Of the loss, whose mean over noises has a closed form, and of the trace of a dense Jacobian."""
    x, t, slope = images(600), 0.25, VARIANCES / (VARIANCES + 0.25)
    loss = memorisation_scores()["denoising_loss"].function(probe(x=x))
    truth = -(((1 - slope) * x).square() + slope.square() * t).flatten(1).sum(1) / t
    W = dense()
    sharp = memorisation_scores()["sharpness"].function(
        probe(linear(W), torch.zeros(600, 1, 6, 6, dtype=torch.float64))
    )
    for estimate, exact in ((loss, truth), (sharp, 36 - W.trace())):
        held = ((estimate.value - exact).abs() <= 1.96 * estimate.stderr).double().mean().item()
        assert 0.92 < held < 0.98, held
