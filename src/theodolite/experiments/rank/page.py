"""The page of a ranking: the forecast first, then how alike latents and images are to a denoiser, and the method."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from theodolite.experiments.rank.forecast_page import forecast_readings, forecast_sections, reach, unknown_losses
from theodolite.experiments.rank.gap_page import gap_readings, gap_sections
from theodolite.experiments.rank.view import View
from theodolite.report import page as kit
from theodolite.report.series import Series, legend_of

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["page"]

_FEW = 10
"""Sources below which the page says that errors rest on few: Student's quantile is then 15 % above the normal one."""


def page(run: Run) -> kit.Page:
    """The page of a ranking, or of one model; of an unfinished run what is there."""
    view, data = View(run), run.info["data"]
    several, sources = len(view.models) > 1, len(data["groups"])
    question = "In which latent space will diffusion train best?"
    title = question if several else view.models[0].label if view.models else "Images"
    size = " × ".join(str(side) for side in data["shape"])
    facts = {"Images": f"{len(data['files'])}, {size}", "Sources": sources, "Budget": run.settings["budget"]}
    if not view.models or "images" not in run.units:
        return kit.Page(title, facts, ["No model is finished yet."], [])
    few = f"Errors rest on {sources} independent sources only: more of them narrow every interval."
    return kit.Page(
        title,
        facts,
        [*forecast_readings(view), *gap_readings(view)],
        [*forecast_sections(view), *gap_sections(view)],
        method=_method(view),
        glossary=_glossary(view),
        lead=[legend_of(view.spaces), kit.Text(["A space keeps its colour throughout this report."])],
        warnings=[*reach(view), *unknown_losses(view), *([few] if sources < _FEW else [])],
    )


def _glossary(view: View) -> list[kit.Term]:
    from theodolite.diffusability.forecast.quantities import NOTES as OF_FORECASTS
    from theodolite.diffusability.quantities import NOTES

    words = [view.words[name] for name in ("forecast", "forecast_thrown", "rfd_share", "nu", "lds", "gap", "shift")]
    terms = [kit.Term(w.label, f"{w.meaning[:1].upper()}{w.meaning[1:]}.", w.unit, w.formula, w.source) for w in words]
    return [*terms, *(kit.Term(name, meaning) for name, meaning in {**OF_FORECASTS, **NOTES}.items())]


def _method(view: View) -> list[kit.Facts]:
    note = view.info.get("note")
    held_out = " ".join([*view.text["held_out"], *([f"Here {note}."] if note else [])])
    return [
        *_calibration(view),
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


def _calibration(view: View) -> list[kit.Facts]:
    """What the forecast rests on."""
    if view.forecasts is None or not view.forecast_models:
        return []
    fit = view.forecasts.fit
    judged = view.run.settings.get("features") or "random convolutions, seed 0"
    facts = {
        "formula": fit.formula.name,
        "study": "studies/prediction (docs/prediction.md)",
        "latent spaces": f"{fit.designs} of {fit.data}, shapes {', '.join('x'.join(map(str, s)) for s in fit.shapes)}",
        "network": f"{fit.network}, batches of {fit.batch}",
        "features of reconstructions": judged,
    }
    return [kit.Facts("Forecast", facts)]
