"""Derivatives of a whole sampler, noise to sample: this library beside what a user would write, in one run.

    python benchmarks/samplers.py [coloured-latent|coloured-pixels|unet] [--steps 12] [--threads 2]

`unet` is a diffusers `UNet2DModel` of two resolutions with attention, random weights, on 3x32x32. Costs are in sampler
runs: seconds a vector over seconds a latent of one run over a batch of as many latents (32 at most). Prints Markdown
tables: cost of a tangent and a cotangent with set-up apart and amortised, and errors against float64; and peak memory
against the number of steps, of `unet`. `--smoke` runs three steps of a model of the zoo.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

import theodolite
from theodolite.derivatives import chain
from theodolite.derivatives.repairs import repaired
from theodolite.maps import LatentMap, karras_levels

_BATCH = 32
"""Vectors at once in the ways of a user, and latents at once in the sampler run that is the unit."""

_LEVELS = (0.02, 20.0)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.memory is not None:
        return _once(options)
    map, z = _sampler(options.model, options.steps), _noise(options.model)
    print(
        f"{options.model}, noise {tuple(z.shape[1:])}, {options.steps} DDIM steps, float32, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.machine()}; median of {options.repeats}\n"
    )
    _costs(map, z, options)
    if not options.smoke:
        _memory(options)


def _costs(map: LatentMap, z: Tensor, options: argparse.Namespace) -> None:
    with torch.no_grad(), repaired():
        unit = {k: _seconds(lambda k=k: map(z.expand(k, *z.shape[1:])), options.repeats) / k for k in options.tangents}
    _ready(_sampler(options.model, 1), z)  # what a process pays once, whatever the map
    first = _seconds(lambda: _ready(map, z), 0)
    again = _seconds(lambda: _ready(map, z), options.repeats)
    one = unit[min(unit)]
    print(f"One run: {one:.4f} s alone, {unit[max(unit)]:.4f} s a latent in a batch of {max(unit)}.")
    print(
        f"Set-up at a point: {again / one:.2f} runs; at the first point of a map, checks included: {first / one:.2f}.\n"
    )
    exact = theodolite.jacobian(map.to(dtype=torch.float64), z.double())
    print("| way | " + " | ".join(f"{k} vectors" for k in options.tangents) + " | error |")
    print("|---" * (len(options.tangents) + 2) + "|")
    ours = _ready(map, z)
    rows: dict[str, Callable[[Tensor], Tensor]] = {
        "theodolite, tangent": ours.matvec,
        "theodolite, tangent, set-up included": lambda V: _operator(map, z).matvec(V),
        f"`vmap(jvp)`, {_BATCH} at once": lambda V: _vmapped(map, z, V),
        "central differences": lambda V: _central(map, z, V),
        "theodolite, cotangent": ours.rmatvec,
        f"`vmap` of `vjp`'s pullback, {_BATCH} at once, set-up included": lambda V: _pulled(map, z, V),
    }
    for name, product in rows.items():
        is_pull = "cotangent" in name or "pullback" in name
        with torch.no_grad(), repaired():
            like = ours.outputs if is_pull else z
            cells = [f"{_cost(product, _vectors(k, like), options.repeats) / unit[k]:.2f}" for k in options.tangents]
            V = _vectors(4, like)
            error = _apart(product(V), (exact.rmatvec if is_pull else exact.matvec)(V.double()))
        print(f"| {name} | " + " | ".join(cells) + f" | {error:.0e} |", flush=True)
    print()


def _cost(product: Callable[[Tensor], Tensor], V: Tensor, repeats: int) -> float:
    """Seconds a vector."""
    return _seconds(lambda: product(V), repeats) / len(V)


def _operator(map: LatentMap, z: Tensor) -> theodolite.JacobianOperator:
    return theodolite.jacobian(map, z)


def _ready(map: LatentMap, z: Tensor) -> theodolite.JacobianOperator:
    """An operator whose stages are recorded."""
    operator = _operator(map, z)
    operator.matvec(z[None])
    return operator


def _vmapped(map: LatentMap, z: Tensor, V: Tensor) -> Tensor:
    return torch.cat([vmap(lambda v: jvp(map, (z,), (v,))[1])(part) for part in V.split(_BATCH)])


def _central(map: LatentMap, z: Tensor, V: Tensor) -> Tensor:
    """The step at which rounding and curvature balance in float32, for vectors of length about one a coordinate."""
    h = 1e-2 * z.norm() / V[0].norm()
    parts = [(map(z + h * part[:, 0]) - map(z - h * part[:, 0])) / (2 * h) for part in V.split(_BATCH)]
    return torch.cat(parts)[:, None]


def _pulled(map: LatentMap, z: Tensor, U: Tensor) -> Tensor:
    with torch.enable_grad():
        _, pull = vjp(map, z)
        return torch.cat([vmap(pull)(part)[0] for part in U.split(_BATCH)])


def _memory(options: argparse.Namespace) -> None:
    """Peak memory of 32 products through the UNet in a process of its own, as the sampler grows."""
    ways = {"run": "a run", "ours": "32 tangents", "back": "32 cotangents", "vjp": "one cotangent by `vjp`"}
    print("| steps | " + " | ".join(f"{name}, GiB" for name in ways.values()) + " |\n" + "|---" * (len(ways) + 1) + "|")
    for steps in options.lengths:
        command = [sys.executable, __file__, "unet", "--steps", str(steps), "--threads", str(options.threads)]
        peaks = [
            float(subprocess.run([*command, "--memory", way], capture_output=True, text=True, check=True).stdout)
            for way in ways
        ]
        print(f"| {steps} | " + " | ".join(f"{peak:.2f}" for peak in peaks) + " |", flush=True)
    print(f"\nRecordings of all stages together are kept between products below {chain._KEPT / 2**20:.0f} MiB.")


def _once(options: argparse.Namespace) -> None:
    import resource

    map, z = _sampler("unet", options.steps), _noise("unet")
    with torch.no_grad(), repaired():
        if options.memory == "run":
            map(z)
        elif options.memory == "vjp":
            _pulled(map, z, z[None])
        else:
            operator = _operator(map, z)
            (operator.matvec if options.memory == "ours" else operator.rmatvec)(_vectors(32, z))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def _sampler(model: str, steps: int) -> LatentMap:
    if model != "unet":
        return theodolite.sampler_map(theodolite.load(f"zoo:{model}"), steps, condition=(3, "red"), guidance=2.0)
    from diffusers import DDIMScheduler, UNet2DModel

    levels = karras_levels(steps, *_LEVELS)
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return theodolite.sampler_map(
        network.eval().requires_grad_(False), levels, scheduler=DDIMScheduler(clip_sample=False)
    )


def _noise(model: str) -> Tensor:
    shape = {"unet": (3, 32, 32), "coloured-pixels": (3, 16, 16)}.get(model, (4, 8, 8))
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))


def _vectors(k: int, like: Tensor) -> Tensor:
    return torch.randn(k, *like.shape, generator=torch.Generator().manual_seed(1)).to(like)


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


def _seconds(work: Callable[[], object], repeats: int) -> float:
    """Median over `repeats` runs after one that warms up; the first run itself for none."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:] or times)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="coloured-latent")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--tangents", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--lengths", type=int, nargs="+", default=[6, 12, 24, 48], help="steps of the memory table")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--memory", choices=["run", "ours", "back", "vjp"], default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.tangents, options.repeats, options.threads = 2, [1, 4], 1, 1
    return options


if __name__ == "__main__":
    main()
