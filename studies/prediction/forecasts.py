"""Every predictor of the study with the sign that it was expected to have, and the sums of the pilot. Frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Numbers = Mapping[str, float]

SIGNS = {
    "log_m": 1,
    "viv_total": 1,
    "viv_entry": 1,
    "viv_deviation": 1,
    "viv_class_entry": 1,
    "participation_ratio": 1,
    "entropy_entry": 1,
    "total_correlation": 1,
    "kurtosis": -1,
    "skewness": -1,
    "sec_0.25": 1,
    "sec_0.5": 1,
    "autocorrelation": -1,
    "lds": -1,
    "cds": -1,
    "local_r2": -1,
    "lnc_mean": -1,
    "lnc_whole": -1,
    "linear_probe": -1,
    "nu": 1,
    "nu_entry": 1,
    "nu2_white": 1,
    "distortion": 1,
    "log_spread": 1,
    "gain": -1,
    "rfd": 1,
    "psnr": -1,
    "noise_fd": 1,
    "gaussian_fd": 1,
    "mixing_fd": 1,
    "ifid": 1,
    "rotation_error": 1,
    "probe_loss_100": 1,
    "probe_ratio_100": 1,
    "probe_nats_100": 1,
    "probe_loss_300": 1,
    "probe_ratio_300": 1,
    "probe_nats_300": 1,
    "gap": 1,
    "gap_shift": 1,
    "gap_gaussian": 1,
}
"""The sign of the correlation with gFD that was expected: the published one where there is one (VIV, SEC, LDS, CDS,
LNC, probing, iFID, equivariance, PSNR, rFD), the isometry ideal's for `distortion` and `log_spread`, else the pilot's
at 4,000 steps, or at 1,000 where that was nil (`nu`, `nu2_white`, `gaussian_fd`, `log_m`)."""

BASELINES = ("rfd", "psnr", "log_m", "gap", "gFD at the first checkpoint")
"""What a predictor has to beat: reconstruction, dimension, today's gap, and a short training of the same network."""


@dataclass(frozen=True)
class Sum:
    """`rFD + exp(a + sum_k b_k x_k)`: what was thrown away, and how far above it a training stays.

    Attributes:
        names: of the predictors `x_k`; `nu` and `nu2_white` enter by their logarithm.
        pilot: `(a, b_1, ...)` at each budget in steps, fitted once to the twenty latent spaces of the pilot.
    """

    names: tuple[str, ...]
    pilot: Mapping[int, tuple[float, ...]]

    def features(self, numbers: Numbers) -> list[float]:
        """`(1, x_1, ...)`."""
        return [1.0, *(math.log(numbers[name]) if name in _LOGS else numbers[name] for name in self.names)]

    def log_gfd(self, numbers: Numbers, coefficients: tuple[float, ...]) -> float:
        """The logarithm of the forecast distance."""
        above = math.exp(sum(b * x for b, x in zip(coefficients, self.features(numbers), strict=True)))
        return math.log(numbers["rfd"] + above)

    def at(self, steps: int) -> Callable[[Numbers], float]:
        """The forecast with the pilot's coefficients for a budget."""
        return lambda numbers: self.log_gfd(numbers, self.pilot[steps])


_LOGS = ("nu", "nu2_white")

SUMS = {
    "rFD + exp(nu, LDS)": Sum(
        ("nu", "lds"),
        {
            500: (0.3826, 0.6768, 0.1780),
            1000: (-0.2821, 0.6873, -0.2843),
            2000: (-0.5175, 0.6906, -0.5927),
            4000: (-0.5229, 0.6651, -0.7161),
        },
    ),
    "rFD + exp(nu, LDS, log m)": Sum(
        ("nu", "lds", "log_m"),
        {
            500: (0.3869, 0.7475, 0.1574, -0.0622),
            1000: (-0.2883, 0.5833, -0.2541, 0.0914),
            2000: (-0.5334, 0.4263, -0.5159, 0.2323),
            4000: (-0.5391, 0.3947, -0.6375, 0.2377),
        },
    ),
    "rFD + exp(nu2 white, LDS, log m)": Sum(
        ("nu2_white", "lds", "log_m"),
        {
            500: (-0.6574, 1.3361, 0.1723, 0.2271),
            1000: (-1.1516, 1.0833, -0.2601, 0.3098),
            2000: (-1.1014, 0.7389, -0.4974, 0.4015),
            4000: (-1.1413, 0.7481, -0.6482, 0.3828),
        },
    ),
    "rFD + exp(nu, local R2)": Sum(
        ("nu", "local_r2"),
        {
            500: (0.4211, 0.7176, -0.2606),
            1000: (-0.0682, 0.6736, -0.2952),
            2000: (-0.2145, 0.6353, -0.2464),
            4000: (-0.1276, 0.6037, -0.3731),
        },
    ),
}
"""The pilot had no checkpoint at 500 steps: its coefficients at 300 stand there."""

PRIMARY = "rFD + exp(nu, LDS)"
"""The one forecast that the study puts to the test; all else is exploration."""
