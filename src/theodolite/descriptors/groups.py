"""Many latents at once: measured in groups that fit in memory, with the same result as one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.derivatives.memory import available_bytes
from theodolite.descriptors.effort import STANDARD, Effort
from theodolite.estimates import Estimate, Seeds, joined
from theodolite.maps.latent_map import LatentMap

__all__ = ["group_size", "in_groups"]

_Descriptor = TypeVar("_Descriptor", bound=Callable[..., Estimate])

_SHARE = 0.2
"""The part of the free memory that the bases or matrices of one group may fill."""


def in_groups(function: _Descriptor) -> _Descriptor:
    """A descriptor that measures any number of latents without running out of memory."""

    @wraps(function)
    def measure(
        map: LatentMap, latents: Tensor, *, generator: Any = None, chart: Any = None, **options: Any
    ) -> Estimate:
        if chart is not None or len(latents) < 2:
            return function(map, latents, generator=generator, chart=chart, **options)
        map.check(latents)
        seeds = Seeds(generator, len(latents)).base
        size = group_size(map, latents, options.get("effort") or STANDARD, options.get("dense"))
        parts: Sequence[Estimate] = [
            function(map, latents[start : start + size], generator=seeds[start : start + size], **options)
            for start in range(0, len(latents), size)
        ]
        return joined(parts)

    return cast(_Descriptor, measure)


def group_size(map: LatentMap, latents: Tensor, effort: Effort, dense: bool | None) -> int:
    """How many latents like the first one may be measured together."""
    probe = jacobian(map, latents[:1])
    columns, rows = probe.latent_dim, probe.output_dim
    dimension = min(columns, rows)
    is_dense = effort.is_dense(dimension) if dense is None else dense
    bases = (effort.spectrum_passes(dimension) // 2 + effort.probes) * (columns + rows)
    numbers = 3 * max(columns * rows if is_dense else 0, bases)
    return max(1, int(_SHARE * available_bytes(latents.device) / (8 * numbers)))
