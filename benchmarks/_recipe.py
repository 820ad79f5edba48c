"""The published recipe for the metric of a family (Lobashev et al. 2025), written from its description.

A classifier from bundles of configurations to cells of the grid, trained on normal bumps around the true parameters; a
ReLU network with layer normalisation as potential, fitted by the Jensen-Shannon divergence between the classifier's
posteriors and `softmax over t of u(t) - <t, ∇u(t')>` at the *true* parameters `t'`; geodesics by Adam with the metric
detached from the graph. Learning rates and numbers of steps of the potential are not published: ours are arguments.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from theodolite.families import ParameterGrid

__all__ = ["detached_geodesics", "network_hessian", "relu_potential", "trained_posterior"]


def trained_posterior(
    states: Tensor, parameters: Tensor, grid: ParameterGrid, *, steps: int, bump: float = 1 / 50, batch: int = 128
) -> nn.Module:
    """A network from bundles `(m, N, *state)` to logits over the cells, after `steps` steps of Adam.

    `states: (n, *state)` and their parameters are bundled as published: four of the eight nearest neighbours of a
    sample in the scaled parameters, the target the mean of their bumps.
    """
    low, high = grid.corners
    places = ((parameters - low) / (high - low)).float()
    cells = ((grid.points - low) / (high - low)).float()
    near = torch.cat([torch.cdist(rows, places).topk(8, largest=False).indices for rows in places.split(1000)])
    x = states.flatten(1).float()
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(4 * x.shape[1], 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, len(cells)),
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,))
        picks = near[rows].gather(1, torch.rand(batch, 8).argsort(1)[:, :4])
        target = torch.exp(-(places[picks][:, :, None] - cells).square().sum(-1) / (2 * bump**2)).mean(1)
        loss = -(target * network(x[picks]).log_softmax(-1)).sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def relu_potential(
    posterior: Tensor, parameters: Tensor, grid: ParameterGrid, *, steps: int, batch: int = 128
) -> nn.Module:
    """`-log Z` as a network of four hidden layers of 512 units, on parameters scaled to the unit square.

    Args:
        posterior: of every bundle, `(m, cells)`.
        parameters: the true ones, `(m, 2)`.
        grid: the cells.
        steps: of Adam at rate 1e-3.
        batch: bundles in a step.
    """
    layers: list[nn.Module] = []
    for inputs in (2, 512, 512, 512):
        layers += [nn.Linear(inputs, 512), nn.LayerNorm(512), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(512, 1))
    low, high = grid.corners
    t, truth = (((part - low) / (high - low)).float() for part in (grid.points, parameters))
    P = posterior.float()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(steps):
        rows = torch.randint(len(P), (batch,))
        leaf = truth[rows].requires_grad_()
        (slope,) = torch.autograd.grad(network(leaf).sum(), leaf, create_graph=True)
        Q = (network(t)[:, 0] - slope @ t.mT).softmax(-1)
        loss = (_entropy((P[rows] + Q) / 2) - (_entropy(P[rows]) + _entropy(Q)) / 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network


def network_hessian(network: nn.Module, theta: Tensor, grid: ParameterGrid) -> Tensor:
    """`-∇²` of the network at `theta: (n, 2)`, in units of the parameters, detached: `(n, 2, 2)` float64."""
    low, high = grid.corners
    leaf = ((theta.detach() - low) / (high - low)).float().requires_grad_()
    (slope,) = torch.autograd.grad(network(leaf).sum(), leaf, create_graph=True)
    rows = [torch.autograd.grad(part.sum(), leaf, retain_graph=True)[0] for part in slope.unbind(-1)]
    return -torch.stack(rows, -2).detach().double() / ((high - low)[:, None] * (high - low))


def detached_geodesics(network: nn.Module, grid: ParameterGrid, start: Tensor, end: Tensor, *, steps: int) -> Tensor:
    """Curves `(m, 90, 2)` between `(m, 2)` twice: Adam at rate 0.01 in the unit square, metric detached."""
    low, high = grid.corners
    s = torch.linspace(0, 1, 90, dtype=torch.float64)[:, None]
    first, last = (((part - low) / (high - low))[:, None] for part in (start, end))
    inner = (first + s[1:-1] * (last - first)).requires_grad_()
    optimiser = torch.optim.Adam([inner], lr=0.01)
    scale = (high - low)[:, None] * (high - low)
    for _ in range(steps):
        curve = torch.cat([first, inner, last], 1)
        delta, middles = curve.diff(dim=1), (curve[:, 1:] + curve[:, :-1]) / 2
        g = network_hessian(network, (low + middles * (high - low)).flatten(0, 1), grid) * scale
        energy = torch.einsum("msi,msij,msj->", delta, g.unflatten(0, middles.shape[:2]), delta)
        loss = energy + 0.1 * curve.diff(dim=1).diff(dim=1).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            inner.clamp_(0, 1)
    return low + torch.cat([first, inner.detach(), last], 1) * (high - low)


def _entropy(P: Tensor) -> Tensor:
    return -(P * (P + 1e-8).log()).sum(-1)
