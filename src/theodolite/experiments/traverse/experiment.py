"""`traverse`: psi, nu and delta at the points of a design; what all three designs have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.conditions import CONDITIONS
from theodolite.runs.experiment import Derived, Experiment, Piece, Row, numbers
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
    from torch import Tensor

    from theodolite.descriptors import Effort
    from theodolite.descriptors.chart import Chart
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.report.page import Page
    from theodolite.runs.run import Run

__all__ = ["COMMON", "CORRUPTIONS", "DENOISING", "DESCRIPTORS", "EXPERIMENT", "PLANE", "Points", "Traverse"]

DESCRIPTORS = ("local_scaling", "local_rank", "local_complexity")
"""Psi, nu and delta."""

_DESIGNS = ("plane", "denoising", "corruptions")


_KINDS = ("gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg", "pixelate")
"""Those of `theodolite.detection.CORRUPTIONS`, whose import would cost help a second."""


def _each_once(name: str) -> Callable[[list[str]], list[str]]:
    def check(words: list[str]) -> list[str]:
        if not words or len({*words}) < len(words):
            raise InputError(f"`{name}` expected as one or more different words, got {', '.join(words) or 'none'}")
        return words

    return check


def _scales(guidance: list[float]) -> list[float]:
    """Scales that names of units and pictures tell apart."""
    if not guidance or len({f"{scale:g}" for scale in guidance}) < len(guidance):
        raise InputError(f"`guidance` expected as one or more different scales, to six digits, got {guidance}")
    return guidance


_SIZE = replace(SIZE, help="Plane, corruptions: centre square of images, resized to so many pixels.")
PLANE = (
    Setting(
        name="anchor",
        help="Plane: three latents, each an image file, a .safetensors latent or seed:3; their places are (a, b) = "
        "(0, 0), (1, 0), (0, 1).",
        many=True,
        metavar="LATENT",
        role="places",  # where a latent lies is no matter: its content is compared
    ),
    Setting(
        name="grid",
        help="Plane: places along a side; 13 with the default margin has the anchors among them.",
        default=13,
        kind=int,
        least=2,
    ),
    Setting(
        name="margin",
        help="Plane: how far it goes beyond the anchors, in sides of their triangle.",
        default=0.25,
        kind=float,
        least=0,
    ),
    _SIZE,
)
DENOISING = (
    replace(CONDITIONS, help=f"Denoising: {CONDITIONS.help[0].lower()}{CONDITIONS.help[1:]}"),
    Setting(
        name="guidance",
        help="Denoising: scales, each once; 1 alone for a model without conditions.",
        default=(0.0, 1.0, 2.0, 4.0),
        kind=float,
        many=True,
        least=0,
        check=_scales,
    ),
    Setting(
        name="output",
        help="Denoising: what the map returns.",
        default=("x0", "eps"),
        many=True,
        choices=("x0", "eps", "v", "score"),
        check=_each_once("output"),
    ),
    Setting(name="steps", help="Denoising: of the sampler.", default=10, kind=int, least=1),
    Setting(name="seeds", help="Denoising: noises, each under both conditions.", default=8, kind=int, least=2),
)
CORRUPTIONS = (
    Setting(name="data", help="Corruptions: folder of images, with its subfolders.", metavar="FOLDER", role="places"),
    Setting(
        name="corruption",
        help="Corruptions: some of these; all by default.",
        many=True,
        choices=_KINDS,
        check=_each_once("corruption"),
    ),
    replace(LIMIT, help="Corruptions: images, from their photographs in turn; 0 for all.", default=8, least=2),
    replace(_SIZE, least=2),
    replace(GROUP, help=f"Corruptions: {GROUP.help[0].lower()}{GROUP.help[1:]}", role="measures"),
)
COMMON = (SEED, DEVICE, DTYPE, SUBFOLDER, REVISION)
_BUDGET = replace(BUDGET, default=None, help=f"{BUDGET.help} By default quick, and of denoising standard.")
_ALL = {setting.name: setting for setting in (*PLANE, *DENOISING, *CORRUPTIONS, _BUDGET, *COMMON)}
_ALL["size"] = _SIZE


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
    requires: ClassVar = {"model": dict, "model.name": str, "arguments.over": str, "design": dict}

    def __new__(cls, given: Mapping[str, Any]) -> Traverse:
        """The experiment of the design that is asked for."""
        over = given["over"]
        if over not in _DESIGNS:
            raise InputError(f"{', '.join(_DESIGNS)} expected, got {over!r}{closest(over, _DESIGNS)}")
        design: type[Traverse] = import_module(f"theodolite.experiments.traverse.{over}").DESIGN
        return super().__new__(design)

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.models import check_model

        own = {setting.name: setting for setting in self.settings}
        for name, setting in _ALL.items():
            if name not in own and given[name] != setting.checked_default():
                raise InputError(
                    f"`{name}` belongs to another design, got it with {given['over']}, which has {', '.join(own)}; "
                    "leave it out"
                )
        super().__init__({name: value for name, value in given.items() if name in own or name not in _ALL})
        self.given["budget"] = given["budget"] or own["budget"].default
        check_model(given["model"], **self.loading)
        if "size" in own:
            own["size"].checked(given["size"])  # one design asks for more than the other

    @property
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
        from theodolite.experiments.traverse.summaries import summaries

        points = [row for row in run.table.to_pylist() if row["unit"] is not None]
        return Derived(list(summaries(run.arguments["over"], points)))

    @classmethod
    def page(cls, run: Run) -> Page:
        """Maps or lines, pictures, and tables."""
        from theodolite.experiments.traverse.page import page

        return page(run)

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The words of its quantities."""
        from theodolite.experiments.traverse.page import QUANTITIES

        return QUANTITIES


@dataclass
class Points:
    """The numbers of a unit, gathered point by point."""

    rows: list[Row] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    messages: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Image] = field(default_factory=dict)

    def add(self, chart: Chart, where: Sequence[Mapping[str, Any]], descriptors: Sequence[str] = DESCRIPTORS) -> None:
        """Add descriptors at the latents of a chart, whose coordinates are `where`."""
        from theodolite.descriptors.together import measured_at

        there = measured_at(chart, descriptors, chart.seeds.base)
        for place, coordinates in enumerate(where):
            self.rows += numbers(there.estimates, place, **coordinates)
        self.failed += [entry for entry in there.failed if entry not in self.failed]
        self.messages |= there.messages

    def add_all(
        self,
        map: LatentMap,
        latents: Tensor,
        where: Sequence[Mapping[str, Any]],
        seed: int,
        effort: Effort,
        size: float,
    ) -> None:
        """Add psi, nu and delta at latents `(n, *latent)`, in groups that fit in memory and with the same draws.

        Args:
            map: the map.
            latents: the points.
            where: their coordinates.
            seed: of all of them.
            effort: what each may cost.
            size: root mean square of the entries of a latent, of which delta's radius is a part: with each point's own
                it would follow the norm of the points. 0 stands for 1.
        """
        import torch

        from theodolite.descriptors.chart import Chart
        from theodolite.descriptors.groups import group_size

        together = group_size(map, latents, effort, None)
        for start in range(0, len(latents), together):
            part = slice(start, start + together)
            chart = Chart(map, latents[part], generator=[seed] * len(latents[part]), effort=effort)
            chart.rms = torch.full_like(chart.rms, size or 1.0)
            self.add(chart, where[part])

    def piece(self) -> Piece:
        """What is stored."""
        return Piece(self.rows, {}, self.pictures, {}, self.failed, self.messages)


EXPERIMENT = Traverse
