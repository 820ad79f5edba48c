"""Every table of speed with its peer in one run: JSON, a page made from it, and how it compares with the last one.

make bench                        # the tables of `_speed.py`, into benchmarks/results.json and docs/benchmarks.md
python -m benchmarks small_models # some of them, printed only
python -m benchmarks --scripts    # every other script of the folder on its small model besides, printed only
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from benchmarks._speed import TABLES

__all__ = ["compared", "main", "page", "written"]

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
DOCS = FOLDER.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- benchmarks: written by python -m benchmarks -->", "<!-- end of the written part -->"

_NOTABLE = 0.25
"""Relative change from which a number is told: timings of one machine move by less between runs when it is quiet."""


def main() -> None:
    """Measure, compare, and store where all tables were measured."""
    options = _options()
    torch.set_num_threads(1)
    names = options.tables or [*TABLES]
    result = {"about": _about(), "tables": {}}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        result["tables"][name] = asdict(TABLES[name](options.smoke))
    last = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
    print(page(result))
    for line in compared(result, last) if last else ():
        print(line)
    if options.scripts:
        _run_scripts()
    if not options.tables and not options.smoke:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
        DOCS.write_text(written(DOCS.read_text(), page(result)))


def page(result: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    about = result["about"]
    machine = f"{about['processor']} with {about['cores']} cores, load {about['load']:.1f} before it began"
    lines = [
        f"{about['date']}; {machine}, one thread, torch {about['torch']}.",
        "Seconds are processor time unless a table says otherwise: compare ratios, not machines.",
        "",
    ]
    for table in result["tables"].values():
        columns = list(dict.fromkeys(column for row in table["rows"].values() for column in row))
        lines += [f"### {table['title']}", "", table["about"], "", f"| | {' | '.join(columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        lines += [
            f"| {name} | {' | '.join(_cell(row.get(c)) for c in columns)} |" for name, row in table["rows"].items()
        ]
        lines.append("")
    return "\n".join(lines)


def compared(result: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    """What is another number than the last time by more than a quarter, a line each."""
    lines = [f"Compared with {last['about']['date']}, load {last['about']['load']:.1f}:"]
    for name, table in result["tables"].items():
        before = last["tables"].get(name, {}).get("rows", {})
        for row, numbers in table["rows"].items():
            for column, new in numbers.items():
                old = before.get(row, {}).get(column)
                if new and old and abs(new / old - 1) > _NOTABLE:
                    lines.append(f"  {table['title']}, {row}, {column}: {_cell(old)} -> {_cell(new)}")
    return lines if len(lines) > 1 else [f"{lines[0]} nothing moved by more than a quarter."]


def written(text: str, tables: str) -> str:
    """The page of the docs with these tables in the place of the last ones."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{tables}\n{END}{rest.partition(END)[2]}"


def _cell(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if float(number).is_integer() and abs(number) >= 1 else f"{number:.3g}"


def _about() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }


def _run_scripts() -> None:
    """Every other script of the folder, on its small model, each with its peer."""
    for script in sorted(FOLDER.glob("[!_]*.py")):
        print(f"\n## {script.name}\n", flush=True)
        subprocess.run([sys.executable, script, "--smoke"], check=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all, and stored, by default")
    parser.add_argument("--scripts", action="store_true", help="run the other scripts on small models, too")
    parser.add_argument("--smoke", action="store_true", help="small sizes, nothing stored")
    options = parser.parse_args()
    unknown = [name for name in options.tables if name not in TABLES]
    if unknown:
        parser.error(f"tables expected of {', '.join(TABLES)}, got {unknown[0]}")
    return options


if __name__ == "__main__":
    main()
