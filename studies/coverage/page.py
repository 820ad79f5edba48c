"""docs/coverage.md from the table of draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date
from itertools import groupby

from studies.coverage.judge import FEWEST, LEAST, MOST, Verdict
from studies.coverage.known import KNOWN
from studies.coverage.store import FOLDER
from theodolite.files import replacing

_PROMISING = ("covers", "covers at least", "bounds", "exact")

PAGE = FOLDER.parents[1] / "docs" / "coverage.md"

_HEAD = """# Does the error bar hold?

Every number of this library states an interval that holds the truth 95 times in 100. This page says how often it did:
random cases with known answers, {seeds} draws a cell, one entry a draw. It is made by
`python -m studies.coverage collect` from `studies/coverage/coverage.parquet`; `studies/coverage/README.md` says how
cases are drawn and judged.

{cells} cells, {rows} draws of {quantities} quantities, {when}, code {code}. Where the status is `ok`, coverage must lie
in [{least}, {most}] within its binomial interval; a test holds the table to it. **{breaches} of {judged} rows lie
outside**; the list below says why, and the test allows no other. {undrawn} cells have not been drawn yet.

Below stands each quantity over all its cells; every row, with its regime, size, setting, coverage, z, worst error and
statuses, is printed by `python -m studies.coverage show --only TEXT`.

- **coverage, least**: the smallest share, over cells, of draws whose interval holds the truth, with its 95 % binomial
  interval (Clopper and Pearson), and the cell it is from. Statuses that promise no coverage are left out.
- **z**: root mean square of (value - truth) / stderr, least and most over cells of `ok`: about 1 for sampling errors of
  many draws, far below where an error is a bound.
- **no number**: share of draws that are `undetermined` or `undefined`.
"""


def write(judged: Sequence[Verdict], cells: int) -> None:
    """Write the page, whole or not at all."""
    with replacing(PAGE) as unfinished:
        unfinished.write_text(text_of(judged, date.today().isoformat(), cells), encoding="utf-8")


def text_of(judged: Sequence[Verdict], when: str, cells: int = 0) -> str:
    """The page as Markdown; `cells` is how many there are in all."""
    drawn = {each.cell for each in judged}
    head = _HEAD.format(
        seeds=max((each.seeds for each in judged), default=0),
        cells=len(drawn),
        rows=sum(each.draws for each in judged),
        quantities=len({each.quantity for each in judged}),
        when=when,
        code=", ".join(sorted({each.code for each in judged})),
        least=LEAST,
        most=MOST,
        undrawn=max(cells - len(drawn), 0),
        breaches=sum(bool(each.breach) for each in judged),
        judged=len(judged),
    )
    ordered = sorted(judged, key=lambda each: (each.room, each.quantity))
    rooms = [_room(name, [*own]) for name, own in groupby(ordered, key=lambda each: each.room)]
    broken = [each for each in judged if each.breach]
    parts = [head, "## Known to be broken", "", *_known(judged), "", table_of(broken) if broken else "", *rooms]
    return "\n".join(parts)


def _room(name: str, judged: Sequence[Verdict]) -> str:
    lines = [
        f"## {name}",
        "",
        "| quantity | cells | draws | n | coverage, least | there | z | no number | other than ok |",
    ]
    lines += ["|---" * 9 + "|"]
    lines += [_summary(quantity, [*own]) for quantity, own in groupby(judged, key=lambda each: each.quantity)]
    return "\n".join([*lines, ""])


def _summary(quantity: str, own: Sequence[Verdict]) -> str:
    """A quantity over all its cells; its least coverage is of the rows that promise any."""
    promised = [each for each in own if each.promise in _PROMISING and each.draws >= FEWEST]
    worst = min(promised, key=lambda each: (each.coverage, each.cell), default=None)
    total = sum(each.draws for each in own)
    numbers = sorted({each.n for each in own})
    sizes = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    z = [each for each in promised if each.promise == "covers" and not math.isnan(each.spread)]
    spread = f"{min(each.spread for each in z):.2f} to {max(each.spread for each in z):.2f}" if z else ""
    none = sum(each.draws for each in own if each.promise == "no number") / total
    other = sum(each.draws * (1 - each.statuses.get("ok", 0.0)) for each in own) / total
    least = "" if worst is None else f"{worst.coverage:.3f} ({worst.low:.2f} to {worst.high:.2f})"
    there = "" if worst is None else f"{worst.regime}, n={worst.n}, {worst.setting}"
    fields = (f"`{quantity}`", len({each.cell for each in own}), total, sizes, least, there, spread)
    return "| " + " | ".join(map(str, (*fields, f"{none:.0%}", f"{other:.0%}"))) + " |"


def table_of(judged: Sequence[Verdict]) -> str:
    """Every row, as a table in Markdown."""
    head = "| quantity | regime | n | setting | promise | coverage | z | worst | stderr | status |"
    return "\n".join([head, "|---" * 10 + "|", *map(_line, judged), ""])


def _known(judged: Sequence[Verdict]) -> Iterable[str]:
    broken = [each for each in judged if each.breach]
    if not broken:
        yield "No promise is."
    for entry in KNOWN:
        names = ", ".join(f"`{quantity}`" for quantity in entry.quantities)
        worst = min((each.coverage for each in broken if entry.covers(each)), default=math.nan)
        yield f"- {names}, in *{entry.where or 'all cells'}*: {entry.why} Worst coverage: {worst:.2f}."


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
