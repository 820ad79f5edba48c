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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from theodolite.errors import DiskError, InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from theodolite.runs.folder import RunFolder
    from theodolite.runs.piece import Piece

__all__ = ["Worker", "main"]


class Worker:
    """The experiment of a run that another process conducts, opened in this one.

    Args:
        task: see `theodolite.runs.engine.Job`; of one version of this package and of torch with this process.
        folder: where units are stored, or what collects their files.

    Raises:
        InputError: it cannot be opened here, or is another one than that of the conducting process.
    """

    def __init__(self, task: Mapping[str, Any], folder: Callable[[pa.Schema], RunFolder]) -> None:
        import torch

        from theodolite.errors import refusing
        from theodolite.runs.measuring import configuration_of, opened, prepared
        from theodolite.runs.record import plain, versions
        from theodolite.runs.registry import experiment_of
        from theodolite.runs.run import schema_of

        here = versions()
        for package, version in task["versions"].items():
            if here[package] != version:
                raise InputError(
                    f"{package} {version} expected, as in the process that conducts the run, got {here[package]}; "
                    "install one version everywhere"
                )
        torch.set_num_threads(task["threads"])
        kind = experiment_of(task["kind"])
        fix = "try it in one process"
        with (
            kind.trusting(task["inventory"]),
            refusing(f"theodolite {kind.kind}", "could not be opened in a worker", fix),
        ):
            self.work = opened(prepared(kind, task["arguments"], task["settings"]))
            configuration = configuration_of(self.work, plain(self.work.content()))
        if configuration != task["configuration"]:
            raise InputError(
                "the model, the data or a setting is another one in a worker than in the process that started it; "
                "was a file changed meanwhile? Otherwise measure in one process"
            )
        self.folder = folder(schema_of(kind))
        self.configuration, self.check = configuration, task["check"]

    def answer(self, unit: str, tell: Callable[[str], None], piece: Callable[[str], Piece]) -> dict[str, Any]:
        """Measure and store a unit; why not, where it fails.

        Args:
            unit: its id.
            tell: says what is under way.
            piece: gives the units that it builds on.
        """
        from theodolite.runs.experiment import Sitting
        from theodolite.runs.measuring import reason_of, store_unit

        try:
            store_unit(self.work, self.folder, unit, self.configuration, Sitting(tell, piece, self.check))
        except DiskError as error:
            return {"disk": str(error)}
        except (Exception, SystemExit) as error:  # the failure of one unit must not cost the others their run
            return {"unit": unit, "reason": reason_of(error), "is_input": isinstance(error, InputError)}
        return {"unit": unit, "reason": None}


def main() -> None:
    """Answer one task after another until stdin ends."""
    wire = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    task = json.loads(lines.get())
    path = Path(task["folder"])
    try:
        from theodolite.runs.folder import RunFolder

        worker = Worker(task, lambda schema: RunFolder(path, schema))
    except (Exception, SystemExit) as error:
        from theodolite.runs.measuring import reason_of

        _say(wire, {"refused": reason_of(error)})
        return
    _say(wire, {"opened": True})
    while True:
        unit = json.loads(lines.get())["unit"]
        _say(wire, worker.answer(unit, lambda what: _say(wire, {"what": what}), lambda name: _piece(path, name)))


def _piece(path: Path, unit: str) -> Piece:
    from theodolite.runs.registry import read_run

    return read_run(path).piece(unit)


def _read(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)  # nobody is there to hear the answer


def _say(wire: IO[str], answer: Mapping[str, Any]) -> None:
    wire.write(json.dumps(answer) + "\n")
    wire.flush()


if __name__ == "__main__":
    main()
