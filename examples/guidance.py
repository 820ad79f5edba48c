"""A sampler guided by local scaling, of either sign, beside controls that push as hard: does true local scaling follow?

    python examples/guidance.py [--rho RHO ...] [--clean N] [--samples N] [--measured N] [--picture FILE] [--smoke]

On the zoo's latent diffusion model of coloured digits. A reward is fitted to the decoder's local scaling at samples of
the model, others to brightness, contrast and detail of their images; every one guides the same noise at every scale.
Prints Markdown tables: how well each reward reads its target from noise, and what guidance did.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import curves
from curves import Panel
from theodolite import local_scaling, sampler_map
from theodolite.estimates import spearman
from theodolite.steering import Judge, LearnedReward, Sweep, fit_reward, random_direction, sweep
from theodolite.steering.properties import PROPERTIES
from theodolite.zoo import ConditionalDiffusion, conditional_diffusion
from theodolite.zoo.coloured import CONDITIONS, labels_of

STEPS, GUIDANCE, SEED = 12, 1.5, 0
QUANTITIES = ("local_scaling_change", "local_scaling_step", "diversity", "frechet_distance", "confidence", "accuracy")
PANELS = {
    "local_scaling_change": "change of true local scaling (nats)",
    "frechet_distance": "Frechet distance",
    "confidence": "confidence of the classifier",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rho", type=float, nargs="+", default=[-0.4, -0.2, -0.1, 0.1, 0.2, 0.4])
    parser.add_argument("--clean", type=int, default=320, help="samples that rewards are fitted to")
    parser.add_argument("--samples", type=int, default=64, help="samples a scale")
    parser.add_argument("--measured", type=int, default=12, help="of these, how many true local scaling is measured at")
    parser.add_argument("--steps", type=int, default=400, help="of every reward's training")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--smoke", action="store_true", help="as little as possible")
    options = parser.parse_args()
    if options.smoke:
        options.rho, options.clean, options.samples, options.measured, options.steps = [0.2], 32, 16, 3, 30
    model = conditional_diffusion()
    rewards = fitted(model, options.clean, options.steps)
    noise, labels = drawn(model, CONDITIONS[::4], options.samples)
    rewards["random"] = random_direction(len(noise), model.shape, generator=SEED, like=rewards["scaling"])
    found = sweep(
        model,
        model.autoencoder.decoder,
        rewards,
        options.rho,
        noise,
        Judge(**model.judging(labels)),
        steps=STEPS,
        measured=options.measured,
        condition=labels,
        guidance=GUIDANCE,
        levels=(0.02, 5.0) if options.smoke else rewards["scaling"].levels,  # the same for all
    )
    print_sweep(found)
    if options.picture:
        draw(model, found, options.picture)


def drawn(model: ConditionalDiffusion, conditions: Sequence[tuple[int, str]], n: int) -> tuple[Tensor, Tensor]:
    """Noise and labels, conditions in turn."""
    turns = -(-n // len(conditions))
    noise = torch.randn(n, *model.shape, generator=torch.Generator().manual_seed(SEED + len(conditions)))
    return noise, labels_of(list(conditions)).repeat(turns, 1)[:n]


def fitted(model: ConditionalDiffusion, n: int, steps: int) -> dict[str, LearnedReward]:
    """A reward of local scaling, and one of each plain property of images, all learnt from the same samples."""
    noise, labels = drawn(model, CONDITIONS, n)
    with torch.no_grad():
        clean = sampler_map(model, STEPS, condition=labels, guidance=GUIDANCE)(noise)
        images = model.decode(clean)
    psi = local_scaling(model.autoencoder.decoder, clean).value
    targets = {"scaling": psi, **{name: property(images).double() for name, property in PROPERTIES.items()}}
    rewards = {name: fit_reward(clean, target, steps=steps, generator=SEED) for name, target in targets.items()}
    print(f"Local scaling {psi.mean():.1f} nats, deviation {psi.std():.1f}, over {n} samples.\n")
    print(f"| reward | {' | '.join(f'{s:.2g}' for s in rewards['scaling'].record.sigmas)} | with local scaling |")
    print(f"|---|{'---|' * 9}")
    for name, reward in rewards.items():
        cells = [told(value, error) for value, error in zip(reward.record.spearman, reward.record.stderr)]
        same = spearman(targets[name], psi)
        print(f"| {name} | {' | '.join(cells)} | {told(float(same.value), float(same.stderr))} |")
    return rewards


def told(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}"


def print_sweep(found: Sweep) -> None:
    for name in found.rewards:
        verdict = "rises at every step" if found.rises(name) else "does not rise at every step"
        print(f"\n**{name}**: true local scaling {verdict}.\n")
        print(f"| rho | {' | '.join(quantity.replace('_', ' ') for quantity in QUANTITIES)} |")
        print(f"|---|{'---|' * len(QUANTITIES)}")
        for rho in found.rhos:
            cells = [found.estimates.get((name, rho, quantity)) for quantity in QUANTITIES]
            words = ["" if cell is None else f"{float(cell.value):.3g} ± {float(cell.stderr):.2g}" for cell in cells]
            print(f"| {rho:+g} | {' | '.join(words)} |")


def draw(model: ConditionalDiffusion, found: Sweep, path: Path) -> None:
    """The same noise at every scale by two rewards, and below what happens to scaling, distance and confidence."""
    panels = [Panel(title) for title in PANELS.values()]
    for name in found.rewards:
        for panel, quantity in zip(panels, PANELS):
            for rho in found.rhos:
                one = found.estimates[name, rho, quantity]
                panel.add(name, rho, float(one.value), float(one.stderr))
    curves.draw(panels, path, axis="rho")
    with Image.open(path) as sheet:
        strips = [strip(model, found, name, sheet.width // 2) for name in ("scaling", "detail")]
        page = Image.new("RGB", (sheet.width, sheet.height + strips[0].height), curves.PAPER)
        for place, one in enumerate(strips):
            page.paste(one, (place * sheet.width // 2, 0))
        page.paste(sheet, (0, strips[0].height))
    page.save(path)


def strip(model: ConditionalDiffusion, found: Sweep, name: str, width: int) -> Image.Image:
    """A row of images a scale, with the scale beside it and the reward above."""
    columns = min(8, len(found.samples[name, 0.0]))
    with torch.no_grad():
        rows = [torch.cat(list(model.decode(found.samples[name, rho][:columns])), -1) for rho in found.rhos]
    pixels = ((torch.cat(rows, -2) + 1) * 127.5).clamp(0, 255).byte().permute(1, 2, 0).numpy()
    left, top, size = 70, 34, 72
    page = Image.new("RGB", (width, top + size * len(rows) + 10), curves.PAPER)
    page.paste(
        Image.fromarray(pixels).resize((size * columns, size * len(rows)), Image.Resampling.NEAREST), (left, top)
    )
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    pen.text((left, 8), f"guided by {name}, the same noise in every row", curves.INK, font)
    for place, rho in enumerate(found.rhos):
        pen.text((12, top + size * place + size // 2 - 9), f"{rho:+g}", curves.INK, font)
    return page


if __name__ == "__main__":
    main()
