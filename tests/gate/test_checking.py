"""Verdicts: intervals in closed form, every status, several numbers, changes, and what would decide."""

from __future__ import annotations

import json
import math
from xml.etree import ElementTree as ET

import pytest
import torch

from theodolite.errors import InputError
from theodolite.estimates.student import student_quantile
from theodolite.gate import Bound, Thresholds, check, junit_xml, thresholds_beside
from theodolite.gate.evidence import evidence_of


def verdict(run, bound, **options):
    return check(run, Thresholds([bound], **options)).verdicts[0]


def symmetric(n=24, spread=1.0, centre=5.0):
    """Samples without skew, so that the interval of their mean is Student's."""
    half = torch.linspace(0.1, spread, n // 2).tolist()
    return [centre + side * step for step in half for side in (-1, 1)]


@pytest.mark.parametrize("sure", [0.8, 0.95, 0.999])
def test_the_interval_of_a_mean_is_students_at_any_level(sure, run_of):
    values = symmetric()
    own = verdict(run_of({"gain": values}), Bound("gain", low=0.0), sure=sure)
    error = torch.tensor(values, dtype=torch.float64).std().item() / 24**0.5
    assert own.evidence.value == pytest.approx(5.0)
    assert own.low == pytest.approx(5.0 - student_quantile(23, sure) * error, rel=1e-6)
    assert own.high == pytest.approx(5.0 + student_quantile(23, sure) * error, rel=1e-6)
    assert own.outcome == "kept"


@pytest.mark.parametrize(
    ("bound", "outcome"),
    [
        (Bound("gain", low=4.5), "kept"),
        (Bound("gain", low=5.1), "undecided"),
        (Bound("gain", low=5.6), "broken"),
        (Bound("gain", high=5.6), "kept"),
        (Bound("gain", high=4.9), "undecided"),
        (Bound("gain", high=4.4), "broken"),
        (Bound("gain", low=4.5, high=5.5), "kept"),
        (Bound("gain", low=5.05, high=5.5), "undecided"),
        (Bound("gain", low=6.0, high=7.0), "broken"),
    ],
)
def test_a_bound_is_broken_kept_or_undecided(bound, outcome, run_of):
    assert verdict(run_of({"gain": symmetric()}), bound).outcome == outcome


def test_more_bounds_need_more_to_be_sure(run_of):
    run = run_of({"gain": symmetric()})
    bound = Bound("gain", low=4.7)
    assert verdict(run, bound).outcome == "kept"
    assert check(run, Thresholds([bound] * 20)).outcome == "undecided"
    assert check(run, Thresholds([bound] * 20, sure_of="each")).outcome == "kept"


@pytest.mark.parametrize(
    ("status", "low", "high"),
    [
        ("lower-bound", "kept", "undecided"),
        ("upper-bound", "undecided", "kept"),
        ("truncated", "kept", "kept"),
        ("undetermined", "undecided", "undecided"),
        ("undefined", "undecided", "undecided"),
    ],
)
def test_a_bound_decides_on_its_side_alone(status, low, high, run_of):
    run = run_of({"gain": [(5.0, 0.1, status)]})
    assert verdict(run, Bound("gain", low=4.0, over="each")).outcome == low
    assert verdict(run, Bound("gain", high=6.0, over="each")).outcome == high


def test_a_lower_bound_above_the_limit_breaks_it(run_of):
    run = run_of({"gain": [(5.0, math.inf, "lower-bound")]})
    assert verdict(run, Bound("gain", high=4.0, over="each")).outcome == "broken"
    assert verdict(run, Bound("gain", low=6.0, over="each")).outcome == "undecided"


def test_a_mean_of_some_bounds_is_one(run_of):
    entries = [(value, 1e-3, "lower-bound" if place < 2 else "ok") for place, value in enumerate(symmetric())]
    run = run_of({"gain": entries})
    assert verdict(run, Bound("gain", low=4.0)).outcome == "kept"
    assert verdict(run, Bound("gain", high=9.0)).outcome == "undecided"
    assert "decides on its own side only" in verdict(run, Bound("gain", high=9.0)).advice


def test_nan_is_undecided_and_says_so(run_of, nan):
    own = verdict(run_of({"gain": [nan, nan]}), Bound("gain", low=1.0))
    assert own.outcome == "undecided"
    assert "no number to compare" in own.advice
    json.dumps(own.as_dict(), allow_nan=False)


def test_a_tenth_may_be_without_a_number_failed_ones_among_them(run_of, nan):
    whole = symmetric(40)
    assert verdict(run_of({"gain": [*whole, nan, nan, nan]}), Bound("gain", low=4.0)).outcome == "kept"
    lacking = run_of({"gain": [*whole, nan, nan, nan]}, failed=[f"broken{n}" for n in range(3)])
    own = verdict(lacking, Bound("gain", low=4.0))
    assert (own.outcome, own.evidence.what) == ("undecided", "mean of 40 samples of 46")
    assert own.advice == "no number to compare: 40 of 46 samples have a number, and 90% must"


def test_only_ok_leaves_other_statuses_undecided(run_of):
    run = run_of({"gain": [(value, 0.01, "truncated") for value in symmetric()]})
    assert verdict(run, Bound("gain", low=4.0)).outcome == "kept"
    assert verdict(run, Bound("gain", low=4.0), only_ok=True).outcome == "undecided"


def test_crops_of_one_photograph_are_one_source(run_of):
    run = run_of({"gain": symmetric()})
    assert verdict(run, Bound("gain", low=4.0)).evidence.n == 24
    assert verdict(run, Bound("gain", low=4.0), group="^s..").evidence.n == 3


def test_of_many_numbers_one_breaks_the_bound_if_it_is_sure_among_all(run_of):
    # |z| = 2.1 breaks alone at 0.95; as the worst of a hundred it is chance.
    one, many = run_of({"gain": [(2.1, 1.0, "ok")]}), run_of({"gain": [(2.1, 1.0, "ok")] + [(-9.0, 1.0, "ok")] * 99})
    bound = Bound("gain", high=0.0, over="each")
    assert verdict(one, bound).outcome == "broken"
    assert verdict(many, bound).outcome == "undecided"
    own = verdict(run_of({"gain": [(-9.0, 1.0, "ok")] * 99 + [(900.0, 1.0, "ok")]}), bound)
    assert (own.outcome, own.evidence.what) == ("broken", "s099")


def test_changes_are_paired_by_sample(run_of, tmp_path):
    before = symmetric(spread=40.0)
    first, second = run_of({"gain": before}), run_of({"gain": [v + 1 + 0.01 * (n % 3) for n, v in enumerate(before)]})
    (change,) = evidence_of(second, Bound("gain", of_change=True), first)
    assert change.value == pytest.approx(1.01, abs=1e-9)
    assert change.stderr < 0.01
    (single, *_) = evidence_of(second, Bound("gain", of_change=True, over="each"), first)
    assert single.value == pytest.approx(1.0)


def test_a_change_from_other_samples_is_undecided(run_of):
    first, second = run_of({"gain": symmetric(12)}), run_of({"gain": symmetric(24)})
    (change,) = evidence_of(second, Bound("gain", of_change=True), first)
    assert change.status == "undetermined"


def test_of_each_sample_those_that_failed_leave_it_undecided(run_of):
    bound = Bound("gain", low=0.0, over="each")
    own = verdict(run_of({"gain": [5.0, 6.0]}, failed=[f"broken{n}" for n in range(40)]), bound)
    assert (own.outcome, own.evidence.what) == ("undecided", "broken0")
    assert own.advice == "40 of 42 numbers; of this one no number to compare: broke"
    assert verdict(run_of({"gain": [5.0, -6.0]}, failed=["broken"]), bound).outcome == "broken"
    # The coordinate that names a sample rules out the others, failed or not.
    chosen = Bound("gain", low=0.0, over="each", where={"sample": "s000"})
    assert verdict(run_of({"gain": [5.0, 6.0]}, failed=["broken"]), chosen).outcome == "kept"


def test_what_failed_of_the_run_as_a_whole_is_no_sample(run_of):
    run = run_of({"gain": symmetric()})
    run.info["failed"] = [{"unit": None, "what": "totals", "reason": "broke"}]
    assert verdict(run, Bound("gain", low=0.0, over="each")).outcome == "kept"
    assert verdict(run, Bound("gain", low=0.0)).evidence.what == "mean of 24 samples"


def test_a_mean_change_of_the_half_that_did_not_fail_is_undecided(run_of):
    values = symmetric(24)
    first = run_of({"gain": values})
    whole = evidence_of(run_of({"gain": values[:12]}), Bound("gain", of_change=True), first)
    half = run_of({"gain": values[:12]}, failed=[f"s{n:03}" for n in range(12, 24)])
    (own,) = evidence_of(half, Bound("gain", of_change=True), first)
    assert [entry.is_number for entry in (*whole, own)] == [True, False]
    assert own.reason == "12 of 24 samples have a number, and 90% must"


def test_of_each_change_samples_without_a_counterpart_leave_it_undecided(run_of):
    first, second = run_of({"gain": [5.0]}, path="first"), run_of({"gain": [5.0, 5.0, 5.0]}, failed=["broken"])
    numbers = evidence_of(second, Bound("gain", of_change=True, over="each"), first)
    assert [(own.what, own.is_number) for own in numbers] == [
        ("s000", True),
        ("s001", False),
        ("s002", False),
        ("broken", False),
    ]
    assert numbers[1].reason == "first has no number of the same place"


def test_a_quantity_that_was_lost_is_undecided_beside_its_reference(run_of, monkeypatch):
    values = {"gain": symmetric(), "old": symmetric()}
    first, second = run_of(values, path="first"), run_of({"gain": values["gain"]}, path="second")
    monkeypatch.setattr("theodolite.gate.checking.read_run", {first.path: first}.__getitem__)
    gate = check(second, *thresholds_beside(second, first, 0.1))
    assert [v.outcome for v in gate.verdicts] == ["kept", "undecided"]
    assert gate.exit_code == 3
    assert gate.verdicts[1].advice == "no number to compare: the reference has this quantity, and the run does not"
    assert ET.fromstring(junit_xml(gate)).find("testsuite").get("skipped") == "1"
    json.dumps(gate.as_dict(), allow_nan=False)


def test_beside_a_reference_every_quantity_of_it_has_a_bound(run_of):
    values = {"gain": symmetric(), "local_rank": symmetric(centre=9.0), "old": symmetric()}
    first = run_of(values, path="first")
    del values["old"]
    second = run_of({**values, "new": symmetric()}, path="second")
    own, left_out = thresholds_beside(second, first, 0.1)
    assert [str(bound) for bound in own.bounds] == [
        "-0.5 <= change of gain <= 0.5",
        "-0.9 <= change of local_rank <= 0.9",
        "-0.5 <= change of old <= 0.5",
    ]
    assert left_out == {}


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (Bound("gian", low=1.0), "did you mean 'gain'?; measured are gain"),
        (Bound("gain", low=1.0, where={"mdoel": "x"}), "did you mean 'model'?"),
        (Bound("gain", low=1.0, where={"model": "other"}), "there are model = plain"),
        (Bound("gain", low=1.0, of_change=True), "expects a reference run"),
    ],
)
def test_what_cannot_be_checked_is_refused(bound, message, run_of):
    with pytest.raises(InputError) as error:
        verdict(run_of({"gain": symmetric()}), bound)
    assert message in str(error.value)


def test_several_numbers_must_be_told_apart(run_of):
    run = run_of({"gain": symmetric()}, kind="survey", sample=None)
    with pytest.raises(InputError, match="one number expected, got 24"):
        verdict(run, Bound("gain", low=1.0))


def test_an_unfinished_run_is_refused(run_of):
    run = run_of({"gain": symmetric()})
    run.info["status"] = "interrupted"
    with pytest.raises(InputError, match="a complete run expected"):
        verdict(run, Bound("gain", low=1.0))


def test_as_many_samples_as_are_advised_decide(run_of):
    """With so many samples of the same scatter the bound that was undecided is decided."""
    bound = Bound("gain", low=4.9)
    own = verdict(run_of({"gain": symmetric(24, spread=2.0)}), bound)
    assert own.outcome == "undecided"
    wanted = int(own.advice.split()[1])
    assert 100 < wanted < 5000
    assert verdict(run_of({"gain": symmetric(2 * (wanted // 2), spread=2.0)}), bound).outcome == "kept"
    assert verdict(run_of({"gain": symmetric(2 * (wanted // 8), spread=2.0)}), bound).outcome == "undecided"


def test_errors_that_do_not_average_out_are_told(run_of):
    own = verdict(run_of({"gain": [(value, 2.0, "truncated") for value in symmetric()]}), Bound("gain", low=4.9))
    assert "more samples cannot" in own.advice
    at = verdict(run_of({"gain": symmetric()}), Bound("gain", low=5.0 - 1e-9))
    assert "lies at the bound" in at.advice


def test_junit_counts_and_escapes(run_of, nan):
    run = run_of({"gain": symmetric(), "<b>\x07": [nan]})
    bounds = [Bound("gain", low=4.0), Bound("gain", low=9.0), Bound("<b>\x07", low=1.0)]
    suite = ET.fromstring(junit_xml(check(run, Thresholds(bounds)))).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [case[0].tag for case in suite] == ["system-out", "failure", "skipped"]
    assert suite[2].get("name") == "<b>? >= 1, mean"


def test_the_gate_is_as_bad_as_its_worst_bound(run_of):
    run = run_of({"gain": symmetric()})
    kept, broken, open_ = Bound("gain", low=1.0), Bound("gain", low=9.0), Bound("gain", low=5.0)
    codes = [check(run, Thresholds(bounds)).exit_code for bounds in ([kept], [kept, open_], [kept, open_, broken])]
    assert codes == [0, 3, 1]
    told = check(run, Thresholds([kept, open_, broken]))
    assert told.sentences[-1] == "broken: 1 kept, 1 broken, 1 undecided."
    assert [row[-1] for row in told.table.rows] == ["kept", "undecided", "broken"]
