"""The run folder survives kills, full disks and second processes."""

import errno
import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from theodolite.errors import InputError
from theodolite.surveys import store
from theodolite.surveys.store import (
    FORMAT,
    SCHEMA,
    RunFolder,
    is_held,
    read_info,
    read_record,
    read_rows,
    write_atomically,
)


def row(sample, quantity="local_rank", value=1.0):
    return {
        "model": "tiny", "sample": sample, "map": "decoder", "sigma": None, "quantity": quantity,
        "value": value, "stderr": 0.1, "passes": 3, "n": 2, "status": "ok",
    }  # fmt: skip


def arrays(seed):
    draws = torch.Generator().manual_seed(seed)
    return {
        "latent": torch.randn(3, 5, generator=draws),
        "spectrum/nodes": torch.randn(7, generator=draws, dtype=torch.float64),
        "odd": torch.arange(3, dtype=torch.uint8),
    }


@pytest.fixture
def folder(tmp_path):
    result = RunFolder(tmp_path / "run")
    result.make()
    result.write_info({"format": FORMAT})
    return result


def add(folder, sample, seed=0):
    picture = {".png": Image.new("RGB", (4, 4))}
    folder.write_shard(sample, [row(sample), row(sample, "curvature")], arrays(seed), picture, {"seconds": seed})


def files(folder):
    return sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())


def test_shards_are_merged_in_order_and_removed(folder):
    for seed, sample in enumerate(["b", "a", "c"]):
        add(folder, sample, seed)
    before, notes = read_rows(folder.path)
    folder.merge(["c", "b", "a"])
    after, kept = read_rows(folder.path)
    assert after["sample"].to_pylist() == ["c", "c", "b", "b", "a", "a"]
    assert after["quantity"].to_pylist() == ["local_rank", "curvature"] * 3
    assert after.schema.equals(SCHEMA)
    assert notes == kept == {"b": {"seconds": 0}, "a": {"seconds": 1}, "c": {"seconds": 2}}
    assert before.num_rows == after.num_rows
    thumbnails = ["thumbnails/a.png", "thumbnails/b.png", "thumbnails/c.png"]
    assert files(folder) == ["arrays.safetensors", "quantities.parquet", "run.json", *thumbnails]


def test_merged_arrays_are_the_shards_arrays(folder):
    for seed, sample in enumerate(["a", "b"]):
        add(folder, sample, seed)
    folder.merge(["a", "b"])
    add(folder, "c", 2)
    folder.merge(["a", "b", "c"])
    merged = load_file(folder.path / "arrays.safetensors")
    assert len(merged) == 9
    for seed, sample in enumerate(["a", "b", "c"]):
        for name, expected in arrays(seed).items():
            assert torch.equal(merged[f"{sample}/{name}"], expected)
            assert merged[f"{sample}/{name}"].dtype == expected.dtype


@pytest.mark.parametrize("survivor", ["nothing", "arrays", "rows"])
def test_a_kill_during_the_merge_loses_and_doubles_nothing(folder, monkeypatch, survivor):
    for seed, sample in enumerate(["a", "b"]):
        add(folder, sample, seed)

    def killed(*args, **kwargs):
        raise SystemExit

    def dies_at(name):
        def replaced(source, target):
            if str(target).endswith(name):
                raise SystemExit
            os.rename(source, target)

        return replaced

    with monkeypatch.context() as patch:
        if survivor == "rows":
            patch.setattr(store.Path, "unlink", killed)
        else:
            patch.setattr(store.os, "replace", dies_at({"nothing": ".safetensors", "arrays": ".parquet"}[survivor]))
        with pytest.raises(SystemExit):
            folder.merge(["a", "b"])
    assert read_rows(folder.path)[0].num_rows == 4
    folder.merge(["a", "b"])
    assert read_rows(folder.path)[0].num_rows == 4
    assert len(load_file(folder.path / "arrays.safetensors")) == 6
    assert not folder.shards.exists()


def test_a_sample_counts_as_finished_only_with_its_last_file(folder, monkeypatch):
    add(folder, "a")
    kept = files(folder)
    real = store.write_atomically

    def dies_before_the_rows(path, chunks):
        if path.name == "b.parquet":
            raise KeyboardInterrupt
        real(path, chunks)

    monkeypatch.setattr(store, "write_atomically", dies_before_the_rows)
    with pytest.raises(KeyboardInterrupt):
        add(folder, "b")
    assert list(read_rows(folder.path)[1]) == ["a"]
    assert set(files(folder)) - set(kept) == {"shards/b.safetensors", "thumbnails/b.png"}
    folder.merge(["a", "b"])
    assert read_rows(folder.path)[0]["sample"].to_pylist() == ["a", "a"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_half_written_file(tmp_path, monkeypatch, code):
    (tmp_path / "a").write_bytes(b"before")

    def full(handle):
        raise OSError(code, "No space left on device")

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(InputError, match=r"no space left.*same command again") as caught:
        write_atomically(tmp_path / "a", [b"after"])
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EFBIG, errno.EROFS])
def test_other_errors_of_the_disk_are_one_line_too(tmp_path, monkeypatch, code):
    def failing(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(store.os, "fsync", failing)
    with pytest.raises(InputError, match=f"cannot write .*{os.strerror(code)}.*same command again") as caught:
        write_atomically(tmp_path / "a", [b"after"])
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_bug_while_writing_stays_a_bug(tmp_path):
    with pytest.raises(TypeError):
        write_atomically(tmp_path / "a", ["text"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["quantities.parquet", "shards/b.parquet"])
def test_a_damaged_table_is_named(folder, name):
    add(folder, "a")
    folder.merge(["a"])
    add(folder, "b")
    file = folder.path / name
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=rf"broken .*{name} .*delete this file") as caught:
        read_rows(folder.path)
    assert "\n" not in str(caught.value)


def test_reading_a_table_does_not_abort_the_process_at_its_end(folder):
    add(folder, "a")
    folder.merge(["a"])
    code = (
        "import os, pathlib, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import torch; "
        "from theodolite.surveys.store import read_rows; print(read_rows(pathlib.Path(sys.argv[1]))[0].num_rows)"
    )
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_a_record_without_its_parts_is_called_broken(folder):
    with pytest.raises(InputError, match=r"broken run\.json .* lacks its images"):
        read_record(folder.path)
    folder.write_info({"format": FORMAT, "data": {"files": []}, "quantities": {}})
    with pytest.raises(InputError, match=r"broken run\.json"):
        read_record(folder.path)


def test_leftovers_of_a_kill_are_tidied(folder):
    add(folder, "a")
    for leftover in (folder.path, folder.shards, folder.thumbnails):
        (leftover / ".b.parquet.tmp").write_bytes(b"half")
    folder.tidy()
    assert not [name for name in files(folder) if name.endswith(".tmp")]
    assert "shards/a.parquet" in files(folder)


def test_a_new_or_empty_folder_is_free_and_a_run_is_recognised(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    assert not RunFolder(tmp_path / "empty").check()
    assert not RunFolder(tmp_path / "a" / "b" / "c").check()
    assert not (tmp_path / "a").exists()
    assert folder.check()


def test_whatever_is_in_the_way_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="got a file"):
        RunFolder(tmp_path / "file").check()
    with pytest.raises(InputError, match="is a file"):
        RunFolder(tmp_path / "file" / "run").check()
    with pytest.raises(InputError, match="not a run"):
        RunFolder(tmp_path).check()
    monkeypatch.setattr(store.os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="permission denied"):
        RunFolder(tmp_path / "new").check()
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store.Path, "mkdir", refused)
    with pytest.raises(InputError, match=r"cannot make the run folder.*Permission denied"):
        RunFolder(tmp_path / "run").make()


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"format": FORMAT + 1})])
def test_a_foreign_or_damaged_run_json_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        read_info(tmp_path)
    with pytest.raises(InputError, match=r"run\.json"):
        RunFolder(tmp_path).check()


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="theodolite survey"):
            read_info(path)


def test_two_surveys_cannot_write_to_one_folder(folder):
    with folder.locked(), pytest.raises(InputError, match="another survey"), RunFolder(folder.path).locked():
        pass
    with folder.locked():
        assert is_held(folder.path)
    assert not is_held(folder.path)
