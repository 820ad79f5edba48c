"""`theodolite gate`: a checkpoint or a run beside a threshold file, with an exit code for CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from theodolite.cli import terminal
from theodolite.cli.verbs import measured, named_value
from theodolite.errors import InputError
from theodolite.runs.record import is_run, plain

if TYPE_CHECKING:
    from theodolite.gate import Gate, Thresholds

__all__ = ["gate"]

_FILE = "theodolite.toml"


@click.command(short_help="Check a run or a checkpoint against thresholds.")
@click.argument("target", metavar="RUN|MODEL")
@click.option("--file", metavar="FILE", help=f"The threshold file, see docs/gate.md. [default: {_FILE}]")
@click.option("--reference", metavar="RUN", help="The run that changes are counted from; before that of the file.")
@click.option("--margin", metavar="SHARE", help="Without a file: how far numbers may leave the reference's, e.g. 0.1.")
@click.option("--data", metavar="FOLDER", help="Of a MODEL: the images.")
@click.option("--out", metavar="FOLDER", help="Of a MODEL: the run folder, new or one of the same configuration.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Of a MODEL: a setting, before the file's.")
@click.option("--junit", metavar="FILE", help="Write the verdicts as JUnit XML too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else.")
@click.option("--quiet", is_flag=True, help="Print errors only; the exit code tells.")
def gate(
    target: str,
    file: str | None,
    reference: str | None,
    margin: str | None,
    data: str | None,
    out: str | None,
    given: tuple[str, ...],
    junit: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check whether the numbers of a RUN, or of a MODEL that is measured now, keep to bounds.

    The bounds stand in a threshold file: quantity, comparison, bound, and how sure a verdict must be. A verdict counts
    the standard error: a number just beyond its bound is undecided, and the answer says what would decide. A MODEL is
    measured by the experiment that the file names (survey by default), into the run folder --out.

    With --reference and --margin instead of a file, no number may leave that of the reference run by more than a share.

    Exit codes: 0 every bound is surely kept, 1 one is surely broken, 2 bad input, 3 none is surely broken, but one is
    undecided.

    \b
    Examples:
      theodolite gate runs/first
      theodolite gate runs/first --file theodolite.toml --junit gate.xml
      theodolite gate ./checkpoint --data photos --out runs/gate --set device=cuda
      theodolite gate runs/new --reference runs/main --margin 0.1
    """  # noqa: D301
    from theodolite.gate import check

    measures = not is_run(target)
    if not measures and (data or out or given):
        raise click.UsageError(f"--data, --out and --set belong to a model, and {target} is a run: leave them out")
    if measures and data is None and not target.startswith("zoo:") and not Path(target).exists():
        raise click.UsageError(f"a run, or a model with --data FOLDER, expected; nothing is at {target}")
    thresholds, left_out = _thresholds(target, file, reference, margin)
    run = _measure(target, thresholds, data, out, given, quiet) if measures else target
    result = check(run, thresholds, left_out)
    if junit:
        from theodolite.gate.junit import write_junit

        write_junit(result, Path(junit))
    if as_json:
        terminal.say(json.dumps(plain(result.as_dict()), indent=1))
    elif not quiet:
        _print(result)
    raise click.exceptions.Exit(result.exit_code)


def _thresholds(
    target: str, file: str | None, reference: str | None, margin: str | None
) -> tuple[Thresholds, dict[str, str]]:
    from dataclasses import replace

    from theodolite.gate import read_thresholds, thresholds_beside

    if margin is None:
        own = read_thresholds(file or _FILE)
        return (replace(own, reference=Path(reference)) if reference else own), {}
    if file or not reference:
        raise click.UsageError("--margin stands beside --reference RUN, in place of a file")
    if not is_run(target):
        raise click.UsageError(f"--margin compares two runs, and {target} is none; measure it first, e.g. by survey")
    try:
        share = float(margin)
    except ValueError:
        raise InputError(f"--margin expected a share above 0, e.g. 0.05, got {margin!r}") from None
    return thresholds_beside(target, reference, share)


def _measure(
    model: str, thresholds: Thresholds, data: str | None, out: str | None, given: tuple[str, ...], quiet: bool
) -> str:
    """Measure a model by the experiment of the file; its bounds are checked by name before that."""
    from theodolite.runs.registry import experiment_of

    if out is None:
        raise click.UsageError(f"--out FOLDER expected, got none: {model} is no run, so it is measured as a model")
    experiment = experiment_of(thresholds.experiment)
    if [argument.many for argument in experiment.arguments] != [False]:
        raise InputError(f"`experiment` expected to be one of a single model, e.g. survey, got {experiment.kind}")
    _check_names(thresholds, [*experiment.quantities()])
    settings = {**thresholds.settings, **dict(named_value(text, "--set", "budget=quick") for text in given)}
    measured(experiment, [model], out, settings | ({"data": data} if data else {}), quiet=quiet)
    return out


def _check_names(thresholds: Thresholds, known: list[str]) -> None:
    from theodolite.runs.settings import closest

    for bound in thresholds.bounds:
        if not any(bound.quantity == name or bound.quantity.startswith(f"{name}_") for name in known):
            near = closest(bound.quantity, known)
            raise InputError(
                f"no quantity {bound.quantity!r} in `theodolite {thresholds.experiment}`{near}; it has "
                f"{', '.join(known)}"
            )


def _print(result: Gate) -> None:
    terminal.print_table(result.table)
    for name, reason in result.left_out.items():
        terminal.notice(f"left out {name}: {reason}")
    for sentence in result.sentences:
        terminal.say(terminal.printable(sentence))
