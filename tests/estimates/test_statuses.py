"""Statuses: their order, what they claim, and that this is decided in one file."""

from __future__ import annotations

import pathlib
import re

import pytest

import theodolite
from theodolite.estimates import NOT_NUMBERS, STATUS_TABLE, STATUSES, is_number, worse, worst


def test_statuses_are_ordered_from_best_to_worst():
    order = list(STATUSES)
    assert order[0] == "ok"
    assert order[-1] == "undefined"
    assert order.index("truncated") < order.index("undetermined")
    assert worse("ok", "truncated") == worse("truncated", "ok") == "truncated"
    assert worst(("ok", "undefined"), ("approximate", "ok")) == ("approximate", "undefined")


def test_what_is_no_number_is_worse_than_all_that_is():
    flags = [status.is_number for status in STATUS_TABLE]
    assert flags == sorted(flags, reverse=True)
    assert NOT_NUMBERS == ("undetermined", "undefined")
    assert all(is_number(name) != (name in NOT_NUMBERS) for name in STATUSES)


def test_bounds_know_their_side():
    assert {s.name: s.bound for s in STATUS_TABLE if s.is_bound} == {"lower-bound": "lower", "upper-bound": "upper"}


@pytest.mark.parametrize("name", STATUSES)
def test_every_meaning_is_a_sentence_without_its_own_name(name):
    assert len(STATUSES[name]) > 20
    assert not STATUSES[name].endswith(".")


def test_no_other_file_lists_what_is_no_number():
    source = pathlib.Path(theodolite.__file__).parent
    pair = re.compile(r"""["']undetermined["'],\s*["']undefined["']|["']undefined["'],\s*["']undetermined["']""")
    lists = [path.name for path in source.rglob("*.py") if pair.search(path.read_text())]
    assert lists == []
