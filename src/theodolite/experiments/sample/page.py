"""The page of drawn samples: bad ones, what tells them, contact sheets by every score, classes, and drift."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from theodolite.detection.sample_scores import BASELINES, QUANTITIES, SCORES
from theodolite.estimates import NOT_NUMBERS
from theodolite.experiments.sample.judging import REAL, Judging
from theodolite.report import page as kit
from theodolite.report import palette
from theodolite.report.pictures import contact_sheets, stored_pictures
from theodolite.report.rounding import typeset
from theodolite.report.scored import Scored, aurocs_of, in_words, kinds_of, score_table
from theodolite.runs.rows import crossed, where

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_CARDS = 8
_RELIABLE = 0.5
"""Share of the variance between samples that is not error, below which a score orders noise rather than samples."""
_BY_CHANCE = 0.05
"""Probability below which a score is said to beat the baselines."""


class _View(Judging):
    """The finished samples of a run with their stored numbers."""

    @cached_property
    def by_score(self) -> dict[str, dict[str, Row]]:
        """The numbers of every score, by quantity."""
        return crossed([row for row in self.run.derived_rows if row["score"]], "score", "quantity")

    @cached_property
    def values(self) -> dict[str, dict[str, Row]]:
        """The numbers of every sample, by quantity."""
        rows = self.run.rows(side="drawn")
        return crossed(rows, "sample", "quantity")

    @cached_property
    def tested(self) -> list[Scored]:
        """Scores and baselines with an AUROC, in their order."""
        kinds = {**dict.fromkeys(SCORES, "descriptor"), **dict.fromkeys(BASELINES, "baseline")}
        known = {name: kind for name, kind in kinds.items() if "auroc" in self.by_score.get(name, {})}
        return [Scored(name, self.label(name), kind, self.run.words(name).formula) for name, kind in known.items()]

    @property
    def baseline(self) -> str | None:
        """The best baseline."""
        return next((row["advantage"]["beside"] for row in self.by_score.values() if "advantage" in row), None)

    def number(self, quantity: str, score: str) -> Row | None:
        """A number of a score."""
        return self.by_score[score].get(quantity)

    def value(self, quantity: str, score: str) -> float:
        """Its value."""
        return float(self.by_score[score][quantity]["value"])

    def label(self, name: str) -> str:
        """Of a quantity."""
        return self.run.words(name).label

    def known(self, name: str) -> dict[str, float]:
        """What samples have of a number; those without are left out."""
        rows = {unit: self.values[unit].get(name) for unit in self.samples}
        known = {unit: row["value"] for unit, row in rows.items() if row and row["status"] not in NOT_NUMBERS}
        return {unit: value for unit, value in known.items() if math.isfinite(value)}


def page(run: Run) -> kit.Page:
    """The report of drawn samples; its tables are the terminal's too."""
    it, judge = _View(run), run.info["judge"]
    data = run.info["data"]
    facts = {
        "Model": run.info["model"].get("name"),
        "Samples": f"{len(it.samples)} of the {run.info['map']}",
        "Conditions": f"{len(run.info['conditions'])}, one drawn a sample" if len(run.info["conditions"]) > 1 else "",
        "Real images": len(data["files"]),
        "Judge": judge["name"],
        "Budget": run.settings["budget"],
    }
    names = [name for name in run.quantities if name in {*SCORES, *QUANTITIES} and run.rows(name)]
    sections = [_bad(it), _scores(it), _sheets(it), _classes(it), _drift(it), _samples(it)]
    return kit.Page(
        "Which samples are bad, and does geometry tell?",
        {name: value for name, value in facts.items() if value},
        [*_readings(it)],
        [section for section in sections if section.blocks],
        [kit.Facts("How it was judged", _method(it))],
        kit.terms_of(run.words(name) for name in names),
        warnings=[*_warnings(it)],
    )


def _warnings(it: _View) -> Iterator[str]:
    if why := it.run.info["messages"].get("auroc"):
        yield f"No AUROC: {why}."
    unsure = [name for name, own in it.by_score.items() if own.get("reliability", {"value": 1.0})["value"] < _RELIABLE]
    if unsure:
        names = ", ".join(it.label(name) for name in unsure)
        yield f"Errors are as large as the differences between samples in {names}: a larger --budget may tell more."


def _method(it: _View) -> dict[str, Any]:
    below, worst = it.run.settings["below"], it.run.settings["worst"]
    rule = f"judged below {below:g}" if below is not None else f"the worst {100 * worst:g} % by the judge"
    return {
        "bad": f"{rule}: a score of at most {it.limit:.4g}",
        "classes": "AUROC in class is among samples of one condition, or of one class that the judge sees",
        "intervals": "95 %, over noise draws",
    }


def _readings(it: _View) -> Iterator[str]:
    """Whether a score beats the best baseline, in one sentence; then classes, and nothing that is not shown."""
    yield _verdict(it)
    if it.run.info["judge"]["distance"]:
        yield (
            "The judge is a distance to real images, not a taste: it calls a sample good where it is like one of "
            "these, so that other distances are strong baselines by themselves. Give --judge for another opinion."
        )
    rows = where(it.run.derived_rows, quantity="share_difference")
    apart = [row for row in rows if row["low"] > 0 or row["high"] < 0]
    if apart:
        words = ", ".join(f"{row['mode']} ({typeset(format(100 * row['value'], '+.0f'))} %)" for row in apart)
        yield (
            f"Classes whose share among samples differs from that among real images: {words}; of {len(rows)} intervals "
            "one in twenty does so by chance."
        )
    elif rows:
        yield f"No class of {len(rows)} has another share among samples than among real images, as far as these tell."


def _verdict(it: _View) -> str:
    scores = [name for name in SCORES if "p_value" in it.by_score.get(name, {})]
    if not scores or it.baseline is None:
        return "Whether any descriptor beats the baselines cannot be told from these samples."
    gain, p = (partial(it.value, quantity) for quantity in ("advantage", "p_value"))
    best = min(scores, key=lambda name: (p(name), -gain(name)))
    baseline = f"{it.label(it.baseline)} (AUROC {it.value('auroc', it.baseline):.2f})"
    if p(best) < _BY_CHANCE:
        return (
            f"{it.label(best)} (AUROC {it.value('auroc', best):.2f}) tells bad samples of this model better than the "
            f"best baseline, {baseline}: its advantage is {in_words(it.by_score[best]['advantage'])}. With all "
            f"{len(scores)} scores looked at, beating every baseline has p = {p(best):.2g}."
        )
    best = max(scores, key=gain)
    return (
        f"No descriptor is shown to beat the best baseline, {baseline}, on this model: the nearest to it is "
        f"{it.label(best)} (AUROC {it.value('auroc', best):.2f}), whose advantage is "
        f"{in_words(it.by_score[best]['advantage'])}."
    )


def _bad(it: _View) -> kit.Section:
    ordered = sorted(it.samples, key=lambda unit: it.scores[unit])
    count = min(_CARDS, len(ordered) // 2)
    text = (
        f"Bad is what the judge scores at most {it.limit:.4g}: {sum(it.bad.values())} of {len(it.samples)} samples.",
        "Left the sample, then the nearest real image by pixels, and by features.",
    )
    blocks: list[kit.Block] = [
        kit.Cards([_card(it, unit) for unit in ordered[:count]], "Worst by the judge"),
        kit.Cards([_card(it, unit) for unit in ordered[::-1][:count]], "Best by the judge"),
    ]
    return kit.Section("bad", "Worst and best", text, blocks if count else [])


def _card(it: _View, unit: str) -> kit.Card:
    files = {row["sample"]: row["file"] for row in it.run.info["data"]["files"]}
    nearest = it.run.about(unit)["nearest"]
    near = {name: f"{files[sample]}, the nearest real image by {name}" for name, sample in nearest.items()}
    names = [(unit, "", f"sample {unit}"), *((unit, f"nearest-{name}", text) for name, text in near.items())]
    shown = ("judged", "nearest_pixels", *(name for name in SCORES if name in it.values[unit]))
    facts: list[tuple[str, Any]] = [(it.label(name), it.values[unit].get(name)) for name in shown[:5]]
    seen = f"seen as {it.modes[unit]}" if it.modes[unit] else None
    title = " · ".join(word for word in (unit, it.conditions[unit], seen) if word)
    return kit.Card(title, stored_pictures(it.run, names), facts, palette.MODELS[1] if it.bad[unit] else "")


def _scores(it: _View) -> kit.Section:
    if not it.tested:
        return kit.Section("scores", "What tells bad samples")
    within = ("in class", partial(it.number, "auroc_within"))
    has_classes = any("auroc_within" in own for own in it.by_score.values())
    about = "AUROC of every score for bad samples, with its 95 % interval"
    figure = aurocs_of(it.tested, about, partial(it.number, "auroc"), within if has_classes else None)
    text = (
        "AUROC: the probability that a bad sample has a higher value than a good one. 0.5 is chance; below, bad "
        "samples have lower values. Hollow: among samples of one class.",
        "A descriptor is worth its Jacobians where its advantage over the best baseline is above zero. Each counts "
        "towards the side on which it is; p allows for having looked at all of them.",
    )
    return kit.Section("scores", "What tells bad samples", text, [kinds_of(it.tested), figure, _score_table(it)])


def _score_table(it: _View) -> kit.Table:
    def chance(p: Row | None) -> kit.Cell:
        return kit.Cell("–") if p is None else kit.Cell(f"{p['value']:.2g}", p["value"])

    columns: dict[kit.Column, Callable[..., kit.Cell]] = {
        kit.Column("auroc", "AUROC"): kit.interval_cell,
        kit.Column("auroc_within", "in class"): kit.interval_cell,
        kit.Column("advantage"): kit.interval_cell,
        kit.Column("p_value", "p"): chance,
    }
    best = {("advantage", it.baseline or ""): kit.Cell("best baseline", None)}
    bad, than = sum(it.bad.values()), it.label(it.baseline or "")
    title = f"{it.run.info['model'].get('name')}, {bad} bad and {len(it.samples) - bad} other samples"
    caption = f"With 95 % intervals over noise draws. Advantage: what is separated more than by {than}."
    return score_table(title, it.tested, it.number, columns, caption, best)


def _sheets(it: _View) -> kit.Section:
    text = (
        "Samples in the order of every score, from its lowest value on the left to its highest on the right, at even "
        "steps of rank. Look for what changes along a row: content is no artefact."
    )
    sheets = contact_sheets(it.run, {it.label(name): it.known(name) for name in ("judged", *SCORES, *BASELINES)})
    return kit.Section("sheets", "Contact sheets", [text], [sheets] if sheets else [])


def _classes(it: _View) -> kit.Section:
    rows = [row for row in it.run.derived_rows if row["quantity"] in ("share", "share_difference")]
    if not rows:
        return kit.Section("classes", "Classes")
    lines = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        drawn, real = (where(rows, mode=mode, quantity="share", side=side)[0] for side in ("drawn", REAL))
        (apart,) = where(rows, mode=mode, quantity="share_difference")
        counts = [kit.Cell(str(n := round(row["value"] * row["n"])), n) for row in (drawn, real)]
        lines.append([mode, *counts, *(kit.interval_cell(row) for row in (drawn, real, apart))])
    columns = [
        kit.Column("class"), kit.Column("drawn", spare=True), kit.Column("real", spare=True), kit.Column("share_drawn"),
        kit.Column("share_real"), kit.Column("share_difference", "drawn − real"),
    ]  # fmt: skip
    text = (
        "How often the judge sees each class among samples and among real images. Of a model under given conditions "
        "the shares are those of the conditions, as far as it follows them."
    )
    table = kit.Table(
        "classes", "classes that the judge sees", columns, lines, "With 95 % intervals, one class at a time."
    )
    return kit.Section("classes", "Classes", [text], [table])


def _drift(it: _View) -> kit.Section:
    rows = where(it.run.derived_rows, quantity="drift")
    lines = [[kit.Cell(it.label(row["score"]), row["score"]), kit.interval_cell(row)] for row in rows]
    text = (
        "Means of samples less those of real images, in standard deviations of real ones. Intervals are over noise "
        "draws and over source photographs."
    )
    table = kit.Table("drift", "drift from real images", ["number", "drift"], lines, brief=False)
    return kit.Section("drift", "Drift", [text], [table] if rows else [])


def _samples(it: _View) -> kit.Section:
    names = [name for name in it.run.quantities if any(name in own for own in it.values.values())]
    first = [name for name in ("judged", *SCORES, *BASELINES) if name in names]
    files = {row["sample"]: row["file"] for row in it.run.info["data"]["files"]}
    rows = []
    for unit in it.samples:
        own, nearest = it.values[unit], it.run.about(unit)["nearest"]["pixels"]
        flag = "bad" if it.bad[unit] else ""
        rows.append(
            [unit, it.conditions[unit] or "", it.modes[unit] or "", flag, files[nearest], *(own.get(n) for n in first)]
        )
    columns = [kit.Column("sample"), kit.Column("condition"), kit.Column("class", "seen as"), kit.Column("bad")]
    columns += [kit.Column("nearest", "nearest real image", spare=True)]
    columns += [kit.Column(name, it.label(name), it.run.words(name).unit, about=name) for name in first]
    table = kit.Table("samples", "samples", columns, rows, brief=False, folded=True, sortable=True)
    return kit.Section("samples", "All samples", ["Every value with its standard error."], [table] if rows else [])
