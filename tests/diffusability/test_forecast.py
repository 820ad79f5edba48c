"""Forecasts: closed form, invariances, orders and ties, what lies outside the calibration, bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import theodolite.diffusability.forecast.models as models
from theodolite.diffusability.forecast import (
    FORMULAS,
    Evidence,
    Forecasts,
    Formula,
    calibration,
    forecast_models,
    measured_inputs,
)
from theodolite.diffusability.predictors import Encoded
from theodolite.errors import InputError
from theodolite.estimates import Estimate, student_quantile
from theodolite.maps import Autoencoder

FIT = calibration()
CLOTHES = FIT.data_sets[0]
SCALE = math.exp(CLOTHES.log_factor)


def evidence(name="model", shape=(4, 8, 8), rfd_share=0.05, nu=150.0, lds=0.3, errors=0.0, status="ok"):
    values = {"rfd_share": rfd_share, "nu": nu, "lds": lds, "local_predictability": 0.7}
    inputs = {
        key: Estimate.of(torch.tensor([own], dtype=torch.float64), errors * own, n=30, statuses=status)
        for key, own in values.items()
    }
    return Evidence(name, shape, inputs)


def forecasts(*own, images=CLOTHES.kind, fit=FIT):
    return Forecasts(own, images, fit)


def by_hand(own, step, data=CLOTHES):
    a, b, c = FIT.coefficients[step].tolist()
    numbers = own.numbers
    return math.exp(data.log_factor) * numbers["rfd_share"] + math.exp(
        a + b * math.log(numbers["nu"]) + c * numbers["lds"]
    )


def test_the_level_is_the_sum_of_what_is_thrown_away_and_what_is_not_learned():
    own = evidence()
    level = forecasts(own).level(0)
    assert level.value.tolist() == pytest.approx([by_hand(own, step) for step in range(len(FIT.steps))], rel=1e-12)
    assert level.statuses == ("ok",) * len(FIT.steps)
    share = forecasts(own).thrown_share(0).value
    assert share.tolist() == pytest.approx((SCALE * 0.05 / level.value).tolist(), rel=1e-12)


def test_its_interval_is_that_of_shapes_that_were_left_out():
    fit = replace(FIT, without=FIT.coefficients.expand_as(FIT.without))
    exact = replace(CLOTHES, factor_std=0.0)
    level = forecasts(evidence(), fit=replace(fit, data_sets=(exact, *fit.data_sets[1:]))).level(0)
    low, high = level.interval()
    quantiles = torch.tensor([student_quantile(own) for own in fit.freedom.tolist()])
    reach = quantiles * fit.residual.diagonal().sqrt()
    assert torch.allclose((high / level.value).log(), reach)
    assert torch.allclose((level.value / low).log(), reach)


def test_errors_of_inputs_widen_it_to_first_order():
    fit = replace(FIT, residual=0 * FIT.residual, without=FIT.coefficients.expand_as(FIT.without))
    fit = replace(fit, data_sets=(replace(CLOTHES, factor_std=0.0), *fit.data_sets[1:]))
    level = forecasts(evidence(errors=0.01), fit=fit).level(0)
    steps = []
    for name in ("rfd_share", "nu", "lds"):
        moved = evidence()
        moved.inputs[name] = moved.inputs[name].scaled(1.0001)
        steps.append((forecasts(moved, fit=fit).log_share[0] - forecasts(evidence(), fit=fit).log_share[0]) * 100)
    expected = torch.stack(steps).square().sum(0).sqrt()
    assert torch.allclose(level.stderr / level.value, expected, rtol=1e-3)


def test_ratios_and_orders_are_antisymmetric_and_sure_where_models_differ():
    good, bad = evidence("good", rfd_share=0.02, nu=60.0), evidence("bad", rfd_share=0.3, nu=400.0)
    both = forecasts(bad, good)
    assert both.order == [1, 0]
    assert torch.allclose(both.ratio(0, 1).value * both.ratio(1, 0).value, torch.ones(3, dtype=torch.float64))
    assert torch.allclose(
        both.probability(0, 1).value + both.probability(1, 0).value, torch.ones(3, dtype=torch.float64)
    )
    assert float(both.probability(1, 0).value[-1]) > 0.99
    assert both.ratio(0, 0).value.tolist() == [1.0] * 3
    alike = forecasts(good, evidence("twin", rfd_share=0.02, nu=61.0))
    assert float(alike.probability(0, 1).value[-1]) < 0.6


def test_two_of_one_shape_are_told_apart_by_their_own_residuals():
    shapes = (4, 8, 8), (4, 8, 8), (8, 8, 8)
    three = forecasts(*(evidence(str(place), shape) for place, shape in enumerate(shapes)))
    low, high = three.ratio(0, 1).interval()
    assert float(high[-1] / low[-1]) < float(three.ratio(0, 2).high[-1] / three.ratio(0, 2).low[-1])


def test_the_order_of_models_changes_nothing():
    three = [evidence(str(nu), nu=nu, rfd_share=0.01 * place + 0.01) for place, nu in enumerate((90.0, 200.0, 60.0))]
    first, turned = forecasts(*three), forecasts(*three[::-1])
    assert torch.equal(first.log_share, turned.log_share.flip(0))
    assert torch.allclose(first.ratio(0, 2).value, turned.ratio(2, 0).value)
    assert [first.weakest(place) for place in range(3)] == [turned.weakest(place) for place in (2, 1, 0)]


def test_the_weakest_part_is_the_one_whose_change_helps_most():
    lossy, wide = evidence("lossy", rfd_share=0.4, nu=60.0), evidence("wide", rfd_share=0.02, nu=400.0)
    both = forecasts(lossy, wide)
    assert [both.weakest(0), both.weakest(1)] == ["thrown", "nu"]
    mended = forecasts(evidence(rfd_share=0.02, nu=60.0)).level(0).value
    for place, part in ((0, "thrown"), (1, "nu")):
        gain = both.better(part, place)
        assert torch.allclose(gain.value * both.level(place).value, mended)
        assert bool((gain.value < 1).all())
    assert forecasts(lossy).weakest(0) == ""


@pytest.mark.parametrize(
    ("own", "images", "what"),
    [
        (evidence(nu=900.0), CLOTHES.kind, "nu"),
        (evidence(shape=(4, 16, 16)), CLOTHES.kind, "entries"),
        (evidence(lds=0.9), CLOTHES.kind, "lds"),
        (evidence(rfd_share=0.9), CLOTHES.kind, "thrown"),
        (evidence(), replace(CLOTHES.kind, shape=(3, 64, 64)), "images"),
        (evidence(), replace(CLOTHES.kind, mean=0.4), "images"),
        (evidence(), replace(CLOTHES.kind, judged=True), "features"),
    ],
)
def test_outside_the_calibration_nothing_is_ok(own, images, what):
    made = forecasts(own, evidence("inside"), images=images)
    assert what in [item.what for item in made.outside[0]]
    for estimate in (made.level(0), made.ratio(0, 1), made.probability(0, 1)):
        assert set(estimate.statuses) == {"extrapolated"}
        assert "calibrated" in estimate.message


def test_a_network_that_was_not_calibrated_has_an_extrapolated_forecast():
    made = Forecasts([evidence()], CLOTHES.kind, FIT, "tokens")
    assert [item.what for item in made.outside[0]] == ["network"]
    level, known = made.level(0), forecasts(evidence()).level(0)
    assert set(level.statuses) == {"extrapolated"}
    assert "another network (tokens) than was calibrated (convolutional)" in level.message
    assert torch.equal(level.value, known.value)


def test_the_error_of_what_is_thrown_away_is_that_of_inputs_and_coefficients():
    still = replace(CLOTHES, factor_std=0.0)
    fixed = replace(FIT, without=FIT.coefficients.expand_as(FIT.without), data_sets=(still, *FIT.data_sets[1:]))
    shares = []
    for name in ("rfd_share", "nu", "lds"):
        moved = evidence()
        moved.inputs[name] = moved.inputs[name].scaled(1.0001)
        shares.append(forecasts(moved, fit=fixed).thrown_share(0).value)
    steps = (torch.stack(shares) - forecasts(evidence(), fit=fixed).thrown_share(0).value) * 1e4 * 0.05
    of_inputs = forecasts(evidence(errors=0.05), fit=fixed).thrown_share(0).stderr
    assert torch.allclose(of_inputs, steps.square().sum(0).sqrt(), rtol=1e-3)
    assert forecasts(evidence(), fit=fixed).thrown_share(0).stderr.tolist() == [0.0] * 3

    free = replace(FIT, data_sets=fixed.data_sets)
    left = [replace(free, coefficients=own) for own in FIT.without]
    refitted = torch.stack([forecasts(evidence(), fit=own).thrown_share(0).value for own in left])
    jackknife = ((len(left) - 1) / len(left) * (refitted - refitted.mean(0)).square().sum(0)).sqrt()
    assert torch.allclose(forecasts(evidence(), fit=free).thrown_share(0).stderr, jackknife)


def test_the_probability_of_an_order_has_the_interval_of_its_error():
    good, bad = evidence("good", nu=100.0), evidence("bad", shape=(8, 8, 8), nu=150.0)
    P, back = (forecasts(good, bad).probability(*pair) for pair in ((0, 1), (1, 0)))
    z = torch.special.ndtri(P.value)
    spread = torch.exp(1.96 / (2 * FIT.freedom).sqrt())
    assert torch.allclose(P.low, torch.special.ndtr(z / spread))
    assert torch.allclose(P.high, torch.special.ndtr(z * spread))
    assert torch.allclose(back.low, 1 - P.high)
    assert bool((P.stderr > 0).all())


def test_inside_nothing_is_outside():
    assert forecasts(evidence()).outside == [[]]


def test_other_images_make_intervals_wider_and_given_features_take_the_doubt_of_the_random_ones_away():
    photographs = replace(CLOTHES.kind, shape=(1, 64, 64))
    judged = replace(photographs, judged=True)
    widths = [
        float((made.high / made.low)[-1])
        for made in (forecasts(evidence(), images=kind).level(0) for kind in (CLOTHES.kind, judged, photographs))
    ]
    assert widths[0] < widths[2]
    assert widths[1] < widths[2]
    a, b, c = FIT.coefficients[-1].tolist()
    level = forecasts(evidence(), images=judged).level(0)
    assert float(level.value[-1]) == pytest.approx(0.05 + math.exp(a + b * math.log(150) + c * 0.3))


def test_intervals_grow_with_the_distance_from_the_designs():
    far = [float((own.high / own.low)[-1]) for own in (forecasts(evidence(nu=nu)).level(0) for nu in (150.0, 1e4, 1e6))]
    assert far == sorted(far)
    assert far[2] > 1.5 * far[0]


def test_a_model_without_an_input_has_no_forecast_and_a_reason():
    vector = evidence("vector", shape=(64,))
    vector.inputs["lds"] = Estimate.of(torch.tensor([math.nan]), math.nan, statuses="undetermined", message="no maps")
    both = forecasts(vector, evidence("whole"))
    assert both.order == [1, 0]
    for estimate in (both.level(0), both.ratio(0, 1), both.probability(0, 1), both.better("nu", 0)):
        assert set(estimate.statuses) == {"undetermined"}
        assert "no maps" in estimate.message
    assert both.level(1).status == "ok"


def test_inputs_that_rest_on_few_sources_are_said():
    assert forecasts(evidence(status="few-samples")).level(0).status == "few-samples"


@pytest.mark.parametrize("options", [{"network": "recurrent"}, {"formula": "rFD"}])
def test_what_was_not_calibrated_is_refused(options):
    with pytest.raises(InputError, match="calibrated expected"):
        calibration(**options)


def test_no_models_are_refused():
    with pytest.raises(InputError, match="one autoencoder or more"):
        forecast_models([], torch.zeros(4, 1, 8, 8))


def smooth(n=40, side=16, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.interpolate(
        torch.randn(n, 1, side // 4, side // 4, generator=g), size=side, mode="bilinear"
    )
    return (0.4 * x + 0.05 * torch.randn(n, 1, side, side, generator=g)).clamp(-1, 1)


def linear(name, encode, decode, channels=4):
    return Autoencoder(encode, decode, name=name, latent_shape=(channels, None, None), image_channels=1, downsampling=2)


def unshuffled(name="unshuffled", sign=1.0, order=(0, 1, 2, 3)):
    back = [order.index(place) for place in range(4)]
    return linear(
        name,
        lambda x: sign * torch.nn.functional.pixel_unshuffle(x, 2)[:, list(order)],
        lambda z: torch.nn.functional.pixel_shuffle(sign * z[:, back], 2),
    )


def test_a_signed_permutation_of_channels_changes_no_forecast():
    """LDS standardises channels and takes cosines, `nu` takes singular values: both are free of this isometry."""
    x = smooth()
    same = forecast_models([unshuffled(), unshuffled("other", -1.0, (2, 0, 3, 1))], x)
    assert torch.allclose(same.log_share[0], same.log_share[1], atol=1e-5)


def test_the_rank_of_a_whole_latent_is_that_of_a_crop_times_the_ratio_of_entries():
    x = smooth(n=20, side=32)
    encoded = Encoded(unshuffled(), x)
    assert encoded.dimension == 1024
    rank = measured_inputs(encoded)["nu"]
    assert abs(rank.item() - 1024) < 2 * float(rank.stderr)
    assert float(rank.stderr) >= 0.02 * 1024 * 0.99


def test_channels_of_zeros_change_no_rank():
    x = smooth(n=20)
    base, mask = unshuffled(), torch.tensor([1.0] * 4 + [0.0] * 4)[:, None, None]
    twice = lambda x: base.encode(x).repeat(1, 2, 1, 1) * mask  # noqa: E731
    empty = linear("empty", twice, lambda z: base.decode(z[:, :4]), channels=8)
    ranks = [measured_inputs(Encoded(model, x))["nu"].item() for model in (base, empty)]
    assert ranks == pytest.approx([256, 256], rel=1e-3)


def test_features_of_the_user_are_those_of_the_reconstruction():
    x = smooth()
    lossy = linear("lossy", unshuffled().encode, lambda z: 0.5 * unshuffled().decode(z))
    pixels = lambda images: torch.nn.functional.avg_pool2d(images, 4).flatten(1)  # noqa: E731
    own = models.evidence_of(lossy, x, features=pixels)
    # halving every feature leaves (1 - 1/2)² of the variance and of the squared mean as the distance
    f = pixels(x).double()
    expected = 0.25 * (1 + float(f.mean(0).square().sum() / f.T.cov().trace()))
    assert abs(own.inputs["rfd_share"].item() - expected) < 3 * float(own.inputs["rfd_share"].stderr) + 1e-3
    assert forecast_models([lossy], x, features=pixels).images.judged


def test_few_images_say_so_of_what_is_thrown_away():
    """In 128 features the distance of 24 images came out five times too large, with an interval far from the truth."""
    lossy = linear("lossy", unshuffled().encode, lambda z: unshuffled().decode(z.roll(1, -1)))
    x = smooth(n=1500)
    whole = models.evidence_of(lossy, x).inputs["rfd_share"]
    for n in (24, 60, 150, 300):
        own = models.evidence_of(lossy, x[:n]).inputs["rfd_share"]
        assert float(own.low) <= whole.item() <= float(own.high), n


def test_every_formula_is_calibrated():
    for name, formula in FORMULAS.items():
        assert isinstance(formula, Formula)
        assert calibration(formula=name).coefficients.shape == (len(FIT.steps), 1 + len(formula.inputs))
