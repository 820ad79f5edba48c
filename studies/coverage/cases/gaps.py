"""Latents that are Gaussian, as are the images: how either gives way to noise is known at every level.

The truth of a curve is `sum s t / (s + t)` and its kin at the levels of the grid; that of the gap is the same sum over
steps of noise, `1/2 sum |Δ_k|`, as the library defines it. An order of two models has the probability that a hundred
times as many resamples give.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cases.information import stream
from studies.coverage.cells import Answer, Answers, Cell
from theodolite.diffusability import Ranked, Ranking, Space, diffusability
from theodolite.diffusability.affine import unexplained
from theodolite.diffusability.cross_fitting import checked_effort
from theodolite.diffusability.gap import contrasted
from theodolite.diffusability.measured import checked_groups, measured_space, noise_grid
from theodolite.diffusability.quality import reconstruction, reconstruction_error
from theodolite.estimates import Resamples
from theodolite.maps import Autoencoder

ROOM = "diffusability"

_FEW = "of few groups the share is known better than the held-out one, whose error it states."

_BOUND = "a denoiser made of other samples answers worse than the best one, by an amount that is bounded, not drawn."


def cells() -> Iterator[Cell]:
    """Gaps of clouds, affine maps between latents, reconstructions, and orders of models."""
    for regime, sources, each in (
        ("projection", 12, 1),
        ("projection", 40, 1),
        ("projection", 200, 1),
        ("projection", 20, 5),
        ("isometry", 40, 1),
    ):
        name = f"Gaussian images, {regime} to latents" + (f", {each} of a source" if each > 1 else "")
        yield Cell(ROOM, name, sources, "budget=quick", partial(of_gaussians, regime, sources, each), _BOUND)
    for sources, each in ((12, 1), (40, 1), (20, 5)):
        name = "Gaussian images, two projections" + (f", {each} of a source" if each > 1 else "")
        yield Cell(ROOM, name, sources, "budget=quick", partial(of_two, sources, each), _BOUND)
    for groups, each in ((4, 4), (12, 1), (12, 4), (100, 1), (100, 4)):
        name = "linear latents with noise" + (f", {each} of a source" if each > 1 else "")
        reason = _FEW if groups < 10 else ""
        yield Cell(ROOM, name, groups, "affine fits", partial(of_maps, groups, each), reason)
    for groups, each in ((2, 1), (5, 4), (12, 1), (50, 1)):
        name = "errors over two decades" + (f", {each} of a source" if each > 1 else "")
        yield Cell(ROOM, name, groups, "reconstruction", partial(of_reconstructions, groups, each))
    for groups in (4, 20, 100):
        yield Cell(ROOM, "two models with scattered losses", groups, "ranking", partial(of_order, groups))


def of_gaussians(regime: str, sources: int, each: int, seed: int) -> Answers:
    """Images in six dimensions; latents are the first three along their axes, stretched, or all of them, turned."""
    draws = stream(seed)
    images, variances, groups = _images(sources, each, draws)
    if regime == "projection":
        stretch = torch.randn(3, generator=draws, dtype=torch.float64).exp()
        latents, spread = images[:, :3] * stretch.sqrt(), variances[:3] * stretch
    else:
        latents, spread = (
            7 * images @ torch.linalg.qr(torch.randn(6, 6, generator=draws, dtype=torch.float64)).Q,
            variances,
        )
    whole = diffusability(latents.float(), images.float(), groups, budget="quick", seed=seed)
    tau = noise_grid(latents.shape[1], 6)
    truth, of_images = curves(spread, tau), curves(variances, tau)["resolved"]
    gap, shift = _gap(truth["resolved"], of_images), _shift(truth["resolved"], of_images, tau)
    answers = {"gap": Answer(whole, gap, 1.0), "gap.gaussian": Answer(whole["gaussian"], gap, 1.0)}
    answers["gap.shift"] = Answer(whole["shift"], shift, 1.0)
    for name, values in truth.items():
        answers[f"curve.{name}"] = Answer(whole[f"latents/{name}"], values, float(values.abs().max()))
    return answers


def of_two(sources: int, each: int, seed: int) -> Answers:
    """The first three and the last four of six axes, each stretched: two spaces that share an axis, and the images."""
    draws = stream(seed)
    images, variances, groups = _images(sources, each, draws)
    names, index = checked_groups(groups)
    tau, effort = noise_grid(6), checked_effort("quick")
    spaces, resolved = [], []
    for name, axes in (("first", slice(0, 3)), ("second", slice(2, 6)), ("images", slice(0, 6))):
        own = torch.ones(6, dtype=torch.float64)[axes]
        stretch = own if name == "images" else torch.randn(len(own), generator=draws, dtype=torch.float64).exp()
        cloud = (images[:, axes] * stretch.sqrt()).float()
        spaces.append(measured_space(name, cloud, names, index, tau, effort, seed))
        resolved.append(curves(variances[axes] * stretch, tau)["resolved"])
    numbers = contrasted(*spaces, Resamples(len(names), effort.resamples, seed))
    first, second, of_images = resolved
    gap = _gap(second, of_images) - _gap(first, of_images)
    shift = _shift(second, of_images, tau) - _shift(first, of_images, tau)
    return {
        "difference.gap": Answer(numbers["gap"][2], gap, 1.0),
        "difference.shift": Answer(numbers["shift"][2], shift, 1.0),
        "difference.resolved": Answer(numbers["resolved"][2], second - first, 1.0),
    }


def _images(sources: int, each: int, draws: torch.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Images in six dimensions with their variances and sources; those of one source share half of theirs."""
    variances = torch.randn(6, generator=draws, dtype=torch.float64).exp()
    shared, own = (torch.randn(count, 6, generator=draws, dtype=torch.float64) for count in (sources, sources * each))
    images = shared.repeat_interleave(each, 0) + own if each > 1 else own
    groups = [f"{source:04d}" for source in range(sources) for _ in range(each)]
    return images * (variances / (2 if each > 1 else 1)).sqrt(), variances, groups


def _gap(resolved: Tensor, of_images: Tensor) -> float:
    rises = [torch.cat([own.new_zeros(1), 1 - own, own.new_ones(1)]).diff() for own in (resolved, of_images)]
    return float((rises[0] - rises[1]).abs().sum() / 2)


def _shift(resolved: Tensor, of_images: Tensor, tau: Tensor) -> float:
    return float(torch.trapezoid(resolved - of_images, tau.log10()))


def curves(variances: Tensor, tau: Tensor) -> dict[str, Tensor]:
    """The curves of a Gaussian at noise that is a share of its whole variance."""
    m, V = len(variances), variances.sum()
    t = (tau * V)[:, None]
    left = (variances * t / (variances + t)).sum(-1)
    slope = (variances / (variances + t)).square().sum(-1)
    resolved = (variances.square() / (variances + t)).sum(-1) / V
    scale = m / V
    return {
        "mmse": scale * left,
        "a": left / (m * t[:, 0]),
        "r": slope / m,
        "b": (t / (variances + t)).square().sum(-1) / m,
        "fi": (1 / (variances + t)).sum(-1) / scale,
        "fir": (variances + t).pow(-2).sum(-1) / scale**2,
        "local_dimension": left / t[:, 0],
        "resolved": resolved,
        "share": slope * tau,
    }


def of_maps(groups: int, each: int, seed: int) -> Answers:
    """Three channels, a random matrix of them and noise; those of one source share half of their variance."""
    draws = stream(seed)
    B, root = (torch.randn(3, 3, generator=draws, dtype=torch.float64) for _ in range(2))
    noise = torch.rand((), generator=draws, dtype=torch.float64) * 2
    n = groups * each

    def scattered() -> Tensor:
        own = torch.randn(n, 3, generator=draws, dtype=torch.float64)
        if each == 1:
            return own
        shared = torch.randn(groups, 3, generator=draws, dtype=torch.float64).repeat_interleave(each, 0)
        return (own + shared) / 2**0.5

    X = scattered() @ root.T
    Y = X @ B + noise * scattered()
    fits = unexplained(X, Y, [index // each for index in range(n)])
    S = root @ root.T
    xy, yy = S @ B, B.T @ S @ B + noise.square() * torch.eye(3, dtype=torch.float64)
    scale = xy.trace() / S.trace()
    left = {
        "identity": (yy - xy - xy.T + S).diagonal(),
        "scale": (yy - scale * (xy + xy.T) + scale**2 * S).diagonal(),
        "channelwise": yy.diagonal() - xy.diagonal().square() / S.diagonal(),
        "affine": noise.square().expand(3),
    }
    return {
        f"unexplained.{name}": Answer(
            fits[name], torch.cat([own.sum()[None] / yy.trace(), own / yy.diagonal()]), scale=1.0
        )
        for name, own in left.items()
    }


def of_reconstructions(groups: int, each: int, seed: int) -> Answers:
    """Black images that come back with an offset, whose logarithm is uniform over two decades."""
    draws = stream(seed)
    shared = torch.rand(groups, generator=draws, dtype=torch.float64).repeat_interleave(each)
    u = (shared + torch.rand(groups * each, generator=draws, dtype=torch.float64)) / 2 if each > 1 else shared
    offset = 10 ** (-2 * u)
    images, latents = torch.zeros(len(u), 1, 8, 8), offset.float()[:, None, None, None]
    pair = Autoencoder(
        lambda x: x[:, :, :1, :1],
        lambda z: z.expand(-1, 1, 8, 8),
        name="offset",
        latent_shape=(1, 1, 1),
        image_channels=1,
    )
    quality = reconstruction(pair, images, latents, [index // each for index in range(len(u))])
    each_image = reconstruction_error(images, latents.expand(-1, 1, 8, 8))
    grid = torch.linspace(0, 1, 20001, dtype=torch.float64)
    weights = (1 - (2 * grid - 1).abs()) if each > 1 else torch.ones_like(grid)
    weights[[0, -1]] /= 2
    dark = (0.01 * 2) ** 2
    ssim = dark / (10 ** (-4 * grid) + dark)  # of constant images, one of them nought
    return {
        "psnr": Answer(quality["psnr"], 20 * float(torch.tensor(2.0).log10()) + 20.0),
        "ssim": Answer(quality["ssim"], float((weights * ssim).sum() / weights.sum())),
        "image.psnr": Answer(each_image["psnr"], 20 * (2 / offset.float().double()).log10()),
        "image.rmse": Answer(each_image["rmse"], offset.float().double()),
    }


def of_order(groups: int, seed: int) -> Answers:
    """Losses of two models that scatter over sources around curves a little apart, and the images'."""
    draws = stream(seed)
    tau = noise_grid(4)
    base, first, second = (torch.randn(3, 4, generator=draws, dtype=torch.float64) * 0.3).exp()
    centres = [curves(base * own, tau)["mmse"] for own in (torch.ones(4, dtype=torch.float64), first, second)]
    scatter = torch.randn(3, groups, generator=draws, dtype=torch.float64)
    spaces = [_space(name, tau, *pair) for name, *pair in zip(("images", "a", "b"), centres, scatter)]
    few, many = (
        Ranking.of(spaces[0], [Ranked(space.name, space) for space in spaces[1:]], Resamples(groups, count, seed))
        for count in (100, 10_000)
    )
    return {
        "order_probability": Answer(few.order(0, 1), float(many.probability[0, 1]), 1.0),
        "order_probability.reverse": Answer(few.order(1, 0), float(many.probability[1, 0]), 1.0),
    }


def _space(name: str, tau: Tensor, loss: Tensor, scatter: Tensor) -> Space:
    each = (loss[:, None] * (0.1 * scatter).exp())[None]
    return Space(
        name=name,
        shape=(4,),
        scale=1.0,
        groups=tuple(f"{index:04d}" for index in range(len(scatter))),
        counts=(1,) * len(scatter),
        tau=tau,
        candidates=("Gaussian",),
        loss=each,
        rate=torch.full_like(each, torch.nan),
        calibration=torch.full_like(each, torch.nan),
        spread=torch.full((len(scatter),), 4.0, dtype=torch.float64),
    )
