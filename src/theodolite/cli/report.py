"""`theodolite report`: make the report of a run again."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--out", type=click.Path(path_type=Path, readable=False), help="Where to write it; RUN/report.html by default."
)
def report(run: Path, out: Path | None) -> None:
    """Write the report of RUN, one HTML file that opens offline, and print its path.

    \b
    Examples:
      theodolite report runs/first
      theodolite report runs/first --out first.html
    """  # noqa: D301
    from theodolite.report import write_report
    from theodolite.surveys import read_run

    click.echo(write_report(read_run(run), out))
