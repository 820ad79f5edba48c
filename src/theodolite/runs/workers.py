"""Units of a run measured by several processes of this machine; each opens the model for itself."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from typing import IO, Any

from theodolite.errors import DiskError, InputError
from theodolite.runs.engine import Answer, Backlog, Hear, Job, ThisProcess
from theodolite.runs.experiment import Experiment

__all__ = ["Processes", "answers"]

_TRIES = 2
"""Processes that may die over one unit: a second one tells a machine that was short of memory once from a unit that
always needs too much."""


class Processes:
    """Several processes of this machine, one thread and one model each, that store what they measure."""

    elsewhere = True

    def ready(self, work: Experiment, workers: int | None) -> AbstractContextManager[Any]:
        """Nothing is needed."""
        return nullcontext()

    def measure(self, job: Job, hear: Hear) -> None:
        """See `theodolite.runs.engine.Engine.measure`."""
        if len(job.units) == 1:  # one more process would gain nothing
            ThisProcess().measure(job, hear)
            return
        task = {**job.task, "folder": os.fspath(job.folder.path)}
        count = min(job.workers or 1, len(job.units))
        with closing(answers(task, job.units, job.work.needs, count)) as received:
            for answer in received:
                hear(answer)


def answers(
    task: Mapping[str, Any], units: Sequence[str], needs: Callable[[str], Sequence[str]], count: int
) -> Generator[Answer]:
    """Have units measured; yields as they begin parts, are stored or fail, in no order.

    A process that dies costs its unit one try, and another takes its place. Leaving the iteration, by an interrupt or
    otherwise, ends every process.

    Args:
        task: what each process is told, see `theodolite.runs.worker`; ``device`` among the settings may be ``cuda``,
            which is then dealt out over the devices there are.
        units: in their order.
        needs: units that must be stored before one.
        count: processes.

    Raises:
        DiskError: the disk is full or refuses.
        InputError: a process cannot open the experiment.
    """
    pool = _Pool(units, needs)
    threads = [threading.Thread(target=pool.serve, args=(_task_of(task, k),), daemon=True) for k in range(count)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(len(threads)):
            while (said := pool.said.get()) is not None:
                if isinstance(said, BaseException):
                    raise said
                yield said
    finally:
        pool.stop()
        for thread in threads:
            if thread.ident is not None:  # an interrupt may come before all have started
                thread.join()


def _task_of(task: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    """The task of one process: of several CUDA devices its own."""
    if task["settings"].get("device") != "cuda":
        return task
    import torch

    return {**task, "settings": {**task["settings"], "device": f"cuda:{index % torch.cuda.device_count()}"}}


class _Pool:
    """Units that are dealt out, and what is said of them."""

    def __init__(self, units: Sequence[str], needs: Callable[[str], Sequence[str]]) -> None:
        self.backlog = Backlog(units, needs, _TRIES)
        self.running = 0
        self.said: queue.SimpleQueue[Answer | BaseException | None] = queue.SimpleQueue()
        self.changed = threading.Condition()
        self.stopped = False
        self.processes: set[_Process] = set()

    def serve(self, task: Mapping[str, Any]) -> None:
        """Have one process after another measure units until none is left."""
        process: _Process | None = None
        try:
            while (unit := self._next()) is not None:
                process = process or self._started(task)
                answer = self._measured(process, unit)
                if answer is None:
                    process = None
                else:
                    self.said.put(answer)
        except BaseException as error:
            self.said.put(error)
        finally:
            if process is not None:
                process.end()
                with self.changed:
                    self.processes.discard(process)
            self.said.put(None)

    def stop(self) -> None:
        """End every process."""
        with self.changed:
            self.stopped = True
            self.backlog.waiting.clear()
            processes = [*self.processes]
            self.changed.notify_all()
        for process in processes:
            process.end()

    def _next(self) -> str | None:
        """The first unit that needs none which is not stored yet."""
        with self.changed:
            while True:
                if (ready := self.backlog.take()) is not None:
                    self.running += 1
                    return ready
                if not self.backlog.waiting or not self.running:
                    return None
                self.changed.wait()

    def _started(self, task: Mapping[str, Any]) -> _Process:
        process = _Process(task)
        with self.changed:
            self.processes.add(process)
            if self.stopped:
                process.end()
        opened = process.hear()
        if opened is None and not self.stopped:
            raise InputError(f"a worker ended while it opened the model: {process.last_words()}; use fewer --workers")
        if opened is not None and "refused" in opened:
            raise InputError(opened["refused"])
        return process

    def _measured(self, process: _Process, unit: str) -> Answer | None:
        """What came of a unit; None where the process died and another is to try."""
        process.tell({"unit": unit})
        while (message := process.hear()) is not None and "what" in message:
            self.said.put(Answer(unit, what=message["what"]))
        with self.changed:
            self.running -= 1
            self.changed.notify_all()
            if message is None:
                self.processes.discard(process)
                again = not self.stopped and self.backlog.lost(unit)
            else:
                self.backlog.settle(unit)
        if message is None:
            process.end()
            if again:
                return None
            return Answer(unit, reason=f"the process that measured it ended {_TRIES} times: {process.last_words()}")
        if "disk" in message:
            raise DiskError(message["disk"])
        return Answer(unit, reason=message["reason"], is_input=bool(message.get("is_input")))


class _Process:
    """One worker process, and the lines between it and this one."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open while the process is)
        paths = os.pathsep.join(path for path in sys.path if path)
        threads = {name: str(task["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "theodolite.runs.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **threads, "PYTHONPATH": paths},
            start_new_session=True,  # Ctrl-C goes to the conducting process, which ends this one
        )
        self.tell(task)

    def tell(self, line: Mapping[str, Any]) -> None:
        """Send a line; a process that is gone is found when it is heard."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()

    def hear(self) -> dict[str, Any] | None:
        """The next line; None where the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def end(self) -> None:
        """Kill it, and wait for its end."""
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """Why it ended: the signal, or the last line that it wrote."""
        code = self._process.wait()
        self._errors.seek(0)
        written = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(written) if line.strip()), "")
        if code == -9:
            return "it was killed (signal 9), as the system does where memory runs out"
        return f"signal {-code}" if code < 0 else f"exit code {code}{f', {last[:200]}' if last else ''}"
