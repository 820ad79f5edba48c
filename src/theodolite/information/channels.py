"""Noise conventions: from variance-preserving, flow-matching and other channels to the variance `t`, and back.

Everything in this room is computed for `x_t = x_0 + sqrt(t) eps` with `t` a variance (variance exploding). A channel
`x_tau = alpha(tau) x_0 + s(tau) eps` holds the same information at `t = (s / alpha)²`, read with another scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.information.curve import InformationCurve

__all__ = ["Channel", "ChannelCurve", "flow_matching", "variance_exploding", "variance_preserving"]

_Times = Tensor | Sequence[float] | float


@dataclass(frozen=True)
class ChannelCurve:
    """An `InformationCurve` in the units of a channel; one entry a time in each estimate.

    Attributes:
        tau: times of the channel, `(T,)`.
        mmse: error of the best estimate of `x_0`, which no convention changes.
        fi: `E|grad log p_tau|² = J(t) / alpha²`.
        fir: `E||Hess log p_tau||² = F(t) / alpha⁴`.
        rate: `dMMSE/dtau = (dt/dtau) dMMSE/dt`.
    """

    tau: Tensor
    mmse: Estimate
    fi: Estimate
    fir: Estimate
    rate: Estimate


@dataclass(frozen=True)
class Channel:
    """`x_tau = alpha x_0 + s eps` at times `tau`; `(T,)` float64 each.

    Attributes:
        tau: times.
        alpha: scale of the data, positive.
        noise: standard deviation `s` of the noise, positive.
        speed: `dt/dtau` of the variance `t = (s / alpha)²`.
    """

    tau: Tensor
    alpha: Tensor
    noise: Tensor
    speed: Tensor

    @property
    def t(self) -> Tensor:
        """The variance `(s / alpha)²` at which to ask `information`."""
        return (self.noise / self.alpha).square()

    def read(self, curve: InformationCurve) -> ChannelCurve:
        """A curve measured at `self.t`, in the units of the channel.

        A time that runs from noise to data (speed below zero) has a negative rate.

        Raises:
            InputError: a curve at other variances.
        """
        t = curve.t.detach().double().cpu()
        if t.shape != self.t.shape or not torch.allclose(t, self.t, rtol=1e-5):
            raise InputError(
                f"a curve at the variances of the channel expected, {self.t.tolist()}, got {t.tolist()}; "
                "measure it at `channel.t`"
            )
        fi, fir = curve.fi.scaled(self.alpha.pow(-2)), curve.fir.scaled(self.alpha.pow(-4))
        return ChannelCurve(self.tau, curve.mmse.scaled(1.0), fi, fir, curve.rate.scaled(self.speed))


def variance_exploding(sigma: _Times) -> Channel:
    """`x_sigma = x_0 + sigma eps`: `t = sigma²`, `dt/dsigma = 2 sigma`.

    Example:
        >>> variance_exploding([2.0]).t
        tensor([4.], dtype=torch.float64)
    """
    tau = _times(sigma, "sigma", torch.inf)
    return Channel(tau, torch.ones_like(tau), tau, 2 * tau)


def variance_preserving(alpha_bar: _Times) -> Channel:
    """`x = sqrt(a) x_0 + sqrt(1 - a) eps` by `a` in (0, 1): `t = (1 - a) / a`, `dt/da = -1 / a²`.

    Example:
        >>> round(variance_preserving([0.64]).t.item(), 10)
        0.5625
    """
    tau = _times(alpha_bar, "alpha_bar", 1.0)
    return Channel(tau, tau.sqrt(), (1 - tau).sqrt(), -1 / tau.square())


def flow_matching(tau: _Times) -> Channel:
    """`x_tau = (1 - tau) x_0 + tau eps` for `tau` in (0, 1): `t = tau² / (1 - tau)²`, `dt/dtau = 2 tau / (1 - tau)³`.

    Example:
        >>> flow_matching([0.5]).t
        tensor([1.], dtype=torch.float64)
    """
    tau = _times(tau, "tau", 1.0)
    return Channel(tau, 1 - tau, tau, 2 * tau / (1 - tau).pow(3))


def _times(values: _Times, name: str, end: float) -> Tensor:
    times = torch.as_tensor(values, dtype=torch.float64).detach().cpu().reshape(-1)
    if times.numel() == 0 or not bool((torch.isfinite(times) & (times > 0) & (times < end)).all()):
        raise InputError(f"`{name}` expected between 0 and {end:g}, both excluded, got {times.tolist()}")
    return times
