"""`theodolite path`: the ways between two latents of a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from theodolite.cli import mapped, options, terminal

__all__ = ["path"]


@click.command(short_help="Go from one latent to another, and measure the way.")
@click.argument("model")
@click.argument("first")
@click.argument("second")
@click.option("--out", required=True, metavar="FOLDER", help="Run folder; a path in it is replaced.")
@click.option(
    "--via",
    type=click.Choice(["linear", "slerp", "geodesic", "all"]),
    default="all",
    show_default=True,
    help="The straight line of latents, the arc, the shortest way of images, or all three.",
)
@click.option("--steps", type=click.IntRange(min=4), default=12, show_default=True, help="From one end to the other.")
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Centre square of images, resized.")
@options.chosen(options.DEVICE, *options.ANSWER)
def path(
    model: str, first: str, second: str, out: str, as_json: bool, quiet: bool, no_report: bool, **settings: Any
) -> None:
    """Interpolate between two latents of MODEL: a strip of pictures and its length, jumps and straightness, by route.

    FIRST and SECOND are image files, which are encoded, .safetensors files with one latent, or seed:NUMBER, a standard
    normal latent. MODEL is what `theodolite survey` takes.

    \b
    Examples:
      theodolite path ./my-vae cat.png dog.png --size 64 --out runs/cat-dog
      theodolite path zoo:digits seed:1 seed:2 --via geodesic --steps 16 --out runs/digits
    """  # noqa: D301
    from theodolite.surveys import interpolate

    terminal.run_with_progress(
        lambda progress: interpolate(model, first, second, out=out, progress=progress, **settings),
        lambda: conclude(out, as_json=as_json, quiet=quiet, with_report=not no_report),
        out,
        quiet,
        "finished routes are kept",
    )


def conclude(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    """Report and table of a path that is in its folder."""
    from theodolite.surveys.paths_store import read_paths

    found = read_paths(out)
    report = write(out, Path(out) / "report.html") if with_report else None
    if as_json:
        terminal.say(mapped.paths_as_json(found, out, report))
    elif not quiet:
        mapped.print_paths(found)
        terminal.say(out if report is None else report)


def write(run: str, file: Path) -> Path | None:
    """The report of a path, or a notice and None where the packages it needs are not installed."""
    if terminal.lacks_for_reports(run):
        return None
    from theodolite.report import write_paths_report

    return write_paths_report(run, file)
