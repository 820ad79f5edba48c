"""Closed forms of Fisher information beside sums that are written anew here, and channels beside their own formulas.

Truths, all in float64: the textbook formula for Gaussians; a trapezoid rule with a spacing far below the narrowest
width for mixtures; Gauss quadrature over the radius for spheres, with Bessel functions of SciPy; a sum of wrapped
normal laws over the points of a period for the ripple.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor

from studies.coverage.cases.information import gaussian, log_uniform, stream
from studies.coverage.cells import Answer, Answers, Cell
from theodolite.information import (
    Channel,
    InformationCurve,
    flow_matching,
    gaussian_information,
    information,
    mixture_information,
    ripple_information,
    sphere_information,
    variance_exploding,
    variance_preserving,
)
from theodolite.scores import GaussianMixtureScore

ROOM = "information"

_LATTICE = "the last change of a lattice that is halved until nothing changes is an upper bound of its error."


def cells() -> Iterator[Cell]:
    """Every closed form in its dimensions, and every channel."""
    for D in (1, 8, 64):
        yield Cell(ROOM, "Gaussian", D, "gaussian_information", partial(gaussian_form, D))
    for K in (1, 5, 60):
        yield Cell(ROOM, "mixture on a line", K, "mixture_information", partial(mixture_form, K, 1), _LATTICE)
    yield Cell(ROOM, "mixture on a plane", 3, "mixture_information", partial(mixture_form, 3, 2), _LATTICE)
    for D in (2, 3, 10, 64):
        yield Cell(ROOM, "sphere", D, "sphere_information", partial(sphere_form, D))
    yield Cell(ROOM, "ripple", 1, "ripple_information", ripple_form)
    for name in _CHANNELS:
        for n in (50, 300):
            yield Cell(ROOM, "Gaussian, D=4", n, f"channel: {name}", partial(in_channel, name, n))


def answers(curve: InformationCurve, truth: Tensor) -> Answers:
    """The four quantities beside `(4, T)`; what cancels in them has the size of the terms."""
    parts = {"mmse": curve.mmse, "fi": curve.fi, "fir": curve.fir, "rate": curve.rate}
    sizes = (curve.dimension * curve.t, truth[1], truth[2], torch.full_like(truth[3], curve.dimension))
    return {
        name: Answer(part, own, scale=float(size.max())) for (name, part), own, size in zip(parts.items(), truth, sizes)
    }


def gaussian_form(D: int, seed: int) -> Answers:
    """Variances over many decades, a third of them nought."""
    draws = stream(seed)
    s = (3 * torch.randn(D, generator=draws, dtype=torch.float64)).exp()
    s = s * (torch.rand(D, generator=draws, dtype=torch.float64) > 1 / 3)
    t = log_uniform(1e-3, 1e3, 1, draws)
    terms = (s * t / (s + t), 1 / (s + t), (s + t) ** -2.0, (s / (s + t)) ** 2)
    curve = gaussian_information(s, t)
    truth = torch.stack([term.sum() for term in terms])[:, None]
    excess = {
        "excess_fi": Answer(curve.excess_fi, 0.0, float(truth[1])),
        "excess_fir": Answer(curve.excess_fir, 0.0, float(truth[2])),
    }
    return {**answers(curve, truth), **excess}


def mixture_form(K: int, D: int, seed: int) -> Answers:
    """Gaussians and points of drawn weights and widths in one or two dimensions."""
    draws = stream(seed)
    weights = torch.rand(K, generator=draws, dtype=torch.float64) ** 3 + 1e-3
    means = 2 * torch.randn(K, D, generator=draws, dtype=torch.float64)
    own = torch.rand(K, D, generator=draws, dtype=torch.float64)
    own = own * (torch.rand(K, 1, generator=draws, dtype=torch.float64) > 0.3)
    t = float(log_uniform(0.02 if D == 1 else 0.3, 10.0, 1, draws))
    curve = mixture_information(GaussianMixtureScore(weights, means, own), [t])
    return answers(curve, lattice(weights / weights.sum(), means, own, t)[:, None])


def lattice(weights: Tensor, means: Tensor, own: Tensor, t: float) -> Tensor:
    """`mmse, fi, fir, rate` of a mixture with diagonal covariances by a trapezoid rule."""
    widths, D = own + t, means.shape[1]
    spacing, reach = (float(widths.min()) ** 0.5 / (30 if D == 1 else 12), 9 * float(widths.max()) ** 0.5)
    axes = [torch.arange(float(m.min()) - reach, float(m.max()) + reach, spacing, dtype=torch.float64) for m in means.T]
    total = torch.zeros(4, dtype=torch.float64)
    mass = 0.0
    for x in torch.cartesian_prod(*axes).reshape(-1, D).split(20000):
        away = x[:, None] - means
        log = weights.log() - (away.square() / widths + widths.log()).sum(-1) / 2
        shares, p = log.softmax(-1), log.logsumexp(-1).exp()
        g = -away / widths
        s = torch.einsum("nk,nkd->nd", shares, g)
        H = torch.einsum("nk,nkd,nke->nde", shares, g, g) - s[:, :, None] * s[:, None]
        H = H - torch.diag_embed(shares @ (1 / widths))
        gain = torch.eye(D, dtype=torch.float64) + t * H
        terms = (
            t * gain.diagonal(dim1=1, dim2=2).sum(-1),
            s.square().sum(-1),
            H.square().sum((1, 2)),
            gain.square().sum((1, 2)),
        )
        total += torch.stack([(p * term).sum() for term in terms])
        mass += float(p.sum())
    return total / mass


def sphere_form(D: int, seed: int) -> Answers:
    """A sphere of drawn radius."""
    draws = stream(seed)
    radius = float(log_uniform(0.1, 10.0, 1, draws))
    t = radius**2 * float(log_uniform(3e-3, 10.0, 1, draws)) / D**0.5
    return answers(sphere_information(D, [t], radius), radial(D, t, radius)[:, None])


def radial(D: int, t: float, R: float) -> Tensor:
    """`mmse, fi, fir, rate` by Gauss-Legendre quadrature over the radius of the noised point, in 60 panels."""
    edges = np.linspace(max(0.0, R - 14 * t**0.5), R + (14 + D**0.5) * t**0.5, 61)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    r = ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * nodes).ravel() / 2
    kappa, order = R * r / t, D / 2 - 1
    bessel = ive(order, kappa)
    log_p = (D - 1) * np.log(r) - (r - R) ** 2 / (2 * t) + np.log(np.maximum(bessel, 1e-300)) - order * np.log(kappa)
    p = np.exp(log_p - log_p.max()) * np.tile(weights, 60)
    A = ive(order + 1, kappa) / np.maximum(bessel, 1e-300)
    along = -1 / t + R**2 / t**2 * (1 - A**2 - (D - 1) * A / kappa)
    across = -1 / t + R**2 / t**2 * A / kappa
    score = (R * A - r) / t
    rate = (1 + t * along) ** 2 + (D - 1) * (1 + t * across) ** 2
    terms = (R**2 * (1 - A**2), score**2, along**2 + (D - 1) * across**2, rate)
    return torch.tensor([float((p * term).sum() / p.sum()) for term in terms], dtype=torch.float64)


def ripple_form(seed: int) -> Answers:
    """A ripple of drawn height and frequency."""
    draws = stream(seed)
    delta = 0.9 * float(torch.rand((), generator=draws, dtype=torch.float64))
    omega, level = float(log_uniform(0.3, 30.0, 1, draws)), float(log_uniform(5e-3, 3.0, 1, draws))
    t = level / omega**2
    J, F = (power * omega ** (2 * (k + 1)) for k, power in enumerate(wrapped(delta, level)))
    truth = torch.tensor([t - t**2 * J, J, F, 1 - 2 * t * J + t**2 * F], dtype=torch.float64)
    return answers(ripple_information(delta, omega, [t]), truth[:, None])


def wrapped(delta: float, level: float) -> tuple[float, float]:
    """`J` and `F` of the ripple of unit frequency, each noised point weighed by all of a few periods."""
    u = np.arange(-4 * 400, 5 * 400) * (2 * math.pi / 400)
    points = u + delta * np.sin(u)
    z = np.arange(400) * (2 * math.pi / 400)
    away = z[:, None] - points
    w = np.exp(-(away**2) / (2 * level))
    p = w.sum(1)
    s = -(w * away).sum(1) / p / level
    H = (w * away**2).sum(1) / p / level**2 - 1 / level - s**2
    return float((p * s**2).sum() / p.sum()), float((p * H**2).sum() / p.sum())


_CHANNELS: dict[str, Callable[[Tensor], Channel]] = {
    "variance exploding": lambda share: variance_exploding(0.1 + 5 * share),
    "variance preserving": lambda share: variance_preserving(0.02 + 0.96 * share),
    "flow matching": lambda share: flow_matching(0.02 + 0.96 * share),
}


def in_channel(name: str, n: int, seed: int) -> Answers:
    """A Gaussian by its own score at the times of a channel, beside the law of `alpha x_0 + s eps` itself."""
    draws = stream(seed)
    law = gaussian(4, draws)
    channel = _CHANNELS[name](torch.rand(2, generator=draws, dtype=torch.float64))
    curve = channel.read(information(law.sample(n, draws), channel.t, law.score, generator=seed))
    alpha, s = channel.alpha[:, None], channel.noise[:, None]
    whole = alpha.square() * law.variances + s.square()
    mmse = (law.variances * s.square() / whole).sum(-1)
    speed = (law.variances / (law.variances + channel.t[:, None])).square().sum(-1) * channel.speed
    return {
        "channel.mmse": Answer(curve.mmse, mmse),
        "channel.fi": Answer(curve.fi, (1 / whole).sum(-1)),
        "channel.fir": Answer(curve.fir, whole.pow(-2).sum(-1)),
        "channel.rate": Answer(curve.rate, speed),
    }
