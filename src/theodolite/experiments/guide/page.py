"""The page of a guidance run: strips of samples, what every reward does over the scales, how well each is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.experiments.guide.experiment import unit_of
from theodolite.experiments.guide.figures import COLOURS, held_out, over_rho
from theodolite.experiments.guide.reading import QUANTITIES, REWARDS, Guidance, readings, signed
from theodolite.report.page import (
    Block,
    Cell,
    Column,
    Facts,
    Figure,
    Figures,
    Legend,
    Page,
    Pictures,
    Row,
    Section,
    Table,
    Term,
    Text,
    number_cell,
)
from theodolite.report.pictures import data_uri

if TYPE_CHECKING:
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["page"]

_DRAWN = ("diversity", "frechet_distance", "confidence", "accuracy")
_SPARE = ("accuracy", "local_scaling_step")
_ELSEWHERE = ("local_scaling", "held_out_correlation")
_WIDEST = 2048
"""Pixels of a strip, at most."""


def page(run: Run) -> Page:
    """The report of a guidance run; its tables are the terminal's too.

    Raises:
        InputError: guidance by local scaling is not done at every scale.
    """
    it = Guidance(run)
    if not it.rewards:
        raise InputError(f"{run.path} holds no results yet; run its command again: {run.info['command']}")
    settings, model = run.settings, run.info["model"]
    planned = 1 + len(set(settings["control"]))
    done = f"{len(it.rewards)} of {planned} rewards are done at every scale and shown."
    return Page(
        f"{model['name']} guided by local scaling",
        {
            "Point": " × ".join(map(str, model["shape"])),
            "Map": model["map"],
            "Samples a scale": f"{settings['samples']}, {settings['measured']} with local scaling",
            "Sampler": f"ddim, {settings['steps']} steps",
        },
        readings(it),
        [_strips(it), _change(it), _quality(it), _numbers(it), _reward(it), _limits(it)],
        [Facts("Guidance", {}, _rule(settings["norm"]))],
        [Term(q.label, q.meaning, q.unit, q.formula, q.source, q.name) for q in QUANTITIES.values() if it.has(q.name)],
        warnings=[done] if len(it.rewards) < planned else [],
        kind="guidance",
    )


def _rule(norm: str) -> str:
    rule = "eps′ = eps − rho · sigma · grad R(x, sigma)"
    rule = "eps′ = eps − rho · sigma / √(sigma² + data²) · g / rms(g)" if norm == "unit" else rule
    return (
        f"{rule}, after classifier-free guidance; g is the gradient of the reward R(x, sigma) ≈ E[psi(x₀) | x]. The "
        "claim that guidance by local scaling controls likelihood, diversity and quality is of Humayun et al. (2025, "
        "arXiv 2408.08307), whose network and update rule are not published; these are ours."
    )


def _legend(names: Sequence[str]) -> Legend:
    return Legend([(COLOURS[name], "solid", REWARDS[name]) for name in names])


def _strips(it: Guidance) -> Section:
    blocks: list[Block] = []
    for name in it.rewards:
        rows = []
        for rho in it.rhos:
            about = f"samples guided by {REWARDS[name]}, rho {signed(rho)}"
            rows.append((f"rho {signed(rho)}", [(data_uri(it.run.picture(unit_of(name, rho)), _WIDEST), about)]))
        blocks += [_legend([name]), Pictures(rows, wide=True)]
    return Section("strips", "Samples", ("A column has the same noise and the same condition throughout.",), blocks)


def _change(it: Guidance) -> Section:
    same = (
        "All gradients have the same length and are followed at the same noise levels: what a control does at a rho, "
        "it does with the same push."
    )
    own = "Gradients have their own lengths: the rewards are not pushed alike, and their lines cannot be compared."
    text = (
        "Change of true local scaling psi from the unguided samples of the same noise, with 95 % intervals of paired "
        "samples.",
        same if it.run.settings["norm"] == "unit" else own,
    )
    label = "Change of true local scaling over rho, for every reward; the numbers are in the table"
    figure = Figure("change", label, lambda: over_rho(it, "local_scaling_change", "change of psi, nats", zero=True))
    return Section("change", "Local scaling", text, [_legend(it.rewards), figure])


def _quality(it: Guidance) -> Section:
    text = [
        f"Of all {it.run.settings['samples']} samples a scale, with 95 % intervals. The noise is the same at every "
        "scale, but these intervals are not of pairs."
    ]
    if not it.has("frechet_distance"):
        text.append(
            "There is no classifier for this model: diversity is that of the pixels, and nothing tells quality."
        )
    figures = [
        Figure(name, f"{label} over rho, for every reward", _drawn(it, name), label[0].upper() + label[1:])
        for name in _DRAWN
        if it.has(name) and (label := QUANTITIES[name].label)
    ]
    return Section("quality", "Diversity and quality", text, [_legend(it.rewards), Figures(figures)])


def _drawn(it: Guidance, name: str) -> Any:
    return lambda: over_rho(it, name, QUANTITIES[name].label)


def _numbers(it: Guidance) -> Section:
    shown = [q for name, q in QUANTITIES.items() if name not in _ELSEWHERE and it.has(name)]
    verdicts = [[Cell(REWARDS[name], name, swatch=COLOURS[name]), it.rises(name)] for name in it.rewards]
    columns = [
        Column("reward", "guided by"),
        Column("rho"),
        *(Column(q.name, q.label, q.unit, about=q.name, spare=q.name in _SPARE) for q in shown),
    ]
    rows = [
        Row([Cell(REWARDS[name], name, swatch=COLOURS[name]), Cell(signed(rho), rho), *_cells(it, name, rho, shown)])
        for name in it.rewards
        for rho in it.rhos
    ]
    return Section(
        "numbers",
        "Numbers",
        ("Means with their standard errors.",),
        [
            Table("rises", "true local scaling over rho", ["reward", Column("rises", "rises at every step")], verdicts),
            Table("guidance", f"{it.run.info['model']['name']} guided", columns, rows),
        ],
    )


def _cells(it: Guidance, name: str, rho: float, shown: Sequence[Quantity]) -> list[Cell]:
    numbers = [it.at(name, rho, quantity.name) for quantity in shown]
    return [Cell("") if row is None else number_cell(row) for row in numbers]


def _reward(it: Guidance) -> Section:
    records = it.held_out()
    text = [
        "A reward tells from a noisy point what its clean one will score. Rank correlation with the truth on samples "
        "it was not trained on, with 95 % intervals."
    ]
    if not records:
        return Section("reward", "Reward", text, [Text(["The reward came without a record of its training."])])
    text.append(
        "Shaded: the noise levels where the reward of local scaling is known by three standard errors. All rewards "
        "guide there and nowhere else."
    )
    label = "Held-out Spearman correlation of every reward with its target by noise level"
    columns = [Column("reward"), *(Column(f"sigma_{row['sigma']:.2g}") for row in next(iter(records.values())))]
    rows = [[Cell(REWARDS[name], name), *map(number_cell, record)] for name, record in records.items()]
    table = Table("held_out", "Spearman correlation with the truth, held out, by noise level", columns, rows)
    blocks: list[Block] = [
        _legend(list(records)),
        Figure("held-out", label, lambda: held_out(records, it.levels)),
        table,
    ]
    return Section("reward", "Reward", text, blocks)


def _limits(it: Guidance) -> Section:
    samples, judged = it.run.settings["samples"], it.has("frechet_distance")
    biased = " A Fréchet distance from so few samples is biased upwards, alike at every scale." if judged else ""
    limits = [
        "It is about this model at these settings, with one noise seed and one training of each reward: errors are "
        "over samples, not over trainings.",
        "A control that moves local scaling as far does not show that the two are the same, but that this guidance "
        "does nothing particular here.",
        "rho is a push relative to the noise, added up over the guided levels. The same rho means more for a reward "
        "that is known at more noise.",
        "No movement of diversity, Fréchet distance or confidence means none that "
        f"{samples} samples could show.{biased}",
    ]
    if judged:
        limits.append(
            "Features and confidence are those of a small classifier, which may be sure of images that are wrong."
        )
    return Section("limits", "Limits", ("What this run cannot tell.",), [Text(limits)])
