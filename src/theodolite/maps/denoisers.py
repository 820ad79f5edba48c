"""`denoiser_map`: a denoiser at one noise level as a map, by what it returns."""

from __future__ import annotations

import copy
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from theodolite.errors import InputError
from theodolite.maps.denoiser import Denoiser
from theodolite.maps.denoising import BaseDenoiser, Guided, ScoreDenoiser
from theodolite.maps.latent_map import LatentMap
from theodolite.maps.networks import is_network

__all__ = ["Output", "as_denoiser", "denoiser_map", "jacobians_of"]

Output = Literal["x0", "eps", "v", "score"]


def denoiser_map(
    model: Any,
    sigma: float,
    output: Output = "x0",
    condition: Any = None,
    guidance: float = 1.0,
    *,
    unconditional: Any = None,
    scheduler: Any = None,
    shape: tuple[int | None, ...] | None = None,
) -> LatentMap:
    """A denoiser at the noise level `sigma` as a map of the noisy point `x = x_0 + sigma eps`.

    With the denoised point `D(x) = E[x_0 | x]`, the score `s = (D - x) / sigma²` and its Jacobian `H`, exactly:

    | output | value | Jacobian |
    |---|---|---|
    | ``x0`` | `D` | `I + sigma² H = Cov(x_0 | x) / sigma²` |
    | ``eps`` | `(x - D) / sigma` | `-sigma H` |
    | ``v`` | `(eps - sigma D) / sqrt(1 + sigma²)` | `-(sigma I + sigma (1 + sigma²) H) / sqrt(1 + sigma²)` |
    | ``score`` | `s` | `H` |

    `v = alpha eps - s x_0` is that of the variance-preserving process; all are functions of the same `x`.

    Args:
        model: one of

            - a `Denoiser`: a network with what it predicts, what it is told and its schedule; `theodolite.load` makes
              one of a diffusers folder or hub id;
            - a callable `model(x, sigma, condition) -> x_0` on `x: (n, *shape)` and the number `sigma`, in `eval()`
              mode; without conditions `model(x, sigma)`;
            - a diffusers UNet or transformer, or a callable `model(y, time)` that was trained with one's schedule,
              with its `scheduler`;
            - anything with `score(x, t)` on flat points and a variance, such as the scores of `theodolite.scores`;
            - an object whose `denoiser` is a module of the second kind.

            A callable that has `known_levels`, its least and its largest, is asked at no other level.
        sigma: standard deviation of the noise over that of the data's units; for a model trained on
            `alpha x_0 + s eps` it is `s / alpha`.
        output: what the map returns: ``x0``, ``eps``, ``v`` or ``score``.
        condition: handed to a callable as it is; of a diffusers model a class, text embeddings `(1, tokens, width)`,
            or a dictionary of the model's arguments (`encoder_hidden_states`, `pooled_projections`, `class_labels`).
        guidance: `g` of classifier-free guidance `u + g (c - u)`; 1 is the conditional model alone, 0 the unconditional
            one: one pass each.
        unconditional: the condition `u`; None for a callable and the last class of a DiT by default.
        scheduler: a diffusers scheduler by which `model` was trained: what it predicts, and what it is told. Whole
            steps for a callable (see `Denoiser`).
        shape: shape of one point where the model does not say it.

    Returns:
        A `LatentMap` of `(n, *shape)` to the same shape; one model pass, two with guidance.

    Raises:
        InputError: a level the model does not know, another output, no shape, a condition the model does not take.

    Example:
        >>> import torch
        >>> standard = lambda x, sigma: x / (1 + sigma**2)  # of standard normal data
        >>> denoiser_map(standard, 1.0, "score", shape=(2,))(torch.ones(1, 2))
        tensor([[-0.5000, -0.5000]])
    """
    denoiser = as_denoiser(
        model,
        condition=condition,
        guidance=guidance,
        unconditional=unconditional,
        scheduler=scheduler,
        shape=shape,
    )
    if output not in get_args(Output):
        raise InputError(f"`output` expected to be one of {', '.join(get_args(Output))}, got {output!r}")
    if not 0 < sigma < float("inf"):
        raise InputError(f"a noise level sigma above zero and finite expected, got {sigma}")
    denoiser.check_level(sigma)
    return LatentMap(_Level(denoiser, float(sigma), output), denoiser.shape, name=f"{output} at sigma {sigma:g}")


def as_denoiser(
    model: Any,
    *,
    condition: Any = None,
    guidance: float = 1.0,
    unconditional: Any = None,
    scheduler: Any = None,
    shape: tuple[int | None, ...] | None = None,
) -> BaseDenoiser:
    """Any model that `denoiser_map` takes as a denoiser, with its condition and guidance.

    Raises:
        InputError: as for `denoiser_map`.
    """
    if not isinstance(guidance, int | float):
        raise InputError(f"`guidance` expected to be a number, got {guidance!r}")

    def bound(condition: Any, null: bool = False) -> BaseDenoiser:
        return _bound(model, condition, scheduler, shape, null)

    if guidance == 1:
        return bound(condition)
    if condition is None:
        raise InputError(f"a condition expected with guidance {guidance:g}, got none; give one, or leave guidance out")
    conditioned = bound(condition)  # first: a condition that the model does not take is the nearer mistake
    try:
        start = bound(unconditional, null=True)
    except InputError as error:
        raise InputError(f"`unconditional` expected, which guidance {guidance:g} starts from: {error}") from error
    return start if guidance == 0 else Guided(conditioned, start, float(guidance))


def jacobians_of(output: Output, denoised: Tensor, sigma: float) -> Tensor:
    """Jacobians of an output from those of the denoised point, `(n, d, d)`: all outputs are affine in it and `x`.

    Raises:
        InputError: another output.
    """
    if output not in get_args(Output):
        raise InputError(f"`output` expected to be one of {', '.join(get_args(Output))}, got {output!r}")
    if output == "x0":
        return denoised
    eye = torch.eye(denoised.shape[-1], dtype=denoised.dtype, device=denoised.device)
    eps = (eye - denoised) / sigma
    if output == "score":
        return -eps / sigma
    return eps if output == "eps" else (eps - sigma * denoised) / (1 + sigma**2) ** 0.5


def _bound(
    model: Any, condition: Any, scheduler: Any, shape: tuple[int | None, ...] | None, null: bool
) -> BaseDenoiser:
    if isinstance(model, Denoiser):
        if scheduler is not None:
            raise InputError("`scheduler` belongs to a network, a Denoiser has its schedule; leave it out")
        return _shaped(model, shape).with_condition(condition, null)
    if not isinstance(model, BaseDenoiser) and isinstance(denoiser := getattr(model, "denoiser", None), nn.Module):
        return _bound(denoiser, condition, scheduler, shape, null)
    if isinstance(model, BaseDenoiser) or callable(getattr(model, "score", None)):
        if condition is not None:
            raise InputError(f"{type(model).__name__} takes no condition, got one; leave out `condition`")
        return model if isinstance(model, BaseDenoiser) else ScoreDenoiser(model, shape)
    return Denoiser(model, schedule=scheduler, condition=condition, shape=shape).with_condition(
        None, null and condition is None and is_network(model)
    )


def _shaped(model: Denoiser, shape: tuple[int | None, ...] | None) -> Denoiser:
    if shape is None or tuple(shape) == model.shape:
        return model
    other = copy.copy(model)
    other.shape = tuple(shape)
    return other


class _Level(nn.Module):
    """A denoiser at one level, and which of its outputs is wanted."""

    def __init__(self, denoiser: BaseDenoiser, sigma: float, output: Output) -> None:
        super().__init__()
        self.denoiser, self.sigma, self.output = denoiser, sigma, output
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        denoised: Tensor = self.denoiser(x, self.sigma)
        if self.output == "x0":
            return denoised
        residual = x - denoised
        if self.output == "score":
            return -residual / self.sigma**2
        eps = residual / self.sigma
        return eps if self.output == "eps" else (eps - self.sigma * denoised) / (1 + self.sigma**2) ** 0.5
