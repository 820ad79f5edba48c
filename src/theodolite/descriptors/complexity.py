"""Local complexity: how many of the network's hyperplanes cut a small cross-polytope around a latent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from theodolite.derivatives.layout import laid_out
from theodolite.derivatives.precision import plain_evaluation
from theodolite.descriptors.arguments import with_shared_arguments
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor, Quantity
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.groups import in_groups
from theodolite.descriptors.modes import Mode, flagged, is_paper
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, student_mean
from theodolite.maps.latent_map import LatentMap

__all__ = ["DESCRIPTOR", "local_complexity"]

AXES = 8
"""Axes of the cross-polytope that the headline is defined with, whatever the budget: more axes cut more units."""

_PAPER_AXES, _PAPER_RADIUS, _PAPER_FRAMES = 20, 0.005, 3

_WHOLE = 1 / 12
"""Variance of rounding to whole numbers: counts that happen to agree are not known any better than that."""

_KINKED: frozenset[Callable[..., Any]] = frozenset(
    {
        *(F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, F.relu6),
        *(F.leaky_relu, F.leaky_relu_, F.prelu, torch.prelu, F.rrelu, F.rrelu_, torch.rrelu),
        *(F.elu, F.elu_, F.celu, F.celu_, torch.celu, F.selu, F.selu_, torch.selu),
        *(F.silu, F.gelu, F.mish, F.hardswish),
    }
)
"""Activations with a kink, or the smooth copy of one, at pre-activation zero; tanh and sigmoid have none.

The module `nn.ReLU6` calls `F.hardtanh` from zero, which counts too.
"""


@with_shared_arguments
@in_groups
def local_complexity(
    map: LatentMap,
    latents: Tensor,
    *,
    radius: float | None = None,
    axes: int | None = None,
    generator: Seeding = None,
    mode: Mode = "exact",
    effort: Effort | None = None,
    dense: bool | None = None,
    chart: Chart | None = None,
) -> Estimate:
    """`delta = #{units whose pre-activation changes sign over the vertices z ± r ||z|| e_p}`, `e_p` orthonormal.

    A unit is one entry of the input of one ReLU, leaky ReLU, SiLU, GELU, ELU, Mish or hard-swish; sign changes are
    exact cuts of the polytope's hull for units of the first layer and an approximation deeper, because only the
    vertices are propagated. It counts hyperplanes, not regions. Mean over several random frames; choose a radius at
    which 1 to 20 % of the units are cut (`local_complexity_fraction`), below that it is shot noise. Source: Humayun et
    al. 2025 (arXiv 2408.08307), estimator as in the first author's released code; ``mode="paper"`` uses its settings,
    20 axes and the absolute radius 0.005, with the same frames for all latents.

    Args:
        map: a map built from the activations above, in any module or function.
        radius: `r` as a fraction of `||z||`; the effort's radii when left out.
        axes: of each cross-polytope, 8 when left out, at most the entries of a latent. The count grows with them, so
            compare only at one number of axes.
        mode: ``exact`` or ``paper``.
        {shared}

    Returns:
        `Estimate` (a count) with parts `local_complexity_fraction` (of all units), `local_complexity_units`,
        `local_complexity_r<radius>` for each further radius and `local_complexity_a<axes>` where `effort.axes` is
        another number than that of the headline. Status ``undefined`` when the map has no such activation,
        ``undetermined`` when fewer than one unit is cut on average.
        Cost: `2 * axes * frames` forward passes a radius.

    Raises:
        InputError: a radius that is not positive, or no axis.
    """
    if radius is not None and radius <= 0:
        raise InputError(f"local_complexity `radius` expected a positive fraction of ||z||, got {radius}")
    if axes is not None and (isinstance(axes, bool) or not isinstance(axes, int) or axes < 1):
        raise InputError(f"local_complexity `axes` expected a whole number of at least one, got {axes!r}")
    chart = chart or Chart(map, latents, generator=generator, effort=effort, dense=dense)
    if is_paper(mode):
        frames = [_shared_frame(chart, seed) for seed in range(_PAPER_FRAMES)]
        return _bundle(chart, frames, _PAPER_RADIUS, relative=False)
    frames = _frames(chart, axes or AXES)
    headline, *others = (radius,) if radius is not None else chart.effort.radii
    result = _bundle(chart, frames, headline)
    more = {f"local_complexity_r{other:g}": _bundle(chart, frames, other) for other in others}
    if axes is None and len(_frames(chart, chart.effort.axes)[0]) != len(frames[0]):
        more[f"local_complexity_a{chart.effort.axes}"] = _bundle(chart, _frames(chart, chart.effort.axes), headline)
    return replace(result, parts={**result.parts, **{name: replace(part, parts={}) for name, part in more.items()}})


def _frames(chart: Chart, axes: int) -> list[Tensor]:
    dim = chart.operator.latent_dim
    return [chart.seeds.frame(f"complexity{index}", min(axes, dim), dim) for index in range(chart.effort.frames)]


def _shared_frame(chart: Chart, seed: int) -> Tensor:
    dim = chart.operator.latent_dim
    draws = torch.randn(dim, min(_PAPER_AXES, dim), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(draws).Q.T[:, None].expand(-1, chart.n, -1)


def _bundle(chart: Chart, frames: list[Tensor], radius: float, *, relative: bool = True) -> Estimate:
    size = chart.rms * chart.operator.latent_dim**0.5 if relative else torch.ones_like(chart.rms)
    steps = [(radius * size.unsqueeze(-1)).to(frame.device) * frame for frame in frames]
    counted = [_cuts(chart, torch.cat([step, -step]).to(chart.latents)) for step in steps]
    counts, units = torch.stack([cut for cut, _ in counted]), counted[0][1]
    mean, spread = student_mean(counts)
    passes, n = len(frames) * 2 * len(frames[0]), len(frames)
    count = Estimate(mean, (spread.square() + _WHOLE / n).sqrt(), passes, n)
    if units:
        count = flagged(count, mean < 1, "undetermined", "fewer than one unit is cut: choose a larger radius")
    else:
        count = flagged(count, mean == 0, "undefined", "the map calls no activation with a kink at zero")
    total = torch.full_like(mean, float(units))
    parts = {
        "local_complexity_fraction": replace(
            count, value=count.value / max(units, 1), stderr=count.stderr / max(units, 1)
        ),
        "local_complexity_units": Estimate(total, torch.zeros_like(total), passes, n),
    }
    return replace(count, parts=parts)


def _cuts(chart: Chart, offsets: Tensor) -> tuple[Tensor, int]:
    """Units cut for each latent, and units there are, over vertices `z + offsets`, `(vertices, n, latent_dim)`."""
    count = len(offsets)
    together = chart.operator.footprint.tangents(chart.latents.device)
    points = chart.latents.unsqueeze(1) + offsets.transpose(0, 1).reshape(chart.n, count, *chart.latents.shape[1:])
    counts, units = [], 0
    for group in points.split(max(1, together // count)):
        signs = _Signs(len(group))
        for part in group.split(count if len(group) > 1 else together, dim=1):
            with plain_evaluation(), signs.watching(part.shape[1]):
                chart.map(laid_out(part.flatten(0, 1)))
        counts.append(signs.cut())
        units = signs.units()
    chart.operator.passes += count
    return torch.cat(counts).to(chart.rms), units


class _Signs:
    """The signs of every unit at the first vertex of each latent, and which units have since shown another.

    Args:
        latents: how many there are.
    """

    def __init__(self, latents: int) -> None:
        self._latents = latents
        self._first: list[Tensor] = []
        self._mixed: list[Tensor] = []
        self._call = 0
        self._vertices = 0

    @contextmanager
    def watching(self, vertices: int) -> Iterator[None]:
        """Read the activations of one batch of so many vertices of each latent."""
        self._call, self._vertices = 0, vertices
        with _Watch(self):
            yield

    def see(self, preactivation: Tensor) -> None:
        """One activation's input: a first axis of latents and vertices, maybe times frames, or none (a constant)."""
        first, rows = preactivation.shape[0] if preactivation.ndim else 1, self._latents * self._vertices
        positive = preactivation.detach() > 0
        if first % rows == 0:
            positive = positive.reshape(self._latents, self._vertices, -1)
        else:
            positive = positive.reshape(1, 1, -1).expand(self._latents, 1, -1)
        if self._call == len(self._first):
            self._first.append(positive[:, 0])
            self._mixed.append(torch.zeros_like(positive[:, 0]))
        self._mixed[self._call] |= (positive != self._first[self._call].unsqueeze(1)).any(1)
        self._call += 1

    def cut(self) -> Tensor:
        """Units that changed sign, for each latent."""
        if not self._mixed:
            return torch.zeros(self._latents)
        return torch.stack([mixed.sum(-1) for mixed in self._mixed]).sum(0)

    def units(self) -> int:
        """All units."""
        return sum(mixed.shape[-1] for mixed in self._mixed)


class _Watch(TorchFunctionMode):
    def __init__(self, signs: _Signs) -> None:
        super().__init__()
        self._signs = signs

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func in _KINKED or (func is F.hardtanh and options.get("min_val") == 0):
            self._signs.see(args[0] if args else options["input"])
        return func(*args, **options)


def _passes(effort: Effort, dense: bool) -> int:
    further = effort.axes if effort.axes != AXES else 0
    return 2 * effort.frames * (AXES * len(effort.radii) + further)


DESCRIPTOR = Descriptor(
    local_complexity,
    (
        Quantity(
            name="local_complexity",
            label="Local complexity δ",
            unit="units",
            formula="#{units whose sign differs on z ± r ‖z‖ e_p}, r = 0.02, p = 1 … 8",
            source="Humayun et al. 2025 (arXiv 2408.08307)",
            meaning="How many of the network’s hyperplanes cut a small cross-polytope around the latent.",
        ),
        Quantity(
            name="local_complexity_fraction",
            label="Local complexity, fraction",
            unit="",
            formula="δ / units",
            source="Humayun et al. 2025 (arXiv 2408.08307)",
            meaning="Share of the units that are cut; trust 1 % to 20 %.",
        ),
        Quantity(
            name="local_complexity_units",
            label="Units",
            unit="units",
            formula="entries of all activations",
            source="derived here",
            meaning="How many units the map has in all.",
        ),
    ),
    passes=_passes,
    needs_spectrum=False,
    order=70,
)
