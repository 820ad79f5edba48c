"""Train a small VAE and look at its latent space once an epoch.

    python examples/train_vae.py [--data FOLDER] [--out FOLDER] [--epochs N] [--tensorboard] [--smoke]

`--data` is a folder with Fashion-MNIST as `fashion_mnist_train.npz` and `fashion_mnist_test.npz` (arrays `images`,
uint8, `(n, 28, 28)`); without it, crops of the photographs that ship with Theodolite are used. Writes `curves.png`,
and an event file with `--tensorboard`. `--smoke` takes seconds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import vae
from curves import Panel, draw, panels_of
from theodolite.training import probe

LEVELS = (1.0, 3.0, 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=Path("runs/train_vae"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--latents", type=int, default=4)
    parser.add_argument("--tensorboard", action="store_true", help="write an event file too")
    parser.add_argument("--smoke", action="store_true", help="two short epochs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = vae.VAE(options.latents)
    images, held_out = vae.load(options.data, smoke=options.smoke)
    watch = Watch(model, held_out, writer(options))
    vae.train(model, images, 2 if options.smoke else options.epochs, at_epoch=watch)
    path = options.out / "curves.png"
    draw([watch.quality, *panels_of(watch.history, LEVELS, but="compression")], path, axis="epoch")
    print(f"{path}: {watch.seconds / len(watch.history):.1f} s a probe")


class Watch:
    """The probe at every epoch, with the quality of reconstructions."""

    def __init__(self, model: vae.VAE, images: torch.Tensor, log: object):
        self.model, self.images, self.log = model, images, log
        self.quality, self.history, self.seconds = Panel("PSNR of reconstructions (dB)"), [], 0.0

    def __call__(self, epoch: int) -> None:
        start = time.perf_counter()
        found = probe(self.model, self.images, epoch, t=LEVELS, log=self.log)
        self.seconds += time.perf_counter() - start
        self.history.append((epoch, found))
        quality = vae.psnr(self.model, self.images)
        self.quality.add("", epoch, quality, 0.0)
        told = ", ".join(
            f"{name} {found[name].value[0]:.3g} ± {found[name].stderr[0]:.2g}" for name in ("fi", "distortion")
        )
        print(f"epoch {epoch:2}: {quality:.2f} dB, {told}")


def writer(options: argparse.Namespace) -> object:
    if not options.tensorboard:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(options.out)


if __name__ == "__main__":
    main()
