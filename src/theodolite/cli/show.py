"""`theodolite show`: the summary of a run in the terminal."""

from __future__ import annotations

import json

import click

from theodolite.cli import terminal

__all__ = ["show"]


@click.command(short_help="Print the summary of a run.")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")
@click.option("--sort", metavar="QUANTITY", help="List the samples too, by this quantity, the largest first.")
@click.option("--filter", "filters", multiple=True, metavar="COLUMN=VALUE", help="Only rows that hold; also !=, >, <.")
def show(run: str, as_json: bool, sort: str | None, filters: tuple[str, ...]) -> None:
    """Print what RUN measured: the median and spread of every quantity, with its error.

    Of a ranking it prints the order, of a detection the AUROC of every score and the most suspicious images (with
    --sort SCORE by that score).

    RUN may be complete, interrupted, or still going. QUANTITY is any name in the first column of the table; samples
    whose value is no number to rank by (undetermined, undefined) come last.

    \b
    Examples:
      theodolite show runs/first
      theodolite show runs/first --sort curvature
      theodolite show runs/first --json
    """  # noqa: D301
    from theodolite.runs.run import read_run

    results = read_run(run)
    terminal.caveats(results.info)
    if as_json:
        terminal.say(json.dumps(terminal.answer(results, sort=sort or "", filters=filters), indent=1))
    else:
        terminal.print_run(results, sort or "", filters)
