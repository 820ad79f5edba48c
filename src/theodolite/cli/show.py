"""`theodolite show`: the summary of a run in the terminal."""

from __future__ import annotations

import json

import click

from theodolite.cli import terminal

__all__ = ["show"]


@click.command(short_help="Print the summary of a run.")
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")
@click.option("--sort", metavar="COLUMN", help="The tables with this column, the largest first.")
@click.option("--filter", "filters", multiple=True, metavar="COLUMN=VALUE", help="Only rows that hold; also !=, >, <.")
def show(run: str, as_json: bool, sort: str | None, filters: tuple[str, ...]) -> None:
    """Print what RUN measured: the tables of its page, and what can be read off them.

    RUN is the folder of any verb's run: complete, interrupted, or still going. COLUMN is a column of one of its tables,
    long ones that are not printed by themselves among them: e.g. a quantity of a survey's samples. What is no number to
    rank by (undetermined, undefined) comes last.

    \b
    Examples:
      theodolite show runs/first
      theodolite show runs/first --sort curvature
      theodolite show runs/first --filter 'curvature>1' --filter curvature=ok
      theodolite show runs/first --json
    """  # noqa: D301
    from theodolite.runs.registry import read_run

    results = read_run(run)
    terminal.caveats(results.info)
    if as_json:
        terminal.say(json.dumps(terminal.answer(results, sort=sort or "", filters=filters), indent=1))
    else:
        terminal.print_run(results, sort or "", filters)
