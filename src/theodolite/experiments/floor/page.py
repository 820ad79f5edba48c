"""The page of a floor: its curve with the band, and what a user's own training has still to learn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from theodolite.estimates.quantity import Quantity
from theodolite.report import page as kit
from theodolite.report.page import Figures, Page, Section, Table
from theodolite.report.series import Series, curves_of, legend_of, series_of

if TYPE_CHECKING:
    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "page"]

_SOURCE = "derived here; Zhong et al. 2026 (arXiv 2606.03578) for Gaussians"
_ALL = (
    Quantity(
        name="loss_floor",
        label="Floor of the loss",
        unit="an entry",
        formula="E[w(σ) MMSE(σ²)]/m",
        source=_SOURCE,
        meaning="no network gets below it: an upper bound of that, its interval reaches down to the lower bound",
    ),
    Quantity(
        name="floor",
        label="Floor at a noise level",
        unit="an entry",
        formula="w(σ) MMSE(σ²)/m",
        source=_SOURCE,
        meaning="the least loss at noise σ over the signal; the truth lies in the band",
    ),
    Quantity("own_loss", "Own loss", "an entry", meaning="of the training whose log was given, at its last step"),
    Quantity("learned", "Learned", "an entry", meaning="how far the own loss has fallen since the first step"),
    Quantity("left", "Still to learn", "an entry", meaning="own loss above the floor: at least so much"),
    Quantity("impossible", "Impossible", "an entry", meaning="the part of the loss that is floor: at most so much"),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
_WORDS = {"v": "velocity", "eps": "noise", "x0": "clean latent", "edm": "clean latent, EDM weight"}
_METHOD = (
    "Sources are divided into a few parts, and each is denoised by what was made from the others: a Gaussian of the "
    "full covariance, a mixture of the latents, a filter along cosines, networks with more budget. At every level the "
    "lowest held-out loss bounds the MMSE from above. Below, the MMSE is concave in the law: latents are noised and "
    "denoised by the mixture that holds them. Nothing is known of a part of the law that no image shows."
)


def page(run: Run) -> Page:
    """The report of a floor; its table is the terminal's too."""
    settings, model = run.settings, run.info["model"]["name"]
    facts = {
        "Model": model,
        "Latent": " × ".join(map(str, run.info["latent_shape"])),
        "Loss": _WORDS[settings["loss"]],
        "Times": settings["time"],
        "Images": len(run.info["data"]["files"]),
        "Sources": len(run.info["data"]["groups"]),
    }
    alone = {row["quantity"]: row for row in run.rows(sigma=None)}
    names = [quantity for quantity in _ALL if quantity.name in alone]
    line = [model, *(kit.number_cell(alone[quantity.name]) for quantity in names)]
    caption = "Means over entries of a latent. A bound is printed with its width."
    table = Table("floor", f"{model}, {_WORDS[settings['loss']]}", ["model", *kit.columns_of(names)], [line], caption)
    sections = [
        Section("levels", "By noise level", _text(run), _figures(run)),
        Section("numbers", "Numbers", blocks=[table]),
    ]
    denoised = run.about("latents") if "latents" in run.units else {"space": {"candidates": ()}}
    method = [kit.Facts("Bounds", {"denoisers tried": ", ".join(denoised["space"]["candidates"])}, _METHOD)]
    return Page(f"Loss floor of {model}", facts, _readings(run, alone), sections, method, kit.terms_of(_ALL))


def _readings(run: Run, alone: dict[str, Any]) -> list[str]:
    floor = alone.get("loss_floor")
    if floor is None:
        return ["No latents are finished."]
    kind = f"{_WORDS[run.settings['loss']]} loss with {run.settings['time']} times"
    sentences = [
        f"No network gets its {kind} below a floor between {floor['low']:.3g} and {floor['high']:.3g} an entry."
    ]
    if "left" in alone:
        own, learned = alone["own_loss"]["value"], alone["learned"]["value"]
        least, most = (max(0.0, alone["left"][end]) for end in ("low", "high"))
        sentences.append(
            f"Your training stands at {own:.4g}: it has learned {learned:.4g}, between {least:.4g} and {most:.4g} are "
            "still to learn, and the rest is impossible."
        )
        if alone["left"]["high"] < 0:
            sentences.append("It is below the floor: it has seen these images, or its loss is of another kind.")
    return sentences


def _text(run: Run) -> tuple[str, ...]:
    text = (
        "The least loss at each noise level, an entry. The upper line is what the best denoiser that was tried loses "
        "on latents that it never saw; the band reaches down to what is surely lost.",
    )
    return (*text, "Dotted: your own training at its last step.") if _own(run) else text


def _figures(run: Run) -> list[Any]:
    (series,) = series_of({"floor": "floor"})
    rows = sorted((row for row in run.rows("floor") if _is_shown(row["sigma"])), key=lambda row: row["sigma"])
    own = sorted(_own(run), key=lambda row: row["sigma"])

    def of(item: Series) -> list[Any]:
        return rows

    figure = curves_of(
        "floor",
        "Floor by noise level",
        [series],
        of,
        x="sigma",
        across="noise over signal σ",
        up="loss an entry",
        beside=("own training", lambda item: own) if own else None,
        least=0.0,
        size="wide",
    )
    return [legend_of([series]), Figures([figure])]


def _own(run: Run) -> list[Any]:
    """The user's losses by noise level."""
    return [row for row in run.rows() if row["quantity"] == "own_loss" and row["sigma"] is not None]


def _is_shown(sigma: float | None) -> bool:
    """Levels that trainings draw: six decades of variance about that of latents near unit scale."""
    return sigma is not None and -7 < math.log(sigma) < 7
