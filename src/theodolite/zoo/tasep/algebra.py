"""The matrix product of the open TASEP (Derrida, Evans, Hakim and Pasquier 1993), with entries that never overflow.

A configuration has the weight `<W| Π (D or E) |V>` with `D` upper triangular of ones whose first row is `1 / β`, `E`
ones below the diagonal, `<W| = (1, 1/α, 1/α², ...)` and `|V> = e_0`: `D E = D + E`, `<W| E = <W| / α` and
`D |V> = |V> / β`. All entries are non-negative, and truncation to `N + 1` rows is exact, because each `E` moves by one
only. `<W|` grows beyond floating point; conjugation with `diag(g^j)`, `g = min(α, 1)`, makes it flat, `D` a geometric
sum and `E` a step of `1 / g`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Algebra", "log_partition"]

_NEGLIGIBLE = 1e-20
"""Powers of the gauge below this are left out of a geometric sum."""


class Algebra:
    """`D`, `E`, `<W|` and `|V>` at each of `theta: (T, 2)`, acting on rows of vectors `(T, n, width)`.

    With `k` sites to come only the first `k + 1` entries of a row vector matter: it shrinks by one a site.
    """

    def __init__(self, theta: Tensor) -> None:
        self.alpha, self.beta = theta[:, :, None, None].unbind(1)
        self.gauge = self.alpha.detach().clamp_max(1)
        self._largest = float(self.gauge.max())

    def left(self, sites: int) -> Tensor:
        """`<W|` before `sites` sites: `(T, 1, sites + 1)`."""
        return (self.gauge / self.alpha) ** torch.arange(sites + 1, device=self.alpha.device)

    def occupied(self, w: Tensor) -> Tensor:
        """`w D`, one entry shorter."""
        return self._geometric(torch.cat([w[..., :1] / self.beta, w[..., 1:-1]], -1))

    def empty(self, w: Tensor) -> Tensor:
        """`w E`, one entry shorter."""
        return w[..., 1:] / self.gauge

    def right(self, sites: int) -> list[Tensor]:
        """`(D + E)^k |V>` for `k` up to `sites`, each up to a factor: `(T, 1, k + 1)`."""
        vectors = [torch.ones_like(self.alpha)]
        for _ in range(sites):
            v = vectors[-1]
            sums = self._geometric(v.flip(-1)).flip(-1)
            v = pad(torch.cat([sums[..., :1] / self.beta, sums[..., 1:]], -1), (0, 1)) + pad(v, (1, 0)) / self.gauge
            vectors.append(v / v.detach().amax(-1, keepdim=True))
        return vectors

    def log_weights(self, states: Tensor) -> Tensor:
        """The logarithm of the weight of `states: (T or 1, n, N)` of zeros and ones: `(T, n)`."""
        w = self.left(states.shape[-1])
        log_scale = torch.zeros_like(w[..., 0])
        for site in states.bool().unbind(-1):
            w = torch.where(site[..., None], self.occupied(w), self.empty(w))
            scale = w.detach().amax(-1, keepdim=True)
            w, log_scale = w / scale, log_scale + scale[..., 0].log()
        return log_scale + w[..., 0].log()

    def _geometric(self, y: Tensor) -> Tensor:
        """`sum over i <= j of g^(j-i) y_i`, in steps that double."""
        reach = 1
        while reach < y.shape[-1] and self._largest**reach > _NEGLIGIBLE:
            y = y + self.gauge**reach * pad(y[..., :-reach], (reach, 0))
            reach *= 2
        return y


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
