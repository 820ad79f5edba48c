"""Products with a decoder's Jacobian: this library beside what a user would write, same map, same latent, in one run.

    python benchmarks/jacobian.py [MODEL] [--latent 16] [--threads 2] [--tangents 1 16 64 1024]
    python benchmarks/jacobian.py sd --latent 16 --tangents 1 16 64

`sd` is the decoder architecture of Stable Diffusion 1.x (`AutoencoderKL`, random weights). Costs are in forward passes:
seconds a vector over seconds a latent of one forward pass over a batch of as many latents (16 at most). Prints Markdown
tables: tangents, cotangents and second derivatives; set-up; and peak memory against the size of the latent. `--smoke`
runs a model of the zoo in seconds.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import jacfwd, jvp, vjp, vmap

import theodolite
from _models import autoencoder
from theodolite.derivatives.linearise import linearise
from theodolite.derivatives.repairs import repaired
from theodolite.maps import LatentMap

_BATCH = 16
"""Vectors at once in the ways of a user, and latents at once in the forward pass that is the unit."""

Product = Callable[[LatentMap, Tensor, Tensor], object]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.memory_only is not None:
        return _push_once(options)
    map, z = autoencoder(options.model).decoder.to(options.device), _latent(options).to(options.device)
    print(
        f"{options.model}, latent {tuple(z.shape[1:])}, float32, {options.device}, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}; median of {options.repeats}\n"
    )
    with torch.no_grad(), repaired():
        forward = {k: _forward_seconds(map, z, k, options.repeats) for k in (1, _BATCH)}
        _products(map, z, forward, options)
    if not options.smoke and options.device == "cpu":
        _memory(options)


def _products(map: LatentMap, z: Tensor, forward: dict[int, float], options: argparse.Namespace) -> None:
    setup = _seconds(lambda: linearise(map, z), z, options.repeats)
    print(f"One forward pass: {forward[1]:.4f} s a latent alone, {forward[_BATCH]:.4f} s in a batch of {_BATCH}.")
    print(f"Set-up (recording, once a point): {setup / forward[1]:.2f} forward passes.\n")
    counts = options.tangents
    print("| way | " + " | ".join(f"{k} vectors" for k in counts) + " |")
    print("|---" * (len(counts) + 1) + "|")
    for name, product in _ways(options.repeats).items():
        costs = []
        for k in counts:
            if k > options.most and not name.startswith("theodolite"):
                costs.append("")
                continue
            seconds = product(map, z, k) / k
            costs.append(f"{seconds / _unit(forward, k):.2f}")
        print(f"| {name} | " + " | ".join(costs) + " |", flush=True)
    recorded = theodolite.jacobian(map, z)
    amortised = []
    for k in counts:
        V = _vectors(k, z)
        total = setup + _seconds(lambda V=V: recorded.matvec(V), z, 1)
        amortised.append(f"{total / k / _unit(forward, k):.2f}")
    print("| theodolite, tangent, set-up included | " + " | ".join(amortised) + " |\n")


def _forward_seconds(map: LatentMap, z: Tensor, k: int, repeats: int) -> float:
    batch = z.expand(k, *z.shape[1:]).contiguous()
    return _seconds(lambda: map(batch), z, repeats) / k


def _unit(forward: dict[int, float], k: int) -> float:
    """Seconds a latent of a forward pass over a batch like that of `k` vectors."""
    return forward[_BATCH if k >= _BATCH else 1]


def _ways(repeats: int) -> dict[str, Callable[[LatentMap, Tensor, int], float]]:
    """Seconds of `k` products, by way; what is made once a point is left out of ours and of `vjp`."""

    def ours(product: str) -> Callable[[LatentMap, Tensor, int], float]:
        def measure(map: LatentMap, z: Tensor, k: int) -> float:
            operator = theodolite.jacobian(map, z)
            like = operator.outputs if product == "rmatvec" else z
            V = _vectors(k, like)
            getattr(operator, product)(V[:1])
            return _seconds(lambda: getattr(operator, product)(V), z, repeats)

        return measure

    def theirs(product: Product) -> Callable[[LatentMap, Tensor, int], float]:
        return lambda map, z, k: _seconds(lambda: product(map, z, _vectors(k, z)), z, repeats)

    def pulled(map: LatentMap, z: Tensor, k: int) -> float:
        outputs, pull = vjp(map, z)
        U = _vectors(k, outputs)
        return _seconds(lambda: [vmap(pull)(part) for part in U.split(_BATCH)], z, repeats)

    return {
        "theodolite, tangent": ours("matvec"),
        "loop of `jvp`": theirs(lambda map, z, V: [jvp(map, (z,), (v,))[1] for v in V]),
        f"`vmap(jvp)`, {_BATCH} at once": theirs(_vmapped),
        f"`jacfwd`, {_BATCH} columns at once": theirs(_columns),
        "central differences": theirs(_central),
        "theodolite, cotangent": ours("rmatvec"),
        f"`vmap` of `vjp`'s pullback, {_BATCH} at once": pulled,
        "theodolite, second derivative": ours("second"),
        "nested `jvp`": theirs(lambda map, z, V: [_nested(map, z, v) for v in V]),
    }


def _vmapped(map: LatentMap, z: Tensor, V: Tensor) -> list[Tensor]:
    return [vmap(lambda v: jvp(map, (z,), (v,))[1])(part) for part in V.split(_BATCH)]


def _columns(map: LatentMap, z: Tensor, V: Tensor) -> list[Tensor]:
    """As many columns as vectors, through a map of that many coefficients."""
    return [
        jacfwd(lambda c, part=part: map(z + torch.tensordot(c, part, 1)))(z.new_zeros(len(part)))
        for part in V.split(_BATCH)
    ]


def _central(map: LatentMap, z: Tensor, V: Tensor) -> list[Tensor]:
    h = 1e-3
    return [(map(z + h * part[:, 0]) - map(z - h * part[:, 0])) / (2 * h) for part in V.split(_BATCH)]


def _nested(map: LatentMap, z: Tensor, v: Tensor) -> Tensor:
    second: Tensor = jvp(lambda x: jvp(map, (x,), (v,))[1], (z,), (v,))[1]
    return second


def _memory(options: argparse.Namespace) -> None:
    """Peak memory of 16 products in a process of its own, as the latent grows."""
    print("| latent side | peak memory of 16 tangents, GiB | of a forward pass, GiB |\n|---|---|---|")
    for side in options.sides:
        peaks = []
        for k in (16, 0):
            command = [sys.executable, __file__, options.model, "--latent", str(side), "--memory-only", str(k)]
            peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(f"| {side} | " + " | ".join(f"{peak:.2f}" for peak in peaks) + " |", flush=True)


def _push_once(options: argparse.Namespace) -> None:
    import resource

    map, z = autoencoder(options.model).decoder, _latent(options)
    with torch.no_grad():
        if options.memory_only:
            theodolite.jacobian(map, z).matvec(_vectors(options.memory_only, z))
        else:
            map(z)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def _latent(options: argparse.Namespace) -> Tensor:
    channels = 4 if options.model == "sd" else theodolite.load(options.model).decoder.latent_shape[0]
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, options.latent, options.latent, generator=generator)


def _vectors(k: int, like: Tensor) -> Tensor:
    return torch.randn(k, *like.shape, generator=torch.Generator().manual_seed(1)).to(like)


def _seconds(work: Callable[[], object], z: Tensor, repeats: int) -> float:
    """Median over `repeats` runs after one that warms up."""
    return statistics.median(list(_times(work, z, repeats + 1))[1:])


def _times(work: Callable[[], object], z: Tensor, count: int) -> Iterator[float]:
    finish = torch.cuda.synchronize if z.is_cuda else lambda: None
    for _ in range(count):
        start = time.perf_counter()
        work()
        finish()
        yield time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="zoo:patches-smooth")
    parser.add_argument("--latent", type=int, default=16, help="side of the latent")
    parser.add_argument("--tangents", type=int, nargs="+", default=[1, 16, 64, 1024])
    parser.add_argument("--most", type=int, default=64, help="most vectors that the other ways are given")
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 16, 32], help="latents of the memory table")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--memory-only", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.smoke:
        options.latent, options.tangents, options.repeats = 4, [1, 4], 1
    return options


if __name__ == "__main__":
    main()
