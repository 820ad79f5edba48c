"""From a run folder to one HTML file that needs nothing else."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.report import figures, palette
from theodolite.report.rounding import EXACT_DIGITS, rounded

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.graph_objects import Figure


__all__ = ["environment", "plots_json", "script_json", "sources", "write", "year_of"]

_TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """The templates.

    Raises:
        InputError: plotly or jinja2 is not installed.
    """
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
    made.filters.update(plain=_plain, words=lambda name: str(name).replace("_", " "), date=_date)
    return made


def write(path: Path, text: str) -> None:
    """Replace `path` in one step, so that a full disk leaves the old report."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"the report expected to write {path}, got {error.strerror or error}; free the space or name another file"
        ) from error


def sources(script: str = "plots.js") -> dict[str, Any]:
    """Style, script and plotting library of a page, to be put inside it."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    files = {"style": "style.css", "script": script}
    own = {name: Markup((_TEMPLATES / file).read_text(encoding="utf-8")) for name, file in files.items()}
    return {"plotly": Markup(get_plotlyjs()), "palette": palette, "font": Markup(figures.FONT), **own}


def plots_json(figures: Mapping[str, Figure]) -> Markup:
    """Figures by name, as the page's script draws them."""
    return script_json({name: json.loads(str(figure.to_json())) for name, figure in figures.items()})


def script_json(value: Any) -> Markup:
    """JSON that can stand inside a script element, whatever names it holds."""
    from jinja2.utils import htmlsafe_json_dumps

    return htmlsafe_json_dumps(value, allow_nan=False, separators=(",", ":"))


def _plain(value: Any) -> str:
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
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items()) or "–"
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = list(value)
        if len(value) > 1 and all(item is None or isinstance(item, int) for item in value):
            return " × ".join("any" if item is None else str(item) for item in value)
        return ", ".join(_plain(item) for item in value) or "–"
    return str(value)


def _plain_float(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:.6g}"
    (text,), _, power = rounded([value], most=2 if abs(value) < 1e-3 else EXACT_DIGITS)
    return f"{text} {power}".strip()


def _moment(text: Any) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None


def _date(text: Any) -> str:
    moment = _moment(text)
    return f"{moment.day} {moment:%B %Y}" if moment else str(text or "")


def year_of(text: Any) -> int:
    """The year of a moment, or this year."""
    moment = _moment(text)
    return moment.year if moment else datetime.datetime.now(tz=datetime.UTC).year
