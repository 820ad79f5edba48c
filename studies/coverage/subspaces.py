"""What `decoupling` measures of a ridge map inside frames of latent directions, from closed derivatives in float64."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.coverage.ridges import Ridge
from theodolite.estimates import rank_correlation


class Frames:
    """The subspaces of `W: (count, k, d)` at a latent `z`, for a ridge map with outputs `(channels, rows, columns)`.

    The leading direction `v_1` of `J W` turns by `T u` for a unit step `W u`, `T = sum_j v_j (v_j . dA v_1) /
    (l_1 - l_j)` with `A = (J W)ᵀ J W`, and its image `P_1 = J W v_1` changes by `G u`.
    """

    def __init__(self, ridge: Ridge, z: Tensor, W: Tensor) -> None:
        self.space, self.k = ridge.space, W.shape[1]
        self.J = ridge.jacobian(z[None])[0] @ W.mT
        self.left, self.sigma, Vh = torch.linalg.svd(self.J, full_matrices=False)
        self.axis, others = Vh[:, 0], Vh[:, 1:]
        bend, B = ridge.profile.bend(ridge.B @ z + ridge.b), ridge.B @ W.mT
        bent = torch.einsum("or,nr,nrk->nok", ridge.C, bend * torch.einsum("nrk,nk->nr", B, self.axis), B)
        pulled = bend * torch.einsum("nok,nk,or->nr", self.J, self.axis, ridge.C)
        change = torch.einsum("nrj,nr,nrk->njk", B, pulled, B) + self.J.mT @ bent
        gaps = self.sigma[:, :1].square() - self.sigma[:, 1:].square()
        self.T = others.mT @ (others @ change / gaps.unsqueeze(-1))
        self.G = bent + self.J @ self.T

    @cached_property
    def scalars(self) -> dict[str, Tensor]:
        """All that needs no neighbour, `(count,)` each."""
        image = self.sigma[:, :1] * self.left[..., 0]
        sigma, share = self.sigma, self.sigma / self.sigma.sum(-1, keepdim=True)
        rough = self._laplacian(image)
        return {
            "ls_max": sigma[:, 0],
            "ls_log": sigma.log().sum(-1),
            "phfe": rough.var(-1),
            "phfe_reflected": self._laplacian(image, is_mirrored=True).var(-1),
            "q": rough.square().sum(-1) / image.square().sum(-1),
            "leading_share": sigma[:, 0].square() / sigma.square().sum(-1),
            "gap": 1 - F.pad(sigma, (0, 1))[:, 1] / sigma[:, 0],
            "minus_ls": -sigma[:, 0],
            "effective_rank": (-torch.special.xlogy(share, share).sum(-1)).exp(),
            "ones_cosine": self.axis.sum(-1).abs() / self.k**0.5,
        }

    def rotations(self, u: Tensor) -> Tensor:
        """`||T u||` for unit vectors `(count, m, k)`: `(count, m)`."""
        return (u @ self.T.mT).norm(dim=-1)

    def overlap(self, u: Tensor) -> dict[str, Tensor]:
        """`map_correlation` and `mass_on_detail` of the mean over unit vectors `(count, m, k)`."""
        moved = torch.einsum("nok,nmk->nmo", self.G, u).unflatten(-1, self.space)
        bend = moved.norm(dim=2).mean(1).flatten(1)
        rough = self._laplacian(self.sigma[:, :1] * self.left[..., 0]).unflatten(-1, self.space).norm(dim=1).flatten(1)
        top = rough.argsort(dim=1, descending=True)[:, : max(1, rough.shape[1] // 10)]
        mass = bend.gather(1, top).sum(1) / bend.sum(1)
        return {"map_correlation": rank_correlation(bend, rough), "mass_on_detail": mass}

    def _laplacian(self, image: Tensor, *, is_mirrored: bool = False) -> Tensor:
        """By convolution, zeros or mirrored entries beyond the border."""
        x = image.reshape(-1, 1, *self.space[1:])
        kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=x.dtype)
        around = F.pad(x, (1, 1, 1, 1), mode="reflect" if is_mirrored else "constant")
        return F.conv2d(around, kernel[None, None]).reshape(len(image), -1)
