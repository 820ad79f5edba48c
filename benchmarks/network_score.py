"""`NetworkScore` against the truth: a Gaussian in eight dimensions and three Gaussians in the plane.

    python benchmarks/network_score.py [--seconds 60] [--samples 50000] [--latents 20000] [--threads 2]

A denoiser is trained on samples of each for `--seconds` (or `--steps`), then asked at fresh ones. Prints a Markdown
table a density: per cent by which Fisher information and its rate are off, against the closed form with the standard
error of the mean over latents, and against the exact score at the same noised latents, which leaves the error of the
network. `--plain` also trains with one variance for all directions in place of principal ones, so that a Gaussian has
to be learnt too. `--smoke` runs in seconds and says nothing about quality.
"""

from __future__ import annotations

import argparse
import platform
import time
from contextlib import nullcontext
from unittest import mock

import torch
from torch import Tensor

from theodolite.information import InformationCurve, gaussian_information, information, mixture_information
from theodolite.scores import GaussianMixtureScore, GaussianScore, NetworkScore
from theodolite.scores.preconditioning import Preconditioning

LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 3.0)
VARIANCES = (2.0, 1.5, 1.0, 1.0, 0.5, 0.5, 0.1, 0.1)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    print(
        f"{options.samples} samples to train on, {options.latents} to ask at, float32, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}"
    )
    for name, density, truth in _densities():
        for plain in (False, True) if options.plain else (False,):
            _measure(name + (", one variance for all directions" if plain else ""), density, truth, plain, options)


def _measure(
    name: str,
    density: GaussianScore | GaussianMixtureScore,
    truth: InformationCurve,
    plain: bool,
    options: argparse.Namespace,
) -> None:
    samples, latents = (
        density.sample(n, torch.Generator().manual_seed(seed)).float()
        for n, seed in ((options.samples, 1), (options.latents, 2))
    )
    began = time.process_time()
    with mock.patch.object(Preconditioning, "fitted", _with_one_variance) if plain else nullcontext():
        score = NetworkScore.fit(samples, seconds=options.seconds, steps=options.steps, generator=0)
    record, processor = score.record, time.process_time() - began
    print(
        f"\n{name}: {record.steps} steps in {record.seconds:.0f} s of wall-clock time, {processor:.0f} s of processor "
        f"time; weights of step {record.kept_step}\n"
    )
    ours, exact = (information(latents, LEVELS, source, generator=3) for source in (score, density))
    print("| t | FI, % | stderr | FIR, % | stderr | FI of the network, % | FIR of the network, % |")
    print("|---|---|---|---|---|---|---|")
    for level, row in zip(LEVELS, _errors(ours, exact, truth).T.tolist()):
        cells = [f"{value:+.2f}" for value in row]
        cells[1], cells[3] = cells[1].lstrip("+"), cells[3].lstrip("+")
        print(f"| {level} | {' | '.join(cells)} |")


def _errors(ours: InformationCurve, exact: InformationCurve, truth: InformationCurve) -> Tensor:
    """Per cent, `(6, T)`: error and its standard error for FI and FIR, then both against the exact score."""
    rows = []
    for name in ("fi", "fir"):
        samples, want = getattr(ours, f"{name}_samples").double(), getattr(truth, name).value
        rows += [samples.mean(1) / want - 1, samples.std(1) / samples.shape[1] ** 0.5 / want]
    means = [[getattr(curve, f"{name}_samples").double().mean(1) for curve in (ours, exact)] for name in ("fi", "fir")]
    return 100 * torch.stack([*rows, *(mine / best - 1 for mine, best in means)])


def _with_one_variance(latents: Tensor, low: float, high: float) -> Preconditioning:
    z = latents.double()
    scale = float((z - z.mean(0)).square().mean().sqrt())
    return Preconditioning(z.mean(0), scale, (), torch.ones_like(z[0]), low, high)


def _densities() -> list[tuple[str, GaussianScore | GaussianMixtureScore, InformationCurve]]:
    D = torch.float64
    variances = torch.tensor(VARIANCES, dtype=D)
    covs = torch.tensor([[[0.5, 0.2], [0.2, 0.3]], [[0.2, 0], [0, 0.6]], [[0.1, 0], [0, 0.1]]], dtype=D)
    means = torch.tensor([[0.0, 0], [2, 1], [-1, 2]], dtype=D)
    mixture = GaussianMixtureScore(torch.tensor([0.5, 0.3, 0.2], dtype=D), means, covs, exact=True)
    gaussian = GaussianScore(torch.zeros(8, dtype=D), variances, exact=True)
    return [
        ("Gaussian in 8 dimensions", gaussian, gaussian_information(variances, LEVELS)),
        ("Three Gaussians in the plane", mixture, mixture_information(mixture, LEVELS)),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--latents", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.samples, options.latents = 5, 500, 100
    elif options.steps is None and options.seconds is None:
        options.seconds = 60.0
    return options


if __name__ == "__main__":
    main()
