"""`phases`: a family of samples over a box of two parameters, from draws to a phase map with geodesics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, numbers
from theodolite.runs.settings import DEVICE, SEED, SIZE, Argument, Setting
from theodolite.zoo import FAMILIES

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from theodolite.estimates.quantity import Quantity
    from theodolite.families import Family, ParameterGrid
    from theodolite.geodesics import PhaseCurve
    from theodolite.maps import Autoencoder
    from theodolite.report.page import Page
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT"]

_OF_GENERATORS = ("anchor", "embedding", "size", "noise", "device")
"""Settings that belong to a generator; those of the families of the zoo stand with these."""

_PICTURES = 8
"""Of every region, and along every curve: what is still seen in a row of a page."""

_CELLS = 7
"""Cells along a side, at least: the direct metric takes differences over seven."""


def _four(box: Sequence[float]) -> list[float]:
    if len(box) != 4:
        raise InputError(f"box expected as four numbers, low and high of each parameter, got {len(box)}")
    return [*box]


def _below_one(noise: float) -> float:
    if noise >= 1:
        raise InputError(f"noise in [0, 1) expected, as a part of the anchors' size, got {noise:g}")
    return noise


class Phases(Experiment):
    """Fit the Fisher metric of a family of samples over two parameters, and map its phases, ridges and geodesics.

    SOURCE is one of zoo:ising (coupling K and field h, exact posteriors), zoo:tasep (rates of injection and removal,
    exact posteriors), zoo:mixture-diffusion (the plane of noise of a diffusion model with exact score), or a generator:
    what `theodolite survey` takes, with three anchors, as the plane through three latents.

    Samples are drawn at parameters spread evenly over the box; their posteriors over a grid of cells are exact for
    families with a likelihood, and from features elsewhere. The metric in use is the Hessian of the fitted potential
    for an exponential family in natural parameters (Ising), otherwise the direct one, `E[(d log p)²]`. The potential is
    fitted in any case, and the Codazzi residual says whether it means anything.

    Examples:
      theodolite phases zoo:ising --out runs/ising
      theodolite phases zoo:mixture-diffusion --out runs/mixture --zoom 4
      theodolite phases ./my-vae --anchor a.png,b.png,c.png --size 64 --out runs/plane
    """

    kind = "phases"
    summary = SUMMARIES["phases"]
    arguments = (Argument("source", "A family of the zoo, or a generator with three anchors."),)
    settings = (
        Setting(
            name="anchor",
            default=(),
            many=True,
            help="Three latents of a generator, each an image, a .safetensors file or seed:3.",
            metavar="LATENT",
        ),
        Setting(
            name="embedding",
            default="patches",
            help="Of a generator's images: pixels, patches (mean and spread of 8 x 8 patches) or "
            "package.module:factory.",
        ),
        SIZE,
        Setting(
            name="noise",
            default=0.05,
            kind=float,
            least=0,
            help="Of a generator's latents, as a part of their size, below 1.",
            check=_below_one,
        ),
        Setting(name="side", kind=int, least=2, help="Of the Ising torus; 6 by default."),
        Setting(name="sites", kind=int, least=1, help="Of the TASEP chain; 24 by default."),
        Setting(
            name="box",
            kind=float,
            many=True,
            check=_four,
            metavar="LOW,HIGH,LOW,HIGH",
            help="Low and high of the first parameter, then of the second.",
        ),
        Setting(name="grid", kind=int, least=1, help="Cells along a side, 7 or more."),
        Setting(name="samples", kind=int, least=4, help="Draws of the parameters."),
        Setting(
            name="bundle", kind=int, least=1, help="Samples in a bundle; of features, the sharpness of posteriors."
        ),
        Setting(
            name="zoom",
            kind=float,
            metavar="FACTOR",
            help="Map again around the steepest cell, in a box so many times smaller.",
            role="places",  # the smaller box is a unit of its own, whose identity holds the factor
        ),
        Setting(
            name="between",
            default=(),
            kind=float,
            many=True,
            each=4,
            metavar="A1,A2,B1,B2",
            help="More geodesics, each from (A1, A2) to (B1, B2).",
        ),
        SEED,
        DEVICE,
    )
    coordinates: ClassVar = {"level": int, "curve": int, "kind": str}
    requires: ClassVar = {"family": dict, "family.name": str, "family.parameters": list, "metric": str}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.latents import check_ends
        from theodolite.data.plane_family import PlaneFamily, embedding_of
        from theodolite.families.sampling import check_samples

        super().__init__(given)
        self._check_settings()
        family = self._family_of_zoo()
        if family is None:
            check_ends(given["anchor"])
            embedding_of(given["embedding"])
        shape: Family | type[PlaneFamily] = family or PlaneFamily
        self.grid = _grid(shape, given["box"], given["grid"])
        self.between = _requested(given["between"] or (), self.grid)
        self.samples = given["samples"] or shape.samples
        if getattr(shape, "features", False):
            check_samples(self.samples, self.grid)
        self.units = ("level-0",) if given["zoom"] is None else ("level-0", "level-1")
        self._known = family

    def _check_settings(self) -> None:
        """Refuse settings of another source, and a generator without its anchors."""
        source = self.given["source"]
        if _is_family(source):
            return
        own = FAMILIES.get(source) if isinstance(source, str) else None
        taken = _OF_GENERATORS if own is None else own
        defaults = {setting.name: setting.checked_default() for setting in self.settings}
        for name in (*_OF_GENERATORS, *(setting for known in FAMILIES.values() for setting in known)):
            if name not in taken and self.given[name] not in (defaults[name], None, []):
                options = ", ".join(f"--{option}" for option in taken) or "no settings of its own"
                raise InputError(f"--{name} does not belong to {source}, which takes {options}; leave it out")
        if own is None and len(self.given["anchor"]) != 3:
            raise InputError(
                f"three anchors expected with a generator, got {len(self.given['anchor'])}; give --anchor with three "
                f"latents, or one of {', '.join(FAMILIES)} as the source"
            )
        if self.given["zoom"] is not None and self.given["zoom"] <= 1:
            raise InputError(f"a zoom above 1 expected, got {self.given['zoom']:g}")

    def _family_of_zoo(self) -> Family | None:
        """The family that is named or given; None for a generator, which is loaded later."""
        from theodolite.zoo.phase_families import family_of

        source = self.given["source"]
        if _is_family(source):
            return source  # type: ignore[no-any-return]
        own = FAMILIES.get(source) if isinstance(source, str) else None
        return None if own is None else family_of(source, **{name: self.given[name] for name in own})

    def open(self) -> None:
        """Load the generator and read its anchors, where the source is one."""
        from theodolite.data.models import opened_autoencoder
        from theodolite.data.plane_family import PlaneFamily

        self.model: Autoencoder | None = None
        if self._known is not None:
            self.source: Family = self._known
            return
        self.model = opened_autoencoder(self.given["source"], device=self.given["device"])
        self.device = self.model.device
        self.source = PlaneFamily(self.model, *(self.given[name] for name in ("anchor", "embedding", "size", "noise")))

    def record(self) -> dict[str, Any]:
        """The family, the metric in use, and the generator."""
        described = self.source.describe()
        model = {"model": described.pop("model")} if "model" in described else {}
        family = {
            "name": self.source.name,
            "parameters": [*self.source.parameters],
            "exponential": self.source.exponential,
            "samples": self.samples,
            **described,
        }
        return {
            "family": family,
            "metric": "Hessian of the potential" if self.source.exponential else "direct",
            **model,
        }

    def content(self) -> dict[str, Any]:
        """The family, or the generator's fingerprint with where the anchors are from."""
        if self.model is None:
            return {"family": self.source.describe()}
        ends = [{k: v for k, v in end.items() if k in ("sha256", "seed")} for end in self.source.describe()["anchors"]]
        return {"model": self.model.fingerprint(), "anchors": ends}

    def identity(self, unit: str) -> Any:
        """Of the smaller box, by how much it is smaller."""
        return self.given["zoom"] if unit == "level-1" else None

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Map one level: draws, metric, potential, phases, geodesics, then pictures."""
        from theodolite.experiments.phases.level import stored
        from theodolite.families import map_family
        from theodolite.geodesics import phase_curves
        from theodolite.geodesics.phase_curves import MOST_REGIONS

        n, seed, bundle = int(unit[-1]), self.given["seed"], self.given["bundle"]
        grid = self.grid if n == 0 else self._zoomed(sitting)
        it = map_family(self.source, grid, samples=self.samples, bundle=bundle, seed=seed, tell=sitting.tell)
        sitting.tell("geodesics")
        in_use = it.potential if it.exponential else None
        curves = phase_curves(it.direct, in_use, it.phases, self.between if n == 0 else ())
        sitting.tell("pictures")
        regions = range(min(it.phases.count, MOST_REGIONS))
        pictured = [it.phases.climb(region, _PICTURES).tolist() for region in regions]
        rows = numbers(it.numbers, level=n)
        for place, curve in enumerate(curves):
            rows += numbers(curve.numbers, level=n, curve=place, kind=curve.kind)
        arrays, about = stored(it, curves, pictured)
        return Piece(rows, arrays, self._drawn(grid, pictured, curves), about)

    def _zoomed(self, sitting: Sitting) -> ParameterGrid:
        """The smaller box around the steepest cell of the first level."""
        from theodolite.families import zoom

        height = sitting.piece("level-0").arrays["height"]
        return zoom(self.grid, self.grid.points[int(height.argmax())], self.given["zoom"])

    def _drawn(
        self, grid: ParameterGrid, pictured: Sequence[Sequence[int]], curves: Sequence[PhaseCurve]
    ) -> dict[str, Image]:
        """Samples of every large region from its floor up to its steepest cell, and along every curve."""
        import torch

        from theodolite.data.images import side_by_side

        seed, drawn = self.given["seed"], {}
        for region, cells in enumerate(pictured):
            for n, picture in enumerate(self.source.pictures(grid.points[[*cells]], seed)):
                drawn[f"region-{region}-{n}"] = picture
        for n, curve in enumerate(curves):
            places = torch.linspace(0, len(curve.points) - 1, _PICTURES).round().long()
            drawn[f"curve-{n}"] = side_by_side(self.source.pictures(curve.points[places], seed))
        return drawn

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """The table of cells."""
        from theodolite.experiments.phases.level import Level

        levels = [Level(run.piece(unit)) for unit in run.units]
        return Derived(tables={"cells": [row for n, level in enumerate(levels) for row in level.cells(n)]})

    @classmethod
    def page(cls, run: Run) -> Page:
        """Fields over the box, regions with samples, geodesics, and what decides how far they can be trusted."""
        from theodolite.experiments.phases.page import page

        return page(run)

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What the numbers of a level and of a geodesic are called."""
        from theodolite.experiments.phases.page import QUANTITIES

        return QUANTITIES


def _is_family(source: Any) -> bool:
    from theodolite.maps import Autoencoder

    return not isinstance(source, str | os.PathLike | Autoencoder)


def _grid(family: Any, box: Sequence[float] | None, cells: int | None) -> ParameterGrid:
    """The cells of the first level, if the family knows their box."""
    from theodolite.families import ParameterGrid

    low, high = family.box if box is None else ((box[0], box[2]), (box[1], box[3]))
    side = cells or family.cells
    if side < _CELLS:
        raise InputError(f"at least {_CELLS} cells along a side expected, got {side}; give a larger --grid")
    grid = ParameterGrid(low, high, (side, side))
    check = getattr(family, "check", None)
    if check is not None:
        check(grid)
    return grid


def _requested(between: Sequence[Sequence[float]], grid: ParameterGrid) -> list[Tensor]:
    """The ends of each geodesic that is named, `(2, 2)`."""
    import torch

    pairs = [torch.tensor(four, dtype=torch.float64).unflatten(0, (2, 2)) for four in between]
    for four, pair in zip(between, pairs):
        if not bool(grid.inside(pair).all()):
            raise InputError(
                f"ends of a geodesic in the box {grid.low} to {grid.high} expected as four numbers, got {tuple(four)}"
            )
        if torch.equal(*pair):
            raise InputError(f"two ends of a geodesic expected, got {tuple(four[:2])} twice")
    return pairs


EXPERIMENT = Phases
