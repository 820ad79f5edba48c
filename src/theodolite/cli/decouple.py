"""`theodolite decouple`: the decoupling paper's experiment on a conditional sampler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from theodolite.cli import decoupled, options, terminal
from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.surveys.decoupled import Decoupled

__all__ = ["decouple"]

_CONDITIONS = (
    "Normal and unusual condition of each pair, e.g. 3-red/3-yellow,4-blue/4-red, 3-red/3-red+8-red (a mean of two) or "
    "207/360; by default what the zoo's model was trained on and what was held out."
)


_Verb = TypeVar("_Verb", bound=Callable[..., object])


def _number(name: str, default: int | None, metavar: str, text: str, least: int = 1) -> Callable[[_Verb], _Verb]:
    """An option that is a number of `least` or more."""
    kind = click.IntRange(min=least)
    return click.option(f"--{name}", type=kind, default=default, show_default=True, metavar=metavar, help=text)


@click.command(short_help="Test the decoupling claims on a conditional sampler.")
@click.argument("model", default="zoo:coloured-latent")
@click.option("--conditions", metavar="A/B,...", help=_CONDITIONS)
@_number("pairs", 24, "N", "Seeds, each used under both conditions; 200 for a verdict on the first claim.", 2)
@_number("steps", 12, "N", "Of the sampler.")
@click.option("--guidance", type=float, default=2.0, show_default=True, help="Of both conditions; 1 for none.")
@click.option("--method", default="ddim", show_default=True, metavar="NAME", help="ddim, euler or heun.")
@_number("dimension", None, "K", "Of the random subspace; the smaller of 64 and a quarter of the latent by default.")
@_number("neighbours", 8, "N", "Of LC; the paper's recipe has one.")
@click.option("--paper-mode", "paper", is_flag=True, help="Forward differences of 0.02, as released, with checks.")
@click.option(
    "--no-null", "null", is_flag=True, flag_value=False, default=True, help="Leave out runs without condition."
)
@click.option("--out", default="runs/decouple", show_default=True, metavar="FOLDER", help="New, or one to resume.")
@options.chosen(options.SEED, *options.MODEL, *options.ANSWER)
def decouple(model: str, out: str, as_json: bool, quiet: bool, no_report: bool, **settings: Any) -> None:
    """Do scaling, rotation and detail of a sampler come apart under conditions it never saw?

    Every seed is sampled under a normal and an unusual condition with the same noise. Local scaling LS, rotation of the
    leading direction LC and its detail PHFE are measured inside a random subspace by exact derivatives, and eight
    claims of the decoupling paper are tested, each with its interval: holds, fails or undecided.

    Finished pairs are kept: after Ctrl-C the same command goes on. A MODEL is a conditional diffusion model: of the
    zoo, a diffusers folder, a hub id, or package.module:factory.

    \b
    Examples:
      theodolite decouple
      theodolite decouple zoo:coloured-latent --pairs 200 --steps 8 --neighbours 4 --no-null --out runs/claims
      theodolite decouple zoo:coloured-latent --paper-mode --out runs/paper
      theodolite decouple ./my-dit --conditions 207/360,281/404 --guidance 4 --out runs/dit
      theodolite decouple OWNER/DIT --subfolder transformer --conditions 207/360 --out runs/hub
    """  # noqa: D301
    from theodolite.surveys import decouple as measure

    with_report = not no_report
    try:
        with terminal.interruptible() as check_interrupt, terminal.progress_bar(quiet) as draw:

            def progress(done: int, total: int, what: str) -> None:
                if draw is not None:
                    draw(done, total, what)
                if done < total:
                    check_interrupt()

            measure(model, out, progress=progress, **settings)
    except KeyboardInterrupt:
        if not (Path(out) / "run.json").exists():
            raise
        terminal.notice("interrupted; finished pairs are kept, and the same command goes on")
        _conclude_what_there_is(out, as_json=as_json, quiet=quiet, with_report=with_report)
        raise click.exceptions.Exit(130) from None
    _conclude(out, as_json=as_json, quiet=quiet, with_report=with_report)


def _conclude_what_there_is(out: str, **options: bool) -> None:
    try:
        _conclude(out, **options)
    except InputError as error:
        terminal.notice(str(error))


def _conclude(out: str, *, as_json: bool, quiet: bool, with_report: bool) -> None:
    from theodolite.surveys.decoupled import read_decoupling

    found = read_decoupling(out)
    report = _written(found) if with_report else None
    if as_json:
        terminal.say(decoupled.as_json(found, report))
    elif not quiet:
        decoupled.print_summary(found)
        terminal.say(out if report is None else report)


def _written(found: Decoupled) -> Path | None:
    if terminal.lacks_for_reports(found.path):
        return None
    from theodolite.report.decoupling import write_decoupling_report

    return write_decoupling_report(found)
