"""Several descriptors at the same latents, from one chart; the failure of one does not cost the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from theodolite.descriptors import groups
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor
from theodolite.descriptors.effort import Effort
from theodolite.descriptors.registry import REGISTRY
from theodolite.errors import in_one_line
from theodolite.estimates import Estimate, worst
from theodolite.maps.denoisers import Output, denoiser_map, jacobians_of
from theodolite.maps.denoising import BaseDenoiser
from theodolite.maps.latent_map import LatentMap

__all__ = ["Measurements", "applicable", "charts_alike", "charts_of_outputs", "measured_at"]


@dataclass(frozen=True)
class Measurements:
    """Descriptors of a map at some latents.

    Attributes:
        estimates: every quantity by name, one entry a latent; ``undefined`` where its descriptor failed.
        failed: `what` failed and the `reason`.
        messages: what estimators had to say, by quantity.
    """

    estimates: dict[str, Estimate]
    failed: tuple[dict[str, str], ...]
    messages: dict[str, str]

    def messages_at(self, place: int) -> dict[str, str]:
        """Those that concern one latent: of a quantity that is ``ok`` everywhere, or not there."""
        statuses = {name: self.estimates[name].statuses for name in self.messages}
        concerned = [name for name, own in statuses.items() if own[place] != "ok" or {*own} == {"ok"}]
        return {name: self.messages[name] for name in concerned}

    def doubted(self, status: str, message: str) -> Measurements:
        """The same with no number better than `status`."""
        statuses = {name: worst(e.statuses, (status,) * len(e.statuses)) for name, e in self.estimates.items()}
        estimates = {name: replace(e, statuses=statuses[name]) for name, e in self.estimates.items()}
        return Measurements(estimates, self.failed, {**self.messages, **dict.fromkeys(estimates, message)})


def measured_at(chart: Chart, descriptors: Iterable[str], seed: int | Sequence[int]) -> Measurements:
    """Every quantity of some descriptors at the latents of a chart.

    Args:
        chart: of a map at `n` latents.
        descriptors: names from the registry.
        seed: of random draws; one, or one a latent.
    """
    estimates: dict[str, Estimate] = {}
    failed: list[dict[str, str]] = []
    for name in descriptors:
        function = REGISTRY[name].function
        try:
            estimate = function(chart.map, chart.latents, generator=seed, effort=chart.effort, chart=chart)
        except Exception as error:  # one descriptor's failure must not cost the others their run
            estimates |= _undefined(REGISTRY[name], chart.n)
            failed.append({"what": name, "reason": in_one_line(error)})
            continue
        estimates |= estimate.named(name)
    messages = {quantity: estimate.message for quantity, estimate in estimates.items() if estimate.message}
    return Measurements(estimates, tuple(failed), messages)


def charts_alike(
    map: LatentMap, latents: Tensor, seed: int, effort: Effort, rms: float
) -> Iterator[tuple[slice, Chart]]:
    """Charts of latents that are to be compared: with the same draws and the same radii, in groups that fit in memory.

    Args:
        map: the map.
        latents: `(n, *latent)`.
        seed: of all of them.
        effort: what each may cost.
        rms: root mean square of the entries of a latent, of which radii are parts: with each point's own they would
            follow the norm of the points. 0 stands for 1.

    Yields:
        Which of the latents, and their chart.
    """
    together = groups.group_size(map, latents, effort, None)
    for start in range(0, len(latents), together):
        part = slice(start, start + together)
        chart = Chart(map, latents[part], generator=[seed] * len(latents[part]), effort=effort)
        chart.rms = torch.full_like(chart.rms, rms or 1.0)
        yield part, chart


def charts_of_outputs(
    denoiser: BaseDenoiser, sigma: float, points: Tensor, outputs: Sequence[Output], **options: Any
) -> Iterator[tuple[Output, Chart]]:
    """Charts of what a denoiser returns at the same points; Jacobians that are built are built once, those of x0.

    Args:
        denoiser: the denoiser.
        sigma: the noise level.
        points: `(n, *shape)`.
        outputs: as for `theodolite.denoiser_map`.
        options: of `Chart`.

    Yields:
        Each output with its chart.
    """
    denoised = Chart(denoiser_map(denoiser, sigma), points, **options)
    for output in outputs:
        chart = denoised if output == "x0" else Chart(denoiser_map(denoiser, sigma, output), points, **options)
        if denoised.is_dense and output != "x0":
            chart.jacobians = jacobians_of(output, denoised.jacobians, sigma)
        yield output, chart


def applicable(descriptors: Sequence[str], output_shape: Sequence[int]) -> tuple[list[str], list[dict[str, str]]]:
    """The descriptors that have a meaning for outputs of this shape, and the others with the reason."""
    is_spatial = len(output_shape) > 1
    reason = f"needs outputs with spatial axes, (channels, *space), got {tuple(output_shape)}"
    left_out = [name for name in descriptors if REGISTRY[name].spatial and not is_spatial]
    chosen = [name for name in descriptors if name not in left_out]
    return chosen, [{"what": name, "reason": reason} for name in left_out]


def _undefined(descriptor: Descriptor, n: int) -> dict[str, Estimate]:
    nothing = torch.full((n,), math.nan, dtype=torch.float64)
    return {q.name: Estimate(nothing, nothing, 0, 0, ("undefined",) * n) for q in descriptor.quantities}
