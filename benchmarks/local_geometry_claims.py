"""The claims C1 to C11 about local geometry, each by a test on a small model, with its interval and verdict.

    python benchmarks/local_geometry_claims.py [--only C4 C6 ...] [--data FOLDER] [--images FOLDER] [--threads 2]

Prints one Markdown table: claim, quantity, n (independent samples of the smaller side), value, both ends of the 95 %
interval, the rule and the verdict, which the interval alone decides:

- C1 `psi - log p_z` is the negative log-likelihood of an injective map; C2 `nu` is the dimension of the manifold; C3
  `delta` counts hyperplanes; C4 descriptors differ on and off a ring; C11 `nu` over noise (`_claims_toys.py`);
- C5 other kinds of images separate; C6 repeated training images do; C10 what `nu` and `delta` add to `psi`
  (`_claims_detection.py`);
- C7 descriptors grow with visual complexity; C8 with the diversity of a class; C9 guidance raises `psi`, diversity and
  quality (`_claims_images.py`).

A bound holds with the whole interval beyond it and fails with all of it on the other side. An AUROC holds with chance
outside its interval, on either side, and fails with the whole interval within 0.1 of chance. Rows without a rule stand
beside the others: baselines, and what was gained over them. Intervals are over samples or whole groups of them, not
over trainings: every network is trained once. `--data` is a folder with `fashion_mnist_test.npz`, `--images` one of
photographs; by default `../shared/...`, and without them C5 and C10 leave Fashion-MNIST out and C7 takes the
photographs that ship. It takes about three quarters of an hour of two cores; `--smoke` takes seconds and says nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

import _claims
from _claims import Row, print_rows
from _claims_detection import memorised, memorised_zoo, redundant, unseen
from _claims_images import classes, complexity, guided
from _claims_toys import dimension, hyperplanes, likelihood, manifold, rank_over_noise
from theodolite.descriptors import Effort
from theodolite.zoo.coloured import CONDITIONS

ROUGH = Effort(probes=1, depth=8)
SHARED = Path(__file__).resolve().parents[2] / "shared"


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    rows: list[Row] = []
    for name, claim in _tests(options).items():
        if options.only is None or name in options.only:
            started = time.perf_counter()
            rows += claim()
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    print_rows(rows)


def _tests(options: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    n, steps, data, few = options.n, options.steps, options.data, options.smoke
    return {
        "C1": lambda: likelihood(n, 2000 if few else 100_000),
        "C2": lambda: dimension(n, steps // 2),
        "C3": lambda: hyperplanes(n // 2, 50 if few else 5000),
        "C4": lambda: manifold(n, steps),
        "C5": lambda: unseen(min(n, 180), data, steps),
        "C6": lambda: [*memorised(n, steps), *(memorised_zoo(60, 400) if not few else [])],
        "C7": lambda: complexity(5 if few else 120, options.images),
        "C8": lambda: classes(3, CONDITIONS[::8]) if few else classes(12),
        "C9": lambda: guided(*((32, 16, 3, 5, ROUGH, (0.02, 5.0)) if few else (192, 48, 12, 300))),
        "C10": lambda: redundant(min(n, 180), data),
        "C11": lambda: rank_over_noise(n, steps),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="CLAIM", help="of C1 to C11")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "fashion-mnist")
    parser.add_argument("--images", type=Path, default=SHARED / "images")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--steps", type=int, default=2000, help="of every denoiser's training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.n, options.steps, options.threads, _claims.DRAWS = 12, 5, 1, 50
    return options


if __name__ == "__main__":
    main()
