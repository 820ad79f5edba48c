"""Train the models of coloured digits and write `NAME.safetensors` and `training.json`.

    python scripts/train_coloured.py [NAME ...] [--out FOLDER] [--seed N] [--smoke]

In this order: `handwriting` (the data, from scikit-learn's wheel), `classifier`, `autoencoder`, `latent` (needs the
autoencoder), `pixels`, `memorised` (the same network on a finite set with duplicates), `confounded` (a smaller
`latent` that sees the combinations of `theodolite.zoo.coloured.CONFOUNDED` only) and `distilled` (a student of
`latent`, which it needs). Those of `HELD_OUT` are left out of every training but the classifier's. Weights are stored
in half precision and measured as stored. `--smoke` runs a few steps, to see that the script works.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from coloured_student import GUIDANCE, likeness, restored, step_of, trajectories
from make_bundled_images import digits
from theodolite.zoo.coloured import CONDITIONS, CONFOUNDED, HELD_OUT, coloured_digits
from theodolite.zoo.coloured.digits import labels_of
from theodolite.zoo.coloured.models import STUDENT_LEVELS, WEIGHTS, build, memorised_set
from train_zoo import half, mse, spread

BANK = 16000
"""Images rendered once for a training."""

CHECKED = 1000
"""Images of handwriting held out, on which a model is measured."""

DROPPED = 0.15
"""Share of a batch that is told nothing in particular, for classifier-free guidance."""


@dataclass(frozen=True)
class Recipe:
    """How long a model is trained: steps, images a step, peak rate."""

    steps: int
    batch: int
    rate: float


RECIPES = {
    "classifier": Recipe(800, 128, 2e-3),
    "autoencoder": Recipe(1200, 32, 2e-3),
    "latent": Recipe(1500, 64, 2e-3),
    "pixels": Recipe(2000, 64, 2e-3),
    "memorised": Recipe(1200, 64, 2e-3),
    "confounded": Recipe(1500, 64, 2e-3),
    "distilled": Recipe(1500, 64, 1e-3),
}


def rendered(
    conditions: list[tuple[int, str]], n: int, side: int, generator: torch.Generator, held_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Coloured digits of combinations drawn at random."""
    chosen = torch.randint(len(conditions), (n,), generator=generator)
    return coloured_digits(labels_of(conditions)[chosen], side=side, generator=generator, held_out=held_out)


def steps(module: nn.Module, recipe: Recipe, loss: Callable[[], Tensor]) -> Iterator[int]:
    """Adam with one cycle of the rate; stops after each step."""
    weights = list(module.parameters())
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps + 1, pct_start=0.05)
    for step in range(recipe.steps):
        value = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"  step {step:5d}  loss {value.item():.5f}", flush=True)
        yield step


def train_classifier(module: nn.Module, recipe: Recipe, out: Path, generator: torch.Generator) -> dict[str, object]:
    everything = [*CONDITIONS, *HELD_OUT]
    images, labels = rendered(everything, BANK, 16, generator)

    def loss() -> Tensor:
        rows = torch.randint(len(images), (recipe.batch,), generator=generator)
        noisy = images[rows] + 0.1 * torch.randn(images[rows].shape, generator=generator)
        digit, colour = module(noisy)
        return F.cross_entropy(digit, labels[rows, 0]) + F.cross_entropy(colour, labels[rows, 1])

    for _ in steps(module, recipe, loss):
        pass
    half(module)
    images, labels = rendered(everything, 4 * CHECKED, 16, generator, held_out=True)
    with torch.no_grad():
        right = [(logits.argmax(1) == labels[:, place]).float().mean() for place, logits in enumerate(module(images))]
    return {"accuracy_digit": round(float(right[0]), 4), "accuracy_colour": round(float(right[1]), 4)}


def train_autoencoder(module: nn.Module, recipe: Recipe, out: Path, generator: torch.Generator) -> dict[str, object]:
    """Reconstruction from latents disturbed by a tenth of their spread."""
    images, _ = rendered(list(CONDITIONS), BANK, 32, generator)

    def loss() -> Tensor:
        rows = images[torch.randint(len(images), (recipe.batch,), generator=generator)]
        latents = module["encoder"](rows)
        noise = 0.1 * spread(latents) * torch.randn(latents.shape, generator=generator)
        return mse(module["decoder"](latents + noise), rows)

    for _ in steps(module, recipe, loss):
        pass
    half(module)
    images, _ = rendered(list(CONDITIONS), CHECKED, 32, generator, held_out=True)
    with torch.no_grad():
        latents = module["encoder"](images)
        error = mse(module["decoder"](latents), images)
    flat = latents.transpose(0, 1).flatten(1)
    module.register_buffer("latents_mean", flat.mean(1))
    module.register_buffer("latents_std", flat.std(1))
    return {"validation_psnr_db": round(float(10 * torch.log10(4 / error)), 2)}


def follow(average: nn.Module, module: nn.Module, step: int) -> None:
    """The moving average of the weights."""
    decay = min(0.998, (1 + step) / (10 + step))
    for old, new in zip(average.parameters(), module.parameters()):
        old.data.lerp_(new.data, 1 - decay)


def train_denoiser(
    module: nn.Module, recipe: Recipe, data: tuple[Tensor, Tensor], held: Tensor, generator: torch.Generator
) -> dict[str, object]:
    """EDM's loss at log-normal noise levels; what is kept is the moving average of the weights."""
    (points, labels), average = data, copy.deepcopy(module)

    def losses(network: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
        sigma = module.data * (1.3 * torch.randn(len(x), generator=generator) - 0.8).exp()
        noisy = x + sigma[:, None, None, None] * torch.randn(x.shape, generator=generator)
        weight = (sigma**2 + module.data**2) / (sigma * module.data) ** 2
        return (weight[:, None, None, None] * (network(noisy, sigma, labels) - x).square()).mean()

    def loss() -> Tensor:
        rows = torch.randint(len(points), (recipe.batch,), generator=generator)
        dropped = torch.rand(len(rows), 1, generator=generator) < DROPPED
        told = torch.where(dropped, torch.tensor([10, 4]), labels[rows])
        return losses(module, points[rows], told)

    for step in steps(module, recipe, loss):
        follow(average, module, step)
    module.load_state_dict(average.state_dict())
    half(module)
    with torch.no_grad():
        nothing = torch.tensor([[10, 4]]).expand(len(held), 2)
        validation = float(losses(module, held, nothing))
    return {"validation_loss": round(validation, 4), "data": round(module.data, 4)}


def train_latent(
    module: nn.Module,
    recipe: Recipe,
    out: Path,
    generator: torch.Generator,
    conditions: tuple[tuple[int, str], ...] = CONDITIONS,
) -> dict[str, object]:
    autoencoder, stored = restored("autoencoder", out), load_file(out / "autoencoder.safetensors")
    mean, std = (stored[f"latents_{name}"].float()[:, None, None] for name in ("mean", "std"))

    @torch.no_grad()
    def encoded(images: Tensor) -> Tensor:
        return torch.cat([(autoencoder["encoder"](part) - mean) / std for part in images.split(500)])

    images, labels = rendered(list(conditions), BANK, 32, generator)
    held, _ = rendered(list(conditions), CHECKED, 32, generator, held_out=True)
    return train_denoiser(module, recipe, (encoded(images), labels), encoded(held), generator)


def train_confounded(module: nn.Module, recipe: Recipe, out: Path, generator: torch.Generator) -> dict[str, object]:
    return train_latent(module, recipe, out, generator, CONFOUNDED)


def train_pixels(module: nn.Module, recipe: Recipe, out: Path, generator: torch.Generator) -> dict[str, object]:
    data = rendered(list(CONDITIONS), BANK, 16, generator)
    held, _ = rendered(list(CONDITIONS), CHECKED, 16, generator, held_out=True)
    return train_denoiser(module, recipe, data, held, generator)


def train_memorised(module: nn.Module, recipe: Recipe, out: Path, generator: torch.Generator) -> dict[str, object]:
    images, labels, copies = memorised_set()
    data = images.repeat_interleave(copies, 0), labels.repeat_interleave(copies, 0)
    held, _ = rendered(list(CONDITIONS), CHECKED, 16, generator, held_out=True)
    facts = train_denoiser(module, recipe, data, held, generator)
    return {**facts, "training_images": len(images), "duplicated": (copies > 1).nonzero()[:, 0].tolist()}


def train_distilled(module: nn.Module, recipe: Recipe, out: Path, generator: torch.Generator) -> dict[str, object]:
    """Progressive distillation in one round (Salimans and Ho 2022, arXiv 2202.00512): one step for `SUBSTEPS`.

    The student starts as the teacher. With points `x_i` of the teacher's flow, the loss is the squared error of its
    DDIM step from `x_i` against `x_{i+1}`, over that of the teacher's own step without guidance, so that all four
    steps count alike.
    """
    teacher = restored("latent", out)
    module.load_state_dict(teacher.state_dict())
    count, few = max(8, BANK // 4), slice(0, 250)
    labels = labels_of(list(CONDITIONS))[torch.randint(len(CONDITIONS), (count,), generator=generator)]
    points = torch.cat([trajectories(teacher, part, generator) for part in labels.split(250)], 1)
    with torch.no_grad():
        ahead = (
            step_of(teacher, x[few], torch.full_like(labels[few, 0], i), labels[few]) for i, x in enumerate(points[:-1])
        )
        scales = torch.stack([mse(x, points[i + 1, few]) for i, x in enumerate(ahead)])

    def loss() -> Tensor:
        rows, at = (torch.randint(n, (recipe.batch,), generator=generator) for n in (count, len(scales)))
        error = step_of(module, points[at, rows], at, labels[rows]) - points[at + 1, rows]
        return (error.square().flatten(1).mean(1) / scales[at]).mean()

    average = copy.deepcopy(module)
    for step in steps(module, recipe, loss):
        follow(average, module, step)
    module.load_state_dict(average.state_dict())
    half(module)
    facts = {"guidance": GUIDANCE, "levels": [*STUDENT_LEVELS], "trajectories": count}
    return {**facts, **likeness(module, teacher, out, CHECKED, generator)}


TRAININGS = {
    "classifier": train_classifier,
    "autoencoder": train_autoencoder,
    "latent": train_latent,
    "pixels": train_pixels,
    "memorised": train_memorised,
    "confounded": train_confounded,
    "distilled": train_distilled,
}


def write_handwriting(out: Path) -> None:
    """Strokes as scikit-learn has them, 0 to 16, their digits, and which are held out."""
    grey, labels, held_out = digits()
    strokes = torch.from_numpy(grey).float().mul(16 / 255).round().to(torch.uint8)
    tensors = {"strokes": strokes, "digits": torch.from_numpy(labels).to(torch.uint8)}
    save_file({**tensors, "held_out": torch.from_numpy(held_out)}, out / "handwriting.safetensors")


def make(name: str, out: Path, seed: int, smoke: bool) -> None:
    torch.manual_seed(seed)
    recipe = Recipe(3, 8, 1e-3) if smoke else RECIPES[name]
    module, started = build(name), time.perf_counter()
    facts = TRAININGS[name](module, recipe, out, torch.Generator().manual_seed(seed + 1))
    stored = {key: value.half() for key, value in module.state_dict().items()}
    save_file(stored, out / f"{name}.safetensors")
    path = out / "training.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    facts = {
        "seed": seed,
        **vars(recipe),
        **facts,
        "seconds": round(time.perf_counter() - started, 1),
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "torch": torch.__version__,
    }
    path.write_text(json.dumps(known | {name: facts}, indent=2) + "\n")
    print(f"  {facts}", flush=True)


def main() -> None:
    global BANK, CHECKED
    names = list(TRAININGS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all of {', '.join(names)} by default")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights and training.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="a few steps on a few images")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(names))
    if unknown:
        parser.error(f"NAME expected to be among {names}, got {unknown}")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    BANK, CHECKED = (50, 20) if options.smoke else (BANK, CHECKED)
    write_handwriting(options.out)
    for name in options.names or names:
        print(f"coloured digits: {name}", flush=True)
        make(name, options.out, options.seed, options.smoke)


if __name__ == "__main__":
    main()
