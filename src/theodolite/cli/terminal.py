"""What the verbs share at the terminal: progress, notices, and the table of a run."""

from __future__ import annotations

import io
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.errors import InputError
from theodolite.runs.record import notes_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from theodolite.report.page import Cell
    from theodolite.report.page import Row as PageRow
    from theodolite.report.page import Table as PageTable
    from theodolite.runs.run import Run

__all__ = [
    "answer",
    "as_plain",
    "caveats",
    "chosen_tables",
    "forecast_text",
    "interruptible",
    "lacks_for_reports",
    "notice",
    "print_run",
    "print_table",
    "printable",
    "progress_bar",
    "say",
    "warn",
]

_WIDTH_WITHOUT_TERMINAL = 120


def printable(text: object) -> str:
    r"""The text with control characters written out: names of files and runs come from strangers.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        c if c.isprintable() or c in "\n\t\u202f" else c.encode("unicode_escape").decode() for c in str(text)
    )


def notice(message: str) -> None:
    """One line on stderr; where that takes nothing the work goes on without it."""
    with suppress(OSError):
        click.echo(f"theodolite: {printable(' '.join(message.splitlines()))}", err=True)


def say(text: object, end: str = "\n") -> None:
    """Print on stdout; a reader that stopped reading (`| head`) ends the command with 0.

    Raises:
        InputError: stdout takes no more, e.g. on a full disk.
    """
    try:
        click.echo(f"{text}{end}", nl=False)
    except BrokenPipeError:
        _drop_what_is_buffered()
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        _drop_what_is_buffered()
        raise InputError(f"cannot print to stdout: {error.strerror or error}; free space or print elsewhere") from error


def _drop_what_is_buffered() -> None:
    """Send the rest to nowhere, or Python would try once more when it ends, and complain."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """SIGTERM ends the work as Ctrl-C does; the callback raises an interrupt that was lost.

    Python drops an exception that a signal raises while an object is being finalised, and derivatives finalise many.
    """
    asked: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        asked.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A callback (done, total, sample) that draws on stderr when that is a terminal, otherwise nothing."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    bar = Progress(*columns, TextColumn("{task.fields[pace]}"), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("preparing", total=None, pace="")
        started, before = time.monotonic(), 0

        def draw(done: int, total: int, sample: str) -> None:
            nonlocal started, before
            if sample:
                pace = _pace(time.monotonic() - started, done - before, total - done)
                bar.update(task, completed=done, description=_shortened(sample), pace=pace)
            else:
                started, before = time.monotonic(), done
                bar.reset(task, total=total, completed=done, description="measuring")

        yield draw


def warn(info: Mapping[str, Any]) -> None:
    """What makes the numbers of a run doubtful, from its `run.json`, on stderr."""
    check = info.get("self_check") or {}
    if check.get("passed") is False:
        notice(f"the derivatives' self-check failed: {check.get('message')}")


def _pace(seconds: float, done: int, left: int) -> str:
    """Rate and remaining time over the whole session: every sample costs about the same."""
    each = max(seconds, 1e-6) / max(done, 1)
    return f"{60 / each:.3g} a minute, {timedelta(seconds=round(left * each))} left"


def lacks_for_reports(run: object) -> bool:
    """Whether packages that reports need are missing; a notice says which."""
    from importlib.util import find_spec

    missing = " and ".join(package for package in ("plotly", "jinja2") if find_spec(package) is None)
    if missing:
        notice(f'no report without {missing}: pip install "theodolite[report]", then theodolite report {run}')
    return bool(missing)


def as_plain(value: Any) -> Any:
    """What JSON can hold: a number that does not exist is None."""
    if isinstance(value, Mapping):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    spare: Sequence[str] = (),
    prose: Sequence[str] = (),
) -> None:
    """A table on stdout; where it is too wide `spare` columns go, one by one, and a name is never broken."""
    from rich.console import Console

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if is_terminal or os.environ.get("COLUMNS") else _WIDTH_WITHOUT_TERMINAL
    page = io.StringIO()
    console = Console(file=page, force_terminal=is_terminal, width=width, markup=False, highlight=False)
    kept, left = list(columns), list(spare)
    while (wide := _natural_width(console, columns, kept, rows)) > console.width and left:
        kept.remove(left.pop(0))
    gone = [name for name in columns if name not in kept]
    note = f" Left out to fit: {', '.join(gone)}." if gone else ""
    console.width = max(wide, console.width)
    console.print(_table(columns, kept, rows, title, caption + note, prose))
    say(page.getvalue(), end="")


def _natural_width(console: Console, columns: Sequence[str], kept: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    options = console.options.update(width=10_000)
    return console.measure(_table(columns, kept, rows), options=options).maximum


def _table(
    columns: Sequence[str],
    kept: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str = "",
    caption: str = "",
    prose: Sequence[str] = (),
) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    left: dict[str, Any] = {"title_justify": "left", "caption_justify": "left", "pad_edge": False}
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, collapse_padding=True, **left)
    for name in kept:
        table.add_column(name, justify="left" if name in (columns[0], "status", *prose) else "right", no_wrap=True)
    places = [columns.index(name) for name in kept]
    for row in rows:
        table.add_row(*(row[place] for place in places))
    return table


def _shortened(sample: str, longest: int = 24) -> str:
    return sample if len(sample) <= longest else f"{sample[: longest - 1]}…"


_TOLD = 10
"""Failures that are told one by one."""


def caveats(info: Mapping[str, Any]) -> None:
    """What the user should know before reading the numbers of a run, in lines on stderr."""
    for note in notes_of(info):
        notice(note)
    for skipped in (info.get("data") or {}).get("skipped") or []:
        notice(f"skipped {skipped['file']}: {skipped['reason']}")
    for entry in info.get("left_out") or []:
        notice(f"left out {entry['what']}: {entry['reason']}")
    for failed in info["failed"][:_TOLD]:
        notice(
            f"failed {', '.join(str(part) for part in (failed['unit'], failed['what']) if part)}: {failed['reason']}"
        )
    if len(info["failed"]) > _TOLD:
        notice(f"failed {len(info['failed']) - _TOLD} more")
    warn(info)


def answer(run: Run, report: Path | None = None, sort: str = "", filters: Sequence[str] = ()) -> dict[str, Any]:
    """A run of any kind for JSON: what is known of every run, the result in sentences, and the tables of its page."""
    page = run.experiment.page(run) if run.units else None
    chosen = [] if page is None else chosen_tables(page.tables, sort, filters, brief=False)
    content = {
        "run": str(run.path),
        "kind": run.kind,
        "status": run.status,
        "units": len(run.units),
        "seconds": run.seconds,
        "failed": run.info["failed"],
        "left_out": run.info.get("left_out") or [],
        "notes": notes_of(run.info),
        "skipped": (run.info.get("data") or {}).get("skipped") or [],
        "self_check": run.info.get("self_check"),
        "report": None if report is None else str(report),
        "readings": [] if page is None else [*page.readings],
        "warnings": [] if page is None else [*page.warnings],
        "tables": {table.name: table.as_json() for table in chosen},
    }
    return dict(as_plain(content))


def print_run(run: Run, sort: str = "", filters: Sequence[str] = ()) -> None:
    """The tables of a run's page on stdout, then what can be read off it."""
    if not run.units:
        say(f"nothing is finished yet; this run is {run.status}")
        return
    page = run.experiment.page(run)
    for table in chosen_tables(page.tables, sort, filters):
        _print(table)
    for sentence in (*page.warnings, *page.readings):
        say(printable(sentence))
    if run.status != "complete":
        say(f"this run is {run.status}: {len(run.units)} of {len(run.info['units'])} are finished")


def chosen_tables(
    tables: Sequence[PageTable], sort: str = "", filters: Sequence[str] = (), *, brief: bool = True
) -> list[PageTable]:
    """The tables that are printed: the brief ones; or those with the columns that are sorted and filtered by.

    Args:
        tables: of a page.
        sort: a column, the largest first; what is no number to rank by comes last.
        filters: conditions on columns, e.g. ``status=ok`` or ``value>3``; all must hold.
        brief: leave out long tables that nobody asked for.

    Raises:
        InputError: no table has such a column.
    """
    conditions = [_condition(text) for text in filters]
    wanted = [*([sort] if sort else []), *(name for name, _, _ in conditions)]
    known = {column.name for table in tables for column in table.heads}
    for name in wanted:
        if name not in known:
            from theodolite.runs.settings import closest

            raise InputError(
                f"a column of this run expected, got {name!r}{closest(name, sorted(known))}; known are "
                f"{', '.join(sorted(known))}"
            )
    if not wanted:
        return [_first_rows(table) if brief else table for table in tables if table.brief or not brief]
    having = [table for table in tables if {*wanted} <= {column.name for column in table.heads}]
    if not having:
        raise InputError(f"one table with the columns {', '.join(wanted)} expected, got them in several; name fewer")
    return [_arranged(table, sort, conditions) for table in having]


def _first_rows(table: PageTable) -> PageTable:
    """As many rows as are printed of it, without variants."""
    shown = [place for place, head in enumerate(table.heads) if not head.variant]
    if len(shown) < len(table.heads):
        rows = [replace(row, cells=[row.cells[place] for place in shown]) for row in table.body]
        table = replace(table, columns=[table.heads[place] for place in shown], rows=rows)
    if not table.top or len(table.rows) <= table.top:
        return table
    caption = f"{table.caption} The first {table.top} of {len(table.rows)}; --sort lists them all.".strip()
    return replace(table, rows=[*table.rows][: table.top], caption=caption)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "!=": lambda a, b: a != b,
    "=": lambda a, b: a == b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


def _condition(text: str) -> tuple[str, str, str]:
    for sign in _OPERATORS:
        name, there, value = text.partition(sign)
        if there and name.strip() and value.strip():
            return name.strip(), sign, value.strip()
    raise InputError(f"a filter expected as COLUMN=VALUE (or !=, >, <, >=, <=), got {text!r}")


def _arranged(table: PageTable, sort: str, conditions: Sequence[tuple[str, str, str]]) -> PageTable:
    place = {column.name: index for index, column in enumerate(table.heads)}
    rows = [row for row in table.body if all(_holds(row.cells[place[n]], sign, v) for n, sign, v in conditions)]
    if sort:
        keys = [row.cells[place[sort]].key for row in rows]
        are_numbers = all(key is None or isinstance(key, int | float) for key in keys)
        ranked = [i for i, key in enumerate(keys) if key is not None and key == key]
        ranked.sort(key=lambda i: -keys[i] if are_numbers else str(keys[i]))
        rows = [rows[i] for i in (*ranked, *(i for i in range(len(rows)) if i not in {*ranked}))]
    columns = [replace(head, spare=False, variant=False) if head.name == sort else head for head in table.heads]
    return replace(table, columns=columns, rows=rows)  # what is sorted by is never left out


def _holds(item: Cell, sign: str, wanted: str) -> bool:
    value = item.key
    if isinstance(item.value, Mapping) and wanted in item.value.get("status", ""):
        value = item.value["status"]
    if value is None:
        return sign == "!="
    try:
        return _OPERATORS[sign](float(value), float(wanted))
    except (TypeError, ValueError):
        return _OPERATORS[sign](str(value), wanted)


def _print(table: PageTable) -> None:
    heads = table.heads
    names = tuple(column.name for column in heads)
    rows = [tuple(printable(text) for text in _texts(row)) for row in table.body]
    # The rightmost columns go first: the leftmost are what a table is about.
    spare = [column.name for column in reversed(heads) if column.spare or column.variant]
    prose = [column.name for column in heads if column.prose]
    print_table(printable(table.title), names, rows, printable(table.caption), spare, prose)


def _texts(row: PageRow) -> list[str]:
    """The cells of a row; the first by the name that `--sort` and `--filter` know it by."""
    first, *others = row.cells
    return [first.value if isinstance(first.value, str) else str(first), *(str(item) for item in others)]


def forecast_text(told: Mapping[str, Any]) -> str:
    """What a run would cost, a line an entry."""
    from theodolite.report.render import plain

    return "\n".join(f"{name.replace('_', ' ')}: {plain(value)}" for name, value in told.items())
