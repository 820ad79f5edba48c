"""A penalty lowered in training at equal reconstruction: the same small VAE, trained without and with a regulariser.

    python examples/penalised_vae.py [tangential|curvature|fir] [--weight W] [--data FOLDER] [--epochs N] [--smoke]

Both are trained from the same weights on the same batches. Prints the reconstruction quality of each on images not
trained on, and the penalty there with its error over images. `--data` as in `train_vae.py`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import vae
from theodolite.diffusability import penalties
from theodolite.estimates import student_mean
from theodolite.steering import encoder_curvature_loss, fir_loss, tangential_loss, tangents

T = 3.0
STEP = 0.5
"""Length in image space over which the encoder's bending is seen."""


@dataclass(frozen=True)
class Regulariser:
    """A loss with the weight it has by default, and how it is measured: a value and its standard error."""

    weight: float
    loss: vae.Penalty
    measure: Callable[[vae.VAE, Tensor], tuple[float, float]]
    quantity: str


def tangential(model: vae.VAE, images: Tensor, latents: Tensor, draw: torch.Generator) -> Tensor:
    return tangential_loss(model.decode, latents.detach(), generator=draw)


def curvature(model: vae.VAE, images: Tensor, latents: Tensor, draw: torch.Generator) -> Tensor:
    along = tangents(model.decode, latents, generator=draw)
    return encoder_curvature_loss(model.encode, images, generator=draw, step=STEP, directions=along)


def fir(model: vae.VAE, images: Tensor, latents: Tensor, draw: torch.Generator) -> Tensor:
    return fir_loss(latents, T, generator=draw, support=30)  # biased by about 1 % here: t is large


def over_parts(loss: vae.Penalty, parts: int) -> Callable[[vae.VAE, Tensor], tuple[float, float]]:
    """The loss on each of several parts of the images, with fresh draws; mean and standard error."""

    def measure(model: vae.VAE, images: Tensor) -> tuple[float, float]:
        draw = torch.Generator().manual_seed(7)
        found = torch.stack([loss(model, part, model.encode(part)[0], draw).detach() for part in images.chunk(parts)])
        value, error = student_mean(found)
        return float(value), float(error)

    return measure


REGULARISERS = {
    "tangential": Regulariser(0.003, tangential, over_parts(tangential, 10), "m E tr G² / (E tr G)² - 1"),
    "curvature": Regulariser(0.3, curvature, over_parts(curvature, 10), "E|Hess E(u, u)|² / E|J u|²"),
    "fir": Regulariser(0.005, fir, over_parts(fir, 4), f"(1 + t)² E||H||² / m - 1 at t = {T:g}"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("regulariser", nargs="?", choices=REGULARISERS, default="tangential")
    parser.add_argument("--weight", type=float, help="what the penalty is multiplied by in the loss")
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--latents", type=int, default=4)
    parser.add_argument("--smoke", action="store_true", help="one short epoch")
    options = parser.parse_args()
    chosen = REGULARISERS[options.regulariser]
    weight = chosen.weight if options.weight is None else options.weight
    images, held_out = vae.load(options.data, smoke=options.smoke)
    torch.manual_seed(0)
    start = vae.VAE(options.latents)
    print(f"{options.regulariser}: {chosen.quantity}, weight {weight:g}\n")
    print("| | PSNR (dB) | penalty | distortion of the encoder |")
    print("|---|---|---|---|")
    for name, penalty in (("plain", None), ("penalised", lambda *given: weight * chosen.loss(*given))):
        model = copy.deepcopy(start)
        vae.train(model, images, 1 if options.smoke else options.epochs, penalty=penalty)
        value, error = chosen.measure(model, held_out)
        quality, bent = vae.psnr(model, held_out), distortion(model, held_out[:40])
        print(f"| {name} | {quality:.2f} | {value:.3g} ± {error:.1g} | {bent} |")


def distortion(model: vae.VAE, images: Tensor) -> str:
    """What `theodolite.diffusability.penalties` says of the encoder along the data."""
    from theodolite import Autoencoder

    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    m = frozen.encode(images[:1])[0].shape[1]
    shapes = {"latent_shape": (m,), "image_channels": 1, "image_size": (vae.SIDE, vae.SIDE)}
    found = penalties(
        Autoencoder(frozen.encode, frozen.decode, name="vae", **shapes), images, generator=0, ascent=0
    ).distortion
    return f"{found.value.item():.2f} ± {found.stderr.item():.2f}"


if __name__ == "__main__":
    main()
