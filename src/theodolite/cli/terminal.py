"""What the verbs share at the terminal: progress, notices, and the table of a run."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from theodolite.errors import InputError
from theodolite.runs.record import notes_of, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from theodolite.report.page import Cell, Column
    from theodolite.report.page import Row as PageRow
    from theodolite.report.page import Table as PageTable
    from theodolite.runs.run import Run

__all__ = [
    "answer",
    "at_work",
    "caveats",
    "chosen_tables",
    "forecast_text",
    "lacks_for_reports",
    "notice",
    "print_run",
    "print_table",
    "printable",
    "say",
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
    hits: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        hits.append(number)
        raise KeyboardInterrupt

    def check() -> None:
        if hits:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def at_work(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A callback (done, total, sample) for long work: it draws on stderr where that is a terminal, and interrupts.

    What a model prints meanwhile goes to stderr: it must not mix with the answer.
    """
    with interruptible() as check_interrupt, _bar(quiet) as draw, redirect_stdout(sys.stderr):

        def progress(done: int, total: int, sample: str) -> None:
            draw(done, total, sample)
            check_interrupt()

        yield progress


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total, sample: None
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


def print_table(table: PageTable) -> None:
    """A table on stdout; where it is too wide, columns that may go do, the rightmost first; no name is broken."""
    from rich.console import Console

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = None if is_terminal or os.environ.get("COLUMNS") else _WIDTH_WITHOUT_TERMINAL
    page = io.StringIO()
    console = Console(file=page, force_terminal=is_terminal, width=width, markup=False, highlight=False)
    shown, gone = [*table.heads], list[str]()
    spare = [head for head in shown if head.spare or head.variant]
    while (wide := _natural_width(console, table, shown)) > console.width and spare:
        shown.remove(spare[-1])
        gone.insert(0, spare.pop().name)
    note = f" Left out to fit: {', '.join(gone)}." if gone else ""
    console.width = max(wide, console.width)
    console.print(_grid(table, shown, printable(table.title), printable(table.caption) + note))
    say(page.getvalue(), end="")


def _natural_width(console: Console, table: PageTable, columns: Sequence[Column]) -> int:
    return console.measure(_grid(table, columns), options=console.options.update(width=10_000)).maximum


def _grid(table: PageTable, columns: Sequence[Column], title: str = "", caption: str = "") -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    left: dict[str, Any] = {"title_justify": "left", "caption_justify": "left", "pad_edge": False}
    grid = Table(title=title, caption=caption, box=SIMPLE_HEAD, collapse_padding=True, **left)
    indices = [table.heads.index(head) for head in columns]
    for place, head in zip(indices, columns):
        is_text = place == 0 or head.prose or head.name == "status"
        grid.add_column(head.name, justify="left" if is_text else "right", no_wrap=True)
    for row in table.body:
        texts = _texts(row)
        grid.add_row(*(printable(texts[place]) for place in indices))
    return grid


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
    check = info.get("self_check") or {}
    if check.get("passed") is False:
        notice(f"the derivatives' self-check failed: {check.get('message')}")


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
    return dict(plain(content))


def print_run(run: Run, sort: str = "", filters: Sequence[str] = ()) -> None:
    """The tables of a run's page on stdout, then what can be read off it."""
    if not run.units:
        say(f"nothing is finished yet; this run is {run.status}")
        return
    page = run.experiment.page(run)
    for table in chosen_tables(page.tables, sort, filters):
        print_table(table)
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
    named = [*([sort] if sort else []), *(name for name, _, _ in conditions)]
    columns = {column.name for table in tables for column in table.heads}
    for name in named:
        if name not in columns:
            from theodolite.runs.settings import closest

            raise InputError(
                f"a column of this run expected, got {name!r}{closest(name, sorted(columns))}; known are "
                f"{', '.join(sorted(columns))}"
            )
    if not named:
        return [_first_rows(table) if brief else table for table in tables if table.brief or not brief]
    having = [table for table in tables if {*named} <= {column.name for column in table.heads}]
    if not having:
        raise InputError(f"one table with the columns {', '.join(named)} expected, got them in several; name fewer")
    return [_arranged(table, sort, conditions) for table in having]


def _first_rows(table: PageTable) -> PageTable:
    """As many rows as are printed of it, without variants, and how to see the others."""
    first = table.first_rows()
    if len(first.rows) < len(table.rows):
        return replace(first, caption=f"{first.caption.removesuffix('.')}; --sort lists them all.")
    return first


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
        name, sign_read, value = text.partition(sign)
        if sign_read and name.strip() and value.strip():
            return name.strip(), sign, value.strip()
    raise InputError(f"a filter expected as COLUMN=VALUE (or !=, >, <, >=, <=), got {text!r}")


def _arranged(table: PageTable, sort: str, conditions: Sequence[tuple[str, str, str]]) -> PageTable:
    index_of = {column.name: index for index, column in enumerate(table.heads)}
    rows = [row for row in table.body if all(_holds(row.cells[index_of[n]], sign, v) for n, sign, v in conditions)]
    if sort:
        keys = [row.cells[index_of[sort]].key for row in rows]
        are_numbers = all(key is None or isinstance(key, int | float) for key in keys)
        ranked = [i for i, key in enumerate(keys) if key is not None and key == key]
        ranked.sort(key=lambda i: -keys[i] if are_numbers else str(keys[i]))
        rows = [rows[i] for i in (*ranked, *(i for i in range(len(rows)) if i not in {*ranked}))]
    columns = [replace(head, spare=False, variant=False) if head.name == sort else head for head in table.heads]
    return replace(table, columns=columns, rows=rows)  # what is sorted by is never left out


def _holds(item: Cell, sign: str, bound: str) -> bool:
    value = item.key
    if isinstance(item.value, Mapping) and bound in item.value.get("status", ""):
        value = item.value["status"]
    if value is None:
        return sign == "!="
    try:
        return _OPERATORS[sign](float(value), float(bound))
    except (TypeError, ValueError):
        return _OPERATORS[sign](str(value), bound)


def _texts(row: PageRow) -> list[str]:
    """The cells of a row; the first by the name that `--sort` and `--filter` know it by."""
    first, *others = row.cells
    return [first.value if isinstance(first.value, str) else str(first), *(str(item) for item in others)]


def forecast_text(costs: Mapping[str, Any]) -> str:
    """What a run would cost, a line an entry."""
    from theodolite.report.render import plain as in_words

    return "\n".join(f"{name.replace('_', ' ')}: {in_words(value)}" for name, value in costs.items())
