"""What the verbs share at the terminal: progress, notices, and the table of a run."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from theodolite.surveys import Run

__all__ = ["as_json", "interruptible", "notice", "print_samples", "print_summary", "progress_bar", "write_report"]

_WIDTH_WITHOUT_TERMINAL = 120


def notice(message: str) -> None:
    """One line on stderr."""
    click.echo(f"theodolite: {message}", err=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """A callback (done, total, sample) that draws on stderr when that is a terminal, otherwise nothing."""
    if quiet or not sys.stderr.isatty():
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


def _pace(seconds: float, done: int, left: int) -> str:
    """Rate and remaining time over the whole session: every sample costs about the same."""
    each = max(seconds, 1e-6) / done
    return f"{60 / each:.3g} a minute, {timedelta(seconds=round(left * each))} left"


def write_report(run: Run, out: Path | None = None) -> Path | None:
    """The report of `run`, or a notice and None where the packages it needs are not installed."""
    from importlib.util import find_spec

    missing = [package for package in ("plotly", "jinja2") if find_spec(package) is None]
    if missing:
        wanted = 'pip install "theodolite[report]"'
        notice(f"no report without {' and '.join(missing)}: {wanted}, then theodolite report {run.path}")
        return None
    from theodolite.report import write_report as write

    return write(run, out)


def as_json(run: Run, **more: Any) -> str:
    """The run in one JSON object; a number that does not exist is null."""
    import json

    info = run.info
    content = {
        "run": str(run.path),
        "status": info["status"],
        "samples": len(run.samples),
        **{name: info.get(name, []) for name in ("failed", "left_out")},
        "skipped": info["data"]["skipped"],
        "seconds": info["timing"]["seconds"],
        "self_check": info["self_check"],
        "quantities": run.summary(),
        **more,
    }
    return json.dumps(_plain(content), indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_summary(run: Run) -> None:
    """The median of every quantity over samples, on stdout."""
    info = run.info
    title = (
        f"{info['model']['name']}, {len(run.samples)} samples, budget {info['settings']['budget']}, {info['status']}"
    )
    columns = ("quantity", "median", "quartiles", "error", "samples", "flagged")
    rows = [
        (
            entry["quantity"],
            f"{entry['median']:.4g}",
            f"{entry['low']:.4g} to {entry['high']:.4g}",
            f"± {entry['median_stderr']:.2g}",
            str(entry["count"]),
            str(entry["flagged"] or ""),
        )
        for entry in run.summary()
    ]
    caption = (
        "Median and quartiles over samples; error: the median of the samples' standard errors; flagged: samples whose "
        "status is not ok."
    )
    _print_table(title, columns, rows, caption)
    for entry in run.summary():
        if entry["flagged"]:
            click.echo(f"{entry['quantity']}: {_why_flagged(run, entry['quantity'])}")


def _why_flagged(run: Run, quantity: str) -> str:
    counts = Counter(status for status in run.column(quantity)["status"] if status != "ok")
    words = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    message = run.info.get("messages", {}).get(quantity)
    return f"{words}; {message}" if message else words


def samples_by(run: Run, quantity: str) -> list[dict[str, Any]]:
    """Every sample's value of `quantity`, the largest first, those without a number last."""
    column = run.column(quantity)
    names = ("sample", "value", "stderr", "status")
    rows = [dict(zip(names, row)) for row in zip(*(column[name].tolist() for name in names))]
    return sorted(rows, key=lambda row: -row["value"] if math.isfinite(row["value"]) else math.inf)


def print_samples(run: Run, quantity: str) -> None:
    """The samples by their value of `quantity`, on stdout."""
    rows = [
        (row["sample"], f"{row['value']:.4g}", f"± {row['stderr']:.2g}", row["status"])
        for row in samples_by(run, quantity)
    ]
    _print_table(f"samples by {quantity}", ("sample", "value", "error", "status"), rows, "")


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or column == "status" else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False).print(table)


def _shortened(sample: str, longest: int = 24) -> str:
    return sample if len(sample) <= longest else f"{sample[: longest - 1]}…"
