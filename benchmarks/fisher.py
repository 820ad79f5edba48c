"""Fisher information from an empirical mixture: this library beside what a user would write, in one run.

    python benchmarks/fisher.py [--references 50000] [--queries 2000] [--dimension 4096] [--threads 2]

The latents are Gaussian with a power spectrum, `N(0, diag(k^-2))`, so that effective sample sizes are valid and the
truth is known. Every way runs in a process of its own, which measures the rate of a float32 matrix product before and
after. Prints Markdown tables: seconds, operations in matrix products and their share of that rate, peak memory with the
data in it; and, level by level, what the full-size run found. `--smoke` runs in seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from theodolite.information import information
from theodolite.scores import MixtureScore

_LEAST, _MOST = 0.1, 10.0
"""Noise variances; the largest variance of the latents is one."""

_SIDE = 4096
"""Of the matrices whose product is the machine's rate."""


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    if options.way is not None:
        return print(json.dumps(_measured(options)))
    print(
        f"{options.levels} levels, {options.dimension} dimensions, float32, {options.device}, "
        f"{options.threads} threads, torch {torch.__version__}, {platform.machine()}\n"
    )
    whole = _run("theodolite", options.references, options.queries, options)
    rows = [whole]
    for N, n, ways in options.beside:
        rows += [_run(way, N, n, options) for way in ("theodolite", *ways)]
    _print_costs(rows)
    _print_levels(whole)


def _run(way: str, N: int, n: int, options: argparse.Namespace) -> dict[str, Any]:
    """One way in a process of its own."""
    sizes = {"references": N, "queries": n, "dimension": options.dimension, "levels": options.levels}
    words = {"way": way, **sizes, "threads": options.threads, "device": options.device, "side": options.side}
    command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in words.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return {"way": way, **sizes, **json.loads(done.stdout.splitlines()[-1])}


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds, memory, operations and the rate of a matrix product, with what was found."""
    N, n, D, T = options.references, options.queries, options.dimension, options.levels
    draws = torch.Generator().manual_seed(0)
    scales = 1 / torch.arange(1, D + 1)
    references, latents = (torch.randn(k, D, generator=draws).mul_(scales).to(options.device) for k in (N, n))
    t = torch.logspace(torch.tensor(_LEAST).log10(), torch.tensor(_MOST).log10(), T, dtype=torch.float64)
    compute, operations = _WAYS[options.way]
    torch.func.jvp(torch.exp, (t,), (t,))  # the first call imports
    rates = _matmul_rates(options)
    start = time.perf_counter()
    found = compute(references, latents, t)
    _finish(options)
    seconds = time.perf_counter() - start
    peak = _peak(options)
    rate = max(rates + _matmul_rates(options))
    count = operations(N, n, D, T)
    share = count / seconds / rate
    return {"seconds": seconds, "peak": peak, "operations": count, "rate": rate, "share": share, "found": found}


def _ours(references: Tensor, latents: Tensor, t: Tensor) -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer latents than dimensions: no excess is asked for
        curve = information(latents, t, MixtureScore(references), generator=0)
    s = 1 / torch.arange(1, latents.shape[1] + 1, dtype=torch.float64).square()
    level = t[:, None]
    return {
        "t": t.tolist(),
        "ess": curve.fi["effective_sample_size"].value.tolist(),
        "mmse": curve.mmse.value.tolist(),
        "mmse error": curve.mmse.stderr.tolist(),
        "mmse truth": (s * level / (s + level)).sum(-1).tolist(),
        "rate": curve.rate.value.tolist(),
        "rate error": curve.rate.stderr.tolist(),
        "rate truth": (s / (s + level)).square().sum(-1).tolist(),
    }


def _whole_weights(references: Tensor, latents: Tensor, t: Tensor) -> list[float]:
    """All weights at once, level by level, and the Jacobian by automatic differentiation."""
    noise, probes = torch.randn_like(latents), torch.randn_like(latents).sign()
    half = references.square().sum(-1) / 2
    found = []
    for level in t.tolist():

        def score(x: Tensor, level: float = level) -> Tensor:
            weights = ((x @ references.mT - half) / level).softmax(-1)
            return (weights @ references - x) / level

        x = latents + level**0.5 * noise
        s, push = torch.func.jvp(score, (x,), (probes,))
        found += [float((latents - x - level * s).square().sum(-1).mean()), float(push.square().sum(-1).mean())]
    return found


def _covariances(references: Tensor, latents: Tensor, t: Tensor) -> list[float]:
    """Every difference written out, and the `D x D` covariance of each query."""
    noise, D = torch.randn_like(latents), latents.shape[1]
    found = []
    for level in t.tolist():
        differences = references - (latents + level**0.5 * noise)[:, None]
        weights = (-differences.square().sum(-1) / (2 * level)).softmax(-1)
        mean = torch.einsum("nk,nkd->nd", weights, differences)
        centred = differences - mean[:, None]
        covariance = (weights[..., None] * centred).mT @ centred
        H = covariance / level**2 - torch.eye(D).to(covariance) / level
        found += [float((mean / level).square().sum(-1).mean()), float(H.square().sum((1, 2)).mean())]
    return found


_WAYS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Any], Callable[[int, int, int, int], int]]] = {
    "theodolite": (_ours, lambda N, n, D, T: 2 * N * n * D * (3 + 2 * T)),
    "weights": (_whole_weights, lambda N, n, D, T: 2 * N * n * D * 4 * T),
    "covariances": (_covariances, lambda N, n, D, T: 2 * N * n * D * D * T),
}
"""What each computes, and how many operations of it are in matrix products."""

_NAMES = {
    "theodolite": "theodolite, `information` with `MixtureScore`",
    "weights": "`softmax` of all inner products, `torch.func.jvp`, level by level",
    "covariances": "differences and covariances written out, level by level",
}


def _matmul_rates(options: argparse.Namespace) -> list[float]:
    """Operations a second of a product of square float32 matrices, three times."""
    A, B = torch.randn(2, options.side, options.side, device=options.device)
    rates = []
    for _ in range(4):
        start = time.perf_counter()
        A @ B
        _finish(options)
        rates.append(2 * options.side**3 / (time.perf_counter() - start))
    return rates[1:]


def _peak(options: argparse.Namespace) -> float:
    """Most memory that was in use, GiB: of the process, or on the GPU."""
    if options.device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _finish(options: argparse.Namespace) -> None:
    if options.device != "cpu":
        torch.cuda.synchronize()


def _print_costs(rows: list[dict[str, Any]]) -> None:
    print("With `N` references, `n` queries, `D` dimensions and `T` levels, operations in matrix products are")
    print("`2 N n D (3 + 2 T)` of theodolite, `2 N n D 4 T` with all weights, `2 N n D² T` with covariances.\n")
    columns = ["way", "N", "n", "seconds", "to theodolite", "peak, GiB", "to theodolite", "10¹² operations"]
    columns += ["10⁹ a second", "share of a matrix product's", "its 10⁹ a second"]
    print("| " + " | ".join(columns) + " |" + "\n" + "|---" * len(columns) + "|")
    ours = rows[0]
    for row in rows:
        ours = row if row["way"] == "theodolite" else ours
        numbers = [
            f"{row['references']}",
            f"{row['queries']}",
            f"{row['seconds']:.2f}",
            f"{row['seconds'] / ours['seconds']:.2f}",
            f"{row['peak']:.2f}",
            f"{row['peak'] / ours['peak']:.2f}",
            f"{row['operations'] / 1e12:.3f}",
            f"{row['operations'] / row['seconds'] / 1e9:.1f}",
            f"{row['share']:.2f}",
            f"{row['rate'] / 1e9:.1f}",
        ]
        print(f"| {_NAMES[row['way']]} | " + " | ".join(numbers) + " |")


def _print_levels(row: dict[str, Any]) -> None:
    found = row["found"]
    print("\n| t | effective sample size | MMSE | its truth | MMSE rate | its truth |\n|---|---|---|---|---|---|")
    for place, t in enumerate(found["t"]):
        cells = [f"{found['ess'][place]:.0f}"]
        for name in ("mmse", "rate"):
            value, error, truth = (found[key][place] for key in (name, f"{name} error", f"{name} truth"))
            cells += [f"{value:.4f} ± {error:.4f}", f"{truth:.4f}"]
        print(f"| {t:.3f} | " + " | ".join(cells) + " |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--dimension", type=int, default=4096)
    parser.add_argument("--levels", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--way", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=_SIDE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.beside = [(20_000, 250, ["weights"]), (1_000, 4, ["covariances"])]
    if options.smoke:
        options.references, options.queries, options.dimension, options.side = 2000, 40, 24, 128
        options.beside = [(500, 20, ["weights", "covariances"])]
    return options


if __name__ == "__main__":
    main()
