"""The page of a path: strips of pictures, jumps and distances, and the numbers of each route."""

from __future__ import annotations

from typing import TYPE_CHECKING

from theodolite.estimates.quantity import Quantity
from theodolite.report import palette
from theodolite.report.drawing import lines
from theodolite.report.page import (
    Column,
    Facts,
    Figure,
    Figures,
    Legend,
    Page,
    Pictures,
    Section,
    Table,
    number_cell,
    terms_of,
)
from theodolite.report.pictures import image_uri
from theodolite.report.rounding import shown

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as Plot
    from torch import Tensor

    from theodolite.runs.run import Run

__all__ = ["QUANTITIES", "page"]

_ROUTES = {
    "linear": "the straight line of latents",
    "slerp": "the arc between their directions",
    "geodesic": "the shortest way of images",
}

_ALL = (
    Quantity(
        name="length",
        label="length",
        unit="RMS",
        meaning="of the decoded curve by chords at twice the steps, a lower bound with its width",
    ),
    Quantity(name="chord", label="chord", unit="RMS", meaning="distance of the two end images"),
    Quantity(
        name="tortuosity",
        label="tortuosity",
        meaning="length over chord: 1 is a straight line of images; straightness is 1 over it",
    ),
    Quantity(name="gap", label="gap", meaning="how much shorter than the straight line of latents, as a part of it"),
    Quantity(name="largest_jump", label="largest jump", unit="RMS", meaning="largest change of the image in one step"),
    Quantity(
        name="jump_variation",
        label="jump variation",
        meaning="standard deviation over mean of the jumps; 0 at constant speed",
    ),
    Quantity(
        name="latent_length",
        label="latent length",
        unit="RMS",
        meaning="of the curve of latents, root mean square over entries",
    ),
    Quantity(name="jump", label="jump", unit="RMS", meaning="change of the image in one step"),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
_IN_TABLE = [name for name in QUANTITIES if name != "jump"]


def page(run: Run) -> Page:
    """The report of a path; its table is the terminal's too."""
    ends = " to ".join(str(end["name"]) for end in run.info["ends"])
    return Page(
        ends,
        {
            "Model": run.info["model"]["name"],
            "Latent": " × ".join(map(str, run.info["latent_shape"])),
            "Steps": run.settings["steps"],
        },
        _readings(run),
        [_strips(run), _jumps(run), Section("numbers", "Numbers", blocks=[_table(run, ends)])],
        [
            Facts(
                "Geodesic",
                {},
                "The minimum of the chord energy of decoded points that the straight line leads to (Shao, Kumar and "
                "Fletcher 2018), with its full gradient; not surely the shortest of all.",
            )
        ],
        terms_of(_ALL),
    )


def _table(run: Run, ends: str) -> Table:
    columns = [Column("route"), *(Column(n, QUANTITIES[n].label, about=n, spare=n in _SPARE) for n in _IN_TABLE)]
    rows = [
        [route, *(number_cell(numbers[name]) for name in _IN_TABLE), run.about(route)["curve"]]
        for route, numbers in _numbers(run).items()
    ]
    caption = "Distances: root mean square over pixels. Lengths are lower bounds by chords, (width) their width."
    return Table("routes", f"{run.info['model']['name']}, {ends}", [*columns, "curve"], rows, caption)


_SPARE = ("largest_jump", "jump_variation", "latent_length")


def _numbers(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Rows by route and quantity."""
    return {route: {row["quantity"]: row for row in run.rows(route=route, step=None)} for route in run.units}


def _readings(run: Run) -> list[str]:
    numbers = _numbers(run)
    if "linear" not in numbers:
        route, own = next(iter(numbers.items()))
        return [f"Along the {route} route the images travel {number_cell(own['length'])} (RMS)."]
    times = number_cell(numbers["linear"]["tortuosity"])
    sentences = [f"On the straight line of latents the images travel {times} times the distance between the two."]
    if "geodesic" in numbers:
        sentences.append(_geodesic(numbers["geodesic"]["gap"], run.about("geodesic")["curve"]))
    return sentences


def _geodesic(gap: dict[str, float], status: str) -> str:
    size, error = 100 * gap["value"], 100 * gap["stderr"]
    if abs(size) <= 1.96 * error:
        return "The shortest way found is no shorter than that within its error."
    note = "" if status == "ok" else f" (status: {status})"
    return f"The shortest way found is {shown(abs(size), error)} % {'shorter' if size > 0 else 'longer'}{note}."


def _images(run: Run) -> dict[str, Tensor]:
    return {route: run.arrays(route)["images"] for route in run.units}


def _strips(run: Run) -> Section:
    span = run.info["model"]["output_range"]
    rows = [
        (route, [(image_uri(image, span), f"{route}, step {step}") for step, image in enumerate(images)])
        for route, images in _images(run).items()
    ]
    return Section("routes", "Routes", blocks=[Pictures(rows)])


def _jumps(run: Run) -> Section:
    colours = {route: palette.MODELS[list(_ROUTES).index(route)] for route in run.units}
    marks = [(colours[route], "solid", f"{route}: {_ROUTES[route]}") for route in run.units]
    text = (
        "How far each step moves the image: even for a geodesic, with a peak where a route crosses something steep.",
        "Right: a straight line of images would run from corner to corner; what bulges is a detour.",
    )

    def jumps() -> Plot:
        steps = {route: run.column("jump", route=route) for route in run.units}
        return lines({r: (c["step"], c["value"]) for r, c in steps.items()}, colours, "step", "change (RMS)")

    def distances() -> Plot:
        return lines(
            {route: _from_ends(images) for route, images in _images(run).items()},
            colours,
            "from the first image (RMS)",
            "from the last (RMS)",
        )

    figures = [
        Figure("jumps", "Change of the image in each step", jumps, "Each step"),
        Figure("travelled", "Distance from first and last image", distances, "Distances from both ends"),
    ]
    return Section("jumps", "Jumps", text, [Legend(marks), Figures(figures)])


def _from_ends(images: Tensor) -> tuple[list[float], list[float]]:
    """Distances of every image from the first and from the last."""
    flat = images.flatten(1).double() / images[0].numel() ** 0.5
    return (flat - flat[0]).norm(dim=1).tolist(), (flat - flat[-1]).norm(dim=1).tolist()
