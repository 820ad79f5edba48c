"""The local dimension of the law that a denoiser knows: what is known by heart has none."""

from __future__ import annotations

from theodolite.detection.memorisation.probe import Probe
from theodolite.detection.memorisation.score import mean_over_draws, score
from theodolite.estimates import Estimate

__all__ = ["SCORES", "flipd", "sharpness"]


def flipd(probe: Probe) -> Estimate:
    """Less FLIPD, `-(d + t tr H(x_0) + t |s(x_0)|²) = -(tr J(x_0) + |x_0 - D(x_0)|² / t)`, at the image itself.

    `J` is the Jacobian of the denoised point `D`, `t = sigma²`, `s = (D - x) / t` and `H = (J - I) / t`. Unbiased in
    the signs of the trace, which its error is over. Cost: `1 + draws * colours` passes; `1 + d` where there
    are as many colours as dimensions, and the value is exact.
    """
    traces = probe.diagonal_clean.flatten(2).sum(-1)
    distance = (probe.images - probe.clean.outputs).double().flatten(1).square().sum(-1) / probe.sigma**2
    return mean_over_draws(-(traces + distance), 1 + probe.rounds_clean * probe.colours)


def sharpness(probe: Probe) -> Estimate:
    """`-t tr H = d - tr J`, the mean over noises of the image: how far the law has contracted, in directions.

    `E tr J = MMSE / t` is the local dimension at the scale `sigma` (Tweedie; Guo, Shamai and Verdu 2005), so that this
    is `d` less that. Unbiased; its error is over noises and signs. Cost: `draws * (1 + colours)` passes.
    """
    traces = probe.diagonal.flatten(2).sum(-1)
    return mean_over_draws(probe.dimension - traces, probe.draws * (1 + probe.colours))


SCORES = (
    score(
        flipd,
        "geometry",
        label="−FLIPD",
        formula="−(tr J(x₀) + ‖x₀ − D(x₀)‖² / σ²)",
        source="Kamkari et al. 2024 (arXiv 2406.03537)",
        meaning="less the local dimension at the image, from the density's change with noise",
    ),
    score(
        sharpness,
        "geometry",
        label="Sharpness",
        formula="−σ² tr ∇s = d − tr J = d − MMSE/σ²",
        source="Jeon et al. 2025 (arXiv 2412.04140); as a dimension, derived here",
        meaning="directions in which the law has contracted below the noise; d less the local dimension",
    ),
)
