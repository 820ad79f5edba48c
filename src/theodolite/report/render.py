"""From a page to one HTML file that needs nothing else."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of
from theodolite.estimates import STATUSES
from theodolite.files import replacing
from theodolite.report import palette
from theodolite.report.page import Page
from theodolite.report.rounding import EXACT_DIGITS, rounded
from theodolite.runs.record import notes_of

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

    from theodolite.runs.run import Run

__all__ = ["FONT", "write_report"]

_TEMPLATES = Path(__file__).parent / "templates"
FONT = (
    '-apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, '
    "sans-serif"
)


def write_report(run: Run | str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run of any kind as one self-contained HTML file.

    The file opens offline and requests nothing: the plotting library, the pictures and the styles are inside.

    Args:
        run: a run, or the path of a run folder; an interrupted one is reported as far as it came.
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Returns:
        The path of the file, about five megabytes plus the pictures.

    Raises:
        InputError: plotly or jinja2 is not installed, the folder is not a run, or the file cannot be written.
    """
    from theodolite.runs.registry import read_run

    templates = _environment()
    run = read_run(run) if isinstance(run, str | Path) else run
    path = path_of(out, "the report's file") if out is not None else run.path / "report.html"
    page = run.experiment.page(run)
    _write(path, templates.get_template("run.html").render(_context(page, run)))
    return path


def _environment() -> Environment:
    try:
        import jinja2
        import plotly  # noqa: F401  (asked for here so that its absence is told before any work)
    except ImportError as error:
        raise InputError(
            f"the report expected plotly and jinja2, got no {error.name}; "
            'install them with pip install "theodolite[report]"'
        ) from error
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.filters.update(plain=plain, words=lambda name: str(name).replace("_", " "), date=_date)
    return made


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the report expected to write {path}, got {error.strerror or error}; free the space or name another file"
        ) from error


def _context(page: Page, run: Run) -> dict[str, Any]:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    drawn = {figure.name: plot for figure in page.figures if (plot := figure.draw()) is not None}
    own = {
        name: (_TEMPLATES / file).read_text("utf-8") for name, file in (("style", "style.css"), ("script", "run.js"))
    }
    linked = next((table for table in page.tables if table.linked), None)
    return {
        "page": page,
        "info": run.info,
        "status": run.status,
        "finished": len(run.units),
        "planned": len(run.info["units"]),
        "tables": [file.name for file in sorted(run.path.glob("*.parquet"))],
        "settings": {name: value for name, value in run.settings.items() if value not in (None, [], {})},
        "sitting": (run.info["sittings"] or [{}])[-1],
        "seconds": run.seconds,
        "notes": notes_of(run.info),
        "skipped": (run.info.get("data") or {}).get("skipped") or [],
        "drawn": set(drawn),
        "figures": _script_json({name: json.loads(str(plot.to_json())) for name, plot in drawn.items()}),
        "on_card": _script_json(list(linked.on_card) if linked else []),
        "year": (_moment(run.info["created"]) or datetime.datetime.now(tz=datetime.UTC)).year,
        "about": {term.key: term for term in page.glossary if term.key},
        "statuses": STATUSES,
        "palette": palette,
        "font": Markup(FONT),
        "plotly": Markup(get_plotlyjs()),
        **{name: Markup(text) for name, text in own.items()},
    }


def _script_json(value: Any) -> Markup:
    """JSON that can stand inside a script element, whatever names it holds."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(value, allow_nan=False, separators=(",", ":"))


def plain(value: Any) -> str:
    """Any value of `run.json` in a line of text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return _plain_float(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {plain(item)}" for name, item in value.items()) or "–"
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = list(value)
        if len(value) > 1 and all(item is None or isinstance(item, int) for item in value):
            return " × ".join("any" if item is None else str(item) for item in value)
        return ", ".join(plain(item) for item in value) or "–"
    return str(value)


def _plain_float(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.6g}"
    (text,), _, power = rounded([value], most=2 if abs(value) < 1e-3 else EXACT_DIGITS)
    return f"{text} {power}".strip()


def _date(text: Any) -> str:
    moment = _moment(text)
    return str(text or "") if moment is None else f"{moment.day} {moment:%B %Y}"


def _moment(text: Any) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
