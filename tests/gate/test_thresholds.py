"""The threshold file: what it says, and the line of what is wrong in it."""

from __future__ import annotations

import math

import pytest

from theodolite.errors import InputError
from theodolite.gate import Bound, Thresholds, read_thresholds, within_margin

WHOLE = """
experiment = "rank"
sure = 0.9
sure_of = "each"
only_ok = true
reference = "../main"
group = "^[a-z]+"

[settings]
budget = "quick"

[[bound]]
quantity = "gap"
where = { space = "mine", tau = 0.1 }
at_most = 0.4
sure = 0.99

[[bound]]
quantity = "psnr"
over = "each"
change_at_least = -1
change_at_most = 2.5
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "theodolite.toml").write_text(text)
        return tmp_path / "theodolite.toml"

    return write


def test_everything_that_a_file_may_say(written, tmp_path):
    own = read_thresholds(written(WHOLE))
    first, second = own.bounds
    assert first == Bound("gap", high=0.4, where={"space": "mine", "tau": 0.1}, sure=0.99)
    assert second == Bound("psnr", -1, 2.5, of_change=True, over="each")
    assert (own.experiment, own.sure, own.only_ok, own.settings) == ("rank", 0.9, True, {"budget": "quick"})
    assert (own.reference, own.group) == (tmp_path / "../main", "^[a-z]+")
    assert (own.level(first), own.level(second)) == (0.99, 0.9)


def test_all_bounds_together_are_tested_by_bonferroni():
    bounds = [Bound("gain", low=1.0)] * 5
    assert Thresholds(bounds).level(bounds[0]) == pytest.approx(0.99)
    assert Thresholds(bounds, sure_of="each").level(bounds[0]) == 0.95


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sure = 0.9", "expected one or more tables"),
        ("sure 0.9", "at line 1"),
        (
            '[[bound]]\nquantity = "a"\nat_least = 1\n\n[[bound]]\nquantity = "a"\nat_lest = 2',
            "line 7: expected one of",
        ),
        ('[[bound]]\nquantity = "a"\nat_lest = 2', "did you mean 'at_least'?"),
        ('[[bound]]\nquantity = "a"\nat_least = "two"', "line 3: expected at_least to be a finite number, got 'two'"),
        ('[[bound]]\nquantity = "a"\nat_least = nan', "line 3"),
        ('[[bound]]\nquantity = "a"', "line 1: expected at_least or at_most"),
        ('[[bound]]\nquantity = "a"\nat_least = 1\nchange_at_most = 1', "line 1: expected at_least or at_most"),
        ("[[bound]]\nat_least = 1", "line 1: expected `quantity`, got none"),
        ('[[bound]]\nquantity = "a"\nat_least = 2\nat_most = 1', "line 3: expected at_least below at_most"),
        ('[[bound]]\nquantity = "a"\nat_least = 2\nover = "median"', "line 4: expected over to be one of mean, each"),
        ('[[bound]]\nquantity = "a"\nat_least = 2\nwhere = "x"', "line 4: expected a table"),
        ('[[bound]]\nquantity = "a"\nat_least = 2\nsure = 0.9', 'line 4: expected sure_of = "each"'),
        ('sure = 1\n[[bound]]\nquantity = "a"\nat_least = 2', "line 1: expected a probability above 0.5"),
        ('only_ok = 3\n[[bound]]\nquantity = "a"\nat_least = 2', "line 1: expected only_ok to be true or false"),
        ('\n[setings]\na = 1\n[[bound]]\nquantity = "a"\nat_least = 2', "line 2: expected one of"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, message, written):
    with pytest.raises(InputError) as error:
        read_thresholds(written(text))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="a threshold file expected"):
        read_thresholds(tmp_path / "nothing.toml")


def test_margins_are_shares_of_the_reference():
    (bound,) = within_margin({"gain": -4.0, "none": 0.0, "unknown": math.nan}, 0.25)
    assert bound == Bound("gain", -1.0, 1.0, of_change=True)
    with pytest.raises(InputError, match="above 0"):
        within_margin({"gain": 4.0}, 0.0)
    with pytest.raises(InputError, match="no number"):
        within_margin({"gain": 0.0}, 0.1)
