"""Many latents at once: measured in groups that fit in memory, with the same result as one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.derivatives.memory import available_bytes
from theodolite.descriptors.directions import CANDIDATES
from theodolite.descriptors.effort import STANDARD, Effort
from theodolite.estimates import Estimate, Seeds, joined
from theodolite.maps.latent_map import LatentMap

__all__ = ["batch_by_work", "batch_size", "group_size", "in_groups"]

_Descriptor = TypeVar("_Descriptor", bound=Callable[..., Estimate])

_MOST = 256
"""Latents measured at once at most: beyond, nothing is gained, and an interrupt costs what is not stored."""

_SHARE = 0.2
"""The part of the free memory that the bases or matrices of one group may fill."""

_BATCH_MEMORY = 2 * 2**30
"""Bytes that a batch of units counts on, whatever is free: the parts of a run that several machines measure must be
divided alike on all of them. A machine of 4 GiB has them; where they are missing, units are measured one by one."""


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


def batch_size(map: LatentMap, latents: Tensor, effort: Effort, dense: bool) -> int:
    """How many latents like the first one are best measured at once; 1 where that gains nothing.

    It follows from shapes and the type of the device alone, not from what memory happens to be free. Without a dense
    Jacobian each latent fills what goes through the map at once by itself, and what is adaptive would be spent on all
    for the sake of one.
    """
    if not dense:
        return 1
    return min(batch_by_work(map, latents, None), group_size(map, latents, effort, True, _BATCH_MEMORY))


def batch_by_work(map: LatentMap, latents: Tensor, tangents: int | None) -> int:
    """How many latents like the first one fill with their tangents what goes through the map at once.

    It follows from shapes and the type of the device alone, as `batch_size` does.

    Args:
        map: the map.
        latents: `(n, *latent)`.
        tangents: of one latent; None for those of its whole Jacobian.
    """
    probe = jacobian(map, latents[:1])
    each = min(probe.latent_dim, probe.output_dim) if tangents is None else tangents
    return max(1, min(_MOST, probe.footprint.tangents(latents.device, _BATCH_MEMORY) // each))


def group_size(map: LatentMap, latents: Tensor, effort: Effort, dense: bool | None, free: int | None = None) -> int:
    """How many latents like the first one may be measured together.

    Args:
        map: the map.
        latents: `(n, *latent)`.
        effort: what each may cost.
        dense: whether whole Jacobians are built; None for what the effort says.
        free: bytes that can be taken; None for what is free now.
    """
    probe = jacobian(map, latents[:1])
    columns, rows = probe.latent_dim, probe.output_dim
    dimension = min(columns, rows)
    is_dense = effort.is_dense(dimension) if dense is None else dense
    bases = (effort.spectrum_passes(dimension) // 2 + effort.probes) * (columns + rows)
    numbers = 3 * max(columns * rows + CANDIDATES * columns if is_dense else 0, bases)
    room = available_bytes(latents.device) if free is None else free
    return max(1, int(_SHARE * room / (8 * numbers)))
