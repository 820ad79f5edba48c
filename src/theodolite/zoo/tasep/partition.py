"""The partition function of the open TASEP in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_partition"]


def log_partition(theta: Tensor, sites: int) -> Tensor:
    """`log Z_N` at `theta = (α, β): (n, 2)`: `(n,)`; differentiable to any order.

    `Z_N = sum_{p=1}^N p (2N-1-p)! / (N! (N-p)!) sum_{k=0}^p α^-k β^-(p-k)`, `Z_0 = 1` (Derrida et al. 1993, eq. 39),
    summed in logarithms.
    """
    if sites == 0:
        return 0 * theta.sum(-1)
    p = torch.arange(sites + 1, dtype=theta.dtype, device=theta.device)
    log_alpha, log_beta = theta.log()[..., None].unbind(1)
    inner = torch.logcumsumexp(p * (log_beta - log_alpha), -1) - p * log_beta
    return (inner + _log_ballots(p, sites))[:, 1:].logsumexp(-1)


def _log_ballots(p: Tensor, sites: int) -> Tensor:
    """`log of p (2N-1-p)! / (N! (N-p)!)`."""
    total = torch.lgamma(p.new_tensor(sites + 1.0))
    return p.log() + torch.lgamma(2 * sites - p) - total - torch.lgamma(sites - p + 1)
