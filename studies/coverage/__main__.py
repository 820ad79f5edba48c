"""Coverage of every error bar, measured on random cases with known answers.

    python -m studies.coverage list [--only TEXT]       cells, and which of them have been drawn
    python -m studies.coverage run [--only TEXT ...] [--workers 2] [--again | --stale]
    python -m studies.coverage breaches [--only TEXT]   cells whose intervals did not keep their promise
    python -m studies.coverage show [--only TEXT]       every row of the table
    python -m studies.coverage collect                  coverage.parquet and docs/coverage.md from what was drawn

TEXT is part of a cell's name. `run` may be stopped at any time: cells that are done stay done.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence

from studies.coverage import page, store
from studies.coverage.cells import Cell, all_cells
from studies.coverage.drawing import code_version, draw, one_thread


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = _options(arguments)
    cells = [cell for cell in all_cells() if not options.only or any(text in cell.name for text in options.only)]
    {"list": _list, "run": _run, "breaches": _breaches, "collect": _collect, "show": _show}[options.verb](
        cells, options
    )


def _list(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    drawn = {each.cell for each in store.collected(cell.name for cell in cells)}
    for cell in cells:
        print("drawn" if cell.name in drawn else "-----", cell.name)
    print(f"{len(cells)} cells, {len(drawn & {cell.name for cell in cells})} drawn")


def _run(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    code, judged = code_version(), store.collected(cell.name for cell in cells)
    drawn = {each.cell for each in judged if not options.again and (not options.stale or each.code == code)}
    waiting = [cell.name for cell in cells if cell.name not in drawn]
    with multiprocessing.get_context("spawn").Pool(options.workers, one_thread) as pool:
        for count, said in enumerate(pool.imap_unordered(draw, [(name, code) for name in waiting]), 1):
            print(f"{count}/{len(waiting)} {said}", flush=True)


def _breaches(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    judged = store.collected(cell.name for cell in cells)
    broken = [each for each in judged if each.breach]
    for each in broken:
        print(
            f"{each.breach:9} {each.quantity} | {each.cell} | {each.promise}: {each.coverage:.3f} of {each.draws}, "
            f"z {each.mean_z:+.2f}, spread {each.spread:.2f}, {dict(each.statuses)}"
        )
    print(f"{len(broken)} breaches in {len({each.cell for each in judged})} cells")


def _collect(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    if options.only:
        sys.exit("collect takes all cells: leave out --only")
    judged = store.collected(cell.name for cell in cells)
    store.write_table(judged)
    page.write(judged, len(cells))
    print(f"{len(judged)} rows in {store.TABLE.name}, {page.PAGE.name} written")


def _show(cells: Sequence[Cell], options: argparse.Namespace) -> None:
    print(page.table_of(store.collected(cell.name for cell in cells)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.coverage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("list", "run", "breaches", "collect", "show"))
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cells whose name contains one of these")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, of one thread each")
    parser.add_argument("--again", action="store_true", help="draw cells that have been drawn, too")
    parser.add_argument("--stale", action="store_true", help="of those, the ones that another commit drew")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
