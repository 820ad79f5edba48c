"""The page of a guidance run: strips of samples, what every reward does over the scales, how well each is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError
from theodolite.experiments.guide.experiment import unit_of
from theodolite.experiments.guide.reading import REWARDS, Guidance, readings, signed
from theodolite.report import page as kit
from theodolite.report.pictures import data_uri
from theodolite.report.series import Series, curves_of, legend_of
from theodolite.steering.sweep import QUANTITIES

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["page"]

_DRAWN = ("diversity", "frechet_distance", "confidence", "accuracy")
_SPARE = ("accuracy", "local_scaling_step")
_ELSEWHERE = ("local_scaling", "held_out_correlation")
_WIDEST = 2048
"""Pixels of a strip, at most."""

_ASIDE = 0.006
"""Of the range of rho: between the lines of two rewards, so that their intervals can be told apart."""


def page(run: Run) -> kit.Page:
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
    return kit.Page(
        f"{model['name']} guided by local scaling",
        {
            "Point": " × ".join(map(str, model["shape"])),
            "Map": model["map"],
            "Samples a scale": f"{settings['samples']}, {settings['measured']} with local scaling",
            "Sampler": f"ddim, {settings['steps']} steps",
        },
        readings(it),
        [_strips(it), _change(it), _quality(it), _numbers(it), _reward(it), _limits(it)],
        [kit.Facts("Guidance", {}, _rule(settings["norm"]))],
        kit.terms_of(q for q in QUANTITIES.values() if it.has(q.name)),
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


def _cell(reward: Series) -> kit.Cell:
    return kit.Cell(reward.label, reward.key, swatch=reward.colour)


def _strips(it: Guidance) -> kit.Section:
    def row(reward: Series, rho: float) -> tuple[str, list[tuple[str, str]]]:
        strip = data_uri(it.run.picture(unit_of(reward.key, rho)), _WIDEST)
        return f"rho {signed(rho)}", [(strip, f"samples guided by {reward.label}, rho {signed(rho)}")]

    strips = [(legend_of([item]), kit.Pictures([row(item, rho) for rho in it.rhos], wide=True)) for item in it.series]
    text = ("A column has the same noise and the same condition throughout.",)
    return kit.Section("strips", "Samples", text, [block for pair in strips for block in pair])


def _over_rho(it: Guidance, name: str, quantity: str, title: str, up: str, about: str, **options: Any) -> kit.Figure:
    """A quantity over the scales, a line a reward, with 95 % intervals; no mark where there is no number."""
    axes: dict[str, Any] = {"x": "rho", "across": "rho", "up": up, "axis": {"tickvals": it.rhos}, "whiskers": True}
    axes |= {"apart": _ASIDE * (it.rhos[-1] - it.rhos[0]), "about": about, **options}
    return curves_of(name, title, it.series, lambda item: it.along(item.key, quantity), **axes)


def _change(it: Guidance) -> kit.Section:
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
    about = "Change of true local scaling over rho, for every reward; the numbers are in the table"
    figure = _over_rho(it, "change", "local_scaling_change", "", "change of psi, nats", about, level=0.0)
    return kit.Section("change", "Local scaling", text, [legend_of(it.series), figure])


def _quality(it: Guidance) -> kit.Section:
    text = [
        f"Of all {it.run.settings['samples']} samples a scale, with 95 % intervals. The noise is the same at every "
        "scale, but these intervals are not of pairs."
    ]
    if not it.has("frechet_distance"):
        text += ["There is no classifier for this model: diversity is that of the pixels, and nothing tells quality."]
    labels = {name: QUANTITIES[name].label for name in _DRAWN if it.has(name)}
    figures = [
        _over_rho(it, name, name, label.capitalize(), label, f"{label} over rho, for every reward")
        for name, label in labels.items()
    ]
    return kit.Section(
        "quality",
        "Diversity and quality",
        text[: 1 if it.has("frechet_distance") else 2],
        [legend_of(it.series), kit.Figures(figures)],
    )


def _numbers(it: Guidance) -> kit.Section:
    quantities = [q for name, q in QUANTITIES.items() if name not in _ELSEWHERE and it.has(name)]
    columns = [kit.Column("reward", "guided by"), kit.Column("rho"), *kit.columns_of(quantities, _SPARE)]
    rows = [
        [
            _cell(item),
            kit.Cell(signed(rho), rho),
            *(it.at(item.key, rho, quantity.name) or "" for quantity in quantities),
        ]
        for item in it.series
        for rho in it.rhos
    ]
    verdicts = [[_cell(item), it.rises(item.key)] for item in it.series]
    tables = [
        kit.Table(
            "rises", "true local scaling over rho", ["reward", kit.Column("rises", "rises at every step")], verdicts
        ),
        kit.Table("guidance", f"{it.run.info['model']['name']} guided", columns, rows),
    ]
    return kit.Section("numbers", "Numbers", ("Means with their standard errors.",), tables)


def _reward(it: Guidance) -> kit.Section:
    records = it.held_out()
    text = [
        "A reward tells from a noisy point what its clean one will score. Rank correlation with the truth on samples "
        "it was not trained on, with 95 % intervals."
    ]
    if not records:
        return kit.Section("reward", "Reward", text, [kit.Text(["The reward came without a record of its training."])])
    text.append(
        "Shaded: the noise levels where the reward of local scaling is known by three standard errors. All rewards "
        "guide there and nowhere else."
    )
    label = "Held-out Spearman correlation of every reward with its target by noise level"
    columns = [kit.Column("reward"), *(kit.Column(f"sigma_{row['sigma']:.2g}") for row in next(iter(records.values())))]
    rows = [[kit.Cell(REWARDS[name].label, name), *record] for name, record in records.items()]
    levels = it.run.about("reward-scaling").get("levels", ())
    options: dict[str, Any] = {"span": (-0.35, 1.05), "level": 0.0, "shaded": tuple(levels) or None}
    figure = curves_of(
        "held-out",
        "",
        [REWARDS[name] for name in records],
        lambda item: records[item.key],
        x="sigma",
        across="noise level sigma",
        up="Spearman, held out",
        whiskers=True,
        about=label,
        **options,
    )
    table = kit.Table("held_out", "Spearman correlation with the truth, held out, by noise level", columns, rows)
    return kit.Section("reward", "Reward", text, [legend_of([REWARDS[name] for name in records]), figure, table])


def _limits(it: Guidance) -> kit.Section:
    samples, judged = it.run.settings["samples"], it.has("frechet_distance")
    biased = " A Fréchet distance from so few samples is biased upwards, alike at every scale." if judged else ""
    classifier = "Features and confidence are those of a small classifier, which may be sure of images that are wrong."
    limits = [
        "It is about this model at these settings, with one noise seed and one training of each reward: errors are "
        "over samples, not over trainings.",
        "A control that moves local scaling as far does not show that the two are the same, but that this guidance "
        "does nothing particular here.",
        "rho is a push relative to the noise, added up over the guided levels. The same rho means more for a reward "
        "that is known at more noise.",
        "No movement of diversity, Fréchet distance or confidence means none that "
        f"{samples} samples could show.{biased}",
        *([classifier] if judged else []),
    ]
    return kit.Section("limits", "Limits", ("What this run cannot tell.",), [kit.Text(limits)])
