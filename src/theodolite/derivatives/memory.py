"""How many products fit in memory at once, so that nobody has to tune a batch size."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Footprint", "available_bytes", "is_out_of_memory", "measure_footprint"]

_SHARE = 0.4
"""The part of the free memory that products may fill; the rest is for bases, weights and other programs."""

_LIVE = 8
"""Tensors of the largest size alive at once in a tangent pass: skip connections, value and tangent, work space."""

_CACHE_BYTES = 32 * 2**20
"""On a CPU, products whose largest tensors together exceed this are slower one by one: the memory traffic decides."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that one forward pass of one latent makes: its largest tensor, and all of them together."""

    largest: int
    total: int

    def tangents(self, device: torch.device, free: int | None = None) -> int:
        """Tangent passes (JVPs or forward evaluations) that may run at once.

        Args:
            device: where they run.
            free: bytes that can be taken there; None for what is free now.
        """
        fits = int(_SHARE * (available_bytes(device) if free is None else free) / (_LIVE * self.largest))
        if device.type == "cpu":
            fits = min(fits, max(4, _CACHE_BYTES // self.largest))
        return max(1, fits)

    def graphs(self, device: torch.device) -> int:
        """Latents whose reverse-mode graph may be kept at once."""
        return max(1, int(0.5 * _SHARE * available_bytes(device) / (2 * self.total)))


class _Meter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.largest = 1
        self.total = 1

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves(args) if isinstance(leaf, Tensor)}
        for tensor in result if isinstance(result, list | tuple) else (result,):
            # A view takes no memory: of a weight that is transposed for a product, it would count as a large output.
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                size = tensor.numel() * tensor.element_size()
                self.largest, self.total = max(self.largest, size), self.total + size
        return result


def measure_footprint(function: Callable[[Tensor], Tensor], latents: Tensor) -> tuple[Tensor, Footprint]:
    """The outputs of one forward pass and the memory it makes for each latent."""
    with torch.no_grad(), _Meter() as meter:
        outputs = function(latents)
    n = len(latents)
    return outputs, Footprint(-(-meter.largest // n), -(-meter.total // n))


def available_bytes(device: torch.device) -> int:
    """Memory that can still be taken on `device`, container limits included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(_free_in_machine(), _free_in_container())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "not enough memory" in text


def _free_in_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_in_container() -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):
        return 2**62
    return max(limit - used, 2**28)
