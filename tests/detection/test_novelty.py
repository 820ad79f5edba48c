"""`novelty` against counts by hand, and the names of scores at noise levels."""

from __future__ import annotations

import math

import pytest
import torch

from theodolite.detection import departure, novelty
from theodolite.detection.calibration import quantile_of, threshold
from theodolite.detection.scores import at_levels, computed_at_levels, score_of, scores_of
from theodolite.errors import InputError
from theodolite.estimates import Estimate

REFERENCE = torch.tensor([True] * 4 + [False] * 2)
GROUPS = ["a", "a", "b", "c", "x", "y"]


def scores(**values):
    return {name: Estimate.of(torch.tensor(entries, dtype=torch.float64)) for name, entries in values.items()}


def test_thresholds_p_values_and_auroc_are_counts():
    made = novelty(scores(pixel_energy=[1.0, 2.0, 3.0, 4.0, 3.5, 9.0]), REFERENCE, GROUPS, level=0.75)
    assert list(made.scores) == ["pixel_energy"]
    assert made.thresholds["pixel_energy"].item() == 3.0
    assert made.flagged("pixel_energy").tolist() == [False, False, False, True, True, True]
    by_group = made.p_value("pixel_energy")
    assert by_group.value.tolist() == pytest.approx([4 / 4, 3.5 / 4, 3 / 4, 2 / 4, 2 / 4, 1 / 4])
    assert made.table["pixel_energy"]["auroc"] == pytest.approx(7 / 8)
    entry = made.table.entries("pixel_energy")["auroc"]
    assert entry["stderr"] == pytest.approx((entry["high"] - entry["low"]) / 3.92)
    assert entry["n"] == 2


def test_departure_comes_first_and_is_of_descriptors_only():
    given = scores(local_rank=[1.0, 2.0, 3.0, 4.0, 9.0, 2.5], score_norm=[1.0, 2.0, 3.0, 4.0, 0.0, 7.0])
    made = novelty(given, REFERENCE, GROUPS)
    assert list(made.scores) == ["departure", "local_rank", "score_norm"]
    expected = departure({"local_rank": given["local_rank"].value}, REFERENCE, GROUPS)
    assert torch.equal(made.scores["departure"].value, expected)


def test_a_score_that_is_no_number_is_left_out_or_undetermined():
    lost = [math.nan] * 3 + [1.0] * 3
    made = novelty(scores(pixel_energy=[1.0, 2, 3, 4, 5, 6], score_norm=lost), REFERENCE, GROUPS)
    assert made.left_out == {"score_norm": "no number to rank by at 50 % of the images"}
    many = torch.arange(20.0).double().index_fill(0, torch.tensor([19]), math.nan)
    rare = novelty({"pixel_energy": Estimate.of(many)}, torch.arange(20) < 15, list(range(20)))
    assert rare.scores["pixel_energy"].statuses == ("ok",) * 19 + ("undetermined",)
    assert rare.p_value("pixel_energy").statuses[19] == "undetermined"
    with pytest.raises(InputError, match="a score that is a number expected, got none: score_norm: no number"):
        novelty(scores(score_norm=[math.nan] * 6), REFERENCE, GROUPS)


def test_labels_decide_what_auroc_is_of_and_too_few_are_told():
    values = scores(pixel_energy=[9.0, 9, 9, 9, 1, 2])
    by_label = novelty(values, REFERENCE, GROUPS, [None, 1, 1, None, 0, 0])
    assert by_label.table["pixel_energy"]["auroc"] == 1
    few = novelty(values, REFERENCE, GROUPS, [None, None, None, None, 0, 0])
    assert few.table is None
    assert "labels of both kinds expected" in few.why_no_table


@pytest.mark.parametrize(
    ("n", "level", "status"), [(200, 0.95, "ok"), (20, 0.95, "lower-bound"), (3, 0.5, "undetermined")]
)
def test_a_quantile_says_what_its_reference_can_tell(n, level, status):
    limit = threshold(range(n), level)
    told = quantile_of(limit)
    assert told.status == status
    assert told.item() == (limit.low.item() if status == "lower-bound" else limit.item())
    if status == "ok":
        assert told.interval() == limit.interval()


def test_scores_have_names_at_every_level_and_level_free_ones_keep_theirs():
    assert at_levels(["local_rank", "pixel_energy"], [0.1, 2.0]) == ["local_rank@0.1", "local_rank@2", "pixel_energy"]
    assert at_levels(["local_rank"], []) == ["local_rank"]
    assert (score_of("local_rank@2").name, score_of("local_rank@2").label) == ("local_rank@2", "Local rank ν, σ = 2")
    assert score_of("departure").kind == "joint"
    at = {sigma: {"local_rank": Estimate.of(torch.tensor([sigma]))} for sigma in (2.0, 0.1)}
    named = computed_at_levels(
        {None: {"pixel_energy": Estimate.of(torch.ones(1))}, **at}, ["pixel_energy", "local_rank"]
    )
    assert list(named) == ["local_rank@0.1", "local_rank@2", "pixel_energy"]
    assert named["local_rank@2"].value.item() == 2


def test_decoders_and_denoisers_have_scores_of_their_own():
    assert "curvature" not in scores_of("decoder")
    assert scores_of("decoder", ["score_norm", "curvature"]) == ["curvature", "score_norm"]
    assert "negative_log_likelihood" not in scores_of("denoiser")
    for kind, name in (("decoder", "denoising_error"), ("denoiser", "reconstruction_error")):
        with pytest.raises(InputError, match=f"scores of a {kind} expected, got {name}"):
            scores_of(kind, [name])


def test_every_rate_has_the_status_of_its_own_value():
    wrong = novelty(scores(pixel_energy=[5.0, 6.0, 7.0, 8.0, 1.0, 2.0]), REFERENCE, GROUPS)
    entries = wrong.table.entries("pixel_energy")
    assert entries["auroc"]["value"] == entries["tpr"]["value"] == 0 < entries["average_precision"]["value"]
    statuses = {quantity: entry["status"] for quantity, entry in entries.items()}
    assert statuses == {"auroc": "lower-bound", "average_precision": "few-samples", "tpr": "undetermined"}


def test_errors_of_descriptors_are_those_of_their_departure_and_thresholds():
    values = torch.randn(30, generator=torch.Generator().manual_seed(0)).double()
    exact, noisy = (
        novelty({"local_rank": Estimate.of(values, error)}, torch.arange(30) < 24, list(range(30)))
        for error in (0.0, 0.2)
    )
    assert not exact.scores["departure"].stderr.any()
    assert (noisy.scores["departure"].stderr > 0).all()
    assert torch.equal(exact.scores["departure"].value, noisy.scores["departure"].value)
    assert float(noisy.thresholds["local_rank"]["sample"].stderr) == pytest.approx(0.2)
    assert bool((noisy.p_value("local_rank").stderr > 0).any())
