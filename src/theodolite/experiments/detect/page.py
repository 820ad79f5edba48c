"""The page of a detection: the most suspicious images, every score with its AUROC, distributions, all images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from theodolite.experiments.detect.judgement import QUANTITIES, RATES, Judgement, judged
from theodolite.report.page import (
    Card,
    Cards,
    Cell,
    Column,
    Figure,
    Figures,
    Legend,
    Page,
    Section,
    Table,
    Term,
    cell,
    interval_cell,
    number_cell,
)
from theodolite.report.pictures import data_uri, largest_side

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_CARDS = 12
_DEPARTURE = {
    "label": "Departure",
    "formula": "−mean log p over the descriptors, two-sided",
    "kind": "joint",
    "source": "derived here",
}
_HOT, _PLAIN = "#d55e00", "#c9d0d9"


def page(run: Run) -> Page:
    """The report of a detection; its tables are the terminal's too."""
    judgement = judged(run)
    known = int(judgement.reference.sum())
    denoiser = run.info["denoiser"]
    levels = ", ".join(f"{sigma:g}" for sigma in denoiser["sigmas"]) if denoiser else ""
    sources = _sources(judgement)
    facts = {
        "Model": run.info["model"]["name"],
        "Reference": f"{known} images of {sources['reference']} sources",
        "Test": f"{len(judgement.images) - known} images of {sources['test']} sources",
        "Denoiser": f"{denoiser['output']}-map at σ = {levels}" if denoiser else "",
        "Size": f"{run.info['size']} pixels",
        "Budget": run.settings["budget"],
    }
    sections = [
        _suspicious(judgement),
        *([_levels(judgement, denoiser["sigmas"])] if denoiser and judgement.table else []),
        _scores(judgement),
        _distributions(judgement),
        _images(judgement),
    ]
    glossary = [Term(q.label, q.meaning, "", q.formula, q.source) for q in QUANTITIES.values()]
    glossary += [
        Term(w["label"], f"A score ({w['kind']}).", "", w["formula"], w["source"], n) for n, w in _all(judgement)
    ]
    title = "Which images are unlike the reference?"
    warnings = _warnings(judgement)
    return Page(
        title,
        facts,
        _readings(judgement),
        sections,
        [],
        glossary,
        [_strip(judgement, judgement.headline, 190)],
        warnings,
    )


def _all(judgement: Judgement) -> list[tuple[str, dict[str, str]]]:
    return [(name, _words(name)) for name in judgement.scores]


def _words(name: str) -> dict[str, str]:
    from theodolite.detection import SCORES, of_level

    base, sigma = of_level(name)
    if base not in SCORES:
        return _DEPARTURE
    score = SCORES[base]
    label = score.label if sigma is None else f"{score.label}, σ = {sigma:g}"
    return {"label": label, "formula": score.formula, "kind": score.kind, "source": score.source}


def _sources(judgement: Judgement) -> dict[str, int]:
    return {role: len({i.source for i in judgement.images if i.role == role}) for role in ("reference", "test")}


def _warnings(judgement: Judgement) -> list[str]:
    repeated = judgement.repeated
    lines = [f"{len(repeated)} test images are byte for byte reference images, e.g. {repeated[0]}."] if repeated else []
    lines += [f"No AUROC: {judgement.why_no_table}"] if judgement.why_no_table else []
    return [*lines, *(f"Left out {name}: {reason}." for name, reason in judgement.left_out.items())]


def _readings(judgement: Judgement) -> list[str]:
    """The result in sentences, and no more than it says."""
    headline, test = judgement.headline, ~judgement.reference
    above, count = int((judgement.flagged(headline) & test).sum()), int(test.sum())
    level = f"{100 * judgement.run.settings['level']:g} %"
    label = _words(headline)["label"]
    first = f"By {label}, {above} of {count} test images lie above what {level} of the reference images stay below."
    known = _sources(judgement)["reference"]
    least = 1 / (1 + known)
    limits = f"The reference has {known} sources: counted by source, no p-value can fall below {least:.2g}."
    return [first, *_verdict(judgement), *([limits] if least > 0.05 else [])]


def _verdict(judgement: Judgement) -> list[str]:
    if judgement.table is None:
        return []
    low, high = judgement.table.interval(judgement.headline)
    what = "unusual against normal labels" if judgement.by_label else "test against reference images"
    value = judgement.table[judgement.headline]["auroc"]
    text = f"AUROC of {what}: {value:.2f} (95 % interval {low:.2f} to {high:.2f})"
    if low <= 0.5 <= high:
        return [f"{text}; chance, 0.5, is inside."]
    return [f"{text}; {'higher' if low > 0.5 else 'lower'} than chance."]


def _strip(judgement: Judgement, name: str, height: int | str = "small") -> Figure:
    from theodolite.experiments.detect.figures import strip

    words = _words(name)
    draw = partial(strip, judgement, name, name == judgement.headline)
    text = f"{words['label']} of every reference and test image, with the threshold"
    caption = f"{words['formula']}. Line: the threshold." if name == judgement.headline else ""
    return Figure(f"strip-{name}", text, draw, words["label"], caption=caption, size=height)


def _suspicious(judgement: Judgement) -> Section:
    denoiser = judgement.run.info["denoiser"]
    back = "as the denoiser gave them back from noise of the middle level" if denoiser else "as they came back"
    label = _words(judgement.headline)["label"]
    text = (
        f"The test images that score highest in {label}: as the model saw them, and {back}.",
        "p is the share of reference images that score as high; by source, with each photograph counted once.",
    )
    rows = _by_image(judgement)
    cards = [_card(judgement, place, rows) for place in judgement.order()[:_CARDS]]
    return Section("suspicious", "Most suspicious", text, [Cards(cards)])


def _by_image(judgement: Judgement) -> dict[tuple[str, str], Row]:
    """Rows of the headline by sample and quantity."""
    rows = judgement.run.rows(unit=None, score=judgement.headline)
    return {(row["sample"], row["quantity"]): row for row in rows if row["sample"]}


def _card(judgement: Judgement, place: int, rows: dict[tuple[str, str], Row]) -> Card:
    image, headline, run = judgement.images[place], judgement.headline, judgement.run
    above = [name for name in judgement.scores if bool(judgement.flagged(name)[place])]
    facts: list[tuple[str, Any]] = [
        (_words(headline)["label"], number_cell(rows.get((image.sample, "score")))),
        ("p", _p(rows, image.sample, "p_value")),
        ("p by source", _p(rows, image.sample, "p_value_by_source")),
    ]
    facts += [] if image.label is None else [("Label", "unusual" if image.label else "normal")]
    side = largest_side(_CARDS)
    pair = [
        (data_uri(run.picture(image.sample), side), f"{image.file} as the model saw it"),
        (data_uri(run.picture(image.sample, "reconstruction"), side), f"{image.file}, reconstructed"),
    ]
    note = f"Above {len(above)} of {len(judgement.scores)} thresholds"
    return Card(image.file, pair, facts, _HOT if headline in above else _PLAIN, note)


def _p(rows: dict[tuple[str, str], Row], sample: str, quantity: str) -> Cell:
    row = rows.get((sample, quantity))
    return cell(None) if row is None or row["value"] is None else Cell(f"{row['value']:.3f}", row["value"])


def _levels(judgement: Judgement, sigmas: list[float]) -> Section:
    from theodolite.detection import of_level
    from theodolite.experiments.detect.figures import levels

    names = dict.fromkeys(of_level(name)[0] for name in judgement.scores)
    bases = {name: (_words(name)["label"], _words(name)["kind"]) for name in names}
    assert judgement.table is not None
    draw = partial(levels, judgement.table, sigmas, bases)
    text = (
        "AUROC of the map of the denoiser at every level. One level can show anything: a score may turn round between "
        "little noise and much, and between the eps- and the x0-map.",
        "Dotted: a score without a level. Dashes: chance.",
    )
    figure = Figure(
        "levels", "AUROC of every score over noise levels; the numbers are in the table below", draw, size=420
    )
    return Section("levels", "Noise levels", text, [figure])


def _scores(judgement: Judgement) -> Section:
    from theodolite.experiments.detect.figures import KINDS, aurocs

    labels = {name: words["label"] for name, words in _all(judgement)}
    kinds = {name: words["kind"] for name, words in _all(judgement)}
    blocks: list[Any] = []
    if judgement.table is not None:
        draw = partial(aurocs, judgement.table, labels, kinds)
        height = 70 + 27 * len(judgement.scores)
        alternative = "AUROC of every score with its 95 % interval; the numbers are in the table below"
        blocks += [Legend([(colour, "square", kind) for kind, colour in KINDS.items()])]
        blocks += [Figure("aurocs", alternative, draw, size=height)]
    positive = "an image labelled unusual" if judgement.by_label else "a test image"
    normal = "one labelled normal" if judgement.by_label else "a reference image"
    text = (
        f"AUROC: the probability that {positive} scores higher than {normal}. 0.5 is chance; below, the score is lower "
        "there. Intervals: 95 %, over sources.",
        f"A score is worth its Jacobians only where it beats the baselines. Looking for the best of "
        f"{len(judgement.scores)} finds one by luck: choose before you look.",
    )
    return Section("scores", "Scores", text, [*blocks, _score_table(judgement)])


def _score_table(judgement: Judgement) -> Table:
    from theodolite.experiments.detect.figures import KINDS

    run, test = judgement.run, ~judgement.reference
    rows = []
    for name, words in _all(judgement):
        mine = {row["quantity"]: row for row in run.rows(unit=None, score=name, sample=None)}
        above = int((judgement.flagged(name) & test).sum())
        first = Cell(words["label"], name, below=words["formula"], swatch=KINDS[words["kind"]])
        rates = [interval_cell(mine.get(rate), 2) for rate in RATES]
        limits = [number_cell(mine.get("threshold")), number_cell(mine.get("quantile"))]
        rows.append([first, *rates, *limits, Cell(f"{above} of {int(test.sum())}", above)])
    known = int(judgement.reference.sum())
    title = f"{run.info['model']['name']}, {known} reference and {int(test.sum())} test images"
    caption = (
        f"With 95 % intervals over sources. Threshold: what {100 * run.settings['level']:g} % of the reference images "
        "stay below, and as a quantile of all such images; above: test images that do not."
    )
    columns = [
        Column("score"),
        Column("auroc", "AUROC"),
        Column("average_precision", "average precision", spare=True),
        Column("tpr", "found at 5 % false alarms", spare=True),
        Column("threshold"),
        Column("quantile", spare=True),
        Column("above"),
    ]
    return Table("scores", title, columns, rows, caption)


def _distributions(judgement: Judgement) -> Section:
    text = "Every image a point, the reference below, the test images above; orange above the threshold, the line."
    figures = [_strip(judgement, name) for name in judgement.scores if name != judgement.headline]
    return Section("distributions", "Distributions", [text], [Figures(figures, small=True)] if figures else [])


def _images(judgement: Judgement) -> Section:
    headline, rows = judgement.headline, _by_image(judgement)
    label = _words(headline)["label"]
    body = []
    for place in judgement.order():
        image = judgement.images[place]
        above = bool(judgement.flagged(headline)[place])
        ps = [_p(rows, image.sample, quantity) for quantity in ("p_value", "p_value_by_source")]
        value = number_cell(rows.get((image.sample, "score")))
        body.append([image.file, value, *ps, Cell("above" if above else "", above), image.source.split("/", 1)[-1]])
    columns = ("file", Column("value", label), "p_value", "p_value_by_source", "threshold", "source")
    caption = "p: conformal, among the reference images; by source: with every photograph counted once."
    table = Table("images", f"test images by {label}", columns, body, caption, top=10, sortable=True)
    return Section("images", "All images", ["Every test image, the most suspicious first."], [table])
