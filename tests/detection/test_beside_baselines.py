"""Scores beside baselines: pairs counted one by one, what nothing may change, and claims that chance makes."""

from __future__ import annotations

import itertools

import pytest
import torch

from theodolite.detection.beside_baselines import beside_baselines, within_classes
from theodolite.errors import InputError
from theodolite.estimates import Estimate

BAD = [True] * 8 + [False] * 32
CLASSES = [n % 4 for n in range(40)]


def drawn(seed, shift=0.0):
    """Standard normal scores, those of bad samples moved."""
    noise = torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Estimate.of(noise + shift * torch.tensor(BAD))


def counted(score, bad, classes):
    """The share of pairs of one class in which the bad one is higher."""
    pairs = [
        (a > b) + 0.5 * (a == b)
        for (a, x, c), (b, y, d) in itertools.product(zip(score, bad, classes), repeat=2)
        if x and not y and c == d
    ]
    return sum(pairs) / len(pairs)


class TestWithinClasses:
    def test_it_is_the_share_of_pairs_of_one_class(self):
        score = drawn(0).value.mul(2).round()  # with ties
        found = within_classes(score, BAD, CLASSES, resamples=50)
        assert found.item() == pytest.approx(counted(score.tolist(), BAD, CLASSES), abs=1e-12)

    def test_what_a_class_has_in_common_changes_nothing(self):
        score = drawn(1, 0.5).value
        moved = score + torch.tensor([[0.0, 50.0, -20.0, 7.0][own] for own in CLASSES])
        first, second = (within_classes(values, BAD, CLASSES, resamples=200) for values in (score, moved))
        assert first.item() == second.item()
        assert first.interval() == second.interval()

    def test_classes_of_one_kind_are_left_out(self):
        score, bad = torch.arange(8.0), [False, True, False, True, True, True, True, True]
        found = within_classes(score, bad, [0, 0, 0, 0, 1, 1, 1, 1], resamples=50)
        assert found.item() == pytest.approx(0.75)
        assert within_classes(score, [True] * 4 + [False] * 4, [0] * 4 + [1] * 4).statuses == ("undetermined",)


class TestBesideBaselines:
    def test_aurocs_are_those_of_pairs(self):
        score, baseline = drawn(0, 1.0), drawn(1)
        found = beside_baselines({"a": score}, {"b": baseline}, BAD, resamples=50)
        aurocs = [counted(values.value.tolist(), BAD, [0] * 40) for values in (score, baseline)]
        torch.testing.assert_close(found.table.auroc.value, torch.tensor(aurocs, dtype=torch.float64))
        sides = [abs(auroc - 0.5) for auroc in aurocs]
        assert found.gains["a"].item() == pytest.approx(sides[0] - sides[1])
        assert found.within is None

    def test_the_side_of_a_score_does_not_count(self):
        score, baselines = drawn(0, 1.0), {"b": drawn(1), "c": drawn(2, -0.5)}
        plain = beside_baselines({"a": score}, baselines, BAD, CLASSES, resamples=200)
        turned = beside_baselines({"a": score.scaled(-1.0)}, baselines, BAD, CLASSES, resamples=200)
        assert plain.gains["a"].item() == pytest.approx(turned.gains["a"].item())
        assert plain.p_values["a"] == pytest.approx(turned.p_values["a"])
        assert plain.within["a"].item() == pytest.approx(1 - turned.within["a"].item())

    def test_a_copy_of_the_baseline_adds_nothing(self):
        found = beside_baselines({"a": drawn(2, 1.0)}, {"b": drawn(2, 1.0), "c": drawn(3)}, BAD, resamples=200)
        assert (found.baseline, found.gains["a"].item(), found.p_values["a"]) == ("b", 0.0, 1.0)

    def test_a_far_better_score_is_said_to_be_better_than_every_baseline(self):
        baselines = {"b": drawn(1), "c": drawn(4)}
        found = beside_baselines({"a": drawn(0, 3.0), "d": drawn(5)}, baselines, BAD, resamples=500)
        assert found.p_values["a"] < 0.05 < found.p_values["d"]
        assert float(found.gains["a"].low) > 0
        also = beside_baselines({"a": drawn(0, 3.0)}, {**baselines, "e": drawn(0, 3.0)}, BAD, resamples=500)
        assert also.p_values["a"] == 1.0  # one baseline that is as good is enough

    def test_chance_makes_a_claim_less_often_than_once_in_twenty(self):
        claims = 0
        for trial in range(60):
            scores = {f"s{k}": drawn(1000 + 10 * trial + k, 1.0) for k in range(3)}
            baselines = {f"b{k}": drawn(1005 + 10 * trial + k, 1.0) for k in range(2)}
            found = beside_baselines(scores, baselines, BAD, resamples=200)
            claims += min(found.p_values.values()) < 0.05
        assert claims <= 3

    def test_a_score_without_numbers_is_left_out_and_said(self):
        hole = drawn(1).value.clone()
        hole[:5] = torch.nan
        few = drawn(2).value.clone()
        few[7] = torch.nan
        scores = {"a": drawn(0), "hole": Estimate.exact(hole), "few": Estimate.exact(few)}
        found = beside_baselines(scores, {"b": drawn(3)}, BAD, resamples=50)
        assert found.left_out == {"hole": "no number to rank by at 12 % of the samples"}
        assert found.used == tuple(n for n in range(40) if n != 7)

    @pytest.mark.parametrize(
        ("bad", "scores", "message"),
        [
            ([True] + [False] * 39, {"a": drawn(0)}, "at least two independent samples of each kind"),
            ([False] * 40, {"a": drawn(0)}, "labels of both kinds expected"),
            (BAD, {"a": Estimate.of(torch.full((40,), torch.nan))}, "a score that is a number"),
            (BAD, {}, "a score that is a number at the samples expected, got none: none was given"),
        ],
    )
    def test_what_cannot_be_told_is_refused(self, bad, scores, message):
        with pytest.raises(InputError, match=message):
            beside_baselines(scores, {"b": drawn(1)}, bad, resamples=50)
