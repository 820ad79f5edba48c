"""`theodolite show`: the summary of a run in the terminal."""

from __future__ import annotations

import click

from theodolite.cli import decoupled, terminal, traverse

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

    if (kind := _kind_of(run)) not in _SHOWN:
        results = read_run(run)
        terminal.caveats(results.info)
        if as_json:
            import json

            terminal.say(json.dumps(terminal.answer(results, sort=sort or "", filters=filters), indent=1))
        else:
            terminal.print_run(results, sort or "", filters)
        return
    _SHOWN[kind](run, as_json, sort)


def _kind_of(run: str) -> str:
    import json
    import pathlib

    from theodolite.runs.folder import regular

    file = pathlib.Path(run) / "run.json"
    try:
        return str(json.loads(file.read_bytes())["kind"]) if regular(file) else "?"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "?"


def _show_decoupling(run: str, as_json: bool, _: str | None) -> None:
    from theodolite.surveys.decoupled import read_decoupling

    found = read_decoupling(run)
    if as_json:
        terminal.say(decoupled.as_json(found))
    else:
        decoupled.print_summary(found)


def _show_traverse(run: str, as_json: bool, _: str | None) -> None:
    traverse.print_traverse(run, as_json)


_SHOWN = {
    "decouple": _show_decoupling,
    "traverse": _show_traverse,
}
"""How a kind of run is shown; as a survey otherwise."""
