"""What one point of the data manifold contributes to the penalties: stretching, and bending of encoder and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.diffusability.decoder_manifold import DenseSheet, Directions, Sheet
from theodolite.estimates import Seeds

__all__ = ["Bilinear", "Contributions", "contributions", "pairs_of"]

Contributions = dict[str, Tensor]
"""One number a point under each name, `(n,)` each, float64."""

_MOST_PAIRS = 66
"""Second derivatives at a point up to which all pairs of the frame are taken in place of probes."""

_NEAREST = 8
"""Points compared with each one for the reach, where every comparison costs a least-squares solve."""

_UNCERTAIN = 16.0
"""Units of rounding of the largest point, in the distance of a point from a tangent space: a sum of a few products."""

_BLOCK = 64
"""Points compared at once."""


def contributions(sheet: Sheet, seeds: Seeds, points: Tensor, *, probes: int, ascent: int) -> Contributions:
    """Every quantity of the penalties at each point of `sheet`.

    Args:
        sheet: the manifold at `n` points.
        seeds: a stream for each of them.
        points: all points of the survey, `(N, D)`, for the reach.
        probes: random tangent vectors at a point, at least two.
        ascent: steps towards the direction of largest encoder curvature, where pairs are too many.
    """
    rank = _pairs(sheet)
    v = _directions(sheet, seeds, probes, rank)
    stretch = _stretch(sheet) if isinstance(sheet, DenseSheet) else _sampled_stretch(sheet, v)
    hessian = Bilinear.of(sheet.second_of_encoder(v), rank)
    form = Bilinear.of(sheet.second_fundamental_form(v), rank)
    pushed = form.through(lambda values: sheet.push(values.to(v.image)))
    bound = hessian.spectral_norm() if rank else _ascended(sheet, v, hessian.values.norm(dim=-1), ascent)
    bend = form.spectral_norm() if rank else (form.values.norm(dim=-1) / _squared(v.image)).amax(0)
    square, trace = form.square(), form.trace_square()
    return {
        **stretch,
        "encoder": hessian.square(),
        "pushed": pushed.square(),
        "cross": 2 * hessian.inner(pushed),
        "injection": (hessian + pushed).square(),
        "data": square,
        "mean_curvature": trace,
        "data_information": trace - 1.5 * square,
        "bound": bound,
        "reach": _reach(sheet, points, bend),
        **_latent(sheet, seeds, probes, rank, hessian),
    }


def _pairs(sheet: Sheet) -> int:
    """Size of the frame where all pairs are affordable, otherwise 0."""
    r = sheet.frame.image.shape[-1] if isinstance(sheet, DenseSheet) else 0
    return r if r * (r + 1) // 2 <= _MOST_PAIRS else 0


def _directions(sheet: Sheet, seeds: Seeds, probes: int, rank: int) -> Directions:
    if isinstance(sheet, DenseSheet) and rank:
        return sheet.frame.combine(pairs_of(rank, sheet.decoder.n))
    return sheet.probes(seeds, probes)


def _stretch(sheet: DenseSheet) -> Contributions:
    """What the eigenvalues of `G` say; directions that are not there count as the mean one, or as unit stretch."""
    G, rank, absent = sheet.metric, sheet.rank.double(), (~sheet.live).double()
    trace, square = G.diagonal(dim1=-2, dim2=-1).sum(-1), G.square().sum((-2, -1))
    typical = torch.linalg.eigvalsh(G + torch.diag_embed(absent * (trace / rank)[:, None]))
    low = torch.maximum(typical[:, 0], torch.finfo(sheet.images.dtype).eps ** 2 * typical[:, -1])
    return {
        "rank": rank,
        "stretch": trace,
        "stretch_square": square,
        "within": rank * square / trace.square() - 1,
        "delta": (torch.linalg.eigvalsh(G + torch.diag_embed(absent)) - 1).abs().amax(-1),
        "log10_condition": (typical[:, -1] / low).log10(),
    }


def _sampled_stretch(sheet: Sheet, v: Directions) -> Contributions:
    """`tr G` and `tr G²` without bias from independent probes: `|J_E p|²` and `<J_E p, J_E q>²`."""
    images = sheet.push(v.image).double().transpose(0, 1)
    k, m = len(v.image), sheet.decoder.latent_dim
    gram = images @ images.mT
    own = gram.diagonal(dim1=-2, dim2=-1)
    return {
        "rank": torch.full_like(own[:, 0], float(m)),
        "stretch": own.mean(-1),
        "stretch_square": (gram.square().sum((-2, -1)) - own.square().sum(-1)) / (k * (k - 1)),
        "coverage": _squared(v.image).mean(0) / m,
    }


def _latent(sheet: Sheet, seeds: Seeds, probes: int, rank: int, like: Bilinear) -> Contributions:
    """`II_Z` in the metric of the latent space, and `1/2 grad log det G` where all pairs are known."""
    names = ("latent_encoder", "latent_data", "latent_cross", "latent", "latent_information")
    nothing = torch.zeros_like(like.values[0, :, 0])
    if not isinstance(sheet, DenseSheet) or (not rank and bool((sheet.rank == sheet.decoder.latent_dim).all())):
        return {**dict.fromkeys(names, nothing), "encoder_normal": nothing}
    frame, tangents = sheet.whitened()
    r = tangents.shape[-1]
    coefficients = pairs_of(rank, len(tangents)) if rank else seeds.normal("latent", probes, r).transpose(0, 1)
    v = frame.combine(coefficients)
    hessian = Bilinear.of(sheet.second_of_encoder(v), rank)
    pushed = Bilinear.of(sheet.push(sheet.second_fundamental_form(v)), rank)
    e = tangents.double()
    full = (sheet.rank == sheet.decoder.latent_dim)[:, None]

    def outside(values: Tensor) -> Tensor:
        return (values - torch.einsum("nmr,nlr,knl->knm", e, e, values)).masked_fill(full, 0)

    volume = {"volume": _volume((hessian + pushed).tensor(), e)} if rank else {}
    first, second = hessian.through(outside), pushed.through(outside)
    both = first + second
    square, trace = both.square(), both.trace_square()
    parts = (first.square(), second.square(), 2 * first.inner(second), square, trace - 1.5 * square)
    return {**dict(zip(names, parts)), "encoder_normal": like.through(outside).square(), **volume}


def _volume(B: Tensor, e: Tensor) -> Tensor:
    """`|G^(-1/2) grad (1/2 log det G)|²` from the second derivatives in a frame that `J_E` maps to `e`, orthonormal."""
    return torch.einsum("nabf,nfb->na", B, e).square().sum(-1)


def _ascended(sheet: Sheet, v: Directions, sizes: Tensor, steps: int) -> Tensor:
    """`max |Hess E(u, u)|` over unit tangent `u` by power steps `u <- P_T <y, Hess E> u`, `y` along `Hess E(u, u)`.

    The product is a central difference of VJPs; the value is exact, and a lower bound.
    """
    best = (sizes / _squared(v.image)).max(0)
    u = Directions(*(part.gather(0, best.indices[None, :, None].expand(1, *part.shape[1:])) for part in v))
    largest, x = best.values, sheet.encoder.latents
    h = torch.finfo(x.dtype).eps ** (1 / 3) * x.flatten(1).norm(dim=-1).clamp_min(1.0)[None, :, None]
    for _ in range(steps):
        u = Directions(*(part / u.image.norm(dim=-1, keepdim=True) for part in u))
        y = sheet.second_of_encoder(u).reshape(1, *sheet.encoder.outputs.shape)
        largest = torch.maximum(largest, y.flatten(2).norm(dim=-1)[0].double())
        y = y / y.flatten(2).norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny).reshape(1, -1, *(1,) * (y.ndim - 2))
        ahead, behind = (jacobian(sheet.encoder.map, x + (sign * h * u.image).reshape(x.shape)) for sign in (1, -1))
        sheet.encoder.passes += ahead.passes + behind.passes + 2
        u = sheet.tangent((ahead.rmatvec(y) - behind.rmatvec(y)).flatten(2) / (2 * h))
        if not bool((u.image.norm(dim=-1) > 0).all()):
            break
    return largest


def _reach(sheet: Sheet, points: Tensor, bend: Tensor) -> Tensor:
    """The smallest of `1 / bend` and of `|y - x|² / (2 dist(y - x, T_x))` over the other points `y`, `(n,)`.

    Infinite where it exceeds the extent of the points by more than one over the square root of rounding: what bends
    less cannot be told from flat. What rounding may add to the distance from a tangent space is taken off, so that the
    reach stays an upper bound where points are near each other. Source: Federer 1959.
    """
    x = sheet.decoder.outputs.flatten(1)
    if not isinstance(sheet, DenseSheet) and len(points) > _NEAREST + 1:
        nearest = torch.cdist(x, points).topk(_NEAREST + 1, largest=False).indices.mT
        blocks = [points[nearest]]
    else:
        blocks = [part[:, None] for part in points.split(_BLOCK)]
    smallest, rounding = 1 / bend, torch.finfo(x.dtype).eps
    extent = _squared(points - points.mean(0)).amax()
    uncertain = _UNCERTAIN * rounding * _squared(points).amax().sqrt()
    for y in blocks:
        apart = y - x
        length, off = _squared(apart), _squared(sheet.normal(apart)).sqrt()
        ratio = torch.where(off > uncertain, length / (2 * (off - uncertain)), torch.inf)
        smallest = torch.minimum(smallest, ratio.amin(0))
    return torch.where(smallest < (extent / rounding).sqrt(), smallest, torch.inf)


def _squared(v: Tensor) -> Tensor:
    return v.double().square().sum(-1)


@dataclass(frozen=True)
class Bilinear:
    """`B(u, v)` with values in `R^F` at each of `n` points.

    Either all pairs of an orthonormal frame are known, or `B(p, p)` at independent normal `p` of unit covariance. For
    those `B(p, p)` has mean `tr B` and covariance trace `2 ||B||²`: the sample covariance gives `||B||²` and what is
    left of the squared mean `|tr B|²`, both without bias. Cf. polarisation: with `p = (u + v) / sqrt2`,
    `q = (u - v) / sqrt2`, `B(u, v) = (B(p, p) - B(q, q)) / 2`.

    Attributes:
        values: `(k, n, F)`, float64: the entries `B(u_i, u_j)`, `i <= j`, diagonal first, or the values at probes.
        rank: size of the frame where all pairs are known; 0 for probes.
    """

    values: Tensor
    rank: int = 0

    @classmethod
    def of(cls, values: Tensor, rank: int = 0) -> Bilinear:
        """Build it from values `B(c, c)` at the combinations of `pairs_of(rank)`, or at probes where `rank` is 0."""
        values = values.double()
        if rank:
            i, j = torch.triu_indices(rank, rank, 1, device=values.device)
            mixed = (values[rank:] - values[i] - values[j]) / 2
            values = torch.cat([values[:rank], mixed])
        return cls(values, rank)

    def __add__(self, other: Bilinear) -> Bilinear:
        return replace(self, values=self.values + other.values)

    def through(self, linear: Callable[[Tensor], Tensor]) -> Bilinear:
        """`B` followed by a linear map on its values, `(k, n, F) -> (k, n, F')`."""
        return replace(self, values=linear(self.values).double())

    def inner(self, other: Bilinear) -> Tensor:
        """`<B, C> = sum_ij <B(u_i, u_j), C(u_i, u_j)>`, `(n,)`."""
        if self.rank:
            products = (self.values * other.values).sum(-1)
            return 2 * products.sum(0) - products[: self.rank].sum(0)
        centred = [part.values - part.values.mean(0) for part in (self, other)]
        return (centred[0] * centred[1]).sum((0, -1)) / (2 * (len(self.values) - 1))

    def square(self) -> Tensor:
        """`||B||²`, `(n,)`; from probes without bias, not below zero."""
        return self.inner(self)

    def trace_square(self) -> Tensor:
        """`|tr B|²`, `(n,)`; from probes without bias, so it may come out below zero."""
        if self.rank:
            return self.values[: self.rank].sum(0).square().sum(-1)
        return self.values.mean(0).square().sum(-1) - 2 * self.square() / len(self.values)

    def tensor(self) -> Tensor:
        """Return all entries, `(n, rank, rank, F)`, where all pairs are known."""
        r = self.rank
        B = self.values.new_zeros(r, r, *self.values.shape[1:])
        i, j = torch.triu_indices(r, r, 1, device=B.device)
        B[range(r), range(r)] = self.values[:r]
        B[i, j] = B[j, i] = self.values[r:]
        return B.permute(2, 0, 1, 3)

    def spectral_norm(self, rounds: int = 20) -> Tensor:
        """`max |B(u, u)|` over unit `u`, `(n,)`, where all pairs are known; a local maximum, so a lower bound.

        By turns the best unit `y` for `u` and the best `u` for `y`: an eigenvector of `<y, B>`. Never decreases;
        started from every vector of the frame and from the leading one of the flattened map.
        """
        B = self.tensor()
        n, r = B.shape[:2]
        leading = torch.linalg.eigh(torch.einsum("nijf,nkjf->nik", B, B)).eigenvectors[..., -1:].mT
        u = torch.cat([torch.eye(r, dtype=B.dtype, device=B.device).expand(n, r, r), leading], 1)
        for _ in range(rounds):
            y = torch.einsum("nijf,nsi,nsj->nsf", B, u, u)
            size = y.norm(dim=-1, keepdim=True)
            y = y / size.clamp_min(torch.finfo(y.dtype).tiny)
            values, vectors = torch.linalg.eigh(torch.einsum("nijf,nsf->nsij", B, y))
            best = values.abs().argmax(-1)[..., None, None].expand(-1, -1, r, 1)
            u = vectors.gather(-1, best).squeeze(-1)
        return torch.einsum("nijf,nsi,nsj->nsf", B, u, u).norm(dim=-1).amax(-1)


def pairs_of(rank: int, n: int) -> Tensor:
    """Coefficients `(rank (rank + 1) / 2, n, rank)` of all `u_i`, then of all `u_i + u_j`, `i < j`."""
    eye = torch.eye(rank, dtype=torch.float64)
    i, j = torch.triu_indices(rank, rank, 1)
    return torch.cat([eye, eye[i] + eye[j]])[:, None].expand(-1, n, -1)
