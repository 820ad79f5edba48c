"""`theodolite survey`: measure an autoencoder on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import terminal

if TYPE_CHECKING:
    from theodolite.surveys import Run

__all__ = ["conduct", "survey"]


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    help="Folder of images, with its subfolders.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, readable=False), help="Run folder: new, or one to resume."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N images, by path.", metavar="N")
@click.option("--size", type=click.IntRange(min=1), help="Centre square, resized to so many pixels.", metavar="PIXELS")
@click.option("--budget", default="standard", show_default=True, help="Work a sample: quick, standard or full.")
@click.option("--descriptors", help="Names, separated by commas; all by default.", metavar="A,B")
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random draw.")
@click.option("--device", help="As in torch, e.g. cuda or cpu.")
@click.option("--dtype", help="float32 or float64.")
@click.option("--subfolder", help="Of the model's folder or hub repository, e.g. vae.")
@click.option("--revision", help="Of the hub repository.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object, and nothing else.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option("--no-report", is_flag=True, help="Leave report.html out.")
def survey(out: Path, descriptors: str | None, as_json: bool, quiet: bool, no_report: bool, **settings: Any) -> None:
    """Measure the local geometry of MODEL's decoder at the latent of every image of a folder.

    MODEL is a hub id, a folder, package.module:factory, or zoo:name. Finished samples are kept as they are made:
    after Ctrl-C, a crash or a full disk the same command goes on where it stopped.

    \b
    Examples:
      theodolite survey zoo:patches-kl --data photos --out runs/kl --size 32
      theodolite survey stabilityai/sdxl-turbo --subfolder vae --data photos --out runs/sdxl --size 128
      theodolite survey ./my-vae --data photos --out runs/mine --budget quick --descriptors local_scaling,local_rank
      theodolite survey my_package.models:make --data photos --out runs/made --device cuda --json > summary.json
    """  # noqa: D301
    names = None if descriptors is None else [name.strip() for name in descriptors.split(",") if name.strip()]
    conduct(out, as_json=as_json, quiet=quiet, with_report=not no_report, descriptors=names, **settings)


def conduct(
    out: Path, *, as_json: bool = False, quiet: bool = False, with_report: bool = True, **settings: Any
) -> None:
    """Run a survey with progress on stderr and its summary on stdout; Ctrl-C ends it with a usable run and code 130."""
    from theodolite.surveys import read_run
    from theodolite.surveys import survey as measure

    calls: list[int] = []
    try:
        with terminal.interruptible(), terminal.progress_bar(quiet) as draw:

            def progress(done: int, total: int, sample: str) -> None:
                calls.append(done)
                if draw is not None:
                    draw(done, total, sample)

            run = measure(out=out, progress=progress, **settings)
    except KeyboardInterrupt:
        if not calls:
            raise
        run = read_run(out)
        wanted = len(run.info["data"]["files"])
        terminal.notice(
            f"interrupted with {len(run.samples)} of {wanted} samples kept; go on with: {run.info['command']}"
        )
        _conclude(run, as_json=as_json, quiet=quiet, report=_report(run, with_report and bool(run.samples), True))
        raise click.exceptions.Exit(130) from None
    if not quiet:
        _tell(run, measured=bool(calls))
    _conclude(run, as_json=as_json, quiet=quiet, report=_report(run, with_report, bool(calls)))


def _report(run: Run, wanted: bool, changed: bool) -> Path | None:
    there = run.path / "report.html"
    if not wanted:
        return None
    return there if there.exists() and not changed else terminal.write_report(run)


def _tell(run: Run, measured: bool) -> None:
    """What the user should know before reading the numbers."""
    if not measured:
        terminal.notice(f"{run.path} is complete already: nothing was measured")
    for skipped in run.info["data"]["skipped"]:
        terminal.notice(f"skipped {skipped['file']}: {skipped['reason']}")
    for left_out in run.info["left_out"]:
        terminal.notice(f"left out {left_out['descriptor']}: {left_out['reason']}")
    for failed in run.info["failed"]:
        terminal.notice(f"failed {failed['sample']}, {failed['descriptor'] or 'every descriptor'}: {failed['reason']}")
    if not run.info["self_check"]["passed"]:
        terminal.notice(f"the derivatives' self-check failed: {run.info['self_check']['message']}")


def _conclude(run: Run, *, as_json: bool, quiet: bool, report: Path | None) -> None:
    if as_json:
        click.echo(terminal.as_json(run, report=None if report is None else str(report)))
    elif not quiet:
        terminal.print_summary(run)
        click.echo(run.path if report is None else report)
