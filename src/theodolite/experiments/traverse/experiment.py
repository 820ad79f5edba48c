"""`traverse`: psi, nu and delta at the points of a design; what all three designs have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.conditions import CONDITIONS
from theodolite.runs.experiment import Derived, Experiment, Piece, Row, number, numbers
from theodolite.runs.settings import (
    BUDGET,
    DEVICE,
    DTYPE,
    GROUP,
    LIMIT,
    MODEL,
    REVISION,
    SEED,
    SIZE,
    SUBFOLDER,
    Argument,
    Setting,
    closest,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.descriptors import Effort
    from theodolite.descriptors.together import Measurements
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["COMMON", "CORRUPTIONS", "DENOISING", "DESCRIPTORS", "EXPERIMENT", "PLANE", "Points", "Traverse", "summary"]

DESCRIPTORS = ("local_scaling", "local_rank", "local_complexity")
"""Psi, nu and delta."""

_DESIGNS = ("plane", "denoising", "corruptions")
_KINDS = ("gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg", "pixelate")
"""Those of `theodolite.detection.CORRUPTIONS`, whose import would cost help a second."""


class _Different(Setting):
    """A list whose entries differ: words, or scales in the six digits by which names of units tell them apart."""

    def checked(self, value: Any) -> Any:
        """The list, if its entries differ."""
        entries = super().checked(value)
        if entries is None:
            return None
        names = {item if isinstance(item, str) else f"{item:g}" for item in entries}
        if not names or len(names) < len(entries):
            what = "words" if self.kind is str else "scales, to six digits"
            given = ", ".join(str(item) for item in entries) or "none"
            raise InputError(f"`{self.name}` expected as one or more different {what}, got {given}")
        return entries


def _of(design: str, shared: Setting, **changes: Any) -> Setting:
    """A shared setting whose help says which design it belongs to."""
    return replace(shared, help=f"{design}: {shared.help[0].lower()}{shared.help[1:]}", **changes)


_SIZE = replace(SIZE, help="Plane, corruptions: centre square of images, resized to so many pixels.")
_ANCHOR = "Plane: three latents, each an image file, a .safetensors latent or seed:3; "
_PLACES = "their places are (a, b) = (0, 0), (1, 0), (0, 1)."
_GRID = "Plane: places along a side; 13 with the default margin has the anchors among them."
_MARGIN = "Plane: how far it goes beyond the anchors, in sides of their triangle."
_SCALES = "Denoising: scales, each once; 1 alone for a model without conditions."
_OUTPUT = "Denoising: what the map returns."
_FOLDER = "Corruptions: folder of images, with its subfolders."
PLANE = (
    # Where a latent lies is no matter: its content is compared.
    Setting(name="anchor", help=_ANCHOR + _PLACES, many=True, metavar="LATENT", role="places"),
    Setting(name="grid", help=_GRID, default=13, kind=int, least=2),
    Setting(name="margin", help=_MARGIN, default=0.25, kind=float, least=0),
    _SIZE,
)
DENOISING = (
    _of("Denoising", CONDITIONS),
    _Different(name="guidance", help=_SCALES, default=(0.0, 1.0, 2.0, 4.0), kind=float, many=True, least=0),
    _Different(name="output", help=_OUTPUT, default=("x0", "eps"), many=True, choices=("x0", "eps", "v", "score")),
    Setting(name="steps", help="Denoising: of the sampler.", default=10, kind=int, least=1),
    Setting(name="seeds", help="Denoising: noises, each under both conditions.", default=8, kind=int, least=2),
)
CORRUPTIONS = (
    Setting(name="data", help=_FOLDER, metavar="FOLDER", role="places"),
    _Different(name="corruption", help="Corruptions: some of these; all by default.", many=True, choices=_KINDS),
    replace(LIMIT, help="Corruptions: images, from their photographs in turn; 0 for all.", default=8, least=2),
    replace(_SIZE, least=2),
    _of("Corruptions", GROUP, role="measures"),
)
COMMON = (SEED, DEVICE, DTYPE, SUBFOLDER, REVISION)
_BUDGET = replace(BUDGET, default=None, help=f"{BUDGET.help} By default quick, and of denoising standard.")
_ALL = {setting.name: setting for setting in (*PLANE, *DENOISING, *CORRUPTIONS, _BUDGET, *COMMON)} | {"size": _SIZE}


class Traverse(Experiment):
    """Follow local scaling (psi), rank (nu) and complexity (delta) over a plane, along denoising, or over corruptions.

    `plane`: of the decoder of MODEL at `z = z0 + a (z1 - z0) + b (z2 - z0)`, `a` and `b` at `grid` places each. All
    points share their random draws, so that differences over the plane are known better than the error of a cell says.

    `denoising`: of the guided denoiser `x -> output of u + g (c - u)` of MODEL at every level of its deterministic
    sampler (DDIM), each noise under a normal and an unusual condition; guidance 0 has none. Singular values of eps are
    those of `(I - J) / sigma` of x0's `J`, so that the output decides the result. Beside them stand the norm of the
    score and how far the condition moves the predicted noise (after Wen et al. 2024).

    `corruptions`: of the decoder of MODEL at the latents of images that get worse, clean and at severities 1 to 4;
    changes are paired by image, and means are over source photographs.

    The radius of delta is 0.02 of one latent's norm, the same at all points that are compared. Cost: that of the three
    descriptors a point; a guided denoiser counts as two. After Humayun et al. 2025 (arXiv 2408.08307).

    Examples:
      theodolite traverse plane zoo:digits --anchor seed:1,seed:2,seed:3 --out runs/plane
      theodolite traverse denoising zoo:coloured-latent --guidance 0,1,2,4 --out runs/denoising
      theodolite traverse denoising ./my-dit --conditions 207/360 --guidance 1,4 --output x0,v --seeds 4 --out runs/dit
      theodolite traverse corruptions ./my-vae --data photos --corruption jpeg --limit 16 --out runs/jpeg
    """

    kind = "traverse"
    summary = SUMMARIES["traverse"]
    arguments = (Argument("over", "plane, denoising or corruptions."), MODEL)
    settings = tuple(_ALL.values())
    coordinates: ClassVar = {
        **{"anchor": str, "a": float, "b": float},
        **{"guidance": float, "side": str, "output": str, "step": int, "level": float, "seed": int, "prompt": str},
        **{"corruption": str, "severity": int, "image": str, "source": str},
        "measure": str,
    }
    without_derivatives = frozenset({"score_norm", "condition_norm", "pixel_energy", "reconstruction_error"})
    requires: ClassVar[Mapping[str, type]] = {"model": dict, "model.name": str, "arguments.over": str, "design": dict}

    def __new__(cls, given: Mapping[str, Any]) -> Traverse:
        """The experiment of the design that is asked for."""
        return super().__new__(_design(given["over"]).DESIGN)

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.models import check_model

        own = {setting.name: setting for setting in self.settings}
        for name, setting in _ALL.items():
            if name not in own and given[name] != setting.checked_default():
                raise InputError(
                    f"`{name}` belongs to another design, got it with {given['over']}, which has {', '.join(own)}; "
                    "leave it out"
                )
            if name in own:  # some designs ask for more than the others
                own[name].checked(given[name])
        chosen = {name: value for name, value in given.items() if name in own or name not in _ALL}
        super().__init__({**chosen, "budget": given["budget"] or own["budget"].default})
        check_model(given["model"], **self.loading())

    def loading(self) -> dict[str, Any]:
        """Options of `theodolite.load`."""
        return {name: self.given[name] for name in ("subfolder", "revision", "device", "dtype")}

    @property
    def effort(self) -> Effort:
        """What the budget stands for, with its first radius alone."""
        from theodolite.descriptors import EFFORTS

        effort = EFFORTS[self.given["budget"]]
        return replace(effort, radii=effort.radii[:1])

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Means, differences, AUROC; changes, sensitivities and correlations with severity; of a plane nothing."""
        points = [row for row in run.table.to_pylist() if row["unit"] is not None]
        return Derived([*_design(run.arguments["over"]).summaries(points)])

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The words of its quantities."""
        from theodolite.experiments.traverse.page import QUANTITIES

        return QUANTITIES


def _design(over: str) -> Any:
    """The module of a design: its experiment as `DESIGN`, and `summaries(points)` of it."""
    if over not in _DESIGNS:
        raise InputError(f"{', '.join(_DESIGNS)} expected, got {over!r}{closest(over, _DESIGNS)}")
    return import_module(f"theodolite.experiments.traverse.{over}")


@dataclass
class Points:
    """The numbers of a unit, gathered point by point."""

    rows: list[Row] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Image] = field(default_factory=dict)

    def add(self, measured: Measurements, where: Sequence[Mapping[str, Any]]) -> None:
        """Add descriptors at points whose coordinates are `where`."""
        for place, coordinates in enumerate(where):
            self.rows += numbers(measured.estimates, place, **coordinates)
        self.failed += [entry for entry in measured.failed if entry not in self.failed]
        self.messages |= measured.messages

    def piece(self) -> Piece:
        """What is stored."""
        return Piece(self.rows, {}, self.pictures, {}, self.failed, self.messages)


def summary(quantity: str, estimate: Estimate, most: float = math.inf, **coordinates: Any) -> Row:
    """The row of a mean over seeds or images; its interval has two sides even where single values are bounds.

    Args:
        quantity: its name.
        estimate: of one value.
        most: the largest absolute value that can be.
        coordinates: of the row.
    """
    value, reach = float(estimate.value), 1.96 * float(estimate.stderr)
    low, high = (min(max(end, -most), most) for end in (value - reach, value + reach))
    return number(quantity, estimate, low=low, high=high, **coordinates)


EXPERIMENT = Traverse
