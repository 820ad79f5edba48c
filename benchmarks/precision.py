"""What half precision and the length of a step make of the subspace recipe on a sampler, against exact products.

    python benchmarks/precision.py [--steps 12] [--seeds 2] [--out docs/images/precision.png]

`J W` of the zoo's conditional sampler (256 latent entries, 64 directions) by forward and central differences of
absolute length eps, computed in float32 and in bfloat16; the released code of arXiv 2604.18804 takes forward ones in
bfloat16 at eps = 0.02. For each: LS over its exact value, the leading share, the cosine of the leading direction with
the exact one, and with the vector of ones that rounding of a shared centre makes of it, and the cosine of the step that
rounding leaves with the one meant. Medians over noises. Prints a Markdown table. `--smoke` runs in seconds.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import theodolite
from theodolite.derivatives.precision import HalfWatch
from theodolite.descriptors.subspaces import SubspaceSpectrum, applied_step, subspace_spectrum
from theodolite.estimates import Seeds
from theodolite.maps import LatentMap
from theodolite.zoo import conditional_diffusion

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TRUSTED = 0.02

Row = dict[str, Any]


class _Rounded:
    """A sampler that computes in half precision behind float32 latents, which is what is under study."""

    def __init__(self, map: LatentMap) -> None:
        self._map = map

    def __call__(self, z: Tensor) -> Tensor:
        return self._map(z.bfloat16()).float()


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    rows = list(_rows(options))
    print(f"{options.seeds} noises, {options.steps} steps, guidance 2, {options.directions} directions of 256\n")
    print("| precision, scheme | eps | LS over exact | share | exact share | v₁ cosine | ones cosine | step cosine |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        numbers = (row[name] for name in ("ls", "share", "exact", "axis", "ones", "step"))
        print(f"| {row['way']} | {row['eps']:g} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
    for way in dict.fromkeys(row["way"] for row in rows):
        good = [row["eps"] for row in rows if row["way"] == way and _holds(row)]
        said = f"eps from {min(good):g} to {max(good):g}" if good else "no eps tried"
        print(f"\n{way}: LS within {100 * _TRUSTED:.0f} % and v₁ cosine above 0.98 at {said}")
    if options.out:
        _draw(rows, options.directions, Path(options.out))


def _holds(row: Row) -> bool:
    return abs(row["ls"] - 1) <= _TRUSTED and row["axis"] >= 0.98


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    model = conditional_diffusion()
    sampled: dict[str, Any] = {"condition": (3, "red"), "guidance": 2.0}
    levels = model.denoiser.levels(options.steps)
    exact_map = theodolite.sampler_map(model.denoiser, levels, **sampled)
    seeds = Seeds(0, options.seeds)
    z = seeds.normal("noise", *model.shape).float().bfloat16().float()
    W = seeds.frame("subspace", options.directions, z[0].numel()).float()
    exact = subspace_spectrum(theodolite.jacobian(exact_map, z), W, "exact", 0.0)
    halved = copy.deepcopy(model.denoiser).to(torch.bfloat16)
    half = LatentMap(_Rounded(theodolite.sampler_map(halved, levels, **sampled)), model.shape)
    for precision, map in (("float32", exact_map), ("bfloat16", half)):
        # Such a map is refused with good reason, which is what this table shows.
        with mock.patch.object(HalfWatch, "refuse"):
            operator = theodolite.jacobian(map, z)
        for scheme in ("forward", "central"):
            for eps in options.eps:
                found = subspace_spectrum(operator, W, scheme, eps)
                left = applied_step(z.flatten(1), W[0], eps, _DTYPES[precision])["cosine"]
                yield {"way": f"{precision}, {scheme}", "eps": eps, "step": _median(left), **_compared(found, exact)}


def _compared(found: SubspaceSpectrum, exact: SubspaceSpectrum) -> dict[str, float]:
    share, known = (one.values[:, 0] / one.values.sum(-1) for one in (found, exact))
    return {
        "ls": _median(found.singular_values[:, 0] / exact.singular_values[:, 0]),
        "share": _median(share),
        "exact": _median(known),
        "axis": _median((found.leading * exact.leading).sum(-1).abs()),
        "ones": _median(found.leading.sum(-1).abs() / found.leading.shape[-1] ** 0.5),
    }


def _median(values: Tensor) -> float:
    return float(values.double().quantile(0.5))


def _draw(rows: list[Row], k: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    titles = {"ls": "LS over its exact value", "share": "leading share", "axis": "cosine of v₁ with the exact one"}
    for axes, (name, title) in zip(panels, titles.items()):
        for way in dict.fromkeys(row["way"] for row in rows):
            eps, values = zip(*((row["eps"], row[name]) for row in rows if row["way"] == way))
            axes.plot(eps, values, marker="o", markersize=3.5, label=way)
        axes.axvline(0.02, color="0.6", linestyle=":", linewidth=1)
        axes.set(xscale="log", xlabel="eps, length of the step", title=title)
    panels[0].set_yscale("log")
    panels[1].axhline(rows[0]["exact"], color="0.4", linewidth=1)
    panels[1].axhline((k + 1) / (2 * k), color="0.4", linestyle="--", linewidth=1)
    panels[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--directions", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=None)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.eps = [0.002, 0.005, 0.02, 0.05, 0.2, 0.5, 2.0, 5.0]
    if options.smoke:
        options.steps, options.seeds, options.directions, options.eps = 2, 1, 4, [0.02, 0.5]
    return options


if __name__ == "__main__":
    main()
