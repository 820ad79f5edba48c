"""The process in which the model of the live panel runs.

Requests come as lines of JSON on stdin and answers go as lines of JSON to what was stdout; what a model prints goes to
stderr. Where stdin ends, because the server has ended in whatever way, this process ends too.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from theodolite.errors import InputError, in_one_line

__all__ = ["main"]


def main() -> None:
    """Open the model, then answer one request after another."""
    wire = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        wire.write(json.dumps(answer) + "\n")
        wire.flush()

    task = json.loads(sys.stdin.readline())
    try:
        from theodolite.explorer.turning import Turning

        turning = Turning(task["model"], task["device"], [Path(path) for path in task["runs"]])
    except (Exception, SystemExit) as error:
        say({"error": str(error) if isinstance(error, InputError) else in_one_line(error)})
        return
    say({"opened": True})
    for line in sys.stdin:
        try:
            say(turning.answer(json.loads(line)))
        except InputError as error:
            say({"error": str(error)})
        except (Exception, SystemExit) as error:  # a model may raise anything at a latent that it never saw
            say({"error": in_one_line(error)})


if __name__ == "__main__":
    main()
