"""A worker process: opens the experiment of a run that another process conducts, and measures what it is handed.

Tasks come as lines of JSON on stdin and answers go as lines of JSON to what was stdout; what a model prints goes to
stderr. Where stdin ends, because the conducting process has ended in whatever way, the worker ends at once.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from theodolite.errors import DiskError, InputError

__all__ = ["main"]


def main() -> None:
    """Answer one task after another until stdin ends."""
    wire = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    task = json.loads(lines.get())
    try:
        worker = _Worker(task, wire)
    except (Exception, SystemExit) as error:
        from theodolite.runs.measuring import reason_of

        _say(wire, {"refused": reason_of(error)})
        return
    _say(wire, {"opened": True})
    while True:
        _say(wire, worker.answer(json.loads(lines.get())["unit"]))


class _Worker:
    """The experiment in this process.

    Args:
        task: kind, arguments and settings of the run, its folder, configuration and self-check, and threads.
        wire: where answers go.
    """

    def __init__(self, task: Mapping[str, Any], wire: IO[str]) -> None:
        import torch

        from theodolite.errors import refusing
        from theodolite.runs.folder import RunFolder
        from theodolite.runs.measuring import configuration_of, opened, prepared
        from theodolite.runs.record import plain
        from theodolite.runs.registry import experiment_of
        from theodolite.runs.run import schema_of

        torch.set_num_threads(task["threads"])
        kind = experiment_of(task["kind"])
        with refusing(f"theodolite {task['kind']}", "could not be opened in a worker", "try it with --workers 1"):
            self.work = opened(prepared(kind, task["arguments"], task["settings"]))
            configuration = configuration_of(self.work, plain(self.work.content()))
        if configuration != task["configuration"]:
            raise InputError(
                "the model, the data or a setting is another one in a worker than in the process that started it; "
                "was a file changed meanwhile? Otherwise use --workers 1"
            )
        self.folder = RunFolder(Path(task["folder"]), schema_of(kind))
        self.configuration, self.check, self.wire = configuration, task["check"], wire

    def answer(self, unit: str) -> dict[str, Any]:
        """Measure and store a unit; why not, where it fails."""
        from theodolite.runs.experiment import Sitting
        from theodolite.runs.measuring import reason_of, store_unit

        sitting = Sitting(lambda what: _say(self.wire, {"what": what}), self._piece, self.check)
        try:
            store_unit(self.work, self.folder, unit, self.configuration, sitting)
        except DiskError as error:
            return {"disk": str(error)}
        except (Exception, SystemExit) as error:  # the failure of one unit must not cost the others their run
            return {"unit": unit, "reason": reason_of(error), "is_input": isinstance(error, InputError)}
        return {"unit": unit, "reason": None}

    def _piece(self, unit: str) -> Any:
        from theodolite.runs.registry import read_run

        return read_run(self.folder.path).piece(unit)


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)  # nobody is there to hear the answer


def _say(wire: IO[str], answer: Mapping[str, Any]) -> None:
    wire.write(json.dumps(answer) + "\n")
    wire.flush()


if __name__ == "__main__":
    main()
