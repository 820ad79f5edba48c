"""Log-volume of a decoder: this library beside what a user would write, on the same latent, in one run.

    python benchmarks/log_volume.py MODEL --image PHOTO [--size 128] [--threads 2]

Prints a Markdown table: value, stated error, true error (against the dense Jacobian), seconds, and seconds as a ratio
to the dense Jacobian. `--smoke` runs the zoo's smallest patch model in seconds.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import theodolite
from theodolite.data.images import load_image
from theodolite.derivatives.repairs import repaired
from theodolite.descriptors import EFFORTS
from theodolite.maps import LatentMap


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    autoencoder = theodolite.load(options.model)
    latent = autoencoder.encode(load_image(Path(options.image), channels=autoencoder.image_channels, size=options.size))
    map = autoencoder.decoder
    print(
        f"{options.model}, latent {tuple(latent.shape[1:])}, float32, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}\n"
    )
    truth, rows = None, []
    for name, measure in _ways(options.smoke).items():
        value, stderr, seconds = _timed(measure, map, latent)
        truth = value if truth is None else truth
        rows.append((name, value, stderr, value - truth, seconds))
    _print(rows)


def _ways(smoke: bool) -> dict[str, Callable[[LatentMap, Tensor], tuple[float, float]]]:
    budgets = ("quick",) if smoke else ("quick", "standard", "full")
    ours = {f"theodolite, {name} budget, stochastic": _ours(name) for name in budgets}
    return {
        "dense Jacobian, `vmap(jvp, chunk_size=16)` and `svdvals`": _dense,
        **ours,
        "fixed projection on 128 output rows (reverse mode)": _projected,
        "forward differences in a 64-dimensional subspace, step 0.02": _subspace,
    }


def _ours(budget: str) -> Callable[[LatentMap, Tensor], tuple[float, float]]:
    def measure(map: LatentMap, latent: Tensor) -> tuple[float, float]:
        estimate = theodolite.local_scaling(map, latent, generator=0, effort=EFFORTS[budget], dense=False)
        return float(estimate.value), float(estimate.stderr)

    return measure


def _dense(map: LatentMap, latent: Tensor) -> tuple[float, float]:
    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(lambda z: map(z[None]).flatten(), (latent[0],), (direction,))[1]

    basis = torch.eye(latent[0].numel()).reshape(-1, *latent.shape[1:])
    with torch.no_grad(), repaired():
        J = torch.func.vmap(column, chunk_size=16)(basis)
    return float(torch.linalg.svdvals(J.double()).log().sum()), 0.0


def _projected(map: LatentMap, latent: Tensor) -> tuple[float, float]:
    return float(theodolite.local_scaling(map, latent, mode="paper").value), float("nan")


def _subspace(map: LatentMap, latent: Tensor) -> tuple[float, float]:
    estimate = theodolite.leading_singular_value(map, latent, mode="paper")
    return float(estimate["log_spectrum"].value), float("nan")


def _timed(
    measure: Callable[[LatentMap, Tensor], tuple[float, float]], map: LatentMap, latent: Tensor
) -> tuple[float, float, float]:
    start = time.perf_counter()
    value, stderr = measure(map, latent)
    return value, stderr, time.perf_counter() - start


def _print(rows: list[tuple[str, float, float, float, float]]) -> None:
    print("| way | log-volume | stated error | true error | seconds | ratio to dense |")
    print("|---|---|---|---|---|---|")
    for name, value, stderr, error, seconds in rows:
        stated = "none" if stderr != stderr else f"{stderr:.1f}"
        print(f"| {name} | {value:.1f} | {stated} | {error:+.1f} | {seconds:.1f} | {seconds / rows[0][-1]:.2f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="zoo:patches-kl")
    parser.add_argument("--image", default=None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.size = 32 if options.smoke else options.size
    options.image = options.image or sorted(theodolite.zoo.bundled_images().glob("*.png"))[0]
    return options


if __name__ == "__main__":
    main()
