"""Tiny autoencoders in the ways that people write them; verbs name them `situations:of_a_dictionary`."""

from __future__ import annotations

import os
import threading
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Autoencoding(nn.Module):
    """Four times fewer pixels a side and back, with functions before and after."""

    def __init__(
        self,
        after_encode: Callable[[Tensor], Any] = lambda z: z,
        before_decode: Callable[[Tensor], Tensor] = lambda z: z,
        after_decode: Callable[[Tensor], Any] = lambda x: x,
        end: nn.Module | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(3, 2, 4, 4)
        self.up = nn.Sequential(nn.ConvTranspose2d(2, 3, 4, 4), end or nn.Tanh())
        self.around = (after_encode, before_decode, after_decode)

    def encode(self, images: Tensor) -> Any:
        return self.around[0](self.down(images))

    def decode(self, latents: Tensor) -> Any:
        return self.around[2](self.up(self.around[1](latents)))


def plain() -> Autoencoding:
    return Autoencoding()


def of_a_distribution() -> Autoencoding:
    return Autoencoding(lambda z: torch.distributions.Independent(torch.distributions.Normal(z, 0.1 + 0 * z), 3))


def of_a_dictionary() -> Autoencoding:
    return Autoencoding(lambda z: {"latent": z}, after_decode=lambda x: {"reconstruction": x, "loss": x.mean()})


def of_unit_range() -> Autoencoding:
    return Autoencoding(end=nn.Sigmoid())


def holding() -> Autoencoding:
    """A module as trainings leave it: with a log that is open, a lock, and a table that holds itself."""
    model = plain()
    model.log = open(os.devnull)  # noqa: SIM115  (it stays open)
    model.tools = {"lock": threading.Lock(), "of": model}
    return model


class Louder(Autoencoding):
    def decode(self, latents: Tensor) -> Any:
        return 10 * super().decode(latents)


def of_the_parent() -> tuple[Callable[..., Any], Callable[..., Any]]:
    model = Louder()
    return model.encode, super(Louder, model).decode


def replaced() -> Autoencoding:
    model = plain()
    model.decode = types.MethodType(lambda self, latents: 3 * self.up(latents), model)
    return model


def _nearest(z: Tensor) -> Tensor:
    codes = 0.3 * torch.randn(16, 2, generator=torch.Generator().manual_seed(1)).to(z)
    rows = z.movedim(1, -1)
    return codes[(rows[..., None, :] - codes).square().sum(-1).argmin(-1)].movedim(-1, 1)


def of_a_codebook() -> Autoencoding:
    return Autoencoding(before_decode=_nearest)


def straight_through() -> Autoencoding:
    return Autoencoding(before_decode=lambda z: z + (_nearest(z) - z).detach())


def of_numpy() -> Autoencoding:
    return Autoencoding(before_decode=lambda z: torch.from_numpy(z.detach().numpy().copy()))


def in_half() -> Autoencoding:
    """Half precision inside of a float32 model."""
    model = plain()

    def decode(self: Autoencoding, latents: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.up(latents).float()

    model.decode = types.MethodType(decode, model)
    return model


class Tokens(nn.Module):
    """A token for every patch of 8 pixels, mixed by attention; images are squares of any size."""

    def __init__(self, first: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.pixels = nn.Conv2d(3, 6, 8, 8), nn.Linear(6, 192)
        self.first = nn.Parameter(torch.randn(1, first, 6)) if first else None

    def encode(self, images: Tensor) -> Tensor:
        tokens = self.patch(images).flatten(2).mT
        if self.first is not None:
            tokens = torch.cat([self.first.expand(len(images), -1, -1), tokens], 1)
        return tokens + nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    def decode(self, tokens: Tensor) -> Tensor:
        tokens = tokens if self.first is None else tokens[:, self.first.shape[1] :]
        side = round(tokens.shape[1] ** 0.5)
        pixels = self.pixels(tokens).reshape(len(tokens), side, side, 3, 8, 8)
        return torch.einsum("nhwcpq->nchpwq", pixels).reshape(len(tokens), 3, 8 * side, 8 * side)


def tokens() -> Tokens:
    return Tokens()


def tokens_with_a_class() -> Tokens:
    return Tokens(first=1)


class Attending(nn.Module):
    """Grey images of one size, with attention between all pixels of the half size: memory grows with the fourth power.

    Attributes:
        sides: of the images that encode was given.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.side, self.sides = side, list[int]()
        self.down, self.up = nn.Conv2d(1, 4, 2, 2), nn.Conv2d(4, 1, 1)

    def encode(self, images: Tensor) -> Tensor:
        self.sides.append(images.shape[-1])
        rows = self.down(images).flatten(2).mT
        weights = (rows @ rows.mT).softmax(-1)
        return (weights @ rows).mT.reshape(len(images), 4, *(side // 2 for side in images.shape[2:]))

    def decode(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(self.up(latents), size=(self.side, self.side))


def attending_28() -> Attending:
    return Attending(28)


def attending_40() -> Attending:
    return Attending(40)


def attending_nowhere() -> Attending:
    return Attending(7)
