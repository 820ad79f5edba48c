"""What the quantities of a decoupling experiment are called."""

from __future__ import annotations

from collections.abc import Mapping

from theodolite.estimates.quantity import Quantity

__all__ = ["quantities"]

_PAPER = "Liang, Chen and Lai 2026 (arXiv 2604.18804), released code"
_MEANINGS = {
    "ls_max": ("largest singular value of the sampler's Jacobian inside the random subspace", _PAPER),
    "lc": (
        "how fast the direction of LS turns from one noise to its neighbours; it mixes curvature with the spectral gap",
        f"{_PAPER}; mean over neighbours in place of one",
    ),
    "phfe": ("variance of the Laplacian of what that direction does to the sample; grows with LS²", _PAPER),
    "q": ("PHFE without scale: 0 for a constant, about 20 for white noise", "derived here"),
    "leading_share": ("a candidate for rigidity, which the paper does not define", ""),
    "minus_ls": ("a candidate for rigidity, which the paper does not define", ""),
    "effective_rank": ("a candidate for rigidity, which the paper does not define", ""),
    "ones_cosine": ("near 1 where the rounding of a shared centre decides", "derived here"),
}
_MORE = (
    Quantity(
        "tortuosity",
        "Tortuosity",
        "",
        "Σ ‖xᵢ₊₁ − xᵢ‖ / ‖x₃₂ − x₀‖",
        "chosen here; the paper's is not published",
        "length of the images of a great-circle path between two noises over the distance of its ends",
    ),
    Quantity("jump", "Jump score", meaning="largest over median step of that path"),
    Quantity("recognised", "Recognised", meaning="1 where the classifier sees in a sample what was asked for"),
    Quantity("map_correlation", "Map correlation", meaning="rank correlation of the maps of LC and PHFE"),
    Quantity("mass_on_detail", "LC on the detail", meaning="part of the LC map on the top tenth of the PHFE map"),
    Quantity("claim", "Claim", meaning="what decides a claim of the paper, or stands beside it"),
    Quantity("ls_max_over_exact", "LS over exact", meaning="by forward differences, at the first noise"),
    Quantity("lc_over_exact", "LC over exact", meaning="of one neighbour; several where it is exact"),
    Quantity("phfe_over_exact", "PHFE over exact", meaning="by forward differences, at the first noise"),
)


def quantities() -> Mapping[str, Quantity]:
    """Those of `theodolite.descriptors.decoupling`, of hotspots, and of this experiment, by name."""
    from theodolite.descriptors.decoupling import MEANINGS
    from theodolite.experiments.hotspots.shares import QUANTITIES

    own = {}
    for name, words in MEANINGS.items():
        meaning, source = _MEANINGS.get(name, ("", ""))
        own[name] = Quantity(name, words.label, "", words.formula, source, meaning)
    return {**QUANTITIES, **own, **{quantity.name: quantity for quantity in _MORE}}
