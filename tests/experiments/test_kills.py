"""Every experiment, killed at any of its writes and resumed, comes to the tables of an uninterrupted run."""

from __future__ import annotations

import importlib.util
import json
import pathlib

import pytest
from cases import RUNS, prepare

from kill import killed_and_resumed, same_tables, uninterrupted
from theodolite.experiments import SUMMARIES

TESTS = pathlib.Path(__file__).parents[1]


# Experiments without a golden run, and those that have a smaller case than it.
CASES = {
    "compare": "compare zoo:patches-kl zoo:patches-plain --data {photos} --limit 3 --size 16",
    "survey": "survey zoo:patches-kl --data {photos} --limit 4 --size 16 --budget quick --descriptors local_rank",
}


def case_of(kind: str) -> str:
    """The words of the smallest case of a kind."""
    golden = [words for words in RUNS.values() if words.split()[0] == kind]
    return CASES.get(kind) or min(golden, key=len)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """By kind: the words of its command, an uninterrupted run, and how many files that put in place."""
    known = {}

    def of(kind):
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind)
            folders = prepare(folder, case_of(kind))
            words = [word.format(**folders) for word in case_of(kind).split()]
            known[kind] = words, folder / "whole", uninterrupted(words, folder / "whole")
        return known[kind]

    return of


def check(whole, out, kind, kills, seed):
    words, run, writes = whole(kind)
    assert killed_and_resumed(words, out, writes, kills, seed) >= 1
    same_tables(out, run)
    info = json.loads((out / "run.json").read_text())
    assert info["status"] == "complete"
    assert len(info["sittings"]) >= 1
    assert not [path for path in out.rglob(".*") if path.name.endswith(".tmp")]


def test_one_kill(whole, tmp_path):
    check(whole, tmp_path / "run", "survey", kills=1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SUMMARIES)
def test_ten_kills(whole, tmp_path, kind):
    check(whole, tmp_path / "run", kind, kills=10, seed=2)


def test_the_harness_tells_tables_apart(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, value in (("a", 1.0), ("b", 1.0), ("c", 1.1)):
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"unit": ["x"], "value": [value]}), tmp_path / name / "quantities.parquet")
    same_tables(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        same_tables(tmp_path / "a", tmp_path / "c")
    (tmp_path / "b" / "quantities.parquet").rename(tmp_path / "b" / "more.parquet")
    with pytest.raises(AssertionError):
        same_tables(tmp_path / "a", tmp_path / "b")
    assert importlib.util.find_spec("kill").origin == str(TESTS / "kill.py")
