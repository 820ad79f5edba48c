"""Linear autoencoders of 8x8 images whose order is known, and images of a known spectrum in groups."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.maps import Autoencoder
from theodolite.scores.preconditioning import orthonormal_cosines

SIDE = 8


def images(groups: int = 12, each: int = 4, seed: int = 0) -> Tensor:
    """Grey images with power that falls with frequency, each group a little louder or softer."""
    g = torch.Generator().manual_seed(seed)
    waves = torch.randn(groups * each, 1, SIDE, SIDE, generator=g) * spectrum()
    loud = torch.exp(0.2 * torch.randn(groups, generator=g)).repeat_interleave(each)
    W = orthonormal_cosines(SIDE).float()
    return (0.15 * loud[:, None, None, None] * (W @ waves @ W.T)).clamp(-1, 1)


def spectrum() -> Tensor:
    """Standard deviation of the cosine waves."""
    k = torch.arange(SIDE)
    return 2 / (1 + k[:, None] ** 2 + k**2) ** 0.75


def sources(groups: int = 12, each: int = 4) -> list[str]:
    return [f"source-{place // each:02d}" for place in range(groups * each)]


def _model(name: str, encode, decode, *shape: int) -> Autoencoder:
    return Autoencoder(
        encode, decode, name=name, latent_shape=shape, image_channels=1, image_size=(SIDE, SIDE), settings={"w": name}
    )


def isometric() -> Autoencoder:
    """The image on its side: no gap."""
    return _model("isometric", lambda x: -x.mT, lambda z: -z.mT, 1, SIDE, SIDE)


def padded() -> Autoencoder:
    """Three times the image, and a channel of zeros: no gap either."""
    return _model("padded", lambda x: torch.cat([3 * x, 0 * x], 1), lambda z: z[:, :1] / 3, 2, SIDE, SIDE)


def pooled() -> Autoencoder:
    """The mean of four pixels: high frequencies are lost."""
    half = SIDE // 2
    return _model(
        "pooled",
        lambda x: torch.nn.functional.avg_pool2d(x, 2),
        lambda z: torch.nn.functional.interpolate(z, scale_factor=2),
        *(1, half, half),
    )


def whitened() -> Autoencoder:
    """All waves at equal power: as far from the images as a linear map gets."""
    W, s = orthonormal_cosines(SIDE).float(), spectrum()
    return _model(
        "whitened",
        lambda x: W @ (W.T @ x @ W / s) @ W.T,
        lambda z: W @ (W.T @ z @ W * s) @ W.T,
        *(1, SIDE, SIDE),
    )


def broken() -> Autoencoder:
    """Gives NaN."""
    return _model("broken", lambda x: x * float("nan"), lambda z: z, 1, SIDE, SIDE)
