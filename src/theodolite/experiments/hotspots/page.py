"""The page of hotspots: shares beside chance, and every image with its hotspots drawn over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.data.overlays import HOT, WASTED
from theodolite.estimates import NOT_NUMBERS
from theodolite.experiments.hotspots.shares import QUANTITIES, SHARES, output_of, with_direction
from theodolite.report import page as kit
from theodolite.report.pictures import heat_uri, largest_side, stored_pictures
from theodolite.runs.experiment import Row
from theodolite.runs.rows import crossed

if TYPE_CHECKING:
    from theodolite.experiments.images import RunImage
    from theodolite.runs.run import Run

__all__ = ["MARKS", "difference", "page", "percent", "shares_by_condition"]

_MAPS = ("gain", "curvature", "detail")
_BY_IMAGE = ("area", "wasted_share", "wasted_mass", "mass_on_detail")
_Shares = Mapping[str, Mapping[str, Row]]
"""Rows by quantity and part, or by sample and quantity."""
MARKS = ((HOT, "square", "hotspot"), (WASTED, "square", "wasted hotspot"))
"""The colours of overlays."""


def page(run: Run) -> kit.Page:
    """The report of hotspots; its tables are the terminal's too."""
    usable, lost = with_direction(run)
    rows, images, is_own = run.derived_rows, usable["image"], run.settings["reference"] is None
    word = "latents" if run.info["data"].get("latents") else "images"
    reference = f"{len(usable['reference'])} reference {word}"
    sources = len({image.source for image in images})
    facts = {
        "Map": run.info["map"],
        word.capitalize(): len(images) if word == "latents" else f"{len(images)} from {sources} photographs",
        "Thresholds from": f"the same {word}" if is_own else reference,
        "Grid": run.settings["grid"],
        "Subspaces": run.settings["subspaces"],
    }
    method = [
        kit.Facts(
            "Hotspot",
            {},
            "A cell whose curvature exceeds that of 95 % of all cells of the reference. Wasted: its detail is at or "
            "below the reference's median. By chance: as curvature and detail that are independent within each image "
            "would give. What another subspace or other neighbours would give is not in the errors.",
        )
    ]
    warnings = [f"Left out, without a leading direction: {', '.join(lost)}."] if lost else []
    shares = crossed((row for row in rows if row["sample"] is None), "quantity", "part")
    of_images = crossed((row for row in rows if row["sample"]), "sample", "quantity")
    glossary = [kit.Term(q.label, q.formula, q.unit, "", q.source, q.name) for q in SHARES if q.name in shares]
    title = f"Where does {run.info['model']['name']} bend?"
    counted = f"{len(images)} {word}, thresholds from {'them' if is_own else reference}"
    sections = [_shares(run, shares, counted, is_own), _images(run, images, of_images)]
    return kit.Page(title, facts, _readings(run, shares), sections, method, glossary, (), warnings)


def percent(row: Row | None, message: str = "") -> kit.Cell:
    """A share in percent, to the digits its error supports; blank where there is none."""
    if row is None:
        return kit.Cell("")
    return kit.number_cell({**row, **{name: 100 * row[name] for name in ("value", "stderr", "low", "high")}}, message)


def difference(row: Row | None) -> kit.Cell:
    """The 95 % interval of a difference of shares, in percent."""
    if row is None:
        return kit.Cell("")
    if row["status"] in NOT_NUMBERS:
        return kit.Cell("–", {"value": None, "status": row["status"]})
    low, high = (100 * row[end] for end in ("low", "high"))
    text = f"{low:+.1f}" if high - low < 1e-9 else f"{low:+.1f} to {high:+.1f}"  # exact where the ends agree
    return kit.Cell(text.replace("-", "−"), percent(row).value)


def _readings(run: Run, shares: _Shares) -> list[str]:
    """The result in sentences, and no more than it says."""
    mass, waste = shares["wasted_mass"], shares["wasted_share"]
    if mass["value"]["status"] == "undefined":
        return ["Nothing bends: there are no hotspots."]
    if mass["value"]["status"] == "undetermined":
        why = run.info["messages"].get("wasted_mass", "its error is not known")
        return [f"Curvature on cells of low detail is no number here: {why}."]
    sentences = [f"Cells of low detail hold {percent(mass['value'])} % of the curvature, {_against(mass)}."]
    if waste["value"]["status"] == "ok":
        sentences.append(f"Of the hotspots {percent(waste['value'])} % are wasted, {_against(waste)}.")
    return sentences


def _against(share: Mapping[str, Row]) -> str:
    """How a share compares with chance, by the interval of the difference."""
    chance, excess = f"the {percent(share['null'])} % of chance", share["excess"]
    if excess["status"] != "ok":
        return f"where chance gives {percent(share['null'])} %, without an error to compare by"
    if excess["low"] <= 0 <= excess["high"]:
        return f"not told apart from {chance}"
    return f"{'more' if excess['low'] > 0 else 'less'} than {chance} (difference {difference(excess)})"


def _shares(run: Run, shares: _Shares, counted: str, is_own: bool) -> kit.Section:
    rows = []
    for name, share in shares.items():
        if "null" not in share:  # a threshold
            continue
        first = kit.Cell(QUANTITIES[name].label, name, below=QUANTITIES[name].unit)
        change = [] if is_own else [difference(share["change"])]
        share_text = percent(share["value"], run.info["messages"].get(name, ""))
        rows.append([first, share_text, percent(share["null"]), difference(share["excess"]), *change])
    columns = [
        kit.Column("share"),
        kit.Column("percent"),
        kit.Column("by_chance"),
        kit.Column("excess", "less chance, 95 %"),
        *([] if is_own else [kit.Column("change", "less reference, 95 %")]),
    ]
    title, caption = (
        f"{run.info['model']['name']}, {counted}",
        "By chance: curvature and detail independent within each image.",
    )
    over = "latents" if run.info["data"].get("latents") else "photographs"
    what = "How much of the curvature, and of the hotspots, lies on cells of little detail"
    text = f"{what}, with 95 % intervals over {over}."
    return kit.Section("shares", "Shares", [text], [kit.Table("shares", title, columns, rows, caption)])


def shares_by_condition(rows: Sequence[Row]) -> kit.Table:
    """A row a share: under each condition, what chance gives, and of the unusual one what it changes.

    Args:
        rows: of a run's table, with the columns `condition` and `part`.
    """
    by = {(row["quantity"], row["condition"], row["part"]): row for row in rows}
    measured = {row["quantity"] for row in rows}
    body: list[list[Any]] = [[kit.Cell(q.label, q.name, below=q.unit)] for q in SHARES if q.name in measured]
    columns = [kit.Column("share")]
    for kind in dict.fromkeys(row["condition"] for row in rows):
        columns += [kit.Column(kind), kit.Column(f"{kind}_by_chance", "by chance", spare=True)]
        columns += [kit.Column("change", "less normal, 95 %")] if kind == "unusual" else []
        for cells in body:
            name = cells[0].value
            cells += [percent(by.get((name, kind, part))) for part in ("value", "null")]
            if kind == "unusual":
                cells.append(difference(None if name == "overlap" else by.get((name, kind, "change"))))
    return kit.Table("hotspots", "shares of hotspots", columns, body, "In percent.", brief=False)


def _images(run: Run, images: Sequence[RunImage], shares: _Shares) -> kit.Section:
    def waste(image: RunImage) -> float:
        share = float(shares[image.sample]["wasted_share"]["value"])
        return share if math.isfinite(share) else -1.0  # without a hotspot

    ordered = sorted(images, key=waste, reverse=True)
    rows = [[image.file, *(percent(shares[image.sample][name]) for name in _BY_IMAGE)] for image in ordered]
    columns = [
        kit.Column("file"),
        *(kit.Column(name, QUANTITIES[name].label, QUANTITIES[name].unit) for name in _BY_IMAGE),
    ]
    caption = "The largest share of wasted hotspots first."
    table = kit.Table("images", "Shares of every image", columns, rows, caption, top=8, folded=True)
    text = (
        f"The largest share of wasted hotspots first: the output of the {run.info['map']}, and the same with its "
        "hotspots.",
        "Below, the three maps, dark where they are large, each from its 1st to its 99th percentile.",
    )
    side = largest_side(len(images))
    cards = kit.Cards([_card(run, image, shares[image.sample], side) for image in ordered])
    return kit.Section("images", "Images", text, [kit.Legend(MARKS), cards, table])


def _card(run: Run, image: RunImage, shares: Mapping[str, Row], side: int) -> kit.Card:
    sample, arrays = image.sample, run.arrays(image.sample)
    names = [
        (sample, output_of(run, sample), f"{image.file}, the output"),
        (sample, "overlay", f"{image.file} with its hotspots"),
    ]
    maps = [(heat_uri(arrays[name]), name) for name in _MAPS] if arrays["gain"].ndim == 2 else []
    facts = [(QUANTITIES[name].label, percent(shares[name])) for name in _BY_IMAGE]
    return kit.Card(image.file, stored_pictures(run, names, side), facts, below=maps)
