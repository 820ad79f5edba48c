"""Error of the log-volume against model passes: ours, the subspace method and the projection method, in one figure.

    python benchmarks/error_curves.py [MODEL] [--image PHOTO] [--size 128] [--seeds 12] [--out error_curves.png]

The truth is the dense Jacobian at one latent. All ways then work with that matrix instead of the map: the same numbers,
and many seeds in little time. Root mean square error for each dimension over the seeds:

- theodolite, fixed: 6 probes, the depth varies; `rtol`: the passes that it takes to a requested error, with and without
  the preconditioner;
- subspace: `log sigma` of `J V`, `V` with k random orthonormal columns, times `d / k`; k passes;
- projection: `log sigma` of `W J`, `W` with k random orthonormal rows, times `d / k`; k passes.

Prints the same numbers as a Markdown table. `--smoke` runs a model of the zoo in seconds.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import theodolite
from _models import autoencoder
from theodolite.data.images import load_image
from theodolite.derivatives import JacobianOperator, LinearOperator
from theodolite.descriptors.preconditioning import location_blocks
from theodolite.estimates import Seeds
from theodolite.spectrum import log_volume, log_volume_within, singular_spectrum

_PROBES = 6

Row = tuple[str, int, float, float]
"""Way, passes, root mean square error and stated error for each dimension."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    model = autoencoder(options.model)
    picture = load_image(Path(options.image), channels=model.image_channels, size=options.size)
    operator = theodolite.jacobian(model.decoder, model.encode(picture))
    J = operator.dense()
    truth = float(torch.linalg.svdvals(torch.linalg.qr(J[0].double(), mode="r").R).log().sum())
    d = J.shape[-1]
    print(
        f"{options.model}, latent {tuple(operator.latents.shape[1:])}, log-volume {truth:.1f}, {options.seeds} seeds, "
        f"float32, torch {torch.__version__}, {platform.machine()}\n"
    )
    rows = [*_ours(operator, J, truth, options), *_recipes(J[0], truth, options)]
    print("| way | passes | of dense | root mean square error | stated error |")
    print("|---|---|---|---|---|")
    for way, passes, error, stated in rows:
        print(f"| {way} | {passes} | {100 * passes / d:.1f} % | {error:.4f} | {_shown(stated)} |")
    if options.out:
        _draw(rows, d, Path(options.out), options.model)


def _ours(operator: JacobianOperator, J: Tensor, truth: float, options: argparse.Namespace) -> Iterator[Row]:
    R = torch.linalg.qr(J[0].double(), mode="r").R.to(J)
    matrix, d = LinearOperator.from_matrices(R[None]), len(R)
    for depth in options.depths:
        found = [
            log_volume(singular_spectrum(matrix, probes=_PROBES, depth=depth, generator=seed, exact=False))
            for seed in range(options.seeds)
        ]
        errors = torch.stack([estimate.value - truth for estimate in found]) / d
        yield "theodolite, fixed", found[0].passes, _rms(errors), float(found[0].stderr) / d
    blocks = [location_blocks(operator, Seeds(seed, 1)) for seed in range(options.seeds)]
    for way, preconditioners in {"rtol": blocks, "rtol, no preconditioner": [None] * len(blocks)}.items():
        for rtol in options.rtols:
            found = [
                log_volume_within(matrix, rtol, generator=seed, preconditioner=preconditioner)
                for seed, preconditioner in enumerate(preconditioners)
            ]
            errors = torch.stack([estimate.value - truth for estimate in found]) / d
            passes = sum(estimate.passes for estimate in found) // len(found)
            yield f"theodolite, {way}", passes, _rms(errors), float(found[0].stderr) / d


def _recipes(J: Tensor, truth: float, options: argparse.Namespace) -> Iterator[Row]:
    ways: dict[str, Callable[[Tensor], Tensor]] = {"subspace": lambda V: J @ V, "projection": lambda W: J.mT @ W}
    d = J.shape[1]
    for way, product in ways.items():
        size = d if way == "subspace" else len(J)
        for k in options.subspaces:
            errors = []
            for seed in range(options.seeds):
                frame = Seeds(seed, 1).frame(way, k, size)[:, 0].T.to(J)
                errors.append(torch.linalg.svdvals(product(frame).double()).log().sum() / k - truth / d)
            yield way, k, _rms(torch.stack(errors)), float("nan")


def _rms(errors: Tensor) -> float:
    return float(errors.square().mean().sqrt())


def _shown(number: float) -> str:
    return "none" if number != number else f"{number:.4f}"


def _draw(rows: list[Row], d: int, path: Path, name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for way in dict.fromkeys(row[0] for row in rows):
        passes, errors = zip(*((row[1], row[2]) for row in rows if row[0] == way and row[1] < d))
        axes.plot(passes, errors, marker="o", markersize=4, label=way)
    axes.axvline(d, color="0.6", linestyle=":", linewidth=1)
    axes.annotate("dense", (d, 1), xycoords=("data", "axes fraction"), ha="right", va="top", fontsize=8, color="0.4")
    axes.set(xscale="log", yscale="log", xlabel="model passes", ylabel="error of log-volume per dimension (nats, RMS)")
    axes.set_title(f"{Path(name).name}, {d:,} latent dimensions", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="zoo:patches-kl")
    parser.add_argument("--image", default=None)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=None)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.size = 64 if options.smoke else options.size
    options.seeds = 2 if options.smoke else options.seeds
    options.depths = [8] if options.smoke else [4, 8, 12, 16, 24, 32, 48]
    options.rtols = [0.08] if options.smoke else [0.02, 0.015, 0.01, 0.007]
    options.subspaces = [16, 32] if options.smoke else [32, 64, 128, 256, 512]
    options.image = options.image or sorted(theodolite.zoo.bundled_images().glob("*.png"))[0]
    return options


if __name__ == "__main__":
    main()
