"""What the condition changes: a class that calls up one image is sharper with it than without."""

from __future__ import annotations

from theodolite.detection.memorisation.probe import Probe
from theodolite.detection.memorisation.score import mean_over_draws, score
from theodolite.estimates import Estimate

__all__ = ["SCORES", "curvature_product", "loss_contrast", "score_difference", "sharpness_contrast"]


def sharpness_contrast(probe: Probe) -> Estimate:
    """`tr J(x) - tr J(x, c)`: by how many directions the law is sharper under the condition than under none.

    Both traces share their signs and noises. Cost: `2 draws * (1 + colours)` passes.
    """
    change = probe.diagonal_bare - probe.diagonal
    return mean_over_draws(change.flatten(2).sum(-1), 2 * probe.draws * (1 + probe.colours))


def score_difference(probe: Probe) -> Estimate:
    """`sigma |s(x, c) - s(x)| = |D(x, c) - D(x)| / sigma`, the size of guidance. Cost: `2 draws` passes."""
    change = (probe.denoised - probe.denoised_bare).double().flatten(2)
    return mean_over_draws(change.norm(dim=-1) / probe.sigma, 2 * probe.draws)


def curvature_product(probe: Probe) -> Estimate:
    """`|(J(x, c) - J(x)) (D(x, c) - D(x))| / sigma`: the change of curvature along the change of the score.

    In the units of the source `|dH ds|` times `sigma³`. Cost: `4 draws` passes.
    """
    change = (probe.denoised - probe.denoised_bare).flatten(0, 1)[None]
    moved = (probe.under.matvec(change) - probe.bare.matvec(change))[0]
    sizes = moved.double().flatten(1).norm(dim=-1).unflatten(0, (probe.draws, probe.n))
    return mean_over_draws(sizes / probe.sigma, 4 * probe.draws)


def loss_contrast(probe: Probe) -> Estimate:
    """`(|x_0 - D(x)|² - |x_0 - D(x, c)|²) / sigma²`: what the condition saves of the loss. Cost: `2 draws` passes."""
    losses = [
        (probe.images - made).double().flatten(2).square().sum(-1) for made in (probe.denoised_bare, probe.denoised)
    ]
    return mean_over_draws((losses[0] - losses[1]) / probe.sigma**2, 2 * probe.draws)


_JEON = "Jeon et al. 2025 (arXiv 2412.04140)"
SCORES = (
    score(
        sharpness_contrast,
        "geometry",
        conditional=True,
        label="Sharpness, with less without class",
        formula="tr J(x) − tr J(x, c)",
        source=_JEON,
        meaning="directions that contract under the class alone",
    ),
    score(
        curvature_product,
        "geometry",
        conditional=True,
        label="Curvature along guidance",
        formula="‖(J(x, c) − J(x)) (D(x, c) − D(x))‖ / σ",
        source=_JEON,
        meaning="change of the Jacobian along the change of the score",
    ),
    score(
        score_difference,
        "baseline",
        conditional=True,
        label="Score difference",
        formula="σ ‖s(x, c) − s(x)‖",
        source="Wen et al. 2024 (arXiv 2407.21720)",
        meaning="the size of guidance at the noised image",
    ),
    score(
        loss_contrast,
        "baseline",
        conditional=True,
        label="Loss, without less with class",
        formula="(‖x₀ − D(x)‖² − ‖x₀ − D(x, c)‖²) / σ²",
        source="Zhai et al. 2024 (arXiv 2405.14800)",
        meaning="what the class saves of the denoising loss",
    ),
)
