"""Local geometry of each latent location: this library beside plain colouring and the dense Jacobian, in one run.

    python benchmarks/locations.py MODEL --image PHOTO [PHOTO ...] [--size 128] [--threads 2]

Prints one Markdown table a photograph: Spearman correlation over locations with the truth, for gain and scaling; error
of the level (total gain, mean scaling); spread of the z-scores of both; seconds as a ratio to the dense Jacobian.
`--smoke` runs the zoo's smallest patch model in seconds.
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
from theodolite.maps import LatentMap
from theodolite.surveys.images import load_image

PLAIN_SPACING, PLAIN_REACH = 4, 2


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    autoencoder = theodolite.load(options.model)
    print(f"{options.model}, float32, {options.threads} threads, torch {torch.__version__}, {platform.machine()}")
    for image in options.image:
        picture = load_image(Path(image), channels=autoencoder.image_channels, size=options.size)
        _table(autoencoder.decoder, autoencoder.encode(picture), Path(image).stem)


def _table(map: LatentMap, latent: Tensor, name: str) -> None:
    dense = latent[0].numel()
    print(f"\n{name}, latent {tuple(latent.shape[1:])}\n")
    print("| way | passes | ρ gain | ρ scaling | level gain | level scaling | z gain | z scaling | ratio to dense |")
    print("|---|---|---|---|---|---|---|---|---|")
    truth, unit = _timed(lambda: _ours(map, latent, dense))
    ways = {
        f"plain colouring, spacing {PLAIN_SPACING}, 5x5 window": lambda: _plain(map, latent),
        "theodolite, 10 %": lambda: _ours(map, latent, dense // 10),
        "theodolite, 25 %": lambda: _ours(map, latent, dense // 4),
    }
    print(f"| dense Jacobian | {truth[0]} | 1 | 1 | 0 % | 0 % | | | 1.00 |", flush=True)
    for way, measure in ways.items():
        found, seconds = _timed(measure)
        cells = [_spearman(found[i], truth[i]) for i in (1, 2)]
        cells += [f"{100 * float(found[i].sum() / truth[i].sum() - 1):+.1f} %" for i in (1, 2)]
        cells += [_spread(found, truth, i) for i in (1, 2)]
        print(f"| {way} | {found[0]} | {' | '.join(cells)} | {seconds / unit:.2f} |", flush=True)


_Found = tuple[int, Tensor, Tensor, Tensor | None, Tensor | None]


def _ours(map: LatentMap, latent: Tensor, passes: int) -> _Found:
    found = theodolite.location_map(map, latent, passes=passes, generator=0)
    gain, scaling = found.estimate("gain"), found.estimate("scaling")
    return found.passes, gain.value, scaling.value, gain.stderr, scaling.stderr


def _plain(map: LatentMap, latent: Tensor) -> _Found:
    """One tangent a channel and colour of a square lattice, random signs, energy of a window of 5x5 latent cells."""
    operator = theodolite.jacobian(map, latent)
    channels, height, width = latent.shape[1:]
    blocks = torch.zeros(height, width, channels, channels, dtype=torch.float64)
    signs = torch.randn(height, width, generator=torch.Generator().manual_seed(0)).sign()
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


def _spearman(found: Tensor, truth: Tensor) -> str:
    ranks = torch.stack([part.argsort().argsort().double() for part in (found, truth)])
    return f"{float(torch.corrcoef(ranks)[0, 1]):.4f}"


def _spread(found: _Found, truth: _Found, index: int) -> str:
    stderr = found[index + 2]
    if stderr is None:
        return "none"
    return f"{float(((found[index] - truth[index]) / stderr).square().mean().sqrt()):.2f}"


def _timed(measure: Callable[[], _Found]) -> tuple[_Found, float]:
    start = time.perf_counter()
    return measure(), time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="zoo:patches-kl")
    parser.add_argument("--image", nargs="+", default=None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.size = 32 if options.smoke else options.size
    options.image = options.image or [str(sorted(theodolite.zoo.bundled_images().glob("*.png"))[0])]
    return options


if __name__ == "__main__":
    main()
