"""The live panel's model: a process of its own, to which at most one request waits, the latest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["Live"]

_CLOSED = {"error": "the explorer ends, and the model with it"}


class Live:
    """The worker process, started at the first request and again where it ended.

    Args:
        model: what names the model.
        device: where it runs; None for the default.
        runs: the run folders whose samples are turned.
    """

    def __init__(self, model: str, device: str | None, runs: Sequence[Path]) -> None:
        self.model = model
        self._task = {"model": model, "device": device, "runs": [str(path.absolute()) for path in runs]}
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._turn = threading.Condition()
        self._busy = False
        self._latest = 0
        self._closed = False

    def described(self) -> dict[str, Any]:
        """What the page is told before the model is opened."""
        return {"model": self.model}

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request; ``{"superseded": True}`` where a later one came while it waited.

        While one is answered one other waits, and a third takes the place of that: however fast a slider moves, the
        model is never more than one request behind.
        """
        with self._turn:
            self._latest += 1
            mine = self._latest
            self._turn.notify_all()
            while self._busy and mine == self._latest:
                self._turn.wait()
            if mine != self._latest:
                return {"superseded": True}
            self._busy = True
        try:
            return self._answered(request)
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def close(self) -> None:
        """End the process, whatever it computes, for good: who waits for an answer is told, and none starts again."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _answered(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._closed:
            return _CLOSED
        process = self._process
        if process is None:
            process = self._start()
            opened = self._exchanged(process, self._task)
            if "error" in opened:
                self._end()
                return opened
        return self._exchanged(process, request)

    def _start(self) -> subprocess.Popen[bytes]:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open while the process is)
        process = subprocess.Popen(
            [sys.executable, "-m", "theodolite.explorer.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            start_new_session=True,  # Ctrl-C goes to the server, which ends this one
        )
        self._process = process
        if self._closed:  # while it was started: it was not there yet to be ended
            process.kill()
        return process

    def _exchanged(self, process: subprocess.Popen[bytes], line: Mapping[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError, ValueError):
            process.stdin.write(json.dumps(line).encode() + b"\n")
            process.stdin.flush()
        said = process.stdout.readline()
        if said.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(said)
            return answer
        self._process = None
        reason = _last_words(process, self._errors)
        if self._closed:
            return _CLOSED
        return {"error": f"the process of the model ended ({reason}); the next request starts it anew"}


def _last_words(process: subprocess.Popen[bytes], errors: IO[bytes] | None) -> str:
    """Why it ended: its signal or exit code, and the last line that it wrote."""
    code, written = process.wait(), b""
    if errors is not None:
        errors.seek(0)
        written = errors.read()[-4096:]
    lines = [line.strip() for line in written.decode(errors="replace").splitlines() if line.strip()]
    return f"{f'signal {-code}' if code < 0 else f'exit code {code}'}{f': {lines[-1][:200]}' if lines else ''}"
