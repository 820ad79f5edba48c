"""Units of a run measured on the nodes of a Ray cluster, which may come and vanish meanwhile."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from theodolite.errors import DiskError, InputError, informative_line
from theodolite.runs.engine import Answer, Backlog, Hear, Job
from theodolite.runs.experiment import Experiment
from theodolite.runs.folder import RunFolder
from theodolite.runs.piece import Piece

__all__ = ["OnRay"]

_TRIES = 3
"""Nodes that may vanish over one unit, one more than processes of one machine may die over it: such clusters are often
machines that can be taken away at any time. A unit that always needs too much memory still comes to its end."""

_AHEAD = 2
"""Units that a worker holds at a time: the next one waits there, so that it does not idle while its last result
travels; more would only be lost with it, and fill the object store where the disk is slow."""

_OPENINGS = 3
"""Workers in a row that may vanish while they open the model, or refuse to: then it is the model that ends them, not
the cluster. While others are open, no more are tried."""

_PATIENCE = 5.0
"""Seconds to wait for a connection, and between two words to the user while no node has room."""


@dataclass(frozen=True)
class OnRay:
    """Workers on the nodes of a Ray cluster, one thread and one model each; this process alone writes.

    Attributes:
        address: ``HOST:PORT`` of the cluster. By default that of ``RAY_ADDRESS``, then a cluster that this machine is
            in, then a new one of this machine alone, which ends with the run.
        gpus_per_worker: GPUs of each, a fraction where several share one; by default 1 with ``device="cuda"``,
            otherwise none.
    """

    address: str | None = None
    gpus_per_worker: float | str | None = None

    elsewhere = True

    @contextmanager
    def ready(self, work: Experiment, workers: int | None) -> Iterator[None]:
        """Be connected to the cluster.

        Raises:
            InputError: Ray is not installed, no cluster answers, it has no room for a worker, or the GPUs that were
                asked for are not used.
        """
        gpus = gpus_of(self.gpus_per_worker, work.given.get("device"))
        with _connected(self.address) as ray:
            if workers is None:
                _room(ray, gpus)
            yield

    def measure(self, job: Job, hear: Hear) -> None:
        """See `theodolite.runs.engine.Engine.measure`."""
        import ray

        gpus = gpus_of(self.gpus_per_worker, job.work.given.get("device"))
        count = min(job.workers or _room(ray, gpus), len(job.units))
        job.sitting.update(engine="ray", workers=count)
        actor = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(_RayWorker)
        task = ray.put({**job.task, "folder": os.getcwd(), "paths": [path for path in sys.path if path]})
        _Crew(ray, job, lambda: actor.remote(task), hear).measure(count)


def gpus_of(requested: Any, device: Any) -> float:
    """GPUs of a worker.

    Raises:
        InputError: no number that Ray takes, or one that the device makes no use of.
    """
    on_gpu = str(device or "cpu").startswith("cuda")
    if on_gpu and device != "cuda":
        raise InputError(f"--device cuda expected with --engine ray, which says which GPU a worker takes, got {device}")
    if requested is None:
        return float(on_gpu)
    try:
        number = float(requested)
    except (TypeError, ValueError):
        number = -1.0
    if not (0 < number <= 1 or (number > 1 and number.is_integer())):
        raise InputError(
            f"--gpus-per-worker expected a fraction up to 1, or a whole number, got {requested!r}; e.g. 0.5"
        )
    if not on_gpu:
        raise InputError(f"--gpus-per-worker {number:g} would lie idle on the CPU; give --device cuda, or leave it out")
    return number


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; a connection that was there before stays."""
    try:
        import ray
    except ImportError as error:
        raise InputError("--engine ray needs the package ray; install it: pip install 'theodolite[ray]'") from error
    if ray.is_initialized():
        if address is not None:
            raise InputError(
                "--ray-address expected to be left out: this process is already connected to a Ray cluster"
            )
        yield ray
        return
    with _handler_of_terminations(), _no_telemetry():
        try:
            _knock(address or os.environ.get("RAY_ADDRESS"))
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # of many types, by where the connection fails
            raise InputError(
                f"no Ray cluster answers at {address or 'this machine'} ({informative_line(error)[:200]}); start one "
                "with `ray start --head`, or leave --ray-address out for this machine alone"
            ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise `OSError` where nothing listens at an address: Ray itself would try for several minutes.

    Raises:
        OSError: nothing does.
        ValueError: it is no address of a cluster.
    """
    if address in (None, "", "auto", "local"):
        return
    host, colon, port = str(address).rpartition(":")
    if not colon or not port.isdigit() or "://" in host:
        raise ValueError("HOST:PORT of the head node expected, from a machine of the cluster")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


@contextmanager
def _handler_of_terminations() -> Iterator[None]:
    """SIGTERM does what it did before: Ray takes it over when it connects."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """A cluster that is started here reports nothing to anybody, unless the user has said otherwise."""
    names = ("RAY_USAGE_STATS_ENABLED",)
    new = [name for name in names if name not in os.environ]
    os.environ |= dict.fromkeys(new, "0")
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _room(ray: Any, gpus: float) -> int:
    """Workers that the nodes of the cluster have room for while nothing else runs there.

    Raises:
        InputError: none.
    """
    room = 0
    for node in ray.nodes():
        cpus, own = (node["Resources"].get(name, 0.0) for name in ("CPU", "GPU"))
        if node["Alive"]:
            room += int(min(cpus, _shares(own, gpus)) if gpus else cpus)
    if not room:
        need = f"1 CPU and {gpus:g} GPU" if gpus else "1 CPU"
        raise InputError(
            f"no node of the Ray cluster has room for a worker ({need}); start nodes that have, or say --workers N to "
            "wait for them"
        )
    return room


def _shares(own: float, each: float) -> float:
    """Workers that the GPUs of a node suffice for: a share is of one GPU, several are taken whole."""
    return own // each if each >= 1 else own * int(1 / each + 1e-9)  # 1 // 0.1 is 9


class _Files(RunFolder):
    """Collects the files of a unit, which the conducting process writes."""

    def __init__(self, schema: Any) -> None:
        super().__init__(Path(), schema)
        self.files: dict[str, bytes] = {}

    def write_files(self, files: Mapping[str, bytes]) -> None:
        self.files |= files


class _RayWorker:
    """An actor: the experiment in a process of a node."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self.task = task

    def open(self) -> dict[str, Any]:
        """Open the experiment; what refuses it, or what kind of machine this is (nothing that names its owner)."""
        from theodolite.runs.measuring import reason_of
        from theodolite.runs.record import machine
        from theodolite.runs.worker import Worker

        # As far as the node has these folders: names of models and data are meant from there.
        with suppress(OSError):
            os.chdir(self.task["folder"])
        sys.path += [path for path in self.task["paths"] if path not in sys.path]
        try:
            self.worker = Worker(self.task, _Files)
        except (Exception, SystemExit) as error:
            return {"refused": f"{reason_of(error)} (on node {socket.gethostname()})"}
        return {"node": machine(self.worker.work.device)}

    def measure(self, unit: str, pieces: Mapping[str, Piece]) -> dict[str, Any]:
        """Measure a unit; its files, or why it failed."""
        folder = self.worker.folder
        assert isinstance(folder, _Files)
        folder.files = {}
        answer = self.worker.answer(unit, lambda what: None, lambda name: _piece(pieces, name))
        return {**answer, "files": folder.files}


def _piece(pieces: Mapping[str, Piece], name: str) -> Piece:
    """A unit among those that came along.

    Raises:
        InputError: it failed, so that it is not among them; a unit that does without it catches this.
    """
    if name not in pieces:
        raise InputError(f"{name!r} is not finished; see `failed` in run.json, and run the same command again")
    return pieces[name]


@dataclass(eq=False)
class _Hand:
    """A worker of the cluster, and what it has to answer, oldest first: None for its opening, then units."""

    actor: Any
    due: deque[tuple[str | None, Any]] = field(default_factory=deque)
    is_open: bool = False


class _Crew:
    """The workers of a run: hires them, hands units out, and writes what comes back."""

    def __init__(self, ray: Any, job: Job, hire: Callable[[], Any], hear: Hear) -> None:
        self.ray, self.job, self.new, self.hear = ray, job, hire, hear
        self.backlog = Backlog(job.units, job.work.needs, _TRIES)
        self.hands: list[_Hand] = []
        self.unopened, self.has_opened = 0, False

    def measure(self, count: int) -> None:
        """Have every unit measured by so many workers, of which those work that the cluster has room for."""
        try:
            for _ in range(count):
                self._hire()
            while self.backlog.unsettled:
                self._hand_out()
                heads = {hand.due[0][1]: hand for hand in self.hands if hand.due}
                ready, _ = self.ray.wait([*heads], timeout=_PATIENCE)
                for answer in ready:
                    self._take(heads[answer])
                if not ready and not any(hand.is_open for hand in self.hands):
                    self.hear(Answer(self.backlog.waiting[0], what="waits for a node of the cluster that has room"))
        finally:
            for hand in self.hands:
                self.ray.kill(hand.actor)

    def _hire(self) -> None:
        hand = _Hand(self.new())
        self.hands.append(hand)
        hand.due.append((None, hand.actor.open.remote()))

    def _hand_out(self) -> None:
        """Give units to the workers that hold the fewest; ahead only while every worker is sure of one more."""
        for ahead in range(_AHEAD):
            if ahead and len(self.backlog.waiting) < len(self.hands):
                return
            for hand in [hand for hand in self.hands if hand.is_open and len(hand.due) == ahead]:
                if (unit := self.backlog.take()) is None:
                    return
                hand.due.append((unit, hand.actor.measure.remote(unit, self._pieces(unit))))

    def _pieces(self, unit: str) -> dict[str, Piece]:
        """The units that a unit builds on, as far as they could be measured."""
        pieces = {}
        for name in self.job.work.needs(unit):
            with suppress(InputError):
                pieces[name] = self.job.piece(name)
        return pieces

    def _take(self, hand: _Hand) -> None:
        """Hear what a worker says to the oldest of what it has to answer."""
        unit, answer = hand.due[0]
        try:
            answered = self.ray.get(answer)
        except self.ray.exceptions.RayError as error:  # the node, the process or the result is gone
            self._lose(hand, error)
            return
        hand.due.popleft()
        if unit is None:
            self._opened(hand, answered)
        else:
            self._store(unit, answered)

    def _opened(self, hand: _Hand, answered: Mapping[str, Any]) -> None:
        if "refused" in answered:
            self._refuse(hand, answered["refused"])
            return
        hand.is_open, self.unopened, self.has_opened = True, 0, True
        nodes = self.job.sitting.setdefault("nodes", [])
        if answered["node"] not in nodes:
            nodes.append(answered["node"])

    def _refuse(self, hand: _Hand, reason: str) -> None:
        """Do without a worker that cannot open the model, where others could: its node lacks something.

        Raises:
            InputError: no worker has opened it yet, or none is open and several in a row could not.
        """
        if not self.has_opened:
            raise InputError(reason)
        self._dismiss(hand)
        self.hear(Answer(self._next(), what=f"goes on without a worker that could not open the model: {reason}"))
        self._count_unopened(reason)
        # Another one would come to the same node: after several in a row, those that are open do the work.
        if self.unopened < _OPENINGS:
            self._hire()

    def _store(self, unit: str, answered: Mapping[str, Any]) -> None:
        if "disk" in answered:  # collecting files touches none; a model may
            raise DiskError(answered["disk"])
        if answered["reason"] is None:
            self.job.folder.write_files(answered["files"])
        self.backlog.settle(unit)
        self.hear(Answer(unit, reason=answered["reason"], is_input=bool(answered.get("is_input"))))

    def _lose(self, hand: _Hand, error: Exception) -> None:
        """Replace a worker that is gone: the unit that it measured has lost a try, the next one nothing."""
        self._dismiss(hand)
        (first, _), *others = hand.due
        for unit in [unit for unit, _ in reversed(others) if unit is not None]:
            self.backlog.give_back(unit)
        if first is None:
            self._count_unopened(f"{_cause(error)}; give each more memory, or use fewer --workers")
            if self.unopened >= _OPENINGS:
                return
        elif not self.backlog.lost(first):
            reason = f"the worker or the node that measured it vanished {_TRIES} times: {_cause(error)}"
            self.hear(Answer(first, reason=reason))
        if self.backlog.unsettled:
            self._hire()

    def _dismiss(self, hand: _Hand) -> None:
        self.hands.remove(hand)
        with suppress(Exception):  # it may be there still, and only out of reach
            self.ray.kill(hand.actor)

    def _count_unopened(self, cause: str) -> None:
        """Count a worker that ended, or was refused, before it had opened the model.

        Raises:
            InputError: several in a row, and none is open that could go on.
        """
        self.unopened += 1
        if self.unopened >= _OPENINGS and not any(hand.is_open for hand in self.hands):
            raise InputError(f"{self.unopened} workers in a row ended while they opened the model: {cause}")

    def _next(self) -> str:
        """A unit that is not measured yet, to say something beside it."""
        return next((unit for unit in self.job.units if unit in self.backlog.unsettled), "")


def _cause(error: Exception) -> str:
    """The last informative line of an error of Ray, which begins with tables of ids."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}, {lines[-1][:200]}" if lines else type(error).__name__
