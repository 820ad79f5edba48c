"""The words of this room: what gaps, curves over noise and penalties are called, and what they say."""

from __future__ import annotations

from collections.abc import Mapping

from theodolite.estimates.quantity import Quantity

__all__ = ["CONTRASTS", "CURVES", "NOTES", "PARAGRAPHS", "PENALTIES", "QUANTITIES", "SCALARS"]

_HERE = "derived here"

SCALARS = (
    Quantity(
        name="gap",
        label="Gap",
        formula="½ ∫ |rate_Z − rate_X| dτ, rate = dMMSE/dt at noise of variance t = τ V",
        source="Gu et al. 2026 (arXiv 2604.02751); this form derived here, in steps of a third of a decade",
        meaning="between latents Z and images X: 0 for an isometric embedding, 1 at most",
    ),
    Quantity(
        name="gap_gaussian", label="Gap, Gaussian", source=_HERE, meaning="the gap of Gaussian denoisers on both sides"
    ),
    Quantity(
        name="gap_least",
        label="Gap, at least",
        source=_HERE,
        meaning="whatever the law of latents and images: the least that fits the bounds of both MMSEs",
    ),
    Quantity(
        name="gap_most",
        label="Gap, at most",
        source=_HERE,
        meaning="whatever the law of latents and images: the most that fits the bounds of both MMSEs",
    ),
    Quantity(
        name="shift",
        label="Shift",
        unit="decades",
        source=_HERE,
        meaning="of relative noise by which latents hide later (above 0) or sooner (below 0), averaged over variance",
    ),
    Quantity(name="psnr", label="PSNR", unit="dB", meaning="of reconstructions: a near space may still lose detail"),
    Quantity(name="ssim", label="SSIM", source="Wang et al. 2004", meaning="of reconstructions, with scikit-image"),
    Quantity(
        name="order_probability",
        label="Probability of the order",
        source=_HERE,
        meaning="that the first of two models has the smaller gap; its error is that of finitely many resamples",
    ),
    Quantity(
        name="gap_difference",
        label="Difference of gaps",
        source=_HERE,
        meaning="of the second model less that of the first, paired over sources",
    ),
)
"""One number a model, or a pair of models."""

PENALTIES = (
    Quantity(
        name="compression",
        label="Dimensional compression",
        unit="D − m",
        meaning="dimensions given up at the size of the penalty crops",
    ),
    Quantity(
        name="distortion",
        label="Tangential distortion",
        unit="Var(λ) / E(λ)²",
        meaning="how unevenly the encoder stretches the image manifold; 0 for a scaled isometry",
    ),
    Quantity(
        name="encoder_curvature",
        label="Encoder curvature",
        unit="1 / image unit²",
        meaning="how much the encoder bends, relative to its mean stretch",
    ),
    Quantity(
        name="data_curvature",
        label="Data curvature",
        unit="1 / image unit²",
        meaning="how much the decoder's image bends in pixel space",
    ),
    Quantity(
        name="log10_condition",
        label="Condition",
        unit="log₁₀",
        meaning="largest over smallest stretch of a direction at one image, in powers of ten",
    ),
)
"""What a ranking keeps of `penalties`; see `theodolite.diffusability.quality`."""

CONTRASTS = (
    Quantity("rmse", "Reconstruction error", "RMS", "√ mean (x − D(E(x)))²", "standard", "of images in [−1, 1]"),
    Quantity("moved", "Reconstruction moved", "RMS", "√ mean (D₂(E₂(x)) − D₁(E₁(x)))²", _HERE, "from first to second"),
    Quantity(
        name="unexplained",
        label="Unexplained latents",
        formula="E‖Y − f(X)‖² / E‖Y − mean‖²",
        source=_HERE,
        meaning="the share of the second latents' variance that the best map of the first leaves; 0: it is such a map",
    ),
)
"""One number an image, or a pair of latent spaces."""

CURVES = (
    Quantity(name="mmse", label="MMSE", meaning="lowest loss of the denoisers, with entries of unit variance"),
    Quantity(name="a", label="MMSE over that of no denoiser", formula="MMSE / (m t)", source=_HERE),
    Quantity(name="r", label="MMSE rate per dimension", formula="(dMMSE/dt) / m", source="Guo et al. 2010"),
    Quantity(name="b", label="Fisher information rate per dimension", formula="t² F / m", source=_HERE),
    Quantity(name="fi", label="Fisher information", formula="J = (m t − MMSE) / t²"),
    Quantity(name="fir", label="Fisher information rate", formula="F = m b / t²"),
    Quantity(name="local_dimension", label="Local dimension", formula="MMSE / t", source=_HERE),
    Quantity("resolved", "Resolved variance", "", "1 − MMSE / V", _HERE, "the share of variance that noise leaves"),
    Quantity(name="share", label="Share hidden here", formula="d(MMSE / V) / d log τ", source=_HERE),
    Quantity(name="r_jacobian", label="MMSE rate from the Jacobian", formula="E‖J‖² / m", source=_HERE),
    Quantity(name="calibration", label="Calibration error", formula="(E1 − E2) t / m", source=_HERE),
    Quantity(name="fi_deviation", label="Deviation of J", formula="|J + (D − m)/t − J of images| / J of images"),
    Quantity(name="fi_deviation_raw", label="Deviation of J, raw", formula="|J − J of images| / J of images"),
    Quantity(name="fir_deviation", label="Deviation of F", formula="|F + (D − m)/t² − F of images| / F of images"),
    Quantity(name="fir_deviation_raw", label="Deviation of F, raw", formula="|F − F of images| / F of images"),
)
"""One number a space and noise level; see `Space.curves` and `deviations`."""

QUANTITIES: Mapping[str, Quantity] = {item.name: item for item in (*SCALARS, *PENALTIES, *CONTRASTS, *CURVES)}
"""All of them by name."""

PARAGRAPHS: Mapping[str, tuple[str, ...]] = {
    "gap": (
        "The gap is half the area between the MMSE rates of latents and images over relative noise: 0 for an isometric "
        "embedding, 1 at most. It says how alike two spaces are to a denoiser, not how good samples will look, which "
        "it forecast little of in the prediction study.",
    ),
    "pairs": (
        "Probability that the model of the row has the smaller gap than that of the column. Both are resampled on the "
        "same sources, so the order can be surer than either number.",
        "Between 0.05 and 0.95 the pair is a tie.",
    ),
    "noise": (
        "As noise grows, the best denoiser loses more and more of a space's variance V, until all is lost. Left, how "
        "much is lost in all; right, at which noise. Both are free of scale and of empty dimensions, and equal for an "
        "isometric embedding.",
        "Half the area between two curves on the right is the gap.",
    ),
    "rates": (
        "The same curves per dimension, each space normalised to entries of unit variance: the MMSE rate "
        "r = 1 − 2tJ/m + t²F/m, Fisher information J and its rate F, free of dimension.",
        "All three come from the denoising loss: J as (m t − MMSE)/t², the rate as its slope, F from both. As the loss "
        "bounds the MMSE from above, J is bounded from below.",
    ),
    "dimensions": (
        "Solid: with (D − m)/t added to J and (D − m)/t² to F of the latents, zero for an isometric embedding. Dotted: "
        "without. Raw values are dominated by these: spaces of more dimensions lie higher, whatever their shape.",
    ),
    "checks": (
        "Left, the rate from the Jacobian of the best denoiser: for an optimal one it is the rate above, for any other "
        "nothing bounds it. Right, E‖s‖² less the denoising bound on J: zero for a denoiser that no rescaling "
        "improves. Gaps: not taken (networks on images).",
    ),
    "dimension": (
        "MMSE / t counts the dimensions that data fill at the scale of the noise. At little noise it tends to the "
        "dimension of the data, at most m.",
    ),
    "penalties": (
        "What stands between the Fisher information of images and of latents, from derivatives of encoder and decoder "
        "on small crops, one a source, over the directions that move the image by more than its reconstruction is "
        "wrong. They describe; lower ones are not known to train better.",
        "Bars: 95 %. What is undetermined has no bar.",
    ),
    "normalisation": (
        "Every space is moved to mean zero and multiplied by one scalar C, so that an entry has unit variance on "
        "average; channels are not whitened. Every source counts the same, however many crops it has.",
    ),
    "held_out": (
        "Sources are divided into a few parts. Each is denoised by what was made from the others; a network's training "
        "is judged by sources of its own. At every noise the lowest loss counts, in every resample anew.",
    ),
}
"""What a reader is told of gaps, curves and penalties, by what it is about."""

NOTES: Mapping[str, str] = {
    "No forecast": "The gap describes how alike latents and images are to a denoiser. In the prediction study a "
    "smaller one forecast little of samples.",
    "An upper bound": "No denoiser beats the best one, so every loss lies above the MMSE, by an unknown amount that "
    "shrinks with more images and longer training. It enters both sides of the gap.",
    "Interval": "From a bootstrap over sources with Student's quantile. It does not hold what other training images or "
    "another network would change, nor photographs unlike these.",
    "Tie": "A pair whose order has a probability between 0.05 and 0.95.",
    "Gaussian floor": "The Wiener filter: what variances along cosines and principal channels tell. What lies below it "
    "in MMSE is structure beyond second moments.",
}
"""Terms that are no quantities."""
