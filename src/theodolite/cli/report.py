"""`theodolite report`: make the report of a run again."""

from __future__ import annotations

from pathlib import Path

import click

from theodolite.cli import terminal

__all__ = ["report"]


@click.command(short_help="Write the report of a run again.")
@click.argument("run")
@click.option("--out", metavar="FILE", help="Where to write it; RUN/report.html by default.")
def report(run: str, out: str | None) -> None:
    """Write the report of RUN, one HTML file that opens offline, and print its path.

    \b
    Examples:
      theodolite report runs/first
      theodolite report runs/first --out first.html
    """  # noqa: D301
    from theodolite.report.render import write_report
    from theodolite.runs.registry import read_run

    results = read_run(run)
    terminal.caveats(results.info)
    terminal.say(write_report(results, Path(out) if out else None))
