"""The page of a comparison: what differs, most surely first; latents, spectra, and the images that moved most."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.diffusability.affine import FITS
from theodolite.estimates import NOT_NUMBERS
from theodolite.estimates.quantity import Quantity, described
from theodolite.report import page as kit
from theodolite.report import palette
from theodolite.report.contrast import difference_table, is_sure, sureness
from theodolite.report.pictures import largest_side, stored_pictures
from theodolite.report.series import Series, curves_of, legend_of

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot

    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

Words = Mapping[str, Quantity]

_COLOURS = {"first": palette.MODELS[0], "second": palette.MODELS[1]}
_CARDS = 12
_MOST_NAMES = 16
"""Names of channels that a narrow screen can show without one covering the next."""
_CURVE = 12
"""Places beyond which the numbers of a quantity are a curve: each point of it tells less than a number of its own."""
_CLOSE = 0.01
"""Share of variance below which one space counts as a map of the other in words: pictures then agree."""


def page(run: Run) -> kit.Page:
    """The report of a comparison; its tables are the terminal's too."""
    names = [str(model.get("name")) for model in run.info["models"]]
    rows, words = _differences(run), _words(run)
    sections = [_table(rows, names, words)]
    facts: dict[str, Any] = {"First": names[0], "Second": names[1]}
    if run.info["of_runs"]:
        facts |= {"Runs of": run.info["models"][0]["kind"]}
    else:
        samples = [file["sample"] for file in run.info["data"]["files"] if file["sample"] in run.units]
        facts |= {"Map": run.info.get("map", ""), _noun(run).capitalize(): len(samples)}
        sections += [_latents(run), _noise(run), _spectra(run, samples), _images(run, samples)]
    described = [kit.Facts(f"The {side} one", model) for side, model in zip(_COLOURS, run.info["models"])]
    terms = kit.terms_of(words.values())
    shown = [section for section in sections if section.blocks]
    return kit.Page("What differs?", facts, _readings(run, rows, words), shown, described, terms)


def _noun(run: Run) -> str:
    """What samples are."""
    return "latents" if run.info["data"].get("latents") else "images"


def _words(run: Run) -> Words:
    """What every number is called; of runs, as their own kind calls it."""
    if not run.info["of_runs"]:
        return {quantity: run.words(quantity) for quantity in run.quantities}
    from theodolite.runs.registry import experiment_of

    return described(experiment_of(run.info["models"][0]["kind"]).quantities(), run.quantities)


def _differences(run: Run) -> list[dict[str, Row]]:
    """Of every compared quantity its parts, the most surely different first, and quantities of many places last."""
    grouped: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in run.rows(tau=None):
        if row["part"]:
            grouped.setdefault((row["quantity"], row["map"], row["latents"], row["where"]), {})[row["part"]] = row
    counts = Counter(quantity for quantity, *_ in grouped)
    complete = [(counts[key[0]] > _CURVE, -sureness(parts), parts) for key, parts in grouped.items() if len(parts) == 3]
    return [parts for *_, parts in sorted(complete, key=lambda entry: entry[:2])]


def _place(row: Row) -> str:
    """Where a quantity was measured, beyond the usual."""
    latents = "on the other's latents" if row["latents"] == "other" else ""
    return ", ".join(part for part in (latents, row["where"] or "") if part)


def _readings(run: Run, rows: Sequence[Mapping[str, Row]], words: Words) -> list[str]:
    if not rows:
        return ["Nothing can be compared yet: the same command goes on."]
    sure = [parts for parts in rows if is_sure(parts)]
    sentences = [f"{len(sure)} of {len(rows)} compared quantities differ by more than chance, one by one at 95 %."]
    if sure:
        first = sure[0]["difference"]
        label, place = words[first["quantity"]].label, _place(first)
        text = f"Most surely {label}{f' ({place})' if place else ''}: second less first"
        sentences.append(f"{text} {kit.number_cell(first)}, from {kit.number_cell(sure[0]['first'])}.")
    return [*sentences, *_latent_reading(run)]


def _latent_reading(run: Run) -> list[str]:
    left = {row["fit"]: row for row in run.rows(unit=None) if row["fit"] and row["channel"] is None}
    known = {fit: row for fit, row in left.items() if row["status"] not in NOT_NUMBERS}
    if not known:
        return []
    for fit in FITS:  # from no map to the most general one: the first that explains the space tells most
        if fit in known and known[fit]["value"] + 1.96 * known[fit]["stderr"] < _CLOSE:
            same = "the same" if fit == "identity" else f"the same but for {FITS[fit]}"
            return [f"The latent space is {same}: less than {100 * _CLOSE:g} % of its variance is left unexplained."]
    best = min(known.values(), key=lambda row: float(row["value"]))
    share = f"leaves {kit.number_cell(best)} of its variance unexplained"
    return [f"No such map makes the second latent space of the first: the best ({FITS[best['fit']]}) {share}."]


def _table(rows: Sequence[Mapping[str, Row]], names: Sequence[str], words: Words) -> kit.Section:
    text = ["Second less first, most surely different first."]
    if any(row["difference"]["latents"] == "other" for row in rows):
        text += ["A decoder on the other's latents tells a moved latent space from a changed decoder."]
    caption = (
        "Means over samples with intervals over their sources (n), differences paired by sample; numbers of no sample "
        "with their own errors."
    )
    named = [(words[parts["difference"]["quantity"]], _place(parts["difference"]), parts) for parts in rows]
    table = difference_table("differences", f"{names[0]} and {names[1]}", named, caption)
    return kit.Section("differences", "Differences", text, [table] if rows else [])


def _latents(run: Run) -> kit.Section:
    rows = [row for row in run.rows(unit=None) if row["fit"]]
    channels = sorted({row["channel"] for row in rows if row["channel"] is not None})
    by = {(row["fit"], row["channel"]): row for row in rows}
    fits = [fit for fit in FITS if (fit, None) in by]
    body = [[kit.Cell(fit, fit, below=FITS[fit]), kit.number_cell(by[fit, None])] for fit in fits]
    table = kit.Table("latents", "unexplained share of the second latents", ["fit", "unexplained"], body)
    each = [[kit.Cell(str(c), c), *(kit.number_cell(by.get((fit, c))) for fit in fits)] for c in channels]
    by_channel = kit.Table("channels", "by channel of the second", ["channel", *fits], each, brief=False, folded=True)
    series = [Series(FITS[fit], fit, tone) for fit, tone in zip(fits, palette.MODELS)]
    figure = curves_of(
        "channels",
        "",
        series,
        lambda item: [row for row in rows if row["fit"] == item.key and row["channel"] is not None],
        about="Unexplained share of each channel, by fit",
        x="channel",
        across="channel",
        up="unexplained",
        whiskers=True,
        joined=False,
        apart=0.6 / max(1, len(fits)),
        axis={"tickvals": channels[:: 1 + len(channels) // _MOST_NAMES]},
    )
    text = (
        "What the best map from the first latents to the second leaves, as a share of the second's variance. 0: one "
        "space is a map of the other, and what was trained in one can be carried over. 1: nothing is shared.",
    )
    more: list[kit.Block] = [legend_of(series), figure, by_channel]
    blocks: list[kit.Block] = [table, *(more if len(channels) > 1 else [])]
    return kit.Section("latents", "Latents", text, blocks if fits else [])


def _noise(run: Run) -> kit.Section:
    """How both spaces give way to noise; the two numbers stand among the differences."""
    from theodolite.diffusability.quantities import PARAGRAPHS

    has = "resolved" in run.quantities
    curves = {part: run.rows("resolved", part=part) for part in (*_COLOURS, "difference")} if has else {}
    sides = [Series(side, side, colour) for side, colour in _COLOURS.items()]
    options: dict[str, Any] = {"x": "tau", "across": "noise variance / variance of the space, τ"}
    hidden = {**options, "up": "MMSE / V", "change": lambda share: 1 - share, "span": (-0.02, 1.02)}
    changed = {**options, "up": "second less first", "change": operator.neg}
    difference = [Series("second less first", "difference", palette.INK)]
    figures = [
        curves_of("hidden", "Variance hidden so far, MMSE / V", sides, lambda side: curves[side.key], **hidden),
        curves_of("change", "Its difference", difference, lambda side: curves[side.key], **changed),
    ]
    text = [
        PARAGRAPHS["gap"][0],
        "Denoisers are made of the other sources, without networks. Bands: 95 %, over sources.",
    ]
    return kit.Section("noise", "Diffusability", text, [legend_of(sides), kit.Figures(figures)] if curves else [])


def _spectra(run: Run, samples: Sequence[str]) -> kit.Section:
    word = run.info.get("map", "decoder")
    where = "the same points" if "map" in run.info else "their own latents"
    text = (
        f"Density of singular values of both {word}s at {where}, averaged over samples with its 95 % band. "
        "To the right a map stretches more; a wide curve stretches directions unequally.",
    )
    has = any("spectrum/first/nodes" in run.arrays(sample) for sample in samples[:1])
    draw = partial(_densities, run, samples)
    figure = kit.Figure("spectra", f"Density of singular values of both {word}s", draw, size="tall")
    marks = [(colour, "solid", side) for side, colour in _COLOURS.items()]
    return kit.Section("spectra", "Spectra", text, [kit.Legend(marks), figure] if has else [])


def _densities(run: Run, samples: Sequence[str]) -> Plot | None:
    from theodolite.report.curves import density_of, plotted

    arrays = [run.arrays(sample) for sample in samples]
    curves = []
    for side, colour in _COLOURS.items():
        nodes, weights = ([a[f"spectrum/{side}/{what}"].numpy() for a in arrays] for what in ("nodes", "weights"))
        curves += density_of(side, colour, nodes, weights)
    return plotted(curves, "singular value σ", "density per decade") if curves else None


def _images(run: Run, samples: Sequence[str]) -> kit.Section:
    files = {file["sample"]: file["file"] for file in run.info["data"]["files"]}
    moved = {row["sample"]: row for row in run.rows("moved")} if "moved" in run.quantities else {}
    order = sorted(moved, key=lambda sample: -float(moved[sample]["value"]))
    rows = run.rows("rmse") if "rmse" in run.quantities else []
    errors = {(row["sample"], row["side"]): row for row in rows if row["latents"] == "own" and row["sample"]}
    errors_of = [name for name in _COLOURS if any(own == name for _, own in errors)]
    side = largest_side(_CARDS)
    cards = []
    for sample in order[:_CARDS]:
        texts = {"": "as both saw it", **{s: f"from the {s}" for s in _COLOURS}, "difference": "second less first"}
        pictures = stored_pictures(run, [(sample, name, f"{files[sample]} {t}") for name, t in texts.items()], side)
        facts = [("Moved (RMS)", kit.number_cell(moved[sample]))]
        facts += [(f"Error of the {name}", kit.number_cell(errors.get((sample, name)))) for name in errors_of]
        cards.append(kit.Card(files[sample], pictures, facts))
    body = [
        [
            kit.Cell(files[s], s),
            kit.number_cell(moved[s]),
            *(kit.number_cell(errors.get((s, name))) for name in errors_of),
        ]
        for s in order
    ]
    columns: list[str | kit.Column] = ["sample", kit.Column("moved", "moved (RMS)")]
    columns += [kit.Column(name, f"error of the {name}") for name in errors_of]
    title = f"{_noun(run)} that moved most"
    table = kit.Table("images", title, columns, body, top=8, folded=True, sortable=True)
    text = "How far the reconstruction moves: the image, both reconstructions, and their difference (grey: none)."
    if not errors_of:
        text = f"How far the output moves: both {run.info['map']}s' outputs, and their difference (grey: none)."
    return kit.Section("images", title.capitalize(), [text], [kit.Cards(cards), table] if cards else [])
