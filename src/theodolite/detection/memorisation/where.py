"""Where in an image a model knows it by heart: maps of contraction, masks from them, and how far masks agree."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from theodolite.detection.memorisation.probe import Probe
from theodolite.detection.memorisation.score import mean_over_draws
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

__all__ = ["MAP", "Beside", "intersection_over_union", "memorisation_map", "memorisation_mask"]

Beside = Literal["noise", "class"]

MAP = Quantity(
    "where",
    "Known by heart at σ",
    "",
    "1 - dD_p/dx_p",
    "after Kim and Lee 2026 (arXiv 2605.26756)",
    "1 where the denoiser knows the pixel from the others, 0 where it cannot tell it from noise",
)
"""The words of `memorisation_map` beside the noise."""

_NEIGHBOURS = 3
"""Side of the squares of cells that a mask is decided by: single cells are as noisy as their images are textured."""


def memorisation_map(probe: Probe, beside: Beside = "noise") -> Estimate:
    """How far the law of each cell has contracted: `1 - dD_p/dx_p`, or `dD_p/dx_p` without less with the class.

    `dD_p/dx_p = Var(x_p | x) / sigma²` is the share of the noise of cell `p` that the denoiser leaves: near 0 where it
    knows the cell from the others, and near 1 where it cannot tell. Less the same under no condition it is the
    difference of coordinate-wise curvatures of Kim and Lee 2026 (arXiv 2605.26756) times `sigma²`. The diagonal comes
    from tangents that distant cells share with random signs (`Probe.diagonal`), so that it is exact in expectation,
    and the error of each cell is over draws of noises and signs. Channels are averaged.

    Args:
        probe: images `(n, channels, height, width)` with two or more draws.
        beside: ``noise`` for the contraction itself, ``class`` for what the condition adds to it.

    Returns:
        `Estimate` `(n, height, width)`. Cost: `draws * (1 + colours)` passes, twice that beside the class.

    Raises:
        InputError: points without height and width, or another word.
    """
    if beside not in get_args(Beside):
        raise InputError(f"`beside` expected to be one of {', '.join(get_args(Beside))}, got {beside!r}")
    if probe.images.ndim != 4:
        raise InputError(f"images (n, channels, height, width) expected, got shape {tuple(probe.images.shape)}")
    passes = probe.draws * (1 + probe.colours)
    if beside == "noise":
        return mean_over_draws((1 - probe.diagonal).mean(2), passes)
    return mean_over_draws((probe.diagonal_bare - probe.diagonal).mean(2), 2 * passes)


def memorisation_mask(values: Tensor, reference: Tensor, level: float = 0.95) -> Tensor:
    """The cells that have contracted as they do in few images of the same kind that the model never saw.

    A cell counts where its mean over 3x3 neighbours exceeds the `level` quantile of the same mean at the same cell of
    reference images: `1 - level` of the cells of a new image of their kind are expected in the mask, whatever the
    texture of that place is.

    Args:
        values: `(n, height, width)`, of `memorisation_map`.
        reference: `(m, height, width)`, the same of images that the model never saw, of the same class.
        level: share of reference images below the threshold of a cell.

    Returns:
        `(n, height, width)` bool.

    Raises:
        InputError: maps of different sizes, a level outside (0, 1), or too few reference images to tell its quantile.
    """
    least = int(1 / (1 - level)) if 0 < level < 1 else 0
    if not 0 < level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level}; 0.95 leaves one cell in twenty by chance")
    if values.shape[1:] != reference.shape[1:] or len(reference) < least:
        raise InputError(
            f"{least} or more reference maps of size {tuple(values.shape[1:])} expected, got {tuple(reference.shape)}"
        )
    smooth = torch.nn.AvgPool2d(_NEIGHBOURS, 1, _NEIGHBOURS // 2, count_include_pad=False)
    here, reference_smooth = (smooth(part.double()[:, None])[:, 0] for part in (values, reference))
    # the smallest value that a share `level` of reference images and the new one lie below (conformal)
    rank = min(len(reference_smooth), torch.tensor(level * (len(reference_smooth) + 1)).ceil().int().item())
    return here > reference_smooth.sort(0).values[rank - 1]


def intersection_over_union(mask: Tensor, truth: Tensor) -> Tensor:
    """`|A and B| / |A or B|` of masks `(n, height, width)`: `(n,)`; 1 where both are empty.

    Example:
        >>> mask = torch.tensor([[[True, True, False]]])
        >>> intersection_over_union(mask, torch.tensor([[[False, True, True]]])).item()
        0.3333333333333333
    """
    both, either = (mask & truth).flatten(1).sum(1).double(), (mask | truth).flatten(1).sum(1).double()
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(either))
