"""How well images come back from an autoencoder, and what its encoder costs a denoiser on small crops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from theodolite.diffusability.penalties import VISIBLE, penalties
from theodolite.errors import InputError
from theodolite.estimates import Estimate, mean_over_latents
from theodolite.estimates.means import FEW_SAMPLES

if TYPE_CHECKING:
    from theodolite.maps import Autoencoder

__all__ = [
    "PENALTIES",
    "central_crop",
    "crop_side",
    "image_scores",
    "one_a_source",
    "penalties_of",
    "reconstruction",
    "reconstruction_error",
]

_DENSE = 256
"""Latent dimensions up to which penalties come from whole Jacobians."""

_STEP = 0.1
"""Standard deviation of the steps over which bending is seen, in units of the images: networks of straight pieces have
no second derivative, and bend over every finite step."""

_SSIM_WINDOW = 7
"""Side of the window of SSIM (Wang et al. 2004, as scikit-image has it); smaller images have none."""

_LEAST = 1e-12
"""Mean squared error that counts as none: float32 images of [-1, 1] differ by rounding."""

_FEWEST_GROUPS = 3
"""Sources below which a mean has no error: two that agree by chance, as SSIM near its end does, say nothing."""

_BATCH = 8
"""Images decoded at a time."""

PENALTIES = ("compression", "distortion", "encoder_curvature", "data_curvature", "log10_condition")
"""What a ranking keeps of the penalties, all free of the latents' scale (`encoder_curvature` over the mean stretch)."""


@torch.no_grad()
def reconstruction(
    autoencoder: Autoencoder, images: Tensor, latents: Tensor, groups: Sequence[int]
) -> dict[str, Estimate]:
    """PSNR in dB and, with scikit-image, SSIM of reconstructions in [-1, 1]: means over groups, errors between them.

    Args:
        autoencoder: whose decoder is asked.
        images: `(n, channels, height, width)` in [-1, 1].
        latents: of these images.
        groups: the source of each, from 0 on without gaps.
    """
    pairs = zip(images.split(_BATCH), latents.split(_BATCH))
    scores = [image_scores(part, autoencoder.decode(z).float().cpu().clamp(-1, 1)) for part, z in pairs]
    return {name: _over_groups([x for batch in scores for x in batch[name]], groups) for name in scores[0]}


def image_scores(images: Tensor, reconstructed: Tensor) -> dict[str, list[float]]:
    """PSNR in dB and, with scikit-image, SSIM of each reconstruction in [-1, 1]."""
    error = (images - reconstructed).double().square().flatten(1).mean(1).clamp_min(_LEAST)
    scores = {"psnr": (10 * (4 / error).log10()).tolist()}
    if find_spec("skimage") is not None and min(images.shape[2:]) >= _SSIM_WINDOW:
        from skimage.metrics import structural_similarity as ssim

        pairs = zip(images.numpy(), reconstructed.numpy())
        scores["ssim"] = [float(ssim(x, y, data_range=2.0, channel_axis=0)) for x, y in pairs]
    return scores


def reconstruction_error(images: Tensor, reconstructed: Tensor) -> dict[str, Estimate]:
    """`rmse = sqrt mean (x - y)²` and `psnr = 10 log10(4 / mse)` of each image in [-1, 1]; one entry an image.

    Args:
        images: `(n, channels, height, width)`.
        reconstructed: of the same shape; what leaves [-1, 1] is cut there.
    """
    error = (images.cpu() - reconstructed.cpu().clamp(-1, 1)).double().square().flatten(1).mean(1)
    psnr = 10 * (4 / error.clamp_min(_LEAST)).log10()
    return {name: Estimate(x, 0 * x, 2, len(x)) for name, x in (("rmse", error.sqrt()), ("psnr", psnr))}


def _over_groups(values: Sequence[float], groups: Sequence[int]) -> Estimate:
    members = [[x for x, own in zip(values, groups) if own == group] for group in range(max(groups) + 1)]
    means = torch.tensor([sum(own) / len(own) for own in members], dtype=torch.float64)[:, None]
    mean = mean_over_latents(means.T)
    status = mean.statuses[0] if len(means) >= _FEWEST_GROUPS else "undetermined"
    message = FEW_SAMPLES if status == "few-samples" else ""
    if len(means) < _FEWEST_GROUPS:
        message = "one difference is all that two sources tell of their spread"
    return Estimate(mean.value, mean.stderr, 2, len(means), status, message, "mean over groups", ends=mean.ends)


def one_a_source(groups: Sequence[int], most: int) -> list[int]:
    """The middle image of each of at most `most` sources: images that are independent."""
    members = [[index for index, own in enumerate(groups) if own == group] for group in range(max(groups) + 1)]
    step = max(1, math.ceil(len(members) / most))
    return [own[len(own) // 2] for own in members[::step]]


def crop_side(autoencoders: Sequence[Autoencoder], height: int, width: int) -> int | None:
    """Side of the central crop at which every latent has at most 256 dimensions; None for the whole image.

    Penalties are local; at one small size for all models they come from whole Jacobians and can be compared.
    """
    if any(model.image_size is not None or None not in model.latent_shape for model in autoencoders):
        return None
    step = math.lcm(*(model.downsampling for model in autoencoders))
    sides = [side for side in range(step, min(height, width) + 1, step) if _fits(autoencoders, side)]
    return max(sides, default=step if step <= min(height, width) else None)


def _fits(autoencoders: Sequence[Autoencoder], side: int) -> bool:
    free = ((side // model.downsampling, model.latent_shape) for model in autoencoders)
    return all(math.prod(size or own for size in shape) <= _DENSE for own, shape in free)


def central_crop(images: Tensor, side: int | None) -> Tensor:
    """The central square of `side` pixels; whole images where it is None."""
    if side is None:
        return images
    top, left = ((size - side) // 2 for size in images.shape[2:])
    return images[:, :, top : top + side, left : left + side]


def penalties_of(autoencoder: Autoencoder, images: Tensor, seed: int) -> tuple[dict[str, Estimate], str]:
    """`PENALTIES` on some images; none, and the reason, where they are refused."""
    images = images.to(autoencoder.device, autoencoder.dtype)
    try:
        measured = penalties(autoencoder, images, generator=seed, sigma=_STEP, dimension=VISIBLE)
    except InputError as error:
        return {}, f"no penalties: {error}"
    known = {
        "compression": measured.compression,
        "distortion": measured.distortion,
        "encoder_curvature": measured.encoder_curvature["relative"],
        "data_curvature": measured.data_curvature,
        **measured.distortion.parts,
    }
    return {name: known[name] for name in PENALTIES if name in known}, ""
