"""The decoder's part in membership: which latent dimensions its pull-back stretches, and losses over these alone."""

from __future__ import annotations

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.detection.memorisation.probe import Probe
from theodolite.detection.memorisation.score import mean_over_draws
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds
from theodolite.maps.latent_map import LatentMap

__all__ = ["decoder_influence", "filtered_loss", "most_influential"]


def decoder_influence(decoder: LatentMap, latents: Tensor, *, passes: int = 64, generator: Seeding = None) -> Estimate:
    """The diagonal of the pull-back metric, `G_ii = |J e_i|²`: what a step along a dimension does to the image.

    Where a latent has no more dimensions than `passes`, each is one product and the diagonal exact. Otherwise
    `v * JᵀJ v` with random signs `v` is unbiased for it, with an error over draws; its relative variance is the sum of
    squared entries of the row of `G` over `G_ii²`.

    Args:
        decoder: from latents to images.
        latents: `(n, *latent)`.
        passes: what may be spent on one latent, at least 4.
        generator: of the signs: a `torch.Generator`, a seed, or one seed a latent.

    Returns:
        `Estimate` `(n, *latent)`, in squared output units per squared latent unit.

    Raises:
        InputError: too few passes, or latents that do not fit.

    Source: Rao, Qu and Moyer 2025 (arXiv 2511.20592), who rank dimensions by it; probing after Bekas, Kokiopoulou and
    Saad 2007.

    Example:
        >>> double = LatentMap(lambda z: 2 * z, (3,))
        >>> decoder_influence(double, torch.zeros(1, 3)).value.tolist()
        [[4.0, 4.0, 4.0]]
    """
    if passes < 4:
        raise InputError(f"`passes` expected 4 or more, two draws of two products each, got {passes}")
    operator, shape = jacobian(decoder, latents), latents.shape[1:]
    dimension, n = latents[0].numel(), len(latents)
    if dimension <= passes:
        axes = torch.eye(dimension, dtype=latents.dtype, device=latents.device).reshape(-1, 1, *shape)
        pushed = operator.matvec(axes.expand(-1, n, *shape).contiguous())
        energy = pushed.double().flatten(2).square().sum(-1).T.reshape(n, *shape)
        return Estimate(energy, torch.zeros_like(energy), dimension + 1, 1)
    signs = Seeds(generator, n).normal("influence", passes // 2, *shape).sign().transpose(0, 1).to(latents)
    pulled = operator.rmatvec(operator.matvec(signs))
    return mean_over_draws(signs * pulled, 2 * (passes // 2) + 1)


def most_influential(influence: Tensor, share: float) -> Tensor:
    """The dimensions of largest influence at each latent, a `share` of them and one at least: `(n, *latent)` bool.

    Raises:
        InputError: a share outside (0, 1].

    Example:
        >>> most_influential(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 0.5).tolist()
        [[False, True, True, False]]
    """
    if not 0 < share <= 1:
        raise InputError(f"a share of dimensions above 0 and at most 1 expected, got {share}")
    flat = influence.flatten(1)
    count = max(1, round(share * flat.shape[1]))
    mask = torch.zeros_like(flat, dtype=torch.bool)
    return mask.scatter(1, flat.topk(count, 1).indices, True).reshape(influence.shape)


def filtered_loss(probe: Probe, mask: Tensor) -> Estimate:
    """Less the denoising loss over the dimensions of `mask` alone, for each: `-mean_mask (x_0 - D(x))² / sigma²`.

    With a mask of all it orders images as the score ``denoising_loss`` does. Cost: `draws` passes.

    Args:
        probe: of latents `(n, *latent)`.
        mask: `(n, *latent)` bool, one dimension at least of each.

    Raises:
        InputError: another shape, or a latent without a dimension.
    """
    if mask.shape != probe.images.shape or not bool(mask.flatten(1).any(1).all()):
        raise InputError(
            f"a mask of shape {tuple(probe.images.shape)} with a dimension of each latent expected, got "
            f"{tuple(mask.shape)}"
        )
    losses = (probe.images - probe.denoised).double().square() * mask
    return mean_over_draws(-losses.flatten(2).sum(-1) / mask.flatten(1).sum(1) / probe.sigma**2, probe.draws)
