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
    from theodolite.report import write_ranking_report, write_report
    from theodolite.surveys import read_run
    from theodolite.surveys.store import kind_of

    if kind_of(run) == "rank":
        from theodolite.surveys.ranked_store import read_ranking

        ranking, info = read_ranking(run)
        terminal.say(write_ranking_report(ranking, info, Path(out) if out else Path(run) / "report.html"))
        return
    if kind_of(run) == "detect":
        from theodolite.report import write_detection_report
        from theodolite.surveys.detected import read_detection

        terminal.say(write_detection_report(read_detection(run), out))
        return
    results = read_run(run)
    terminal.warn(results)
    terminal.say(write_report(results, out))
