"""The Fisher metric straight from posteriors, where no potential can have it as its Hessian."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from theodolite.errors import InputError
from theodolite.hessian.grid import ParameterGrid, checked_points
from theodolite.hessian.posterior import Posterior
from theodolite.hessian.resampling import resampled_shares
from theodolite.hessian.splines import TensorSplines
from theodolite.spectrum.seeds import Seeding

__all__ = ["DirectMetric", "direct_metric"]


@dataclass(frozen=True)
class DirectMetric:
    """A field of positive semi-definite matrices, known in cells and blended between them by quadratic splines.

    A blend is a weighted mean, so it stays positive semi-definite; it smooths by `h²/8 ∂²g`, `h` the side of a cell.

    Attributes:
        grid: cells.
        matrices: in each of them, `(cells, 2, 2)`.
        replicates: for resampled bundles, `(R, cells, 2, 2)`; not made positive.
        support: bundles a cell had, relative to an even spread over the grid, `(cells,)`.
        learned: whether a learned likelihood stands behind it.
    """

    grid: ParameterGrid
    matrices: Tensor
    replicates: Tensor
    support: Tensor
    learned: bool = False

    def metric(self, theta: Tensor) -> Tensor:
        """The metric of one sample at `theta: (..., 2)`: `(..., 2, 2)`; differentiable in `theta`."""
        return self._blended(self.matrices, checked_points(theta, self.grid)).reshape(*theta.shape, 2)

    def metric_replicates(self, theta: Tensor) -> Tensor:
        """The metric by every replicate: `(R, ..., 2, 2)`."""
        flat = checked_points(theta, self.grid)
        return self._blended(self.replicates, flat).reshape(-1, *theta.shape, 2)

    def _blended(self, matrices: Tensor, flat: Tensor) -> Tensor:
        """`(..., cells, 2, 2)` at `(n, 2)`: `(..., n, 2, 2)`."""
        splines = TensorSplines(self.grid.low, self.grid.high, self.grid.shape, degree=2)
        entries = matrices.flatten(-2).movedim(-1, 0).reshape(4, -1, *self.grid.shape)
        padded = pad(entries, (1, 1, 1, 1), mode="replicate").flatten(-2)
        found = splines.evaluate(padded, flat.to(matrices))
        return found.movedim(0, -1).reshape(*matrices.shape[:-3], len(flat), 2, 2)


def direct_metric(posterior: Posterior, *, replicates: int = 30, generator: Seeding = None) -> DirectMetric:
    """The expected observed information, `g(t) = -(1/N) E over x ~ p(. | t) of ∇² log p(x | t)`, cell by cell.

    With a uniform prior `log p(x | t)` is the log-posterior up to a function of `x`, and bundles from parameters spread
    evenly over the box stand for those of `t` with weights `P_x(t)` (importance sampling). It is the Fisher metric of
    any smooth family in any parameters; for an exponential family in natural parameters it has no sampling error.
    Second differences over neighbouring cells have a bias of `h²/12 ∂⁴ log p`, and the outermost cells take those of
    their neighbours. Indefinite matrices lose their negative part.

    Measured on TASEP(10), 24 x 24 cells, 500 bundles of four: median relative error 0.03, 95th percentile 0.17 on the
    inner 80 % of the box, where the best potential is 0.17 and 0.63 off.

    Args:
        posterior: of `m >= 4` bundles whose parameters are spread evenly over the box.
        replicates: resamples of the bundles for the errors, at least two.
        generator: of the resamples: a `torch.Generator`, an integer or None for 0.

    Raises:
        InputError: fewer than three cells along a parameter or four bundles, posteriors that are not numbers.
    """
    logs = posterior.log_probability.double()
    if min(posterior.grid.shape) < 3 or len(logs) < 4 or replicates < 2:
        raise InputError(
            f"at least 3 cells along each parameter, 4 bundles and 2 replicates expected, got {posterior.grid.shape}, "
            f"{len(logs)} and {replicates}"
        )
    if bool(torch.isnan(logs).any()):
        raise InputError("finite posteriors expected, got NaN; check the likelihood behind them")
    shares = resampled_shares(len(logs), replicates, generator).to(logs)
    members = logs[None] if posterior.members is None else posterior.members.double()
    whole = _weighed(logs, torch.full_like(shares[:1], 1 / len(logs)), posterior)[0]
    again = torch.empty(replicates, *whole.shape).to(whole)
    for k, own in enumerate(members):
        again[k :: len(members)] = _weighed(own, shares[k :: len(members)], posterior)
    return DirectMetric(posterior.grid, _positive(whole), again, logs.exp().mean(0) * logs.shape[1], posterior.learned)


def _weighed(logs: Tensor, shares: Tensor, posterior: Posterior) -> Tensor:
    """The metric for every row of `shares: (R, m)` of the bundles, `(R, cells, 2, 2)`."""
    P = logs.exp()
    sums = torch.stack([shares @ (P * entry) for entry in _information(logs, posterior.grid)], -1)
    matrices = sums / (shares @ P).clamp_min(1e-300)[..., None] / posterior.samples
    return matrices[..., [0, 1, 1, 2]].unflatten(-1, (2, 2))


def _information(logs: Tensor, grid: ParameterGrid) -> tuple[Tensor, Tensor, Tensor]:
    """`-∂² log P` along (1, 1), (1, 2) and (2, 2), each `(m, cells)`."""
    first, second = grid.spacing.tolist()
    f = logs.clamp_min(-1e4).reshape(-1, 1, *grid.shape)
    along = (f[..., :-2, :] - 2 * f[..., 1:-1, :] + f[..., 2:, :]) / first**2
    across = (f[..., :-2] - 2 * f[..., 1:-1] + f[..., 2:]) / second**2
    mixed = f[..., 2:, 2:] - f[..., 2:, :-2] - f[..., :-2, 2:] + f[..., :-2, :-2]
    full = (
        pad(along, (0, 0, 1, 1), mode="replicate"),
        pad(mixed / (4 * first * second), (1, 1, 1, 1), mode="replicate"),
        pad(across, (1, 1, 0, 0), mode="replicate"),
    )
    a, b, d = (-part.flatten(1) for part in full)
    return a, b, d


def _positive(matrices: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrices)
    return vectors @ (values.clamp_min(0)[..., None] * vectors.mT)
