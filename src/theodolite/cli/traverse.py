"""`theodolite traverse`: local scaling, rank and complexity over a plane, over denoising, and over corruptions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import notices, options, terminal
from theodolite.cli.listed import listed

if TYPE_CHECKING:
    from theodolite.surveys import Traversed

__all__ = ["print_traverse", "traverse"]

_OUTPUTS = ("x0", "eps", "v", "score")


def _common(budget: str) -> Callable[[Any], Any]:
    """Options of all three."""
    return options.chosen(
        click.option("--out", required=True, metavar="FOLDER", help="New, or one to go on with."),
        click.option("--budget", default=budget, show_default=True, metavar="NAME", help="quick, standard or full."),
        options.SEED,
        *options.MODEL,
        *options.ANSWER,
    )


@click.group(short_help="Follow psi, nu and delta over a plane, over denoising, over corruptions.")
def traverse() -> None:
    """Local scaling (psi), rank (nu) and complexity (delta) at points of a design, as maps and lines.

    Finished parts are kept: after Ctrl-C the same command goes on.

    \b
    Examples:
      theodolite traverse plane zoo:digits --anchor seed:1 --anchor seed:2 --anchor seed:3 --out runs/plane
      theodolite traverse denoising zoo:coloured-latent --guidance 0 1 2 4 --out runs/denoising
      theodolite traverse corruptions ./my-vae --data photos --out runs/worse
    """  # noqa: D301


@traverse.command(short_help="Of a decoder, over a plane through three latents.")
@click.argument("model")
@click.option(
    "--anchor", multiple=True, metavar="LATENT", help="An image, a .safetensors latent or seed:3; give three."
)
@click.option("--grid", type=click.IntRange(min=2), default=13, show_default=True, help="Places along a side.")
@click.option("--margin", type=float, default=0.25, show_default=True, help="Beyond the anchors, in sides.")
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Centre square of images, resized.")
@_common("quick")
def plane(model: str, out: str, as_json: bool, quiet: bool, no_report: bool, **settings: Any) -> None:
    """Map psi, nu and delta of the decoder of MODEL over the plane through three anchors.

    \b
    Examples:
      theodolite traverse plane zoo:digits --anchor seed:1 --anchor seed:2 --anchor seed:3 --out runs/plane
      theodolite traverse plane ./my-vae --anchor a.png --anchor b.png --anchor c.png --size 64 --out runs/plane
    """  # noqa: D301
    from theodolite.surveys import traverse_plane

    _run(lambda tell: traverse_plane(model, out, progress=tell, **settings), out, as_json, quiet, no_report)


@traverse.command(
    cls=listed("--guidance", output=_OUTPUTS), short_help="Of a denoiser, along its sampler at several guidance scales."
)
@click.argument("model")
@click.option(
    "--guidance",
    type=float,
    multiple=True,
    default=(0.0, 1.0, 2.0, 4.0),
    metavar="NUMBERS",
    help="Scales, one after the other; by default 0 1 2 4. 1 alone for a model without conditions.",
)
@click.option(
    "--conditions", metavar="A/B,...", help="Normal and unusual, e.g. 3-red/3-yellow; as `decouple` has them."
)
@click.option(
    "--output", multiple=True, default=("x0", "eps"), metavar="NAMES", help="x0, eps, v, score; x0 eps by default."
)
@click.option("--steps", type=click.IntRange(min=1), default=10, show_default=True, help="Of the sampler.")
@click.option("--seeds", type=click.IntRange(min=2), default=8, show_default=True, help="Noises, each under both.")
@_common("standard")
def denoising(model: str, out: str, as_json: bool, quiet: bool, no_report: bool, **settings: Any) -> None:
    """Follow psi, nu and delta of the guided denoiser of MODEL along its deterministic sampler.

    Each noise is used under a normal and an unusual condition; guidance 0 has none.

    \b
    Examples:
      theodolite traverse denoising zoo:coloured-latent --guidance 0 1 2 4 --out runs/denoising
      theodolite traverse denoising ./my-dit --conditions 207/360 --guidance 1 4 --output x0 v --seeds 4 --out runs/dit
    """  # noqa: D301
    from theodolite.surveys import traverse_denoising

    _run(lambda tell: traverse_denoising(model, out, progress=tell, **settings), out, as_json, quiet, no_report)


@traverse.command(short_help="Of a decoder, at latents of images that get worse.")
@click.argument("model")
@click.option("--data", required=True, metavar="FOLDER", help="Images, searched with subfolders.")
@click.option(
    "--corruption", multiple=True, metavar="NAME", help="gaussian_noise, gaussian_blur, contrast, ...; all by default."
)
@click.option("--limit", type=click.IntRange(min=0), default=8, show_default=True, help="Images; 0 for all.")
@click.option("--size", type=click.IntRange(min=2), metavar="PIXELS", help="Centre square of images, resized.")
@click.option("--group", metavar="REGEX", help="The part of a path that tells its source photograph.")
@_common("quick")
def corruptions(
    model: str,
    data: str,
    out: str,
    as_json: bool,
    quiet: bool,
    no_report: bool,
    corruption: Sequence[str],
    **settings: Any,
) -> None:
    """Corrupt the images of FOLDER, encode them, and see how psi, nu and delta of the decoder change.

    \b
    Examples:
      theodolite traverse corruptions ./my-vae --data photos --out runs/worse
      theodolite traverse corruptions ./my-vae --data photos --corruption jpeg --limit 16 --out runs/jpeg
    """  # noqa: D301
    from theodolite.surveys import traverse_corruptions

    given = {**settings, "limit": settings["limit"] or None, **({"corruption": corruption} if corruption else {})}
    _run(lambda tell: traverse_corruptions(model, data, out, progress=tell, **given), out, as_json, quiet, no_report)


def _run(work: Callable[[Any], Any], out: str, as_json: bool, quiet: bool, no_report: bool) -> None:
    terminal.run_with_progress(
        work,
        lambda: _conclude(out, as_json, quiet, not no_report),
        out,
        quiet,
        "what is finished is kept, and the same command goes on",
    )


def _conclude(out: str, as_json: bool, quiet: bool, with_report: bool) -> None:
    from theodolite.surveys import read_traverse

    found = read_traverse(out)  # an interrupted run may have nothing to show yet
    if not quiet:
        notices.tell(found.info)
    report = None
    if with_report and not terminal.lacks_for_reports(out):
        from theodolite.report.traverse import write_traverse_report

        report = write_traverse_report(out)
    if as_json:
        terminal.say(_as_json(found, out, report))
    elif not quiet:
        _print(found)
        terminal.say(out if report is None else report)


def print_traverse(run: str, as_json: bool) -> None:
    """What a traverse found, as tables or as one JSON object."""
    from theodolite.surveys import read_traverse

    found = read_traverse(run)
    if as_json:
        terminal.say(_as_json(found, run, None))
    else:
        _print(found)


def _as_json(found: Traversed, run: str, report: Path | None) -> str:
    kept = {name: found.info[name] for name in ("over", "status", "model", "settings", "design")}
    kept |= notices.caveats(found.info)
    content = {"run": run, **kept, "report": None if report is None else str(report), "rows": found.rows}
    return json.dumps(terminal.as_plain(content), indent=1)


def _print(found: Traversed) -> None:
    from theodolite.report.traverse_words import readings, tables

    for sentence in readings(found):
        terminal.say(sentence)
    for table in tables(found):
        title = f"{found.info['model']['name']}, {table.title}"
        terminal.print_table(title, table.columns, table.rows, table.caption)
    if found.info["status"] != "complete":
        terminal.say(f"this run is {found.info['status']}; its command goes on: {found.info['command']}")
