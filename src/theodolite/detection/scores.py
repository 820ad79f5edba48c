"""Every score: one line here puts it into `detect`, its tables and its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from theodolite.descriptors.registry import REGISTRY
from theodolite.errors import InputError
from theodolite.estimates import Estimate, worst
from theodolite.estimates.quantity import Quantity

__all__ = [
    "BASELINES",
    "BASELINE_QUANTITIES",
    "DEPARTURE",
    "LEVELS",
    "LEVEL_FREE",
    "SCORES",
    "Score",
    "at_level",
    "at_levels",
    "checked_levels",
    "checked_scores",
    "computed",
    "computed_at_levels",
    "descriptors_for",
    "of_level",
    "score_of",
    "scores_of",
]

Quantities = Mapping[str, Estimate]

BASELINES = (
    "prior_nll",
    "reconstruction_error",
    "denoising_error",
    "score_norm",
    "nearest_neighbour",
    "pixel_energy",
)
"""Quantities of a sample that need no Jacobian."""

LEVELS = (0.1, 0.4, 1.6)
"""Noise levels by default, in the units of the points: images in [-1, 1], or latents of a deviation near one."""

LEVEL_FREE = ("nearest_neighbour", "pixel_energy")
"""Scores of a denoiser that do not depend on the noise level."""

_DEAR = ("curvature",)
"""Not measured unless it is asked for: it costs as much as all others together."""

_OF_DENOISERS = (
    "local_scaling",
    "local_rank",
    "local_complexity",
    "leading_singular_value",
    "gain",
    "denoising_error",
    "score_norm",
    *LEVEL_FREE,
)
"""Scores of a denoiser by default: what one spectrum gives at every noise level, and baselines."""

_OF_PRIOR = ("negative_log_likelihood", "score_norm")
"""Scores of points with a standard normal law."""

_FOREIGN = {
    "decoder": ("denoising_error",),
    "encoder": ("denoising_error", *_OF_PRIOR),
    "generator": ("denoising_error", "reconstruction_error"),
    "denoiser": ("negative_log_likelihood", "reconstruction_error"),
    "sampler": ("denoising_error", "reconstruction_error"),
}
"""Scores that such a map does not have."""

_HUMAYUN = "Humayun et al. 2025 (arXiv 2408.08307)"
_LIANG = "Liang, Chen and Lai 2026 (arXiv 2604.18804)"


@dataclass(frozen=True)
class Score:
    """A number of one sample; higher is taken to mean more suspicious.

    Attributes:
        name: in tables.
        label: in pictures.
        formula: in plain text.
        kind: ``descriptor``, ``ratio``, ``baseline``, ``likelihood`` or ``joint``.
        source: of the score or of its orientation.
        needs: quantities that it is made of.
        function: from those to the score.
    """

    name: str
    label: str
    formula: str
    kind: str
    source: str
    needs: tuple[str, ...]
    function: Callable[[Quantities], Estimate]


def _power(sign: int = 1, **powers: int) -> Callable[[Quantities], Estimate]:
    """`sign * prod q ** k`; relative errors are added in quadrature, as if the factors were independent."""

    def score(quantities: Quantities) -> Estimate:
        parts = [(quantities[name], power) for name, power in powers.items()]
        value = sign * torch.stack([part.value.double() ** power for part, power in parts]).prod(0)
        relative = torch.stack([(power * part.stderr / part.value).double() for part, power in parts])
        return _made(value, value.abs() * relative.square().sum(0).sqrt(), [part for part, _ in parts])

    return score


def _same(name: str) -> Callable[[Quantities], Estimate]:
    return lambda quantities: _made(
        quantities[name].value.double(), quantities[name].stderr.double(), [quantities[name]]
    )


def _sum(first: str, second: str) -> Callable[[Quantities], Estimate]:
    def score(quantities: Quantities) -> Estimate:
        a, b = quantities[first], quantities[second]
        return _made(a.value.double() + b.value, (a.stderr.double().square() + b.stderr.square()).sqrt(), [a, b])

    return score


def _made(value: Tensor, stderr: Tensor, parts: list[Estimate]) -> Estimate:
    statuses = worst(*(part.statuses for part in parts))
    return Estimate(value, stderr, max(part.passes for part in parts), parts[0].n, statuses)


def _descriptor(name: str, label: str, formula: str, source: str) -> Score:
    return Score(name, label, formula, "descriptor", source, (name,), _same(name))


def _baseline(name: str, label: str, formula: str) -> Score:
    return Score(name, label, formula, "baseline", "standard", (name,), _same(name))


def _ratio(name: str, label: str, formula: str, source: str, sign: int = 1, **powers: int) -> Score:
    return Score(name, label, formula, "ratio", source, tuple(powers), _power(sign, **powers))


def _comparable_volume(quantities: Quantities) -> Estimate:
    """The volume over the same directions at every sample: the smallest values are raised to a floor.

    Without one a sample with a null space has the sum over fewer directions, and may seem larger for that alone.
    """
    return quantities.get("local_scaling_floored", quantities["local_scaling"])


_LS, _LC, _PHFE, _Q = "leading_singular_value", "axis_rotation", "detail_energy", "detail_q"
_NLL = ("local_scaling", "prior_nll")
_OURS = "baseline of ours for LC / PHFE"

_ALL = (
    Score(
        "negative_log_likelihood", "ψ − log p(z)", "ψ − log p_z(z)", "likelihood", f"change of variables; {_HUMAYUN}",
        _NLL, _sum(*_NLL),
    ),
    Score(
        "local_scaling", "Local scaling ψ", "Σ log max(σᵢ, 1e-4 σ₁)", "descriptor", _HUMAYUN, ("local_scaling",),
        _comparable_volume,
    ),
    _descriptor("local_rank", "Local rank ν", "exp(−Σ α log α)", _HUMAYUN),
    _descriptor("local_complexity", "Local complexity δ", "hyperplanes that cut a small polytope", _HUMAYUN),
    _descriptor(_LS, "Leading value LS", "σ₁", _LIANG),
    _descriptor(_LC, "Axis rotation LC", "‖v₁ − v₁′‖ / ‖z − z′‖", _LIANG),
    _descriptor(_PHFE, "Detail energy PHFE", "Var(L J v₁)", _LIANG),
    _descriptor(_Q, "Detail share q", "‖L u₁‖² / ‖u₁‖²", "derived here"),
    _descriptor("curvature", "Curvature κ", "‖P_N Δ²x‖ / ‖J v‖²", "derived here"),
    _ratio("lc_over_phfe", "LC / PHFE", "LC / PHFE", _LIANG, **{_LC: 1, _PHFE: -1}),
    _ratio("minus_ls", "−LS", "−σ₁", _OURS, sign=-1, **{_LS: 1}),
    _ratio("one_over_phfe", "1 / PHFE", "1 / PHFE", _OURS, **{_PHFE: -1}),
    _ratio("lc_over_ls2", "LC / LS²", "LC / σ₁²", _OURS, **{_LC: 1, _LS: -2}),
    _ratio("lc_over_q", "LC / q", "LC / q", _OURS, **{_LC: 1, _Q: -1}),
    _baseline("gain", "Gain", "‖J‖_F"),
    _baseline("reconstruction_error", "Reconstruction error", "mean (x − D(E(x)))²"),
    _baseline("denoising_error", "Denoising error", "mean (x₀ − D(x₀ + σe))²"),
    _baseline("score_norm", "Score norm", "‖∇ log p‖; ‖z‖ for the prior N(0, 1)"),
    _baseline("nearest_neighbour", "Nearest neighbour", "distance to the nearest reference of another source"),
    _baseline("pixel_energy", "Pixel energy", "variance of the image's entries"),
)  # fmt: skip

SCORES: dict[str, Score] = {score.name: score for score in _ALL}
"""By name, in the order of tables."""

DEPARTURE = Score(
    "departure",
    "Departure",
    "−mean log p over the descriptors, two-sided",
    "joint",
    "derived here",
    ("departure",),
    _same("departure"),
)
"""Of all descriptors at once (`theodolite.detection.departure`): beside reference samples only."""

BASELINE_QUANTITIES = {
    name: Quantity(name, SCORES[name].label, formula=SCORES[name].formula, source=SCORES[name].source)
    for name in BASELINES
    if name in SCORES
}
"""The words of those baselines that are scores themselves."""


def at_level(name: str, sigma: float) -> str:
    """The name of a score at one noise level, ``local_scaling@0.4``."""
    return f"{name}@{sigma:g}"


def of_level(name: str) -> tuple[str, float | None]:
    """The score and the noise level that a name stands for; no level for a score without one.

    Example:
        >>> of_level("local_scaling@0.4"), of_level("pixel_energy")
        (('local_scaling', 0.4), ('pixel_energy', None))
    """
    base, mark, level = name.partition("@")
    return base, float(level) if mark else None


def score_of(name: str) -> Score:
    """A score, `DEPARTURE` among them, by its name, also at a noise level: that is then part of its label."""
    base, sigma = of_level(name)
    score = {**SCORES, "departure": DEPARTURE}[base]
    return score if sigma is None else replace(score, name=name, label=f"{score.label}, σ = {sigma:g}")


def checked_levels(sigmas: Iterable[float] | None) -> tuple[float, ...]:
    """Noise levels, rising; `LEVELS` when None.

    Raises:
        InputError: fewer than two different ones.
    """
    levels = LEVELS if sigmas is None else tuple(sigmas)
    if len({f"{sigma:g}" for sigma in levels}) < max(2, len(levels)):
        raise InputError(
            f"two or more different noise levels expected, since one level can show anything, got "
            f"{', '.join(f'{sigma:g}' for sigma in levels)}; e.g. --sigma 0.1,0.4"
        )
    return tuple(sorted(float(sigma) for sigma in levels))


def at_levels(names: Iterable[str], sigmas: Iterable[float]) -> list[str]:
    """The names of scores of a denoiser at every noise level; those without a level as they are."""
    levels, every = list(sigmas), list(names)
    return [
        full
        for name in every
        for full in ([name] if name in LEVEL_FREE or not levels else [at_level(name, sigma) for sigma in levels])
    ]


def scores_of(kind: str, names: Iterable[str] | None = None) -> list[str]:
    """The scores of a map, in the order of the registry.

    Args:
        kind: of the map, of `theodolite.maps.subject.KINDS`.
        names: only these; by default all but curvature, and of a denoiser those that one spectrum gives.

    Raises:
        InputError: a name that is none, or a score that such a map does not have.
    """
    cheap = [name for name in SCORES if name not in (*_DEAR, *_FOREIGN[kind])]
    wanted = checked_scores(names or (_OF_DENOISERS if kind == "denoiser" else cheap))
    foreign = [name for name in wanted if name in _FOREIGN[kind]]
    if foreign:
        raise InputError(f"scores of a {kind} expected, got {foreign[0]}, which it does not have; leave it out")
    return wanted


def computed_at_levels(quantities: Mapping[float | None, Quantities], names: Iterable[str]) -> dict[str, Estimate]:
    """These scores at every noise level under their names there, as far as their quantities allow.

    Args:
        quantities: by noise level; under None those that have no level.
        names: of the scores, without levels.

    Returns:
        In the order of the registry, and each by rising noise.
    """
    wanted = checked_scores(names)
    levels = sorted(quantities, key=lambda sigma: sigma or 0.0)
    at = {sigma: computed(quantities[sigma]) for sigma in levels}
    return {
        name if sigma is None else at_level(name, sigma): at[sigma][name]
        for name in wanted
        for sigma in levels
        if name in at[sigma]
    }


def computed(quantities: Quantities, names: Iterable[str] | None = None) -> dict[str, Estimate]:
    """Every score whose quantities are there; a value that is undefined or undetermined is NaN.

    Args:
        quantities: `Estimate`s over the same samples, by the names of descriptors and `BASELINES`.
        names: only these scores.

    Raises:
        InputError: a score whose quantities are not all there, when it was asked for by name.
    """
    wanted = checked_scores(names)
    possible = {name: SCORES[name] for name in wanted if set(SCORES[name].needs) <= set(quantities)}
    lacking = [name for name in wanted if name not in possible]
    if names is not None and lacking:
        raise InputError(
            f"score {lacking[0]!r} needs {', '.join(SCORES[lacking[0]].needs)}, got {', '.join(quantities)}"
        )
    return {name: _ranked(score.function(quantities)) for name, score in possible.items()}


def _ranked(score: Estimate) -> Estimate:
    """Values that are no numbers to rank by as NaN."""
    return replace(score, value=score.value.masked_fill(~score.is_number(), torch.nan), parts={})


def checked_scores(names: Iterable[str] | None) -> list[str]:
    """These scores in the order of the registry; all of them when None.

    Raises:
        InputError: a name that is none.
    """
    chosen = list(SCORES if names is None else names)
    for name in chosen:
        if name not in SCORES:
            raise InputError(f"a score expected, got {name!r}; there are {', '.join(SCORES)}")
    return [name for name in SCORES if name in chosen]


def descriptors_for(names: Iterable[str]) -> list[str]:
    """The descriptors whose quantities these scores need, in the order of the registry."""
    needed = {quantity for name in names for quantity in SCORES[name].needs}
    return [
        descriptor.name
        for descriptor in REGISTRY.values()
        if needed & {quantity.name for quantity in descriptor.quantities}
    ]
