"""What shares of hotspots are called, and how they are printed beside what chance gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from theodolite.data.overlays import HOT, WASTED
from theodolite.estimates import is_number
from theodolite.report.decoupling_figures import COLOURS
from theodolite.report.pictures import embedded
from theodolite.report.rounding import Shown, shown
from theodolite.surveys.store import png_bytes

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.surveys.decoupled import Decoupled
    from theodolite.surveys.decoupled_hotspots import PairedHotspots

__all__ = ["MARKS", "SHARE_WORDS", "ShareWord", "hotspot_section", "interval", "percent", "share_table", "side"]

_CARDS = 6


class ShareWord(NamedTuple):
    """What a share is called and what it says."""

    label: str
    meaning: str


SHARE_WORDS = {
    "area": ShareWord("Hotspots", "% of cells"),
    "wasted_area": ShareWord("Wasted, of cells", "hotspots of low detail, % of cells"),
    "wasted_share": ShareWord("Wasted, of hotspots", "hotspots of low detail, % of hotspots"),
    "wasted_mass": ShareWord("Curvature off the detail", "on cells of low detail, % of curvature"),
    "mass_on_detail": ShareWord("Curvature on the detail", "on the 10 % most detailed cells, % of curvature"),
    "overlap": ShareWord("Overlap with normal", "cells hot in both, % of those hot in either"),
}
"""Every share of `theodolite.detection.hotspots`, in the order of the table."""

MARKS = (("hotspot", HOT), ("wasted hotspot", WASTED))
"""The colours of overlays."""


def share_table(sides: Sequence[Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """One row a share, one cell a side; None where a side has none."""
    names = [name for name in SHARE_WORDS if any(name in shares for shares in sides)]
    return [
        {
            **SHARE_WORDS[name]._asdict(),
            "cells": [_cell(name, shares[name]) if name in shares else None for shares in sides],
        }
        for name in names
    ]


def side(name: str, excess: str = "", change: str = "", chance: str = "by chance") -> dict[str, str]:
    """The headings of a side's columns; an empty one leaves its column out."""
    return {"name": name, "chance": chance, "excess": excess, "change": change}


def percent(found: Estimate, place: int = 0) -> Shown:
    """A share in percent, to the digits its error supports."""
    value, stderr = 100 * float(found.value[place]), 100 * float(found.stderr[place])
    return shown(value, stderr if math.isfinite(stderr) else None, found.statuses[place])


def interval(found: Estimate) -> str:
    """The 95 % interval of a difference of shares in percent."""
    if not is_number(found.status):
        return "–"
    low, high = (100 * float(end) for end in found.interval())
    if high - low < 1e-9:
        return f"{low:+.1f}".replace("-", "−")
    return f"{low:+.1f} to {high:+.1f}".replace("-", "−")


def hotspot_section(found: Decoupled) -> dict[str, Any] | None:
    """The hotspots of a decoupling experiment, ready to print; None where too few pairs have a leading direction."""
    from theodolite.surveys.decoupled_hotspots import paired_hotspots

    pairs = paired_hotspots(found)
    if pairs is None:
        return None
    return {
        "n": len(pairs.samples),
        "sides": [_SIDES[kind] for kind in pairs.sides],
        "rows": share_table([masks.shares for masks in pairs.sides.values()]),
        "colours": MARKS,
        "cards": [card for sample in _hottest(pairs) if (card := _card(pairs, sample))["sides"]],
    }


def _hottest(pairs: PairedHotspots) -> list[str]:
    """The pairs with the most hotspots under a normal or an unusual condition."""
    most = [pairs.sides[kind].images["area"].value for kind in COLOURS]
    places = most[0].maximum(most[1]).argsort(descending=True, stable=True)[:_CARDS]
    return [pairs.samples[place] for place in places.tolist()]


def _cell(name: str, share: Estimate) -> dict[str, Any]:
    return {
        "value": percent(share),
        "chance": percent(share["null"]),
        "excess": interval(share["excess"]),
        "change": "" if name == "overlap" else interval(share["change"]),
        "note": share.message,
    }


_SIDES = {
    "normal": side("normal"),
    "unusual": side("unusual", change="less normal, 95 %"),
    "null": side("null", chance=""),
}


def _card(pairs: PairedHotspots, sample: str) -> dict[str, Any]:
    info, place = pairs.found.info, pairs.samples.index(sample)
    prompts = info["prompts"][info["data"]["prompts"][info["data"]["samples"].index(sample)]]
    sides = []
    for kind, prompt in zip(COLOURS, prompts):
        picture, images = pairs.overlay(sample, kind), pairs.sides[kind].images
        if picture is not None:
            hot, off = (100 * float(images[name].value[place]) for name in ("area", "wasted_area"))
            text = f"hotspots {hot:.0f} %, wasted {off:.0f} %"
            uri = embedded(png_bytes(picture), "image/png")
            sides.append({"kind": kind, "prompt": prompt, "picture": uri, "text": text})
    return {"sample": sample, "sides": sides}
