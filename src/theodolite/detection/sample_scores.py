"""What samples are scored by: descriptors, baselines, and the words of every number that `sample` has of its own."""

from __future__ import annotations

from theodolite.estimates.quantity import Quantity

__all__ = ["BASELINES", "DEAR", "DESCRIPTORS", "LEVEL", "OF_CONDITIONS", "PLAIN", "QUANTITIES", "SCORES"]

SCORES = {
    "local_scaling_floored": "local_scaling",
    "local_rank": "local_rank",
    "local_complexity": "local_complexity",
    "gain": "local_scaling",
    "curvature": "curvature",
    "condition_shift": "condition_shift",
    "condition_volume": "condition_volume",
}
"""Quantities that samples are scored by, each with the descriptor that it comes from. The log-volume is the floored
one: samplers and generators have null spaces of several dimensions, and plain volumes of these do not compare."""

DESCRIPTORS = (*dict.fromkeys(SCORES.values()),)
OF_CONDITIONS = ("condition_shift", "condition_volume")
DEAR = ("curvature", "condition_volume")
"""Measured where they are asked for: each costs as much as all others, or as the volume, once more."""

BASELINES = (
    "nearest_pixels",
    "nearest_features",
    "denoising_error",
    "noise_norm",
    "contrast",
    "total_variation",
    "brightness",
)
"""What needs no Jacobian."""

PLAIN = ("brightness", "contrast", "total_variation", "nearest_pixels", "nearest_features", "judged")
"""Numbers that drawn and real images both have."""

LEVEL = 0.4
"""Noise level of the denoising error, in units of the model's points: the middle one of `detect`."""

_OWN = "derived here"
_ALL = (
    Quantity("judged", "Judge", meaning="What the judge says of an image; higher is better."),
    Quantity("condition_shift", "Condition shift", "", "rms (G(z, c) − G(z, ∅))", _OWN,
             "How far the condition moves the sample of the same noise."),
    Quantity("condition_volume", "Volume shift", "nats", "ψ(z, c) − ψ(z, ∅)", _OWN,
             "How much the condition changes the floored log-volume at the same noise."),
    Quantity("nearest_pixels", "Nearest by pixels", "", "min rms (x − x_real)", "standard",
             "Distance to the nearest real image, of real images to the nearest other one."),
    Quantity("nearest_features", "Nearest by features", "", "min rms (f(x) − f(x_real))", "standard",
             "The same between features, of the embedding."),
    Quantity("denoising_error", "Denoising error", "", "mean (x − D(x + σe))²", "standard",
             f"Of the sample, with noise of level {LEVEL:g}: the loss of a diffusion model there."),
    Quantity("noise_norm", "Noise norm", "", "‖z‖", "standard", "Of the noise that the sample comes from."),
    Quantity("contrast", "Contrast", "", "Var x", "standard", "Variance of the entries of an image."),
    Quantity("total_variation", "Total variation", "", "mean |∂x|", "Rudin, Osher and Fatemi 1992",
             "Mean absolute difference of neighbouring pixels."),
    Quantity("brightness", "Brightness", "", "mean x", "standard", "Mean of the entries of an image."),
    Quantity("limit", "Limit of bad", meaning="Samples that the judge scores at most this are called bad."),
    Quantity("auroc", "AUROC", "", "P(bad > good) + ½ P(equal)", "Hanley and McNeil 1982",
             "Of bad samples against good ones; 0.5 is chance, below it bad samples score lower."),
    Quantity("auroc_within", "AUROC in class", "", "P(bad > good | same class) + ½ P(equal | same class)", _OWN,
             "The same among pairs of one class: what a score knows beside what is drawn."),
    Quantity("advantage", "Advantage", "", "S − S_baseline, S = ½ + |AUROC − ½|", _OWN,
             "What a score separates more than the best baseline, paired."),
    Quantity("p_value", "p of an advantage", "", "2 m max_b P(S − S_b ≤ 0)", "Berger 1982; derived here",
             "Probability that one of all scores beats every baseline like this by chance."),
    Quantity("reliability", "Reliability", "", "1 − mean stderr² / Var", "Spearman 1904",
             "Share of the variance between samples that the errors of a score leave; near 0 it orders noise."),
    Quantity("share", "Share", source="Clopper and Pearson 1934", meaning="Of images whose class the judge sees so."),
    Quantity("share_difference", "Drawn − real", source="Newcombe 1998",
             meaning="Share of a class among samples less that among real images."),
    Quantity("drift", "Drift", "", "(mean drawn − mean real) / sd real", _OWN,
             "Difference of the means of a number of images, in standard deviations of real ones."),
)  # fmt: skip
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
"""By name."""
