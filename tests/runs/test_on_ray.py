"""Units measured on a Ray cluster: how they are handed out, what is lost with a node, and the same numbers."""

from __future__ import annotations

import builtins
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import theodolite
from theodolite import InputError, read_run
from theodolite.cli.main import main
from theodolite.runs import on_ray
from theodolite.runs.engine import Answer, ThisProcess
from theodolite.runs.engines import engine_of
from theodolite.runs.on_ray import OnRay, gpus_of
from theodolite.runs.workers import Processes

NODE = {"node": {"host": "a"}}


def piece_of(unit):
    return f"piece of {unit}"


class FakeRayError(Exception):
    """What Ray raises where a node is gone."""


class FakeRay:
    """A cluster whose answers are ready at once; `None` in the plan of a unit stands for a node that vanishes."""

    exceptions = SimpleNamespace(RayError=FakeRayError)

    def __init__(self, plan):
        self.plan, self.killed, self.given, self.pieces = plan, [], [], {}
        self.most = self.due = 0

    def worker(self):
        opening = SimpleNamespace(remote=lambda: ("open", self))
        return SimpleNamespace(open=opening, measure=SimpleNamespace(remote=self._measure))

    def _measure(self, unit, pieces):
        self.given.append(unit)
        self.pieces[unit] = pieces
        self.due += 1
        self.most = max(self.most, self.due)
        return (unit, object())

    def wait(self, answers, timeout):
        return (answers[:1], answers[1:]) if self.plan.get("room", True) else ([], answers)

    def get(self, answer):
        unit = answer[0]
        self.due -= unit != "open"
        told = self.plan.get(unit, NODE if unit == "open" else {"reason": None, "files": {unit: b""}})
        told = told.pop(0) if isinstance(told, list) else told
        if told is None:
            self.due -= self.due > 0  # what waited there is gone with it
            raise FakeRayError(f"The actor died.\n  id: 12\nthe node of {unit} is gone")
        return told

    def kill(self, actor):
        self.killed.append(actor)


@pytest.fixture
def crew():
    """What is heard while a fake cluster that follows a plan measures units, the cluster, and the files written."""

    def call(plan, units, count=1, needs=None, hear=None, piece=piece_of):
        ray, written, heard = FakeRay(plan), {}, []
        work = SimpleNamespace(needs=lambda unit: (needs or {}).get(unit, []))
        folder = SimpleNamespace(write_files=written.update)
        job = SimpleNamespace(work=work, folder=folder, units=units, piece=piece, sitting={})
        ray.job = job
        on_ray._Crew(ray, job, ray.worker, hear or heard.append).measure(count)
        return heard, ray, written

    return call


def test_every_unit_is_measured_written_and_told_with_two_in_flight_a_worker(crew):
    units = [f"u{k}" for k in range(12)]
    heard, ray, written = crew({}, units, count=3)
    assert sorted(answer.unit for answer in heard) == sorted(units) == sorted(written)
    assert ray.most == 6
    assert len(ray.killed) == 3
    assert ray.job.sitting == {"nodes": [{"host": "a"}]}


def test_no_unit_waits_behind_another_while_a_worker_would_idle(crew):
    _, ray, _ = crew({}, ["a", "b", "c"], count=3)
    assert ray.most == 3


def test_a_unit_whose_node_vanished_is_tried_again_and_the_next_one_has_lost_nothing(crew):
    plan = {"b": [None, None, {"reason": None, "files": {}}]}
    heard, ray, _ = crew(plan, ["a", "b", "c", "d", "e"])
    assert [answer.unit for answer in heard] == ["a", "b", "c", "d", "e"]
    assert all(answer.reason is None for answer in heard)
    assert (ray.given.count("b"), ray.given.count("c")) == (3, 3)


def test_a_unit_over_which_three_nodes_vanish_fails_by_name(crew):
    heard, _, written = crew({"b": None}, ["a", "b", "c", "d"])
    (failed,) = [answer for answer in heard if answer.reason]
    assert failed.unit == "b"
    assert failed.reason == (
        "the worker or the node that measured it vanished 3 times: FakeRayError, the node of b is gone"
    )
    assert set(written) == {"a", "c", "d"}


def test_a_unit_that_fails_is_told_and_writes_nothing(crew):
    heard, _, written = crew({"a": {"reason": "boom", "is_input": True, "files": {"half": b""}}}, ["a"])
    assert (heard, written) == ([Answer("a", reason="boom", is_input=True)], {})


def test_units_that_build_on_others_come_later_and_with_these(crew):
    _, ray, _ = crew({}, ["late", "x", "y"], count=2, needs={"late": ["x", "y"]})
    assert ray.given[-1] == "late"
    assert ray.pieces["late"] == {"x": "piece of x", "y": "piece of y"}


def test_a_unit_that_failed_goes_missing_from_what_others_get_and_ends_no_run(crew):
    def piece(unit):
        if unit == "x":
            raise InputError("'x' is not finished")
        return piece_of(unit)

    failed = {"reason": "boom", "is_input": False, "files": {}}
    heard, ray, _ = crew({"x": failed}, ["x", "y", "late"], needs={"late": ["x", "y"]}, piece=piece)
    assert ray.pieces["late"] == {"y": "piece of y"}
    assert heard[-1] == Answer("late")


def test_a_worker_hears_that_a_unit_failed_as_it_would_in_this_process():
    class Asks:
        def __init__(self):
            self.folder = on_ray._Files(None)

        def answer(self, unit, tell, piece):
            with pytest.raises(InputError, match="'x' is not finished; see `failed`"):
                piece("x")
            return {"unit": unit, "reason": None, "piece": piece("y")}

    worker = on_ray._RayWorker({})
    worker.worker = Asks()
    assert worker.measure("late", {"y": 3})["piece"] == 3


def test_a_worker_that_cannot_open_the_model_ends_the_run_and_every_worker(crew, monkeypatch):
    killed = []
    monkeypatch.setattr(FakeRay, "kill", lambda self, actor: killed.append(actor))
    with pytest.raises(InputError, match=r"no such model \(on node a\)"):
        crew({"open": {"refused": "no such model (on node a)"}}, ["a", "b"], count=2)
    assert len(killed) == 2
    with pytest.raises(InputError, match=r"3 workers in a row ended while they opened the model: .*node of open is"):
        crew({"open": [None, None, None]}, ["a"])
    heard, _, _ = crew({"open": [None, None, NODE]}, ["a"])
    assert heard == [Answer("a")]


REFUSED = {"refused": "no such model (on node b)"}


@pytest.fixture
def openings_first(monkeypatch):
    """Workers that open the model are heard before those that measure."""

    def wait(self, answers, timeout):
        return [min(answers, key=lambda answer: answer[0] != "open")], []

    monkeypatch.setattr(FakeRay, "wait", wait)


def test_a_late_worker_that_cannot_open_the_model_is_done_without(crew, openings_first):
    units = [f"u{k}" for k in range(8)]
    heard, ray, written = crew({"open": [NODE, REFUSED, REFUSED, NODE]}, units, count=2)
    said = [answer.what for answer in heard if answer.what]
    assert said == ["goes on without a worker that could not open the model: no such model (on node b)"] * 2
    assert set(written) == set(units)
    assert len(ray.killed) == 4  # two were dismissed, and two at the end


def test_after_several_refusals_no_more_workers_are_tried_and_the_last_one_ends_the_run(crew, openings_first):
    _, ray, written = crew({"open": [NODE, REFUSED, REFUSED, REFUSED]}, [f"u{k}" for k in range(9)], count=2)
    assert len(written) == 9
    assert len(ray.killed) == 4
    plan = {"open": [NODE, REFUSED, REFUSED, REFUSED], "a": None}  # the only one that was open is lost
    with pytest.raises(InputError, match=r"3 workers in a row ended while they opened the model: no such model"):
        crew(plan, ["a", "b"])


def test_an_interrupt_ends_every_worker(crew, monkeypatch):
    killed = []
    monkeypatch.setattr(FakeRay, "kill", lambda self, actor: killed.append(actor))

    def interrupt(answer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew({}, ["a", "b", "c"], count=2, hear=interrupt)
    assert len(killed) == 2


def test_a_cluster_without_room_is_waited_for_and_the_user_is_told(crew):
    plan = {"room": False}

    def hear(answer):
        plan["room"] = True
        said.append(answer)

    said = []
    crew(plan, ["a"], hear=hear)
    assert said == [Answer("a", what="waits for a node of the cluster that has room"), Answer("a")]


def nodes(*resources):
    return SimpleNamespace(nodes=lambda: [{"Alive": alive, "Resources": own} for alive, own in resources])


@pytest.mark.parametrize(("gpus", "room"), [(0.0, 12), (1.0, 4), (2.0, 3), (0.5, 6), (0.4, 6)])
def test_workers_are_counted_node_by_node(gpus, room):
    cluster = nodes((True, {"CPU": 8.0, "GPU": 2.0}), (True, {"CPU": 4.0}), (False, {"CPU": 99.0, "GPU": 9.0}))
    more = nodes((True, {"CPU": 2.0, "GPU": 4.0}), (True, {"CPU": 8.0, "GPU": 2.0}))
    assert on_ray._room(cluster if not gpus else more, gpus) == room
    assert on_ray._room(nodes((True, {"CPU": 30.0, "GPU": 2.0})), 0.1) == 20


def test_a_cluster_without_room_is_refused():
    with pytest.raises(InputError, match=r"no node .* has room for a worker \(1 CPU and 0.5 GPU\); .* --workers N"):
        on_ray._room(nodes((True, {"CPU": 8.0})), 0.5)


def test_gpus_of_a_worker_follow_the_device():
    assert [gpus_of(None, device) for device in (None, "cpu", "cuda")] == [0.0, 0.0, 1.0]
    assert [gpus_of(asked, "cuda") for asked in ("0.25", 1, "2")] == [0.25, 1.0, 2.0]
    for asked, device, message in (
        (0, "cuda", "a fraction up to 1, or a whole number, got 0"),
        ("1.5", "cuda", "a fraction up to 1"),
        ("half", "cuda", "a fraction up to 1"),
        (float("nan"), "cuda", "a fraction up to 1"),
        (0.5, None, "would lie idle on the CPU"),
        (None, "cuda:1", "--device cuda expected with --engine ray"),
    ):
        with pytest.raises(InputError, match=message):
            gpus_of(asked, device)


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name == "ray":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs the package ray; install it: pip install 'theodolite\[ray\]'"):
        theodolite.survey("zoo:digits", None, tmp_path / "run", latents="seed:0..1", engine="ray")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"])
def test_an_address_where_no_cluster_is_fails_at_once(address):
    with pytest.raises((OSError, ValueError)):
        on_ray._knock(address)
    on_ray._knock("auto")


def test_engines_have_names_and_options_of_ray_belong_to_it(tmp_path):
    assert isinstance(engine_of("local"), ThisProcess)
    assert isinstance(engine_of("local", 2), Processes)
    assert engine_of("ray") == OnRay()
    with pytest.raises(InputError, match="one of local, ray, got 'rya', did you mean 'ray'"):
        engine_of("rya")
    words = ["survey", "zoo:toy", "--latents", "seed:0..1", "--out", str(tmp_path / "run")]
    for option in ("--ray-address", "--gpus-per-worker"):
        done = CliRunner().invoke(main, [*words, option, "1"])
        assert done.exit_code == 2
        assert f"{option} belongs to --engine ray" in done.output


FACTORY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12).reshape(4, 3))

    def forward(self, z):
        return torch.tanh(z @ self.weight.T)


def make():
    import theodolite
    return theodolite.LatentMap(Net().eval(), (3,), name="net")
"""


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_comes_to_the_bit_to_what_one_process_does(tmp_path, monkeypatch):
    """On two nodes: an interrupt leaves a usable run; it goes on there, a node is killed, and the tables are equal."""
    pytest.importorskip("ray", reason="the extra theodolite[ray] is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_on_ray.py").write_text(FACTORY)
    torch.set_num_threads(1)

    def survey(out, **given):
        options = {"latents": "seed:0..15", "budget": "quick", "descriptors": ["local_scaling", "curvature"]}
        return theodolite.survey("own_on_ray:make", None, tmp_path / out, limit=0, **options, **given)

    def interrupted(done, total, what):
        if done == 3:
            raise KeyboardInterrupt

    def killing(done, total, what):
        if done == 6 and cluster.worker_nodes:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    alone = survey("alone")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        engine = OnRay(cluster.address)
        with pytest.raises(KeyboardInterrupt):
            survey("shared", engine=engine, progress=interrupted)
        stopped = read_run(tmp_path / "shared")
        assert (stopped.status, len(stopped.units)) == ("interrupted", 3)
        shared = survey("shared", engine=engine, progress=killing)
    finally:
        cluster.shutdown()
    assert not cluster.worker_nodes
    assert (shared.status, shared.info["failed"]) == ("complete", [])
    assert shared.table.equals(alone.table)
    names = [*alone.arrays(alone.units[0])]
    for unit in alone.units:
        assert all(torch.equal(alone.arrays(unit)[name], shared.arrays(unit)[name]) for name in names)
    assert [entry["workers"] for entry in shared.info["sittings"]] == [2, 2]
