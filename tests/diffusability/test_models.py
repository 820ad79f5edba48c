"""`rank_models`: the order of linear autoencoders is known, and bad input is one early error."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from theodolite.diffusability import models, rank_models
from theodolite.diffusability.quality import PENALTIES, reconstruction
from theodolite.diffusability.quantities import CURVES, QUANTITIES
from theodolite.diffusability.space import CURVES as MEASURED
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.bootstrap import student_cdf
from theodolite.maps import Autoencoder

sys.path.insert(0, str(Path(__file__).parent))
linear = importlib.import_module("linear")


def ranked(*names, **options):
    own = [getattr(linear, name)() for name in names]
    return rank_models(own, linear.images(), linear.sources(), **{"budget": "quick", **options})


@pytest.fixture(scope="module")
def four():
    return ranked("whitened", "pooled", "padded", "isometric")


def test_the_order_is_the_known_one(four):
    assert {model.name for model in four.models[:2]} == {"isometric", "padded"}
    assert [model.name for model in four.models[2:]] == ["pooled", "whitened"]
    assert all(float(gap.value) < 0.02 for gap in four.gaps[:2])
    assert four.ranks == ["1=", "1=", "3", "4"]
    P = four.probability
    assert 0.05 < P[0, 1] < 0.95
    assert (P[:2, 2:] > 0.95).all()
    torch.testing.assert_close(P + P.T, torch.ones_like(P))


def test_quality_and_penalties_of_linear_maps(four):
    by = {model.name: model for model in four.models}
    assert float(by["isometric"].quality["psnr"].value) > 60
    assert float(by["pooled"].quality["psnr"].value) < 45
    penalties = by["isometric"].penalties
    assert float(penalties["compression"].value) == 0
    assert float(penalties["distortion"].value) == pytest.approx(0, abs=1e-4)
    assert float(by["pooled"].penalties["compression"].value) == 48
    assert float(by["whitened"].penalties["distortion"].value) > 0.3
    assert float(by["whitened"].penalties["encoder_curvature"].value) == pytest.approx(0, abs=1e-3)


def test_a_ranking_is_rows_and_shows_gaps_and_shifts(four):
    rows = four.number_rows()
    assert [row["value"] for row in rows if row["quantity"] == "gap"] == [float(gap.value) for gap in four.gaps]
    assert {row["quantity"] for row in four.headline_rows()} == {"gap", "shift"}
    assert four.to_arrow().num_rows == len(rows) > 100
    assert "isometric" in four._repr_html_()
    assert repr(four).startswith("Ranking(")
    assert len(repr(four)) < 200


def test_networks_only_where_all_spaces_can_have_them():
    few = linear.images(4, 2)
    ranking = rank_models([linear.pooled()], few, linear.sources(4, 2), budget="standard")
    assert ranking.images.candidates == ranking.models[0].space.candidates == ("Gaussian", "Mixture", "Wiener")


def test_a_seed_gives_the_same_ranking(four):
    again = ranked("whitened", "pooled", "padded", "isometric")
    torch.testing.assert_close(again.probability, four.probability, rtol=0, atol=0)
    for first, second in zip(again.gaps, four.gaps):
        torch.testing.assert_close(first.value, second.value, rtol=0, atol=0)


def test_three_sources_are_said_to_be_few():
    few = rank_models([linear.pooled()], linear.images(3, 8), linear.sources(3, 8), budget="quick")
    many = rank_models([linear.pooled()], linear.images(24, 1), linear.sources(24, 1), budget="quick")
    assert "3 independent sources" in few.message
    assert many.message == ""
    assert float(few.gaps[0].stderr) > 2 * float(many.gaps[0].stderr)  # of the same number of images


def test_the_error_of_a_probability_is_that_of_other_resamples(four):
    """Over seeds of the bootstrap the probability spreads by what its error says."""
    order = four.order(2, 3)
    assert float(order.value) == float(four.probability[2, 3])
    assert float(four.order(3, 2).stderr) == pytest.approx(float(order.stderr))
    images, spaces = four.images, four.models[2:]
    drawn = []
    for seed in range(30):
        resamples = models.Resamples(len(images.groups), 1000, seed)
        drawn.append(float(type(four)(images, tuple(spaces), resamples).probability[0, 1]))
    spread = float(torch.tensor(drawn, dtype=torch.float64).std())
    assert 0.6 < spread / float(order.stderr) < 1.6
    assert isinstance(order, Estimate)
    assert student_cdf(0.0, 11) == 0.5


def test_models_that_differ_by_rounding_are_tied(four):
    order = four.order(0, 1)
    assert 0.4 < float(order.low) <= float(order.high) < 0.6


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (("pooled", "pooled"), {}, "twice"),
        (("broken",), {}, "finite"),
        ((), {}, "list of models"),
        (("pooled",), {"budget": "slow"}, "quick, standard, full"),
        (("pooled",), {"images": torch.zeros(1, 1, 8, 8), "groups": ["a"]}, "at least two images"),
        (("pooled",), {"images": torch.zeros(4, 1, 6, 6), "groups": list("abcd")}, "8x8"),
        (("pooled",), {"groups": ["only"] * 48}, "independent sources"),
        (("pooled",), {"groups": ["a", "b"]}, "one group an image"),
    ],
)
def test_bad_input_comes_before_long_work(monkeypatch, names, options, said):
    monkeypatch.setattr(models, "measured_space", lambda *_: pytest.fail("work began"))
    options = {"images": linear.images(), "groups": linear.sources(), "budget": "quick", **options}
    with pytest.raises(InputError, match=said):
        rank_models([getattr(linear, name)() for name in names], options.pop("images"), **options)


def test_every_number_has_words():
    assert {*PENALTIES, *MEASURED} <= {*QUANTITIES}
    assert {*MEASURED} <= {item.name for item in CURVES}
    assert len(set(MEASURED)) == len(MEASURED)


@pytest.mark.parametrize(("groups", "status"), [(2, "undetermined"), (3, "few-samples"), (20, "ok")])
def test_two_sources_tell_no_error_of_quality(groups, status):
    pair = Autoencoder(lambda x: x, lambda z: z, name="same", latent_shape=(1, 8, 8), image_channels=1)
    images = torch.rand(groups, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    quality = reconstruction(pair, images, images + 0.1, list(range(groups)))
    assert {estimate.status for estimate in quality.values()} == {status}


def test_the_interval_of_a_probability_is_one_of_probabilities(four):
    order = four.order(0, len(four.models) - 1)
    low, high = (end.item() for end in order.interval())
    assert 0 <= low <= order.value.item() <= high <= 1
    assert high > low
