"""The page of a comparison: what differs, most surely first; latents, spectra, and the images that moved most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.diffusability.affine import FITS
from theodolite.estimates import NOT_NUMBERS
from theodolite.report import palette
from theodolite.report.page import (
    Block,
    Card,
    Cards,
    Cell,
    Column,
    Facts,
    Figure,
    Legend,
    Page,
    Section,
    Table,
    Term,
    cell,
    number_cell,
)
from theodolite.report.pictures import data_uri, largest_side

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_COLOURS = {"first": palette.MODELS[0], "second": palette.MODELS[1]}
_CARDS = 12
_CLOSE = 0.01
"""Share of variance below which one space counts as a map of the other in words: pictures then agree."""


def page(run: Run) -> Page:
    """The report of a comparison; its tables are the terminal's too."""
    names = [str(model.get("name")) for model in run.info["models"]]
    rows = _differences(run)
    sections = [_table(run, rows, names)]
    if not run.info["of_runs"]:
        sections += [_latents(run), _spectra(run), _images(run)]
    facts = {"First": names[0], "Second": names[1], "Images" if not run.info["of_runs"] else "": len(run.units)}
    described = [Facts(f"The {side} model", model) for side, model in zip(_COLOURS, run.info["models"])]
    glossary = [_term(run, quantity) for quantity in run.quantities]
    readings = _readings(run, rows)
    return Page(
        "What differs?",
        {name: fact for name, fact in facts.items() if name},
        readings,
        [section for section in sections if section.blocks],
        described,
        glossary,
    )


def _term(run: Run, quantity: str) -> Term:
    words = run.words(quantity)
    return Term(words["label"], words["meaning"], words["unit"], words["formula"], words["source"], quantity)


def _differences(run: Run) -> list[dict[str, Row]]:
    """Of every compared quantity its parts, the most surely different first."""
    grouped: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in run.rows(unit=None):
        if row["part"]:
            grouped.setdefault((row["quantity"], row["map"], row["decoder"], row["where"]), {})[row["part"]] = row
    return sorted((parts for parts in grouped.values() if len(parts) == 3), key=lambda parts: -_sureness(parts))


def _sureness(parts: Mapping[str, Row]) -> float:
    """How many standard errors the difference is from zero; below all others where it is no number."""
    row = parts["difference"]
    if row["status"] in NOT_NUMBERS or row["value"] is None:
        return -1.0
    if not row["stderr"]:
        return float("inf") if row["value"] else 0.0
    return abs(row["value"]) / row["stderr"]


def _is_sure(parts: Mapping[str, Row]) -> bool:
    return _sureness(parts) > 1.96


def _place(row: Row) -> str:
    """Where a quantity was measured, in words."""
    decoder = {"own": "", "other": "on the other's latents"}.get(row["decoder"] or "", "")
    return ", ".join(part for part in (decoder, row["where"] or "") if part)


def _readings(run: Run, rows: Sequence[Mapping[str, Row]]) -> list[str]:
    sure = [parts for parts in rows if _is_sure(parts)]
    sentences = [f"{len(sure)} of {len(rows)} compared quantities differ by more than chance, one by one at 95 %."]
    if sure:
        first = sure[0]["difference"]
        label = run.words(first["quantity"])["label"]
        text = f"Most surely {label}{f' ({_place(first)})' if _place(first) else ''}: second less first"
        sentences.append(f"{text} {number_cell(first)}, from {number_cell(sure[0]['first'])}.")
    return [*sentences, *_latent_reading(run)]


def _latent_reading(run: Run) -> list[str]:
    left = {row["fit"]: row for row in run.rows(unit=None) if row["fit"] and row["channel"] is None}
    known = {fit: row for fit, row in left.items() if row["status"] not in NOT_NUMBERS}
    if not known:
        return []
    for fit in FITS:  # from no map to the most general one: the first that explains the space tells most
        if fit in known and known[fit]["value"] + 1.96 * known[fit]["stderr"] < _CLOSE:
            return [
                f"The latent space is the same but for {FITS[fit]}: {100 * _CLOSE:g} % at most is left unexplained."
            ]
    best = min(known.values(), key=lambda row: float(row["value"]))
    return [f"No linear map makes one latent space of the other: {FITS[best['fit']]} leaves {number_cell(best)} of it."]


def _table(run: Run, rows: Sequence[Mapping[str, Row]], names: Sequence[str]) -> Section:
    body = []
    for parts in rows:
        row = parts["difference"]
        label = run.words(row["quantity"])["label"]
        first = Cell(label, row["quantity"], below=run.words(row["quantity"])["unit"])
        cells = [number_cell(parts[part]) for part in ("first", "second", "difference")]
        verdict = Cell("differs" if _is_sure(parts) else "", _is_sure(parts))
        body.append([first, _place(row), *cells, cell(int(row["n"])), verdict])
    columns = [
        Column("quantity"),
        Column("where"),
        Column("first"),
        Column("second"),
        Column("difference", "second less first"),
        Column("n", "sources", spare=True),
        Column("differs"),
    ]
    caption = (
        "Means over images; errors over sources, of the difference paired by image. differs: the 95 % interval of the "
        f"difference leaves out 0; of {len(rows)}, one in twenty does so by chance."
    )
    title = f"{names[0]} and {names[1]}"
    blocks: list[Block] = [Table("differences", title, columns, body, caption, top=40)] if body else []
    text = (
        "Second less first, most surely different first. A decoder on the other's latents tells a moved latent space "
    )
    return Section("differences", "Differences", [f"{text}from a changed decoder."], blocks)


def _latents(run: Run) -> Section:
    rows = [row for row in run.rows(unit=None) if row["fit"]]
    channels = sorted({row["channel"] for row in rows if row["channel"] is not None})
    by = {(row["fit"], row["channel"]): row for row in rows}
    fits = [fit for fit in FITS if (fit, None) in by]
    body = [[Cell(fit, fit, below=FITS[fit]), number_cell(by[fit, None])] for fit in fits]
    table = Table("latents", "unexplained share of the second latents", ["fit", "unexplained"], body)
    each = [[Cell(str(c), str(c)), *(number_cell(by.get((fit, c))) for fit in fits)] for c in channels]
    of_second = "Of the second space."
    by_channel = Table("channels", "by channel", ["channel", *fits], each, of_second, brief=False, folded=True)
    figure = Figure("channels", "Unexplained share of each channel, by fit", partial(_channels, by, fits, channels))
    marks = [(palette.MODELS[place], "square", FITS[fit]) for place, fit in enumerate(fits)]
    text = (
        "What the best map from the first latents to the second leaves, as a share of the second's variance, held out "
        "by source. 0: one space is a map of the other, and what was trained in one can be carried over. 1: nothing is "
        "shared.",
    )
    more: list[Block] = [Legend(marks), figure, by_channel]
    blocks: list[Block] = [table, *(more if len(channels) > 1 else [])]
    return Section("latents", "Latents", text, blocks if fits else [])


def _channels(by: Mapping[tuple[str, int | None], Row], fits: Sequence[str], channels: Sequence[int]) -> Plot:
    from theodolite.report.drawing import figure_of, layout_of, plain_axis, short

    traces = []
    for place, fit in enumerate(fits):
        rows = [(c, by[fit, c]) for c in channels if by[fit, c]["status"] not in NOT_NUMBERS]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [c + 0.12 * (place - len(fits) / 2) for c, _ in rows],
                "y": short([row["value"] for _, row in rows]),
                "error_y": {"type": "data", "array": short([1.96 * row["stderr"] for _, row in rows]), "width": 0},
                "marker": {"size": 8, "color": palette.MODELS[place]},
                "cliponaxis": False,
                "hovertemplate": f"{fit}, channel %{{x:.0f}}: %{{y:.3g}}<extra></extra>",
            }
        )
    axes = {
        "xaxis": {**plain_axis(), "title": {"text": "channel"}, "dtick": max(1, len(channels) // 16)},
        "yaxis": {**plain_axis(), "title": {"text": "unexplained"}, "rangemode": "tozero"},
    }
    return figure_of(traces, {**layout_of(), "margin": {"l": 58, "r": 12, "t": 12, "b": 48}, **axes})


def _spectra(run: Run) -> Section:
    text = (
        "Density of singular values of both decoders at their own latents, averaged over images with its 95 % band. "
        "To the right a decoder stretches more; a wide curve stretches directions unequally.",
    )
    has = any("spectrum/first/nodes" in run.arrays(unit) for unit in run.units[:1])
    figure = Figure("spectra", "Density of singular values of both decoders", partial(_densities, run), size="tall")
    marks = [(colour, "solid", side) for side, colour in _COLOURS.items()]
    return Section("spectra", "Spectra", text, [Legend(marks), figure] if has else [])


def _densities(run: Run) -> Plot:
    import numpy as np

    from theodolite.report.density import mean_density
    from theodolite.report.drawing import figure_of, layout_of, plain_axis, short

    arrays = [run.arrays(unit) for unit in run.units]
    traces: list[dict[str, Any]] = []
    for side, colour in _COLOURS.items():
        nodes, weights = ([a[f"spectrum/{side}/{what}"].numpy() for a in arrays] for what in ("nodes", "weights"))
        density = mean_density(nodes, weights, tolerance=1e-5)
        if density is None:
            continue
        sigma = short(10.0**density.grid, 6)
        if density.margin is not None:
            edges = [np.maximum(density.mean - density.margin, 0.0), density.mean + density.margin]
            for edge, fill in zip(edges, (None, "tonexty")):
                line = {"type": "scatter", "mode": "lines", "x": sigma, "y": short(edge, 4), "line": {"width": 0}}
                more = {"fill": fill, "fillcolor": palette.faded(colour, 0.16), "hoverinfo": "skip"}
                traces.append({**line, **more})
        curve = {"type": "scatter", "mode": "lines", "x": sigma, "y": short(density.mean, 4)}
        traces.append({**curve, "line": {"color": colour, "width": 2.4}, "hoverinfo": "skip"})
    axes = {
        "xaxis": {**plain_axis(), "type": "log", "title": {"text": "singular value σ"}},
        "yaxis": {**plain_axis(), "title": {"text": "density per decade"}, "rangemode": "tozero"},
    }
    return figure_of(traces, {**layout_of(), "margin": {"l": 58, "r": 12, "t": 12, "b": 48}, **axes})


def _images(run: Run) -> Section:
    files = {file["sample"]: file["file"] for file in run.info["data"]["files"]}
    moved = {row["sample"]: row for row in run.rows("moved") if row["unit"] is not None}
    order = sorted(moved, key=lambda sample: -float(moved[sample]["value"]))
    errors = {(row["sample"], row["side"]): row for row in run.rows("rmse") if row["decoder"] == row["side"] != ""}
    side = largest_side(_CARDS)
    cards = []
    for sample in order[:_CARDS]:
        names = ("", *_COLOURS, "difference")
        texts = ("as both saw it", "from the first", "from the second", "second less first")
        pictures = [
            (data_uri(run.picture(sample, name), side), f"{files[sample]} {t}") for name, t in zip(names, texts)
        ]
        facts: list[tuple[str, Any]] = [("Moved (RMS)", number_cell(moved[sample]))]
        facts += [(f"Error of the {name}", number_cell(errors.get((sample, name)))) for name in _COLOURS]
        cards.append(Card(files[sample], pictures, facts))
    rows = [
        [Cell(files[s], s), number_cell(moved[s]), *(number_cell(errors.get((s, name))) for name in _COLOURS)]
        for s in order
    ]
    columns: list[str | Column] = [
        "sample",
        Column("moved", "moved (RMS)"),
        Column("first", "error of the first"),
        Column("second", "error of the second"),
    ]
    table = Table("images", "images that moved most", columns, rows, top=8, folded=True, sortable=True)
    text = "How far the reconstruction moves: the image, both reconstructions, and their difference (grey: none)."
    return Section("images", "Images that moved most", [text], [Cards(cards), table])
