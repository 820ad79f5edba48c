"""`theodolite detect`: which images of one folder are unlike those of another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import detected, notices, options, terminal
from theodolite.cli.listed import listed
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.surveys.detected import Detection

__all__ = ["detect"]

_SCORES = "Of those in docs/detection.md; by default all of a decoder but curvature, and the cheap ones of a denoiser."
_SIGMA = "Noise levels of a denoiser, two or more, in units of its points; by default 0.1 0.4 1.6."
_GROUP = (
    "Regular expression for the part of a file's path that tells its source photograph, in both folders; by default "
    "the name before crop coordinates, each folder on its own."
)


@click.command(cls=listed("--sigma"), short_help="Score images of one folder against those of another.")
@click.argument("model")
@click.option("--reference", required=True, metavar="FOLDER", help="Images that are normal, with its subfolders.")
@click.option("--test", required=True, metavar="FOLDER", help="Images to judge.")
@click.option("--labels", metavar="FILE.csv", help="Columns file,label of test images: 0 normal, 1 unusual.")
@click.option("--sigma", type=float, multiple=True, metavar="NUMBERS", help=_SIGMA)
@click.option("--output", type=click.Choice(["eps", "x0"]), help="Which map of a denoiser; eps by default.")
@click.option("--condition", metavar="C", help="Of a denoiser: 3-red, or a class; by default nothing in particular.")
@click.option("--out", required=True, metavar="FOLDER", help="Run folder: new, or one to resume.")
@options.LIMIT
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Centre square, resized to so many pixels; by default four latents a side and at least 32.",
)
@click.option("--budget", default="quick", show_default=True, metavar="NAME", help="quick, standard or full.")
@click.option("--scores", metavar="A,B", help=_SCORES)
@click.option("--score", default="departure", show_default=True, metavar="NAME", help="The one that orders the images.")
@click.option("--level", type=float, default=0.95, show_default=True, help="Share of the reference below a threshold.")
@click.option("--group", metavar="REGEX", help=_GROUP)
@options.chosen(options.SEED, *options.MODEL, *options.ANSWER)
def detect(
    model: str,
    reference: str,
    test: str,
    out: str,
    limit: int,
    sigma: tuple[float, ...],
    as_json: bool,
    quiet: bool,
    no_report: bool,
    **settings: Any,
) -> None:
    """Which images of the test folder are unlike the reference, by the local geometry of MODEL?

    Of an autoencoder that is the geometry of its decoder at every image's latent; of a diffusion model that of its
    denoiser at every image with noise of several levels, and scores carry their level: local_scaling@0.4.

    Every score comes with the baselines it has to beat, a threshold set on the reference images alone, a p-value for
    each image, and its AUROC with an interval over source photographs: of test against reference, or of --labels.

    Finished images are kept: after Ctrl-C the same command goes on. On a complete run --labels, --group, --level and
    --score may be changed without measuring again. A MODEL is what `theodolite survey` takes, or zoo:coloured-pixels,
    zoo:coloured-latent, the folder of a diffusers pixel pipeline, or of a latent one with --subfolder unet.

    \b
    Examples:
      theodolite detect ./my-vae --reference photos --test others --out runs/odd
      theodolite detect ./my-vae --reference photos --test mixed --labels labels.csv --out runs/labelled --limit 0
      theodolite detect ./my-vae --reference photos --test others --out runs/odd --score lc_over_phfe --level 0.9
      theodolite detect zoo:coloured-pixels --reference digits --test odd --out runs/noise --sigma 0.1 0.4
      theodolite detect ./my-vae --reference photos --test others --out runs/large --size 128 --budget standard --json
    """  # noqa: D301
    from theodolite.surveys import detect as measure

    try:
        with terminal.interruptible() as check_interrupt, terminal.progress_bar(quiet) as draw:

            def progress(done: int, total: int, sample: str) -> None:
                if draw is not None:
                    draw(done, total, sample)
                if done < total:
                    check_interrupt()

            given = {"limit": limit or None, "sigma": sigma or None, **settings}
            measure(model, reference, test, out, progress=progress, **given)
    except KeyboardInterrupt:
        _interrupted(out, as_json=as_json, quiet=quiet, with_report=not no_report)
        raise click.exceptions.Exit(130) from None
    _conclude(out, as_json=as_json, quiet=quiet, with_report=not no_report)


def _interrupted(out: str, **options: bool) -> None:
    """What is finished, if that is enough to judge by."""
    if not (Path(out) / "run.json").exists():
        raise KeyboardInterrupt
    terminal.notice("interrupted; finished images are kept, and the same command goes on")
    try:
        _conclude(out, **options)
    except InputError as error:
        terminal.notice(str(error))


def _conclude(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    from theodolite.surveys.detected import read_detection

    found = read_detection(out)
    report = _written(found) if with_report else None
    if not quiet:
        _tell(found)
    if as_json:
        terminal.say(detected.as_json(found, report))
    elif not quiet:
        detected.print_summary(found)
        terminal.say(out if report is None else report)


def _tell(found: Detection) -> None:
    """What the user should know before reading the numbers."""
    notices.tell(found.run.info)
    if found.repeated:
        terminal.notice(f"{len(found.repeated)} test images are reference images too, e.g. {found.repeated[0]}")


def _written(found: Detection) -> Path | None:
    if terminal.lacks_for_reports(found.run.path):
        return None
    from theodolite.report.detection import write_detection_report

    return write_detection_report(found)
