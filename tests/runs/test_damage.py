"""Shards and parts that are damaged: one line before anything is measured, and what is whole goes on."""

from __future__ import annotations

import pytest
from tally import Tally

from theodolite import InputError
from theodolite.runs.folder import RunFolder
from theodolite.runs.joining import header_of
from theodolite.runs.merging import merge


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Units that do not build on each other."""
    monkeypatch.setattr(Tally, "builds", False)


@pytest.fixture
def killed(tallied, tmp_path):
    """A run of three units that was killed after the second: its shards were not merged."""

    def stop(done, total, what):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(RunFolder, "merge", lambda self, order: None)
        with pytest.raises(KeyboardInterrupt):
            tallied(progress=stop)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:20], "Expecting value"),
        (lambda content: content[:-8], "136 bytes expected, got 128"),
        (lambda content: b"", "8 bytes expected, got 0|Expecting value"),
        (lambda content: (10**5).to_bytes(8, "little") + b"[" * 10**5, "recursion"),
        (lambda content: b"\xff" * len(content), "Expecting value"),
    ],
)
def test_a_shard_with_damaged_arrays_is_one_line_and_its_unit_is_measured_again(
    killed, tallied, tally, damage, message
):
    shard = killed / "shards" / "u0.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    tally.measured.clear()
    with pytest.raises(
        InputError, match=rf"broken .*u0.safetensors \(.*({message}).*\); delete this file and run"
    ) as no:
        tallied()
    assert "\n" not in str(no.value)
    assert tally.measured == []
    shard.unlink()
    run = tallied()
    assert tally.measured == ["u0", "u2"]
    assert (run.status, [[*run.arrays(unit)] for unit in run.units]) == ("complete", [["draws"]] * 3)


def test_a_header_says_where_each_array_is(killed):
    start, arrays = header_of(killed / "shards" / "u0.safetensors")
    ((name, entry),) = arrays.items()
    assert (name, entry["shape"]) == ("u0/draws", [8])
    assert start + entry["data_offsets"][1] == (killed / "shards" / "u0.safetensors").stat().st_size


def test_a_part_with_damaged_arrays_leaves_nothing_of_the_merge(tallied, tmp_path):
    parts = [tallied(f"part{k}", shard=f"{k}/2").path for k in (1, 2)]
    arrays = parts[1] / "arrays.safetensors"
    whole = arrays.read_bytes()
    arrays.write_bytes(whole[:20])
    with pytest.raises(InputError, match=r"broken .*part2/arrays.safetensors"):
        merge(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    arrays.write_bytes(whole)
    assert merge(parts, tmp_path / "merged").status == "complete"
