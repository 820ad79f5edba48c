"""Clouds of latents whose Fisher information is known at every noise level, read by scores of several kinds.

The truth is a closed form: of Gaussians, of spheres, of a ripple by quadrature and of mixtures by a lattice, all
without sampling (`theodolite.information.closed_forms`, which `information_forms` has beside dense sums). A mixture in
many dimensions is one on a line, times a Gaussian, turned by a random rotation: information of independent parts adds
up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from theodolite.information import (
    InformationCurve,
    gaussian_information,
    information,
    mixture_information,
    ripple_information,
    sphere_information,
)
from theodolite.scores import (
    FunctionScore,
    GaussianMixtureScore,
    GaussianScore,
    MixtureScore,
    PatchMixtureScore,
    ScoreSource,
    WienerScore,
)

ROOM = "information"

_LEVELS = 4
"""Noise levels a draw, of which one is kept."""

_BOUND_BY_SCORE = (
    "a bound that no error of the score can break is wider by what the score lacks, and a width of twice the sampling "
    "error is more than a mean needs."
)


@dataclass(frozen=True)
class Law:
    """A law of latents with its answers.

    Attributes:
        sample: `n` latents `(n, D)` from a stream.
        score: its own score.
        truth: `mmse, fi, fir, rate` at levels `(T,)`, `(4, T)`.
        variances: eigenvalues of its covariance, `(D,)`.
        levels: noise variances that tell something of it, `(T,)`.
    """

    sample: Callable[[int, torch.Generator], Tensor]
    score: ScoreSource
    truth: Callable[[Tensor], Tensor]
    variances: Tensor
    levels: Tensor


def log_uniform(low: float, high: float, size: int, draws: torch.Generator) -> Tensor:
    """Numbers whose logarithms are uniform, in order."""
    share = torch.rand(size, generator=draws, dtype=torch.float64)
    return (math.log(low) + share * math.log(high / low)).exp().sort().values


def four(curve: InformationCurve) -> Tensor:
    """`mmse, fi, fir, rate` of a closed form."""
    return torch.stack([part.value for part in (curve.mmse, curve.fi, curve.fir, curve.rate)])


def gaussian(D: int, draws: torch.Generator, *, spread: float = 1.0) -> Law:
    """A Gaussian with log-normal variances along random axes."""
    variances = (spread * torch.randn(D, generator=draws, dtype=torch.float64)).exp()
    axes = torch.linalg.qr(torch.randn(D, D, generator=draws, dtype=torch.float64)).Q
    mean = torch.randn(D, generator=draws, dtype=torch.float64)
    score = GaussianScore(mean, axes * variances @ axes.T, exact=True)
    levels = log_uniform(1e-2, 1e2, _LEVELS, draws)
    return Law(score.sample, score, lambda t: four(gaussian_information(variances, t)), variances, levels)


def sheet(D: int, draws: torch.Generator) -> Law:
    """A Gaussian on a random subspace of a third of the dimensions."""
    variances = torch.zeros(D, dtype=torch.float64)
    filled = max(1, D // 3)
    variances[:filled] = torch.randn(filled, generator=draws, dtype=torch.float64).exp()
    axes = torch.linalg.qr(torch.randn(D, D, generator=draws, dtype=torch.float64)).Q
    score = GaussianScore(torch.zeros(D, dtype=torch.float64), axes * variances @ axes.T, exact=True)
    levels = log_uniform(1e-3, 1e1, _LEVELS, draws)
    return Law(score.sample, score, lambda t: four(gaussian_information(variances, t)), variances, levels)


def mixture(D: int, draws: torch.Generator, *, rare: float = 0.0) -> Law:
    """Two to four Gaussians a few widths apart on a line or plane, times a Gaussian, turned; one is `rare`."""
    flat, K = D if D <= 2 else 1, int(torch.randint(2, 5, (), generator=draws))
    weights = 0.2 + torch.rand(K, generator=draws, dtype=torch.float64)
    if rare:
        weights[0] = rare * float(weights[1:].sum())
    means = 2 * torch.randn(K, flat, generator=draws, dtype=torch.float64)
    own = 0.05 + 0.3 * torch.rand(K, flat, generator=draws, dtype=torch.float64)
    plane = GaussianMixtureScore(weights, means, own)
    beside = torch.randn(D - flat, generator=draws, dtype=torch.float64).exp()
    axes = torch.linalg.qr(torch.randn(D, D, generator=draws, dtype=torch.float64)).Q
    centres = torch.cat([means, torch.zeros(K, D - flat, dtype=torch.float64)], 1) @ axes.T
    spread = torch.cat([own, beside.expand(K, -1)], 1)
    score = GaussianMixtureScore(weights, centres, axes * spread[:, None, :] @ axes.T, exact=True)
    variances = torch.linalg.eigvalsh(score.covariance())
    shares = weights / weights.sum()

    def sample(n: int, stream: torch.Generator) -> Tensor:
        component = torch.multinomial(shares, n, replacement=True, generator=stream)
        noise = torch.randn(n, D, generator=stream, dtype=torch.float64)
        return centres[component] + (spread[component].sqrt() * noise) @ axes.T

    def truth(t: Tensor) -> Tensor:
        whole = four(mixture_information(plane, t))
        return whole + four(gaussian_information(beside, t)) if len(beside) else whole

    levels = log_uniform(1e-2, 3e1, _LEVELS if flat == 1 else 2, draws)  # the lattice of a plane takes a while
    return Law(sample, score, truth, variances, levels)


def sphere(draws: torch.Generator) -> Law:
    """The uniform law on a sphere of random radius in three dimensions, whose score is `(R (coth k - 1/k) - r) / t`."""
    radius = float(log_uniform(0.3, 3.0, 1, draws))

    def score(x: Tensor, t: float) -> Tensor:
        r = x.square().sum(-1, keepdim=True).sqrt()
        kappa = radius * r / t
        return x / r * (radius * (1 / kappa.tanh() - 1 / kappa) - r) / t

    def sample(n: int, stream: torch.Generator) -> Tensor:
        x = torch.randn(n, 3, generator=stream, dtype=torch.float64)
        return radius * x / x.norm(dim=1, keepdim=True)

    own = FunctionScore(score, (3,), symmetric=True, exact=True, name="sphere")
    variances = torch.full((3,), radius**2 / 3, dtype=torch.float64)
    levels = radius**2 * log_uniform(1e-2, 3.0, _LEVELS, draws)
    return Law(sample, own, lambda t: four(sphere_information(3, t, radius)), variances, levels)


def ripple(draws: torch.Generator) -> Law:
    """A high-frequency encoder of the line; latents of one period stand for all of it."""
    delta = 0.1 + 0.7 * float(torch.rand((), generator=draws, dtype=torch.float64))
    omega = float(log_uniform(0.5, 20.0, 1, draws))
    u = torch.arange(512, dtype=torch.float64) * (2 * math.pi / 512)
    k = torch.arange(1, 96, dtype=torch.float64)
    c = (k[:, None] * (u + delta * u.sin())).cos().mean(-1)

    def score(z: Tensor, t: float) -> Tensor:
        own = c * (-0.5 * (k * omega).square() * t).exp()
        phase = z * k * omega
        p = 1 + 2 * (phase.cos() * own).sum(-1, keepdim=True)
        return -2 * (phase.sin() * own * k * omega).sum(-1, keepdim=True) / p

    def sample(n: int, stream: torch.Generator) -> Tensor:
        x = 2 * math.pi / omega * torch.rand(n, 1, generator=stream, dtype=torch.float64)
        return x + delta / omega * (omega * x).sin()

    own = FunctionScore(score, (1,), symmetric=True, exact=True, name="ripple")
    levels = log_uniform(2e-2, 2.0, _LEVELS, draws) / omega**2
    return Law(sample, own, lambda t: four(ripple_information(delta, omega, t)), torch.empty(0), levels)


LAWS: dict[str, Callable[[int, torch.Generator], Law]] = {
    "Gaussian": gaussian,
    "Gaussian, variances over ten decades": partial(gaussian, spread=5.0),
    "Gaussian on a subspace": sheet,
    "mixture of Gaussians": mixture,
    "mixture with a rare component": partial(mixture, rare=0.02),
    "sphere": lambda _, draws: sphere(draws),
    "ripple": lambda _, draws: ripple(draws),
}


def cells() -> Iterator[Cell]:
    """Every law by its own score, then by scores that were made from samples, in and out of their family."""
    for law, D, sizes in (
        ("Gaussian", 1, (8, 50, 300)),
        ("Gaussian", 8, (8, 50, 1000)),
        ("Gaussian", 64, (8, 200)),
        ("Gaussian, variances over ten decades", 8, (8, 200)),
        ("Gaussian, variances over ten decades", 64, (50,)),
        ("Gaussian on a subspace", 6, (8, 50, 300)),
        ("Gaussian on a subspace", 48, (200,)),
        ("mixture of Gaussians", 1, (12, 50, 1000)),
        ("mixture of Gaussians", 2, (50,)),
        ("mixture of Gaussians", 64, (50,)),
        ("mixture with a rare component", 1, (50, 1000)),
        ("mixture with a rare component", 16, (200,)),
        ("sphere", 3, (8, 50, 300)),
        ("ripple", 1, (50,)),
    ):
        for n in sizes:
            draw = partial(own_score, law, D, n)
            yield Cell(ROOM, f"{law}, D={D}", n, "its own score", draw, _FEW if n <= 50 else "")
    for law in ("Gaussian", "mixture of Gaussians"):
        for n in (50, 300):
            yield Cell(ROOM, f"{law}, D=8", n, "its own score, differences", partial(with_differences, law, 8, n))
    yield from _made_scores()


def _made_scores() -> Iterator[Cell]:
    for law, D, N in (
        ("Gaussian", 1, 500),
        ("Gaussian", 3, 3000),
        ("mixture of Gaussians", 1, 3000),
        ("sphere", 3, 3000),
    ):
        for n in (30, 200):
            draw = partial(by_references, law, D, N, n)
            yield Cell(ROOM, f"{law}, D={D}", n, f"mixture of {N} references", draw, _REFERENCES)
    for law, D in (("Gaussian", 8), ("mixture of Gaussians", 8), ("Gaussian on a subspace", 6), ("sphere", 3)):
        for made, n in ((16, 50), (200, 400)):
            for name, fit in (("GaussianScore.fitted", GaussianScore.fitted), ("WienerScore", WienerScore)):
                draw = partial(by_fit, law, D, fit, made, n)
                yield Cell(ROOM, f"{law}, D={D}", n, f"{name} of {made} latents", draw, _BOUND_BY_SCORE)
    for kind in ("local", "everywhere"):
        for n in (10, 40):
            draw = partial(by_patches, kind, n)
            yield Cell(ROOM, f"Gaussian field, correlated {kind}", n, "patches of 300 latents", draw, _BOUND_BY_SCORE)


_FEW = "the interval is the hull of two that hold 95 times in 100, and allows for a tail that not all laws have."

_REFERENCES = (
    "what a finite number of references adds is the expected size of an error of either sign, for the worst of the "
    "laws that it is derived for."
)


def stream(seed: int) -> torch.Generator:
    """Everything random of a draw."""
    return torch.Generator().manual_seed(seed)


def own_score(law: str, D: int, n: int, seed: int) -> Answers:
    """Latents of a law, its exact score, and everything that the curve holds."""
    draws = stream(seed)
    case = LAWS[law](D, draws)
    curve = information(case.sample(n, draws), case.levels, case.score, generator=seed)
    return answers(curve, case.truth(case.levels), case.variances, n)


def with_differences(law: str, D: int, n: int, seed: int) -> Answers:
    """R3 too, at three times the cost."""
    draws = stream(seed)
    case = LAWS[law](D, draws)
    curve = information(case.sample(n, draws), case.levels, case.score, differences=True, generator=seed)
    return {"fir.difference": Answer(curve.fir["difference"], case.truth(case.levels)[2])}


def by_references(law: str, D: int, N: int, n: int, seed: int) -> Answers:
    """The empirical mixture of `N` other latents of the law, which refuses little noise and accepts the highest."""
    draws = stream(seed)
    case = LAWS[law](D, draws)
    score = MixtureScore(case.sample(N, draws))
    levels = torch.cat([log_uniform(0.05, 5.0, 1, draws), torch.full((1,), 10.0, dtype=torch.float64)])
    levels = levels * case.variances.mean()
    return numbers(information(case.sample(n, draws), levels, score, generator=seed), case.truth(levels))


def by_fit(law: str, D: int, fit: Callable[[Tensor], ScoreSource], made: int, n: int, seed: int) -> Answers:
    """A score fitted to other latents, which is not declared exact: bounds."""
    draws = stream(seed)
    case = LAWS[law](D, draws)
    curve = information(case.sample(n, draws), case.levels, fit(case.sample(made, draws)), generator=seed)
    return bounds(curve, case.truth(case.levels))


_SIDE = 5
"""Of the feature maps that patches are cut from."""


def by_patches(kind: str, n: int, seed: int) -> Answers:
    """A stationary Gaussian field on a small grid, whose correlations fall over a drawn length or hardly fall.

    At less noise 300 maps are too few references, and the score refuses.
    """
    draws = stream(seed)
    place = torch.cartesian_prod(*(torch.arange(_SIDE, dtype=torch.float64),) * 2)
    reach = float(log_uniform(*((0.4, 1.2) if kind == "local" else (3.0, 10.0)), 1, draws))
    covariance = (-torch.cdist(place, place) / reach).exp()
    score = GaussianScore(torch.zeros(len(place), dtype=torch.float64), covariance, exact=True)
    maps = score.sample(n + 300, draws).reshape(-1, 1, _SIDE, _SIDE)
    levels = log_uniform(3.0, 30.0, _LEVELS, draws)
    curve = information(maps[:n], levels, PatchMixtureScore(maps[n:], window=3), generator=seed)
    return bounds(curve, four(gaussian_information(torch.linalg.eigvalsh(covariance), levels)))


def bounds(curve: InformationCurve, truth: Tensor) -> Answers:
    """Numbers that bound whatever the score lacks, and those that say so that they do not."""
    mmse, fi, fir, rate = truth
    return {
        "mmse": Answer(curve.mmse, mmse),
        "fi": Answer(curve.fi, fi),
        "fi.denoising": Answer(curve.fi["denoising"], fi),
        "fi.self_check": Answer(curve.fi["self_check"], 0.0, scale=float(fi.max())),
        "fi.norm": Answer(curve.fi["norm"], fi),
        "fir": Answer(curve.fir, fir),
        "rate": Answer(curve.rate, rate),
    }


def numbers(curve: InformationCurve, truth: Tensor) -> Answers:
    """The four quantities and those that are a multiple of one of them."""
    mmse, fi, fir, rate = truth
    m, t = curve.dimension, curve.t.double()
    return {
        "mmse": Answer(curve.mmse, mmse),
        "fi": Answer(curve.fi, fi),
        "fir": Answer(curve.fir, fir),
        "rate": Answer(curve.rate, rate),
        "a": Answer(curve.a, mmse / (m * t)),
        "b": Answer(curve.b, t.square() * fir / m),
        "r": Answer(curve.r, rate / m),
        "local_dimension": Answer(curve.local_dimension, mmse / t),
        "fi.norm": Answer(curve.fi["norm"], fi),
        "fi.denoising": Answer(curve.fi["denoising"], fi),
        "fir.denoising": Answer(curve.fir["denoising"], fir, scale=float((m / t.square()).max())),
    }


def answers(curve: InformationCurve, truth: Tensor, variances: Tensor, n: int) -> Answers:
    """Everything, for a score that is exact: what checks it is nought, and no error comes from it."""
    _, fi, fir, _ = truth
    size, square = float(fi.max()), float(fir.max())
    t = curve.t.double()[:, None]
    return {
        **numbers(curve, truth),
        "fi.score_error": Answer(curve.fi["score_error"], 0.0),
        "fi.self_check": Answer(curve.fi["self_check"], 0.0, scale=size),
        "fi.calibration": Answer(curve.fi["calibration"], 0.0, scale=size),
        "fi.above_bound": Answer(curve.fi["above_bound"], 0.0, scale=size),
        "fir.asymmetry": Answer(curve.fir["asymmetry"], 0.0, scale=square),
        **(excess(curve, truth, variances, t) if n > curve.dimension + 1 and len(variances) else {}),
    }


def excess(curve: InformationCurve, truth: Tensor, variances: Tensor, t: Tensor) -> Answers:
    """What the cloud has above the Gaussian with its covariance."""
    floors: Sequence[Tensor] = [(variances + t).pow(-power).sum(-1) for power in (1, 2)]
    return {
        "excess_fi": Answer(curve.excess_fi, truth[1] - floors[0], scale=float(truth[1].max())),
        "excess_fir": Answer(curve.excess_fir, truth[2] - floors[1], scale=float(truth[2].max())),
    }
