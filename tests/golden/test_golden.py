"""The numbers, records, tables, words and pages of every verb are those that were stored.

A change that is meant is stored with `python tests/golden/capture.py --write` and listed in the CHANGELOG. On one
machine records are equal to the byte: there, that command and `git diff tests/golden` say more than these tolerances.
"""

from __future__ import annotations

import functools
import pathlib
import re
import tempfile
from typing import Any

import pytest
from capture import Number, record_of, refusals_of, stored
from cases import REFUSALS, RUNS

from theodolite import verify

# Another processor adds in another order: float32 sums differ in the sixth digit, and what is iterated on them in the
# fourth. An error that is itself rounding (1e-8 beside a value of 1) may be anything as small.
RTOL = 2e-3
ATOL = 1e-6
STDERR_OF_VALUE = 5e-5
# Wider where rounding is magnified, by what was seen with vector instructions switched off (ATEN_CPU_CAPABILITY=default
# ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2), doubled.
LOOSE = (
    # Second differences in float32 of a leading direction that is hardly ahead of the next one.
    (re.compile(r"quantity=(lc|lc_over_\w+)(\.\w+)?$"), 0.01),
    # Ranks of cells of such maps, and shares of cells above a threshold in them: one cell more or less of 64.
    (re.compile(r"quantity=map_correlation(\.\w+)?$|claim=C5\||part=\w+\|"), 0.2),
    # The spread of four probes of second differences in float32.
    (re.compile(r"quantity=curvature$"), 0.02),
    # The spread of steps that are equal up to the tolerance of the geodesic.
    (re.compile(r"route=geodesic\|quantity=jump_variation$"), 0.02),
    # A change of 0.01 between local scalings of four hundred nats, each a float32 determinant.
    (re.compile(r"quantity=local_scaling_(change|step|lead)$"), 0.2),
    # At the least noise (tau of 1e-5), a quotient of two differences of nearly equal numbers,
    # which may be infinite or no number.
    (re.compile(r"level=0\|quantity=fir?_deviation_raw$"), 0.3),
)
# Of a table's printed numbers, those that may differ by more than one in their last digit: what `LOOSE` names.
LOOSE_PRINTS = 0.1
_TOKEN = re.compile(r"(?<![\w.])[-−+]?\d+(?:\.\d+)?(?:e[-−+]?\d+)?(?![\w])")


@functools.cache
def record(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return {**record_of(name, pathlib.Path(folder)), "verified": verify(pathlib.Path(folder) / "out", units=4)}


def agrees(key: str, new: Number, old: Number) -> bool:
    """Values to a part of the value or its error, the larger; errors to a part of their own; the rest exactly."""
    if len(new) != len(old) or new[2:] != old[2:]:
        return False
    rtol = next((loose for pattern, loose in LOOSE if pattern.search(key)), RTOL)
    value, stderr = (*old, None)[:2]
    spread = rtol * stderr if _numeric(stderr) else 0.0
    rounding = STDERR_OF_VALUE * abs(value) if _numeric(value) else 0.0
    return _close(new[0], value, rtol, spread) and (len(old) < 2 or _close(new[1], stderr, rtol, rounding))


def _close(new: Any, old: Any, rtol: float, more: float) -> bool:
    if rtol > RTOL and {new, old} <= {"nan", "inf", "-inf"}:
        return True
    if not (_numeric(new) and _numeric(old)):
        return type(new) is type(old) and new == old
    return abs(new - old) <= rtol * max(abs(new), abs(old)) + more + ATOL


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same_words(new: list[str], old: list[str]) -> bool:
    """Whether words agree, and nearly all printed numbers, to one in their last digit; lines may break elsewhere."""
    now, then = (" ".join(words).replace("± <", "± ") for words in (new, old))  # an error below its last digit
    if _TOKEN.sub("#", now) != _TOKEN.sub("#", then):
        return False
    same = [*map(_same_print, _TOKEN.findall(now), _TOKEN.findall(then))]
    return same.count(False) <= LOOSE_PRINTS * len(same)


def _same_print(new: str, old: str) -> bool:
    (a, step), (b, other) = _parsed(new), _parsed(old)
    return abs(a - b) <= 1.001 * max(step, other) + ATOL


def _parsed(token: str) -> tuple[float, float]:
    """A printed number, and one in its last digit."""
    mantissa, _, exponent = token.replace("−", "-").partition("e")
    digits = len(mantissa.partition(".")[2])
    return float(f"{mantissa}e{exponent or 0}"), 10.0 ** (int(exponent or 0) - digits)


@pytest.mark.parametrize("name", RUNS)
class TestRuns:
    def test_numbers(self, name):
        new, old = record(name)["numbers"], stored(name)["numbers"]
        assert sorted(new) == sorted(old)
        assert {key: (new[key], old[key]) for key in old if not agrees(key, new[key], old[key])} == {}

    def test_record_keys(self, name):
        new, old = record(name), stored(name)
        assert new["run.json"] == old["run.json"]
        assert new["show --json"] == old["show --json"]

    def test_settings(self, name):
        assert record(name)["settings"] == stored(name)["settings"]

    def test_tables(self, name):
        assert record(name)["tables"] == stored(name)["tables"]

    def test_files(self, name):
        assert record(name)["files"] == stored(name)["files"]

    def test_terminal(self, name):
        new, old = record(name)["terminal"], stored(name)["terminal"]
        for now, then in ((new, old), (new["show"], old["show"])):
            assert (now["exit"], now["stderr"]) == (then["exit"], then["stderr"])
            assert same_words(now["stdout"], then["stdout"]), "\n".join([*now["stdout"], "stored:", *then["stdout"]])

    def test_verified(self, name):
        verified = record(name)["verified"]
        assert [*verified.failed] == []
        assert verified.checks
        assert not [check.quantity for check in verified.checks if not check.holds]

    def test_page(self, name):
        new, old = record(name)["page"], stored(name)["page"]
        for part in ("sections", "figures", "tables"):
            assert new[part] == old[part]
        assert same_words(new["headings"], old["headings"]), new["headings"]


@pytest.mark.parametrize("verb", REFUSALS)
def test_refusals(verb, tmp_path):
    assert refusals_of(verb, tmp_path) == stored("refusals")[verb]


def test_every_verb_has_a_golden_run():
    from theodolite.cli.main import main
    from theodolite.runs.registry import kinds

    golden = {command.split()[0] for command in RUNS.values()}
    without = {"demo", "explore", "gate", "merge", "models", "report", "show", "verify"}
    assert {*kinds(), *main.commands} - golden == without
    assert {verb.split()[0] for verb in REFUSALS} == golden


class TestTheComparisonItself:
    @pytest.mark.parametrize(
        ("new", "old", "same"),
        [
            ([1.0001, 0.1, "ok", 5], [1.0, 0.1, "ok", 5], True),
            ([1.01, 0.1, "ok", 5], [1.0, 0.1, "ok", 5], False),
            ([1.01, 10.0, "ok", 5], [1.0, 10.0, "ok", 5], True),
            ([1.0, 0.11, "ok", 5], [1.0, 0.1, "ok", 5], False),
            ([1.0, 0.0, "ok", 5], [1.0, 0.1, "ok", 5], False),
            ([1.0, 3e-8, "ok", 5], [1.0, 1e-8, "ok", 5], True),
            ([1.0, 0.1, "truncated", 5], [1.0, 0.1, "ok", 5], False),
            ([1.0, 0.1, "ok", 6], [1.0, 0.1, "ok", 5], False),
            (["nan", "nan", "undefined", 0], ["nan", "nan", "undefined", 0], True),
            (["nan", 0.1], [1.0, 0.1], False),
            ([1.001], [1.0], True),
            ([True], [False], False),
            ([1.0], [True], False),
        ],
    )
    def test_of_numbers(self, new, old, same):
        assert agrees("quantity=gap", new, old) == same

    @pytest.mark.parametrize(
        ("new", "old", "same"),
        [
            ("gap 0.174 ± 0.03", "gap 0.173 ± 0.03", True),
            ("gap 0.175 ± 0.03", "gap 0.173 ± 0.03", False),
            ("gap −0.173", "gap 0.173", False),
            ("gap 1.2e-07", "gap 1.4e-07", True),
            ("gap 0.173 ok", "gap 0.173 truncated", False),
            ("gap", "gap 0.1", False),
        ],
    )
    def test_of_lines(self, new, old, same):
        assert same_words([new], [old]) == same
