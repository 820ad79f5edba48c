"""The threshold file, `theodolite.toml`: bounds of quantities, and how sure a verdict must be."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from theodolite.errors import InputError, path_of
from theodolite.runs.registry import kinds
from theodolite.runs.settings import closest

__all__ = ["Bound", "Thresholds", "read_thresholds", "within_margin"]

_LEAST_SURE, _MOST_SURE = 0.5, 0.9999
"""Below a half a verdict says nothing; above the other the tails of no interval here are known."""

_OVER = ("mean", "each")
_SURE_OF = ("all", "each")
_ENDS = ("at_least", "at_most", "change_at_least", "change_at_most")
_TOP = ("experiment", "sure", "sure_of", "only_ok", "reference", "group", "settings", "bound")
_OF_BOUND = ("quantity", "where", "over", "sure", *_ENDS)


@dataclass(frozen=True)
class Bound:
    """What a quantity must keep to.

    Attributes:
        quantity: its name in the run.
        low: the least value that is allowed; minus infinity for none.
        high: the largest one; infinity for none.
        of_change: whether the bound is of this run's number less that of the reference run.
        where: coordinates of the number, e.g. ``{"space": "zoo:patches-kl"}``.
        over: of a number at every sample: ``mean`` for the mean over samples, ``each`` for every single one.
        sure: probability of this verdict alone; None for that of the file.
    """

    quantity: str
    low: float = -math.inf
    high: float = math.inf
    of_change: bool = False
    where: Mapping[str, Any] = field(default_factory=dict)
    over: str = "mean"
    sure: float | None = None

    def __str__(self) -> str:
        name = f"change of {self.quantity}" if self.of_change else self.quantity
        if math.isinf(self.low):
            return f"{name} <= {self.high:.4g}"
        return f"{name} >= {self.low:.4g}" if math.isinf(self.high) else f"{self.low:.4g} <= {name} <= {self.high:.4g}"


@dataclass(frozen=True)
class Thresholds:
    """Bounds, and how sure their verdicts must be.

    Attributes:
        bounds: one or more.
        sure: probability, above 0.5.
        sure_of: ``all`` where it is the probability that no verdict of the file is wrong, by Bonferroni: each of `k`
            bounds is tested at `1 - (1 - sure) / k`; ``each`` where it is that of every verdict for itself.
        only_ok: whether a number whose status is not ``ok`` leaves its bound undecided.
        experiment: what measures a model.
        settings: of that experiment.
        reference: folder of the run that changes are counted from; None for none.
        group: regular expression for the part of a file's path that tells its source, as elsewhere; None for what the
            run was told, or the name before crop coordinates.
    """

    bounds: Sequence[Bound]
    sure: float = 0.95
    sure_of: str = "all"
    only_ok: bool = False
    experiment: str = "survey"
    settings: Mapping[str, Any] = field(default_factory=dict)
    reference: Path | None = None
    group: str | None = None

    def level(self, bound: Bound) -> float:
        """The probability with which the verdict on one bound holds."""
        if self.sure_of == "each":
            return self.sure if bound.sure is None else bound.sure
        return 1 - (1 - self.sure) / len(self.bounds)


def read_thresholds(path: Any) -> Thresholds:
    """Read a threshold file.

    Args:
        path: of a TOML file, see `docs/gate.md`.

    Raises:
        InputError: it is missing, no TOML, or holds what is not expected; the message names the line.
    """
    file = path_of(path, "the threshold file")
    try:
        text = file.read_text("utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise InputError(f"a threshold file expected, got {file} ({reason}); docs/gate.md has an example") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: TOML expected, got what cannot be read: {error}") from error
    return _Reader(file, text).thresholds(content)


def within_margin(quantities: Mapping[str, float], margin: float) -> list[Bound]:
    """Bounds by which no quantity may change by more than a share of its present size, up or down.

    Args:
        quantities: the value of the reference by name; one of zero or without a number is left out.
        margin: above zero, e.g. 0.05.

    Raises:
        InputError: a margin that is not above zero, or no quantity.

    Example:
        >>> [str(bound) for bound in within_margin({"gain": 4.0, "nothing": 0.0}, 0.25)]
        ['-1 <= change of gain <= 1']
    """
    if not (math.isfinite(margin) and margin > 0):
        raise InputError(f"--margin expected a share above 0, e.g. 0.05, got {margin!r}")
    sizes = {name: margin * abs(value) for name, value in quantities.items() if value and math.isfinite(value)}
    if not sizes:
        raise InputError("the reference holds no number that a share can be taken of; write a threshold file")
    return [Bound(name, -size, size, of_change=True) for name, size in sizes.items()]


class _Reader:
    """Checks one file; every complaint names its line."""

    def __init__(self, file: Path, text: str) -> None:
        self.file, self.lines = file, text.splitlines()

    def thresholds(self, content: Mapping[str, Any]) -> Thresholds:
        self._known(content, _TOP, None)
        tables = content.get("bound")
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            raise self._wrong("bound", None, "one or more tables [[bound]], with two brackets", tables)
        sure_of = self._word(content, "sure_of", _SURE_OF, None)
        settings = content.get("settings", {})
        if not isinstance(settings, dict):
            raise self._wrong("settings", None, "a table", settings)
        experiment = self._text(content, "experiment", None, "survey")
        if experiment not in kinds():
            raise self._wrong("experiment", None, f"one of {', '.join(kinds())}", experiment)
        reference = self._text(content, "reference", None, "")
        return Thresholds(
            [self._bound(table, index, sure_of) for index, table in enumerate(tables)],
            self._sure(content, None) or 0.95,
            sure_of,
            self._flag(content, "only_ok"),
            experiment,
            settings,
            self.file.parent / reference if reference else None,
            self._text(content, "group", None, "") or None,
        )

    def _bound(self, table: Mapping[str, Any], index: int, sure_of: str) -> Bound:
        self._known(table, _OF_BOUND, index)
        if "quantity" not in table:
            raise self._wrong("", index, "`quantity`", None)
        given = [name for name in _ENDS if name in table]
        changes = [name for name in given if name.startswith("change")]
        if not given or (changes and changes != given):
            raise self._wrong("", index, "at_least or at_most, or both; or change_at_least, change_at_most", given)
        ends = {name.removeprefix("change_"): self._number(table, name, index) for name in given}
        low, high = ends.get("at_least", -math.inf), ends.get("at_most", math.inf)
        if low > high:
            raise self._wrong(given[0], index, f"{given[0]} below {given[1]}", [low, high])
        where = table.get("where", {})
        if not isinstance(where, dict) or not all(isinstance(v, str | int | float) for v in where.values()):
            raise self._wrong("where", index, 'a table, e.g. { space = "my-vae" }', where)
        own = self._sure(table, index)
        if own is not None and sure_of == "all":
            raise self._wrong("sure", index, 'sure_of = "each" at the head of the file', own)
        over, quantity = self._word(table, "over", _OVER, index), self._text(table, "quantity", index, "")
        return Bound(quantity, low, high, bool(changes), where, over, own)

    def _known(self, table: Mapping[str, Any], known: Sequence[str], index: int | None) -> None:
        for name in table:
            if name not in known:
                near = closest(name, known)
                raise self._wrong(name, index, f"one of {', '.join(known)}", name, near)

    def _number(self, table: Mapping[str, Any], name: str, index: int | None) -> float:
        value = table[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(name, index, f"{name} to be a finite number", value)
        return float(value)

    def _sure(self, table: Mapping[str, Any], index: int | None) -> float | None:
        if "sure" not in table:
            return None
        value = self._number(table, "sure", index)
        if not _LEAST_SURE < value <= _MOST_SURE:
            raise self._wrong("sure", index, f"a probability above {_LEAST_SURE}, at most {_MOST_SURE}", value)
        return value

    def _word(self, table: Mapping[str, Any], name: str, choices: Sequence[str], index: int | None) -> str:
        value = table.get(name, choices[0])
        if value not in choices:
            raise self._wrong(name, index, f"{name} to be one of {', '.join(choices)}", value)
        return str(value)

    def _text(self, table: Mapping[str, Any], name: str, index: int | None, default: str) -> str:
        return str(self._typed(table, name, index, str, "text", default))

    def _flag(self, table: Mapping[str, Any], name: str) -> bool:
        return bool(self._typed(table, name, None, bool, "true or false", False))

    def _typed(
        self, table: Mapping[str, Any], name: str, index: int | None, kind: type, words: str, default: Any
    ) -> Any:
        value = table.get(name, default)
        if not isinstance(value, kind) or (name in table and value == ""):
            raise self._wrong(name, index, f"{name} to be {words}", value)
        return value

    def _wrong(self, name: str, index: int | None, expected: str, got: Any, more: str = "") -> InputError:
        line = self._line(name, index)
        where = f"{self.file}, line {line}" if line else str(self.file)
        return InputError(f"{where}: expected {expected}, got {'none' if got in (None, []) else repr(got)}{more}")

    def _line(self, name: str, index: int | None) -> int:
        """The line of a key at the head of the file, or in one of its bounds; that of the bound where it has none."""
        heads = [n for n, line in enumerate(self.lines) if re.match(r"\s*\[\[\s*bound\s*\]\]", line)]
        start = 0 if index is None else heads[index] if index < len(heads) else 0
        belongs: Callable[[str], Any] = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(name)}[\"']?\s*[=.\]]").match
        for number in range(start, len(self.lines)):
            if name and belongs(self.lines[number]):
                return number + 1
            if index is not None and number > start and number in heads:
                break
        return 0 if index is None else start + 1
