"""Fisher information and its rate as `torchmetrics.Metric` classes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.scores.clouds import checked_levels
from theodolite.training.reservoir import FEWEST, Scoring, curve, is_quantised, sample

try:
    from torchmetrics import Metric
except ImportError as error:
    raise InputError(
        'these metrics need torchmetrics, which is not installed: pip install "theodolite[training]"'
    ) from error

__all__ = ["FisherInformation", "FisherInformationRate"]


class _InformationMetric(Metric):
    """A reservoir of latents, and one quantity of their Fisher information when it is asked for."""

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    quantity: str
    symbol: str

    rows: list[Tensor]
    dimension: Tensor
    seen: Tensor

    def __init__(
        self,
        t: Tensor | Sequence[float] | float,
        *,
        score: Scoring | None = None,
        capacity: int = 4096,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(capacity, int) or capacity < FEWEST:
            raise InputError(f"`capacity` expected a whole number of at least {FEWEST}, got {capacity!r}")
        if score is not None and not callable(score) and not hasattr(score, "at_levels"):
            raise InputError(f"`score` expected a ScoreSource, or what makes one, got {type(score).__name__}")
        self.t = checked_levels(t)
        self.score, self.capacity, self.seed = score, capacity, seed
        self.estimate: Estimate | None = None
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("dimension", default=torch.tensor(0), dist_reduce_fx="max")
        self.add_state("seen", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, latents: Tensor) -> None:
        """Take in a batch of latents `(n, *latent)`, kept in the metric's dtype (`set_dtype`), on its device.

        Raises:
            InputError: no floating-point batch, not finite, or of another dimension than the ones before.
        """
        flat = self._checked(latents)
        self.dimension = torch.full_like(self.dimension, flat.shape[1])
        self.seen = self.seen + len(flat)
        self.rows = [sample(torch.cat([self.latents, flat]), self.capacity, self.seed).flatten()]

    def compute(self) -> Tensor:
        """The quantity at every level, NaN where the score refuses it: `(T,)`, or a scalar for one level.

        Its errors are in `estimate`. A warning tells the reason of NaN, and that latents are quantised: of these equal
        ones count once, so that the number is that of the values they take and not of how often they take them.

        Raises:
            InputError: fewer than eight different latents, latents that do not vary, or a score of another dimension.
        """
        latents = self.latents
        self.estimate = curve(latents, self.t, self.score, self.seed)[self.quantity]
        if is_quantised(latents):
            warnings.warn(
                "the latents take few different values, as quantised ones do, and equal latents count once: give those "
                "before the quantiser",
                UserWarning,
                stacklevel=2,
            )
        if not bool(torch.isfinite(self.estimate.value).all()):
            warnings.warn(f"{self.symbol} is NaN: {self.estimate.message}", UserWarning, stacklevel=2)
        return self.estimate.value.to(self.device)

    def forward(self, latents: Tensor) -> Any:
        """The quantity of this batch alone, which also joins the others."""
        value = super().forward(latents)
        self.rows = [self.latents.flatten()]
        return value

    @property
    def latents(self) -> Tensor:
        """The latents kept, `(n, dimension)`, `n <= capacity`."""
        width = max(1, int(self.dimension))
        parts = [self.rows] if isinstance(self.rows, Tensor) else self.rows  # one tensor after a synchronisation
        empty = torch.empty(0, dtype=self.dtype, device=self.device)
        return sample(torch.cat([empty, *parts]).reshape(-1, width), self.capacity, self.seed)

    def reset(self) -> None:
        """Forget all latents."""
        super().reset()
        self.estimate = None

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> tuple[Any, Any]:
        """Draw the quantity against `t`, with a 95 % band where it was just computed.

        Args:
            val: one result of `compute` or several, e.g. one an epoch; computed now when None.
            ax: matplotlib axes to draw on; new ones when None.

        Returns:
            The figure and the axes.

        Raises:
            InputError: matplotlib is needed and not installed.
        """
        ax = ax if ax is not None else _new_axes()
        t = self.t.tolist()
        if val is None:
            self.compute()
            assert self.estimate is not None
            low, high = self.estimate.interval()
            ax.fill_between(t, low.tolist(), high.tolist(), alpha=0.2)
            val = self.estimate.value
        for curve_values in [val] if isinstance(val, Tensor) else val:
            ax.plot(t, curve_values.reshape(-1).tolist(), marker="o")
        ax.set(xscale="log", xlabel="noise variance t", ylabel=self.symbol, title=type(self).__name__)
        return ax.get_figure(), ax

    def _checked(self, latents: Tensor) -> Tensor:
        if not isinstance(latents, Tensor) or not latents.is_floating_point():
            got = latents.dtype if isinstance(latents, Tensor) else type(latents).__name__
            raise InputError(f"`latents` expected as a floating-point tensor, got {got}; convert with `.float()`")
        if latents.ndim < 2 or latents.numel() == 0:
            raise InputError(f"`latents` expected to be (n, *latent), got {tuple(latents.shape)}")
        if not bool(torch.isfinite(latents).all()):
            raise InputError("finite `latents` expected, got NaN or infinity: check the encoder's weights")
        flat = latents.detach().flatten(1).to(self.device, self.dtype)
        if int(self.dimension) not in (0, flat.shape[1]):
            raise InputError(
                f"latents of {int(self.dimension)} dimensions expected, as before, got {flat.shape[1]}; call `reset()`"
            )
        return flat


class FisherInformation(_InformationMetric):
    """Fisher information `J(t) = E|s(x_t)|²` of latents in noise, `x_t = z + sqrt(t) eps`, over a validation epoch.

    It keeps an even sample of at most `capacity` different latents (`capacity * m` numbers), whatever their order;
    processes join their samples, and what comes out is exactly what one process would have found. `seen` counts all.
    Without a score, or with a function that makes one, latents are normalised to `E|z - mean|² = m` and split in
    references and held-out latents: values of different epochs, and of latent spaces of one dimension, compare.

    Args:
        t: noise variances, positive, `(T,)`; in units of normalised latents, or of the latents where `score` is given.
        score: a `ScoreSource` for the latents as they are; or a function of normalised references `(n, m)` that returns
            one, e.g. a trained denoiser's. By default the empirical mixture, which refuses noise levels at which too
            few references matter: more than a few dimensions need a large `t`, or a trained score.
        capacity: latents kept.
        seed: seed of the sample and of the noise, the same in all processes.
        kwargs: of `torchmetrics.Metric`.

    Attributes:
        estimate: value, standard errors and statuses of the last `compute`, with the reason where it is NaN.

    Raises:
        InputError: a level that is not positive, a capacity below eight, or what is no score; see `update`.

    Source: `theodolite.information.information`; the sample is a bottom-k sample by hashes of the latents.

    Example:
        >>> metric = FisherInformation([1.0, 3.0])
        >>> metric.update(torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)))
        >>> metric.compute().round(decimals=1)  # 2 / (1 + t)
        tensor([1.0000, 0.5000])
    """

    quantity = "fi"
    symbol = "Fisher information J"


class FisherInformationRate(_InformationMetric):
    """Fisher information rate `F(t) = E||H(x_t)||² = -dJ/dt`, `H` the score's Jacobian; see `FisherInformation`.

    Example:
        >>> metric = FisherInformationRate([1.0, 3.0])
        >>> metric.update(torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)))
        >>> metric.compute().round(decimals=1)  # 2 / (1 + t)²
        tensor([0.5000, 0.1000])
    """

    quantity = "fir"
    symbol = "Fisher information rate F"


def _new_axes() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise InputError('plots need matplotlib, which is not installed: pip install "theodolite[training]"') from error
    return pyplot.subplots()[1]
