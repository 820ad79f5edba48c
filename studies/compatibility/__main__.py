"""Which classes of diffusers open here, and what every verb makes of them.

    python -m studies.compatibility list [--only TEXT]          classes, and which of them have been tried
    python -m studies.compatibility run [--only TEXT ...] [--again] [--workers 2]
    python -m studies.compatibility collect                     docs/compatibility.md from what was tried

TEXT is part of a class's name. `run` may be stopped at any time: classes that are done stay done. A class is tried
again where the installed torch or diffusers is another one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence

from studies.compatibility import page, store
from studies.compatibility.store import Outcome
from studies.compatibility.subjects import Class, classes
from studies.compatibility.worker import one_thread, outcome_of, versions


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = _options(arguments)
    known = [each for each in classes() if not options.only or any(text in each.name for text in options.only)]
    {"list": _list, "run": _run, "collect": _collect}[options.verb](known, options)


def _list(known: Sequence[Class], options: argparse.Namespace) -> None:
    outcomes = store.read()
    for each in known:
        outcome = outcomes.get(each.name)
        said = each.untried or (
            "-----" if outcome is None else ", ".join(f"{t.step} {t.result}" for t in outcome.trials)
        )
        print(f"{each.kind:11} {each.name}: {said}")


def _run(known: Sequence[Class], options: argparse.Namespace) -> None:
    outcomes, installed = store.read(), versions()
    waiting = [
        each
        for each in known
        if not each.untried and (options.again or each.name not in outcomes or _of(outcomes[each.name]) != installed)
    ]
    with multiprocessing.get_context("spawn").Pool(options.workers, one_thread, maxtasksperchild=8) as pool:
        for count, outcome in enumerate(pool.imap_unordered(outcome_of, waiting), 1):
            store.add(outcome)
            said = ", ".join(f"{trial.step} {trial.result}" for trial in outcome.trials)
            seconds = sum(trial.seconds for trial in outcome.trials)
            print(f"{count}/{len(waiting)} {outcome.name}: {said} ({seconds:.0f} s)", flush=True)


def _collect(known: Sequence[Class], options: argparse.Namespace) -> None:
    if options.only:
        raise SystemExit("collect takes all classes: leave out --only")
    page.write(known, store.read())
    print(f"{page.PAGE.name} written")


def _of(outcome: Outcome) -> tuple[str, str]:
    return outcome.torch, outcome.diffusers


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.compatibility",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=("list", "run", "collect"))
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="classes whose name contains one of these")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, of one thread each")
    parser.add_argument("--again", action="store_true", help="try classes that have been tried, too")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
