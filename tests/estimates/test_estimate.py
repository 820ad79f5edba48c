"""`Estimate`: any shape, what it refuses, never a silent NaN, its interval, entries and parts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.estimates import NOT_NUMBERS, STATUSES, Estimate, joined, worse

ONE = torch.tensor([1.0, 2.0], dtype=torch.float64)
numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


def estimate(**changes):
    return Estimate(**{"value": ONE, "stderr": ONE / 10, "passes": 3, "n": 4, **changes})


@st.composite
def estimates(draw):
    """Any shape, any numbers, any statuses."""
    shape = draw(shapes)
    count = math.prod(shape)
    value, stderr = (draw(st.lists(numbers, min_size=count, max_size=count)) for _ in range(2))
    statuses = draw(st.lists(st.sampled_from(list(STATUSES)), min_size=count, max_size=count))
    return Estimate(torch.tensor(value).reshape(shape), torch.tensor(stderr).reshape(shape), 1, 1, statuses), statuses


@given(estimates())
@settings(max_examples=300, deadline=None)
def test_a_number_is_never_nan(drawn):
    """NaN and ok never stand together, nor NaN and any status that claims a number; no status gets better."""
    found, given_statuses = drawn
    assert len(found.statuses) == found.value.numel()
    sound = (found.value.isfinite() & found.stderr.isfinite()).flatten().tolist()
    for status, before, good, value, stderr in zip(
        found.statuses, given_statuses, sound, found.value.flatten().tolist(), found.stderr.flatten().tolist()
    ):
        assert worse(status, before) == status
        assert status == before if good else status != "ok"
        if status not in NOT_NUMBERS:
            assert math.isfinite(value)
            assert not math.isnan(stderr)
            assert math.isfinite(stderr) or status in ("lower-bound", "upper-bound")
    assert bool(found.message) == (list(found.statuses) != given_statuses)


@given(estimates())
@settings(max_examples=100, deadline=None)
def test_entries_of_any_shape_are_those_of_the_flat_one(drawn):
    found, _ = drawn
    low, high = found.interval()
    assert low.shape == high.shape == found.is_number().shape == found.shape
    flat = found[...]
    assert flat.statuses == found.statuses
    for place in range(found.value.numel()):
        row = found.entry(place)
        assert (row["status"], row["n"]) == (found.statuses[place], 1)
        torch.testing.assert_close(torch.tensor(row["value"]), found.value.flatten()[place], equal_nan=True)
    if found.value.ndim and len(found.value):
        assert joined([found[:1], found[1:]]).statuses == found.statuses
        assert found[-1].shape == found.shape[1:]


def test_statuses_are_ok_unless_said_and_one_word_is_for_all():
    assert estimate().statuses == ("ok", "ok")
    assert estimate(statuses=("ok", "truncated")).status == "truncated"
    assert estimate(statuses="learned").statuses == ("learned", "learned")
    assert Estimate(torch.zeros(0), torch.zeros(0), 0, 1).status == "ok"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stderr": torch.zeros(3)}, "one shape"),
        ({"value": torch.tensor(1.0)}, "one shape"),
        ({"ends": (ONE, torch.zeros(3))}, "one shape"),
        ({"statuses": ("ok",)}, "one status an entry"),
        ({"statuses": ("ok",) * 3}, "one status an entry"),
        ({"statuses": ("ok", "splendid")}, "splendid"),
        ({"statuses": "splendid"}, "splendid"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        estimate(**changes)


def test_scalars():
    half = Estimate.of(0.5, 0.1, n=20, statuses="truncated", message="cut short")
    assert (half.item(), half.shape, half.n, half.status) == (0.5, (), 20, "truncated")
    assert half.entry() == {"value": 0.5, "stderr": pytest.approx(0.1), "n": 20, "status": "truncated"}
    assert Estimate.of(torch.ones(2, 2)).stderr.tolist() == [[0, 0], [0, 0]]
    assert Estimate.of(torch.tensor([3])).stderr.dtype is torch.float64
    assert "0.5 ± 0.1" in repr(half)
    with pytest.raises(ValueError, match="one entry"):
        estimate().item()


def test_an_interval_need_not_be_symmetric():
    share = Estimate.between(0.9, 0.6, 0.95, n=8)
    assert [float(end) for end in share.interval()] == pytest.approx([0.6, 0.95])
    assert float(share.stderr) == pytest.approx(0.3 / 1.96)
    assert share.status == "ok"
    assert Estimate.between(0.9, math.nan, 0.95).status == "undetermined"
    both = joined([share, Estimate.of(0.5, 0.1)])
    torch.testing.assert_close(both.low, torch.tensor([0.6, 0.5 - 0.196], dtype=torch.float64))
    assert float(both[0].high) == pytest.approx(0.95)


def test_an_index_takes_entries_and_a_name_takes_parts():
    value = torch.arange(6.0).reshape(2, 3)
    statuses = ("ok", "ok", "truncated", "learned", "ok", "ok")
    part, total = Estimate.of(-value), Estimate.of(15.0)
    table = Estimate.of(value, 0.5, statuses=statuses, parts={"minus": part, "total": total})
    assert table[1].value.tolist() == [3, 4, 5]
    assert table[1].statuses == ("learned", "ok", "ok")
    assert table[0, 2].item() == 2
    assert table[0, 2].status == "truncated"
    assert table[:, 1:]["minus"].value.tolist() == [[-1, -2], [-4, -5]]
    assert table[1]["total"].item() == 15
    assert table[value > 3].statuses == ("ok", "ok")
    assert [row.status for row in table] == ["truncated", "learned"]
    with pytest.raises(IndexError):
        table[2]


def test_the_interval_is_two_sided_or_that_of_a_bound():
    low, high = estimate().interval()
    torch.testing.assert_close(high - low, 2 * 1.96 * ONE / 10)
    low, high = estimate(statuses=("lower-bound", "upper-bound")).interval()
    assert (low[0], high[1]) == (1, 2)
    torch.testing.assert_close(torch.stack([high[0], low[1]]), torch.tensor([1.196, 2 - 0.392], dtype=torch.float64))
    open_ended = Estimate.of(1.0, math.inf, statuses="lower-bound")
    assert (open_ended.status, float(open_ended.high)) == ("lower-bound", math.inf)


def test_what_came_out_as_nan_says_so():
    spoilt = estimate(value=torch.tensor([1.0, math.inf]), statuses=("ok", "truncated"))
    assert spoilt.statuses == ("ok", "undetermined")
    assert "NaN or infinite" in spoilt.message
    assert estimate(stderr=ONE * math.nan, message="diverged").message == "diverged"


def test_parts_have_names():
    whole = estimate(parts={"half": estimate(value=ONE / 2)})
    assert whole["half"].value.tolist() == [0.5, 1.0]
    assert set(whole.named("whole")) == {"whole", "half"}
    assert whole.named("whole")["whole"].parts == {}
    with pytest.raises(KeyError, match="half"):
        whole["third"]
    assert "half" in repr(whole)
    assert "1 ± 0.1" in repr(whole)


def test_groups_of_latents_are_joined_in_order():
    first = estimate(parts={"half": estimate()}, statuses=("ok", "truncated"), message="deeper")
    second = estimate(value=3 * ONE, passes=9, parts={"half": estimate(value=5 * ONE)})
    both = joined([second, first])
    assert both.value.tolist() == [3, 6, 1, 2]
    assert both.statuses == ("ok", "ok", "ok", "truncated")
    assert (both.passes, both.message) == (9, "deeper")
    assert both["half"].value.tolist() == [5, 10, 1, 2]
    with pytest.raises(ValueError, match="at least one"):
        joined([])


def test_a_negative_factor_turns_the_interval():
    skewed = estimate(ends=(ONE - 0.1, ONE + 0.4), parts={"half": estimate()})
    turned = skewed.scaled(torch.tensor([-2.0, 3.0], dtype=ONE.dtype))
    assert turned.value.tolist() == (torch.tensor([-2.0, 3.0], dtype=ONE.dtype) * skewed.value).tolist()
    assert (turned.stderr >= 0).all()
    torch.testing.assert_close(turned.low, torch.stack([-2 * skewed.high[0], 3 * skewed.low[1]]))
    torch.testing.assert_close(turned.high, torch.stack([-2 * skewed.low[0], 3 * skewed.high[1]]))
    assert turned.parts == {}


def test_a_negative_factor_turns_a_bound_to_the_other_side():
    bounds = Estimate(ONE, 0.1 * ONE, 0, 1, ("lower-bound", "upper-bound"))
    turned = bounds.scaled(-1.0)
    assert turned.statuses == ("upper-bound", "lower-bound")
    torch.testing.assert_close(turned.low, -bounds.high)
    torch.testing.assert_close(turned.high, -bounds.low)
    assert bounds.scaled(2.0).statuses == bounds.statuses


def test_an_error_joins_both_ends_in_quadrature():
    wider = Estimate.of(0.0, 1.0, ends=(-3.0, 4.0)).widened(4.0 / 1.96)
    assert wider.low.item() == pytest.approx(-5.0)
    assert wider.high.item() == pytest.approx(32**0.5)
    assert wider.stderr.item() == pytest.approx((1 + (4 / 1.96) ** 2) ** 0.5)
