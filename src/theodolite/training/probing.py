"""`probe`: what a latent space looks like to a denoiser, once an epoch, in any training loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from theodolite.diffusability import penalties
from theodolite.diffusability.penalty_table import filled_dimension
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.loggers import Logger, lasting
from theodolite.maps.autoencoders import Autoencoder
from theodolite.maps.outputs import mean_of
from theodolite.scores.clouds import checked_cloud, checked_levels
from theodolite.training.reservoir import FEWEST, QUANTITIES, Scoring, curve, distinct, sample

__all__ = ["LEVELS", "check_images", "probe", "scalars", "send"]

LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Noise variances of normalised latents that are asked about by default."""

_ENCODED = 256
"""Images encoded at once."""

_COVARIANCE = 512
"""Latents whose covariance is taken."""

_SHOWN = 8
"""Images that are shown beside their reconstructions."""

_WHOLE = 256
"""Latent dimensions up to which a probe forms Jacobians: a training does not wait for thousands of passes an image."""

_DEPTH = 6
"""Least-squares steps where Jacobians are too large to be formed."""


def probe(
    model: Autoencoder | nn.Module,
    images: Tensor,
    step: int,
    *,
    log: Any = None,
    t: Tensor | Sequence[float] | float = LEVELS,
    score: Scoring | None = None,
    bent: int = 8,
    prefix: str = "theodolite",
    seed: int = 0,
) -> dict[str, Estimate]:
    """Fisher information, its rate, the MMSE rate and the penalties of an autoencoder, cheap enough for every epoch.

    All are free of the scale of latents, so that epochs compare:

    - `mmse`, `fi`, `fir`, `rate`: of the latents of all images, normalised to `E|z - mean|² = m`, one value a noise
      variance (see `theodolite.information.information`); NaN where the score refuses.
    - `filled_dimension`: `(tr S)² / tr S²` of the latents' covariance, at most `m`.
    - `compression` `(D - m) / D`, `distortion`, `encoder_curvature` (divided by the stretch) and `data_curvature`, of
      the first `bent` images (see `theodolite.diffusability.penalties`).

    The same images and seed give the same split, noise and probes at every epoch: differences between epochs are more
    certain than the errors of each say. The model is measured in eval mode; the mode of every module, gradients,
    `requires_grad`, the state of torch's random numbers and grad or inference mode are left as they were found.

    Args:
        model: an `Autoencoder`, or a module with `encode` (images to latents, `(mean, ...)` or what diffusers returns)
            and `decode`. One wrapped for distributed training has them inside (`.module`).
        images: `(n, channels, height, width)` in [-1, 1]; a few hundred to a few thousand, always the same.
        step: what the values are logged under.
        log: ``tensorboard:FOLDER``, ``wandb:PROJECT`` or ``trackio:PROJECT``, opened once and closed when the process
            ends; a TensorBoard `SummaryWriter` or a run of W&B or trackio; anything with `add_scalar(tag, value,
            step)`; or anything with `log(dict)`, or a function of a dict, which then holds `PREFIX/step` too. NaN is
            not sent. Who takes tables, figures and pictures gets every number with its error, curves over noise and
            eight reconstructions.
        t: noise variances of normalised latents.
        score: what makes a score of normalised reference latents, or a score for the latents as they are; by default
            the empirical mixture, which in more than a few dimensions holds for large `t` only.
        bent: images whose penalties are taken; 0 for none.
        prefix: what tags begin with.
        seed: of noise and probes.

    Returns:
        An `Estimate` under each name. Cost: one encoder pass an image; up to 256 latent dimensions `2 m + 5 k` passes
        for each of the `bent` images (`k = m (m + 1) / 2` up to 66, then 4), above that about 70.

    Raises:
        InputError: a model without encode and decode, images it does not take, fewer than eight different ones, a level
            that is not positive, NaN in the latents, latents that do not vary, a `log` that takes nothing.

    Example:
        >>> from theodolite.zoo import load_autoencoder
        >>> images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
        >>> found = probe(load_autoencoder("digits"), images, 0, t=30.0)
        >>> sorted(found)[:4], found["compression"].value.item()
        (['compression', 'data_curvature', 'distortion', 'encoder_curvature'], 0.875)
    """
    levels = checked_levels(t)
    _check(model, images, bent)
    logger = lasting(log)
    pictures = None
    with _undisturbed(model):
        autoencoder = model if isinstance(model, Autoencoder) else _autoencoder(model, images)
        latents = _encoded(autoencoder, images)
        estimates = curve(latents, levels, score, seed)
        estimates["filled_dimension"] = filled_dimension(latents[:_COVARIANCE])
        if bent:
            estimates |= _penalties(autoencoder, images[:bent], seed)
        if logger is not None and logger.takes_media:
            pictures = _reconstructions(autoencoder, images)
    if logger is not None:
        send(logger, estimates, levels.tolist(), step, prefix)
        if pictures is not None:
            caption = f"images above, reconstructions below, step {step}"
            logger.image(f"{prefix}/reconstructions", pictures.numpy(), caption, step)
        logger.flush()
    return estimates


def _encoded(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """Different latents of the images, `(n, m)`, in an order that depends on the images only."""
    autoencoder.check_images(images)
    rows = sample(images.flatten(1), len(images))
    if len(rows) < FEWEST:
        raise InputError(f"at least {FEWEST} different images expected, got {len(rows)}; give more")
    images = rows.unflatten(1, images.shape[1:])
    with torch.no_grad():
        latents = torch.cat([autoencoder.encode(part).flatten(1) for part in images.split(_ENCODED)])
    return distinct(checked_cloud(latents if latents.dtype == torch.float64 else latents.float()))


def _penalties(autoencoder: Autoencoder, images: Tensor, seed: int) -> dict[str, Estimate]:
    with torch.no_grad():
        small = autoencoder.encode(images[:1]).numel() <= _WHOLE
    dense = None if small else False
    measured = penalties(autoencoder, images, generator=seed, ascent=0, probes=2, depth=_DEPTH, dense=dense)
    lost, whole = measured.compression, measured.compression["image_dimension"].value
    return {
        "compression": replace(lost, value=lost.value / whole, parts={}),
        "distortion": measured.distortion,
        "encoder_curvature": measured.encoder_curvature["relative"],
        "data_curvature": measured.data_curvature,
    }


def _autoencoder(model: nn.Module, images: Tensor) -> Autoencoder:
    """The module as an `Autoencoder` of images of this size."""
    weight = next(model.parameters(), images)
    with torch.no_grad():
        latent = mean_of(model.encode(images[:1].to(weight)))  # type: ignore[operator]
    return Autoencoder(
        model.encode,  # type: ignore[arg-type]
        model.decode,  # type: ignore[arg-type]
        name=type(model).__name__,
        latent_shape=tuple(latent.shape[1:]),
        image_channels=images.shape[1],
        image_size=(images.shape[2], images.shape[3]),
    )


@contextmanager
def _undisturbed(model: Autoencoder | nn.Module) -> Iterator[None]:
    """Eval mode without gradients of weights, in full precision; everything as it was on exit."""
    roots = nn.ModuleList(model.modules if isinstance(model, Autoencoder) else [model])
    modes = [(module, module.training) for root in roots for module in root.modules()]
    wanted = [(weight, weight.requires_grad) for weight in roots.parameters()]
    device = next((weight.device for weight, _ in wanted), torch.device("cpu"))
    try:
        for module, _ in modes:
            module.training = False
        for weight, _ in wanted:
            weight.requires_grad_(False)
        cuda = [device] if device.type == "cuda" else []
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng(cuda),
        ):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, trained in wanted:
            weight.requires_grad_(trained)


def _check(model: Autoencoder | nn.Module, images: Tensor, bent: int) -> None:
    has_both = isinstance(model, nn.Module) and hasattr(model, "encode") and hasattr(model, "decode")
    if not isinstance(model, Autoencoder) and not has_both:
        raise InputError(
            f"an Autoencoder or a module with `encode` and `decode` expected, got {type(model).__name__}; of a wrapper "
            "give what is inside (`.module`)"
        )
    check_images(images)
    if isinstance(bent, bool) or not isinstance(bent, int) or bent < 0 or bent == 1:
        raise InputError(f"`bent` expected 0 or a whole number of at least two images, got {bent!r}")


def check_images(images: Tensor) -> None:
    """Raise `InputError` unless `images` is a batch `(n, channels, height, width)` of single or double precision."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.dtype not in (torch.float32, torch.float64):
        got = f"{tuple(images.shape)} {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"`images` expected to be (n, channels, height, width), float32 or float64, got {got}")


def scalars(estimates: Mapping[str, Estimate], levels: Sequence[float], prefix: str) -> dict[str, float]:
    """Finite values under `PREFIX/NAME` or `PREFIX/NAME/t=LEVEL`, and their errors under the same with ``/stderr``."""
    tagged = {}
    for name, estimate in estimates.items():
        suffixes = [""] if len(estimate.value) == 1 and name not in QUANTITIES else [f"/t={t:g}" for t in levels]
        for suffix, value, error in zip(suffixes, estimate.value.tolist(), estimate.stderr.tolist()):
            tagged[f"{prefix}/{name}{suffix}"] = value
            tagged[f"{prefix}/{name}{suffix}/stderr"] = error
    return {tag: value for tag, value in tagged.items() if math.isfinite(value)}


def send(logger: Logger, estimates: Mapping[str, Estimate], levels: Sequence[float], step: int, prefix: str) -> None:
    """Give scalars to a logger, and to one that takes more a table of every number, and figures over levels."""
    logger.scalars(scalars(estimates, levels, prefix), step, f"{prefix}/step")
    if not logger.takes_media:
        return
    logger.table(f"{prefix}/numbers", *_table(estimates, levels), step)
    for name in (name for name in QUANTITIES if name in estimates and _can_draw(estimates[name])):
        logger.figure(f"{prefix}/{name}", estimates[name].plot(title=name), step)


def _table(
    estimates: Mapping[str, Estimate], levels: Sequence[float]
) -> tuple[Sequence[str], list[list[float | str | None]]]:
    rows: list[list[float | str | None]] = []
    for name, estimate in estimates.items():
        places: Sequence[float | None] = levels if name in QUANTITIES else [None]
        for place, t in enumerate(places):
            own = estimate.entry(place)
            numbers = (own[key] if math.isfinite(own[key]) else None for key in ("value", "stderr"))
            rows.append([name, t, *numbers, own["status"]])
    return ("quantity", "t", "value", "stderr", "status"), rows


def _can_draw(estimate: Estimate) -> bool:
    return find_spec("plotly") is not None and bool(estimate.is_number().any())


def _reconstructions(autoencoder: Autoencoder, images: Tensor) -> Tensor:
    """The first images above their reconstructions, as one picture `(height, width, 3)` of 8 bits."""
    shown = images[:_SHOWN]
    with torch.no_grad():
        again = autoencoder.decode(autoencoder.encode(shown)).to(shown)
    rows = [torch.cat([*part.clamp(-1, 1)], dim=2) for part in (shown, again)]
    grid = ((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().cpu().permute(1, 2, 0)
    return grid.expand(-1, -1, 3) if grid.shape[2] == 1 else grid[..., :3]
