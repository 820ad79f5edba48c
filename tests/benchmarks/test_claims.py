"""The verdict on a claim is its interval's alone."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from theodolite.detection import evaluate
from theodolite.estimates import Estimate

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
claims = importlib.import_module("_claims")
toys = importlib.import_module("_claims_toys")


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.5, "holds"), (-0.5, -0.1, "fails"), (-0.1, 0.5, "undecided")]
)
def test_a_bound(low, high, verdict):
    number = Estimate.between((low + high) / 2, low, high)
    assert claims.above("C", "", 30, number, 0).verdict == verdict
    assert claims.above("C", "", 29, number, 0).verdict == "undecided"
    assert claims.above("C", "", 3, number, 0, fewest=3).verdict == verdict


def test_a_difference_of_nothing_is_undecided():
    assert claims.above("C", "", 100, Estimate.between(0.0, 0.0, 1e-16), 0).verdict == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.96, 1.0, "holds"), (1.06, 1.2, "fails"), (1.0, 1.06, "undecided")]
)
def test_a_range(low, high, verdict):
    assert claims.inside("C", "", 9, Estimate.between(low, low, high), 0.95, 1.05).verdict == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.6, 0.9, "holds"), (0.1, 0.4, "holds"), (0.45, 0.55, "fails"), (0.3, 0.9, "undecided")],
)
def test_an_auroc(low, high, verdict):
    assert claims.off("C", "", 9, Estimate.between(0.5, low, high)).verdict == verdict


def test_whole_groups_are_drawn():
    values = torch.tensor([0.0] * 50 + [1.0] * 50)
    alone = claims.bootstrapped(lambda at: values[at].mean(), 100)
    grouped = claims.bootstrapped(lambda at: values[at].mean(), 100, [0] * 50 + [1] * 50)
    assert (alone.value, grouped.value) == (0.5, 0.5)
    assert alone.high - alone.low < 0.3
    assert (grouped.low, grouped.high) == (0.0, 1.0)


def test_a_margin_is_paired_and_blind_to_orientation():
    draws = torch.randn(60, generator=torch.Generator().manual_seed(0))
    good = draws + torch.tensor([0.0] * 30 + [2.0] * 30)
    table = evaluate({"good": good, "bad": -good, "none": draws}, [0] * 30 + [1] * 30)
    assert claims.margin((table, "good"), (table, "bad")).high == pytest.approx(0)
    assert claims.margin((table, "bad"), (table, "none")).low > 0


def test_delta_of_one_layer_is_the_exact_count_of_planes():
    exact, _ = toys.hyperplanes(8, 50)
    assert exact.verdict == "holds"
