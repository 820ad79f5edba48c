"""What the numbers of phase maps and of paths are called and what they say."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CURVE_WORDS", "NUMBER_WORDS", "PATH_WORDS", "Word"]


class Word(NamedTuple):
    """What a number is called, its unit and what it says."""

    label: str
    unit: str
    meaning: str


NUMBER_WORDS = {
    "regions": Word("regions", "", "valleys of log λ_max that no low pass unites"),
    "codazzi_residual": Word(
        "Codazzi residual", "", "0: the direct metric is the Hessian of a function of these parameters; 1: not at all"
    ),
    "misfit": Word("misfit", "nats", "divergence of the posteriors that the potential gives from those of the samples"),
    "potential_converged": Word(
        "potential converged",
        "",
        "1: its fit reached the optimum, or hardly got better any more",
    ),
    "posterior_width": Word(
        "posterior width", "cells", "median of the narrowest standard deviation; below 1 the grid does not resolve them"
    ),
    "edge_mass": Word("edge mass", "", "mean probability in the outermost cells, where the box cuts posteriors off"),
    "bundle": Word("bundle", "samples", "samples in a bundle N; of features, the sharpness of their kernel"),
    "error_median": Word(
        "error, median", "", "relative Frobenius error against the exact metric, its norm at least 1 % of its median"
    ),
    "error_p95": Word("error, 95 %", "", "its 95th percentile"),
    "coverage": Word(
        "coverage", "", "part of the metric's entries whose 95 % interval holds the exact one; 0.95 were honest"
    ),
}
"""Numbers of a level."""

CURVE_WORDS = {
    "length": Word("length", "", "in the fitted metric: how many standard deviations of one sample apart"),
    "gap": Word("gap", "", "how much shorter than the straight line, as a part of it"),
    "bend": Word("bend", "sides", "largest distance from the straight line, in sides of the box"),
    "speed_variation": Word("speed variation", "", "standard deviation over mean of the speed; 0 at constant speed"),
}
"""Numbers of a geodesic."""

PATH_WORDS = {
    "length": Word("length", "RMS", "of the decoded curve by chords at twice the steps, a lower bound with its width"),
    "chord": Word("chord", "RMS", "distance of the two end images"),
    "tortuosity": Word(
        "tortuosity", "", "length over chord: 1 is a straight line of images; straightness is 1 over it"
    ),
    "gap": Word("gap", "", "how much shorter than the straight line of latents, as a part of it"),
    "largest_jump": Word("largest jump", "RMS", "largest change of the image in one step"),
    "jump_variation": Word("jump variation", "", "standard deviation over mean of the jumps; 0 at constant speed"),
    "latent_length": Word("latent length", "RMS", "of the curve of latents, root mean square over entries"),
}
"""Numbers of a route."""
