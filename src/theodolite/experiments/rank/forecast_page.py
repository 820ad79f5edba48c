"""The first screen of a ranking: the forecast, what it is made of, how sure its order is, and how far it reaches."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from theodolite.experiments.rank.view import View, column_of, in_a_row
from theodolite.report import page as kit
from theodolite.report.series import Series, curves_of

__all__ = ["forecast_readings", "forecast_sections", "reach", "unknown_losses"]

_TEXT = (
    "What small flow models came to in the latent spaces of the prediction study, as a function of what the "
    "autoencoder throws away and of two numbers of its latents: how many directions the decoder uses, and how much "
    "more alike near places are than far ones. Nothing is trained here.",
    "gFD is the Fréchet distance of samples from images; V the variance of the images in the same features. A place "
    "with = is a tie with its neighbour: their order is less than 95 % sure.",
)


def forecast_sections(view: View) -> list[kit.Section]:
    """The forecast with its parts, pairs and reach; nothing where no model has one."""
    if not view.forecast_models:
        return []
    blocks: list[kit.Block] = [_table(view), *_reach(view), *_trained(view), _curve(view), *_parts(view)]
    return [kit.Section("forecast", "Forecast", _said(view), blocks), *_pairs(view)]


def _said(view: View) -> list[str]:
    fit = view.forecasts.fit if view.forecasts else None
    if fit is None:
        return [*_TEXT]
    checks, last = fit.checks, len(fit.steps) - 1
    rho, low, high = checks["spearman"][last]
    proven = (
        f"On {fit.designs} latent spaces of {fit.data}, each shape forecast from the others, its rank correlation with "
        f"gFD after {fit.steps[last]:,} steps is {rho:.2f} ({low:.2f} to {high:.2f}), and 95 % intervals held "
        f"{100 * checks['coverage'][last]:.0f} % of them. Longer trainings and other networks were not forecast."
    )
    elsewhere = (
        f"On {fit.other_designs} latent spaces of {fit.other_data}, with the same coefficients, it is "
        f"{fit.other_spearman[last]:.2f}; where that is small, an order on other images is a guess."
        if fit.other_data
        else "It was not tried on another data set: an order on other images is a guess."
    )
    return [*_TEXT, proven, elsewhere, *_known_again(view)]


def _known_again(view: View) -> list[str]:
    """By what images count as the study's, where they do."""
    data = view.forecasts.fit.data_set_of(view.forecasts.images) if view.forecasts else None
    if data is None:
        return []
    return [
        f"These images count as those of {data.name} by the shape, mean and deviation of their pixels alone: of others "
        "that agree in these the forecast is an extrapolation all the same."
    ]


def forecast_readings(view: View) -> list[str]:
    """Which to choose, or that it is a tie, in sentences; or why no model has a forecast."""
    models = view.forecast_models
    if not models:
        return _missing(view)
    best, *others = models
    if not others:
        return [_level(view, best)]
    tied = [other for other in others if view.is_forecast_tie(best, other)]
    rest = [other for other in others if other not in tied]
    if tied:
        names = in_a_row([model.label for model in (best, *tied)])
        first = f"A tie: the forecast cannot tell in which of {names} diffusion will train best."
    elif not view.is_sure_of_all(best, others):
        first = (
            f"{'By an extrapolated forecast ' if reach(view) else ''}{best.label} leads, not surely: each other model "
            f"is behind it with a probability above 0.95, all at once maybe with {view.sure_of_all(best, others):.2f}."
        )
    elif reach(view):
        first = (
            f"By an extrapolated forecast {best.label} comes first: its samples are the best after {view.last:,} steps."
        )
    else:
        first = f"Choose {best.label}: its samples are forecast to be the best after {view.last:,} steps."
    return [first, *([_behind(view, best, rest[0])] if rest else []), *_missing(view)]


def _level(view: View, model: Series) -> str:
    row = view.of("forecast", model, steps=view.last) or {}
    thrown = view.of("forecast_thrown", model, steps=view.last) or {}
    return (
        f"After {view.last:,} steps of a small training in the latents of {model.label}, gFD is forecast to be "
        f"{_percent(row['value'])} of the images' variance V (95 % interval {_percent(row['low'])} to "
        f"{_percent(row['high'])}); {_percent(thrown['value'])} of that is thrown away by the autoencoder already."
    )


def _behind(view: View, best: Series, other: Series) -> str:
    row = view.of("forecast_ratio", other, steps=view.last) or {}
    P = float(view.pair("forecast_order", best, other, steps=view.last)["value"])
    sure = "above 0.999" if P > 0.999 else f"{P:.3f}"
    return (
        f"Samples of {other.label} are forecast to be {row['value']:.2f} times as far from the images as those of "
        f"{best.label} (95 % interval {row['low']:.2f} to {row['high']:.2f}), and farther with probability {sure}."
    )


def _missing(view: View) -> list[str]:
    forecasts = view.forecasts
    if forecasts is None:
        return []
    pairs = zip(forecasts.models, forecasts.missing)
    return [f"{own.name} has no forecast: {reason}." for own, reason in pairs if reason]


def reach(view: View) -> list[str]:
    """How far the models lie from what was calibrated, in one sentence; nothing where they do not."""
    forecasts = view.forecasts
    if forecasts is None or not any(forecasts.outside):
        return []
    texts = {own.name: [item.text for item in out] for own, out in zip(forecasts.models, forecasts.outside)}
    common = [text for text in next(iter(texts.values())) if all(text in own for own in texts.values())]
    single = {name: [text for text in own if text not in common] for name, own in texts.items()}
    parts = [*common, *(f"{name}: {', '.join(own)}" for name, own in single.items() if own)]
    return [
        f"The forecast is extrapolated, and its intervals may be too narrow. Outside what it was calibrated on: "
        f"{'; '.join(parts)}."
    ]


def unknown_losses(view: View) -> list[str]:
    """Whether what autoencoders throw away is hardly known, in one sentence."""
    rows = [view.of("rfd_share", model) for model in view.forecast_models]
    doubtful = [row for row in rows if row is not None and row["stderr"] > _HARDLY * abs(row["value"])]
    said = (
        "These images hardly tell what autoencoders throw away, which widens every interval of the forecast: give two "
        "a feature or more (256 for random convolutions), better 2,000."
    )
    return [said] if doubtful else []


_HARDLY = 0.5
"""Relative error of rFD / V from which it is hardly known: its interval then reaches to nothing and to the double."""


def _table(view: View) -> kit.Table:
    several = len(view.models) > 1
    quantity = "forecast_ratio" if several else "forecast"
    columns = [kit.Column("model"), *([kit.Column("place")] if several else [])]
    columns += [
        kit.Column(f"at_{step}", f"{step:,} steps", "× the best" if several else "gFD / V") for step in view.steps
    ]
    columns += [kit.Column("thrown", "thrown away")]
    columns += [kit.Column("weakest", spare=True)] if several else []
    columns += [kit.Column("outside", spare=True)]
    rows = [
        [model.cell, *([place] if several else []), *_cells(view, quantity, model)]
        for model, place in zip(view.models, [*view.places, *["–"] * len(view.models)])
    ]
    caption = (
        f"{'gFD over that of the first model' if several else 'gFD over the variance V of the images'}, with 95 % "
        "intervals; thrown away: the share of it that reconstructions lack already; outside: of how many things the "
        "study has none like it."
    )
    data = view.info["data"]
    title = f"forecast of gFD, {len(data['files'])} images of {len(data['groups'])} sources"
    return kit.Table("models", title, columns, rows, caption)


def _cells(view: View, quantity: str, model: Series) -> list[kit.Cell]:
    thrown = view.of("forecast_thrown", model, steps=view.last)
    outside = _outside(view, model)
    return [
        *(_number(view, quantity, model, step) for step in view.steps),
        kit.Cell(_percent(thrown["value"]), thrown["value"]) if _is_drawn(thrown) and thrown else kit.Cell("–"),
        *([kit.Cell(_weakest(view, model) or "–", _weakest(view, model))] if len(view.models) > 1 else []),
        kit.Cell(str(len(outside)), len(outside), note="; ".join(outside)),
    ]


def _number(view: View, quantity: str, model: Series, step: int) -> kit.Cell:
    """The cell of a number with its interval; what all others are compared with has none."""
    row, cell = view.of(quantity, model, steps=step), kit.interval_cell(view.of(quantity, model, steps=step))
    return kit.Cell("1", cell.value) if row and row["low"] == row["high"] == 1 else cell


def _is_drawn(row: Any) -> bool:
    return row is not None and not math.isnan(row["value"])


def _outside(view: View, model: Series) -> list[str]:
    forecasts = view.forecasts
    if forecasts is None:
        return []
    by_name = {own.name: out for own, out in zip(forecasts.models, forecasts.outside)}
    return [item.text for item in by_name[model.label]]


def _gains(view: View, model: Series) -> dict[str, Any]:
    """The numbers of what a part as good as the best model's would change, by part."""
    parts = view.forecasts.parts if view.forecasts else ()
    rows = {part: view.of("forecast_better", model, part=part, steps=view.last) for part in parts}
    return {part: row for part, row in rows.items() if _is_drawn(row)}


def _weakest_part(view: View, model: Series) -> str:
    gains = _gains(view, model)
    part = min(gains, key=lambda name: float(gains[name]["value"]), default="")
    return part if part and float(gains[part]["value"]) < _NOTHING else ""


_NOTHING = 0.995
"""A part that would change the forecast by less than half a percent is as good as the best."""


def _weakest(view: View, model: Series) -> str:
    from theodolite.diffusability.forecast.quantities import PARTS

    part = _weakest_part(view, model)
    return PARTS[part] if part else ""


def _curve(view: View) -> kit.Figure:
    ends = [math.log10(view.steps[0]) - _MARGIN, math.log10(view.steps[-1]) + _MARGIN]
    axis = {"type": "log", "tickvals": view.steps, "ticktext": [f"{step:,}" for step in view.steps], "range": ends}
    options: dict[str, Any] = {"logarithmic": True, "marked": True, "whiskers": True, "apart": _APART, "axis": axis}
    drawn = [row for model in view.forecast_models for row in view.over_steps("forecast", model)]
    options["span"] = min(row["low"] for row in drawn), max(row["high"] for row in drawn)
    rows, across = partial(view.over_steps, "forecast"), "steps of training"
    return curves_of(
        "forecast", "Forecast of gFD / V", view.forecast_models, rows, x="steps", across=across, up="gFD / V", **options
    )


_MARGIN, _APART = 0.08, 0.012
"""Decades beside the first and last budget, and between models, so that whiskers can be told apart."""


def _trained(view: View) -> list[kit.Table]:
    """What reference trainings came to, beside the forecast."""
    steps = view.steps_of("trained")
    if not steps:
        return []
    several, settings = len(view.models) > 1, view.run.settings
    trained, forecast = ("trained_ratio", "forecast_ratio") if several else ("trained", "forecast")
    unit = "× the first" if several else "gFD / V"
    beside = [step for step in steps if step in view.steps] or view.steps[-1:]
    columns = [kit.Column("model"), *(kit.Column(f"trained_{step}", f"trained {step:,}", unit) for step in steps)]
    columns += [kit.Column(f"forecast_{step}", f"forecast {step:,}", unit) for step in beside]
    rows = []
    for model in view.models:
        numbers = [_number(view, trained, model, step) for step in steps]
        rows.append([model.cell, *numbers, *(_number(view, forecast, model, step) for step in beside)])
    features = settings.get("features") or "random convolutions"
    caption = (
        f"After so many steps of the {settings['network']} network, {settings['seeds']} seeds a model. Intervals are "
        f"over seeds, distances in {features}. A second training is left out where reconstructions are surely worse "
        "than what another model generates."
    )
    return [kit.Table("trained", "reference trainings beside the forecast", columns, rows, caption)]


def _parts(view: View) -> list[kit.Block]:
    """What the forecast of each model is made of, and what would help it most."""
    names = ["rfd_share", *(view.forecasts.fit.formula.inputs if view.forecasts else ())]
    inputs = [name for name in (*names, "floor_v") if any(view.of(name, model) for model in view.models)]
    columns = [kit.Column("model"), *(column_of(view, name) for name in inputs)]
    rows = [[model.cell, *(kit.number_cell(view.of(name, model)) for name in inputs)] for model in view.models]
    note = "The floor is described, and no part of the forecast."
    table = kit.Table("parts", "what the forecast is made of", columns, rows, note, brief=False)
    return [table, *([_remedies(view)] if len(view.models) > 1 else [])]


def _remedies(view: View) -> kit.Table:
    from theodolite.diffusability.forecast.quantities import REMEDIES

    columns = [kit.Column("model"), kit.Column("weakest"), kit.Column("with_best", "with the best's", "× forecast")]
    rows = []
    for model in view.models:
        part = _weakest_part(view, model)
        gain = kit.interval_cell(_gains(view, model)[part]) if part else kit.Cell("–")
        named = _weakest(view, model) or "none"
        rows.append([model.cell, named, gain, REMEDIES.get(part, "–")])
    caption = (
        "The part that would help most if it were as good as the best model's, and by how much, by the formula alone: "
        "nothing was trained to see it. Parts pull against each other: fewer directions usually throw more away."
    )
    columns += [kit.Column("remedy", prose=True)]
    return kit.Table("remedies", "the weakest part of each model", columns, rows, caption, brief=False)


def _reach(view: View) -> list[kit.Table]:
    forecasts = view.forecasts
    if forecasts is None or not any(forecasts.outside):
        return []
    rows = [
        [own.name, kit.Cell(item.text, item.text), kit.Cell(f"{item.factor:.3g}", item.factor)]
        for own, out in zip(forecasts.models, forecasts.outside)
        for item in out
    ]
    columns = [kit.Column("model"), kit.Column("outside", prose=True), kit.Column("factor", "times beyond the end")]
    return [kit.Table("reach", "outside what the forecast was calibrated on", columns, rows, brief=False, folded=True)]


def _pairs(view: View) -> list[kit.Section]:
    models = view.forecast_models
    if len(models) < 2:
        return []
    matrix = [[row.cell, *(_order(view, row, other) for other in models)] for row in models]
    heads = [kit.Column("model"), *(kit.Column(model.label) for model in models)]
    names = [kit.Column("pair"), kit.Column("probability"), kit.Column("ratio", "gFD, second over first")]
    names += [kit.Column("verdict")]
    pairs = [_pair(view, first, second) for n, first in enumerate(models) for second in models[n + 1 :]]
    blocks: list[kit.Block] = [
        kit.Table("probabilities", "probability that the row comes out lower", heads, matrix, brief=False),
        kit.Table("pairs", "pairs, with the probability of their order", names, pairs, folded=True),
    ]
    text = (
        f"Probability that a training in the latents of the row comes out with the lower gFD after {view.last:,} "
        "steps. Between 0.05 and 0.95 the pair is a tie.",
    )
    return [kit.Section("pairs", "Pairs", text, blocks)]


def _pair(view: View, first: Series, second: Series) -> list[Any]:
    verdict = "a tie" if view.is_forecast_tie(first, second) else "ordered"
    ratio = kit.interval_cell(view.pair("forecast_pair", first, second, steps=view.last))
    return [f"{first.label} before {second.label}", _order(view, first, second), ratio, verdict]


def _order(view: View, first: Series, second: Series) -> kit.Cell:
    if first == second:
        return kit.Cell("–")
    row, tie = view.pair("forecast_order", first, second, steps=view.last), view.is_forecast_tie(first, second)
    P = float(row["value"])
    text = "> 0.999" if P > 0.999 else "< 0.001" if P < 0.001 else f"{P:.3f}"
    entry = {name: row[name] for name in ("value", "n", "status")}
    return kit.Cell(text, entry, below="tie" if tie else "", strong=not tie and P > 0.5)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"
