"""P-values within strata keep their promise; masks find what differs, and nothing beyond their level."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.detection.memorisation import Probe
from theodolite.detection.memorisation.baselines import neighbours_among
from theodolite.detection.memorisation.judging import calibrated, headline, most_suspicious
from theodolite.detection.memorisation.where import (
    intersection_over_union,
    memorisation_map,
    memorisation_mask,
)
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.maps import Denoiser


def strata(n, generator):
    """Never-seen images of two strata, one of which scores far higher; half of each is judged."""
    values = torch.randn(4 * n, generator=generator, dtype=torch.float64)
    of = [index % 2 for index in range(4 * n)]
    values += 10 * torch.tensor(of)
    return values, torch.arange(4 * n) >= 2 * n, of


def test_the_promise_is_kept_in_every_stratum():
    generator, alarms = torch.Generator().manual_seed(0), []
    for _ in range(60):
        values, seen, of = strata(39, generator)
        found = calibrated(values, seen, of, range(len(of)), rate=0.05)
        flags = torch.stack([found.flagged[seen & (torch.tensor(of) == s)] for s in (0, 1)])
        alarms.append(flags.double().mean(1))
    rate = torch.stack(alarms).mean(0)
    error = torch.stack(alarms).std(0) / 60**0.5
    assert ((rate - 0.05).abs() < 4 * error).all(), "39 of a stratum: exactly one in twenty, in each"


def test_an_image_above_the_threshold_is_one_that_is_flagged():
    values, seen, of = strata(40, torch.Generator().manual_seed(1))
    values[-1] = 30.0
    found = calibrated(values, seen, of, range(len(of)), rate=0.1)
    above = torch.tensor([v > found.thresholds[s] for v, s in zip(values.tolist(), of)])
    assert found.flagged[seen].tolist() == above[seen].tolist()
    assert found.flagged[-1]
    assert found.least == {0: 1 / 41, 1: 1 / 41}


def test_crops_of_one_photograph_count_once():
    values = torch.tensor([0.0] * 10 + [5.0] * 30 + [6.0])
    groups = [*range(10), *["one photograph"] * 30, "new"]
    found = calibrated(values, torch.arange(41) == 40, ["a"] * 41, groups, rate=0.1)
    assert found.p[-1].item() == pytest.approx(1 / 12)
    assert found.p[10].item() == pytest.approx(1 / 11), "its own crops do not speak for it"


def test_a_training_image_is_not_judged_by_crops_of_its_own_photograph():
    values, groups = torch.tensor([0.0, 1.0, 9.0, 5.0]), ["a", "b", "c", "c"]
    found = calibrated(values, torch.arange(4) == 3, ["s"] * 4, groups, rate=0.4)
    assert found.p[3].item() == pytest.approx(1 / 3), "the two others lie below it"
    assert found.p[2].item() == pytest.approx(1 / 3)


def test_a_stratum_without_training_images_needs_no_never_seen_ones():
    values = torch.tensor([0.0, 1.0, 9.0, 5.0])
    found = calibrated(values, torch.tensor([False, False, True, False]), "aaab", range(4), rate=0.4)
    assert set(found.thresholds) == set(found.least) == {"a"}
    assert found.p.statuses == ("ok", "ok", "ok", "undetermined")


def test_errors_of_scores_leave_p_values_open_by_what_they_may_reorder():
    values, seen = torch.tensor([0.0, 1.0, 2.0, 3.0, 2.5], dtype=torch.float64), torch.arange(5) == 4
    sure = calibrated(Estimate.of(values), seen, "aaaaa", range(5))
    assert float(sure.p.low[4]) == float(sure.p.high[4]) == pytest.approx(2 / 5)
    # the reach of 95 % for all four at once: 2.5 standard errors of a difference, which is hypot(0.15, 0.15)
    unsure = calibrated(Estimate.of(values, 0.15), seen, "aaaaa", range(5))
    assert unsure.p.value[4].item() == pytest.approx(2 / 5)
    assert (unsure.p.low[4].item(), unsure.p.high[4].item()) == pytest.approx((1 / 5, 3 / 5))


def test_with_too_few_never_seen_images_nothing_is_flagged():
    found = calibrated(torch.tensor([0.0, 1.0, 9.0]), torch.tensor([False, False, True]), "aaa", range(3), rate=0.05)
    assert found.thresholds["a"] == torch.inf
    assert not found.flagged.any()


def test_a_score_that_is_no_number_is_never_flagged():
    values = torch.cat([torch.arange(30.0), torch.tensor([torch.nan])])
    found = calibrated(values, torch.arange(31) == 30, ["a"] * 31, range(31), rate=0.5)
    assert found.p.value[-1].isnan()
    assert not found.flagged[-1]


@pytest.mark.parametrize(("rate", "of", "word"), [(0.0, "aab", "rate of false alarms"), (0.1, "aab", "two or more")])
def test_what_cannot_be_calibrated_is_refused(rate, of, word):
    with pytest.raises(InputError, match=word):
        calibrated(torch.zeros(3), torch.tensor([False, False, True]), of, range(3), rate)


def test_equal_p_values_are_ordered_by_the_score_and_no_numbers_come_last():
    p, scores = [0.2, 0.1, math.nan, 0.1, 0.1], [9.0, 1.0, 99.0, 3.0, math.nan]
    assert most_suspicious(p, scores) == [3, 1, 4, 0, 2]


def test_the_headline_is_the_chosen_score_or_the_first_usual_one_at_its_lowest_level():
    names = ["contrast", "sharpness@0.1", "denoising_loss@0.1", "denoising_loss@0.4"]
    assert headline(names, "sharpness@0.1") == "sharpness@0.1"
    assert headline(names, "flipd@0.1") == headline(names) == "denoising_loss@0.1"
    assert headline(["contrast"]) == "contrast"


def test_the_nearest_training_image_is_never_the_point_itself_nor_a_never_seen_one():
    points, seen = torch.tensor([[0.0], [1.0], [1.5], [4.0]]), torch.tensor([True, False, True, True])
    rows, distances = neighbours_among(points, seen)
    assert rows.tolist() == [2, 2, 0, 2]
    assert distances.tolist() == [1.5, 0.5, 1.5, 2.5]


def maps(known=None, n=6):
    """Maps of a denoiser that knows some cells: it gives them back whatever the noise."""

    def denoise(x, sigma, condition=None):
        free = x / (1 + sigma**2)
        return free if condition is None else torch.where(known, torch.zeros_like(x), free)

    probe = Probe(Denoiser(denoise, shape=(1, 8, 8)), torch.randn(n, 1, 8, 8), 1.0, None if known is None else 1)
    return probe


def region():
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[2:6, 3:7] = True
    return known


def test_contraction_is_one_where_a_cell_is_known_and_a_half_of_a_standard_normal_one():
    estimate = memorisation_map(maps(region()))
    assert estimate.value[0][region()].tolist() == pytest.approx([1.0] * 16)
    assert estimate.value[0][~region()].tolist() == pytest.approx([0.5] * 48)
    beside = memorisation_map(maps(region()), "class")
    assert beside.value[0][region()].tolist() == pytest.approx([0.5] * 16)
    assert beside.value[0][~region()].tolist() == pytest.approx([0.0] * 48)
    assert beside.passes == 2 * estimate.passes


def test_the_mask_of_a_known_region_is_the_region_but_for_its_border():
    noise = 0.01 * torch.randn(46, 8, 8, generator=torch.Generator().manual_seed(0))
    values, usual = memorisation_map(maps(region())).value + noise[:6], 0.5 + noise[6:]
    overlap = intersection_over_union(memorisation_mask(values, usual), region().expand(6, 8, 8))
    assert overlap.min() > 0.4, "smoothing by 3x3 cells widens it by one cell on each side: 16 of 36 cells"
    assert bool((memorisation_mask(values, usual) >= region()).all())


def test_of_a_new_image_of_the_kind_one_cell_in_twenty_is_marked():
    noise = torch.randn(300, 12, 12, generator=torch.Generator().manual_seed(0))
    share = memorisation_mask(noise[:200], noise[200:]).double().mean((1, 2))
    assert abs(share.mean() - 0.05) < 4 * share.std() / 200**0.5 + 0.01


def test_overlap_of_masks():
    a, b = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    a[0, :2], b[0, 1:3] = True, True
    assert intersection_over_union(a, b).tolist() == pytest.approx([1 / 3, 1.0])


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: memorisation_map(maps(), "time"), "one of noise, class"),
        (lambda: memorisation_mask(torch.zeros(1, 4, 4), torch.zeros(5, 4, 4)), "reference maps"),
        (lambda: memorisation_mask(torch.zeros(1, 4, 4), torch.zeros(50, 4, 5)), "reference maps"),
        (lambda: memorisation_mask(torch.zeros(1, 4, 4), torch.zeros(50, 4, 4), 1.0), "between 0 and 1"),
    ],
)
def test_maps_that_cannot_be_made_are_refused(call, word):
    with pytest.raises(InputError, match=word):
        call()


def test_points_without_height_and_width_have_no_map():
    flat = Probe(Denoiser(lambda x, sigma: x / 2, shape=(9,)), torch.zeros(2, 9), 1.0)
    with pytest.raises(InputError, match="channels, height, width"):
        memorisation_map(flat)
