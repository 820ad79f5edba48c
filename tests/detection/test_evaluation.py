"""AUROC and its companions against brute force, and how honest their intervals are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from theodolite.detection import evaluate
from theodolite.detection.evaluation import paired_auroc
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Resamples, Roc


def brute_auroc(normal, unusual):
    return np.mean([(u > n) + 0.5 * (u == n) for u in unusual for n in normal])


def tied(seed, n=23, m=17):
    draw = np.random.default_rng(seed)
    return draw.integers(0, 6, n).astype(float), draw.integers(1, 8, m).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_rank_formula_with_ties(seed):
    normal, unusual = tied(seed)
    table = evaluate(np.concatenate([normal, unusual]), [0] * 23 + [1] * 17, resamples=10)
    assert table["score"]["auroc"] == pytest.approx(brute_auroc(normal, unusual), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_resampled_auroc_is_that_of_the_resample(seed):
    normal, unusual = tied(seed)
    scores = torch.from_numpy(np.concatenate([normal, unusual]))
    labels = torch.tensor([False] * 23 + [True] * 17)
    draws = Resamples(40, 6, seed, strata=labels.tolist())
    weights = draws.of_stratum(False), draws.of_stratum(True)
    found = Roc(scores, *weights).auroc()
    for row, (w0, w1) in enumerate(zip(*weights)):
        repeated = [np.repeat(scores.numpy(), (w * size).round().int().numpy()) for w, size in ((w0, 23), (w1, 17))]
        assert found[row] == pytest.approx(brute_auroc(*repeated), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_rates_agree_with_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    normal, unusual = tied(seed)
    scores, labels = np.concatenate([normal, unusual]), np.array([0] * 23 + [1] * 17)
    draws = Resamples(40, 2, 0, strata=labels.tolist())
    curve = Roc(torch.from_numpy(scores), draws.of_stratum(0), draws.of_stratum(1))
    assert curve.average_precision(17 / 40)[0] == pytest.approx(metrics.average_precision_score(labels, scores))
    false, true, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    for allowed in (0.05, 0.2, 0.5):
        assert curve.true_positive_rate(allowed)[0] == pytest.approx(true[false <= allowed].max())


def test_monotone_changes_of_a_score_change_nothing_and_its_negative_mirrors():
    normal, unusual = tied(0)
    scores, labels = np.concatenate([normal, unusual]), [0] * 23 + [1] * 17
    table = evaluate({"a": scores, "b": np.exp(3 * scores), "c": -scores}, labels)
    a, b, c = table.rows()
    assert [b[key] for key in b if key != "score"] == [a[key] for key in a if key != "score"]
    assert a["auroc"] + c["auroc"] == pytest.approx(1)
    assert a["auroc_low"] + c["auroc_high"] == pytest.approx(1)


def test_a_permutation_of_samples_changes_nothing_but_the_draws():
    normal, unusual = tied(1)
    scores, labels = np.concatenate([normal, unusual]), np.array([0] * 23 + [1] * 17)
    order = np.random.default_rng(0).permutation(40)
    one, other = evaluate(scores, labels), evaluate(scores[order], labels[order])
    assert one["score"]["auroc"] == pytest.approx(other["score"]["auroc"])
    assert one["score"]["auroc_low"] == pytest.approx(other["score"]["auroc_low"], abs=0.02)


def two_normals(seed, separation, n=60, m=40):
    draw = np.random.default_rng(seed)
    return np.concatenate([draw.normal(size=n), separation + draw.normal(size=m)]), [0] * n + [1] * m


def test_errors_are_honest():
    truth = 0.75
    separation = 2**0.5 * 0.674489750196
    z, covered = [], []
    for seed in range(200):
        table = evaluate(*two_normals(seed, separation), resamples=200, seed=seed)
        z.append((float(table.auroc.value) - truth) / float(table.auroc.stderr))
        low, high = table.interval("score")
        covered.append(low <= truth <= high)
    assert abs(np.mean(z)) <= 0.25
    assert 0.7 <= np.std(z) <= 1.3
    assert np.mean(covered) >= 0.92


@pytest.mark.parametrize(("truth", "sizes"), [(0.5, (10, 10)), (0.9, (20, 20)), (0.98, (60, 30))])
def test_the_interval_covers_where_a_normal_one_would_not(truth, sizes):
    separation = 2**0.5 * float(torch.special.ndtri(torch.tensor(truth, dtype=torch.float64)))
    covered = []
    for seed in range(200):
        low, high = evaluate(*two_normals(seed, separation, *sizes), resamples=150, seed=seed).interval("score")
        covered.append(low <= truth <= high)
    assert np.mean(covered) >= 0.92


def test_errors_of_grouped_samples_are_over_groups():
    """Ten crops of a photograph say hardly more than one: with groups errors are honest, without they are not."""
    z = {"grouped": [], "alone": []}
    truth = float(torch.special.ndtr(torch.tensor(0.6 / 2**0.5)))
    labels, groups = np.repeat([0, 1], 160), np.repeat(np.arange(32), 10)
    for seed in range(200):
        draw = np.random.default_rng(seed)
        photographs = np.repeat(draw.normal(size=32), 10)
        scores = 0.6 * labels + 0.95**0.5 * photographs + 0.05**0.5 * draw.normal(size=320)
        for name, given in (("grouped", groups), ("alone", None)):
            table = evaluate(scores, labels, groups=given, resamples=100, seed=seed)
            z[name].append((float(table.auroc.value) - truth) / float(table.auroc.stderr))
    assert abs(np.mean(z["grouped"])) <= 0.3
    assert 0.7 <= np.std(z["grouped"]) <= 1.3
    assert np.std(z["alone"]) > 2


def test_differences_are_paired():
    """Two scores that share most of their noise differ more surely than either is known; z-scores are honest."""
    z, narrower = [], []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        base, labels = draw.normal(size=120), np.repeat([0, 1], 60)
        scores = {name: base + shift * labels + 0.3 * draw.normal(size=120) for name, shift in (("a", 1.5), ("b", 1.0))}
        table = evaluate(scores, labels, resamples=150, seed=seed)
        truth = [float(torch.special.ndtr(torch.tensor(s / (2 * 1.09) ** 0.5))) for s in (1.5, 1.0)]
        difference = table.difference("a", "b")
        z.append((float(difference.value) - truth[0] + truth[1]) / float(difference.stderr))
        narrower.append(float(difference.stderr) < float(table.auroc.stderr.max()))
    assert abs(np.mean(z)) <= 0.3
    assert 0.7 <= np.std(z) <= 1.3
    assert np.mean(narrower) > 0.95


def test_pairs_narrow_what_a_shared_seed_explains():
    draw = np.random.default_rng(0)
    shared = draw.normal(size=80)
    scores = np.concatenate([shared, shared + 0.5 + 0.2 * draw.normal(size=80)])
    labels, seeds = [0] * 80 + [1] * 80, [*range(80), *range(80)]
    paired, apart = evaluate(scores, labels, pairs=seeds), evaluate(scores, labels)
    assert float(paired.auroc.value) == float(apart.auroc.value)
    assert float(paired.auroc.stderr) < 0.6 * float(apart.auroc.stderr)
    assert paired.independent == (80, 80)


def test_probability_of_an_order():
    scores, labels = two_normals(0, 1.5)
    table = evaluate({"good": scores, "same": 2 * scores, "none": np.zeros(100)}, labels)
    assert table.probability("good", "same") == 0.5
    assert table.probability("good", "none") > 0.99
    assert table.probability("none", "good") == pytest.approx(1 - table.probability("good", "none"))
    assert table["none"]["auroc"] == pytest.approx(0.5)


def test_a_perfect_score_is_not_certain():
    table = evaluate({"up": [0.0, 1, 2, 3, 4, 5], "down": [5.0, 4, 3, 2, 1, 0]}, [0, 0, 0, 1, 1, 1])
    assert table["up"]["auroc"] == 1
    assert table.interval("up") == pytest.approx((0.025 ** (1 / 3), 1))
    assert table.interval("down") == pytest.approx((0, 1 - 0.025 ** (1 / 3)))
    assert table.auroc.statuses == ("upper-bound", "lower-bound")
    assert table.auroc.interval()[0][0] == pytest.approx(0.025 ** (1 / 3), abs=1e-6)


def test_infinities_rank_and_estimates_count_with_their_values():
    values = torch.tensor([-math.inf, 0.0, 1.0, math.inf], dtype=torch.float64)
    table = evaluate({"a": Estimate(values, torch.zeros(4), 0, 1)}, torch.tensor([0, 0, 1, 1]))
    assert table["a"]["auroc"] == 1
    assert "AUROC" in str(table)


@pytest.mark.parametrize(
    ("scores", "labels", "options", "message"),
    [
        ([0.0, math.nan, 1, 2], [0, 0, 1, 1], {}, "NaN at 1 of 4"),
        ([0.0, 1, 2], [0, 0, 1, 1], {}, "one number for each of 4"),
        ([0.0, 1, 2, 3], [1, 1, 1, 1], {}, "4 samples that are all unusual"),
        ([0.0, 1, 2, 3], [0, 0, 0, 0], {}, "all normal"),
        ([0.0, 1, 2, 3], [0, 2, 1, 1], {}, "0 (normal) and 1"),
        ([0.0, 1, 2, 3], ["good", "good", "bad", "bad"], {}, "got bad, good, shape (4,)"),
        ([0.0, 1, 2, 3], ["good", "good", "bad", "bad"], {}, "[label == 'bad' for label in labels]"),
        ([0.0, 1, 2, 3], [None, 0, 1, 1], {}, "0 (normal) and 1"),
        ([0.0, 1, 2, 3], [[0, 0], [1, 1]], {}, "shape (2, 2)"),
        ([0.0, 1, 2, 3], [0, 0, 0, 1], {}, "two independent"),
        ([0.0, 1, 2, 3], [0, 0, 1, 1], {"pairs": [0, 1, 2, 3]}, "got none"),
        ([0.0, 1, 2, 3], [0, 0, 1, 1], {"groups": [0, 1, 2]}, "one entry for each"),
        ([0.0, 1, 2, 3], [0, 0, 1, 1], {"groups": [0, 0, 1, 1]}, "other groups"),
        ([0.0, 1, 2, 3], [0, 0, 1, 1], {"groups": [0, 1, 0, 1], "pairs": [0, 1, 0, 1]}, "got both"),
        ({}, [0, 1], {}, "at least one score"),
        (["a", "b"], [0, 1], {}, "expected to be numbers"),
    ],
)
def test_mistakes(scores, labels, options, message):
    with pytest.raises(InputError) as caught:
        evaluate(scores, labels, **options)
    assert message in str(caught.value)


def test_unknown_names_are_told():
    with pytest.raises(InputError, match="'b'; there are score"):
        evaluate([0.0, 1, 2, 3], [0, 0, 1, 1]).difference("score", "b")


def test_paired_auroc_leaves_out_pairs_without_a_number_and_says_when_too_many_are():
    values = np.random.default_rng(0).normal([[0.0], [1.0]], size=(2, 12))
    normal, unusual = (torch.from_numpy(side) for side in values)
    whole = paired_auroc(Estimate.exact(normal), Estimate.exact(unusual))
    assert (whole.item(), whole.n) == (pytest.approx(brute_auroc(*values), abs=1e-12), 12)
    assert 0 < float(whole.low) < whole.item() < float(whole.high) <= 1
    one = Estimate.exact(normal.masked_fill(torch.arange(12) == 3, torch.nan))
    kept = np.delete(values, 3, 1)
    assert paired_auroc(one, Estimate.exact(unusual)).item() == pytest.approx(brute_auroc(*kept), abs=1e-12)
    two = Estimate.exact(normal.masked_fill(torch.arange(12) < 2, torch.nan))
    assert paired_auroc(two, Estimate.exact(unusual)).status == "undetermined"


def test_few_normal_samples_do_not_tell_what_one_in_twenty_reaches():
    draw = np.random.default_rng(0)
    few, enough = (evaluate(draw.normal(size=n + 40), [0] * n + [1] * 40, resamples=50) for n in (71, 72))
    assert few.tpr.statuses == ("undetermined",)
    assert "71 independent normal samples" in few.tpr.message
    assert enough.tpr.statuses == ("ok",)
    assert few.auroc.statuses == ("ok",)


def test_two_scores_without_a_mistake_do_not_tell_their_difference():
    scores = {"a": [*range(40)], "b": [x**2 for x in range(40)], "c": [*range(19), 32.5, *range(20, 40)]}
    table = evaluate(scores, [0] * 20 + [1] * 20, resamples=50)
    assert table.difference("a", "b").status == "undetermined"
    assert table.difference("a", "c").status == "ok"


def strata(seed=0, n=90, m=40):
    """Scores that tell three strata apart, and a little more within each."""
    draw = np.random.default_rng(seed)
    labels, of = np.array([0] * n + [1] * m), draw.integers(0, 3, n + m)
    return draw.normal(size=n + m) + 5 * of + 0.7 * labels, labels, of


def test_stratified_auroc_is_the_mean_over_unusual_samples_of_that_in_their_stratum():
    scores, labels, of = strata()
    table = evaluate(scores, labels, strata=of)
    parts = [scores[(of == s) & (labels == k)] for s in range(3) for k in (0, 1)]
    wanted = sum(brute_auroc(n, u) * len(u) for n, u in zip(parts[::2], parts[1::2])) / labels.sum()
    assert table["score"]["auroc"] == pytest.approx(wanted, abs=1e-12)
    shifted = evaluate(scores - 5 * of, labels, strata=of)
    assert [*table["score"].values()] == pytest.approx([*shifted["score"].values()])
    assert evaluate(scores, labels)["score"]["auroc"] < wanted - 0.1


def test_one_stratum_is_none():
    scores, labels, _ = strata()
    assert evaluate(scores, labels, strata=["a"] * len(labels)).rows() == evaluate(scores, labels).rows()


def test_a_score_that_only_tells_strata_apart_is_a_coin_within_them():
    of = np.arange(60) % 3
    labels = (np.arange(60) % 60 >= 40) | (of == 2) & (np.arange(60) > 20)
    assert evaluate(of.astype(float), labels)["score"]["auroc"] > 0.55
    assert evaluate(of.astype(float), labels, strata=of)["score"]["auroc"] == pytest.approx(0.5)


def test_the_rate_is_read_where_it_is_asked_for():
    draw = np.random.default_rng(3)
    scores, labels = np.concatenate([draw.normal(size=400), 3 + draw.normal(size=50)]), [0] * 400 + [1] * 50
    few, many = (evaluate(scores, labels, false_positives=rate)["score"]["tpr"] for rate in (0.01, 0.2))
    assert few == pytest.approx(np.mean(scores[400:] > np.sort(scores[:400])[-5]))
    assert few < many
    assert evaluate(scores, labels, false_positives=0.01).tpr.status == "ok"
    assert evaluate(scores[50:], labels[50:], false_positives=0.01).tpr.status == "undetermined"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"strata": [0] * 3}, "one entry for each"),
        ({"strata": [0] * 90 + [1] * 40}, "normal samples expected in every stratum"),
        ({"false_positives": 0}, "between 0 and 1"),
    ],
)
def test_strata_and_rates_that_cannot_be_used_are_refused(options, word):
    scores, labels, _ = strata()
    with pytest.raises(InputError, match=word):
        evaluate(scores, labels, **options)
