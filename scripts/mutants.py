"""Plant faults in the package, one at a time, and report those that the tests beside them do not see.

    python scripts/mutants.py [--only NAME ...] [--list] [--jobs N]

A mutant is a file, a piece of its source, what stands there instead, and the fastest test that fails with it. Each is
planted in a temporary copy of the package, which `PYTHONPATH` puts before the one that is installed; the working tree
is never touched. Faults are what a review could miss: they change a number, a status or an error, and crash nothing.

Exit 1 where a mutant survives, where its source is no longer found once (the table is then out of date), or where a
named test fails without any fault.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults import MUTANTS, PACKAGE, ROOT, Mutant

_FAILED, _PASSED = 1, 0
"""Exit codes of pytest; any other is a test that could not be run."""

_PATIENCE = 600
"""Seconds for one test on a busy machine: the slowest takes ten on an idle one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant the chosen mutants and tell what became of each; 1 where one survives or cannot be judged."""
    options = _parser().parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    unknown = set(options.only) - {mutant.name for mutant in chosen}
    if unknown:
        print(f"a mutant's name expected, got {sorted(unknown)[0]!r}; see --list", file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(f"{mutant.name:<60} {mutant.test}" for mutant in chosen))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        healthy = _tested(Path(folder), [mutant.test for mutant in chosen])
    if healthy != _PASSED:
        print("the named tests expected to pass without a fault, got failures; mend them first", file=sys.stderr)
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = []
        for mutant, outcome in zip(chosen, pool.map(judged, chosen)):
            outcomes.append(outcome)
            print(f"{mutant.name:<60} {outcome}", flush=True)
    killed = outcomes.count("killed")
    print(f"{killed} of {len(chosen)} mutants killed")
    return int(killed < len(chosen))


def judged(mutant: Mutant) -> str:
    """``killed``, ``SURVIVED``, or why that cannot be told."""
    reason = mutant.stale()
    if reason:
        return f"STALE: {reason}"
    with tempfile.TemporaryDirectory() as folder:
        code = _tested(Path(folder), [mutant.test], mutant)
    return {_FAILED: "killed", _PASSED: "SURVIVED"}.get(code, f"NOT JUDGED: pytest ended with {code}")


def _tested(folder: Path, tests: Sequence[str], mutant: Mutant | None = None) -> int:
    """The exit code of pytest on some tests, with a copy of the package that holds the fault."""
    # Files keep their times, so that compiled modules in the copy stay valid, but for the one with the fault.
    copy = shutil.copytree(PACKAGE, folder / "theodolite")
    if mutant is not None:
        (copy / mutant.file).write_text(mutant.planted((copy / mutant.file).read_text()))
        for compiled in (copy / mutant.file).parent.glob(f"__pycache__/{Path(mutant.file).stem}.*"):
            compiled.unlink()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    named = [str(ROOT / "tests" / test) for test in dict.fromkeys(tests)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run([*command, *named], cwd=ROOT, env=environment, capture_output=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return -1
    if mutant is None and done.returncode != _PASSED:
        print(done.stdout.decode(errors="replace"), file=sys.stderr)
    return done.returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a mutant; may be given again")
    parser.add_argument("--list", action="store_true", help="names and tests, nothing is run")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tested at once")
    return parser


if __name__ == "__main__":
    sys.exit(main())
