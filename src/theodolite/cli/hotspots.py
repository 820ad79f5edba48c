"""`theodolite hotspots`: where a decoder bends most at the images of a folder, and what of it is off the detail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import notices, options, terminal

if TYPE_CHECKING:
    from pathlib import Path

    from theodolite.surveys.hotspots_store import HotspotRun

__all__ = ["hotspots", "show"]

_GRID = "Cells: pixels of the output, or latent locations (root mean square over their pixels)."
_GROUP = (
    "Regular expression for the part of a file's path that tells its source photograph; by default the name before "
    "crop coordinates, each folder on its own."
)


@click.command(short_help="Find where a decoder bends most, and off the detail.")
@click.argument("model")
@click.option("--data", required=True, metavar="FOLDER", help="Images, with its subfolders.")
@click.option("--reference", metavar="FOLDER", help="Images that thresholds come from; those of --data by default.")
@click.option("--out", required=True, metavar="FOLDER", help="Run folder: new, or one to resume.")
@options.LIMIT
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Centre square of images, resized.")
@click.option("--grid", type=click.Choice(["output", "latent"]), default="output", show_default=True, help=_GRID)
@click.option(
    "--dimension", type=click.IntRange(min=1), metavar="K", help="Of the random subspace; at most 64 by default."
)
@click.option("--neighbours", type=click.IntRange(min=1), default=4, show_default=True, help="Of the curvature.")
@click.option("--subspaces", type=click.IntRange(min=1), default=1, show_default=True, help="Whose maps are averaged.")
@click.option("--group", metavar="REGEX", help=_GROUP)
@options.chosen(options.SEED, *options.MODEL, *options.ANSWER)
def hotspots(
    model: str, data: str, out: str, limit: int, as_json: bool, quiet: bool, no_report: bool, **settings: Any
) -> None:
    """Where does the decoder of MODEL bend most, and does it bend there to make detail?

    A hotspot is a cell that bends more than 95 % of all cells of the reference; it is wasted where its detail is at or
    below the reference's median. Shares come with 95 % intervals over source photographs, beside what chance would
    give, and every image with its hotspots drawn over it.

    Finished images are kept: after Ctrl-C the same command goes on. A MODEL is what `theodolite survey` takes.

    \b
    Examples:
      theodolite hotspots ./my-vae --data photos --out runs/hotspots
      theodolite hotspots ./my-vae --data odd --reference photos --size 64 --out runs/odd
      theodolite hotspots zoo:patches-kl --data photos --size 32 --grid latent --subspaces 4 --out runs/kl
    """  # noqa: D301
    from theodolite.surveys import find_hotspots

    terminal.run_with_progress(
        lambda progress: find_hotspots(model, data, out, limit=limit or None, progress=progress, **settings),
        lambda: _conclude(out, as_json=as_json, quiet=quiet, with_report=not no_report),
        out,
        quiet,
        "finished images are kept, and the same command goes on",
    )


def show(run: str, *, as_json: bool) -> None:
    """Shares and the images that waste most, from a run folder."""
    from theodolite.surveys.hotspots_store import read_hotspots

    found = read_hotspots(run)
    if as_json:
        terminal.say(_as_json(found, None))
    else:
        _print(found)


def _conclude(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    from theodolite.surveys.hotspots_store import read_hotspots

    found = read_hotspots(out)
    if not quiet:
        _tell(found)
    report = None
    if with_report and not terminal.lacks_for_reports(out):
        from theodolite.report import write_hotspots_report

        report = write_hotspots_report(found)
    if as_json:
        terminal.say(_as_json(found, report))
    elif not quiet:
        _print(found)
        terminal.say(out if report is None else report)


def _tell(found: HotspotRun) -> None:
    """What the user should know before reading the numbers."""
    notices.tell(found.run.info)
    if found.left_out:
        terminal.notice(f"left out, without a leading direction: {', '.join(found.left_out)}")


def _print(found: HotspotRun) -> None:
    from theodolite.report.hotspot_words import SHARE_WORDS, interval, percent

    title = f"{found.run.info['model']['name']}, {len(found.samples)} images, thresholds from {found.reference}"
    is_own = found.run.info["settings"]["reference"] is None
    rows = [
        (
            *SHARE_WORDS[name],
            *(str(percent(one)) for one in (share, share["null"])),
            interval(share["excess"]),
            "" if is_own or name == "overlap" else interval(share["change"]),
            share.status,
        )
        for name, share in found.found.shares.items()
    ]
    columns = ("share", "of what", "percent", "by chance", "less chance, 95 %", "less reference", "status")
    caption = "By chance: curvature and detail independent within each image."
    terminal.print_table(title, columns, rows, caption, ("less reference", "of what") if is_own else ("of what",))
    images = found.found.images
    worst = [
        (found.samples[place], *(str(percent(images[name], place)) for name in ("area", "wasted_share")))
        for place in found.order[:8]
    ]
    terminal.print_table("images", ("sample", "hotspots", "wasted, of hotspots"), worst, "")
    if found.run.status != "complete":
        terminal.say(f"this run is {found.run.status}")


def _as_json(found: HotspotRun, report: Path | None) -> str:
    """The run in one JSON object."""
    shares = {
        name: {"value": share.entry(), **{part: share[part].entry() for part in ("null", "excess", "change")}}
        for name, share in found.found.shares.items()
    }
    content = {
        "run": str(found.run.path),
        "status": found.run.status,
        "model": found.run.info["model"],
        "settings": found.run.info["settings"],
        "images": len(found.samples),
        "reference": found.reference,
        "left_out": list(found.left_out),
        **notices.caveats(found.run.info),
        "thresholds": {name: one.entry() for name, one in found.found.thresholds.items()},
        "shares": shares,
        "samples": {
            found.samples[place]: {name: one.entry(place) for name, one in found.found.images.items()}
            for place in found.order
        },
        "report": None if report is None else str(report),
    }
    return json.dumps(terminal.as_plain(content), indent=1)
