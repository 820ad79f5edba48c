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
    from theodolite.cli.show import _kind_of

    if (kind := _kind_of(run)) not in _WRITERS:
        from theodolite.report.render import write_report as written
        from theodolite.runs.run import read_run

        terminal.caveats(read_run(run).info)
        terminal.say(written(run, Path(out) if out else None))
        return
    terminal.say(_WRITERS[kind](run, Path(out) if out else None))


def _decoupling(run: str, out: Path | None) -> Path:
    from theodolite.report.decoupling import write_decoupling_report
    from theodolite.surveys.decoupled import read_decoupling

    return write_decoupling_report(read_decoupling(run), out)


def _traverse(run: str, out: Path | None) -> Path:
    from theodolite.report.traverse import write_traverse_report

    return write_traverse_report(run, out)


_WRITERS = {
    "decouple": _decoupling,
    "traverse": _traverse,
}
"""How the report of a kind of run is written; that of a survey otherwise."""
