"""Parts of a run, and the run that they make."""

from __future__ import annotations

import json

import pytest

from theodolite import InputError, read_run
from theodolite.runs.merging import merge
from theodolite.runs.sharding import Shard


@pytest.fixture(autouse=True)
def apart(request, monkeypatch):
    """Units that do not build on each other, but where a test asks for them."""
    if "building" not in request.fixturenames:
        from tally import Tally

        monkeypatch.setattr(Tally, "builds", False)


@pytest.fixture
def building():
    """Units that build on each other."""


def test_merged_parts_are_the_run_of_all_units(tallied, contents, tmp_path):
    whole = tallied("whole")
    parts = [tallied(f"part{k}", shard=f"{k}/2") for k in (1, 2)]
    assert [part.units for part in parts] == [["u0", "u2"], ["u1"]]
    assert [part.status for part in parts] == ["complete", "complete"]
    merged = merge([part.path for part in reversed(parts)], tmp_path / "merged")
    assert (merged.status, merged.units) == ("complete", whole.units)
    a, b = contents(whole.path), contents(merged.path)
    for name in ("run.json", "quantities.parquet"):  # both hold times
        del a[name], b[name]
    assert a == b
    assert str(merged.table.to_pylist()) == str(whole.table.to_pylist())  # NaN is not equal to itself
    same = ("configuration", "settings", "content", "units", "quantities", "messages", "failed")
    assert {name: whole.info[name] for name in same} == {name: merged.info[name] for name in same}
    assert "shard" not in merged.info
    assert "--shard" not in merged.info["command"]
    assert merged.info["command"].endswith(f"--out {merged.path}")
    assert len(merged.info["sittings"]) == 2


def test_a_part_that_is_missing_leaves_a_run_that_goes_on(tallied, tally, tmp_path):
    whole = tallied("whole")
    part = tallied("part", shard="1/2")
    merged = merge([part.path], tmp_path / "merged")
    assert (merged.status, merged.units) == ("interrupted", ["u0", "u2"])
    tally.measured.clear()
    finished = tallied("merged")
    assert tally.measured == ["u1"]
    assert str(finished.table.to_pylist()) == str(whole.table.to_pylist())


def test_a_part_is_resumed_and_repeated_as_a_run_is(tallied, tally, contents, tmp_path):
    part = tallied("part", shard="2/3")
    before = contents(part.path)
    tally.measured.clear()
    tallied("part", shard="2/3")
    assert (tally.measured, contents(part.path)) == ([], before)
    for other in ("1/3", None):
        with pytest.raises(InputError, match="holds another part"):
            tallied("part", shard=other)
    assert part.info["command"].count("--shard 2/3") == 1


def test_a_unit_that_failed_in_its_part_fails_in_the_whole(tallied, tally, tmp_path):
    tally.broken["u1"] = ValueError("boom")
    parts = [tallied("part", shard="1/1")]
    merged = merge([parts[0].path], tmp_path / "merged")
    assert merged.status == "complete"
    assert [entry["unit"] for entry in merged.info["failed"]] == ["u1"]


def test_what_cannot_be_merged_is_refused_and_nothing_is_left(tallied, tmp_path):
    first, other = tallied("first", shard="1/2"), tallied("other", seed=5)
    out = tmp_path / "merged"
    for runs, message in (
        ([], "runs to merge expected"),
        ([first.path, other.path], "one configuration expected.*seed 0 there, 5 here"),
        ([first.path, tmp_path / "nothing"], "run folder expected"),
    ):
        with pytest.raises(InputError, match=message):
            merge(runs, out)
        assert not out.exists()
    with pytest.raises(InputError, match="holds a run"):
        merge([first.path], other.path)
    assert read_run(other.path).status == "complete"


def test_parts_of_different_batches_are_not_merged(tallied, tmp_path):
    parts = [tallied(f"part{k}", shard=f"{k}/2").path for k in (1, 2)]
    record = json.loads((parts[1] / "run.json").read_text())
    (parts[1] / "run.json").write_text(json.dumps({**record, "batch": 42}))
    with pytest.raises(InputError, match=r"as many units at once expected, got 1 in .*part1 and 42 in .*part2"):
        merge(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", ""])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"--shard expected as I/N"):
        Shard.of_text(text)


def test_parts_are_disjoint_cover_everything_and_are_not_empty():
    units = [f"u{k}" for k in range(7)]
    parts = [Shard(k, 3).units(units) for k in (1, 2, 3)]
    assert sorted(unit for part in parts for unit in part) == units
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(InputError, match="at least 9 units, got 7; use fewer parts"):
        Shard(8, 9).units(units)


def test_a_run_whose_units_build_on_each_other_is_not_parted(building, tallied, tmp_path):
    with pytest.raises(InputError, match="u1 builds on u0; leave it out"):
        tallied("part", shard="1/2")
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"shard": [1]}, "`shard` expected to be a dict"),
        ({"shard": {"units": "u0"}}, "`shard.units` expected to list the units"),
        ({"shard": {"units": ["../u0"]}}, "`shard.units` expected to list the units"),
        ({"command": "theodolite 'tally"}, "`command` is no command line"),
    ],
)
def test_a_damaged_part_is_one_line(tallied, tmp_path, damage, message):
    part = tallied("part", shard="1/2")
    file = part.path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    with pytest.raises(InputError, match=message):
        merge([part.path], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
