"""`theodolite phases`: the phase map of a family of samples over a box of two parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from theodolite.cli import mapped, options, terminal

__all__ = ["phases"]


def _four(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Four numbers with commas between as a tuple; several of them as a list."""
    if value is None or isinstance(value, tuple):
        return value and [_four(context, option, one) for one in value]
    try:
        found = tuple(float(part) for part in value.split(","))
    except ValueError:
        found = ()
    if len(found) != 4:
        raise click.BadParameter(f"four numbers with commas between expected, got {value!r}")
    return found


@click.command(short_help="Map the phases of a family of samples over two parameters.")
@click.argument("source")
@click.option("--out", required=True, metavar="FOLDER", help="Run folder; a phase map in it is replaced.")
@click.option(
    "--anchor", multiple=True, metavar="LATENT", help="Three times, of a generator: an image, a .safetensors or seed:3."
)
@click.option(
    "--embedding",
    default="patches",
    show_default=True,
    metavar="NAME",
    help="Of a generator's images: pixels, patches (mean and spread of 8 x 8 patches) or package.module:factory.",
)
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Centre square of images, resized.")
@click.option("--noise", type=float, default=0.05, show_default=True, help="Of latents, as a part of their size.")
@click.option("--side", type=click.IntRange(min=2), help="Of the Ising torus; 6 by default.")
@click.option("--sites", type=click.IntRange(min=1), help="Of the TASEP chain; 24 by default.")
@click.option("--box", callback=_four, metavar="LOW,HIGH,LOW,HIGH", help="Of the first and the second parameter.")
@click.option("--grid", type=click.IntRange(min=1), metavar="N", help="Cells along a side.")
@click.option("--samples", type=click.IntRange(min=4), metavar="N", help="Draws of the parameters.")
@click.option(
    "--bundle", type=click.IntRange(min=1), metavar="N", help="Samples in a bundle; of features, their sharpness."
)
@click.option("--zoom", type=float, metavar="FACTOR", help="Map again around the steepest cell, so many times smaller.")
@click.option("--between", callback=_four, multiple=True, metavar="A1,A2,B1,B2", help="One more geodesic; repeatable.")
@options.chosen(options.SEED, options.DEVICE, *options.ANSWER)
def phases(source: str, out: str, as_json: bool, quiet: bool, no_report: bool, **settings: Any) -> None:
    """Fit the Fisher metric of a family of samples over two parameters, and map its phases, ridges and geodesics.

    \b
    SOURCE is one of
      zoo:ising              coupling K and field h, exact posteriors
      zoo:tasep              rates of injection and removal, exact posteriors
      zoo:mixture-diffusion  the plane of noise of a diffusion model with exact score
      a generator            what `theodolite survey` takes, with three anchors: the plane through three latents

    \b
    Examples:
      theodolite phases zoo:ising --out runs/ising
      theodolite phases zoo:mixture-diffusion --out runs/mixture --zoom 4
      theodolite phases ./my-vae --anchor a.png --anchor b.png --anchor c.png --size 64 --out runs/plane
    """  # noqa: D301
    from theodolite.surveys import map_phases

    terminal.run_with_progress(
        lambda progress: map_phases(source, out=out, progress=progress, **settings),
        lambda: conclude(out, as_json=as_json, quiet=quiet, with_report=not no_report),
        out,
        quiet,
        "finished maps are kept",
    )


def conclude(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    """Report and tables of a phase map that is in its folder."""
    from theodolite.surveys.phase_store import read_phases

    levels, info = read_phases(out)
    report = write(out, Path(out) / "report.html") if with_report else None
    if as_json:
        terminal.say(mapped.phases_as_json(levels, info, out, report))
    elif not quiet:
        mapped.print_phases(levels, info)
        terminal.say(out if report is None else report)


def write(run: str, path: Path) -> Path | None:
    """The report of a phase map, or a notice and None where the packages it needs are not installed."""
    if terminal.lacks_for_reports(run):
        return None
    from theodolite.report.phases import write_phases_report

    return write_phases_report(run, path)
