"""Kill a verb at its writes, whatever it is, and say whether it comes to the same tables.

A process of its own counts how often it puts a finished file in place, and kills itself (SIGKILL) at the given one:
half of the time just before, so that a half-written file stays. No time decides anything, so a busy machine changes
nothing. Run as a script, this file is that process: `python tests/kill.py AT WORDS...`, where 0 stands for never.
"""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["killed_and_resumed", "same_tables", "tables", "uninterrupted"]

_COUNTED = "writes: "


def uninterrupted(words: Sequence[str], out: pathlib.Path) -> int:
    """Run a command to its end; how many files it put in place."""
    done = _run(0, words, out)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.rpartition(_COUNTED)[2])


def killed_and_resumed(words: Sequence[str], out: pathlib.Path, writes: int, kills: int, seed: int = 0) -> int:
    """Run a command again and again, killed at a random one of its writes each time, then to its end.

    Args:
        words: of the command, without `--out`.
        out: the run folder.
        writes: of an uninterrupted run.
        kills: how many.
        seed: of the random places.

    Returns:
        How many kills there were; fewer than `kills` where it was complete before.
    """
    draws = random.Random(seed)
    for count in range(kills):
        # Late enough that a unit may be finished, early enough that work is left for the next ones.
        at = draws.randint(1, max(8, 2 * writes // (kills + 1)))
        done = _run(at if draws.random() < 0.5 else -at, words, out)
        if done.returncode == 0:
            return count
        assert done.returncode == -signal.SIGKILL, done.stderr
    done = _run(0, words, out)
    assert done.returncode == 0, done.stderr
    return kills


def tables(run: pathlib.Path) -> dict[str, pa.Table]:
    """Every table of a run by its name, without what is noted beside it."""
    return {file.name: pq.read_table(file).replace_schema_metadata() for file in sorted(run.glob("*.parquet"))}


def same_tables(first: pathlib.Path, second: pathlib.Path) -> None:
    """Rows in the same order; words and counts equal, numbers up to rounding (threads add in another order)."""
    one, other = tables(first), tables(second)
    assert one.keys() == other.keys()
    for name, table in one.items():
        assert table.schema.equals(other[name].schema), name
        for column in table.column_names:
            a, b = (t[column].to_pylist() for t in (table, other[name]))
            if not pa.types.is_floating(table.schema.field(column).type):
                assert a == b, (name, column)
                continue
            a, b = ([np.nan if value is None else value for value in values] for values in (a, b))
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-10, equal_nan=True, err_msg=f"{name}, {column}")


def _run(at: int, words: Sequence[str], out: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, str(at), *words, "--out", str(out), "--no-report", "--quiet"]
    return subprocess.run(command, capture_output=True, text=True)


def _main(at: int, words: list[str]) -> None:
    """The command in this process, killed at its write number `|at|`: before it where `at` is negative, else after."""
    import torch

    from theodolite.cli.main import main

    torch.set_num_threads(1)
    real, count = os.replace, 0

    def replace(source: str, target: str) -> None:
        nonlocal count
        count += 1
        if count == -at:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    main(words, standalone_mode=False)
    print(f"{_COUNTED}{count}", file=sys.stderr)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])
