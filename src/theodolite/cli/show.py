"""`theodolite show`: the summary of a run in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from theodolite.cli import terminal

__all__ = ["show"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")
@click.option("--sort", metavar="QUANTITY", help="List the samples too, by this quantity, the largest first.")
def show(run: Path, as_json: bool, sort: str | None) -> None:
    """Print what RUN measured: the median and spread of every quantity, with its error.

    RUN may be complete, interrupted, or still going.

    \b
    Examples:
      theodolite show runs/first
      theodolite show runs/first --sort curvature
      theodolite show runs/first --json
    """  # noqa: D301
    from theodolite.surveys import read_run

    results = read_run(run)
    if as_json:
        by = {"samples_by": {sort: terminal.samples_by(results, sort)}} if sort else {}
        click.echo(terminal.as_json(results, **by))
        return
    terminal.print_summary(results)
    if sort:
        terminal.print_samples(results, sort)
