"""`theodolite merge`: one run of the parts that `--shard` made."""

from __future__ import annotations

import click

from theodolite.cli.verbs import conclude

__all__ = ["merge"]


@click.command(short_help="Make one run of the parts that --shard I/N measured.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", metavar="FOLDER", required=True, help="The merged run: a new or an empty folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, nothing else.")
@click.option("--no-report", is_flag=True, help="Leave report.html out.")
def merge(runs: tuple[str, ...], out: str, as_json: bool, no_report: bool) -> None:
    """Merge RUNs, which measured parts of one run on any machines, into one; no model is run.

    The result is, number by number, that of all units in one process. Where parts are missing it is an unfinished run,
    and the command that it names measures the rest.

    \b
    Examples:
      theodolite survey ./my-vae --data photos --shard 1/2 --out runs/one
      theodolite survey ./my-vae --data photos --shard 2/2 --out runs/two
      theodolite merge runs/one runs/two --out runs/whole
    """  # noqa: D301
    from theodolite.runs.merging import merge as merged

    run = merged(runs, out)
    conclude(str(run.path), as_json=as_json, report=not no_report)
