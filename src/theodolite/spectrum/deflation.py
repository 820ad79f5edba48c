"""Singular values at the ends of a spectrum that every probe has met: they are counted, not sampled.

An isolated value carries the weight `(v . q)²` in the rule of a probe `v`, which is `1 / d` on average and scatters by
more than that. The Krylov spaces meet the value and its direction `q` all the same, so that its weight is known: its
multiplicity over `d`. What is left to the probes is the rest of the spectrum, without the outliers that made its
functionals scatter. Derived here; the idea of taking the leading eigenspace out of a trace is that of Meyer et al. 2021
(arXiv 2010.09649).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.spectrum.bidiagonal import Bidiagonalisation

__all__ = ["Ends", "counted", "isolated_ends"]

_SINE = 1e-4
"""Largest bound of the sine of the angle between a Ritz vector and the singular vector it stands for. Directions of
different probes then agree within the square of it, far below `_DISTINCT`."""

_RELATIVE = 1e-3
"""Largest bound of the relative error of a squared singular value: half of it in each logarithm."""

_DISTINCT = 1e-6
"""Eigenvalues of the Gram matrix of the probes' unit vectors above this count a direction. Vectors that agree leave
`_SINE² = 1e-8`; of a double value two random probes fall below it once in a thousand times."""


@dataclass(frozen=True)
class Ends:
    """How many nodes at the two ends of the Gauss rules are singular values of known multiplicity.

    Attributes:
        high: multiplicities of the largest nodes, `(n, most)`; zero from the first unknown one on.
        low: multiplicities of the smallest nodes, the smallest first, `(n, most)`.
        high_values: the singular values themselves, `(n, most)`.
        low_values: likewise of the smallest.
    """

    high: Tensor
    low: Tensor
    high_values: Tensor
    low_values: Tensor

    @property
    def count(self) -> Tensor:
        """Singular values known, `(n,)`."""
        return self.high.sum(-1) + self.low.sum(-1)


def isolated_ends(run: Bidiagonalisation, tolerance: float) -> Ends:
    """The isolated singular values at both ends on which all probes agree, no further inwards than the first doubt.

    A value is counted where every probe's residual bounds its error and the angle of its vector, and where the probes'
    vectors span fewer dimensions than there are probes: that is its multiplicity. A single probe sees no multiplicity,
    and nothing is counted. Of a null value, below `tolerance` of the largest, only the vector has to be known.
    """
    left, nodes, Qh = torch.linalg.svd(run.matrix())
    residual = run.beta[..., -1:] * left[..., -1, :].abs()
    # At a quarter of the depth, the shallowest rule, something has to be left besides the ends.
    most = max(0, run.depth // 4 - 1) // 2 if len(run.alpha) > 1 else 0
    cut = tolerance * nodes[..., :1]
    high = _multiplicities(run, nodes, Qh, residual, cut, most)
    low = _multiplicities(run, nodes.flip(-1), Qh.flip(-2), residual.flip(-1), cut, most)
    # Ritz values lie inside the spectrum: the outermost of the probes is the nearest.
    return Ends(high, low, nodes[..., :most].amax(0), nodes.flip(-1)[..., :most].amin(0))


def _multiplicities(
    run: Bidiagonalisation, nodes: Tensor, Qh: Tensor, residual: Tensor, cut: Tensor, most: int
) -> Tensor:
    squares = nodes.square()
    gap = (squares[..., :most] - squares[..., 1 : most + 1]).abs().clamp_min(torch.finfo(squares.dtype).tiny)
    r, size = residual[..., :most], nodes[..., :most]
    settled = (size * r <= _SINE * gap) & ((r.square() <= _RELATIVE * gap) | (size <= cut))
    vectors = torch.einsum("knjm,knmc->nkjc", Qh[..., :most, :].to(run.V), run.V).double().transpose(1, 2)
    length = vectors.norm(dim=-1)
    gram = vectors @ vectors.mT
    multiplicity = (torch.linalg.eigvalsh(gram) > _DISTINCT).sum(-1)
    # A vector shorter than one mixes with the empty end of an exhausted Krylov space.
    known = settled.all(0) & (length > 0.999).all(-1) & (multiplicity < len(run.alpha))
    return multiplicity * known.cumprod(-1)


def counted(nodes: Tensor, weights: Tensor, ends: Ends, dimension: int) -> tuple[Tensor, Tensor, Tensor]:
    """A rule `(n, probes, count + 1)` with the known ends put in exactly: nodes descending, the last at zero.

    Returns:
        Nodes, weights (which sum to one in the mean over the probes), and which nodes are known.
    """
    most, end = ends.high.shape[-1], nodes.shape[-1] - 1
    share, values = torch.zeros_like(nodes[:, 0]), nodes[:, 0].clone()
    share[:, :most], values[:, :most] = ends.high.to(nodes) / dimension, ends.high_values
    share[:, end - most : end] = ends.low.flip(-1).to(nodes) / dimension
    values[:, end - most : end] = ends.low_values.flip(-1)
    known = (share > 0).unsqueeze(1).expand_as(nodes)
    rest = weights.masked_fill(known, 0.0)
    # One factor for all probes keeps the rule exact where they span the whole space.
    total = rest.sum((-2, -1)) / nodes.shape[1]
    factor = (1 - share.sum(-1)) / total.clamp_min(torch.finfo(total.dtype).tiny)
    rest = rest * torch.where(ends.count > 0, factor, 1.0)[:, None, None]
    return torch.where(known, values.unsqueeze(1), nodes), torch.where(known, share.unsqueeze(1), rest), known
