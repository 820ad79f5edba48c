"""Detection over noise levels: with the exact score of a ring and of memorised points, and with a trained denoiser.

    python benchmarks/detection.py [--steps 2000] [--duplicates 50] [--threads 2] [--zoo]

Prints a Markdown table an experiment, AUROC (unusual above normal) at each noise level with its 95 % interval:

- a ring of radius 3 in the plane, queries off it against queries on it, exact score, x0- and eps-maps;
- 20 isolated points held ten times each against a 2-plane in R^8, three draws, exact score;
- the 8x8 digits of scikit-learn, 40 of them held `--duplicates` times, a multilayer perceptron trained for `--steps`:
  the repeated training images against others trained on once, and digits of classes it never saw against held-out ones
  of the classes it did. Peers in the same run: the norm of the score, the distance to the nearest training image.

`--zoo` adds the `coloured-memorised` of the zoo: its eight repeated images, four noises each, against 60 it saw once.
`--smoke` runs in seconds and says nothing about quality.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

from _levels import both, circle, even_ring, peers, posterior, report
from theodolite.descriptors import Effort
from theodolite.detection import curves
from theodolite.maps import denoiser_map
from theodolite.scores import NetworkScore

D = torch.float64
UNSEEN = (8, 9)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    ring(options.queries, 200 if options.smoke else 2000)
    for seed in range(options.draws):
        memorised(seed, options.queries)
    digits(options)
    if options.zoo:
        zoo()


def ring(queries: int, points: int) -> None:
    draw = torch.Generator().manual_seed(0)
    data = even_ring(points)
    on = circle(2 * math.pi * torch.rand(queries, generator=draw, dtype=D))
    off = 12 * torch.rand(20 * queries, 2, generator=draw, dtype=D) - 6
    off = off[(off.norm(dim=-1) - 3).abs() > 0.5][:queries]
    found = both(posterior(data), (0.1, 0.2, 0.4, 0.8, 1.5, 3.0), on, off, noise=False)
    report("Ring of radius 3, off against on, exact score", found)
    for output, one in found.items():
        ranks = " | ".join(f"{value:.2f}" for value in one.normal["local_rank"].mean(-1).tolist())
        print(f"| mean rank on the ring, {output} | {ranks} |")


def memorised(seed: int, queries: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(8, 2, generator=draw, dtype=D)).Q
    plane = torch.randn(500, 2, generator=draw, dtype=D) @ axes.T
    alone = 2 * torch.randn(20, 8, generator=draw, dtype=D)
    data = torch.cat([plane, alone.repeat(10, 1)])
    normal = plane[torch.randperm(500, generator=draw)[: min(queries, 60)]]
    groups = [*range(len(normal)), *[len(normal) + place % 20 for place in range(60)]]
    levels = (0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4)
    score = posterior(data)
    found = both(score, levels, normal, alone.repeat(3, 1), baselines=peers(score, data), groups=groups)
    report(f"Memorised points against a 2-plane in R^8, exact score, draw {seed}", found)


def digits(options: argparse.Namespace) -> None:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images, classes = torch.from_numpy(loaded.data) / 8 - 1, torch.from_numpy(loaded.target)
    unseen = torch.isin(classes, torch.tensor(UNSEEN))
    order = torch.randperm(int((~unseen).sum()), generator=torch.Generator().manual_seed(0))
    known = images[~unseen][order]
    repeated, once, held_out = known[:40], known[40:1000], known[1000:]
    cloud = torch.cat([repeated.repeat(options.duplicates, 1), once]).float()
    score = NetworkScore.fit(cloud, t_min=0.003, held_out=cloud[::10], steps=options.steps, generator=0)
    n = options.queries
    levels = (0.1, 0.2, 0.4, 0.8, 1.6)
    others = peers(score, torch.cat([repeated, once]))
    found = both(score, levels, once[:n].float(), repeated[:n].float(), baselines=others)
    report(f"Digits held {options.duplicates} times against digits held once, trained denoiser", found)
    found = both(score, levels, held_out[:n].float(), images[unseen][:n].float(), baselines=others)
    report("Digits of unseen classes against held-out digits of seen ones, the same denoiser", found)


def zoo() -> None:
    from theodolite.zoo.coloured import memorised_set, pixel_diffusion

    denoiser = pixel_diffusion(memorised=True).denoiser
    images, _, copies = memorised_set()
    once, repeated = images[copies == 1][:60], images[copies > 1].repeat(4, 1, 1, 1)

    def norm(x: Tensor, sigma: float) -> Tensor:
        with torch.no_grad():
            return ((denoiser(x, sigma, None) - x) / sigma**2).flatten(1).norm(dim=-1)

    found = curves(
        lambda sigma: denoiser_map(denoiser, sigma, "eps"),
        (0.1, 0.3, 1.0),
        once,
        repeated,
        groups=[*range(60), *(60 + place % 8 for place in range(32))],
        effort=Effort(probes=3, depth=32),
        baselines={
            "score norm": norm,
            "nearest training image": lambda x, sigma: torch.cdist(x.flatten(1), images.flatten(1)).amin(-1),
        },
    )
    report("coloured-memorised, images shown a hundred times against images shown once", {"eps": found})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--duplicates", type=int, default=50)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--zoo", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.duplicates, options.queries, options.draws = 5, 5, 12, 1
    return options


if __name__ == "__main__":
    main()
