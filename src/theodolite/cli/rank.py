"""`theodolite rank`: autoencoders in the order in which diffusion should train well in their latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import options, ranked, terminal
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.diffusability import Ranking

__all__ = ["conclude", "conduct", "rank", "shared"]

_DEMO: dict[str, Any] = {
    "models": ["zoo:patches-plain", "zoo:patches-kl", "zoo:patches-smooth"],
    "group": "^[a-z]+",
}
_DEMO_OUT = "runs/rank-demo"

_BUDGET = "quick (no networks: Gaussian and mixture denoisers), standard (a short training in every space) or full."
_GROUP = (
    "Regular expression for the part of a file's path that tells its source photograph; its first group, or all of the "
    "match. By default the name before crop coordinates: cat_0128_0256.png is from cat."
)

shared = options.chosen(
    click.option("--data", metavar="FOLDER", help="Folder of images, with its subfolders."),
    click.option("--out", metavar="FOLDER", help="Run folder: new, or one to go on with."),
    click.option("--limit", type=click.IntRange(min=2), metavar="N", help="Only the first N images, by path."),
    click.option(
        "--size",
        type=click.IntRange(min=1),
        metavar="PIXELS",
        help="Centre square, resized to so many pixels; by default images keep their size, cut to what fits.",
    ),
    click.option("--group", metavar="REGEX", help=_GROUP),
    click.option("--budget", default="standard", show_default=True, metavar="NAME", help=_BUDGET),
    options.SEED,
    options.DEVICE,
    *options.ANSWER,
)
"""The options that `rank` and `diffusability` share."""


@click.command(short_help="Rank autoencoders by how well diffusion should train in their latents.")
@click.argument("models", nargs=-1, metavar="MODEL MODEL...")
@shared
@click.option("--demo", is_flag=True, help="Rank the patch autoencoders that ship with the package on bundled images.")
def rank(
    models: tuple[str, ...],
    data: str | None,
    out: str | None,
    demo: bool,
    as_json: bool,
    quiet: bool,
    no_report: bool,
    **settings: Any,
) -> None:
    """Put two or more MODELs in order: in whose latents does noise hide things as it does in the images themselves?

    The number is half the area between the MMSE rates of latents and images over relative noise: 0 for an isometric
    embedding, 1 at most, smaller is better. Errors are over source photographs, and every pair comes with the
    probability that its order is right; below 0.95 it is a tie. A MODEL is what `theodolite survey` takes.

    Finished models are kept: after Ctrl-C the same command goes on, and with one more MODEL only that is measured.

    \b
    Examples:
      theodolite rank --demo
      theodolite rank ./first-vae ./second-vae --data photos --out runs/order
      theodolite rank zoo:patches-kl my_package.models:make --data photos --out runs/order --size 64 --group '^[a-z]+'
      theodolite rank ./first-vae ./second-vae --data photos --out runs/order --budget full --device cuda --json
    """  # noqa: D301
    if demo:
        models, data, out, settings = _demonstrated(models, data, out, settings)
    if len(models) < 2:
        raise click.UsageError(f"two or more models expected, got {len(models)}; for one: theodolite diffusability")
    conduct(models, data, out, as_json=as_json, quiet=quiet, with_report=not no_report, **settings)


def _demonstrated(
    models: Sequence[str], data: str | None, out: str | None, settings: dict[str, Any]
) -> tuple[tuple[str, ...], str, str, dict[str, Any]]:
    if models or data is not None:
        raise click.UsageError("--demo ranks what ships with the package: leave out models and --data")
    from theodolite.zoo import bundled_images

    group = settings["group"] or _DEMO["group"]
    return tuple(_DEMO["models"]), str(bundled_images()), out or _DEMO_OUT, {**settings, "group": group}


def conduct(
    models: Sequence[str],
    data: str | None,
    out: str | None,
    *,
    as_json: bool,
    quiet: bool,
    with_report: bool,
    **settings: Any,
) -> None:
    """Rank with progress on stderr and the result on stdout; Ctrl-C ends it with what is finished and code 130."""
    for name, value in (("--data", data), ("--out", out)):
        if value is None:
            raise click.UsageError(f"Missing option '{name}'")
    assert data is not None
    assert out is not None
    from theodolite.surveys import rank as measure

    try:
        with terminal.interruptible() as check_interrupt, terminal.progress_bar(quiet) as draw:

            def progress(done: int, total: int, what: str) -> None:
                if draw is not None:
                    draw(done, total, what)
                check_interrupt()

            measure(list(models), data, out=out, progress=progress, **settings)
    except KeyboardInterrupt:
        if not (Path(out) / "run.json").exists():
            raise
        terminal.notice("interrupted; finished models are kept, and the same command goes on")
        _conclude_what_there_is(out, as_json=as_json, quiet=quiet, with_report=with_report)
        raise click.exceptions.Exit(130) from None
    conclude(out, as_json=as_json, quiet=quiet, with_report=with_report)


def _conclude_what_there_is(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    try:
        conclude(out, as_json=as_json, quiet=quiet, with_report=with_report)
    except InputError as error:
        terminal.notice(str(error))


def conclude(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    """Report and tables of a ranking that is in its folder."""
    from theodolite.surveys.ranked_store import read_ranking

    ranking, info = read_ranking(out)
    report = _written(ranking, info, out) if with_report else None
    if not quiet:
        for skipped in info["data"]["skipped"]:
            terminal.notice(f"skipped {skipped['file']}: {skipped['reason']}")
    if as_json:
        terminal.say(ranked.as_json(ranking, info, out, report))
    elif not quiet:
        ranked.print_summary(ranking, info)
        terminal.say(out if report is None else report)


def _written(ranking: Ranking, info: dict[str, Any], out: str) -> Path | None:
    if terminal.lacks_for_reports(out):
        return None
    from theodolite.report.ranking import write_ranking_report

    return write_ranking_report(ranking, info, Path(out) / "report.html")
