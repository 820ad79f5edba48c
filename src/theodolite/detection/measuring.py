"""Scores of a map at points, from one chart a group of points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from theodolite.derivatives import jacobian
from theodolite.descriptors import REGISTRY, Chart, Effort
from theodolite.descriptors.effort import STANDARD
from theodolite.descriptors.groups import group_size
from theodolite.descriptors.together import Measurements, measured_at
from theodolite.detection.baselines import denoising_error, prior_nll, score_norm
from theodolite.detection.scores import SCORES, checked_scores, computed, descriptors_for
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds, joined
from theodolite.maps.latent_map import LatentMap

__all__ = ["FLOOR", "denoiser_quantities", "floored", "map_scores", "negative_log_likelihood"]

FLOOR = 1e-8
"""Singular values below this count as this: the Jacobian of a denoiser has a scale of its own, at most about one."""


def map_scores(
    map: LatentMap,
    points: Tensor,
    *,
    scores: Iterable[str] | None = None,
    floor: float | None = None,
    generator: Seeding = None,
    effort: Effort | None = None,
    dense: bool | None = None,
    baselines: Mapping[str, Estimate] | None = None,
) -> dict[str, Estimate]:
    """Scores of a map at points, higher meaning more suspicious: a decoder at latents, a denoiser at noisy samples.

    Args:
        map: the map; which one is used decides the result and even its sign (an x0-map and an eps-map of one denoiser
            rank the other way round).
        points: `(n, *latent)`.
        scores: names of `SCORES`; by default all that the outputs allow and for which `baselines` are given.
        floor: for maps with a scale of their own, such as a denoiser: `psi = sum_i log max(sigma_i, floor)` over a
            fixed number of terms, and a rank of 0 where no singular value reaches `floor`. A point that is memorised
            has a Jacobian of zeros, where psi is otherwise undefined.
        generator: a `torch.Generator`, a seed, or one seed a point.
        effort: of the descriptors.
        dense: as for the descriptors.
        baselines: further quantities at the points, by the names of `BASELINES`; the standard normal `prior_nll` is
            there by itself.

    Returns:
        `Estimate`s by name; NaN where a value is no number to rank by. Cost: that of the descriptors needed.

    Raises:
        InputError: an unknown score, one that these outputs or baselines do not allow, points that do not fit.
    """
    map.check(points)
    if floor is not None and floor <= 0:
        raise InputError(f"`floor` expected a positive singular value, got {floor}; leave it out for none")
    effort, seeds = effort or STANDARD, Seeds(generator, len(points)).base
    wanted = checked_scores(scores)
    spatial = jacobian(map, points[:1]).outputs.ndim > 2
    chosen = [name for name in descriptors_for(wanted) if scores is not None or spatial or not REGISTRY[name].spatial]
    size = group_size(map, points, effort, dense)
    groups = []
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        chart = Chart(map, points[part], generator=seeds[part], effort=effort, dense=dense)
        groups.append(_quantities(chart, chosen, floor))
    measured = {name: joined([group[name] for group in groups]) for name in groups[0]}
    return computed({"prior_nll": prior_nll(points), **measured, **(baselines or {})}, scores)


def negative_log_likelihood(
    map: LatentMap,
    latents: Tensor,
    log_prior: Tensor | None = None,
    *,
    generator: Seeding = None,
    effort: Effort | None = None,
    dense: bool | None = None,
) -> Estimate:
    """`-log p(x) = psi(z) - log p_z(z)` in nats at `x = map(z)`, exact for an injective map.

    The density is with respect to volume on the map's image, `log p(x) = log p_z(z) - ½ log det(JᵀJ)` (change of
    variables; Humayun et al. 2022, arXiv 2203.01993, for piecewise linear maps). Where the map is not injective,
    several latents share an output and this is an upper bound of `-log p(x)`; where it has a null space (status
    ``rank-deficient``) there is no such density and only the order of samples is meant.

    Args:
        map: an injective map, with at least as many outputs as latents.
        latents: `(n, *latent)`.
        log_prior: `log p_z(z)`, `(n,)`; by default that of the standard normal law.
        generator: a `torch.Generator`, a seed, or one seed a latent.
        effort: of local scaling.
        dense: as for local scaling.

    Raises:
        InputError: fewer outputs than latents, or a prior of another length.

    Example:
        >>> import math, torch
        >>> double = LatentMap(lambda z: 2 * z, (1,))
        >>> found = negative_log_likelihood(double, torch.zeros(1, 1)).value.item()
        >>> abs(found - math.log(2) - math.log(2 * math.pi) / 2) < 1e-6
        True
    """
    prior = prior_nll(latents) if log_prior is None else _given(log_prior, len(latents))
    probe = jacobian(map, latents[:1])
    if probe.output_dim < probe.latent_dim:
        raise InputError(
            f"a map with at least as many outputs as latents expected, since others are not injective; got "
            f"{probe.latent_dim} latents and {probe.output_dim} outputs"
        )
    psi = REGISTRY["local_scaling"].function(map, latents, generator=generator, effort=effort, dense=dense)
    return SCORES["negative_log_likelihood"].function({"local_scaling": psi, "prior_nll": prior})


def _given(log_prior: Tensor, n: int) -> Estimate:
    if log_prior.shape != (n,):
        raise InputError(f"`log_prior` expected one value for each of {n} latents, got {tuple(log_prior.shape)}")
    return Estimate.of(-log_prior.double())


def _quantities(chart: Chart, names: Iterable[str], floor: float | None) -> dict[str, Estimate]:
    measured: dict[str, Estimate] = {}
    for name in names:
        function = REGISTRY[name].function
        measured |= function(
            chart.map, chart.latents, generator=chart.seeds.base, effort=chart.effort, chart=chart
        ).named(name)
    return measured if floor is None else measured | floored(chart, measured, floor)


def denoiser_quantities(
    chart: Chart, descriptors: Iterable[str], denoised: Tensor, clean: Tensor, sigma: float, seed: int
) -> Measurements:
    """Descriptors of a denoiser's map at noisy points, its denoising error, and the norm of its score.

    Singular values count as `FLOOR` at least (`floored`).

    Args:
        chart: of the map at the noisy points, `(n, *shape)`.
        descriptors: names from the registry.
        denoised: what the denoiser makes of the noisy points.
        clean: the points without noise.
        sigma: the noise level.
        seed: of random draws.
    """
    measured = measured_at(chart, descriptors, seed)
    beside = {
        "denoising_error": denoising_error(denoised, clean),
        "score_norm": score_norm((denoised - chart.latents) / sigma**2),
    }
    return replace(measured, estimates={**measured.estimates, **floored(chart, measured.estimates, FLOOR), **beside})


def floored(chart: Chart, measured: Mapping[str, Estimate], floor: float) -> dict[str, Estimate]:
    """Local scaling with every singular value at least `floor`, and a rank of zero where none is above it.

    With a floor a map of zeros and one with a null space have a volume like any other: only these two statuses go.
    """
    measure, replaced = chart.spectrum, {}
    if "local_scaling" in measured:
        plain = measured["local_scaling"]
        psi = measure.dimension * measure.expect(lambda s: s.clamp_min(floor).log())
        statuses = ["ok" if status in ("undefined", "rank-deficient") else status for status in plain.statuses]
        # where every value is zero, and the error of their logarithms undefined, the floored volume is exact
        stderr = plain.stderr.masked_fill(measure.largest() == 0, 0.0)
        replaced["local_scaling"] = Estimate(psi, stderr, measure.passes, plain.n, statuses, plain.message)
        replaced["local_scaling_floored"] = replaced["local_scaling"]
    if "local_rank" in measured:
        rank, empty = measured["local_rank"], measure.largest() <= floor
        statuses = ["ok" if is_empty else status for is_empty, status in zip(empty.tolist(), rank.statuses)]
        value, stderr = (part.masked_fill(empty, 0.0) for part in (rank.value, rank.stderr))
        replaced["local_rank"] = Estimate(value, stderr, rank.passes, rank.n, statuses)
    return replaced
