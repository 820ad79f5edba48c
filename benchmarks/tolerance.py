"""Passes to a standard error of 0.01 for each latent dimension in the log-volume, beside the dense Jacobian.

    python benchmarks/tolerance.py [MODEL] [--image PHOTO] [--sizes 64 128 256 512] [--rtol 0.01] [--threads 2]
    python benchmarks/tolerance.py sd --sizes 64 128

For every size of the picture, made from one photograph, prints a row: latent dimensions, passes (preconditioner
included) and their share of the dense Jacobian's, seconds, stated and true error for each dimension. The truth is our
own dense Jacobian up to `--dense-up-to` dimensions; its time is beside ours. `sd` is the decoder architecture of Stable
Diffusion 1.x (`AutoencoderKL`, random weights). `--smoke` runs a model of the zoo in seconds.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import theodolite
from _models import autoencoder
from theodolite import Estimate
from theodolite.maps import LatentMap
from theodolite.surveys.images import load_image

_Result = TypeVar("_Result")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    model = autoencoder(options.model, options.device)
    print(
        f"{options.model}, rtol {options.rtol:g}, float32, {options.device}, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}\n"
    )
    print("| latent | dimensions | passes | of dense | probes | stated error | true error | seconds | dense seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        picture = load_image(Path(options.image), channels=model.image_channels, size=size)
        latent = model.encode(picture.to(options.device))
        print(_row(model.decoder, latent, options), flush=True)


def _row(map: LatentMap, latent: Tensor, options: argparse.Namespace) -> str:
    d = latent[0].numel()
    found, seconds = _timed(lambda: theodolite.local_scaling(map, latent, rtol=options.rtol, generator=options.seed))
    truth, dense_seconds = None, None
    if d <= options.dense_up_to:
        truth, dense_seconds = _timed(lambda: theodolite.local_scaling(map, latent, dense=True))
    cells = [
        " x ".join(str(side) for side in latent.shape[1:]),
        f"{d:,}",
        str(found.passes),
        f"{100 * found.passes / d:.1f} %",
        "dense" if found.method == "dense" else str(found.n),
        f"{float(found.stderr) / d:.4f}",
        "" if truth is None else f"{_error(found, truth) / d:+.4f}",
        f"{seconds:.1f}",
        "" if dense_seconds is None else f"{dense_seconds:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _error(found: Estimate, truth: Estimate) -> float:
    return float(found.value - truth.value)


def _timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="zoo:patches-kl")
    parser.add_argument("--image", default=None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--rtol", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dense-up-to", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.sizes = [32, 64] if options.smoke else options.sizes
    options.rtol = 0.05 if options.smoke else options.rtol
    options.image = options.image or sorted(theodolite.zoo.bundled_images().glob("*.png"))[0]
    return options


if __name__ == "__main__":
    main()
