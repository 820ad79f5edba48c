"""Conducting: nothing is lost, doubled or mixed, whatever stops it; what is complete is not touched."""

import errno
import json
import shutil

import pyarrow.parquet as pq
import pytest
from tally import Other

import theodolite
from theodolite.errors import DiskError, InputError
from theodolite.runs import folder as module
from theodolite.runs import read_run
from theodolite.runs.conduct import _Conducted, conduct, forecast
from theodolite.runs.folder import RunFolder
from theodolite.runs.lock import is_held
from theodolite.runs.run import schema_of
from theodolite.runs.tables import parquet


def numbers(run):
    return {
        (row["unit"], row["quantity"]): (str(row["value"]), str(row["stderr"]), row["status"])
        for row in run.table.to_pylist()
    }


def stopping_after(count, error=KeyboardInterrupt):
    def progress(done, total, what):
        if what and done == count and ":" not in what:
            raise error

    return progress


def test_a_run_folder_holds_what_the_house_promises(tallied):
    calls = []
    run = tallied(progress=lambda *call: calls.append(call))
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    pictures = {f"pictures/{name}.png" for name in ("u0", "u1", "u2", "u0.back", "u1.back", "u2.back", "all")}
    assert names == {"run.json", "quantities.parquet", "arrays.safetensors", "ends.parquet", *pictures}
    assert [call for call in calls if ":" not in call[2]] == [(0, 3, ""), (1, 3, "u0"), (2, 3, "u1"), (3, 3, "u2")]
    assert calls[1] == (0, 3, "u0: drawing")
    assert (run.status, run.units, run.is_whole) == ("complete", ["u0", "u1", "u2"], True)
    assert run.table.schema.names == [
        *("unit", "side", "step", "level", "quantity", "value", "stderr", "low", "high", "n", "passes", "status")
    ]
    assert json.loads((run.path / "run.json").read_text()) == run.info


def test_the_record_says_what_was_done(tallied):
    run = tallied(cut=0.25)
    info = run.info
    assert (info["kind"], info["theodolite"]) == ("tally", theodolite.__version__)
    assert info["arguments"] == {"thing": "abacus"}
    assert info["settings"] == {"units": 3, "draws": 8, "cut": 0.25, "only": None, "seed": 0}
    assert info["command"] == f"theodolite tally abacus --cut 0.25 --out {run.path}"
    assert info["nowhere"] is None
    assert info["failed"] == [{"unit": "u1", "what": "half", "reason": "it was too much"}]
    assert info["messages"] == {"hole": "nothing there"}
    assert info["quantities"]["mean"]["label"] == "Mean"
    assert info["created"] <= info["finished"]
    (sitting,) = info["sittings"]
    assert (sitting["units"], sitting["theodolite"]) == (3, theodolite.__version__)
    assert {"torch", "pyarrow", "python"} <= sitting["versions"].keys()
    assert sitting["machine"]["device"] == "cpu"
    assert sitting["started"] <= sitting["finished"]


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupt_after_any_unit_resumes_to_the_same_bytes(tallied, done):
    whole = tallied("whole")
    with pytest.raises(KeyboardInterrupt):
        tallied(progress=stopping_after(done))
    stopped = read_run(whole.path.parent / "run")
    assert (stopped.info["status"], stopped.units) == ("interrupted", ["u0", "u1", "u2"][:done])
    assert not (stopped.path / "shards").exists()
    resumed = tallied()
    assert timeless(resumed.path) == timeless(whole.path)
    assert (resumed.path / "arrays.safetensors").read_bytes() == (whole.path / "arrays.safetensors").read_bytes()
    assert (resumed.path / "ends.parquet").read_bytes() == (whole.path / "ends.parquet").read_bytes()
    assert [sitting["units"] for sitting in resumed.info["sittings"]] == [done, 3 - done]
    assert resumed.info["created"] == stopped.info["created"]


def timeless(path):
    """Bytes of the table and what is noted beside it, without the seconds."""
    table = pq.read_table(path / "quantities.parquet")
    notes = json.loads(table.schema.metadata[b"theodolite"])
    for note in notes.values():
        note.pop("seconds")
    return parquet(table.replace_schema_metadata()), notes


@pytest.mark.parametrize("unit", ["u0", "u1", "u2"])
def test_an_interrupt_inside_any_unit_keeps_those_before_it(tallied, tally, unit):
    whole = tallied("whole")

    def stop(done, total, what):
        if what == f"{unit}: drawing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tallied(progress=stop)
    stopped = read_run(whole.path.parent / "run")
    assert stopped.units == ["u0", "u1", "u2"][: int(unit[1])]
    assert numbers(tallied()) == numbers(whole)


@pytest.mark.parametrize("done", [1, 2])
def test_a_kill_leaves_a_run_that_reads_and_resumes(tallied, tally, monkeypatch, done):
    whole = tallied("whole")

    def dies(*_):
        raise SystemExit

    with monkeypatch.context() as patch:  # nothing gets to clean up after it, as with kill -9
        patch.setattr(_Conducted, "_finish", dies)
        with pytest.raises(SystemExit):
            tallied(progress=stopping_after(done))
    killed = read_run(whole.path.parent / "run")
    assert (killed.info["status"], killed.status) == ("running", "interrupted")
    assert killed.units == ["u0", "u1", "u2"][:done]
    tally.measured.clear()
    assert numbers(tallied()) == numbers(whole)
    assert tally.measured == ["u0", "u1", "u2"][done:]


@pytest.mark.parametrize("step", ["merge", "write_derived", "write_record"])
def test_a_kill_while_it_is_finished_loses_nothing(tallied, monkeypatch, step):
    whole = tallied("whole")
    real, calls = getattr(RunFolder, step), []

    def dies(self, *args):
        calls.append(args)
        if step != "write_record" or len(calls) > 1:  # the first record stands at the start
            raise SystemExit
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, step, dies)
        with pytest.raises(SystemExit):
            tallied()
    assert read_run(whole.path.parent / "run").status == "interrupted"
    resumed = tallied()
    assert (resumed.status, numbers(resumed)) == ("complete", numbers(whole))


def test_a_complete_run_is_left_as_it_is_to_the_byte(tallied, tally, contents):
    run = tallied()
    before = contents(run.path)
    tally.measured.clear()
    calls = []
    again = tallied(progress=lambda *call: calls.append(call))
    assert (tally.measured, calls) == ([], [])
    assert numbers(again) == numbers(run)
    assert contents(run.path) == before


def test_a_setting_that_judges_is_applied_without_measuring(tallied, tally):
    run = tallied()
    tally.measured.clear()
    lower = tallied(cut=-100.0)
    assert tally.measured == []
    assert lower.settings["cut"] == -100.0
    assert lower.rows("high_share")[0]["value"] == 1.0
    assert run.rows("mean") == lower.rows("mean")
    assert [sitting["units"] for sitting in lower.info["sittings"]] == [3, 0]
    assert lower.info["created"] == run.info["created"]


def test_a_run_may_grow_by_units(tallied, tally):
    tallied(only="u0,u1")
    tally.measured.clear()
    grown = tallied(only="u1,u2,u0")
    assert tally.measured == ["u2"]
    assert grown.units == ["u0", "u1", "u2"]
    assert numbers(grown) == numbers(tallied("whole"))


def test_a_failure_inside_a_unit_is_named_and_tried_again(tallied, tally):
    tally.broken["u1"] = RuntimeError("a bad\nday")
    run = tallied()
    assert (run.status, run.units) == ("complete", ["u0", "u2"])
    assert run.info["failed"] == [{"unit": "u1", "what": None, "reason": "RuntimeError: a bad day"}]
    tally.broken.clear()
    tally.measured.clear()
    again = tallied()
    assert tally.measured == ["u1"]
    assert numbers(again) == numbers(tallied("whole"))


def test_an_expected_failure_is_told_in_its_own_words(tallied, tally):
    tally.broken["u1"] = InputError("this one is another image")
    assert tallied().info["failed"][0]["reason"] == "this one is another image"


def test_a_unit_that_ends_the_process_is_a_failure_like_any_other(tallied, tally):
    tally.broken["u1"] = SystemExit(0)
    run = tallied()
    assert run.units == ["u0", "u2"]
    assert run.info["failed"][0]["reason"] == "SystemExit: 0"


def test_a_run_whose_every_unit_fails_is_an_error(tallied, tally, tmp_path):
    tally.broken.update(dict.fromkeys(["u0", "u1", "u2"], ZeroDivisionError("always")))
    with pytest.raises(RuntimeError, match="ZeroDivisionError: always") as caught:
        tallied()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    run = read_run(tmp_path / "run")
    assert (run.status, run.units) == ("interrupted", [])
    tally.broken.clear()
    assert tallied().status == "complete"


def test_too_few_units_for_what_follows_are_an_error_only_of_a_whole_run(tallied, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tallied(progress=stopping_after(1))
    assert read_run(tmp_path / "run").units == ["u0"]
    for _ in range(2):  # a repetition must not call it complete
        with pytest.raises(InputError, match="two units expected"):
            tallied("one", units=1)
        assert read_run(tmp_path / "one").status == "interrupted"


def test_a_value_that_does_not_exist_is_never_ok(tallied):
    run = tallied()
    for name in ("hole", "unknown"):  # of a unit, and of what follows from several
        assert {row["status"] for row in run.rows(name)} == {"undetermined"}
    assert {row["status"] for row in run.rows("mean")} == {"ok"}


def test_wrong_derivatives_lower_what_rests_on_them(unrecorded, tallied, tally, monkeypatch):
    monkeypatch.setattr(tally, "doubt", True)
    run = tallied()
    assert run.info["self_check"]["first_order_holds"] is False
    assert {row["status"] for row in run.rows("mean")} == {"undetermined"}
    assert {row["status"] for row in run.rows("count")} == {"ok"}


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"draws": 9}, "draws 8 there, 9 here"),
        ({"seed": 1, "units": 4}, "units 3 there, 4 here; seed 0 there, 1 here"),
    ],
)
def test_another_configuration_is_refused_with_every_difference(tallied, contents, given, phrase):
    run = tallied()
    before = contents(run.path)
    with pytest.raises(InputError, match=phrase) as caught:
        tallied(**given)
    assert run.info["command"] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(run.path) == before


def test_other_content_is_refused(tallied, tally, monkeypatch):
    tallied()
    monkeypatch.setattr(tally, "length", "long")
    with pytest.raises(InputError, match="another length"):
        tallied()
    monkeypatch.setattr(tally, "content", lambda self: {"images": {"a": "9", "c": "3"}})
    with pytest.raises(InputError, match="images 1 missing here, 1 not there, 1 changed"):
        tallied()


def test_another_version_is_another_configuration(tallied, contents, monkeypatch):
    run = tallied()
    before = contents(run.path)
    monkeypatch.setattr(theodolite, "__version__", "99.0")
    with pytest.raises(InputError, match=r"theodolite 0\.\d.* there, 99\.0 here"):
        tallied()
    assert contents(run.path) == before


def test_another_kind_is_refused(tallied, contents):
    run = tallied()
    before = contents(run.path)
    with pytest.raises(InputError, match="holds a run of `theodolite tally`, not of `theodolite other`"):
        conduct(Other, ["abacus"], run.path)
    assert contents(run.path) == before


def test_a_shard_of_another_configuration_is_refused(tallied, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tallied(progress=stopping_after(1))
    other = tallied("other", seed=5)
    foreign = RunFolder(tmp_path / "run", schema_of(other.experiment))
    notes = {"configuration": other.info["configuration"], "stamp": "x", "about": {}, "failed": [], "messages": {}}
    foreign.write_unit("u2", [], {}, {}, notes)
    with pytest.raises(InputError, match="holds u2 of another configuration; delete its files below shards"):
        tallied()
    shutil.rmtree(foreign.shards)
    assert tallied().status == "complete"


def test_a_full_disk_keeps_what_is_finished_and_resumes(tallied, tmp_path, monkeypatch):
    whole = tallied("whole")
    real = module.os.fsync
    files_of_a_unit = 4
    left = iter(range(1 + 2 * files_of_a_unit))

    def full(handle):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        with pytest.raises(DiskError, match=r"no space left.*same command again"):
            tallied()
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert read_run(tmp_path / "run").units == ["u0", "u1"]
    assert numbers(tallied()) == numbers(whole)


def test_mistakes_are_told_before_anything_is_written(tally, tallied, tmp_path):
    with pytest.raises(InputError, match="a thing expected"):
        conduct(tally, ["nothing"], tmp_path / "run")
    with pytest.raises(InputError, match="unknown setting 'drawz' of `theodolite tally`, did you mean 'draws'"):
        tallied(drawz=3)
    with pytest.raises(InputError, match="run folder expected to be a path, got an empty one"):
        conduct(tally, ["abacus"], "")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_while_it_is_opened_leaves_nothing(tallied, tally, tmp_path, monkeypatch):
    def fails(self):
        raise KeyError("no\nbeads")

    monkeypatch.setattr(tally, "open", fails)
    with pytest.raises(InputError, match=r"abacus could not be opened .*no.*beads"):
        tallied("a/b/run")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_held_before_anything_is_loaded(tallied, tally, tmp_path, monkeypatch):
    seen = []
    real = tally.open

    def opens(self):
        seen.append(is_held(tmp_path / "run"))
        with pytest.raises(InputError, match="another process is writing"):
            tallied(seed=5)
        real(self)

    monkeypatch.setattr(tally, "open", opens)
    run = tallied()
    assert seen == [True]
    assert (run.settings["seed"], run.status) == (0, "complete")


def test_what_a_run_costs_is_refused_where_it_cannot_be_told(tally):
    with pytest.raises(InputError, match="cannot be told before it runs; leave out --dry-run"):
        forecast(tally, ["abacus"])
