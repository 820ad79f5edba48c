"""Two statistics of a configuration as other work finds them, and the potential that their means are the gradient of.

`mean_statistic`: the posterior mean of the parameters given one configuration. `vae_statistic`: the two leading
principal components of the latent means of a variational autoencoder (Walker et al. 2020), mapped linearly to the
parameters. How the authors turn such statistics into a free energy was not found; here `integrated` takes the smooth
function whose gradient is nearest to the statistic of every sample.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from theodolite.families import Posterior
from theodolite.families.surfaces import SplineSurface, TensorSplines

__all__ = ["integrated", "mean_statistic", "vae_statistic"]

_RIDGE = 1e-6


def mean_statistic(posterior: Posterior) -> Tensor:
    """`E[t | x]` of every bundle, `(m, 2)`."""
    return posterior.mean()


def vae_statistic(states: Tensor, parameters: Tensor, *, steps: int, latents: int = 8) -> Tensor:
    """Of `states: (n, *state)`: `(n, 2)`, the linear prediction of the parameters from two principal components."""
    x = states.flatten(1).float()
    encoder = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 2 * latents))
    decoder = nn.Sequential(nn.Linear(latents, 64), nn.ReLU(), nn.Linear(64, x.shape[1]))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    ones = (x > 0).float()
    for _ in range(steps):
        rows = torch.randint(len(x), (256,))
        mean, log_variance = encoder(x[rows]).chunk(2, -1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        rebuilt = nn.functional.binary_cross_entropy_with_logits(decoder(z), ones[rows], reduction="none").sum(-1)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
        loss = (rebuilt + divergence).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        means = encoder(x)[:, :latents].double()
    components = (means - means.mean(0)) @ torch.linalg.svd(means - means.mean(0), full_matrices=False)[2][:2].mT
    design = torch.cat([torch.ones_like(components[:, :1]), components], 1)
    return design @ torch.linalg.lstsq(design, parameters).solution


def integrated(statistic: Tensor, parameters: Tensor, splines: TensorSplines) -> SplineSurface:
    """The spline whose gradient at `parameters: (m, 2)` is nearest to `statistic: (m, 2)` in squares."""
    scale = (torch.tensor(splines.high) - torch.tensor(splines.low)).to(parameters)
    rows = [splines.matrix(parameters, orders) * side for orders, side in (((1, 0), scale[0]), ((0, 1), scale[1]))]
    design, wanted = torch.cat(rows), (statistic * scale).mT.flatten()
    normal = design.mT @ design / len(parameters)
    ridge = _RIDGE * normal.diagonal().mean() * torch.eye(len(normal), dtype=normal.dtype)
    return SplineSurface(splines, torch.linalg.solve(normal + ridge, design.mT @ wanted / len(parameters)))
