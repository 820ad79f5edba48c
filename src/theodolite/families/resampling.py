"""Bootstrap over bundles, and over the residuals of samples."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.estimates.streams import Seeding, Seeds

__all__ = ["resampled_shares", "signs"]


def resampled_shares(bundles: int, replicates: int, generator: Seeding) -> Tensor:
    """Shares of the bundles in samples with replacement, `(replicates, bundles)`; rows sum to one."""
    draws = torch.Generator().manual_seed(Seeds(generator, 1).base[0])
    picks = torch.randint(bundles, (replicates, bundles), generator=draws)
    ones = torch.full(picks.shape, 1 / bundles, dtype=torch.float64)
    return torch.zeros_like(ones).scatter_add(1, picks, ones)


def signs(samples: int, replicates: int, generator: Seeding) -> Tensor:
    """Random signs of the residuals of samples, `(replicates, samples)`."""
    draws = torch.Generator().manual_seed(Seeds(generator, 1).base[0])
    return torch.randint(2, (replicates, samples), generator=draws).double() * 2 - 1
