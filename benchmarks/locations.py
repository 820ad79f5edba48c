"""Local geometry of each latent location: this library beside plain colouring and the dense Jacobian, in one run.

    python benchmarks/locations.py MODEL --image PHOTO [PHOTO ...] [--size 128] [--seeds 6] [--threads 2]

Prints one Markdown table a photograph: Spearman correlation over locations with the truth, for gain and scaling; error
of the level (total gain, mean scaling); spread of the z-scores of both; seconds as a ratio to the dense Jacobian. Means
over seeds: the first asks the map and is timed, the others ask the dense Jacobian, a matrix that gives the same.
`--smoke` runs the zoo's smallest patch model in seconds.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import torch
from torch import Tensor

import theodolite
from theodolite.data.images import load_image
from theodolite.estimates import rank_correlation
from theodolite.maps import LatentMap

PLAIN_SPACING, PLAIN_REACH = 4, 2

_Result = TypeVar("_Result")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    autoencoder = theodolite.load(options.model)
    print(f"{options.model}, float32, {options.threads} threads, torch {torch.__version__}, {platform.machine()}")
    for image in options.image:
        picture = load_image(Path(image), channels=autoencoder.image_channels, size=options.size)
        _table(autoencoder.decoder, autoencoder.encode(picture), Path(image).stem, options.seeds)


def _table(map: LatentMap, latent: Tensor, name: str, seeds: int) -> None:
    dense = latent[0].numel()
    print(f"\n{name}, latent {tuple(latent.shape[1:])}\n")
    print("| way | passes | ρ gain | ρ scaling | level gain | level scaling | z gain | z scaling | ratio to dense |")
    print("|---|---|---|---|---|---|---|---|---|")
    (J, shape), unit = _timed(lambda: _jacobian(map, latent))
    linear = LatentMap(lambda z: (z.flatten(1) @ J.T).reshape(len(z), *shape), tuple(latent.shape[1:]))
    truth = _ours(linear, latent, dense, 0)
    ways: dict[str, Callable[[LatentMap, int], _Found]] = {
        f"plain colouring, spacing {PLAIN_SPACING}, 5x5 window": lambda map, seed: _plain(map, latent, seed),
        "theodolite, 10 %": lambda map, seed: _ours(map, latent, dense // 10, seed),
        "theodolite, 25 %": lambda map, seed: _ours(map, latent, dense // 4, seed),
    }
    print(f"| dense Jacobian | {truth[0]} | 1 | 1 | 0 % | 0 % | | | 1.00 |", flush=True)
    for way, measure in ways.items():
        first, seconds = _timed(partial(measure, map, 0))
        all_found = [first, *(measure(linear, seed) for seed in range(1, seeds))]
        cells = [f"{fmean(float(rank_correlation(found[i], truth[i])) for found in all_found):.4f}" for i in (1, 2)]
        cells += [f"{100 * fmean(_level(found[i], truth[i]) for found in all_found):+.1f} %" for i in (1, 2)]
        cells += [_spread(all_found, truth, i) for i in (1, 2)]
        print(f"| {way} | {first[0]} | {' | '.join(cells)} | {seconds / unit:.2f} |", flush=True)


_Found = tuple[int, Tensor, Tensor, Tensor | None, Tensor | None]


def _jacobian(map: LatentMap, latent: Tensor) -> tuple[Tensor, torch.Size]:
    operator = theodolite.jacobian(map, latent)
    return operator.dense()[0], operator.outputs.shape[1:]


def _ours(map: LatentMap, latent: Tensor, passes: int, seed: int) -> _Found:
    found = theodolite.location_map(map, latent, passes=passes, generator=seed)
    gain, scaling = found.estimate("gain"), found.estimate("scaling")
    return found.passes, gain.value, scaling.value, gain.stderr, scaling.stderr


def _plain(map: LatentMap, latent: Tensor, seed: int) -> _Found:
    """One tangent a channel and colour of a square lattice, random signs, energy of a window of 5x5 latent cells."""
    operator = theodolite.jacobian(map, latent)
    channels, height, width = latent.shape[1:]
    blocks = torch.zeros(height, width, channels, channels, dtype=torch.float64)
    signs = torch.randn(height, width, generator=torch.Generator().manual_seed(seed)).sign()
    for row, column in ((r, c) for r in range(PLAIN_SPACING) for c in range(PLAIN_SPACING)):
        V = torch.zeros(channels, *latent.shape)
        for c in range(channels):
            V[c, 0, c, row::PLAIN_SPACING, column::PLAIN_SPACING] = signs[row::PLAIN_SPACING, column::PLAIN_SPACING]
        cells = operator.matvec(V)[:, 0].double().unflatten(-1, (width, -1)).unflatten(-3, (height, -1))
        for y in range(row, height, PLAIN_SPACING):
            for x in range(column, width, PLAIN_SPACING):
                rows = slice(max(0, y - PLAIN_REACH), y + PLAIN_REACH + 1)
                columns = slice(max(0, x - PLAIN_REACH), x + PLAIN_REACH + 1)
                window = cells[:, :, rows, :, columns].flatten(1)
                blocks[y, x] = window @ window.T
    gain = blocks.diagonal(dim1=-2, dim2=-1).sum(-1).flatten()
    return operator.passes - 1, gain, 0.5 * torch.linalg.slogdet(blocks)[1].flatten(), None, None


def _level(found: Tensor, truth: Tensor) -> float:
    return float(found.sum() / truth.sum() - 1)


def _spread(all_found: Sequence[_Found], truth: _Found, index: int) -> str:
    """Root mean square of `(value - truth) / stderr` over locations and seeds."""
    z = [(found[index] - truth[index]) / found[index + 2] for found in all_found if found[index + 2] is not None]
    return f"{float(torch.stack(z).square().mean().sqrt()):.2f}" if z else "none"


def _timed(measure: Callable[[], _Result]) -> tuple[_Result, float]:
    start = time.perf_counter()
    return measure(), time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="zoo:patches-kl")
    parser.add_argument("--image", nargs="+", default=None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.size = 32 if options.smoke else options.size
    options.seeds = 2 if options.smoke else options.seeds
    options.image = options.image or [str(sorted(theodolite.zoo.bundled_images().glob("*.png"))[0])]
    return options


if __name__ == "__main__":
    main()
