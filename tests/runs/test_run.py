"""Reading a run: in whatever state it was left, and whatever a stranger put into its folder."""

import json
import os
import random
import struct

import numpy as np
import pytest
import torch
from PIL import Image

import theodolite
from theodolite.errors import InputError
from theodolite.report.render import write_report
from theodolite.runs import folder as folders
from theodolite.runs import read_run
from theodolite.runs.conduct import _Conducted
from theodolite.runs.folder import RunFolder
from theodolite.runs.run import schema_of


@pytest.fixture(params=["killed", "merged"])
def run(request, tallied, tmp_path, monkeypatch):
    """Three units that nobody merged, as a kill leaves them, or merged."""
    if request.param == "merged":
        return tallied()

    def dies(*_):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(_Conducted, "_finish", dies)
        with pytest.raises(SystemExit):
            tallied()
    return read_run(tmp_path / "run")


def rewritten(path, **entries):
    file = path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))
    return path


def test_a_killed_run_reads_like_a_merged_one(run):
    merged = run.info["status"] == "complete"
    assert run.units == list(run) == ["u0", "u1", "u2"]
    assert run.quantities[:2] == ["mean", "count"] if merged else ["mean", "count"]
    assert run.status == ("complete" if merged else "interrupted")  # nobody writes to it
    assert repr(run).endswith(f"tally, {run.status}, 3 of 3 units)")
    assert run.picture("u1") == run.path / "pictures" / "u1.png"
    assert run.picture("u1", "back") == run.path / "pictures" / "u1.back.png"
    assert run.picture("u1", "front") is None
    assert run.about("u1")["order"]
    assert run.piece("u1").failed == [{"what": "half", "reason": "it was too much"}]
    assert run.kind == "tally"
    assert run.arguments == {"thing": "abacus"}
    assert run.words("mean").meaning == ("What is drawn on average." if merged else "")
    if not merged:
        with RunFolder(run.path, schema_of(run.experiment)).held():
            assert read_run(run.path).status == "running"


def test_a_column_is_one_quantity_of_every_unit(run):
    column = run.column("mean")
    assert column["unit"].tolist() == ["u0", "u1", "u2"]
    assert set(column["side"]) == {"left"}
    assert column["level"].tolist() == [0.5] * 3
    for unit, value in zip(column["unit"], column["value"]):
        assert value == pytest.approx(float(run.arrays(unit)["draws"].mean()))
    assert np.allclose(column["high"], column["value"] + 1.96 * column["stderr"])
    assert run.column("mean", side="right")["value"].size == 0
    with pytest.raises(InputError, match="did you mean 'mean'"):
        run.column("maen")


def test_rows_pieces_and_estimates_are_the_same_numbers(run):
    (row,) = run.rows("mean", unit="u1")
    assert (row["side"], row["step"], row["level"]) == ("left", None, 0.5)
    assert run.rows("mean", step=None) == run.rows("mean")
    piece = run.piece("u1")
    assert [entry["quantity"] for entry in piece.rows] == ["mean", "count", "hole", "sum"]
    estimate = run.estimate("mean")
    assert estimate.value.tolist() == run.column("mean")["value"].tolist()
    assert estimate.statuses == ("ok",) * 3
    with pytest.raises(InputError, match="was not measured at"):
        run.estimate("mean", side="right")


def test_arrays_are_found_by_unit(run):
    assert list(run.arrays("u2")) == ["draws"]
    assert run.arrays("u2")["draws"].dtype == torch.float64
    with pytest.raises(InputError, match="'u9' is not finished"):
        run.arrays("u9")


def test_the_merged_arrays_are_opened_once(tallied, monkeypatch):
    import safetensors

    run, opened, real = tallied(), [], safetensors.safe_open

    def counted(file, *more, **options):
        opened.append(file)
        return real(file, *more, **options)

    monkeypatch.setattr(safetensors, "safe_open", counted)
    for _ in range(3):
        for unit in run.units:
            assert run.arrays(unit)["draws"].shape == (8,)
    assert len(opened) == 1


def test_arrays_that_were_merged_meanwhile_are_found(tallied, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_Conducted, "_finish", lambda *_: exit())
        with pytest.raises(SystemExit):
            tallied()
    early = read_run(tmp_path / "run")
    before = early.arrays("u0")["draws"]
    tallied()
    assert torch.equal(early.arrays("u0")["draws"], before)


def test_the_summary_leaves_out_what_is_no_number(run):
    summary = {entry["quantity"]: entry for entry in run.summary()}
    values = run.column("mean")["value"]
    assert summary["mean"]["median"] == pytest.approx(np.median(values))
    assert (summary["mean"]["low"], summary["mean"]["high"]) == pytest.approx(tuple(np.quantile(values, (0.25, 0.75))))
    assert summary["mean"]["median_stderr"] == pytest.approx(np.median(run.column("mean")["stderr"]))
    assert (summary["mean"]["count"], summary["mean"]["flagged"]) == (3, 0)
    assert (summary["hole"]["count"], summary["hole"]["flagged"]) == (0, 3)
    assert np.isnan(summary["hole"]["median"])
    assert "high_share" not in summary  # it has no unit


def test_a_run_without_a_finished_unit_is_empty(tallied, tmp_path):
    def stop(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tallied(progress=stop)
    run = read_run(str(tmp_path / "run"))
    assert (run.units, run.quantities, run.summary(), run.is_whole) == ([], [], [], False)


def test_the_parquet_opens_with_one_line_elsewhere(tallied):
    file = str(tallied().path / "quantities.parquet")
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    frame = pandas.read_parquet(file)
    assert duckdb.sql(f"select count(*) from '{file}' where quantity = 'mean'").fetchall() == [(3,)]
    assert duckdb.sql(f"select * from '{file}'").columns == list(frame.columns)


def test_the_parquet_opens_in_polars(tallied):
    polars = pytest.importorskip("polars")
    assert polars.read_parquet(tallied().path / "quantities.parquet")["unit"].null_count() == 2


# ---- what a stranger may have put there ---------------------------------------------------------------------------


@pytest.fixture
def refused(invoke):
    """Every reader of this folder says one line, exits with 2, and says this."""

    def check(path, message):
        for use in (lambda: write_report(path), lambda: theodolite.read_run(path).summary()):
            with pytest.raises(InputError, match=message) as caught:
                use()
            assert "\n" not in str(caught.value)
        for words in (("show", path), ("show", path, "--json"), ("report", path)):
            result = invoke(*words)
            assert (result.exit_code, result.stdout) == (2, ""), (words, result.output, result.exception)
            assert len(result.stderr.splitlines()) == 1
        assert not (path / "report.html").exists()

    return check


@pytest.fixture
def invoke():
    from click.testing import CliRunner

    from theodolite.cli.main import main

    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("unit", ["../../secret", "/etc/passwd", "a/b", ".hidden", "", "a\nb", 5, None, "x" * 300])
def test_ids_of_units_that_lead_elsewhere_are_refused(tallied, refused, unit):
    path = rewritten(tallied().path, units=["u0", unit])
    refused(path, r"broken .*run\.json: ids of units expected as plain words")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"settings": []}, "`settings` expected to be a dict, got '\\[\\]'"),
        ({"quantities": ["mean"]}, "`quantities` expected"),
        ({"messages": {"mean": 5}}, "entries of `messages`"),
        ({"quantities": {"mean": "words"}}, "entries of `quantities`"),
        ({"failed": ["u1"]}, "entries of `failed`"),
        ({"sittings": {}}, "`sittings` expected to be a list"),
        ({"status": "done"}, "`status` expected to be one of running, interrupted, complete, got 'done'"),
        ({"units": {}}, "`units` expected"),
        ({"thing": "abacus"}, "`thing` expected to be a dict"),
        ({"self_check": ["passed"]}, "`self_check` expected"),
        ({"kind": "sundial"}, "a run of .*tally.* expected, got one of 'sundial'"),
        ({"kind": ["tally"]}, "`kind` expected to be a str"),
        ({"format": 99}, "expected to hold a run of format 2"),
    ],
)
def test_a_record_of_other_types_is_refused(tallied, refused, entries, message):
    refused(rewritten(tallied().path, **entries), message)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "{", '"text"', "[" * 100_000, '{"format": 2}'])
def test_a_foreign_or_damaged_record_is_refused(tallied, refused, content):
    path = tallied().path
    (path / "run.json").write_text(content)
    refused(path, r"run\.json")
    with pytest.raises(InputError, match=r"run\.json"):
        tallied()
    assert (path / "run.json").read_text() == content


@pytest.mark.parametrize("make", ["link", "fifo", "folder"])
def test_a_record_that_is_no_file_is_refused(tallied, refused, make):
    path = tallied().path
    (path / "run.json").rename(path / "elsewhere")
    {"link": lambda: (path / "run.json").symlink_to("elsewhere"), "fifo": lambda: os.mkfifo(path / "run.json")}.get(
        make, (path / "run.json").mkdir
    )()
    refused(path, "no regular file")


def test_a_folder_without_a_run_says_how_to_make_one(tally, refused, tmp_path):
    refused(tmp_path, "theodolite survey")
    for path in (tmp_path / "missing", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="theodolite survey"):
            read_run(path)
    with pytest.raises(InputError, match="run folder expected to be a path, got an empty one"):
        read_run("")


def test_a_missing_table_is_refused_and_measured_again(tallied, tally, refused):
    path = tallied().path
    (path / "quantities.parquet").unlink()
    refused(path, r"quantities\.parquet is missing; run its command again.*theodolite tally abacus")
    tally.measured.clear()
    assert tallied().units == ["u0", "u1", "u2"]
    assert tally.measured == ["u0", "u1", "u2"]


@pytest.mark.parametrize("damage", ["missing", "emptied", "cut", "header", "link", "fifo"])
def test_damaged_arrays_are_one_line(tallied, damage):
    run = tallied()
    file = run.path / "arrays.safetensors"
    content = file.read_bytes()
    file.unlink()
    changed = {"emptied": b"", "cut": content[:-9], "header": struct.pack("<Q", 2**60) + content[8:]}
    if damage in changed:
        file.write_bytes(changed[damage])
    elif damage == "link":
        (run.path / "elsewhere").write_bytes(content)
        file.symlink_to(run.path / "elsewhere")
    elif damage == "fifo":
        os.mkfifo(file)
    with pytest.raises(InputError, match=r"arrays\.safetensors") as caught:
        run.arrays("u0")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["link", "linked folder", "huge", "fifo", "no picture", "truncated"])
@pytest.mark.filterwarnings("error")
def test_only_pictures_that_are_safe_are_shown(tallied, tmp_path, kind):
    run = tallied()
    file = run.path / "pictures" / "u0.png"
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9), "red").save(secret)
    file.unlink()
    if kind == "link":
        file.symlink_to(secret)
    elif kind == "linked folder":
        (run.path / "pictures").rename(tmp_path / "pictures")
        secret.rename(tmp_path / "pictures" / "u0.png")
        (run.path / "pictures").symlink_to(tmp_path / "pictures")
    elif kind == "huge":
        Image.new("1", (20_000, 20_000)).save(file)
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file.write_bytes(b"\x89PNG\r\n\x1a\n and no more" if kind == "truncated" else b"text")
    assert run.picture("u0") is None
    if kind != "linked folder":
        assert run.picture("u1") is not None


@pytest.mark.parametrize("name", ["../u0", "/etc/passwd", "a/../u0", "", "."])
def test_names_of_pictures_lead_nowhere_else(tallied, name):
    assert tallied().picture(name) is None


def test_a_record_is_read_or_refused_whatever_stands_in_it(tallied, invoke):
    """Every entry, at any depth, takes other types in turn: there is an answer or one line, never a traceback."""
    path = tallied().path
    record = json.loads((path / "run.json").read_text())
    for leaf in leaves(record):
        for value in (None, [], {}, "text", 7, [1], {"a": 1}):
            (path / "run.json").write_text(json.dumps(changed(record, leaf, value)))
            result = invoke("show", path, "--json")
            assert result.exit_code in (0, 2), (leaf, value, result.exception)
            assert len(result.stderr.splitlines()) <= 2 + (result.exit_code == 0) * 3


def leaves(tree, path=()):
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def changed(tree, path, value):
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = changed(tree[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("name", ["quantities.parquet", "arrays.safetensors", "ends.parquet"])
def test_flipped_bytes_are_read_or_refused(tallied, invoke, name):
    path = tallied().path
    content = (path / name).read_bytes()
    draws = random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draws.randrange(len(damaged))] ^= 1 << draws.randrange(8)
        (path / name).write_bytes(damaged)
        result = invoke("show", path, "--json")
        assert result.exit_code in (0, 2), result.exception


def test_files_are_whole_while_another_process_writes(tallied, monkeypatch):
    """A reader at any moment finds every finished unit: shards are removed only once the merged table is there."""
    real, seen = folders.shutil.rmtree, []

    def looks(path, **options):
        seen.append(read_run(path.parent).units)
        real(path, **options)

    monkeypatch.setattr(folders.shutil, "rmtree", looks)
    tallied()
    assert seen == [["u0", "u1", "u2"]]


def test_what_follows_starts_from_the_units_alone(tallied):
    run = tallied()
    bare = run.without_derived()
    assert None in {row["unit"] for row in run.rows()}
    assert repr(bare.rows()) == repr([row for row in run.rows() if row["unit"] is not None])  # NaN is among them
    assert bare.units == run.units
    assert bare.arrays("u1").keys() == run.arrays("u1").keys()
