"""`BaseDenoiser`: one interface for everything that denoises, `D(x, sigma) = E[x_0 | x]` with `x = x_0 + sigma eps`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from theodolite.errors import InputError

if TYPE_CHECKING:
    from theodolite.maps.channels import Channel
    from theodolite.maps.clipping import Clip

__all__ = ["BaseDenoiser", "Guided", "ScoreDenoiser", "same_shape"]


class BaseDenoiser(nn.Module, ABC):
    """The denoised point of a noisy one, each row on its own.

    Attributes:
        shape: shape of one point; None for an axis of free size.
        inner: the denoiser that this one changes, whose schedule, start and range it has; None where there is none.
    """

    shape: tuple[int | None, ...]

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    @property
    def inner(self) -> BaseDenoiser | None:
        """The denoiser that this one changes."""
        return None

    @abstractmethod
    def forward(self, x: Tensor, sigma: float, step: float | None = None) -> Tensor:
        """`D(x, sigma)` at `x: (n, *shape)`: the same shape.

        Args:
            x: noisy points; the noise alone at an infinite `sigma`.
            sigma: the noise level.
            step: what a scheduler calls the level, where it has its own word for it.
        """

    def check_level(self, sigma: float) -> None:
        """Raise `InputError` where the denoiser does not know the level."""
        if self.inner is not None:
            self.inner.check_level(sigma)
        elif not 0 < sigma < float("inf"):
            raise InputError(f"a noise level sigma above zero and finite expected, got {sigma}")

    def start(self, sigma: float) -> float:
        """The factor from standard normal noise to the `x` that a sampler starts with at `sigma`."""
        return sigma if self.inner is None else self.inner.start(sigma)

    def levels(self, steps: int, mu: float | None = None) -> list[float]:
        """The noise levels that the model's own schedule takes in so many steps, the last one of the result included.

        Args:
            steps: of the schedule.
            mu: of a schedule that is shifted by the size of the image; that of its own shape when None.

        Raises:
            InputError: the model has no schedule.
        """
        if self.inner is not None:
            return self.inner.levels(steps, mu)
        raise InputError(
            f"noise levels expected, got {steps} steps of a model without a schedule; give `sigmas`, or the network a "
            "method `levels(steps)`"
        )

    @property
    def channel(self) -> Channel | None:
        """What the network was trained on, where there is one."""
        return None if self.inner is None else self.inner.channel

    @property
    def scheduler(self) -> Any:
        """The diffusers scheduler that it has; None without one."""
        return None if self.inner is None else self.inner.scheduler

    @property
    def sampler_clip(self) -> Clip | None:
        """What the scheduler does to denoised points before a step; None for nothing."""
        return None if self.inner is None else self.inner.sampler_clip

    @property
    def data_range(self) -> tuple[float, float] | None:
        """Least and largest value of an entry of the data, where that is known."""
        return None if self.inner is None else self.inner.data_range

    def shift(self) -> float | None:
        """`mu` of a schedule that is shifted by the size of the image, of the shape of one point; None for others."""
        return None if self.inner is None else self.inner.shift()


class ScoreDenoiser(BaseDenoiser):
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

    def forward(self, x: Tensor, sigma: float, step: float | None = None) -> Tensor:
        """One evaluation of the score."""
        return x + sigma**2 * self.score(x.flatten(1), sigma**2).reshape(x.shape)


class Guided(BaseDenoiser):
    """Classifier-free guidance `u + g (c - u)`; two model passes.

    The same `g` holds for the denoised point, the noise, the velocity and the score, which are affine in one another.
    """

    def __init__(self, conditioned: BaseDenoiser, unconditioned: BaseDenoiser, guidance: float) -> None:
        super().__init__()
        self.conditioned, self.unconditioned, self.guidance = conditioned, unconditioned, guidance
        self.shape = conditioned.shape

    @property
    def inner(self) -> BaseDenoiser:
        """The model with its condition."""
        return self.conditioned

    def forward(self, x: Tensor, sigma: float, step: float | None = None) -> Tensor:
        """Both, and the line through them."""
        u = self.unconditioned(x, sigma, step)
        guided: Tensor = u + self.guidance * (self.conditioned(x, sigma, step) - u)
        return guided


def same_shape(output: Any, x: Tensor, name: str, what: str = "a denoised point") -> Tensor:
    """`output` when it has the shape of the point `x`, or an `InputError`."""
    if not isinstance(output, Tensor) or output.shape != x.shape:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{what} has the shape of its point: {tuple(x.shape)} expected from {name!r}, got {got}; "
            "return one number for each entry of the input"
        )
    return output
