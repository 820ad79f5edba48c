"""Passes to a standard error of 0.01 for each latent dimension in the log-volume, beside the dense Jacobian.

    python benchmarks/tolerance.py [MODEL] [--image PHOTO] [--sizes 64 128 256 512] [--rtol 0.01] [--seeds 8]
    python benchmarks/tolerance.py sd --sizes 64 128

For every size of the picture, made from one photograph, prints a row: latent dimensions, passes (preconditioner
included) and their share of the dense Jacobian's, seconds, stated and true error for each dimension. The truth is our
own dense Jacobian up to `--dense-up-to` dimensions; its time is beside ours, and there `--seeds` estimates are made:
passes and seconds are their means, the true error their root mean square, and `inside` how many 95 % intervals hold the
truth. `sd` is the decoder architecture of Stable
Diffusion 1.x (`AutoencoderKL`, random weights). `--smoke` runs a model of the zoo in seconds.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

import theodolite
from _models import autoencoder
from theodolite import Estimate
from theodolite.data.images import load_image
from theodolite.maps import LatentMap

_Result = TypeVar("_Result")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    model = autoencoder(options.model, options.device)
    print(
        f"{options.model}, rtol {options.rtol:g}, float32, {options.device}, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}\n"
    )
    columns = "latent", "dimensions", "passes", "of dense", "probes", "stated error", "true error", "inside", "seconds"
    print("| " + " | ".join((*columns, "dense seconds")) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for size in options.sizes:
        picture = load_image(Path(options.image), channels=model.image_channels, size=size)
        latent = model.encode(picture.to(options.device))
        print(_row(model.decoder, latent, options), flush=True)


def _row(map: LatentMap, latent: Tensor, options: argparse.Namespace) -> str:
    d = latent[0].numel()
    has_truth = d <= options.dense_up_to
    ours = partial(theodolite.local_scaling, map, latent, rtol=options.rtol)
    seeds = range(options.seeds if has_truth else 1)
    found, seconds = zip(*(_timed(partial(ours, generator=seed)) for seed in seeds))
    passes = sum(estimate.passes for estimate in found) / len(found)
    cells = [
        " x ".join(str(side) for side in latent.shape[1:]),
        f"{d:,}",
        f"{passes:.0f}",
        f"{100 * passes / d:.1f} %",
        "dense" if found[0].method == "dense" else str(min(estimate.n for estimate in found)),
        f"{max(float(estimate.stderr) for estimate in found) / d:.4f}",
        *("", ""),
        f"{sum(seconds) / len(seconds):.1f}",
        "",
    ]
    if has_truth:
        truth, dense_seconds = _timed(lambda: theodolite.local_scaling(map, latent, dense=True))
        errors = torch.cat([estimate.value - truth.value for estimate in found])
        inside = sum(_holds(estimate, truth) for estimate in found)
        cells[6:8] = f"{float(errors.square().mean().sqrt()) / d:.4f}", f"{inside} of {len(found)}"
        cells[9] = f"{dense_seconds:.1f}"
    return "| " + " | ".join(cells) + " |"


def _holds(estimate: Estimate, truth: Estimate) -> bool:
    low, high = estimate.interval()
    return bool((low <= truth.value + 1e-6) & (truth.value - 1e-6 <= high))


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
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--dense-up-to", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.sizes = [32, 64] if options.smoke else options.sizes
    options.rtol = 0.05 if options.smoke else options.rtol
    options.seeds = 2 if options.smoke else options.seeds
    options.image = options.image or sorted(theodolite.zoo.bundled_images().glob("*.png"))[0]
    return options


if __name__ == "__main__":
    main()
