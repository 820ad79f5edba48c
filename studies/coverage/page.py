"""docs/coverage.md from the table of draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any

from studies.coverage.judge import LEAST, MOST, Verdict, verdicts
from studies.coverage.known import KNOWN
from studies.coverage.store import FOLDER
from theodolite.files import replacing

PAGE = FOLDER.parents[1] / "docs" / "coverage.md"

_HEAD = """# Does the error bar hold?

Every number of this library states an interval that holds the truth 95 times in 100. This page says how often it did:
random cases with known answers, {seeds} draws a cell, one entry a draw. It is made by
`python -m studies.coverage collect` from `studies/coverage/coverage.parquet`; `studies/coverage/README.md` says how
cases are drawn and judged.

{cells} cells, {rows} draws of {quantities} quantities, {when}, code {code}. Where the status is `ok`, coverage must lie
in [{least}, {most}] within its binomial interval; a test holds the table to it. **{breaches} of {judged} rows lie
outside**; the list below says why, and the test allows no other. {undrawn} cells have not been drawn yet.

- **coverage**: share of the draws with this promise whose interval holds the truth, with its 95 % binomial interval
  (Clopper and Pearson).
- **z**: mean and root mean square of (value - truth) / stderr: about 0 and 1 for sampling errors of many draws.
- **worst**: the largest error relative to the truth. **stderr**: its median relative to the truth.
- **status**: shares among all draws of the cell, where not all are `ok`. Draws that claim no number (`undetermined`,
  `undefined`) have no coverage.
- A promise of *at least* 95 % is that of a status whose error holds a bias, or of an error that is a bound: the reason
  stands below the table. *Exact* numbers state no error: all of them must be right but for rounding.
"""


def write(rows: Sequence[Mapping[str, Any]], cells: int) -> None:
    """Write the page, whole or not at all."""
    with replacing(PAGE) as unfinished:
        unfinished.write_text(text_of(rows, date.today().isoformat(), cells), encoding="utf-8")


def text_of(rows: Sequence[Mapping[str, Any]], when: str, cells: int = 0) -> str:
    """The page as Markdown; `cells` is how many there are in all."""
    judged = verdicts(rows)
    head = _HEAD.format(
        seeds=max((row["seed"] for row in rows), default=-1) + 1,
        cells=len({row["cell"] for row in rows}),
        rows=len(rows),
        quantities=len({row["quantity"] for row in rows}),
        when=when,
        code=", ".join(sorted({row["code"] for row in rows})),
        least=LEAST,
        most=MOST,
        undrawn=max(cells - len({row["cell"] for row in rows}), 0),
        breaches=sum(bool(each.breach) for each in judged),
        judged=len(judged),
    )
    known = ["## Known to be broken", "", *_known(judged), ""]
    rooms = [_room(name, [*own]) for name, own in groupby(judged, key=lambda each: each.room)]
    return "\n".join([head, *known, *rooms])


def _known(judged: Sequence[Verdict]) -> Iterable[str]:
    broken = [each for each in judged if each.breach]
    if not broken:
        yield "No promise is."
    for entry in KNOWN:
        names = ", ".join(f"`{quantity}`" for quantity in entry.quantities)
        worst = min((each.coverage for each in broken if entry.covers(each)), default=math.nan)
        yield f"- {names}, in *{entry.where or 'all cells'}*: {entry.why} Worst coverage: {worst:.2f}."


def _room(name: str, judged: Sequence[Verdict]) -> str:
    lines = [f"## {name}", "", "| quantity | regime | n | setting | promise | coverage | z | worst | stderr | status |"]
    lines += ["|---" * 10 + "|", *map(_line, judged), ""]
    reasons = {(each.setting, each.regime): each.conservative for each in judged if each.conservative}
    lines += _reasons(reasons)
    return "\n".join(lines)


def _reasons(reasons: Mapping[tuple[str, str], str]) -> Iterable[str]:
    by_text: dict[str, list[str]] = {}
    for (setting, regime), text in reasons.items():
        by_text.setdefault(text, []).append(f"{regime} ({setting})")
    for text, where in by_text.items():
        yield f"- At least 95 %: {text} Cells: {', '.join(where)}."
    if by_text:
        yield ""


def _line(each: Verdict) -> str:
    coverage = f"{each.coverage:.3f} ({each.low:.2f} to {each.high:.2f})"
    if each.promise == "no number":
        coverage = ""
    promise = f"**{each.breach}**" if each.breach else each.promise
    if each.promise == "covers" and each.conservative and not each.breach:
        promise = "covers at least"
    status = "" if set(each.statuses) == {"ok"} else ", ".join(f"{k} {v:.0%}" for k, v in each.statuses.items())
    z = "" if math.isnan(each.mean_z) else f"{each.mean_z:+.2f}, {each.spread:.2f}"
    fields = (f"`{each.quantity}`", each.regime, each.n, each.setting, promise, coverage, z)
    return "| " + " | ".join(map(str, (*fields, _number(each.worst), _number(each.size), status))) + " |"


def _number(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.2g}"
