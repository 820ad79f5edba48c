"""`docs/real_decoders.md` from the outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from theodolite.files import replacing

PAGE = Path(__file__).parents[2] / "docs" / "real_decoders.md"

SURE = 0.05


def write(found: Mapping[str, Any]) -> None:
    """Write the page, whole or not at all."""
    with replacing(PAGE) as unfinished:
        unfinished.write_text(text_of(found), encoding="utf-8")


def text_of(found: Mapping[str, Any]) -> str:
    """The page."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    rows = found["kinds"]
    yield _HEAD
    yield _verdict(rows)
    yield ""
    for model, run in found["runs"].items():
        own = [row for row in rows if row["model"] == model]
        counts = f"{own[0]['scores']} scores and {own[0]['baselines']} baselines"
        yield f"## {model}"
        yield ""
        yield f"{run['date']}, torch {run['torch']}, {run['units']} images of 32 pixels, {counts}; {run['seconds']} s."
        yield ""
        yield "| kind | n | best score | AUROC | best baseline | AUROC | gain in separation | p |"
        yield "|---|---|---|---|---|---|---|---|"
        for row in own:
            yield "| " + " | ".join(_cells(row)) + " |"
        yield ""
        yield from (f"- {_sentence(row)}" for row in own)
        yield ""
    yield _FOOT


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    wins = [row for row in rows if row["p"] < SURE]
    listed = ", ".join(f"`{row['score']}` on `{row['kind']}` of {row['model']}" for row in wins)
    first = f"{len(wins)} of {len(rows)} comparisons: {listed}" if wins else f"none of {len(rows)} comparisons"
    return (
        f"Geometry beats every baseline in {first}.\n"
        f"By chance {SURE * len(rows):.1f} would be expected at most. Elsewhere the best baseline does as well,\n"
        "as far as so few images tell."
    )


_HEAD = """\
# Off the manifold of a real decoder

Does the geometry of a decoder tell images that are unlike the reference, better than numbers that cost no
Jacobian? Two pretrained autoencoders, clothes as reference, nine kinds of other images. Made by
`python -m studies.detection collect`; the [protocol](../studies/detection/PROTOCOL.md) was committed before any
number was known.

## What came out
"""

_FOOT = """\
## How to read it

- **AUROC**: the probability that an image of the kind scores higher than one of the reference, with its 95 %
  interval over images (of `crops` over six photographs, each with the mean of its crops). Far below one half tells
  as much.
- **separation**: `1/2 + |AUROC - 1/2|`. The gain is that of the score less that of the best baseline, paired.
- **best score**: that of the smallest p, of equal ones that of the largest gain. **p** pays for all scores of the kind
  and for both sides, and asks for a gain over *every* baseline (`theodolite.detection.beside_baselines`).
- `gain` is among the baselines: the root mean square of the singular values, which a few random products give."""


def _cells(row: Mapping[str, Any]) -> list[str]:
    numbers = [_interval(row[name]) for name in ("score_auroc", "baseline_auroc", "gain")]
    return [
        f"`{row['kind']}`",
        str(row["n"]),
        f"`{row['score']}`",
        numbers[0],
        f"`{row['baseline']}`",
        numbers[1],
        numbers[2],
        f"{row['p']:.2g}",
    ]


def _sentence(row: Mapping[str, Any]) -> str:
    """Who wins, in words."""
    if row["p"] < SURE:
        return f"`{row['kind']}`: `{row['score']}` beats every baseline, `{row['baseline']}` by {row['gain'][0]:.2f}."
    high = row["gain"][2]
    if high is not None and high < 0:
        return (
            f"`{row['kind']}`: the baseline wins, `{row['baseline']}` over `{row['score']}` by {-row['gain'][0]:.2f}."
        )
    if all(low <= 0.5 <= high for _, low, high in (row["score_auroc"], row["baseline_auroc"])):
        return f"`{row['kind']}`: neither tells it."
    return f"`{row['kind']}`: `{row['baseline']}` does as well as any score, as far as these images tell."


def _interval(ends: Sequence[float | None]) -> str:
    value, low, high = ("–" if end is None else f"{end:.2f}".replace("-", "−") for end in ends)
    return f"{value} ({low} to {high})"
