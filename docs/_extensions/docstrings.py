"""Docstrings as autodoc can read them: they are written as Markdown, where a single backtick is code."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"``.+?``|`[^`]+`", re.DOTALL)
_SPECIAL = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")


def readable(line: str) -> str:
    """One line of a docstring as reStructuredText: code stays code, and nothing else is markup."""
    parts, end = [], 0
    for match in _CODE.finditer(line):
        joins = "\\ " if line[match.end() : match.end() + 1].isalnum() else ""  # the plural of a name: `Estimate`s
        code = f"``{match[0].strip('`').strip()}``{joins}"
        parts += [_SPECIAL.sub(r"\\\1", line[end : match.start()]), code]
        end = match.end()
    return "".join([*parts, _SPECIAL.sub(r"\\\1", line[end:])])


def process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place; doctests and indented formulas stay as they are."""
    text = "\n".join(lines)
    text = _CODE.sub(lambda match: re.sub(r"\s*\n\s*", " ", match[0]), text)  # code that goes over the end of a line
    is_doctest, made = False, []
    for line in text.split("\n"):
        is_doctest = line.lstrip().startswith(">>>") or (is_doctest and bool(line.strip()))
        made.append(line if is_doctest else readable(line))
    lines[:] = made


def setup(app: Any) -> dict[str, bool]:
    """Before napoleon, which reads the sections."""
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True}
