"""Spectra with singular values that are known because the matrix is built from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from theodolite import LatentMap, local_rank, local_scaling
from theodolite.descriptors import EFFORTS

ROOM = "descriptors"


def lognormal(n: int, draws: torch.Generator) -> Tensor:
    """An ordinary spectrum: logarithms of singular values normal with a spread of one."""
    return torch.randn(n, generator=draws, dtype=torch.float64).exp()


def map_of(values: Tensor, draws: torch.Generator, outputs: int | None = None) -> LatentMap:
    """The linear map with these singular values between random orthonormal bases."""
    n = len(values)
    right, left = (basis(size, n, draws) for size in (n, outputs or n))
    matrix = left * values @ right.T
    return LatentMap(lambda z: z @ matrix.T, (n,))


def basis(size: int, n: int, draws: torch.Generator) -> Tensor:
    """`n` random orthonormal columns."""
    return torch.linalg.qr(torch.randn(size, n, generator=draws, dtype=torch.float64)).Q


def entropy_rank(values: Tensor, power: int) -> float:
    """`exp` of the entropy of `values ** power`, normed."""
    share = values**power / (values**power).sum()
    return math.exp(-torch.special.xlogy(share, share).sum().item())


def truths_of_volume(values: Tensor) -> dict[str, float]:
    """Of a spectrum without a null space."""
    total = values.log().sum().item()
    return {
        "local_scaling": total,
        "local_scaling_per_dimension": total / len(values),
        "gain": values.square().sum().sqrt().item(),
    }


def cells() -> Iterator[Cell]:
    """Spectra of several kinds, at every budget."""
    for n in (20, 320):
        for budget in ("quick", "standard"):
            draw = partial(_volume_and_rank, lognormal, n, budget)
            yield Cell(ROOM, "log-normal spectrum", n, f"budget={budget}", draw)


def _volume_and_rank(spectrum: Callable[[int, torch.Generator], Tensor], n: int, budget: str, seed: int) -> Answers:
    draws = torch.Generator().manual_seed(seed)
    values = spectrum(n, draws)
    subject, latent = map_of(values, draws), torch.randn(1, n, generator=draws, dtype=torch.float64)
    volume = local_scaling(subject, latent, generator=seed, effort=EFFORTS[budget])
    rank = local_rank(subject, latent, generator=seed, effort=EFFORTS[budget])
    truths, powers = truths_of_volume(values), {"local_rank": 1, "local_rank_p2": 2}
    volumes, ranks = volume.named("local_scaling"), rank.named("local_rank")
    return {name: Answer(volumes[name], truth, scale=n) for name, truth in truths.items()} | {
        name: Answer(ranks[name], entropy_rank(values, power)) for name, power in powers.items()
    }
