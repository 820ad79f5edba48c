"""`theodolite survey`: measure an autoencoder on a folder of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import notices, options, terminal
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.surveys import Run

__all__ = ["conduct", "survey"]


DESCRIPTORS = (
    "local_scaling",
    "local_rank",
    "leading_singular_value",
    "curvature",
    "axis_rotation",
    "detail_energy",
    "local_complexity",
)
"""The names of the registry, which costs a tensor library to import."""

_BUDGET = (
    "Work a sample: quick, standard or full, about 350, 850 or 2400 decoder passes; the more, the smaller the errors."
)

_RTOL = (
    "Instead of the budget's probes, as many as this standard error of local scaling takes, in nats for each latent "
    "dimension, e.g. 0.01."
)


@click.command(short_help="Measure an autoencoder on a folder of images.")
@click.argument("model")
@click.option("--data", required=True, metavar="FOLDER", help="Folder of images, with its subfolders.")
@click.option("--out", metavar="FOLDER", help="Run folder: new, or one to resume; needed unless --dry-run.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N images, by path; all by default."
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Centre square, resized to so many pixels; by default images keep their size, cut to what MODEL can take.",
)
@click.option("--budget", default="standard", show_default=True, metavar="NAME", help=_BUDGET)
@click.option("--rtol", type=float, metavar="ERROR", help=_RTOL)
@click.option("--descriptors", metavar="A,B", help=f"Of {', '.join(DESCRIPTORS)}; all by default.")
@click.option("--dry-run", is_flag=True, help="Print what it would cost, in passes and seconds, and measure nothing.")
@options.chosen(options.SEED, *options.MODEL, *options.ANSWER)
def survey(
    out: str | None, dry_run: bool, as_json: bool, quiet: bool, no_report: bool, model: str, data: str, **settings: Any
) -> None:
    """Measure the local geometry of MODEL's decoder at the latent of every image of a folder.

    Finished samples are kept as they are made: after Ctrl-C, a crash or a full disk the same command goes on where it
    stopped.

    \b
    MODEL is one of
      a hub id             owner/name, read through diffusers
      a folder             with config.json and safetensors weights
      a factory            package.module:function, without arguments (see the README)
      one that ships       zoo:digits, zoo:patches-plain, zoo:patches-kl, zoo:patches-smooth

    \b
    Examples:
      theodolite survey zoo:patches-kl --data photos --out runs/kl --size 32
      theodolite survey stabilityai/sdxl-turbo --subfolder vae --data photos --out runs/sdxl --size 128
      theodolite survey ./my-vae --data photos --out runs/mine --budget quick --descriptors local_scaling,local_rank
      theodolite survey ./my-vae --data photos --size 256 --rtol 0.01 --dry-run
      theodolite survey my_package.models:make --data photos --out runs/made --device cuda --json > summary.json
    """  # noqa: D301
    if dry_run:
        return _foretell(model, data, as_json=as_json, **settings)
    if out is None:
        raise click.UsageError("--out FOLDER expected, got none: where the run goes; or give --dry-run")
    conduct(out, model=model, data=data, as_json=as_json, quiet=quiet, with_report=not no_report, **settings)


def _foretell(model: str, data: str, *, as_json: bool, **settings: Any) -> None:
    from theodolite.surveys import survey_forecast

    found = survey_forecast(model, data, **settings)
    if as_json:
        terminal.say(json.dumps(found.as_dict()))
    else:
        terminal.print_forecast(found)


def conduct(out: str, *, as_json: bool = False, quiet: bool = False, with_report: bool = True, **settings: Any) -> None:
    """Run a survey with progress on stderr and its summary on stdout; Ctrl-C ends it with a usable run and code 130."""
    from theodolite.surveys import read_run
    from theodolite.surveys import survey as measure

    calls: list[int] = []
    try:
        with terminal.interruptible() as check_interrupt, terminal.progress_bar(quiet) as draw:

            def progress(done: int, total: int, sample: str) -> None:
                calls.append(done)
                if draw is not None:
                    draw(done, total, sample)
                if done < total:
                    check_interrupt()

            run = measure(out=out, progress=progress, **settings)
    except KeyboardInterrupt:
        if not calls:
            raise
        run = read_run(out)
        wanted = len(run.info["data"]["files"])
        terminal.notice(
            f"interrupted with {len(run.samples)} of {wanted} samples kept; go on with: {run.info['command']}"
        )
        _conclude(run, as_json=as_json, quiet=quiet, with_report=with_report and bool(run.samples), changed=True)
        raise click.exceptions.Exit(130) from None
    if not quiet:
        _tell(run, measured=bool(calls))
    _conclude(run, as_json=as_json, quiet=quiet, with_report=with_report, changed=bool(calls))


def _conclude(run: Run, *, as_json: bool, quiet: bool, with_report: bool, changed: bool) -> None:
    """Report and summary; where the report cannot be written the numbers are printed all the same."""
    report, trouble = None, None
    try:
        report = _report(run, with_report, changed)
    except InputError as error:
        trouble = error
    if as_json:
        terminal.say(terminal.as_json(run, report=None if report is None else str(report)))
    elif not quiet:
        terminal.print_summary(run)
        terminal.say(run.path if report is None else report)
    if trouble is not None:
        raise InputError(
            f"the run is {run.status} and all its numbers are kept, only its report is missing: {trouble}; make it "
            f"with: theodolite report {run.path}"
        ) from trouble


def _report(run: Run, wanted: bool, changed: bool) -> Path | None:
    there = run.path / "report.html"
    if not wanted:
        return None
    return there if there.exists() and not changed else terminal.write_report(run)


def _tell(run: Run, measured: bool) -> None:
    """What the user should know before reading the numbers."""
    if not measured:
        terminal.notice(f"{run.path} is complete already: nothing was measured")
    for left_out in run.info["left_out"]:
        terminal.notice(f"left out {left_out['descriptor']}: {left_out['reason']}")
    notices.tell(run.info)
