"""Local geometry of each location of a spatial latent, for a fraction of the passes of the Jacobian."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from theodolite.derivatives import JacobianOperator, jacobian
from theodolite.descriptors.colour_draws import QUANTITIES, draw, floored, measured, standard_errors
from theodolite.descriptors.colouring import Colouring, colouring, has_locations
from theodolite.descriptors.modes import OVERFLOW
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeding, Seeds, worse
from theodolite.maps.latent_map import LatentMap

__all__ = ["LocationField", "LocationMap", "location_map"]

_ROUNDS = 32
"""Rounds of one tangent a channel that are spent when nothing else is asked for."""

_CHECKED = 16
"""One colour in so many is drawn twice and goes back through the map, to measure the error of the others."""

_CHECK_ROUNDS = 3
"""Rounds that a check costs: a second draw of signs, and both draws back."""

_LEAST_CHECKED = 16
"""Locations at which the error is measured at least, where so many rounds can be paid."""

_LOST = 0.5
"""Relative error of the gain beyond which a location says nothing: what leaks into it is as strong as its response, and
how much of that is its own no first order tells."""


@dataclass(frozen=True)
class LocationField:
    """One number at each location of `n` latents.

    Attributes:
        value: `(n, H, W)`.
        stderr: standard error, same shape.
        level_bias: by how much leakage made the field too high on average over a latent, in the unit of `value`,
            `(n,)`: taken off. Zero for the gain, whose total is conserved.
    """

    value: Tensor
    stderr: Tensor
    level_bias: Tensor


@dataclass(frozen=True)
class LocationMap:
    """The local geometry of each location of `n` latents `(C, H, W)`; from `location_map`.

    Attributes:
        gain: `trace M`, `M = J_pᵀ J_p` with `J_p` the `C` columns of the Jacobian at location `p`.
        scaling: `1/2 log det M`, in nats.
        rank: exponential of the entropy of the `C` singular values of `J_p`, between 1 and `C`.
        blocks: the matrices `M` themselves, symmetric and positive definite, `(n, H, W, C, C)`.
        passes: model passes spent on one latent.
        n: locations of one latent at which the error was measured.
        spacing: least distance of locations that shared a tangent, in latent cells; infinite for the dense way.
        statuses: one word a location, latent by latent and row by row, as in `Estimate`.
        message: what to know when a status is not ``ok``.
        method: ``colouring``, or ``dense`` where that costs no more.
    """

    gain: LocationField
    scaling: LocationField
    rank: LocationField
    blocks: Tensor
    passes: int
    n: int
    spacing: float
    statuses: tuple[str, ...]
    message: str
    method: str

    def estimate(self, name: str) -> Estimate:
        """``gain``, ``scaling`` or ``rank`` as an `Estimate` of `n * H * W` entries, latent by latent, row by row.

        Raises:
            InputError: another name.
        """
        if name not in QUANTITIES:
            raise InputError(f"the name of a field expected, one of {list(QUANTITIES)}, got {name!r}")
        field: LocationField = getattr(self, name)
        numbers = field.value.flatten(), field.stderr.flatten()
        return Estimate(*numbers, self.passes, self.n, self.statuses, self.message, self.method)


def location_map(
    map: LatentMap, latents: Tensor, *, passes: int | None = None, generator: Seeding = None
) -> LocationMap:
    """Gain, scaling and rank of each location of spatial latents: `M_p = J_pᵀ J_p`, `J_p` the columns of location `p`.

    Locations far apart share one tangent (a colour), one channel at a time and with random signs `s`. Each cell of its
    output `y` is shared among them by `distance^-6`, and `M_p` is the sum of `yᵀ y` over the shares of `p`: positive
    definite, the total gain unbiased. `s_p J_pᵀ y` is unbiased for `M_p` too, but not definite; its difference `D` from
    `M_p` is what the shares get wrong, whatever leaks from one location to another, near or through attention. One
    colour in sixteen is drawn with two sets of signs, and both go back through the map: the product of the two `D`
    has the squared bias as its mean, half the squared difference of the two `M_p` the variance of the signs. Their
    sum, in units of the root of the share of energy in contested cells, is the squared standard error everywhere. What
    `D` comes to on average in those units is taken off scaling and rank; `blocks` stay as they are.

    Args:
        map: a map with latents `(C, H, W)` and outputs `(channels, a H, b W)`, `a` and `b` whole numbers.
        latents: `(n, C, H, W)`.
        passes: what may be spent on one latent, the forward pass not counted: at least `5 C`. Left out: `32 C`. From
            `C H W` on the Jacobian is taken column by column, without error.
        generator: a `torch.Generator`, a seed, or one seed a latent.

    Returns:
        A `LocationMap`. Status ``undetermined`` at locations where leakage is as strong as the local response, as at
        weak ones beside strong ones; more passes help where it falls with distance. A few locations that reach much
        farther than those checked escape the standard error, and so may a response shared by all locations that is
        several times the local one. The correlation between neighbouring locations is not looked at: the sum of
        `scaling` is an upper bound of local scaling.

    Raises:
        InputError: latents or outputs without the two spatial axes, sizes that do not divide, or too few passes.

    Source: colouring as in the estimation of sparse Jacobians (Curtis, Powell and Reid 1974), with random signs as in
    probing of diagonals (Tang and Saad 2012); shares and error derived here.

    Example:
        >>> double = LatentMap(lambda z: 2 * z, (3, 4, 4))
        >>> location_map(double, torch.ones(1, 3, 4, 4)).gain.value[0, 0]
        tensor([12., 12., 12., 12.], dtype=torch.float64)
    """
    map.check(latents)
    if latents.ndim != 4:
        raise InputError(
            f"location_map expected latents (n, C, H, W), got {tuple(latents.shape)}; "
            "for latents without locations take `local_scaling` and `local_rank`"
        )
    budget = _checked_passes(passes, latents)
    seeds = Seeds(generator, len(latents)).base
    surveys = [_survey(jacobian(map, latents[i : i + 1]), budget, seeds[i]) for i in range(len(latents))]
    return _joined(surveys)


@dataclass(frozen=True)
class _Survey:
    """The fields of one latent: by name the values, standard errors and biases taken off, `(H, W)` each."""

    fields: Mapping[str, tuple[Tensor, Tensor, Tensor]]
    blocks: Tensor
    passes: int
    checked: int
    colours: Colouring
    statuses: tuple[str, ...]
    message: str


def _checked_passes(passes: int | None, latents: Tensor) -> int:
    channels, dense = latents.shape[1], latents[0].numel()
    least = min((2 + _CHECK_ROUNDS) * channels, dense)
    if passes is None:
        return min(_ROUNDS * channels, dense)
    if isinstance(passes, bool) or not isinstance(passes, Integral) or passes < least:
        raise InputError(
            f"`passes` expected a whole number of at least {least} for latents of shape {tuple(latents.shape[1:])}, "
            f"got {passes!r}"
        )
    return min(int(passes), dense)


def _survey(operator: JacobianOperator, budget: int, seed: int) -> _Survey:
    _refuse_other_shapes(operator)
    channels, height, width = operator.latents.shape[1:]
    colours, checks = _plan(height, width, budget // channels)
    seeds = Seeds([seed], 1)
    signs = seeds.normal("location-signs", 2, height, width)[0].sign()
    chosen = seeds.normal("location-checks", colours.count)[0].argsort()[:checks].tolist()
    floor = torch.finfo(operator.latents.dtype).eps
    first = draw(operator, colours, range(colours.count), signs[0], back=chosen)
    blocks, low = floored(first.blocks, floor)
    values = measured(blocks)
    errors = {name: torch.zeros_like(value) for name, value in values.items()}
    biases = errors
    checked = torch.isin(colours.colours, torch.tensor(chosen, dtype=torch.long)).to(blocks.device)
    if chosen:
        pair = first, draw(operator, colours, chosen, signs[1], back=chosen)
        errors, biases = standard_errors(blocks, first.contested, pair, checked, floor)
        values = {name: value - biases[name] for name, value in values.items()}
        values["rank"] = values["rank"].clamp(1, channels)
    fields = {name: (values[name], errors[name], biases[name]) for name in values}
    statuses, message = _verdict(operator, fields["gain"], low)
    if operator.status == "undefined":
        fields = {name: (value * torch.nan, error * torch.nan, bias) for name, (value, error, bias) in fields.items()}
    return _Survey(fields, blocks, operator.passes - 1, int(checked.sum()), colours, statuses, message)


def _plan(height: int, width: int, rounds: int) -> tuple[Colouring, int]:
    """The colouring and the number of colours checked, for so many rounds of one pass a channel."""
    if rounds >= height * width:
        return colouring(height, width, rounds), 0
    enough = _LEAST_CHECKED * rounds / (height * width + _LEAST_CHECKED * _CHECK_ROUNDS)
    checks = max(round(rounds / (_CHECKED + _CHECK_ROUNDS)), math.ceil(enough))
    colours = colouring(height, width, rounds - _CHECK_ROUNDS * checks)
    return colours, min((rounds - colours.count) // _CHECK_ROUNDS, colours.count)


def _verdict(
    operator: JacobianOperator, gain: tuple[Tensor, Tensor, Tensor], low: Tensor
) -> tuple[tuple[str, ...], str]:
    """The status of each location, row by row, and what to know of them."""
    lost = gain[1] > _LOST * gain[0]
    unbounded = ~(gain[0].isfinite() & gain[1].isfinite())
    notes = (
        (low, "rank-deficient", "locations have directions at rounding level, raised to that level"),
        (lost, "undetermined", "locations get as much from others as they respond themselves; give more passes"),
        (unbounded, "undetermined", "locations overflow: " + OVERFLOW),
    )
    statuses, message = [operator.status] * gain[0].numel(), "" if operator.status == "ok" else operator.message
    for mask, status, about in notes:
        statuses = [worse(own, status) if hit else own for own, hit in zip(statuses, mask.flatten().tolist())]
        message = message or (f"{int(mask.sum())} {about}" if bool(mask.any()) else "")
    return tuple(statuses), message


def _joined(surveys: list[_Survey]) -> LocationMap:
    fields = {
        name: LocationField(value, error, bias.mean((-1, -2)))
        for name in QUANTITIES
        for value, error, bias in [[torch.stack(part) for part in zip(*(survey.fields[name] for survey in surveys))]]
    }
    first = surveys[0]
    return LocationMap(
        **fields,
        blocks=torch.stack([survey.blocks for survey in surveys]),
        passes=max(survey.passes for survey in surveys),
        n=min(survey.checked for survey in surveys),
        spacing=first.colours.spacing,
        statuses=sum((survey.statuses for survey in surveys), ()),
        message=next((survey.message for survey in surveys if survey.message), ""),
        method="colouring" if first.checked else "dense",
    )


def _refuse_other_shapes(operator: JacobianOperator) -> None:
    latent, output = tuple(operator.latents.shape[1:]), tuple(operator.outputs.shape[1:])
    if not has_locations(latent, output):
        raise InputError(
            f"location_map expected outputs (channels, a * {latent[1]}, b * {latent[2]}) for latents {latent}, "
            f"got {output}; for such a map take `local_scaling` and `local_rank`, or crop its output"
        )
