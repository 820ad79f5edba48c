"""Bootstrap over bundles."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.spectrum.seeds import Seeding, Seeds

__all__ = ["resampled_shares"]


def resampled_shares(bundles: int, replicates: int, generator: Seeding) -> Tensor:
    """Shares of the bundles in samples with replacement, `(replicates, bundles)`; rows sum to one."""
    draws = torch.Generator().manual_seed(Seeds(generator, 1).base[0])
    picks = torch.randint(bundles, (replicates, bundles), generator=draws)
    ones = torch.full(picks.shape, 1 / bundles, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add(1, picks, ones)
