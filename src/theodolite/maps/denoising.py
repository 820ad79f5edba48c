"""`Denoiser`: one interface for everything that denoises, `D(x, sigma) = E[x_0 | x]` with `x = x_0 + sigma eps`."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from theodolite.errors import InputError

__all__ = ["Denoiser", "FunctionDenoiser", "Guided", "ScoreDenoiser", "same_shape"]

_ROUNDING = 1e-6


class Denoiser(nn.Module, ABC):
    """The denoised point of a noisy one, each row on its own.

    Attributes:
        shape: shape of one point; None for an axis of free size.
    """

    shape: tuple[int | None, ...]

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    @abstractmethod
    def forward(self, x: Tensor, sigma: float) -> Tensor:
        """`D(x, sigma)` at `x: (n, *shape)`: the same shape."""

    def check_level(self, sigma: float) -> None:
        """Raise `InputError` where the denoiser does not know the level."""
        if not 0 < sigma < float("inf"):
            raise InputError(f"a noise level sigma above zero and finite expected, got {sigma}")

    def start(self, sigma: float) -> float:
        """The factor from standard normal noise to the `x` that a sampler starts with at `sigma`."""
        return sigma

    def levels(self, steps: int) -> list[float]:
        """The noise levels that the model's own schedule takes in so many steps, the last one of the result included.

        Raises:
            InputError: the model has no schedule.
        """
        raise InputError(f"noise levels expected, got {steps} steps of a model without a schedule; give `sigmas`")


class FunctionDenoiser(Denoiser):
    """A plain callable `model(x, sigma, condition) -> x_0`; without a condition `model(x, sigma)` will do.

    Args:
        model: takes points `(n, *shape)`, the noise level as a number, and the condition as it was given.
        shape: shape of one point.
        condition: handed on; None stands for the null condition.
    """

    def __init__(self, model: Callable[..., Tensor], shape: tuple[int | None, ...], condition: Any = None) -> None:
        super().__init__()
        if condition is not None and not _takes_three(model):
            raise InputError(
                f"{_name(model)} expected as `model(x, sigma, condition)` to be given a condition, it takes no third "
                "argument; leave out `condition` and `guidance`"
            )
        self.model, self.shape, self.condition = model, tuple(shape), condition
        self.conditioned = _takes_three(model)

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        """One call of the model."""
        denoised = self.model(x, sigma, self.condition) if self.conditioned else self.model(x, sigma)
        return same_shape(denoised, x, _name(self.model))

    def check_level(self, sigma: float) -> None:
        """Raise `InputError` outside the model's own `known_levels`, its least and its largest, if it has these."""
        super().check_level(sigma)
        low, high = getattr(self.model, "known_levels", (0.0, math.inf))
        if not low * (1 - _ROUNDING) <= sigma <= high * (1 + _ROUNDING):
            raise InputError(
                f"a noise level sigma between {low:.4g} and {high:.4g}, which {_name(self.model)} knows, expected, "
                f"got {sigma:.4g}"
            )

    def levels(self, steps: int) -> list[float]:
        """Those of the model's own `levels(steps)`, if it has that."""
        own = getattr(self.model, "levels", None)
        return own(steps) if callable(own) else super().levels(steps)


class ScoreDenoiser(Denoiser):
    """What has a score: `D = x + sigma² s(x, sigma²)` (Tweedie).

    Args:
        source: `source.score(x, t)` on flat points `(n, D)` and the variance `t`, as a `theodolite.scores.ScoreSource`.
        shape: shape of one point; the source's own `shape` or `dimension` when None.

    Raises:
        InputError: a score that keeps no gradients: its map would have a wrong Jacobian.
    """

    def __init__(self, source: Any, shape: tuple[int | None, ...] | None = None) -> None:
        super().__init__()
        if not getattr(source, "differentiable", True):
            raise InputError(
                f"a score that can be differentiated expected, {type(source).__name__} keeps no gradients; of a finite "
                "set of points use GaussianMixtureScore with a small variance, or a trained denoiser"
            )
        self.score = source.score
        own = getattr(source, "shape", None) or (source.dimension,)
        self.shape = tuple(own if shape is None else shape)

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        """One evaluation of the score."""
        return x + sigma**2 * self.score(x.flatten(1), sigma**2).reshape(x.shape)


class Guided(Denoiser):
    """Classifier-free guidance `u + g (c - u)`; two model passes.

    The same `g` holds for the denoised point, the noise, the velocity and the score, which are affine in one another.
    """

    def __init__(self, conditioned: Denoiser, unconditioned: Denoiser, guidance: float) -> None:
        super().__init__()
        self.conditioned, self.unconditioned, self.guidance = conditioned, unconditioned, guidance
        self.shape = conditioned.shape

    def forward(self, x: Tensor, sigma: float) -> Tensor:
        """Both, and the line through them."""
        u = self.unconditioned(x, sigma)
        guided: Tensor = u + self.guidance * (self.conditioned(x, sigma) - u)
        return guided

    def check_level(self, sigma: float) -> None:
        """As the model does."""
        self.conditioned.check_level(sigma)

    def start(self, sigma: float) -> float:
        """As the model does."""
        return self.conditioned.start(sigma)

    def levels(self, steps: int) -> list[float]:
        """As the model does."""
        return self.conditioned.levels(steps)


def same_shape(output: Any, x: Tensor, name: str, what: str = "a denoised point") -> Tensor:
    """`output` when it has the shape of the point `x`, or an `InputError`."""
    if not isinstance(output, Tensor) or output.shape != x.shape:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{what} has the shape of its point: {tuple(x.shape)} expected from {name!r}, got {got}; "
            "return one number for each entry of the input"
        )
    return output


def _takes_three(model: Callable[..., Any]) -> bool:
    try:
        inspect.signature(model).bind(None, 1.0, None)
    except TypeError:
        return False
    except ValueError:  # a callable without a signature
        return True
    return True


def _name(model: Any) -> str:
    return str(getattr(model, "__name__", type(model).__name__))
