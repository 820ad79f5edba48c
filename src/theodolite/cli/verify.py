"""`theodolite verify`: some of a run's units measured again, and whether its stated errors hold."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import terminal
from theodolite.cli.verbs import named_value
from theodolite.runs.record import plain

if TYPE_CHECKING:
    from theodolite.runs.comparison import Check
    from theodolite.runs.verification import Verification

__all__ = ["verify"]

_COLUMNS = ("quantity", "rows", "units", "inside", "mean z", "spread", "max |z|", "error ratio", "exact", "verdict")
_SPARE = ("exact", "spread", "mean z", "units")
_CAPTION = (
    "z: new less stored value over both standard errors; inside: share of |z| <= 1.96, 0.95 where errors hold; spread: "
    "root mean square of z, near 0 where the error is of what both measurements share; error ratio: stored over new; "
    "exact: rows without error, compared up to rounding."
)


@click.command(short_help="Measure some of a run again, and say whether its errors hold.")
@click.argument("run")
@click.option("--units", default=8, metavar="N", type=click.IntRange(0), help="Units that are drawn; 0 for all. [8]")
@click.option("--seed", default=0, metavar="N", type=int, help="Of the drawn units and of the other draws. [0]")
@click.option("--level", default=0.01, metavar="P", type=float, help="Chance of an alarm where errors hold. [0.01]")
@click.option("--float64/--no-float64", default=True, help="Measure in float64 where that is possible. [on]")
@click.option("--budget", metavar="NAME", help="Another budget for the second measurement, e.g. full.")
@click.option("--at", "places", multiple=True, metavar="NAME=VALUE", help="Where something is now, e.g. data=photos.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every row, and nothing else.")
@click.option("--quiet", is_flag=True, help="Print errors only; the exit code tells.")
def verify(
    run: str,
    units: int,
    seed: int,
    level: float,
    float64: bool,
    budget: str | None,
    places: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure some units of RUN again, with other random draws, and say whether its stated errors hold.

    The experiment is rebuilt from the run's record, and refused where the model or the images are not those of the run.
    Every number is set beside its second measurement; numbers that follow from several units are derived again. RUN may
    be of any kind, complete or interrupted, and somebody else's; nothing is written into it.

    What both measurements share cannot be seen: the images, the model, a bias of the same depth (--budget full shows
    that one). Cost: that of so many units of the run.

    Exit codes: 0 nothing contradicts the run, 1 something does, 2 bad input.

    \b
    Examples:
      theodolite verify runs/first
      theodolite verify runs/first --units 0 --seed 3
      theodolite verify theirs/run --at data=photos --at model=./their-vae --at device=cpu
      theodolite verify runs/first --budget full --json
    """  # noqa: D301
    from theodolite.runs.verification import verify as verified

    at = dict(named_value(text, "--at", "data=photos") for text in places)
    options: dict[str, Any] = {"seed": seed, "level": level, "float64": float64, "budget": budget}
    with terminal.at_work(quiet) as progress:
        result = verified(run, at=at, units=units or None, progress=progress, **options)
    if as_json:
        terminal.say(json.dumps(plain(result.as_dict()), indent=1))
    elif not quiet:
        _print(result)
    if not result.holds:
        raise click.exceptions.Exit(1)


def _print(result: Verification) -> None:
    for note in result.notes:
        terminal.notice(note)
    for entry in result.failed:
        terminal.notice(f"could not measure {entry['unit']} again: {entry['reason']}")
    from theodolite.report.page import Column, Table

    title = (
        f"{result.run.path}: {len(result.units)} of {len(result.run.units)} units of {result.run.kind}, measured again "
        f"in {result.precision}"
    )
    columns = [Column(name, spare=name in _SPARE) for name in _COLUMNS]
    terminal.print_table(Table("checks", title, columns, [_row(check) for check in result.checks], _CAPTION))
    for sentence in _sentences(result):
        terminal.say(terminal.printable(sentence))


def _row(check: Check) -> tuple[str, ...]:
    name = terminal.printable(check.quantity) + (" (derived)" if check.derived else "")
    own = check.agreement
    if own is None:
        return (name, *[""] * (len(_COLUMNS) - 2), check.verdict)
    shown = (_text(own.inside), _text(own.mean_z), _text(own.spread), _text(own.max_z), _text(own.error_ratio))
    return (name, str(own.rows), str(own.units), *shown, str(own.exact or ""), check.verdict)


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}"


def _sentences(result: Verification) -> list[str]:
    own = [check.agreement for check in result.checks if check.agreement is not None]
    unjudged, changed = sum(each.unjudged for each in own), sum(each.changed for each in own)
    sentences = []
    if unjudged:
        sentences.append(f"{unjudged} rows are no number (undetermined or undefined) in one of both, and not judged.")
    if changed:
        sentences.append(f"{changed} rows have another status now.")
    wrong = [check for check in result.checks if not check.holds]
    for check in wrong:
        sentences.append(f"{check.quantity}: {check.verdict}.")
    moved = [f"{check.quantity} ({check.moved})" for check in result.checks if check.moved]
    if moved:
        sentences.append(
            f"Derived rows that state no error and are others now: {', '.join(moved)}; they are functions of the "
            "measured numbers, and not judged."
        )
    few = sum(each.verdict == "too few to tell" for each in own)
    if few:
        sentences.append(f"{few} quantities have too few units to tell; give a larger --units.")
    if result.holds:
        sentences.append(f"Nothing contradicts the run (chance of an alarm where errors hold: {result.level:g}).")
    else:
        sentences.append("The run does not hold.")
    return sentences
