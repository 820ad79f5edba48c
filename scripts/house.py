"""Count the house, room by room, before and after: `python scripts/house.py`, with `--write` into docs/architecture.md.

Counts are of Python files below `src/theodolite` and of their lines. "Before" is the commit `COMMIT`, from which the
upper half was built anew. Its counts stand here, so that the table can be made where the history is not at hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "theodolite"
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- house: written by scripts/house.py -->", "<!-- end of the written part -->"

Counts = Mapping[str, tuple[int, int]]
"""Files and lines by room."""

PACKAGE = "(the package itself)"
COMMIT = "e16609a"
BEFORE: Counts = {
    PACKAGE: (4, 167),
    "cli": (23, 2473),
    "derivatives": (18, 2432),
    "descriptors": (22, 2764),
    "detection": (13, 1750),
    "fisher": (37, 5093),
    "hessian": (30, 3612),
    "maps": (17, 3088),
    "report": (28, 4268),
    "spectrum": (10, 1460),
    "steering": (14, 1433),
    "surveys": (51, 8953),
    "training": (7, 659),
    "zoo": (23, 2129),
}
TEMPLATES_BEFORE = (15, 1894)
"""Files and lines of the report's templates, styles and scripts; nine templates of single verbs were 1,384 of them."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/architecture.md")
    table = house(counted(SOURCE), templates(SOURCE))
    if parser.parse_args().write:
        head, _, rest = PAGE.read_text().partition(START)
        PAGE.write_text(f"{head}{START}\n\n{table}\n\n{END}{rest.partition(END)[2]}")
    else:
        print(table)
    return 0


def counted(source: Path) -> Counts:
    """Python files and their lines, by room."""
    counts: dict[str, tuple[int, int]] = {}
    for path in sorted(source.rglob("*.py")):
        inside = path.relative_to(source).parts
        room = inside[0] if len(inside) > 1 else PACKAGE
        files, lines = counts.get(room, (0, 0))
        counts[room] = files + 1, lines + lines_of(path)
    return counts


def templates(source: Path) -> tuple[int, int]:
    """Files and lines of the report's templates, styles and scripts."""
    paths = [path for path in (source / "report" / "templates").iterdir() if path.is_file()]
    return len(paths), sum(map(lines_of, paths))


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return path.read_bytes().count(b"\n")


def house(after: Counts, templates_after: tuple[int, int]) -> str:
    """The table of both, rooms by name, with the sum and the templates below."""
    rows = [_row(f"`{room}`", BEFORE.get(room), after.get(room)) for room in sorted({*BEFORE, *after} - {PACKAGE})]
    rows += [_row(PACKAGE, BEFORE[PACKAGE], after.get(PACKAGE)), _row("**sum**", _sum(BEFORE), _sum(after))]
    rows.append(_row("templates of `report`", TEMPLATES_BEFORE, templates_after))
    head = [f"| room | files, {COMMIT} | lines | files, now | lines |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _sum(counts: Counts) -> tuple[int, int]:
    return sum(files for files, _ in counts.values()), sum(lines for _, lines in counts.values())


def _row(name: str, before: tuple[int, int] | None, after: tuple[int, int] | None) -> str:
    cells = [f"{count:,}" for pair in (before or (), after or ()) for count in pair]
    blank = ["–", "–"]
    left, right = (cells[:2] if before else blank), (cells[-2:] if after else blank)
    return f"| {' | '.join([name, *left, *right])} |"


if __name__ == "__main__":
    sys.exit(main())
