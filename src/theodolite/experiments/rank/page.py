"""The page of a ranking: gaps and pairs, curves over noise with their bands, penalties, and how it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from theodolite.report import page as kit
from theodolite.report.series import Series, bars_of, curves_of, legend_of, points_of, series_of

if TYPE_CHECKING:
    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["page"]

_FEW = 10
"""Sources below which the page says that errors rest on few: Student's quantile is then 15 % above the normal one."""

_ACROSS = {"tau": "noise variance / variance of the space, τ", "t": "noise variance t (an entry has variance 1)"}


class _View:
    """The numbers of a run by what they are of, and its models in order."""

    def __init__(self, run: Run) -> None:
        from theodolite.diffusability.quantities import PARAGRAPHS

        self.run, self.info, self.words, self.text = run, run.info, run.experiment.quantities(), PARAGRAPHS
        units = {entry["label"]: entry["unit"] for entry in run.info["models"] if entry["unit"] in run.units}
        self._by: dict[tuple[Any, ...], list[Row]] = {}
        for row in _rows(run, {*units}) if "images" in run.units else []:
            key = tuple(row.get(name) for name in ("quantity", "space", "denoiser", "first", "second"))
            self._by.setdefault(key, []).append(row)
        order = sorted(units, key=lambda label: (float((self._first("gap", label) or {}).get("value", 1.0)), label))
        self.models = series_of({label: units[label] for label in order})
        self.spaces = [Series("images", "images"), *self.models]
        self.floor = legend_of(self.spaces, "dotted: the Gaussian floor, its denoiser alone")

    def _first(self, *key: str) -> Row | None:
        return next(iter(self._by.get((*key, None, None, None), [])), None)

    def of(self, quantity: str, space: Series) -> Row | None:
        """A number of one space."""
        return self._first(quantity, space.label)

    def pair(self, quantity: str, first: Series, second: Series) -> Row:
        """A number of two models."""
        return self._by[(quantity, None, None, first.label, second.label)][0]

    def curve(self, quantity: str, space: Series, denoiser: str = "best") -> list[Row]:
        """A number of one space over noise."""
        return self._by.get((quantity, space.label, denoiser, None, None), [])

    def is_tie(self, first: Series, second: Series) -> bool:
        """Whether the order of two models is less sure than 0.95."""
        from theodolite.diffusability.ranking import SURE

        P = float(self.pair("order_probability", first, second)["value"])
        return max(P, 1 - P) < SURE

    @property
    def places(self) -> list[str]:
        """The place of each model; models tied with the one before carry its place and ``=``."""
        tied = [False, *(self.is_tie(*pair) for pair in zip(self.models, self.models[1:])), False]
        places: list[int] = []
        for n, with_last in enumerate(tied[:-1]):
            places.append(places[-1] if with_last else n + 1)
        return [f"{place}{'=' if tied[n] or tied[n + 1] else ''}" for n, place in enumerate(places)]


def _rows(run: Run, finished: set[str]) -> list[Row]:
    """Rows of the table; what follows from them is worked out here where it is missing, or of other names."""
    rows: list[Row] = run.table.to_pylist()
    if {row["space"] for row in rows if row["quantity"] == "gap"} == finished or not finished:
        return rows
    return [*(row for row in rows if row["unit"] is not None), *run.experiment.derive(run).rows]


def page(run: Run) -> kit.Page:
    """The page of a ranking, or of one model; of an unfinished run what is there."""
    view, data = _View(run), run.info["data"]
    several, sources = len(view.models) > 1, len(data["groups"])
    title = "Which latent is nearest to its images?" if several else view.models[0].label if view.models else "Images"
    size = " × ".join(str(side) for side in data["shape"])
    facts = {"Images": f"{len(data['files'])}, {size}", "Sources": sources, "Budget": run.settings["budget"]}
    if not view.models or "images" not in run.units:
        return kit.Page(title, facts, ["No model is finished yet."], [])
    few = f"Errors rest on {sources} independent sources only: more of them narrow every interval."
    return kit.Page(
        title,
        facts,
        _readings(view),
        [
            _ranking(view),
            *_pairs(view),
            _noise(view),
            _curves(view),
            _dimension(view),
            *_penalties(view),
            *_predictors(view),
        ],
        method=_method(view),
        glossary=_glossary(view),
        lead=[legend_of(view.spaces), kit.Text(["A space keeps its colour throughout this report."])],
        warnings=[few] if sources < _FEW else [],
    )


def _glossary(view: _View) -> list[kit.Term]:
    from theodolite.diffusability.quantities import NOTES

    words = [view.words[name] for name in ("gap", "shift")]
    terms = [kit.Term(w.label, f"{w.meaning[:1].upper()}{w.meaning[1:]}.", w.unit, w.formula, w.source) for w in words]
    return [*terms, *(kit.Term(name, meaning) for name, meaning in NOTES.items())]


def _readings(view: _View) -> list[str]:
    """The result in sentences, and no more than it says."""
    best, *others = view.models
    gap = view.of("gap", best) or {}
    size = f"{gap['value']:.2f} (95 % interval {_interval(gap)}), where 0 is not at all and 1 altogether"
    if not others:
        first = f"Noise hides the latents of {best.label} and the images differently by {size}."
        return [first, _direction(view.of("shift", best) or {})]
    first = f"Noise hides the latents of {best.label} most like the images: they differ by {size}."
    tied = [other.label for other in others if view.is_tie(best, other)]
    if tied:
        names = tied[0] if len(tied) == 1 else f"{', '.join(tied[:-1])} and {tied[-1]}"
        return [first, f"It is tied with {names}: these images cannot tell which is nearer."]
    P = view.pair("order_probability", best, others[0])["value"]
    sure = "above 0.999" if P > 0.999 else f"{P:.3f}"
    return [first, f"It is nearer to the images than {others[0].label} with probability {sure}."]


def _direction(shift: Mapping[str, Any]) -> str:
    value, margin = float(shift["value"]), 1.96 * float(shift["stderr"])
    if abs(value) <= margin:
        return "On average they hide at the same relative noise, within the error."
    factor = f"{10 ** abs(value):.1f} times {'less' if value < 0 else 'more'}"
    return f"On average its latents hide at {factor} noise, for their variance."


def _interval(row: Mapping[str, Any], digits: int = 2) -> str:
    return f"{row['low']:.{digits}f} to {row['high']:.{digits}f}"


def _ranking(view: _View) -> kit.Section:
    several, data = len(view.models) > 1, view.info["data"]
    scalars = [name for name in ("gap_gaussian", "shift", "psnr", "ssim") if view.of(name, view.models[0])]
    columns = [kit.Column("model"), *([kit.Column("place")] if several else []), kit.Column("gap")]
    columns += [kit.Column("interval", "95 % interval")]
    columns += [_column(view, name, spare=name == "ssim") for name in scalars]
    columns += [kit.Column("latent", spare=True), kit.Column("compression_ratio", "D / m", spare=True)]
    rows = [
        [model.cell, *([place] if several else []), *_numbers(view, model, scalars)]
        for model, place in zip(view.models, view.places)
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
    figure = points_of("gaps", about, across, view.models, partial(view.of, "gap"), hollow)
    table = kit.Table("models", title, columns, rows, caption)
    return kit.Section("ranking", "Ranking" if several else "Gap", text, [figure, table])


def _column(view: _View, name: str, spare: bool = False) -> kit.Column:
    return kit.Column(name, view.words[name].label, view.words[name].unit, spare)


def _numbers(view: _View, model: Series, scalars: Sequence[str]) -> list[kit.Cell]:
    gap, shape = view.of("gap", model) or {}, view.run.about(model.key)["space"]["shape"]
    ratio = math.prod(view.info["data"]["shape"]) / math.prod(shape)
    return [
        kit.number_cell(gap, strong=True),
        kit.Cell(_interval(gap, 3), [gap["low"], gap["high"]]),
        *(kit.number_cell(view.of(name, model)) for name in scalars),
        kit.Cell(" × ".join(str(size) for size in shape), shape),
        kit.Cell(f"{ratio:.3g}", ratio),
    ]


def _pairs(view: _View) -> list[kit.Section]:
    models = view.models
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
        kit.Table("probabilities", "probability that the row is nearer", heads, matrix, brief=False),
        kit.Table("pairs", "pairs, with the probability of their order", names, pairs, folded=True),
    ]
    return [kit.Section("pairs", "Pairs", view.text["pairs"], blocks)]


def _pair(view: _View, first: Series, second: Series) -> list[Any]:
    verdict = "a tie" if view.is_tie(first, second) else "ordered"
    difference = kit.number_cell(view.pair("gap_difference", first, second))
    return [f"{first.label} before {second.label}", _order(view, first, second), difference, verdict]


def _order(view: _View, first: Series, second: Series) -> kit.Cell:
    if first == second:
        return kit.Cell("–")
    row, tie = view.pair("order_probability", first, second), view.is_tie(first, second)
    P = float(row["value"])
    text = "> 0.999" if P > 0.999 else "< 0.001" if P < 0.001 else f"{P:.3f}"
    entry = {name: row[name] for name in ("value", "stderr", "low", "high", "n", "status")}
    return kit.Cell(text, entry, below="tie" if tie else "", strong=not tie and P > 0.5)


def _over(
    view: _View, quantity: str, title: str, up: str, x: str = "t", beside: str = "", **options: Any
) -> kit.Figure:
    """A quantity of every space over noise; beside it that of the Gaussian denoiser, or raw values of the models."""
    floor, raw = partial(view.curve, quantity, denoiser="gaussian"), partial(view.curve, f"{quantity}_raw")
    other = {"Gaussian denoiser": floor, "raw": raw}.get(beside)
    drawn = view.models if beside == "raw" else view.spaces
    options |= {"x": x, "across": _ACROSS[x], "up": up, "beside": (beside, other) if other else None}
    return curves_of(quantity, title, drawn, partial(view.curve, quantity), **options)


def _noise(view: _View) -> kit.Section:
    floor: dict[str, Any] = {"beside": "Gaussian denoiser", "span": (-0.02, 1.02), "change": lambda share: 1 - share}
    figures = [
        _over(view, "resolved", "Hidden so far, MMSE / V", "MMSE / V", "tau", **floor),
        _over(view, "share", "Hidden here, τ dMMSE/dt", "d(MMSE / V) / d log τ", "tau", least=0.0),
    ]
    bands = kit.Text(["Bands: 95 % intervals over sources at each noise on its own."])
    return kit.Section("noise", "Variance over noise", view.text["noise"], [view.floor, kit.Figures(figures), bands])


def _curves(view: _View) -> kit.Section:
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


def _dimension(view: _View) -> kit.Section:
    options: dict[str, Any] = {"beside": "Gaussian denoiser", "logarithmic": True}
    figure = _over(view, "local_dimension", "Local dimension", "MMSE / t", "tau", **options)
    return kit.Section("dimension", "Dimension", view.text["dimension"], [view.floor, figure])


def _penalties(view: _View) -> list[kit.Section]:
    from theodolite.diffusability.quality import PENALTIES

    measured = [name for name in PENALTIES if any(view.of(name, model) for model in view.models)]
    if not measured:
        return []
    side = view.info.get("penalty_side")
    crops = [f"Crops are {side} × {side} pixels, from the centre."] if side else []
    rows = [[model.cell, *(_penalty(view, model, name) for name in measured)] for model in view.models]
    columns = [kit.Column("model"), *(_column(view, name) for name in measured)]
    bars = [bars_of(view.words[name], view.models, partial(view.of, name)) for name in measured]
    table = kit.Table("penalties", "penalties", columns, rows, brief=False)
    blocks: list[kit.Block] = [legend_of(view.models), kit.Figures(bars, small=True), table]
    return [kit.Section("penalties", "Penalties", [*view.text["penalties"], *crops], blocks)]


def _predictors(view: _View) -> list[kit.Section]:
    """The numbers of registered predictors, one column each."""
    run = view.run
    names = [name for name in view.info.get("predictors") or [] if name in run.quantities]
    if not names:
        return []
    rows = [[model.cell, *(kit.number_cell(view.of(name, model)) for name in names)] for model in view.models]
    columns = [kit.Column("model"), *(_column(view, name) for name in names)]
    text = "What packages beside this one forecast from; nothing here says that they forecast well."
    return [kit.Section("predictors", "Predictors", [text], [kit.Table("predictors", "predictors", columns, rows)])]


def _penalty(view: _View, model: Series, name: str) -> kit.Cell:
    message = view.run.about(model.key).get("messages", {}).get(name, "")
    return kit.number_cell(view.of(name, model), message)


def _method(view: _View) -> list[kit.Facts]:
    note = view.info.get("note")
    held_out = " ".join([*view.text["held_out"], *([f"Here {note}."] if note else [])])
    return [
        *(_denoised(view.run, space) for space in view.spaces),
        kit.Facts("Normalisation", {}, " ".join(view.text["normalisation"])),
        kit.Facts("Held out", {}, held_out),
        kit.Facts("Sources", view.info["data"]["groups"]),
    ]


def _denoised(run: Run, space: Series) -> kit.Facts:
    """What was normalised, and which denoiser won where."""
    about = run.about(space.key)
    m, noise = math.prod(about["space"]["shape"]), run.arrays(space.key)["tau"]
    pairs = groupby(zip(about["winners"], (noise * m).tolist()), key=lambda pair: str(pair[0]))
    stretches = [(name, [t for _, t in members]) for name, members in pairs]
    lowest = "; ".join(f"{name} for t from {t[0]:.2g} to {t[-1]:.2g}" for name, t in stretches)
    tried = ", ".join(about["space"]["candidates"])
    facts = {"dimension": m, "scale C": about["space"]["scale"], "denoisers tried": tried, "lowest loss": lowest}
    return kit.Facts(space.label, facts)
