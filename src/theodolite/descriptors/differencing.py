"""What forward differences make of the quantities of decoupling, in place of exact derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from theodolite.descriptors.decoupling import decoupling
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.maps import LatentMap

__all__ = ["QUANTITIES", "STEPS", "precision_of_differences"]

STEPS = (0.01, 0.02, 0.04)
"""Steps of differences: the released one of the decoupling paper, half and twice of it."""

_RATIOS, _CHECKS = ("ls_max", "lc", "phfe"), ("ones_cosine", "linearity")
_DIFFERENCED = "by forward differences, at the first noise"
_WORDS = (
    Quantity("ls_max_over_exact", "LS over exact", meaning=_DIFFERENCED),
    Quantity("lc_over_exact", "LC over exact", meaning="of one neighbour; several where it is exact"),
    Quantity("phfe_over_exact", "PHFE over exact", meaning=_DIFFERENCED),
)
QUANTITIES = {quantity.name: quantity for quantity in _WORDS}
"""The words of the ratios."""


def precision_of_differences(map: LatentMap, latents: Tensor, **options: Any) -> dict[float, dict[str, Estimate]]:
    """LS, LC and PHFE by forward differences over their exact values, and two checks of the differences, by step.

    Args:
        map: the map, e.g. a sampler.
        latents: `(n, *latent)`.
        options: of `decoupling`, beside its mode and step.

    Returns:
        By step of `STEPS` and name, `(n,)` each. Cost: that of an exact `decoupling` and of one a step.

    Raises:
        InputError: as for `decoupling`.
    """
    exact, by_step = decoupling(map, latents, mode="exact", **options).quantities, {}
    for step in STEPS:
        there = decoupling(map, latents, mode="paper", step=step, **options).quantities
        ratios = {f"{name}_over_exact": Estimate.exact(there[name].value / exact[name].value) for name in _RATIOS}
        by_step[step] = {**ratios, **{name: there[name] for name in _CHECKS}}
    return by_step
