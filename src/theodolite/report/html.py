"""From a run folder to one HTML file that needs nothing else."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of
from theodolite.estimates import STATUSES
from theodolite.report import figures, palette
from theodolite.report.content import AT_EACH_END, Content, Quantity, Sample, read_content
from theodolite.report.density import MeanDensity
from theodolite.report.reading import brittle_definition, reading
from theodolite.report.rounding import EXACT_DIGITS, rounded

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.graph_objects import Figure

    from theodolite.surveys import Run

__all__ = ["environment", "plots_json", "script_json", "sources", "write", "write_report", "year_of"]

_TEMPLATES = Path(__file__).parent / "templates"
_ON_THE_CARD = ("local_scaling_per_dimension", "local_rank", "leading_singular_value")
_IN_THE_STRIP = 14


def write_report(run: Run | str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a survey as one self-contained HTML file.

    The file opens offline and requests nothing: the plotting library, the pictures and the styles are inside.

    Args:
        run: a run, or the path of a run folder; an interrupted one is reported as far as it came.
        out: the file to write; `report.html` in the run folder when not given. An existing file is replaced.

    Returns:
        The path of the file, about five megabytes plus the thumbnails.

    Raises:
        InputError: plotly or jinja2 is not installed, the folder is not a run, or the file cannot be written.
    """
    templates = environment()
    if isinstance(run, str | Path):
        from theodolite.surveys import read_run

        run = read_run(run)
    path = path_of(out, "the report's file") if out is not None else Path(run.path) / "report.html"
    write(path, templates.get_template("report.html").render(_context(read_content(run))))
    return path


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


def _context(content: Content) -> dict[str, Any]:
    density = figures.averaged_spectrum(content)
    drawn = _drawn(content, density)
    return {
        **sources(),
        "content": content,
        "info": content.info,
        "status": content.status,
        "reading": reading(content),
        "brittle_definition": brittle_definition(content),
        "density": density,
        "drawn": drawn,
        "figures": plots_json(drawn),
        "card": script_json([quantity.name for quantity in _on_the_card(content)]),
        "card_quantities": _on_the_card(content),
        "pair": _pair(content),
        "strip": _strip(content),
        "most": _end(content, reverse=True),
        "least": _end(content, reverse=False),
        "statuses": STATUSES,
        "planned": len((content.info.get("data") or {}).get("files") or []),
        "troubles": _troubles(content.info),
        "scale": palette.SCALE,
        "year": year_of(content.info.get("created")),
    }


def sources(script: str = "script.js") -> dict[str, Any]:
    """Style, script and plotting library of a page, to be put inside it."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    files = {"style": "style.css", "script": script}
    own = {name: Markup((_TEMPLATES / file).read_text(encoding="utf-8")) for name, file in files.items()}
    return {"plotly": Markup(get_plotlyjs()), "palette": palette, "font": Markup(figures.FONT), **own}


def _drawn(content: Content, density: MeanDensity | None) -> dict[str, Figure]:
    made: dict[str, Figure | None] = {
        f"distribution-{quantity.name}": figures.distribution(content, quantity) for quantity in content.quantities
    }
    if density is not None:
        made["spectrum"] = figures.spectrum_density(content, density)
    pair = _pair(content)
    if pair is not None and content.count > 1:
        made["scatter"] = figures.scatter(content, *pair)
    return {name: figure for name, figure in made.items() if figure is not None}


def _pair(content: Content) -> tuple[Quantity, Quantity] | None:
    across, up = content.quantity("local_scaling_per_dimension"), content.quantity("local_rank")
    return (across, up) if across is not None and up is not None else None


def _on_the_card(content: Content) -> list[Quantity]:
    """Brittleness first, then the usual three, as far as they were measured."""
    first = [content.brittleness.quantity] if content.brittleness else []
    rest = [content.quantity(name) for name in _ON_THE_CARD]
    chosen = first + [item for item in rest if item is not None and item not in first]
    return chosen or [item for item in content.quantities if not item.is_variant][:4]


def _strip(content: Content) -> list[Sample]:
    """A few samples evenly spaced from least to most brittle, in that order; none without pictures."""
    order = content.brittleness.order if content.brittleness else ()
    if len(order) < 2 or not content.has_pictures:
        return []
    count = min(len(order), _IN_THE_STRIP)
    places = sorted({round(step * (len(order) - 1) / (count - 1)) for step in range(count)})
    return [content.samples[order[place]] for place in places]


def _end(content: Content, *, reverse: bool) -> list[Sample]:
    """The samples at one end of the order of brittleness; the two ends never share one."""
    order = content.brittleness.order if content.brittleness else ()
    count = min(AT_EACH_END, len(order) // 2)
    ends = order[::-1][:count] if reverse else order[:count]
    return [content.samples[index] for index in ends]


def _troubles(info: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was skipped, left out or failed, by heading: what and why."""
    skipped = [(row.get("file"), row.get("reason")) for row in (info.get("data") or {}).get("skipped") or []]
    left_out = [(row.get("descriptor"), row.get("reason")) for row in info.get("left_out") or []]
    failed = [
        (" at ".join(str(row[key]) for key in ("descriptor", "sample") if row.get(key)), row.get("reason"))
        for row in info.get("failed") or []
    ]
    found = {"Skipped files": skipped, "Descriptors left out": left_out, "Failed measurements": failed}
    return [(title, [(str(what), str(why)) for what, why in rows]) for title, rows in found.items() if rows]


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
