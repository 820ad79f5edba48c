"""Small networks with random weights, their Jacobians built by reverse mode in float64."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import lru_cache, partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from studies.coverage.cases.spectra import BLOCK, ROOM, beside, normal, of_spectrum, whole
from studies.coverage.cells import Answers, Cell
from theodolite import LatentMap, local_scaling
from theodolite.descriptors import EFFORTS, Chart
from theodolite.estimates import Estimate

_BOUND = "the error of a leading value, and that of truncation, are bounds"

_ROUNDING = "what the rounding of the latent may do to the number is a bound"

_MOVED = 15 * torch.finfo(torch.float32).eps
"""Of its norm, how far another order of the same sums moves a float32 latent."""


def cells() -> Iterator[Cell]:
    """Smooth and kinked networks, in both precisions, dense and drawn."""
    for budget in ("quick", "standard"):
        draw = partial(_smooth, 64, budget)
        yield Cell(ROOM, "SiLU network", 64, f"budget={budget}, drawn", draw, _BOUND)
    for n, width, outputs in ((16, 256, 64), (64, 128, 200)):
        draw = partial(_generator, n, width, outputs, None)
        yield Cell(ROOM, f"ReLU generator of width {width} in float32", n, "dense", draw, _ROUNDING)
    draw = partial(_generator, 100, 200, 300, False)
    yield Cell(ROOM, "ReLU generator of width 200 in float32", 100, "budget=quick, drawn", draw, _ROUNDING)
    yield Cell(ROOM, "convolutional decoder", 288, "rtol=0.05", _decoder, "the error of truncation is a bound")


def _smooth(n: int, budget: str, seed: int) -> Answers:
    place, first = seed % BLOCK, seed - seed % BLOCK
    values, estimates = _smooth_block(n, budget, first)
    return beside({name: each[place : place + 1] for name, each in estimates.items()}, values[place])


@lru_cache(maxsize=1)
def _smooth_block(n: int, budget: str, first: int) -> tuple[Tensor, dict[str, Estimate]]:
    """One network at `BLOCK` latents, each with draws of its own."""
    draws = torch.Generator().manual_seed(first)
    network, seeds = _mlp((n, 96, 120), nn.SiLU, draws), range(first, first + BLOCK)
    latents = normal(BLOCK * n, draws).reshape(BLOCK, n)
    chart = Chart(LatentMap(network, (n,)), latents, generator=seeds, effort=EFFORTS[budget], dense=False)
    values = torch.stack([_values(network, latent[None]) for latent in latents])
    return values, of_spectrum(chart)


def _generator(n: int, width: int, outputs: int, dense: bool | None, seed: int) -> Answers:
    """Measured in float32 at a latent that another rounding has moved; the truth is that of the latent itself."""
    draws = torch.Generator().manual_seed(seed)
    network = _mlp((n, width, width, outputs), nn.ReLU, draws)
    single = deepcopy(network).float()
    double = deepcopy(single).double()
    latent = normal(n, draws)[None]
    moved = latent + _MOVED * latent.norm() * normal(n, draws) / n**0.5
    chart = Chart(LatentMap(single, (n,)), moved.float(), generator=seed, effort=EFFORTS["quick"], dense=dense)
    tolerance = 1e-6 if chart.is_dense else 1e-5
    return beside(of_spectrum(chart), _values(double, latent), tolerance)


def _decoder(seed: int) -> Answers:
    """Latents and outputs have locations, so that the volume is preconditioned."""
    draws = torch.Generator().manual_seed(seed)
    width = whole(draws, 4, 8)
    network = nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1), nn.GELU(), nn.Upsample(scale_factor=2), nn.Conv2d(width, 3, 3, padding=1)
    )
    network, latent = _drawn(network, draws), normal(288, draws).reshape(1, 2, 12, 12)
    found = local_scaling(LatentMap(network, (2, 12, 12)), latent, rtol=0.05, generator=seed)
    return beside(found.named("local_scaling"), _values(network, latent))


def _mlp(widths: tuple[int, ...], activation: type[nn.Module], draws: torch.Generator) -> nn.Sequential:
    layers = [nn.Linear(first, second) for first, second in pairwise(widths)]
    parts = [part for layer in layers for part in (layer, activation())]
    return _drawn(nn.Sequential(*parts[:-1]), draws)


def _drawn(network: nn.Sequential, draws: torch.Generator) -> nn.Sequential:
    """Weights of variance two over the inputs, biases of a tenth, float64."""
    network = network.double().eval().requires_grad_(False)
    for weight in network.parameters():
        scale = (2 / weight[0].numel()) ** 0.5 if weight.ndim > 1 else 0.1
        weight.copy_(scale * normal(weight.numel(), draws).reshape(weight.shape))
    return network


def _values(network: nn.Module, latent: Tensor) -> Tensor:
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: network(z[None])[0]))(latent)[0]
    return torch.linalg.svdvals(jacobian.reshape(-1, latent.numel()))
