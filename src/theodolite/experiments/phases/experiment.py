"""`phases`: a family of samples over a box of two parameters, from draws to a phase map with geodesics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, numbers
from theodolite.runs.settings import DEVICE, OF_SAMPLERS, SEED, SIZE, Argument, Setting
from theodolite.zoo import FAMILIES

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.estimates.quantity import Quantity
    from theodolite.families import Family, ParameterGrid
    from theodolite.geodesics import PhaseCurve
    from theodolite.maps.subject import Subject
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT"]

_OF_GENERATORS = ("anchor", "embedding", "size", "noise", "device", *(setting.name for setting in OF_SAMPLERS))
"""Settings that belong to a generator; those of the families of the zoo stand with these."""

_PICTURES = 8
"""Of every region, and along every curve: what is still seen in a row of a page."""


def _four(box: Sequence[float]) -> list[float]:
    if len(box) != 4:
        raise InputError(f"box expected as four numbers, low and high of each parameter, got {len(box)}")
    return [*box]


def _part(noise: float) -> float:
    if not 0 <= noise < 1:
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
      theodolite phases zoo:coloured-latent --anchor seed:1,seed:2,seed:3 --out runs/noises
    """

    kind = "phases"
    summary = SUMMARIES["phases"]
    arguments = (Argument("source", "A family of the zoo, or a generator with three anchors."),)
    settings = (
        Setting(
            name="anchor",
            default=(),
            many=True,
            metavar="LATENT",
            help="Three latents of a generator, each an image, a .safetensors file or seed:3.",
        ),
        Setting(
            name="embedding",
            default="patches",
            help="Of a generator's images: pixels, patches (mean and spread of each 8 x 8) or package.module:factory.",
        ),
        SIZE,
        *OF_SAMPLERS,
        Setting(
            name="noise", default=0.05, kind=float, check=_part, help="Of latents, as a part of the anchors' size."
        ),
        Setting(name="side", kind=int, least=2, help="Of the Ising torus; 6 by default."),
        Setting(name="sites", kind=int, least=1, help="Of the TASEP chain; 24 by default."),
        Setting(name="box", kind=float, many=True, check=_four, metavar="LOW,HIGH,LOW,HIGH", help="Of each parameter."),
        Setting(name="grid", kind=int, least=1, help="Cells along a side, 7 or more."),
        Setting(name="samples", kind=int, least=4, help="Draws of the parameters."),
        Setting(name="bundle", kind=int, least=1, help="Samples in a bundle; of features, posteriors' sharpness."),
        # the smaller box is a unit of its own, whose identity holds the factor
        Setting(
            name="zoom",
            kind=float,
            above=1,
            metavar="FACTOR",
            role="places",
            help="Map again around the steepest cell, in a box so many times smaller.",
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
        Setting(
            name="boundaries",
            default=3,
            kind=int,
            least=0,
            help="Boundaries of the largest regions that are followed down to 1e-8, and their dimension; 0 for none. "
            "Of generators and zoo:mixture-diffusion, whose samples do not scatter.",
        ),
        SEED,
        DEVICE,
    )
    coordinates: ClassVar = {"level": int, "curve": int, "kind": str, "boundary": int, "scale": float}
    requires: ClassVar = {"family": dict, "family.name": str, "family.parameters": list, "metric": str}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.families import grid_over, named_family
        from theodolite.data.latents import check_ends
        from theodolite.data.plane_family import PlaneFamily, embedding_of
        from theodolite.families.sampling import check_samples
        from theodolite.geodesics.phase_curves import requested_ends

        super().__init__(given)
        self._check_source()
        self.known = named_family(given["source"], given)
        if self.known is None:
            check_ends(given["anchor"])
            embedding_of(given["embedding"])
        shape: Family | type[PlaneFamily] = self.known or PlaneFamily
        self.grid = grid_over(shape, given["box"], given["grid"])
        self.between = requested_ends(given["between"] or (), self.grid)
        self.samples = given["samples"] or shape.samples
        if getattr(shape, "features", False):
            check_samples(self.samples, self.grid)
        self.units = ("level-0",) if given["zoom"] is None else ("level-0", "level-1")

    def _check_source(self) -> None:
        """Refuse settings of another source, and a generator without its anchors."""
        from theodolite.data.families import is_family

        source, anchors = self.given["source"], self.given["anchor"]
        if is_family(source):
            return
        own = FAMILIES.get(source) if isinstance(source, str) else None
        taken = _OF_GENERATORS if own is None else own
        defaults = {setting.name: setting.checked_default() for setting in self.settings}
        for name in (*_OF_GENERATORS, *(setting for known in FAMILIES.values() for setting in known)):
            if name not in taken and self.given[name] not in (defaults[name], None, []):
                options = ", ".join(f"--{option}" for option in taken) or "no settings of its own"
                raise InputError(f"--{name} does not belong to {source}, which takes {options}; leave it out")
        if own is None and len(anchors) != 3:
            raise InputError(
                f"three anchors expected with a generator, got {len(anchors)}; give --anchor with three latents, or "
                f"one of {', '.join(FAMILIES)} as the source"
            )

    def open(self) -> None:
        """Load the generator and read its anchors, where the source is one."""
        from theodolite.data.models import opened_map
        from theodolite.data.plane_family import PlaneFamily

        self.model: Subject | None = None
        if self.known is not None:
            self.source: Family = self.known
            return
        options = {"device": self.given["device"], "size": self.given["size"]}
        self.model = opened_map(self.given["source"], settings=self.given, **options)
        self.device = self.model.device
        self.source = PlaneFamily(self.model, *(self.given[name] for name in ("anchor", "embedding", "size", "noise")))

    def record(self) -> dict[str, Any]:
        """The family, the metric in use, and the generator."""
        source, described = self.source, self.source.describe()
        model = {"model": described.pop("model")} if "model" in described else {}
        family = {"name": source.name, "parameters": [*source.parameters], "exponential": source.exponential}
        metric = "Hessian of the potential" if source.exponential else "direct"
        return {"family": {**family, "samples": self.samples, **described}, "metric": metric, **model}

    def content(self) -> dict[str, Any]:
        """The family, or the generator's fingerprint with where the anchors are from."""
        if self.model is None:
            return {"family": self.source.describe()}
        ends = [{k: v for k, v in end.items() if k in ("sha256", "seed")} for end in self.source.describe()["anchors"]]
        return {"model": self.model.fingerprint(), "anchors": ends}

    def identity(self, unit: str) -> Any:
        """Of the smaller box, by how much it is smaller."""
        return self.given["zoom"] if unit == "level-1" else None

    def needs(self, unit: str) -> Sequence[str]:
        """The smaller box lies around the steepest cell of the first level."""
        return ["level-0"] if unit == "level-1" else []

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Map one level: draws, metric, potential, phases, geodesics, then pictures."""
        from theodolite.experiments.phases.boundaries import boundary_rows
        from theodolite.families import map_family
        from theodolite.families.fields import packed_map
        from theodolite.geodesics import phase_curves
        from theodolite.geodesics.phase_curves import MOST_REGIONS

        n, seed, bundle = int(unit[-1]), self.given["seed"], self.given["bundle"]
        grid = self.grid if n == 0 else self._zoomed(sitting)
        it = map_family(self.source, grid, samples=self.samples, bundle=bundle, seed=seed, tell=sitting.tell)
        sitting.tell("geodesics")
        in_use = it.potential if it.exponential else None
        curves = phase_curves(it.direct, in_use, it.phases, self.between if n == 0 else ())
        rows = numbers(it.numbers, level=n)
        for number, curve in enumerate(curves):
            rows += numbers(curve.numbers, level=n, curve=number, kind=curve.kind)
        if outputs := getattr(self.source, "outputs", None):
            follow: dict[str, Any] = {"level": n, "seed": seed, "sitting": sitting}
            rows += boundary_rows(outputs, it.phases, self.given["boundaries"], **follow)
        sitting.tell("pictures")
        pictured = [it.phases.climb(region, _PICTURES).tolist() for region in range(min(it.phases.count, MOST_REGIONS))]
        arrays, about = packed_map(it)
        arrays |= {f"curve-{number}": curve.points for number, curve in enumerate(curves)}
        about |= {"pictured": pictured, "curves": [[curve.kind, curve.status] for curve in curves]}
        return Piece(rows, arrays, self._pictures(grid, pictured, curves), about)

    def _zoomed(self, sitting: Sitting) -> ParameterGrid:
        """The smaller box around the steepest cell of the first level."""
        from theodolite.families import zoom

        height = sitting.piece("level-0").arrays["height"]
        return zoom(self.grid, self.grid.points[int(height.argmax())], self.given["zoom"])

    def _pictures(
        self, grid: ParameterGrid, pictured: Sequence[Sequence[int]], curves: Sequence[PhaseCurve]
    ) -> dict[str, Image]:
        """Samples of every large region from its floor up to its steepest cell, and along every curve."""
        import torch

        from theodolite.data.pixels import side_by_side

        seed, pictures = self.given["seed"], dict[str, "Image"]()
        for region, cells in enumerate(pictured):
            samples = self.source.pictures(grid.points[[*cells]], seed)
            pictures |= {f"region-{region}-{n}": sample for n, sample in enumerate(samples)}
        for n, curve in enumerate(curves):
            along = torch.linspace(0, len(curve.points) - 1, _PICTURES).round().long()
            samples = self.source.pictures(curve.points[along], seed)
            pictures |= {f"curve-{n}": side_by_side(samples)} if samples else {}
        return pictures

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """The table of cells."""
        from theodolite.families.fields import MapFields

        maps = enumerate(MapFields(run.arrays(unit), run.about(unit)) for unit in run.units)
        return Derived(tables={"cells": [{"level": n, **row} for n, fields in maps for row in fields.cells()]})

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What the numbers of a level and of a geodesic are called."""
        from theodolite.experiments.phases.boundaries import QUANTITIES as OF_BOUNDARIES
        from theodolite.families.family_map import QUANTITIES as OF_MAPS
        from theodolite.geodesics.phase_curves import QUANTITIES as OF_CURVES

        return {quantity.name: quantity for quantity in (*OF_MAPS, *OF_CURVES, *OF_BOUNDARIES)}


EXPERIMENT = Phases
