"""Everything that the page may ask of a run, by name: made when it is asked for, and kept."""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.estimates import NOT_NUMBERS, STATUS_TABLE
from theodolite.explorer.frames import Frame, frame_of, parquet_of
from theodolite.explorer.maps import PictureMap, map_picture, maps_of
from theodolite.explorer.pictures import PER_SHEET, Album, album_of, sheet_of
from theodolite.explorer.views import (
    LATENT,
    curves_of,
    pairs_of,
    phases_of,
    projection_of,
    spectra_of,
    spectrum_sides,
)
from theodolite.runs.measuring import command_line
from theodolite.runs.record import notes_of, plain
from theodolite.runs.registry import read_run

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["Content", "Part"]

_MOST_CACHED = 64
"""Parts that stay in memory; sheets of thumbnails are the only ones that can be more."""

_MOST_OVERALL = 500
"""Numbers of the run as a whole that the page lists."""

_OF_ITS_OWN = ("limit", "only", "workers")
"""Settings that another choice of samples does not share."""

_SHEET = re.compile(r"sheet-(\d{1,6})\.jpg", re.ASCII)
_MAP = re.compile(r"maps/(\d{1,3})/(\d{1,7})\.png", re.ASCII)
_PICTURE = re.compile(r"pictures/(.{1,400})\.png")

Part = tuple[str, bytes]
"""Media type and content."""


class Content:
    """What is served, or exported, of one run.

    Args:
        run: the run, read and validated.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._cache: OrderedDict[str, Part] = OrderedDict()
        self._lock = threading.RLock()  # a part may be made of others

    def renewed(self) -> Content:
        """The content of the folder as it is now: another one where the run was not complete."""
        return self if self.run.status == "complete" else Content(read_run(self.run.path))

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.run.path.resolve().name

    @cached_property
    def frame(self) -> Frame:
        """Its wide table."""
        return frame_of(self.run)

    @cached_property
    def album(self) -> Album:
        """Its pictures."""
        return album_of(self.run)

    @cached_property
    def units(self) -> list[str]:
        """Of what the page lists: the rows of its table where they are samples, else every finished unit."""
        return [str(unit) for unit in self.frame.keys["unit"]] if self.frame.of_samples else self.run.units

    @cached_property
    def arrays(self) -> frozenset[str]:
        """Names of the arrays of the first unit; none where their file is missing or damaged."""
        try:
            return frozenset(self.run.numpy_arrays(self.units[0]) if self.units else ())
        except InputError:
            return frozenset()

    @cached_property
    def maps(self) -> list[PictureMap]:
        """The maps that may be laid over its pictures; none where there is no picture, or arrays are damaged."""
        try:
            return maps_of(self.run, self.units) if self.album.names else []
        except InputError:
            return []

    @property
    def has_latents(self) -> bool:
        """Whether the run stores the latent of every sample."""
        return LATENT in self.arrays and self.frame.of_samples

    @cached_property
    def views(self) -> list[str]:
        """The views that there is something to show in, best first."""
        kind, has_pictures = self.run.kind, any(self.album.names)
        shown = {
            "phases": kind == "phases" and bool(self.run.units),
            "pairs": kind == "compare",
            "curves": kind != "phases" and bool(json.loads(self.read("curves.json")[1])["curves"]),
            "scatter": bool(self.frame.columns),
            "gallery": has_pictures and self.frame.of_samples,
            "strips": has_pictures and not self.frame.of_samples,
            "spectrum": bool(spectrum_sides(self.arrays)),
            "projection": self.has_latents and len(self.units) > 2,
            "table": bool(self.frame.columns),
        }
        return [name for name, has in shown.items() if has]

    def read(self, part: str) -> Part:
        """A part by its name, see `parts`.

        Raises:
            KeyError: there is none of that name.
            InputError: what the run holds of it is damaged.
        """
        if match := _PICTURE.fullmatch(part):
            return "image/png", self._picture(match[1])
        if match := _MAP.fullmatch(part):
            return "image/png", self._map(int(match[1]), int(match[2]))
        with self._lock:  # what takes long is made once, however many ask for it meanwhile
            if part not in self._cache:
                self._cache[part] = self._make(part)
                while len(self._cache) > _MOST_CACHED:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(part)
            return self._cache[part]

    def parts(self) -> Iterator[str]:
        """The names of all parts, pictures among them."""
        yield from _MAKERS
        if self.album.names:
            yield from (f"sheet-{number}.jpg" for number in range(-(-len(self.units) // PER_SHEET)))
        for unit in self.units:
            yield from (f"pictures/{_file(unit, name)}" for name in self.album.names.get(unit, ()))
        for number in range(len(self.maps)):
            yield from (f"maps/{number}/{row}.png" for row in range(len(self.units)))

    def _make(self, part: str) -> Part:
        if part in _MAKERS:
            kind, make = _MAKERS[part]
            return kind, make(self)
        if match := _SHEET.fullmatch(part):
            return "image/jpeg", self._sheet(int(match[1]))
        raise KeyError(part)

    def _sheet(self, number: int) -> bytes:
        mine = self.units[number * PER_SHEET : (number + 1) * PER_SHEET]
        if not mine or not self.album.names:
            raise KeyError(f"sheet {number}")
        return sheet_of(self.run, self.album, mine)

    def _map(self, number: int, row: int) -> bytes:
        if number >= len(self.maps) or row >= len(self.units):
            raise KeyError(f"map {number} of row {row}")
        return map_picture(self.run, self.units[row], self.maps[number])

    def _picture(self, stem: str) -> bytes:
        """A picture that the album lists: no other name ever becomes a path."""
        for unit, name in self._by_file.get(stem, ()):
            path = self.run.picture(unit, name)
            if path is not None:
                return path.read_bytes()
        raise KeyError(stem)

    @cached_property
    def _by_file(self) -> dict[str, list[tuple[str, str]]]:
        named = ((unit, name) for unit, names in self.album.names.items() for name in names)
        by_file: dict[str, list[tuple[str, str]]] = {}
        for unit, name in named:
            by_file.setdefault(_file(unit, name).removesuffix(".png"), []).append((unit, name))
        return by_file

    def about(self) -> dict[str, Any]:
        """What the page knows of a run before it asks for any number."""
        run, info = self.run, self.run.info
        models = [info.get("model"), *(info.get("models") or [])]
        return {
            "name": self.name,
            "kind": run.kind,
            "status": run.status,
            "finished": len(run.units),
            "wanted": len(info["units"]),
            "models": [str(model.get("name")) for model in models if isinstance(model, dict)],
            "facts": self._facts(),
            "command": info["command"],
            "only": _again(run),
            "messages": info["messages"],
            "failed": info["failed"][:_MOST_OVERALL],
            "notes": notes_of(info),
            "statuses": [{**status._asdict(), "is_bound": status.is_bound} for status in STATUS_TABLE],
            "overall": self._overall(),
            "views": self.views,
            "frame": self.frame.described(),
            "album": self.album.described(self.units) if self.album.names else None,
            "maps": [shown.described() for shown in self.maps],
            "hasLatents": self.has_latents,
        }

    def _facts(self) -> dict[str, str]:
        """Arguments, settings and versions in words."""
        run, info = self.run, self.run.info
        last = info["sittings"][-1] if info["sittings"] else {}
        facts = {**run.arguments, **run.settings, "theodolite": info["theodolite"], "started": info["created"]}
        facts |= {
            "seconds": run.seconds,
            **{f"{k}": v for k, v in (last.get("machine") or {}).items() if k == "device"},
        }
        return {str(name): _shown(value) for name, value in facts.items() if value not in (None, [], "")}

    def _overall(self) -> list[dict[str, Any]]:
        """Numbers that follow from several units."""
        rows = self.run.rows(unit=None) if self.frame.of_samples else []
        # The parts of a comparison stand side by side in a view of their own.
        rows = [row for row in rows if row.get("sample") is None and (self.run.kind != "compare" or not row["part"])]
        rows = [row for row in rows if row["status"] not in NOT_NUMBERS]
        kinds = self.run.experiment.coordinates
        return [
            {
                "label": self.run.words(row["quantity"]).label,
                "where": ", ".join(_shown(row[name]) for name in kinds if row[name] is not None),
                **{name: row[name] for name in ("value", "stderr", "low", "high", "n", "status")},
            }
            for row in rows[:_MOST_OVERALL]
        ]


def _again(run: Run) -> str | None:
    """The command that measures chosen samples again, up to their names; None of an experiment that cannot choose.

    People paste it into a shell, and `run.json` may be a stranger's: the command that stands there is not used. It is
    made anew of kind, arguments and checked settings, every word quoted. There is none where an argument would be read
    as an option, or where a word holds control characters, which terminals obey whatever quotes surround them.
    """
    settings = getattr(run.experiment, "settings", ())
    if not any(setting.name == "only" for setting in settings):
        return None
    repeated = [setting for setting in settings if setting.name not in _OF_ITS_OWN]
    try:
        values = {setting.name: setting.checked(run.settings[setting.name]) for setting in repeated}
        given = [run.arguments[argument.name] for argument in getattr(run.experiment, "arguments", ())]
        arguments = [text for value in given for text in (value if isinstance(value, list) else [value])]
        if not all(isinstance(text, str) and not text.startswith("-") for text in arguments):
            return None
        line = command_line(run.kind, arguments, repeated, values, ["--out", f"{run.path}-selection"])
    except (InputError, KeyError, TypeError, ValueError):  # a stranger's file
        return None
    return line if line.isprintable() else None


def _file(unit: str, name: str) -> str:
    return f"{unit}.{name}.png" if name else f"{unit}.png"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_shown(entry) for entry in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_json(value: Any) -> bytes:
    """JSON in which a number that does not exist is null."""
    return json.dumps(plain(value), separators=(",", ":")).encode()


def _json(make: Callable[[Content], Any]) -> tuple[str, Callable[[Content], bytes]]:
    return "application/json", lambda content: as_json(make(content))


def _phases(content: Content) -> Any:
    return phases_of(content.run) if content.run.kind == "phases" else None


def _pairs(content: Content) -> Any:
    return pairs_of(content.run) if content.run.kind == "compare" else []


_PARQUET = "application/vnd.apache.parquet"
_MAKERS: dict[str, tuple[str, Callable[[Content], bytes]]] = {
    "about.json": _json(Content.about),
    "frame.parquet": (_PARQUET, lambda content: content.frame.parquet()),
    "quantities.parquet": (_PARQUET, lambda content: parquet_of(content.run.table)),
    "curves.json": _json(lambda content: {"curves": curves_of(content.run)}),
    "spectra.json": _json(lambda content: spectra_of(content.run, content.units)),
    "projection.json": _json(lambda content: projection_of(content.run, content.units)),
    "pairs.json": _json(_pairs),
    "phases.json": _json(_phases),
}


def contents_of(paths: Sequence[str | Path]) -> list[Content]:
    """The contents of run folders.

    Raises:
        InputError: no folder is given, or one holds no run.
    """
    if not paths:
        raise InputError("one run folder or more expected, got none; give the --out folder of a run")
    return [Content(read_run(path)) for path in paths]
