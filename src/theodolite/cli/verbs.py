"""Verbs made from experiments: options, help, progress, the answer; nothing of an experiment is written here again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.cli import terminal
from theodolite.errors import InputError
from theodolite.runs.record import plain

if TYPE_CHECKING:
    from theodolite.runs.engine import Engine
    from theodolite.runs.experiment import Experiment
    from theodolite.runs.run import Run
    from theodolite.runs.settings import Setting

__all__ = ["conclude", "measured", "named_value", "option_of", "verb_of"]

_OUT = click.option("--out", metavar="FOLDER", help="Run folder: new, or one to go on with; needed unless --dry-run.")
_HOW = (
    click.option(
        "--workers",
        metavar="N",
        help="Processes that measure, one thread and one model each. [default: 1; on Ray what there is room for]",
    ),
    click.option("--engine", metavar="NAME", help="Who measures: local, or ray for a Ray cluster. [default: local]"),
    click.option("--ray-address", metavar="HOST:PORT", help="Of the Ray cluster. [default: that of this machine]"),
    click.option("--gpus-per-worker", metavar="X", help="GPUs of a Ray worker, e.g. 0.5. [default: 1 on cuda]"),
    click.option("--shard", metavar="I/N", help="Measure every N-th unit, from the I-th; see `theodolite merge`."),
    click.option("--no-cache", is_flag=True, help="Check the derivatives anew, whatever was checked before."),
    click.option(
        "--log",
        metavar="WHERE",
        help="Send results there too: tensorboard:FOLDER, wandb:PROJECT or trackio:PROJECT.",
    ),
)
_ANSWER = (
    click.option("--dry-run", is_flag=True, help="Print what it would cost, and measure nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, nothing else."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option("--no-report", is_flag=True, help="Leave report.html out."),
)


class _Words(click.ParamType):  # type: ignore[type-arg]
    """Anything, as text: the setting itself checks it, so that the command line and Python say the same."""

    def __init__(self, name: str) -> None:
        self.name = name


def option_of(setting: Setting) -> Callable[[Any], Any]:
    """A setting as an option of the command line; None stands for "not given"."""
    name = f"--{setting.name.replace('_', '-')}"
    text = setting.help if not setting.words else f"{setting.help} One of {', '.join(setting.words)}."
    if setting.required:
        text = f"{text} [required{''.join(f', or --{way}' for way in setting.instead)}]"
    elif setting.default not in (None, (), [], False):
        text = f"{text} [default: {setting.as_text(setting.default)}]"
    if setting.kind is bool:
        return click.option(f"{name}/--no-{setting.name.replace('_', '-')}", default=None, help=text)
    kind = _Words({int: "number", float: "number"}.get(setting.kind, "text"))
    metavar = setting.metavar or {int: "N", float: "X"}.get(setting.kind, "NAME")
    return click.option(
        name, type=kind, multiple=setting.many, help=text, metavar=f"{metavar},..." if setting.many else metavar
    )


def verb_of(experiment: type[Experiment]) -> click.Command:
    """The verb of an experiment."""
    shown = experiment.demonstration()

    def run(
        out: str | None,
        workers: str | None,
        engine: str | None,
        ray_address: str | None,
        gpus_per_worker: str | None,
        shard: str | None,
        no_cache: bool,
        log: str | None,
        dry_run: bool,
        as_json: bool,
        quiet: bool,
        no_report: bool,
        demo: bool = False,
        **given: Any,
    ) -> None:
        if demo:
            given, out = _demonstrated(experiment, given), out or f"runs/{experiment.kind}-demo"
        arguments = [_argument(given.pop(argument.name)) for argument in experiment.arguments]
        settings = {name: _value(value) for name, value in given.items() if value not in (None, ())}
        _require(experiment, settings)
        if dry_run:
            _foretell(experiment, arguments, settings, as_json)
            return
        if out is None:
            raise click.UsageError("--out FOLDER expected, got none: where the run goes; or give --dry-run")
        chosen = _engine(engine, ray_address, gpus_per_worker)
        how = {"workers": workers, "engine": chosen, "shard": shard, "cache": False if no_cache else None, "log": log}
        how = {name: value for name, value in how.items() if value is not None}
        conduct(experiment, arguments, out, settings | how, as_json=as_json, quiet=quiet, report=not no_report)

    decorated = run
    for option in reversed((*(option_of(setting) for setting in experiment.settings), _OUT, *_HOW, *_ANSWER)):
        decorated = option(decorated)
    if shown:
        decorated = click.option("--demo", is_flag=True, help="Measure what ships with the package.")(decorated)
    for argument in reversed(experiment.arguments):
        nargs = -1 if argument.many else 1
        decorated = click.argument(argument.name, nargs=nargs, required=not shown)(decorated)
    return click.command(experiment.kind, short_help=experiment.summary, help=_help(experiment))(decorated)


def _require(experiment: type[Experiment], settings: dict[str, Any]) -> None:
    for setting in experiment.settings:
        if setting.required and not {setting.name, *setting.instead} & set(settings):
            option = f"--{setting.name.replace('_', '-')} {setting.metavar or ''}".strip()
            option = "".join([option, *(f", or --{way}" for way in setting.instead), "," if setting.instead else ""])
            raise click.UsageError(f"{option} expected, got none: {setting.help.rstrip('.')}")


def _demonstrated(experiment: type[Experiment], given: dict[str, Any]) -> dict[str, Any]:
    """What the demonstration brings, beside settings that were given."""
    shown = experiment.demonstration()
    needed = [argument.name for argument in experiment.arguments]
    for name in (*needed, *(setting.name for setting in experiment.settings if setting.required)):
        if given[name] not in (None, ()):
            raise click.UsageError(f"--demo brings {name} of its own: leave out {name}")
    return {name: shown.get(name) if value in (None, ()) else value for name, value in given.items()}


def _help(experiment: type[Experiment]) -> str:
    """The docstring of the experiment up to its attributes, examples unwrapped."""
    text = (experiment.__doc__ or "").split("\n    Attributes:")[0]
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    about = [f"{argument.name.upper()}: {argument.help}\n" for argument in experiment.arguments]
    at = next((n for n, line in enumerate(lines) if line.strip() == "Examples:"), len(lines))
    lines = [*lines[:at], *about, *lines[at:]]
    return "\n".join("\b\nExamples:" if line.strip() == "Examples:" else line for line in lines)


def _engine(name: str | None, ray_address: str | None, gpus_per_worker: str | None) -> Engine | str | None:
    """The engine that is named, with what only Ray is told."""
    if name == "ray":
        from theodolite.runs.on_ray import OnRay

        return OnRay(ray_address, gpus_per_worker)
    for option, value in (("--ray-address", ray_address), ("--gpus-per-worker", gpus_per_worker)):
        if value is not None:
            raise click.UsageError(f"{option} belongs to --engine ray; give both or neither")
    return name


def _argument(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> Any:
    """Of an option that was given several times, the entries of all."""
    if not isinstance(value, tuple):
        return value
    from theodolite.runs.settings import split_list

    return [part for text in value for part in split_list(text)]


def _foretell(experiment: type[Experiment], arguments: Sequence[Any], settings: dict[str, Any], as_json: bool) -> None:
    from theodolite.runs.conduct import forecast

    with redirect_stdout(sys.stderr):
        costs = forecast(experiment, arguments, **settings)
    terminal.say(json.dumps(plain(costs)) if as_json else terminal.forecast_text(costs))


def named_value(text: str, option: str, example: str) -> tuple[str, str]:
    """What an option that takes NAME=VALUE was given: the name as in Python, and the value.

    Raises:
        InputError: one of the two is missing.
    """
    name, sign, value = text.partition("=")
    if not sign or not value:
        raise InputError(f"{option} expected NAME=VALUE, e.g. {example}, got {text!r}")
    return name.strip().replace("-", "_"), value


def conduct(
    experiment: type[Experiment],
    arguments: Sequence[Any],
    out: str,
    settings: dict[str, Any],
    *,
    as_json: bool = False,
    quiet: bool = False,
    report: bool = True,
) -> None:
    """Conduct with progress on stderr and the result on stdout; Ctrl-C ends with a usable run and code 130."""
    answer = {"as_json": as_json, "quiet": quiet, "report": report}
    try:
        changed = measured(experiment, arguments, out, settings, quiet=quiet)
    except KeyboardInterrupt:
        if not (Path(out) / "run.json").exists():
            raise
        terminal.notice("interrupted; what is finished is kept, and the same command goes on")
        with suppress(InputError):  # too little is finished to be shown
            conclude(out, **answer)
        raise click.exceptions.Exit(130) from None
    if settings.get("shard"):
        _part(out, as_json)
        return
    conclude(out, changed=changed, **answer)


def measured(
    experiment: type[Experiment], arguments: Sequence[Any], out: str, settings: dict[str, Any], *, quiet: bool
) -> bool:
    """Conduct with progress on stderr; whether anything was left to measure.

    Raises:
        InputError: as `theodolite.runs.conduct.conduct`, and where every unit was refused for what the user can mend.
    """
    from theodolite.runs.conduct import conduct as measure

    lines: list[str] = []
    try:
        with terminal.at_work(quiet) as draw:

            def progress(done: int, total: int, what: str) -> None:
                lines.append(what)
                draw(done, total, what)

            measure(experiment, arguments, out, progress=progress, **settings)
    except RuntimeError as error:
        if isinstance(error.__cause__, InputError):
            raise InputError(str(error)) from error
        raise
    if not lines and not quiet:
        terminal.notice(f"{out} is complete already: nothing was measured")
    return bool(lines)


def _part(out: str, as_json: bool) -> None:
    """Say what a part of a run came to: its numbers follow from the merged run."""
    from theodolite.runs.registry import read_run

    run = read_run(out)
    terminal.caveats(run.info)
    part, units = run.info["shard"], len(run.units)
    if as_json:
        terminal.say(
            json.dumps({"path": str(run.path), "kind": run.kind, "status": run.status, "units": units, **part})
        )
        return
    terminal.say(
        f"part {part['index']} of {part['of']}: {units} of {len(part['units'])} units are in {run.path}\n"
        f"merge it with the others: theodolite merge {run.path} ... --out FOLDER"
    )


def conclude(
    out: str, *, as_json: bool = False, quiet: bool = False, report: bool = True, changed: bool = True
) -> None:
    """Say what a run came to: caveats on stderr, then its tables or one JSON object; the report first, where wanted.

    Where the report cannot be written the numbers are printed all the same.

    Args:
        out: the run folder.
        as_json: one JSON object instead of tables.
        quiet: nothing but errors and JSON.
        report: whether to write the report.
        changed: whether the run is another than before; otherwise a report that is there stays as it is.
    """
    from theodolite.runs.registry import read_run

    run = read_run(out)
    if not quiet:
        terminal.caveats(run.info)
    written, trouble = None, None
    try:
        written = _report(run, changed) if report and run.units else None
    except InputError as error:
        trouble = error
    if as_json:
        terminal.say(json.dumps(terminal.answer(run, report=written), indent=1))
    elif not quiet:
        terminal.print_run(run)
        terminal.say(written or out)
    if trouble is not None:
        raise InputError(
            f"the run is {run.status} in {out}, but not its report: {trouble}; make it with: theodolite report {out}"
        ) from trouble


def _report(run: Run, changed: bool) -> Path | None:
    page = run.path / "report.html"
    if page.is_file() and not changed:
        return page
    if terminal.lacks_for_reports(run.path):
        return None
    from theodolite.report.render import write_report

    return write_report(run)
