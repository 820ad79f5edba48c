import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.report.rounding import MOST_DIGITS, rounded, shown


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (1.23456, 0.0432, "1.23 ± 0.04"),
        (1.23456, 0.0356, "1.23 ± 0.04"),
        (1.23456, 0.0354, "1.235 ± 0.035"),
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (1.23456, 0.0967, "1.23 ± 0.10"),
        (52.6, 30.0, "53 ± 30"),
        (52.6, 400.0, "100 ± 400"),
        (-0.5, 0.02, "−0.500 ± 0.020"),
        (151_144.3, 20.0, "151\u202f144 ± 20"),
        (3.2e-9, 1.1e-9, "(3.2 ± 1.1) × 10⁻⁹"),
        (4.56e8, 2e7, "(4.56 ± 0.20) × 10⁸"),
        (0.0, 0.5, "0.0 ± 0.5"),
    ],
)
def test_a_value_has_the_digits_of_its_error(value, stderr, text):
    assert str(shown(value, stderr)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(11.514437, "11.51"), (24.0, "24"), (0.0, "0"), (0.3333333, "0.3333"), (2.5e-5, "2.500 × 10⁻⁵")],
)
def test_an_exact_value_has_a_fixed_number_of_digits(value, text):
    assert str(shown(value, 0.0)) == text
    assert str(shown(value, float("nan"))) == text


def test_an_error_below_the_last_digit_is_said_to_be_below_it():
    assert str(shown(1151.4437, 1e-9)) == "1151.44 ± <0.01"


def test_bounds_and_undetermined_values_look_like_what_they_are():
    assert str(shown(3.21, 0.04, "lower-bound")) == "≥ 3.21 (width 0.04)"
    assert str(shown(3.21, 0.04, "upper-bound")) == "≤ 3.21 (width 0.04)"
    assert str(shown(3.21, 0.04, "truncated")) == "3.21 ± 0.04"
    for status in ("undetermined", "undefined"):
        assert str(shown(3.21, 0.04, status)) == "–"
    assert str(shown(math.inf, 0.1)) == str(shown(None)) == "–"


def test_several_values_share_one_precision_and_one_power():
    assert rounded([1.0, 2.34567, None, float("nan")], 0.04) == (["1.00", "2.35", "–", "–"], "0.04", "")
    assert rounded([1e-7, 2.34e-7], 1e-9) == (["1.000", "2.340"], "0.010", "× 10⁻⁷")
    assert rounded([5.5590, 4.4799], 0.0, most=3) == (["5.56", "4.48"], "", "")
    assert rounded([5.5590, 4.4799], 0.0001, most=3)[0] == ["5.56", "4.48"]
    assert rounded([None], 0.1) == (["–"], "", "")


@given(
    st.floats(-1e9, 1e9, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9),
    st.floats(1e-9, 1e9, allow_nan=False),
)
def test_never_more_digits_than_the_error_or_the_limit_supports(value, stderr):
    found = shown(value, stderr)
    power = float("1e" + found.power[4:].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) if found.power else 1.0
    number = found.value.replace("\u202f", "").replace("−", "-")
    places = len(number.partition(".")[2])
    assert abs(float(number) * power - value) <= max(stderr, 0.5 * 10.0**-places * power) * (1 + 1e-9)
    assert len(number.strip("-").replace(".", "").lstrip("0")) <= max(MOST_DIGITS, len(number.partition(".")[0]))
    if "<" not in found.error:
        assert len(found.error.partition(".")[2]) == places
