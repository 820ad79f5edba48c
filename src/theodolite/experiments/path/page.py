"""The page of a path: strips of pictures, jumps and distances, and the numbers of each route."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from theodolite.estimates.quantity import Quantity
from theodolite.report import page as kit
from theodolite.report.page import Figures, Page, Pictures, Section, Table
from theodolite.report.pictures import image_uri
from theodolite.report.rounding import shown
from theodolite.report.series import curves_of, legend_of, series_of
from theodolite.runs.rows import crossed

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.runs.experiment import Row
    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "page"]

_ROUTES = {
    "linear": "the straight line of latents",
    "slerp": "the arc between their directions",
    "geodesic": "the shortest way of images",
}

_LENGTH = "of the decoded curve by chords at twice the steps, a lower bound with its width"
_STRAIGHT = "length over chord: 1 is a straight line of images; straightness is 1 over it"
_GAP = "how much shorter than the straight line of latents, as a part of it"
_EVEN = "standard deviation over mean of the jumps; 0 at constant speed"
_OF_LATENTS = "of the curve of latents, root mean square over entries"
_ALL = (
    Quantity("length", "length", "RMS", meaning=_LENGTH),
    Quantity("chord", "chord", "RMS", meaning="distance of the two end images"),
    Quantity("tortuosity", "tortuosity", meaning=_STRAIGHT),
    Quantity("gap", "gap", meaning=_GAP),
    Quantity("largest_jump", "largest jump", "RMS", meaning="largest change of the image in one step"),
    Quantity("jump_variation", "jump variation", meaning=_EVEN),
    Quantity("latent_length", "latent length", "RMS", meaning=_OF_LATENTS),
    Quantity("embedded_length", "length in the embedding", "RMS", meaning="of the curve of features, by chords"),
    Quantity("embedded_chord", "chord in the embedding", "RMS", meaning="distance of the features of both ends"),
    Quantity(
        "embedded_tortuosity", "tortuosity in the embedding", meaning="length over chord there: 1 is a straight line"
    ),
    Quantity("jump", "jump", "RMS", meaning="change of the image in one step"),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
_PLAIN = {"type": "linear"}
_SPARE = ("largest_jump", "jump_variation", "latent_length")
_METHOD = (
    "The minimum of the chord energy of decoded points that the straight line leads to (Shao, Kumar and Fletcher "
    "2018), with its full gradient; not surely the shortest of all."
)
_CAPTION = "Distances: root mean square over pixels. Lengths are lower bounds by chords, (width) their width."


def page(run: Run) -> Page:
    """The report of a path; its table is the terminal's too."""
    model, ends = run.info["model"]["name"], " to ".join(str(end["name"]) for end in run.info["ends"])
    facts = {"Model": model, "Latent": " × ".join(map(str, run.info["latent_shape"])), "Steps": run.settings["steps"]}
    numbers, quantities = crossed(run.rows(step=None), "route", "quantity"), _shown(run)
    lines = (([route], own) for route, own in numbers.items())
    rows = [[*line, run.about(line[0])["curve"]] for line in kit.numbers_by(lines, [q.name for q in quantities])]
    columns: list[str | kit.Column] = ["route", *kit.columns_of(quantities, _SPARE), "curve"]
    table = Table("routes", f"{model}, {ends}", columns, rows, _CAPTION)
    images = {route: run.arrays(route)["images"] for route in run.units}
    strips = _strips(run, images)
    sections = [
        *([strips] if strips.blocks else []),
        _jumps(run, images),
        Section("numbers", "Numbers", blocks=[table]),
    ]
    method = [kit.Facts("Geodesic", {}, _METHOD)]
    return Page(ends, facts, _readings(run, numbers), sections, method, kit.terms_of(_ALL))


def _shown(run: Run) -> list[Quantity]:
    """The numbers of a route, those of an embedding where there is one."""
    return [quantity for quantity in _ALL[:-1] if not quantity.name.startswith("embedded") or run.settings["embedding"]]


def _readings(run: Run, numbers: Mapping[str, Mapping[str, Row]]) -> list[str]:
    if "linear" not in numbers:
        route, own = next(iter(numbers.items()))
        return [f"Along the {route} route the images travel {kit.number_cell(own['length'])} (RMS)."]
    times = kit.number_cell(numbers["linear"]["tortuosity"])
    sentences = [f"On the straight line of latents the images travel {times} times the distance between the two."]
    if "geodesic" in numbers:
        sentences.append(_geodesic(numbers["geodesic"]["gap"], run.about("geodesic")["curve"]))
    if "embedded_tortuosity" in numbers["linear"]:
        straightest = min(numbers, key=lambda route: numbers[route]["embedded_tortuosity"]["value"])
        tortuosity = kit.number_cell(numbers[straightest]["embedded_tortuosity"])
        sentences.append(f"In the embedding the {straightest} route is the straightest: {tortuosity} times its chord.")
    return sentences


def _geodesic(gap: Mapping[str, float], status: str) -> str:
    size, error = 100 * gap["value"], 100 * gap["stderr"]
    if abs(size) <= 1.96 * error:
        return "The shortest way found is no shorter than that within its error."
    note = "" if status == "ok" else f" (status: {status})"
    return f"The shortest way found is {shown(abs(size), error)} % {'shorter' if size > 0 else 'longer'}{note}."


def _strips(run: Run, images: Mapping[str, Tensor]) -> Section:
    span = run.info["model"]["output_range"]
    rows = [
        (route, [(image_uri(image, span), f"{route}, step {step}") for step, image in enumerate(own)])
        for route, own in images.items()
        if own.ndim == 4 and own.shape[1] in (1, 3)  # a generator may give vectors
    ]
    return Section("routes", "Routes", blocks=[Pictures(rows)] if rows else [])


def _jumps(run: Run, images: Mapping[str, Tensor]) -> Section:
    every = series_of({f"{route}: {words}": route for route, words in _ROUTES.items()})
    series = [item for item in every if item.key in run.units]
    text = (
        "How far each step moves the image: even for a geodesic, with a peak where a route crosses something steep.",
        "Right: a straight line of images would run from corner to corner; what bulges is a detour.",
    )
    jumps, apart = (lambda item: run.rows("jump", route=item.key)), (lambda item: _from_ends(images[item.key]))
    each: dict[str, Any] = {"x": "step", "across": "step", "up": "change (RMS)", "axis": _PLAIN, "marked": True}
    ends: dict[str, Any] = {"across": "from the first image (RMS)", "up": "from the last (RMS)", "axis": _PLAIN}
    figures = [
        curves_of("jumps", "Each step", series, jumps, about="Change of the image in each step", **each),
        curves_of("travelled", "Distances from both ends", series, apart, x="first", marked=True, **ends),
    ]
    return Section("jumps", "Jumps", text, [legend_of(series), Figures(figures)])


def _from_ends(images: Tensor) -> list[Row]:
    """Distances of every image from the first and from the last."""
    flat = images.flatten(1).double() / images[0].numel() ** 0.5
    first, last = ((flat - flat[end]).norm(dim=1).tolist() for end in (0, -1))
    return [{"first": a, "value": b, "low": b, "high": b, "status": "ok"} for a, b in zip(first, last)]
