"""The numbers, records, tables, words and pages of every verb are those that were stored.

A change that is meant is stored with `python tests/golden/capture.py --write` and listed in the CHANGELOG.
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

# Another processor adds in another order: float32 sums differ in the sixth digit, and what is iterated on them in the
# fourth. An error that is itself rounding (1e-8 beside a value of 1) may be anything as small.
RTOL = 2e-3
ATOL = 1e-6
STDERR_OF_VALUE = 1e-5
_TOKEN = re.compile(r"(?<![\w.])[-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


@functools.cache
def record(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return record_of(name, pathlib.Path(folder))


def close(new: Any, old: Any, scale: float = 0.0, rtol: float = RTOL) -> bool:
    if not (_numeric(new) and _numeric(old)):
        return type(new) is type(old) and new == old
    return abs(new - old) <= rtol * max(abs(new), abs(old)) + scale + ATOL


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def agrees(new: Number, old: Number) -> bool:
    """Values to `RTOL` of the value or its error, the larger; errors to `RTOL` of their own; the rest exactly."""
    if len(new) != len(old) or new[2:] != old[2:]:
        return False
    value, stderr = (*old, None)[:2]
    if not close(new[0], value, scale=RTOL * stderr if isinstance(stderr, float) else 0.0):
        return False
    return len(old) < 2 or close(
        new[1], stderr, scale=STDERR_OF_VALUE * abs(value) if isinstance(value, float) else 0.0
    )


def same_words(new: list[str], old: list[str]) -> bool:
    """Whether words agree, and printed numbers differ by one in their last digit at most; lines may break elsewhere."""
    now, then = " ".join(new), " ".join(old)
    if _TOKEN.sub("#", now) != _TOKEN.sub("#", then):
        return False
    return all(map(_same_print, _TOKEN.findall(now), _TOKEN.findall(then)))


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
        assert {key: (new[key], old[key]) for key in old if not agrees(new[key], old[key])} == {}

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

    def test_page(self, name):
        assert record(name)["page"] == stored(name)["page"]


@pytest.mark.parametrize("verb", REFUSALS)
def test_refusals(verb, tmp_path):
    assert refusals_of(verb, tmp_path) == stored("refusals")[verb]


def test_every_verb_has_a_golden_run():
    from theodolite.cli.main import main

    golden = {command.split()[0] for command in RUNS.values()}
    assert set(main.commands) - golden == {"demo", "report", "show"}
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
            ([True], [False], False),
            ([1.0], [True], False),
        ],
    )
    def test_of_numbers(self, new, old, same):
        assert agrees(new, old) == same

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
