"""Train the zoo's autoencoders and write `NAME.safetensors` and `training.json`.

    python scripts/train_zoo.py [NAME ...] [--out FOLDER] [--seed N] [--smoke]

The data are photographs and digits inside the wheels of scikit-image and scikit-learn (the `zoo` extra). Patches that
touch the bundled images (`make_bundled_images.py`) are left out, and validation is on exactly those images. Weights are
stored in half precision and measured as stored. `--smoke` runs a few steps, to see that the script works.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from make_bundled_images import CROPS, TRAINING_PHOTOGRAPHS, digits, photograph
from theodolite.zoo.autoencoders import WEIGHTS, build_networks
from theodolite.zoo.bundled import bundled_images

SMALL, LARGE = 32, 64


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    `loss = mse + kl_weight * KL + bend_weight * bend`; `noise` is the size of the disturbance of the latents in units
    of their own standard deviation, `bend` the mean square of `D(z + d) - 2 D(z) + D(z - d)` under that disturbance.
    """

    steps: int
    batch: int = 32
    rate: float = 2e-3
    kl_weight: float = 0.0
    noise: float = 0.0
    bend_weight: float = 0.0


RECIPES = {
    "digits": Recipe(steps=6000, batch=128, noise=0.1),
    "patches-plain": Recipe(steps=5500),
    "patches-kl": Recipe(steps=5500, kl_weight=2e-3),
    "patches-smooth": Recipe(steps=4000, batch=16, noise=0.2, bend_weight=0.5),
}


def digit_patches(held_out: bool) -> Tensor:
    grey, _, is_held_out = digits()
    return torch.from_numpy(grey[is_held_out == held_out])[:, None]


def photograph_patches(count: int, generator: torch.Generator) -> Tensor:
    """`count` random patches `(3, 64, 64)` a photograph, half of them from the photograph at half its size."""
    patches = []
    for name in TRAINING_PHOTOGRAPHS:
        pixels = np.asarray(photograph(name))
        forbidden = [crop.box for crop in CROPS if crop.photograph == name]
        patches += [_random_patch(pixels, forbidden, 1 + index % 2, generator) for index in range(count)]
    return torch.stack(patches)


def _random_patch(
    pixels: np.ndarray, forbidden: list[tuple[int, int, int, int]], shrink: int, generator: torch.Generator
) -> Tensor:
    side = LARGE * shrink
    while True:
        top = int(torch.randint(pixels.shape[0] - side, (), generator=generator))
        left = int(torch.randint(pixels.shape[1] - side, (), generator=generator))
        if not any(left < r and left + side > x and top < b and top + side > y for x, y, r, b in forbidden):
            square = Image.fromarray(pixels[top : top + side, left : left + side]).reduce(shrink)
            return torch.from_numpy(np.array(square)).permute(2, 0, 1)


def training_images(name: str, seed: int, smoke: bool) -> Tensor:
    if name == "digits":
        return digit_patches(held_out=False)
    return photograph_patches(20 if smoke else 1500, torch.Generator().manual_seed(seed))


def validation_images(name: str) -> dict[int, Tensor]:
    """What is held out, by the side of the images: digits, or the bundled photographs in quarters and whole."""
    if name == "digits":
        return {8: digit_patches(held_out=True)}
    files = sorted(bundled_images().glob("*.png"))
    whole = torch.stack([torch.from_numpy(np.array(Image.open(file))) for file in files]).permute(0, 3, 1, 2)
    quarters = [square for row in whole.split(SMALL, dim=2) for square in row.split(SMALL, dim=3)]
    return {SMALL: torch.cat(quarters), LARGE: whole}


def to_signal(images: Tensor) -> Tensor:
    """Bytes to the models' range [-1, 1]."""
    return images.float() / 127.5 - 1


def draw(bank: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    """A batch of digits as they are, or of photographs cut and turned at random."""
    images = to_signal(bank[torch.randint(len(bank), (batch,), generator=generator)])
    return images if bank.shape[1] == 1 else turned(cut(images, generator), generator)


def cut(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half the time all small squares of the images, else a quarter of the images whole: the same number of pixels.

    Two sizes, because group normalisation lets a network come to depend on the size of its image.
    """
    top, left, whole = torch.randint(LARGE - SMALL + 1, (3,), generator=generator).tolist()
    if whole % 2:
        return images[: len(images) // 4]
    return images[:, :, top : top + SMALL, left : left + SMALL]


def turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch mirrored, transposed and with its colours exchanged, each half the time."""
    mirror, transpose, recolour = (torch.rand(3, generator=generator) < 0.5).tolist()
    images = images.flip(-1) if mirror else images
    images = images.transpose(-1, -2) if transpose else images
    return images[:, torch.randperm(3, generator=generator)] if recolour else images


def loss_of(
    recipe: Recipe, encoder: nn.Module, decoder: nn.Module, images: Tensor, noise: Callable[[Tensor], Tensor]
) -> Tensor:
    """The training loss of one batch; which terms it has follows from the recipe's weights."""
    encoded = encoder(images)
    if isinstance(encoded, tuple):
        mean, std = encoded
        divergence = (mean.square() + std.square() - 1).mean() / 2 - std.log().mean()
        return mse(decoder(mean + std * noise(mean)), images) + recipe.kl_weight * divergence
    if recipe.noise == 0:
        return mse(decoder(encoded), images)
    # the step scales with the latents' own spread, or the encoder would escape it by making its latents larger
    step = recipe.noise * noise(encoded) * spread(encoded)
    if recipe.bend_weight == 0:
        return mse(decoder(encoded + step), images)
    forth, here, back = decoder(torch.cat([encoded + step, encoded, encoded - step])).chunk(3)
    fit = (mse(forth, images) + mse(here, images) + mse(back, images)) / 3
    return fit + recipe.bend_weight * (forth - 2 * here + back).square().mean()


def mse(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).square().mean()


def spread(latents: Tensor) -> Tensor:
    """Standard deviation of each channel over the batch (and the positions), ready to multiply latents."""
    others = [axis for axis in range(latents.ndim) if axis != 1]
    return latents.std(dim=others, keepdim=True)


def train(recipe: Recipe, encoder: nn.Module, decoder: nn.Module, bank: Tensor, generator: torch.Generator) -> None:
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps + 1, pct_start=0.05)
    for step in range(recipe.steps):
        images = draw(bank, recipe.batch, generator)
        loss = loss_of(recipe, encoder, decoder, images, lambda like: torch.randn(like.shape, generator=generator))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  step {step:5d}  loss {loss.item():.5f}", flush=True)


@torch.no_grad()
def latents_of(encoder: nn.Module, images: Tensor) -> Tensor:
    encoded = [encoder(to_signal(chunk)) for chunk in images.split(256)]
    return torch.cat([item[0] if isinstance(item, tuple) else item for item in encoded])


@torch.no_grad()
def psnr(encoder: nn.Module, decoder: nn.Module, images: Tensor) -> float:
    """`10 log10(peak² / mean square error)` in decibels over all pixels together, peak 2."""
    error = mse(decoder(latents_of(encoder, images)), to_signal(images))
    return float(10 * torch.log10(4 / error))


def half(module: nn.Module) -> dict[str, Tensor]:
    """The weights as stored; the module itself is rounded to them, so that what is measured is what ships."""
    stored = {name: weight.half() for name, weight in module.state_dict().items()}
    module.load_state_dict({name: weight.float() for name, weight in stored.items()})
    return stored


def make(name: str, recipe: Recipe, out: Path, seed: int, smoke: bool) -> dict[str, object]:
    """Train one model, write its weights and return what is known about them."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    encoder, decoder = build_networks(name)
    bank = training_images(name, seed, smoke)
    started = time.perf_counter()
    train(recipe, encoder, decoder, bank, generator)
    seconds = time.perf_counter() - started
    tensors = {f"encoder.{key}": value for key, value in half(encoder.eval()).items()}
    tensors |= {f"decoder.{key}": value for key, value in half(decoder.eval()).items()}
    latents = latents_of(encoder, bank).transpose(0, 1).flatten(1)
    statistics = {"latents_mean": latents.mean(1), "latents_std": latents.std(1)}
    (out / f"{name}.safetensors").write_bytes(save(tensors | statistics))
    return {
        "seed": seed,
        **asdict(recipe),
        "seconds": round(seconds, 1),
        "training_images": len(bank),
        "validation_psnr_db": {
            f"{side}x{side}": round(psnr(encoder, decoder, images), 2)
            for side, images in validation_images(name).items()
        },
        "parameters": sum(weight.numel() for weight in [*encoder.parameters(), *decoder.parameters()]),
        **{key: [round(number, 4) for number in value.tolist()] for key, value in statistics.items()},
        "torch": torch.__version__,
    }


def main() -> None:
    names = list(RECIPES)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which models; all of {', '.join(names)} by default")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights and training.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few patches")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"NAME expected to be among {names}, got {unknown}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or names:
        print(f"zoo:{name}", flush=True)
        recipe = replace(RECIPES[name], steps=3) if options.smoke else RECIPES[name]
        record(options.out / "training.json", name, make(name, recipe, options.out, options.seed, options.smoke))


def record(path: Path, name: str, facts: dict[str, object]) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {name: facts}, indent=2) + "\n")
    print(f"  held-out PSNR in dB {facts['validation_psnr_db']}, {facts['seconds']} s")


if __name__ == "__main__":
    main()
