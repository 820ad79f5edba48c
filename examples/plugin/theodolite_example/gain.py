"""A descriptor: by how much the decoder stretches a random direction, from a few Jacobian products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.descriptors import Descriptor, Quantity
from theodolite.estimates import Estimate, Seeds, student_mean

_DIRECTIONS = 8


def effective_gain(
    map: Any, latents: Tensor, *, generator: Any = None, effort: Any = None, chart: Any = None
) -> Estimate:
    """Root mean square of `||J v||` over random unit directions `v`, at each latent `(n, *latent)`.

    Cost: 8 products. The error is that of the mean over directions.
    """
    operator = chart.operator if chart is not None else jacobian(map, latents)
    draws = Seeds(generator, len(latents)).normal("gain", _DIRECTIONS, *latents.shape[1:]).transpose(0, 1).to(latents)
    V = draws / draws.flatten(2).norm(dim=2).reshape(_DIRECTIONS, -1, *[1] * (latents.ndim - 1))
    squares = operator.matvec(V).flatten(2).double().square().sum(2)
    mean, stderr = student_mean(squares)
    gain = mean.clamp_min(torch.finfo(torch.float64).tiny).sqrt()
    return Estimate(gain, stderr / (2 * gain), _DIRECTIONS, _DIRECTIONS)


DESCRIPTOR = Descriptor(
    effective_gain,
    (
        Quantity(
            name="effective_gain",
            label="Effective gain",
            unit="output / latent",
            formula="√ E ‖J v‖², v uniform on the sphere",
            source="example",
            meaning="How far the output moves for a unit step in a random direction of the latent.",
        ),
    ),
    passes=lambda effort, dense: _DIRECTIONS,
    needs_spectrum=False,
)
