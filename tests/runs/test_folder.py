"""The run folder survives kills, full disks and second processes."""

import errno
import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from theodolite.errors import DiskError, InputError
from theodolite.runs import folder as module
from theodolite.runs import joining, lock
from theodolite.runs.folder import RunFolder, write_whole
from theodolite.runs.lock import is_held
from theodolite.runs.tables import NUMBER, parquet, read_rows, read_table

SCHEMA = pa.schema([("unit", pa.string()), ("sigma", pa.float64()), *NUMBER])


def row(quantity="local_rank", value=1.0):
    entry = {"value": value, "stderr": 0.1, "low": 0.8, "high": 1.2, "passes": 3, "n": 2, "status": "ok"}
    return {"sigma": None, "quantity": quantity, **entry}


def arrays(seed):
    draws = torch.Generator().manual_seed(seed)
    return {
        "latent": torch.randn(3, 5, generator=draws),
        "spectrum/nodes": torch.randn(7, generator=draws, dtype=torch.float64),
        "odd": torch.arange(3, dtype=torch.uint8),
    }


@pytest.fixture
def folder(tmp_path):
    result = RunFolder(tmp_path / "run", SCHEMA)
    result.path.mkdir()
    result.write_record({"format": 2})
    return result


def add(folder, unit, seed=0):
    rows = [row(), row("curvature")]
    folder.write_unit(unit, rows, arrays(seed), {"": Image.new("RGB", (4, 4))}, {"seconds": seed})


def files(folder):
    return sorted(path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file())


def rows(folder):
    return read_rows(folder.path, SCHEMA)


def test_shards_are_merged_in_order_and_removed(folder):
    for seed, unit in enumerate(["b", "a", "c"]):
        add(folder, unit, seed)
    before, notes = rows(folder)
    folder.merge(["c", "b", "a"])
    after, kept = rows(folder)
    assert after["unit"].to_pylist() == ["c", "c", "b", "b", "a", "a"]
    assert after["quantity"].to_pylist() == ["local_rank", "curvature"] * 3
    assert after.schema.equals(SCHEMA)
    assert notes == kept == {"b": {"seconds": 0}, "a": {"seconds": 1}, "c": {"seconds": 2}}
    assert before.num_rows == after.num_rows
    pictures = ["pictures/a.png", "pictures/b.png", "pictures/c.png"]
    assert files(folder) == ["arrays.safetensors", *pictures, "quantities.parquet", "run.json"]


@pytest.mark.parametrize("most", [1, 2, 64])
def test_merged_arrays_are_the_shards_arrays(folder, monkeypatch, most):
    monkeypatch.setattr(joining, "_MOST_OPEN", most)
    for seed, unit in enumerate(["a", "b"]):
        add(folder, unit, seed)
    folder.merge(["a", "b"])
    add(folder, "c", 2)
    folder.merge(["a", "b", "c"])
    merged = load_file(folder.path / "arrays.safetensors")
    assert len(merged) == 9
    for seed, unit in enumerate(["a", "b", "c"]):
        for name, expected in arrays(seed).items():
            assert torch.equal(merged[f"{unit}/{name}"], expected)  # stored, not computed again
            assert merged[f"{unit}/{name}"].dtype == expected.dtype


def test_a_unit_that_is_measured_again_takes_the_place_of_the_old_one(folder):
    add(folder, "a", 0)
    folder.merge(["a"])
    folder.write_unit("a", [row(value=9.0)], arrays(5), {}, {"seconds": 5})
    for _ in range(2):
        table, notes = rows(folder)
        assert table["value"].to_pylist() == [9.0]
        assert notes == {"a": {"seconds": 5}}
        folder.merge(["a"])
    merged = load_file(folder.path / "arrays.safetensors")
    assert torch.equal(merged["a/latent"], arrays(5)["latent"])


@pytest.mark.parametrize("survivor", ["nothing", "arrays", "rows"])
def test_a_kill_during_the_merge_loses_and_doubles_nothing(folder, monkeypatch, survivor):
    for seed, unit in enumerate(["a", "b"]):
        add(folder, unit, seed)

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
            patch.setattr(module.shutil, "rmtree", killed)
        else:
            patch.setattr(module.os, "replace", dies_at({"nothing": ".safetensors", "arrays": ".parquet"}[survivor]))
        with pytest.raises(SystemExit):
            folder.merge(["a", "b"])
    assert rows(folder)[0].num_rows == 4
    folder.merge(["a", "b"])
    assert rows(folder)[0].num_rows == 4
    assert len(load_file(folder.path / "arrays.safetensors")) == 6
    assert not folder.shards.exists()


def test_a_unit_counts_as_finished_only_with_its_last_file(folder, monkeypatch):
    add(folder, "a")
    kept = files(folder)
    real = module.write_whole

    def dies_before_the_rows(path, chunks):
        if path.name == "b.parquet":
            raise KeyboardInterrupt
        real(path, chunks)

    monkeypatch.setattr(module, "write_whole", dies_before_the_rows)
    with pytest.raises(KeyboardInterrupt):
        add(folder, "b")
    assert list(rows(folder)[1]) == ["a"]
    assert set(files(folder)) - set(kept) == {"shards/b.safetensors", "pictures/b.png"}
    monkeypatch.undo()
    folder.merge(["a", "b"])
    assert rows(folder)[0]["unit"].to_pylist() == ["a", "a"]


def test_what_follows_from_units_is_replaced_and_has_no_unit(folder):
    add(folder, "a")
    folder.merge(["a"])
    for value in (1.0, 2.0):
        folder.write_derived([row("mean", value)], {"ends": [{"least": value}]}, {"all": Image.new("L", (2, 2))})
        table, notes = rows(folder)
        assert table["unit"].to_pylist() == ["a", "a", None]
        assert table["value"].to_pylist()[-1] == value
        assert list(notes) == ["a"]
    assert read_table(folder.path / "ends.parquet").to_pylist() == [{"least": 2.0}]
    with pytest.raises(InputError, match=r"middle\.parquet is missing; run its command again"):
        read_table(folder.path / "middle.parquet")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_half_written_file(tmp_path, monkeypatch, code):
    (tmp_path / "a").write_bytes(b"before")

    def full(handle):
        raise OSError(code, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(DiskError, match=r"no space left.*same command again") as caught:
        write_whole(tmp_path / "a", [b"after"])
    assert "\n" not in str(caught.value)
    assert (tmp_path / "a").read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EFBIG, errno.EROFS])
def test_other_errors_of_the_disk_are_one_line_too(tmp_path, monkeypatch, code):
    def failing(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.os, "fsync", failing)
    with pytest.raises(DiskError, match=f"cannot write .*{os.strerror(code)}.*same command again") as caught:
        write_whole(tmp_path / "a", [b"after"])
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_bug_while_writing_stays_a_bug(tmp_path):
    with pytest.raises(TypeError):
        write_whole(tmp_path / "a", ["text"])
    assert os.listdir(tmp_path) == []


def test_a_link_that_waits_in_the_place_of_a_half_written_file_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / ".a.tmp").symlink_to(tmp_path / "mine")
    write_whole(tmp_path / "a", [b"after"])
    assert (tmp_path / "mine").read_text() == "kept"
    assert (tmp_path / "a").read_bytes() == b"after"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("name", ["quantities.parquet", "shards/b.parquet"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "other columns", "a link", "a fifo", "a folder"])
def test_a_damaged_table_is_named(folder, name, damage):
    add(folder, "a")
    folder.merge(["a"])
    add(folder, "b")
    file = folder.path / name
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-9])
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "other columns":
        file.write_bytes(parquet(pa.table({"x": [1]})))
    else:
        file.rename(folder.path / "elsewhere")
        make = {"a link": lambda: file.symlink_to(folder.path / "elsewhere"), "a fifo": lambda: os.mkfifo(file)}
        make.get(damage, file.mkdir)()
    with pytest.raises(InputError, match=rf"{name}.*(delete this file|move it away)") as caught:
        rows(folder)
    assert "\n" not in str(caught.value)


def test_reading_a_table_does_not_abort_the_process_at_its_end(folder):
    add(folder, "a")
    folder.merge(["a"])
    code = (
        "import os, pathlib, sys; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import torch; "
        "from theodolite.runs.tables import read_table; "
        "print(read_table(pathlib.Path(sys.argv[1]) / 'quantities.parquet').num_rows)"
    )
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", code, str(folder.path)], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


def test_leftovers_of_a_kill_are_tidied_once_the_folder_is_held(folder):
    add(folder, "a")
    for place, name in (("", ".run.json.tmp"), ("shards", ".b.parquet.tmp"), ("pictures", ".b.png.tmp")):
        (folder.path / place / name).write_bytes(b"half")
    (folder.path / ".report.html.4242").write_bytes(b"half")
    (folder.path / ".mine").write_bytes(b"whole")
    with folder.held():
        pass
    assert [name for name in files(folder) if "/." in f"/{name}"] == [".mine"]
    assert "shards/a.parquet" in files(folder)


def test_only_leftovers_of_a_kill_leave_a_folder_free(tmp_path):
    (tmp_path / ".run.json.tmp").write_bytes(b"half")
    RunFolder(tmp_path, SCHEMA).check()


def test_a_new_or_empty_folder_is_free_and_is_gone_after_a_refusal(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "a" / "b" / "c", folder.path):
        free = RunFolder(path, SCHEMA)
        free.check()
        with pytest.raises(InputError, match="refused"), free.held():
            raise InputError("refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "run"]


def test_whatever_is_in_the_way_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"got a file"):
        RunFolder(tmp_path / "file", SCHEMA).check()
    with pytest.raises(InputError, match=r"is a file|Not a directory"):
        RunFolder(tmp_path / "file" / "run", SCHEMA).check()
    with pytest.raises(InputError, match="not a run"):
        RunFolder(tmp_path, SCHEMA).check()
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="permission denied"):
        RunFolder(tmp_path / "new", SCHEMA).check()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["n" * 256, "deep/" + "n" * 256])
def test_a_name_that_is_too_long_is_one_line_and_leaves_nothing(tmp_path, name):
    free = RunFolder(tmp_path / name, SCHEMA)

    def use():
        free.check()
        with free.held():
            pass

    with pytest.raises(InputError, match=r"run folder.*: File name too long; give another --out"):
        use()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module.Path, "mkdir", refused)
    with (
        pytest.raises(InputError, match=r"cannot make the run folder.*Permission denied"),
        RunFolder(tmp_path / "run", SCHEMA).held(),
    ):
        pass


def test_two_processes_cannot_write_to_one_folder(folder):
    with (
        folder.held(),
        pytest.raises(InputError, match="another process is writing"),
        RunFolder(folder.path, SCHEMA).held(),
    ):
        pass
    with folder.held():
        assert is_held(folder.path)
    assert not is_held(folder.path)
    assert not is_held(folder.path / "nowhere")


def test_a_folder_that_was_removed_while_it_was_waited_for_is_made_again(tmp_path, monkeypatch):
    real, path, removed = lock._lock, tmp_path / "run", []

    def removes_once(place):
        handle = real(place)
        if not removed:  # the process that held it was refused, and took its empty folder away
            removed.append(place.rmdir())
        return handle

    monkeypatch.setattr(lock, "_lock", removes_once)
    with RunFolder(path, SCHEMA).held():
        assert os.path.isdir(path)
        monkeypatch.setattr(lock, "_lock", real)
        assert is_held(path)


def test_the_notes_are_json_without_nan(folder):
    with pytest.raises(ValueError, match="JSON"):
        folder.write_unit("a", [row()], {}, {}, {"seconds": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        folder.write_record({"seconds": float("inf")})
    assert json.loads((folder.path / "run.json").read_text()) == {"format": 2}
