"""Units measured by several processes: the same numbers, whatever happens to a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

import theodolite
from theodolite import InputError, read_run
from theodolite.errors import DiskError
from theodolite.runs import workers
from theodolite.runs.engine import Answer, check_workers
from theodolite.runs.workers import answers

FACTORY = """
import os, pathlib, signal
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3))

    def forward(self, z):
        marker = pathlib.Path({marker!r})
        if {dies} and bool((z[0] == 3).all()) and not marker.exists():
            {leave}
            os.kill(os.getpid(), signal.SIGKILL)
        print("a model that talks")
        return torch.tanh(z @ self.weight.T)


def make():
    import theodolite
    return theodolite.LatentMap(Net().eval(), (3,), name="net")
"""


@pytest.fixture
def survey(tmp_path, monkeypatch):
    """Survey six latents of a small generator, the third of which is all threes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(tmp_path)
    from safetensors.torch import save_file

    latents = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    latents[2] = 3.0
    save_file({"latents": latents}, tmp_path / "latents.safetensors")

    def call(out, *, dies=False, once=True, **given):
        name = f"own_{out}"
        leave = "marker.touch()" if once else "pass"
        # One name for all, since what is measured belongs to the configuration.
        text = FACTORY.format(marker=str(tmp_path / f"{out}.died"), dies=dies, leave=leave)
        (tmp_path / f"{name}.py").write_text(text)
        options = {"budget": "quick", "descriptors": ["local_scaling", "curvature"], **given}
        return theodolite.survey(
            f"{name}:make", None, tmp_path / out, latents=tmp_path / "latents.safetensors", **options
        )

    return call


def same(one, other):
    assert pq.read_table(one.path / "quantities.parquet").equals(pq.read_table(other.path / "quantities.parquet"))
    a, b = (load_file(run.path / "arrays.safetensors") for run in (one, other))
    assert set(a) == set(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_two_processes_come_to_the_bit_to_what_one_does(survey):
    alone, shared = survey("alone"), survey("shared", workers=2)
    same(alone, shared)
    assert (shared.status, shared.info["failed"]) == ("complete", [])
    assert shared.info["sittings"][-1]["workers"] == 2


@pytest.mark.slow
def test_a_process_that_dies_is_replaced_and_loses_nothing(survey, tmp_path):
    died = survey("died", dies=True, workers=2)
    assert (tmp_path / "died.died").exists()
    assert len(died.units) == 6


@pytest.mark.slow
def test_a_unit_over_which_every_process_dies_fails_and_says_so(survey):
    run = survey("always", dies=True, once=False, workers=2)
    (failed,) = run.info["failed"]
    assert failed["reason"] == (
        "the process that measured it ended 2 times: it was killed (signal 9), as the system does where memory runs out"
    )
    assert len(run.units) == 5


@pytest.mark.slow
def test_an_interrupt_ends_every_process_and_keeps_what_is_finished(survey, tmp_path):
    pids = []

    def stop(done, total, what):
        pids.extend(process._process.pid for process in STARTED)
        if done == 2:
            raise KeyboardInterrupt

    started = workers._Process.__init__
    STARTED = []
    workers._Process.__init__ = lambda self, task: (STARTED.append(self), started(self, task))[1]
    try:
        with pytest.raises(KeyboardInterrupt):
            survey("stopped", workers=2, progress=stop)
    finally:
        workers._Process.__init__ = started
    run = read_run(tmp_path / "stopped")
    assert run.status == "interrupted"
    assert len(run.units) >= 2
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert survey("stopped").status == "complete"


def test_a_model_that_is_given_as_an_object_needs_a_name(tmp_path):
    net = theodolite.LatentMap(torch.tanh, (3,), name="net")
    with pytest.raises(InputError, match=r"opens `model` for itself and expects its name.*got LatentMap"):
        theodolite.survey(net, None, tmp_path / "run", latents="seed:0..1", workers=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [0, -1, "two", 1.5, None])
def test_a_number_of_processes_that_is_none_is_refused(count):
    with pytest.raises(InputError, match="--workers expected a whole number"):
        check_workers(count)
    assert check_workers("3") == 3


class Fake:
    """A process that does what a plan says of each unit; `None` stands for its death."""

    def __init__(self, plan, log):
        self.plan, self.log, self.unit, self.opened = plan, log, None, False

    def tell(self, line):
        self.unit = line["unit"]
        self.log.append(self.unit)

    def hear(self):
        if not self.opened:
            self.opened = True
            return self.plan.get("open", {"opened": True})
        answer = self.plan.get(self.unit, {"unit": self.unit, "reason": None})
        return answer.pop(0) if isinstance(answer, list) else answer

    def end(self):
        self.log.append("end")

    def last_words(self):
        return "signal 11"


@pytest.fixture
def told(monkeypatch):
    """What is yielded with fake processes that follow a plan, and in what order units were handed out."""

    def call(plan, units, needs=None, count=1):
        log = []
        monkeypatch.setattr(workers, "_Process", lambda task: Fake(plan, log))
        needs = needs or {}
        return [*answers({"settings": {}}, units, lambda unit: needs.get(unit, []), count)], log

    return call


def test_units_are_handed_out_in_order_and_their_parts_are_told(told):
    plan = {
        "b": [{"what": "half"}, {"unit": "b", "reason": None}],
        "c": {"unit": "c", "reason": "no", "is_input": True},
    }
    said, log = told(plan, ["a", "b", "c"])
    assert said == [Answer("a"), Answer("b", what="half"), Answer("b"), Answer("c", reason="no", is_input=True)]
    assert log == ["a", "b", "c", "end"]


def test_a_unit_waits_for_what_it_needs_in_whatever_order(told):
    for count in (1, 3):
        said, log = told({}, ["late", "x", "y"], {"late": ["x", "y"]}, count)
        assert {answer.unit for answer in said} == {"late", "x", "y"}
        assert [unit for unit in log if unit != "end"][-1] == "late"


def test_a_second_process_tries_a_unit_and_no_third(told):
    said, _ = told({"b": [None, {"unit": "b", "reason": None}]}, ["a", "b"])
    assert said == [Answer("a"), Answer("b")]
    said, _ = told({"b": [None, None]}, ["a", "b", "c"])
    assert said == [
        Answer("a"),
        Answer("b", reason="the process that measured it ended 2 times: signal 11"),
        Answer("c"),
    ]


def test_a_process_that_cannot_open_the_model_and_a_full_disk_end_the_run(told):
    with pytest.raises(InputError, match="no such model"):
        told({"open": {"refused": "no such model"}}, ["a"])
    with pytest.raises(InputError, match="ended while it opened the model: signal 11"):
        told({"open": None}, ["a"])
    with pytest.raises(DiskError, match="no space"):
        told({"a": {"disk": "no space"}}, ["a", "b"])
    assert not [thread for thread in threading.enumerate() if "serve" in thread.name]


@pytest.mark.parametrize("moment", range(7))
def test_an_interrupt_at_any_moment_ends_every_process(monkeypatch, moment):
    plan = {unit: [{"what": "half"}, {"unit": unit, "reason": None}] for unit in "abcd"}
    started, heard = [], []

    def start(task):
        started.append(Fake(plan, []))
        return started[-1]

    def hear(answer):
        heard.append(answer)
        if len(heard) > moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(workers, "_Process", start)
    work = SimpleNamespace(needs=lambda unit: [])
    folder = SimpleNamespace(path="run")
    job = SimpleNamespace(work=work, folder=folder, units=[*"abcd"], task={"settings": {}}, workers=2)
    with pytest.raises(KeyboardInterrupt):
        workers.Processes().measure(job, hear)
    assert len(heard) == moment + 1
    assert all("end" in process.log for process in started)
    assert not [thread for thread in threading.enumerate() if "serve" in thread.name]


def test_a_worker_whose_conducting_process_is_gone_ends_at_once():
    done = subprocess.run(
        [sys.executable, "-m", "theodolite.runs.worker"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, b"")


def test_one_unit_is_measured_in_this_process(told, monkeypatch):
    monkeypatch.setattr(workers, "_Process", None)
    measured = []
    monkeypatch.setattr(workers.ThisProcess, "measure", lambda self, job, hear: measured.append(job.units))
    workers.Processes().measure(SimpleNamespace(units=["a"]), None)
    assert measured == [["a"]]
