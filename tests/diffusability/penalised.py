"""Autoencoders made of functions on flat points, with known penalties, and how estimates are compared."""

from __future__ import annotations

import torch

from theodolite.maps.autoencoders import Autoencoder

D = torch.float64


def made(encoder, decoder, m, channels):
    return Autoencoder(encoder, decoder, name="made", latent_shape=(m,), image_channels=channels)


def toy(encoder, decoder, m, channels):
    """An autoencoder from functions on flat points."""
    return made(lambda x: encoder(x.flatten(1)), lambda z: decoder(z)[:, :, None, None], m, channels)


def images(points):
    return points.to(D)[:, :, None, None]


def drawn(n, dimension, seed=0, half_side=1.0):
    g = torch.Generator().manual_seed(seed)
    return half_side * (2 * torch.rand(n, dimension, generator=g, dtype=D) - 1)


def close(estimate, value, tol=1e-9):
    assert abs(estimate.value.item() - value) <= tol * max(1, abs(value)), (estimate, value)


def near(estimate, value):
    assert abs(estimate.value.item() - value) < 3 * estimate.stderr.item(), (estimate, value)


def linear_pair(A):
    return toy(lambda x: x @ A.T, lambda z: z @ torch.linalg.pinv(A).T, *A.shape)


def bananas(k):
    def bend(x):
        return torch.stack([x[:, 0], x[:, 1] + k * x[:, 0].square() / 2], 1)

    def straighten(z):
        return torch.stack([z[:, 0], z[:, 1] - k * z[:, 0].square() / 2], 1)

    return bend, straighten


def nets(m, channels, seed=0):
    g = torch.Generator().manual_seed(seed)
    A, B, C, E = (
        torch.randn(*shape, generator=g, dtype=D) / shape[1] ** 0.5
        for shape in ((8, channels), (m, 8), (8, m), (channels, 8))
    )
    return (lambda x: (x @ A.T).tanh() @ B.T), (lambda z: (z @ C.T).tanh() @ E.T)


def graph(d=12, a=1.0, c=0.4):
    """A bent sheet over `d` coordinates, and the encoder `sinh(a x) / a` of each; with `a = c = 0` all is flat."""

    def decoder(z):
        y = torch.asinh(a * z) / a
        return torch.cat([y, c / 2 * y.square().sum(1, keepdim=True)], 1)

    return toy(lambda x: torch.sinh(a * x[:, :d]) / a, decoder, d, d + 1)
