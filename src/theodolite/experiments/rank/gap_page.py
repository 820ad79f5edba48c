"""The gap of a ranking: its table and pairs, curves over noise with their bands, penalties, and predictors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from theodolite.experiments.rank.view import View, column_of, in_a_row
from theodolite.report import page as kit
from theodolite.report.series import Series, bars_of, curves_of, legend_of, points_of

__all__ = ["gap_readings", "gap_sections"]

_ACROSS = {"tau": "noise variance / variance of the space, τ", "t": "noise variance t (an entry has variance 1)"}


def gap_sections(view: View) -> list[kit.Section]:
    """What describes how alike latents and images are to a denoiser."""
    return [
        _ranking(view),
        *_pairs(view),
        _noise(view),
        _curves(view),
        _dimension(view),
        *_penalties(view),
        *_predictors(view),
    ]


def gap_readings(view: View) -> list[str]:
    """What the gap says in a sentence, and no more than it says."""
    best, *others = view.by_gap
    gap = view.of("gap", best) or {}
    size = f"{gap['value']:.2f} (95 % interval {_interval(gap)}), where 0 is not at all and 1 altogether"
    if not others:
        first = f"Noise hides the latents of {best.label} and the images differently by {size}."
        return [first, _direction(view.of("shift", best) or {})]
    tied = [other.label for other in others if view.is_tie(best, other)]
    also = f", tied with {in_a_row(tied)}: these images cannot tell which is nearer" if tied else ""
    return [
        f"The gap describes, and forecasts little: noise hides the latents of {best.label} most like the images; they "
        f"differ by {size}{also}."
    ]


def _direction(shift: Mapping[str, Any]) -> str:
    value, margin = float(shift["value"]), 1.96 * float(shift["stderr"])
    if abs(value) <= margin:
        return "On average they hide at the same relative noise, within the error."
    factor = f"{10 ** abs(value):.1f} times {'less' if value < 0 else 'more'}"
    return f"On average its latents hide at {factor} noise, for their variance."


def _interval(row: Mapping[str, Any], digits: int = 2) -> str:
    return f"{row['low']:.{digits}f} to {row['high']:.{digits}f}"


def _ranking(view: View) -> kit.Section:
    models, data = view.by_gap, view.info["data"]
    several = len(models) > 1
    scalars = [name for name in ("gap_gaussian", "shift", "psnr", "ssim") if view.of(name, view.models[0])]
    columns = [kit.Column("model"), *([kit.Column("place")] if several else []), kit.Column("gap")]
    columns += [kit.Column("interval", "95 % interval")]
    columns += [kit.Column("bounds", "whatever the law", spare=True)]
    columns += [column_of(view, name, spare=name == "ssim") for name in scalars]
    columns += [kit.Column("latent", spare=True), kit.Column("compression_ratio", "D / m", spare=True)]
    rows = [
        [model.cell, *([place] if several else []), *_numbers(view, model, scalars)]
        for model, place in zip(models, view.gap_places(models))
    ]
    title = f"{len(data['files'])} images of {len(data['groups'])} sources, budget {view.run.settings['budget']}"
    caption = (
        "gap: half the area between the MMSE rates of latents and images over relative noise, 0 to 1; shift: decades "
        "of noise, below 0 where latents hide sooner than images; = marks ties."
    )
    tie = "A place with = is a tie with its neighbour: their order is less than 95 % sure."
    marks = "Filled: the best denoiser found. Hollow: the Gaussian one on both sides. Bars: 95 %, over sources."
    text = [*view.text["gap"], *([tie] if several else []), marks]
    about, across = "Gap of every model with its 95 % interval", "gap to the images (0: none, 1: all)"
    hollow = ("Gaussian denoiser", partial(view.of, "gap_gaussian"))
    figure = points_of("gaps", about, across, models, partial(view.of, "gap"), hollow)
    table = kit.Table("gaps", title, columns, rows, caption, brief=not view.forecast_models)
    return kit.Section("gap", "Gap", text, [figure, table])


def _numbers(view: View, model: Series, scalars: Sequence[str]) -> list[kit.Cell]:
    gap, shape = view.of("gap", model) or {}, view.run.about(model.key)["space"]["shape"]
    ratio = math.prod(view.info["data"]["shape"]) / math.prod(shape)
    return [
        kit.number_cell(gap, strong=True),
        kit.Cell(_interval(gap, 3), [gap["low"], gap["high"]]),
        _bounds(view, model),
        *(kit.number_cell(view.of(name, model)) for name in scalars),
        kit.Cell(" × ".join(str(size) for size in shape), shape),
        kit.Cell(f"{ratio:.3g}", ratio),
    ]


def _bounds(view: View, model: Series) -> kit.Cell:
    """The least and the most that the gap can be, whatever the law of latents and images."""
    ends = [view.of(name, model) for name in ("gap_least", "gap_most")]
    if any(end is None for end in ends):
        return kit.Cell("–")
    low, high = (float(end["value"]) for end in ends if end is not None)
    return kit.Cell(f"{low:.2f} to {high:.2f}", [low, high])


def _pairs(view: View) -> list[kit.Section]:
    models = view.by_gap
    if len(models) < 2:
        return []
    matrix = [[row.cell, *(_order(view, row, other) for other in models)] for row in models]
    heads = [kit.Column("model"), *(kit.Column(model.label) for model in models)]
    names = [
        kit.Column("pair"),
        kit.Column("probability"),
        kit.Column("difference", "difference of gaps"),
        kit.Column("verdict"),
    ]
    pairs = [_pair(view, first, second) for n, first in enumerate(models) for second in models[n + 1 :]]
    blocks: list[kit.Block] = [
        kit.Table("gap_probabilities", "probability that the row is nearer", heads, matrix, brief=False),
        kit.Table("gap_pairs", "pairs, with the probability of their order", names, pairs, brief=False, folded=True),
    ]
    return [kit.Section("gap-pairs", "Pairs by the gap", view.text["pairs"], blocks)]


def _pair(view: View, first: Series, second: Series) -> list[Any]:
    verdict = "a tie" if view.is_tie(first, second) else "ordered"
    difference = kit.number_cell(view.pair("gap_difference", first, second))
    return [f"{first.label} before {second.label}", _order(view, first, second), difference, verdict]


def _order(view: View, first: Series, second: Series) -> kit.Cell:
    if first == second:
        return kit.Cell("–")
    row, tie = view.pair("order_probability", first, second), view.is_tie(first, second)
    P = float(row["value"])
    text = "> 0.999" if P > 0.999 else "< 0.001" if P < 0.001 else f"{P:.3f}"
    entry = {name: row[name] for name in ("value", "stderr", "low", "high", "n", "status")}
    return kit.Cell(text, entry, below="tie" if tie else "", strong=not tie and P > 0.5)


def _over(view: View, quantity: str, title: str, up: str, x: str = "t", beside: str = "", **options: Any) -> kit.Figure:
    """A quantity of every space over noise; beside it that of the Gaussian denoiser, or raw values of the models."""
    floor, raw = partial(view.curve, quantity, denoiser="gaussian"), partial(view.curve, f"{quantity}_raw")
    other = {"Gaussian denoiser": floor, "raw": raw}.get(beside)
    drawn = view.models if beside == "raw" else view.spaces
    options |= {"x": x, "across": _ACROSS[x], "up": up, "beside": (beside, other) if other else None}
    return curves_of(quantity, title, drawn, partial(view.curve, quantity), **options)


def _noise(view: View) -> kit.Section:
    floor: dict[str, Any] = {"beside": "Gaussian denoiser", "span": (-0.02, 1.02), "change": lambda share: 1 - share}
    figures = [
        _over(view, "resolved", "Hidden so far, MMSE / V", "MMSE / V", "tau", **floor),
        _over(view, "share", "Hidden here, τ dMMSE/dt", "d(MMSE / V) / d log τ", "tau", least=0.0),
    ]
    bands = kit.Text(["Bands: 95 % intervals over sources at each noise on its own."])
    return kit.Section("noise", "Variance over noise", view.text["noise"], [view.floor, kit.Figures(figures), bands])


def _curves(view: View) -> kit.Section:
    floor, letters = "Gaussian denoiser", (("fi", "J"), ("fir", "F"))
    rates = [
        _over(view, "r", "MMSE rate, r", "(dMMSE/dt) / m", beside=floor, span=(-0.02, 1.05)),
        _over(
            view,
            "a",
            "Fisher information, t J / m",
            "t J / m",
            beside=floor,
            span=(-0.02, 1.02),
            change=lambda share: 1 - share,
        ),
        _over(view, "b", "Fisher information rate, t² F / m", "t² F / m", beside=floor, span=(-0.05, 1.05)),
    ]
    off: dict[str, Any] = {"x": "tau", "beside": "raw", "least": 0.0, "span": (-0.02, 1.02)}
    deviations = [
        _over(view, f"{n}_deviation", f"Deviation of {L}", f"|Δ{L}| / {L} of images", **off) for n, L in letters
    ]
    raw = [_over(view, name, letter, letter, logarithmic=True) for name, letter in letters]
    checks = [
        _over(view, "r_jacobian", "MMSE rate from the Jacobian", "E‖J‖² / m", span=(-0.02, 1.05)),
        _over(view, "calibration", "Calibration error, share of t J / m", "(E1 − E2) t / m"),
    ]
    raw_and_corrected: list[kit.Block] = [kit.Figures([*deviations, *raw]), kit.Text(view.text["dimensions"])]
    blocks: list[kit.Block] = [
        view.floor,
        kit.Figures(rates),
        kit.Details("Raw and corrected for dimensions", raw_and_corrected),
        kit.Details("Checks of the denoisers", [kit.Figures(checks), kit.Text(view.text["checks"])]),
    ]
    return kit.Section("curves", "MMSE rate, FI, FIR", view.text["rates"], blocks)


def _dimension(view: View) -> kit.Section:
    options: dict[str, Any] = {"beside": "Gaussian denoiser", "logarithmic": True}
    figure = _over(view, "local_dimension", "Local dimension", "MMSE / t", "tau", **options)
    return kit.Section("dimension", "Dimension", view.text["dimension"], [view.floor, figure])


def _penalties(view: View) -> list[kit.Section]:
    from theodolite.diffusability.quality import PENALTIES

    measured = [name for name in PENALTIES if any(view.of(name, model) for model in view.models)]
    if not measured:
        return []
    side = view.info.get("penalty_side")
    crops = [f"Crops are {side} × {side} pixels, from the centre."] if side else []
    rows = [[model.cell, *(_penalty(view, model, name) for name in measured)] for model in view.models]
    columns = [kit.Column("model"), *(column_of(view, name) for name in measured)]
    bars = [bars_of(view.words[name], view.models, partial(view.of, name)) for name in measured]
    table = kit.Table("penalties", "penalties", columns, rows, brief=False)
    blocks: list[kit.Block] = [legend_of(view.models), kit.Figures(bars, small=True), table]
    return [kit.Section("penalties", "Penalties", [*view.text["penalties"], *crops], blocks)]


def _predictors(view: View) -> list[kit.Section]:
    """The numbers of registered predictors, one column each."""
    run = view.run
    names = [name for name in view.info.get("predictors") or [] if name in run.quantities]
    if not names:
        return []
    rows = [[model.cell, *(kit.number_cell(view.of(name, model)) for name in names)] for model in view.models]
    columns = [kit.Column("model"), *(column_of(view, name) for name in names)]
    text = "What packages beside this one forecast from; nothing here says that they forecast well."
    return [kit.Section("predictors", "Predictors", [text], [kit.Table("predictors", "predictors", columns, rows)])]


def _penalty(view: View, model: Series, name: str) -> kit.Cell:
    message = view.run.about(model.key).get("messages", {}).get(name, "")
    return kit.number_cell(view.of(name, model), message)
