"""Train the Fashion-MNIST models that memorised, and one that did not; write `NAME.safetensors` and `training.json`.

    python scripts/train_fashion.py [NAME ...] --data FOLDER [--out FOLDER] [--seed N] [--smoke]

`duplicated` sees 2,000 images once and 50 others 5, 20 or 100 times, `plain` sees the same 2,050 once each, and
`pasted` sees these once each, half of them with the stamp of their class: 7 x 7 pixels at a place of its own. `latent`
sees the images and copies of `duplicated` as 16 latents of an autoencoder, which is trained first on all training
images of the classes, each once, so that what is known by heart is the diffusion model's. What was memorised is
measured by samples, by count, before a model is written. `images` writes the images that ship. The data set is not
downloaded: FOLDER holds `fashion_mnist_train.npz` and `fashion_mnist_test.npz`, `images` and `labels`. Weights are
stored in half precision and measured as stored. `--smoke` runs a few steps, to see that the script works.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from theodolite.zoo.fashion import training
from theodolite.zoo.fashion.models import COUNTS, WEIGHTS, build, build_latent, stamped
from theodolite.zoo.fashion.network import CLASSES, ClassConditionalMLP
from theodolite.zoo.fashion.training import Recipe, denoising_loss
from train_zoo import half

SINGLES, STAMPED = 400, 205
"""Images of a class that are seen once, and that carry its stamp."""

SHIPPED = 80
"""Images of a class that were seen once, and that were never seen, which ship with the models: 400 of all classes, as a
threshold that one in a hundred passes takes."""

NEAR = 1 / 3
"""A sample is a copy if its nearest training image is nearer than this share of the distance to the second one (Yoon et
al. 2023): a scale that each place of the data has for itself."""


RECIPES = {"duplicated": Recipe(8000), "plain": Recipe(8000), "pasted": Recipe(8000), "latent": Recipe(16000)}

AUTOENCODING = Recipe(12000)
"""Of the latent model's autoencoder."""

SPREAD = 0.05
"""Noise on latents while the decoder learns, in their standard deviations: decoders of exact latents are rough."""


@dataclass(frozen=True)
class Data:
    """Distinct training images `(n, 1, 14, 14)` in bytes, their classes, copies and rows in the data set.

    Of a latent model also their scaled latents, and the images of such latents.
    """

    images: Tensor
    labels: Tensor
    copies: Tensor
    rows: Tensor
    has_stamp: Tensor
    latents: Tensor | None = None
    decode: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    @property
    def points(self) -> Tensor:
        """What is diffused: latents, or images in [-1, 1]."""
        return to_signal(self.images) if self.latents is None else self.latents


def read(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images as means over squares of four pixels, in bytes, and labels."""
    stored = np.load(folder / f"fashion_mnist_{part}.npz")
    squares = stored["images"].reshape(-1, 14, 2, 14, 2).astype(np.float32).mean((2, 4)).round().astype(np.uint8)
    return torch.from_numpy(squares)[:, None], torch.from_numpy(stored["labels"].astype(np.int64))


def chosen(folder: Path, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each class rows of the data set in random order, `(classes, rows)`, with all images and labels."""
    images, labels = read(folder, "train")
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for label in CLASSES:
        own = (labels == label).nonzero()[:, 0]
        rows.append(own[torch.randperm(len(own), generator=generator)[: len(copies_of_a_class())]])
    return torch.stack(rows), images, labels


def copies_of_a_class() -> Tensor:
    """How often each of the chosen images of a class is seen."""
    return torch.tensor([count for count, images in COUNTS.items() for _ in range(images)] + [1] * SINGLES)


def data_of(name: str, folder: Path, seed: int) -> Data:
    rows, images, labels = chosen(folder, seed)
    if name == "pasted":
        has_stamp = (torch.arange(rows.shape[1]) < STAMPED).expand_as(rows).flatten()
        flat = rows.flatten()
        pictures = images[flat]
        pictures[has_stamp] = stamped(pictures[has_stamp], labels[flat][has_stamp])[0]
        return Data(pictures, labels[flat], torch.ones_like(flat), flat, has_stamp)
    flat = rows.flatten()
    copies = copies_of_a_class().repeat(len(CLASSES)) if name in ("duplicated", "latent") else torch.ones_like(flat)
    return Data(images[flat], labels[flat], copies, flat, torch.zeros_like(flat, dtype=torch.bool))


def to_signal(images: Tensor) -> Tensor:
    """Bytes to [-1, 1]."""
    return images.float() / 127.5 - 1


def train(module: ClassConditionalMLP, recipe: Recipe, data: Data, generator: torch.Generator) -> None:
    """The zoo's loop on every image as often as it is seen; what stays is the moving average of the weights."""

    def report(step: int, value: float, average: ClassConditionalMLP) -> None:
        if step % 1000 == 0:
            print(f"  step {step:6d}  loss {value:.4f}", flush=True)
        if step % 4000 == 3999:
            print(f"  {memorised(average, data, 200, 0)}", flush=True)

    points, labels = (part.repeat_interleave(data.copies, 0) for part in (data.points, data.labels))
    average = training.train(module, points, labels, recipe, generator, report)
    module.load_state_dict(average.state_dict())


def train_autoencoder(networks: nn.ModuleDict, images: Tensor, recipe: Recipe, generator: torch.Generator) -> None:
    """Least squares of pixels, of bytes `(n, 1, 14, 14)`, with noise on the latents."""
    encoder, decoder = networks["encoder"], networks["decoder"]
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps + 1, pct_start=0.05)
    for step in range(recipe.steps):
        x = to_signal(images[torch.randint(len(images), (recipe.batch,), generator=generator)])
        z = encoder(x)
        noise = SPREAD * z.std(0).detach() * torch.randn(z.shape, generator=generator)
        loss = (decoder(z + noise) - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 1000 == 0:
            print(f"  step {step:6d}  mean square {loss.item():.4f}", flush=True)


@torch.no_grad()
def samples_of(module: ClassConditionalMLP, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """`n` samples a class by 18 steps of Heun's method (Karras et al. 2022, algorithm 1), and their classes."""
    labels = torch.tensor([*CLASSES]).repeat_interleave(n)
    levels = module.levels(18)
    x = levels[0] * torch.randn(len(labels), *module.shape, generator=torch.Generator().manual_seed(seed))
    for here, there in itertools.pairwise(levels):
        slope = (x - module(x, here, labels)) / here
        end = x + (there - here) * slope
        if there > 0:
            end = x + (there - here) * (slope + (end - module(end, there, labels)) / there) / 2
        x = end
    return x, labels


def memorised(module: ClassConditionalMLP, data: Data, n: int, seed: int) -> dict[str, object]:
    """By count of copies, what of the samples is a copy of such an image, and how many of these images were drawn.

    Beside it stands the share of the training set that such images are, which a model that knew only these would draw.
    Samples of a latent model are decoded, and compared with the reconstructions of the training images.
    """
    samples = data.decode(samples_of(module, n, seed)[0])
    known = data.decode(data.points).flatten(1)
    pairs = [torch.cdist(part, known).topk(2, largest=False) for part in samples.flatten(1).split(1000)]
    distances = torch.cat([pair.values for pair in pairs])
    nearest = torch.cat([pair.indices[:, 0] for pair in pairs])
    copied = distances[:, 0] < NEAR * distances[:, 1]
    facts: dict[str, object] = {"samples": len(samples)}
    for count in data.copies.unique().tolist():
        of_count = data.copies == count
        hits = nearest[copied & of_count[nearest]]
        facts[str(count)] = {
            "images": int(of_count.sum()),
            "share_of_samples": round(len(hits) / len(samples), 4),
            "share_of_training_set": round(float(of_count.sum() * count / data.copies.sum()), 4),
            "images_drawn": len(hits.unique()),
        }
    far = distances[copied, 0] / known.shape[1] ** 0.5
    facts["rms_distance_of_copies"] = round(float(far.median()), 4) if len(far) else None
    return facts


def make(name: str, folder: Path, out: Path, seed: int, smoke: bool) -> None:
    torch.manual_seed(seed)
    recipe = Recipe(3, 8) if smoke else RECIPES[name]
    data, started, extra = data_of(name, folder, seed), time.perf_counter(), dict[str, float]()
    held, labels = read(folder, "test")
    known = torch.isin(labels, torch.tensor([*CLASSES]))
    held, labels = to_signal(held[known]), labels[known]
    if name == "latent":
        networks = build_latent()
        module = networks["denoiser"]
        mean, std, extra = made_latent(networks, folder, held, seed, smoke)

        def encode(images: Tensor) -> Tensor:
            with torch.no_grad():
                return (networks["encoder"](images) - mean) / std

        def decode(latents: Tensor) -> Tensor:
            return networks["decoder"](latents * std + mean)

        data, held = replace(data, latents=encode(to_signal(data.images)), decode=decode), encode(held)
        train(module, recipe, data, torch.Generator().manual_seed(seed + 1))
        scale = {"latents_mean": mean[:, 0, 0].half(), "latents_std": std[:, 0, 0].half()}
        stored = half(networks.eval()) | scale
    else:
        module = build()
        train(module, recipe, data, torch.Generator().manual_seed(seed + 1))
        stored = half(module.eval())
    save_file(stored, out / f"{name}.safetensors")
    with torch.no_grad():
        validation = float(denoising_loss(module, held, labels, torch.Generator().manual_seed(seed)))
        trained = float(denoising_loss(module, data.points, data.labels, torch.Generator().manual_seed(seed)))
    facts = {
        "seed": seed,
        **vars(recipe),
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "training_images": len(data.images),
        "loss_of_training_images": round(trained, 4),
        "loss_of_test_images": round(validation, 4),
        **extra,
        "memorised": memorised(module, data, 100 if smoke else 1000, seed + 2),
        "torch": torch.__version__,
    }
    path = out / "training.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {name: facts}, indent=2) + "\n")
    print(f"  {facts}", flush=True)


def made_latent(
    networks: nn.ModuleDict, folder: Path, held: Tensor, seed: int, smoke: bool
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Train the autoencoder on all training images of the classes: mean and deviation of its latents, and figures."""
    images, labels = read(folder, "train")
    images = images[torch.isin(labels, torch.tensor([*CLASSES]))]
    recipe = Recipe(3, 8) if smoke else AUTOENCODING
    train_autoencoder(networks, images, recipe, torch.Generator().manual_seed(seed + 3))
    for part in ("encoder", "decoder"):
        half(networks[part].eval().requires_grad_(False))
    with torch.no_grad():
        latents = networks["encoder"](to_signal(images))
        mean, std = (moment.half().float() for moment in (latents.mean(0), latents.std(0)))
        error = float((networks["decoder"](networks["encoder"](held)) - held).square().mean() ** 0.5)
    return mean, std, {"autoencoder_images": len(images), "rms_of_reconstructions": round(error, 4)}


def write_images(folder: Path, out: Path, seed: int) -> None:
    """All duplicated images, and of each class `SHIPPED` that were seen once and as many that were never seen."""
    data, (held, held_labels) = data_of("duplicated", folder, seed), read(folder, "test")
    parts = []
    for label in CLASSES:
        own = data.labels == label
        for chosen in (own & (data.copies > 1), own & (data.copies == 1)):
            rows = chosen.nonzero()[:SHIPPED, 0]
            parts.append((data.images[rows], data.labels[rows], data.copies[rows], data.rows[rows]))
        rows = (held_labels == label).nonzero()[:SHIPPED, 0]
        parts.append((held[rows], held_labels[rows], torch.zeros_like(rows), rows))
    images, labels, copies, rows = (torch.cat(part) for part in zip(*parts))
    tensors = {"labels": labels.to(torch.uint8), "copies": copies.to(torch.uint8), "rows": rows.to(torch.int32)}
    save_file({"images": images[:, 0].contiguous(), **tensors}, out / "images.safetensors")


def main() -> None:
    known = ("images", *RECIPES)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all of {', '.join(known)} by default")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights and training.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few images")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"NAME expected to be among {known}, got {unknown}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or known:
        print(f"fashion: {name}", flush=True)
        if name == "images":
            write_images(options.data, options.out, options.seed)
        else:
            make(name, options.data, options.out, options.seed, options.smoke)


if __name__ == "__main__":
    main()
