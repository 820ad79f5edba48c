"""The page of hotspots: shares beside chance, and every image with its hotspots drawn over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from theodolite.data.overlays import HOT, WASTED
from theodolite.estimates import NOT_NUMBERS
from theodolite.experiments.hotspots.shares import QUANTITIES, SHARES, HotspotRun, hotspots_of
from theodolite.report.page import Card, Cards, Cell, Column, Facts, Legend, Page, Section, Table, Term, number_cell
from theodolite.report.pictures import data_uri, heat_uri, largest_side
from theodolite.runs.run import estimate_of

if TYPE_CHECKING:
    from theodolite.estimates import Estimate
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["MARKS", "difference", "page", "percent", "shares_by_condition"]

_MAPS = ("gain", "curvature", "detail")
_BY_IMAGE = ("area", "wasted_share", "wasted_mass", "mass_on_detail")
MARKS = ((HOT, "square", "hotspot"), (WASTED, "square", "wasted hotspot"))
"""The colours of overlays."""


def page(run: Run) -> Page:
    """The report of hotspots; its tables are the terminal's too."""
    hot = hotspots_of(run)
    facts = {
        "Images": f"{len(hot.samples)} from {len(set(hot.sources))} photographs",
        "Thresholds from": "the same images" if hot.is_own else f"{hot.reference} reference images",
        "Grid": run.settings["grid"],
        "Subspaces": run.settings["subspaces"],
    }
    method = [
        Facts(
            "Hotspot",
            {},
            "A cell whose curvature exceeds that of 95 % of all cells of the reference. Wasted: its detail is at or "
            "below the reference's median. By chance: as curvature and detail that are independent within each image "
            "would give. What another subspace or other neighbours would give is not in the errors.",
        )
    ]
    warnings = [f"Left out, without a leading direction: {', '.join(hot.left_out)}."] if hot.left_out else []
    glossary = [Term(q.label, q.formula, q.unit, "", q.source, q.name) for q in SHARES if q.name in hot.hotspots.shares]
    title = f"Where does {run.info['model']['name']} bend?"
    return Page(title, facts, _readings(hot), [_shares(hot), _images(hot)], method, glossary, (), warnings)


def percent(estimate: Estimate, place: int = 0, **more: Any) -> Cell:
    """A share in percent, to the digits its error supports."""
    entry = estimate.entry(place)
    scaled = {**entry, "value": 100 * entry["value"], "stderr": 100 * entry["stderr"]}
    return number_cell(scaled, estimate.message, **more)


def difference(estimate: Estimate) -> Cell:
    """The 95 % interval of a difference of shares, in percent."""
    if estimate.status in NOT_NUMBERS:
        return Cell("–", {"value": None, "status": estimate.status})
    low, high = (100 * float(end) for end in estimate.interval())
    text = f"{low:+.1f}" if high - low < 1e-9 else f"{low:+.1f} to {high:+.1f}"  # exact where the ends agree
    return Cell(text.replace("-", "−"), {**percent(estimate).value, "low": low, "high": high})


def _readings(hot: HotspotRun) -> list[str]:
    """The result in sentences, and no more than it says."""
    shares = hot.hotspots.shares
    mass, waste = shares["wasted_mass"], shares["wasted_share"]
    if mass.status == "undefined":
        return ["Nothing bends: there are no hotspots."]
    if mass.status == "undetermined":
        return [f"Curvature on cells of low detail is no number here: {mass.message}."]
    sentences = [f"Cells of low detail hold {percent(mass)} % of the curvature, {_against(mass)}."]
    if waste.status == "ok":
        sentences.append(f"Of the hotspots {percent(waste)} % are wasted, {_against(waste)}.")
    return sentences


def _against(share: Estimate) -> str:
    """How a share compares with chance, by the interval of the difference."""
    chance = f"the {percent(share['null'])} % of chance"
    if share["excess"].status != "ok":
        return f"where chance gives {percent(share['null'])} %, without an error to compare by"
    low, high = (float(end) for end in share["excess"].interval())
    if low <= 0 <= high:
        return f"not told apart from {chance}"
    return f"{'more' if low > 0 else 'less'} than {chance} (difference {difference(share['excess'])})"


def _shares(hot: HotspotRun) -> Section:
    rows = []
    for name, share in hot.hotspots.shares.items():
        change = [] if hot.is_own else [Cell("") if name == "overlap" else difference(share["change"])]
        first = Cell(QUANTITIES[name].label, name, below=QUANTITIES[name].unit)
        rows.append([first, percent(share), percent(share["null"]), difference(share["excess"]), *change])
    columns = [
        Column("share"),
        Column("percent"),
        Column("by_chance"),
        Column("excess", "less chance, 95 %"),
        *([] if hot.is_own else [Column("change", "less reference, 95 %")]),
    ]
    source = "them" if hot.is_own else f"{hot.reference} of the reference"
    title = f"{hot.run.info['model']['name']}, {len(hot.samples)} images, thresholds from {source}"
    caption = "By chance: curvature and detail independent within each image."
    text = "How much of the curvature, and of the hotspots, lies on cells of little detail, with 95 % intervals over "
    return Section("shares", "Shares", [f"{text}photographs."], [Table("shares", title, columns, rows, caption)])


def shares_by_condition(rows: Sequence[Row]) -> Table:
    """A row a share: under each condition, what chance gives, and of the unusual one what it changes.

    Args:
        rows: of a run's table, with the columns `condition` and `part`.
    """
    by = {(row["quantity"], row["condition"], row["part"]): estimate_of([row]) for row in rows}
    measured = {row["quantity"] for row in rows}
    body: list[list[Any]] = [[Cell(q.label, q.name, below=q.unit)] for q in SHARES if q.name in measured]
    columns = [Column("share")]
    for kind in dict.fromkeys(row["condition"] for row in rows):
        columns += [Column(kind), Column(f"{kind}_by_chance", "by chance", spare=True)]
        columns += [Column("change", "less normal, 95 %")] if kind == "unusual" else []
        for cells in body:
            own, chance, change = (by.get((cells[0].value, kind, part)) for part in ("value", "null", "change"))
            cells += [Cell("") if part is None else percent(part) for part in (own, chance)]
            if kind == "unusual":
                cells.append(Cell("") if change is None or cells[0].value == "overlap" else difference(change))
    return Table("hotspots", "shares of hotspots", columns, body, "In percent.", brief=False)


def _images(hot: HotspotRun) -> Section:
    files = {file["sample"]: file["file"] for file in hot.run.info["data"]["files"]}
    images = hot.hotspots.images
    rows = [[files[hot.samples[p]], *(percent(images[name], p) for name in _BY_IMAGE)] for p in hot.order]
    columns = [Column("file"), *(Column(name, QUANTITIES[name].label, QUANTITIES[name].unit) for name in _BY_IMAGE)]
    table = Table(
        "images",
        "Shares of every image",
        columns,
        rows,
        "The largest share of wasted hotspots first.",
        top=8,
        folded=True,
    )
    text = (
        "The largest share of wasted hotspots first: the decoder's image, and the same with its hotspots.",
        "Below, the three maps, dark where they are large, each from its 1st to its 99th percentile.",
    )
    cards = [_card(hot, place, files) for place in hot.order]
    return Section("images", "Images", text, [Legend(MARKS), Cards(cards), table])


def _card(hot: HotspotRun, place: int, files: Mapping[str, str]) -> Card:
    sample, side = hot.samples[place], largest_side(len(hot.samples))
    run, file = hot.run, files[hot.samples[place]]
    arrays = run.arrays(sample)
    pictures = [
        (data_uri(run.picture(sample, "reconstruction"), side), f"{file}, decoded"),
        (data_uri(run.derived_picture(f"{sample}.overlay"), side), f"{file} with its hotspots"),
    ]
    maps = [(heat_uri(arrays[name]), name) for name in _MAPS] if arrays["gain"].ndim == 2 else []
    facts = [(QUANTITIES[name].label, percent(hot.hotspots.images[name], place)) for name in _BY_IMAGE]
    return Card(file, [pair for pair in pictures if pair[0]], facts, below=maps)
