"""`traverse`: psi, nu and delta at points of three designs, a source of latents each (see `sources`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.conditions import CONDITIONS
from theodolite.experiments.points import PointExperiment
from theodolite.runs.experiment import Derived, Row
from theodolite.runs.settings import (
    BUDGET,
    DATA,
    GROUP,
    LIMIT,
    LOADING,
    MODEL,
    OF_SAMPLERS,
    SEED,
    SIZE,
    UNCONDITIONAL,
    Argument,
    Setting,
    closest,
)

if TYPE_CHECKING:
    from theodolite.descriptors import Effort
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["DESCRIPTORS", "DESIGNS", "EXPERIMENT", "Traverse"]

DESCRIPTORS = ("local_scaling", "local_rank", "local_complexity")
"""Psi, nu and delta."""

_KINDS = ("gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg", "pixelate")
"""Those of `theodolite.detection.CORRUPTIONS`, whose import would cost help a second."""

_ANCHOR = "Three latents, each an image file, a .safetensors latent or seed:3; their places are (a, b) = (0, 0), "
_GRID = "Places along a side; 13 with the default margin has the anchors among them."
_MARGIN = "How far it goes beyond the anchors, in sides of their triangle."
_SCALES = "Scales, each once; 1 alone for a model without conditions."
_LIST: dict[str, Any] = {"many": True, "different": True}
_OUTPUT: dict[str, Any] = {"default": ("x0", "eps"), "choices": ("x0", "eps", "v", "score"), **_LIST}
_SIZE = replace(SIZE, help="Centre square of images, resized to so many pixels.")
_COMMON = (SEED, *LOADING)
DESIGNS: Mapping[str, tuple[Setting, ...]] = {
    "plane": (
        # Where a latent lies is no matter: its content is compared.
        Setting(name="anchor", help=f"{_ANCHOR}(1, 0), (0, 1).", many=True, metavar="LATENT", role="places"),
        Setting(name="grid", help=_GRID, default=13, kind=int, least=2),
        Setting(name="margin", help=_MARGIN, default=0.25, kind=float, least=0),
        *OF_SAMPLERS,
        *(_SIZE, replace(BUDGET, default="quick"), *_COMMON),
    ),
    "denoising": (
        CONDITIONS,
        Setting(name="guidance", help=_SCALES, default=(0.0, 1.0, 2.0, 4.0), kind=float, least=0, **_LIST),
        UNCONDITIONAL,
        Setting(name="output", help="What the map returns.", **_OUTPUT),
        Setting(name="steps", help="Of the sampler.", default=10, kind=int, least=1),
        Setting(name="seeds", help="Noises, each under both conditions.", default=8, kind=int, least=2),
        *(BUDGET, *_COMMON),
    ),
    "corruptions": (
        DATA,
        Setting(name="corruption", help="Some of these; all by default.", choices=_KINDS, **_LIST),
        replace(LIMIT, help="Images, from their photographs in turn; 0 for all.", default=8, least=2),
        replace(GROUP, role="measures"),
        *(_SIZE, replace(BUDGET, default="quick"), *_COMMON),
    ),
}
"""What each design can be told."""


def _of_all() -> tuple[Setting, ...]:
    """The settings of all designs, of which none is required; help says which designs have one."""
    merged = {setting.name: setting for own in DESIGNS.values() for setting in own}
    for name, setting in merged.items():
        own = ", ".join(design for design, settings in DESIGNS.items() if name in {s.name for s in settings})
        help = f"{own.capitalize()}: {setting.help[0].lower()}{setting.help[1:]}"
        merged[name] = replace(setting, help=help, required=False)
    budget = replace(BUDGET, default=None, help=f"{BUDGET.help} By default quick, and of denoising standard.")
    common = {setting.name: setting for setting in (budget, *_COMMON)}
    return (*(setting for name, setting in merged.items() if name not in common), *common.values())


class Traverse(PointExperiment):
    """Follow local scaling (psi), rank (nu) and complexity (delta) over a plane, along denoising, or over corruptions.

    `plane`: of the decoder, generator or sampler of MODEL at `z = z0 + a (z1 - z0) + b (z2 - z0)`, `a` and `b` at
    `grid` places each. All points share their random draws, so that differences over the plane are known better than
    the error of a cell says.

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
      theodolite traverse denoising ./sd --conditions a.safetensors/b.safetensors --unconditional c.safetensors --out sd
      theodolite traverse corruptions ./my-vae --data photos --corruption jpeg --limit 16 --out runs/jpeg
    """

    kind = "traverse"
    summary = SUMMARIES["traverse"]
    arguments = (Argument("over", "plane, denoising or corruptions."), MODEL)
    settings: ClassVar[Sequence[Setting]] = _of_all()
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
        return super().__new__(_design(given["over"]))

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.models import check_model

        own = {setting.name: setting for setting in self.settings}
        for setting in Traverse.settings:
            if setting.name not in own and given[setting.name] != setting.checked_default():
                raise InputError(
                    f"`{setting.name}` belongs to another design, got it with {given['over']}, which has "
                    f"{', '.join(own)}; leave it out"
                )
        chosen = {
            name: setting.checked(given[name]) for name, setting in own.items()
        }  # one may require what others do not
        chosen |= {"over": given["over"], "model": given["model"], "budget": given["budget"] or own["budget"].default}
        super().__init__(chosen)
        check_model(given["model"], **self.loading())

    @property
    def effort(self) -> Effort:
        """What the budget stands for, with its first radius alone."""
        from theodolite.descriptors import EFFORTS

        effort = EFFORTS[self.given["budget"]]
        return replace(effort, radii=effort.radii[:1])

    @staticmethod
    def summaries(points: Sequence[Row]) -> Iterable[Row]:
        """What the numbers of points come to; nothing where they speak for themselves."""
        return ()

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Means, differences, AUROC; changes, sensitivities and correlations with severity; of a plane nothing."""
        return Derived([*_design(run.arguments["over"]).summaries(run.without_derived().rows())])

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The words of its quantities."""
        from theodolite.experiments.traverse.page import QUANTITIES

        return QUANTITIES


def _design(over: str) -> Any:
    """The source of a design's points."""
    from theodolite.experiments.traverse.sources import SOURCES

    if over not in SOURCES:
        raise InputError(f"{', '.join(SOURCES)} expected, got {over!r}{closest(over, [*SOURCES])}")
    return SOURCES[over]


EXPERIMENT = Traverse
