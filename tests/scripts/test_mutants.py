"""The table of planted faults fits the source, and the script tells those that are seen from those that are not."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mutants():
    """The script as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    yield importlib.import_module("mutants")
    sys.path.remove(str(ROOT / "scripts"))


def test_every_fault_can_still_be_planted_and_has_its_test(mutants):
    assert {mutant.name: mutant.stale() for mutant in mutants.MUTANTS if mutant.stale()} == {}


def test_forty_faults_with_names_of_their_own_lie_in_all_rooms(mutants):
    names = [mutant.name for mutant in mutants.MUTANTS]
    assert len(set(names)) == len(names) >= 40
    rooms = Counter(mutant.file.partition("/")[0] for mutant in mutants.MUTANTS)
    assert all(name.startswith(mutant.file.partition("/")[0]) for name, mutant in zip(names, mutants.MUTANTS))
    assert len(rooms) >= 16
    assert max(rooms.values()) <= len(names) / 4  # no room has most of them


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "no such text"}, "0 times"),
        ({"source": "return"}, "times in src"),
        ({"file": "estimates/missing.py"}, "0 times"),
        ({"test": "estimates/test_means.py::test_missing"}, "no test test_missing"),
        ({"test": "estimates/test_missing.py::test_missing"}, "no test test_missing"),
    ],
)
def test_a_table_that_is_out_of_date_says_so_and_runs_nothing(mutants, monkeypatch, change, reason):
    monkeypatch.setattr(mutants, "_tested", lambda *_: pytest.fail("nothing to run"))
    outcome = mutants.judged(replace(mutants.MUTANTS[0], **change))
    assert outcome.startswith("STALE")
    assert reason in outcome


@pytest.mark.parametrize(("code", "outcome", "end"), [(1, "killed", 0), (0, "SURVIVED", 1), (4, "NOT JUDGED", 1)])
def test_only_a_test_that_fails_kills(mutants, monkeypatch, capsys, code, outcome, end):
    monkeypatch.setattr(mutants, "_tested", lambda folder, tests, mutant=None: 0 if mutant is None else code)
    assert mutants.main(["--only", mutants.MUTANTS[0].name]) == end
    assert outcome in capsys.readouterr().out


def test_tests_that_fail_without_a_fault_are_no_judges(mutants, monkeypatch, capsys):
    monkeypatch.setattr(mutants, "_tested", lambda *_: 1)
    assert mutants.main([]) == 1
    assert "without a fault" in capsys.readouterr().err


def test_names_are_listed_and_others_refused(mutants, capsys):
    assert mutants.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(mutants.MUTANTS)
    assert mutants.main(["--only", "no such"]) == 2
    assert "'no such'" in capsys.readouterr().err


def test_a_fault_is_planted_in_a_copy_and_seen_there(mutants, tmp_path):
    mutant = next(mutant for mutant in mutants.MUTANTS if mutant.file == "estimates/means.py")
    before = (mutants.PACKAGE / mutant.file).read_text()
    assert mutants._tested(tmp_path, [mutant.test], mutant) == 1
    assert (tmp_path / "theodolite" / mutant.file).read_text() == mutant.planted(before) != before
    assert (mutants.PACKAGE / mutant.file).read_text() == before


@pytest.mark.slow
def test_a_fault_that_a_test_does_not_see_survives(mutants):
    mutant = next(mutant for mutant in mutants.MUTANTS if mutant.file == "estimates/means.py")
    blind = replace(mutant, test="estimates/test_means.py::test_equal_contributions_are_exact")
    assert mutants.judged(blind) == "SURVIVED"
