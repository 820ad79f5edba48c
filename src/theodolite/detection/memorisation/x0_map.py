"""The spectrum of the denoised point's Jacobian: psi, nu, gain, and its flattest direction."""

from __future__ import annotations

from collections.abc import Callable

from theodolite.descriptors import Chart
from theodolite.descriptors.effort import EFFORTS
from theodolite.descriptors.together import measured_at
from theodolite.detection.measuring import FLOOR, floored
from theodolite.detection.memorisation.probe import Probe
from theodolite.detection.memorisation.score import MemorisationScore
from theodolite.estimates import Estimate
from theodolite.estimates.quantity import Quantity

__all__ = ["SCORES"]

_HUMAYUN = "Humayun et al. 2025 (arXiv 2408.08307)"
_DESCRIPTORS = ("local_scaling", "local_rank", "leading_singular_value")
"""Those that give psi, the gain, nu and the largest singular value."""


def _quantities(probe: Probe) -> dict[str, Estimate]:
    """Descriptors at the first noise of every image, singular values counted as `FLOOR` at least."""
    chart = Chart(probe.conditional, probe.noisy[0], generator=probe.seeds.base, effort=EFFORTS["quick"])
    measured = measured_at(chart, _DESCRIPTORS, probe.seeds.base).estimates
    return {**measured, **floored(chart, measured, FLOOR)}


def _less(quantity: str) -> Callable[[Probe], Estimate]:
    """Less the quantity: what is known by heart does not answer to its noise."""

    def measure(probe: Probe) -> Estimate:
        return probe.once(_quantities)[quantity].scaled(-1.0)

    return measure


def _of(name: str, quantity: str, label: str, formula: str, source: str, meaning: str) -> MemorisationScore:
    return MemorisationScore(
        _less(quantity), Quantity(name, label, "", formula, source, meaning), "geometry", is_dear=True
    )


SCORES = (
    _of("minus_psi", "local_scaling", "−ψ", "−Σ log max(σᵢ, 1e-8)", _HUMAYUN, "less the log-volume of the x0-map"),
    _of("minus_nu", "local_rank", "−ν", "−exp(−Σ α log α)", _HUMAYUN, "less the rank of the x0-map"),
    _of("minus_gain", "gain", "−Gain", "−‖J‖_F", "standard", "less the gain of the x0-map"),
    _of(
        "flattest_direction",
        "leading_singular_value",
        "Flattest direction",
        "−σ₁(J) = −(1 + σ² λ_max(∇s))",
        "Jeon et al. 2025 (arXiv 2412.04140)",
        "less the largest eigenvalue of the score's Jacobian: at an isolated image no direction is flat",
    ),
)
