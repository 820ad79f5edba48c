"""Small networks that learn the velocity of latents for a few steps: what a diffusion model finds hard early on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

__all__ = ["PROBES", "AttentionProbe", "ConvolutionalProbe", "probe_errors"]

_WIDTH = 64
_WAVES = 16
_GRID = 4
"""Places a side that patches leave, at least: a network of a few steps learns no more of finer ones."""

_BATCH = 64
_RATE = 2e-3
_WARM = 50
_CLIP = 1.0
_AVERAGE = 0.99


class _Times(nn.Module):
    """The share of noise `a: (n,)` in [0, 1] as a vector `(n, width)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2 * _WAVES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, a: Tensor) -> Tensor:
        frequencies = torch.linspace(0, math.log(200), _WAVES, dtype=a.dtype, device=a.device).exp()
        angles = a[:, None] * frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], 1))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Two 3x3 convolutions with the time as scale and shift in between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.enter, self.leave = nn.GroupNorm(4, width), nn.GroupNorm(4, width)
        self.time = nn.Linear(width, 2 * width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.time(time)[:, :, None, None].chunk(2, 1)
        change = self.leave(self.first(silu(self.enter(h)))) * (1 + scale) + shift
        return h + self.second(silu(change))


class _Patches(nn.Module):
    """A network of a grid of patches: feature maps are cut so that a side keeps four places or more."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape) if len(shape) == 3 else (math.prod(shape), 1, 1)
        C, H, W = self.shape
        sides = [side for side in range(1, min(H, W) // _GRID + 1) if H % side == W % side == 0]
        self.side = max(sides, default=1)
        self.channels, self.grid = C * self.side**2, (H // self.side, W // self.side)
        self.time = _Times(_WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(1, _WIDTH, *self.grid))

    def cut(self, x: Tensor) -> Tensor:
        """Latents `(n, *latent)` as patches `(n, channels, *grid)`."""
        return torch.nn.functional.pixel_unshuffle(x.reshape(-1, *self.shape), self.side)

    def joined(self, patches: Tensor, like: Tensor) -> Tensor:
        """The inverse of `cut`."""
        return torch.nn.functional.pixel_shuffle(patches, self.side).reshape(like.shape)


class ConvolutionalProbe(_Patches):
    """Three residual blocks of convolutions on a grid of patches; zero until it is trained."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.enter, self.leave = (
            nn.Conv2d(self.channels, _WIDTH, 3, padding=1),
            nn.Conv2d(_WIDTH, self.channels, 3, padding=1),
        )
        self.blocks, self.norm = nn.ModuleList(_Residual(_WIDTH) for _ in range(3)), nn.GroupNorm(4, _WIDTH)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """The velocity at `x: (n, *latent)` with shares of noise `a: (n,)`."""
        h, time = self.enter(self.cut(x)) + self.place, self.time(a)
        for block in self.blocks:
            h = block(h, time)
        return self.joined(self.leave(silu(self.norm(h))), x)


class _Attending(nn.Module):
    """Attention between tokens, then a perceptron of each; both told the time."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.enter, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.time = nn.Linear(width, 4 * width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        n, tokens, width = h.shape
        scales = self.time(time)[:, None].chunk(4, -1)
        parts = self.query(self.enter(h) * (1 + scales[0]) + scales[1]).reshape(n, tokens, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        h = h + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width))
        return h + self.narrow(gelu(self.widen(self.between(h) * (1 + scales[2]) + scales[3])))


class AttentionProbe(_Patches):
    """Three blocks of attention on patches as tokens; of a vector, a perceptron. Zero until it is trained."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.enter, self.leave = nn.Linear(self.channels, _WIDTH), nn.Linear(_WIDTH, self.channels)
        self.blocks, self.norm = nn.ModuleList(_Attending(_WIDTH) for _ in range(3)), nn.LayerNorm(_WIDTH)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        """The velocity at `x: (n, *latent)` with shares of noise `a: (n,)`."""
        patches = self.cut(x)
        h, time = self.enter(patches.flatten(2).mT) + self.place.flatten(2).mT, self.time(a)
        for block in self.blocks:
            h = block(h, time)
        return self.joined(self.leave(self.norm(h)).mT.reshape(patches.shape), x)


PROBES: dict[str, Callable[[Sequence[int]], nn.Module]] = {"conv": ConvolutionalProbe, "attention": AttentionProbe}
"""Kinds of small networks by name."""


def probe_errors(
    kind: str, latents: Tensor, judged: Tensor, shares: Tensor, steps: Sequence[int], seed: int
) -> dict[int, Tensor]:
    """Squared errors of a probe's velocity at held-out latents, after some numbers of steps.

    Flow matching on `x = (1 - a) z + a eps` with uniform `a`, batches of 64, Adam, and an average of the weights.

    Args:
        kind: of `PROBES`.
        latents: `(n, *latent)`, entries of unit variance, to learn from.
        judged: `(q, *latent)`, others.
        shares: of noise at which it is asked, `(T,)`.
        steps: after which it is asked, rising.
        seed: of weights, batches and noise.

    Returns:
        `|v(x_a, a) - (eps - z)|²`, `(T, q)` float64, by the number of steps.
    """
    stream = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        network, average = (PROBES[kind](latents.shape[1:]) for _ in range(2))
        optimiser = torch.optim.Adam(network.parameters(), _RATE, betas=(0.9, 0.99))
        average.load_state_dict(network.state_dict())
        errors, latents = {}, latents.clone()
        for step in range(1, max(steps) + 1):
            _learn(network, optimiser, latents, stream, step)
            with torch.no_grad():
                new = 1 - min(_AVERAGE, step / (step + 10))
                torch._foreach_lerp_([*average.parameters()], [*network.parameters()], new)
            if step in steps:
                errors[step] = _asked(average, judged, shares, seed)
    return errors


def _learn(
    network: nn.Module, optimiser: torch.optim.Optimizer, latents: Tensor, stream: torch.Generator, step: int
) -> None:
    z = latents[torch.randint(len(latents), (_BATCH,), generator=stream)]
    eps, a = torch.randn(z.shape, generator=stream), torch.rand(_BATCH, generator=stream)
    share = a.reshape(-1, *[1] * (z.ndim - 1))
    for group in optimiser.param_groups:
        group["lr"] = _RATE * min(1.0, step / _WARM)
    loss = (network((1 - share) * z + share * eps, a) - (eps - z)).square().mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    optimiser.step()


@torch.no_grad()
def _asked(network: nn.Module, z: Tensor, shares: Tensor, seed: int) -> Tensor:
    eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed + 1))
    rows = []
    for a in shares.tolist():
        velocity = network((1 - a) * z + a * eps, torch.full((len(z),), a))
        rows.append((velocity - (eps - z)).double().square().flatten(1).sum(1))
    return torch.stack(rows)
