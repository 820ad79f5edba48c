"""Tables of speed: this library beside what a user would write, alternating in one process, on models made here.

Seconds are processor time of this process, medians of repeats; passes and operations are counted.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap
from torch.utils.flop_counter import FlopCounterMode

import theodolite
from theodolite.descriptors import Chart
from theodolite.descriptors.effort import EFFORTS
from theodolite.descriptors.plan import plan_of
from theodolite.descriptors.together import measured_at
from theodolite.maps import LatentMap

__all__ = ["TABLES", "Table"]

SPECTRAL = ("local_scaling", "local_rank", "leading_singular_value")
EVERY = (*SPECTRAL, "curvature", "axis_rotation", "local_complexity")


@dataclass(frozen=True)
class Table:
    """A table of measurements.

    Attributes:
        title: of its section.
        about: what was measured, on what.
        rows: by what the row is about, numbers by column.
    """

    title: str
    about: str
    rows: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)


def mlp() -> LatentMap:
    """A small generator, of the size of decoders of digits: 16-400-400-784."""
    torch.manual_seed(0)
    layers = (nn.Linear(16, 400), nn.SiLU(), nn.Linear(400, 400), nn.SiLU(), nn.Linear(400, 784))
    return LatentMap(nn.Sequential(*layers).eval(), (16,), name="mlp")


def small_models(is_smoke: bool) -> Table:
    """An MLP of some layers."""
    about = "An MLP 16-400-400-784 (SiLU), 16 entries a latent; run folder, table and record are in the time of survey."
    return _small(mlp(), "Small models", about, is_smoke)


def digits(is_smoke: bool) -> Table:
    """A decoder that costs next to nothing, so that all else shows."""
    about = "The decoder of zoo:digits, 8 entries a latent, 64 pixels; a pass is a hundredth of a millisecond."
    return _small(theodolite.load("zoo:digits").decoder, "A model that costs nothing", about, is_smoke)


def _small(map: LatentMap, title: str, about: str, is_smoke: bool) -> Table:
    """`survey` of a small model, its store included, beside the batched loop that a user would write."""
    count, repeats = (32, 1) if is_smoke else (256, 3)
    (entries,) = map.latent_shape
    seeds = [torch.randn(entries or 1, generator=torch.Generator().manual_seed(seed)) for seed in range(count)]
    ways: dict[str, Callable[[], object]] = {
        "user: vmap(jacfwd), svdvals": lambda: _by_hand(map.function, torch.stack(seeds)),
        "survey, three spectral descriptors": lambda: _surveyed(map, count, SPECTRAL),
        "survey, six descriptors, standard budget": lambda: _surveyed(map, count, EVERY),
        "survey, six descriptors, quick budget": lambda: _surveyed(map, count, EVERY, budget="quick"),
        "the same one by one, three": lambda: _one_by_one(map, count // 8, SPECTRAL),
        "the same one by one, six, standard": lambda: _one_by_one(map, count // 8, EVERY),
    }
    sizes = [count] * 4 + [count // 8] * 2
    with _cache():
        seconds = _alternating(ways, repeats)
    unit = seconds["user: vmap(jacfwd), svdvals"] / count
    rows = {}
    for (way, taken), size in zip(seconds.items(), sizes):
        each = taken / size
        rows[way] = {"latents": size, "ms a latent": 1e3 * each, "latents a second": 1 / each, "ratio": each / unit}
    return Table(title, about, rows)


def _by_hand(net: Callable[[Tensor], Tensor], latents: Tensor) -> tuple[Tensor, ...]:
    """What a user would write for the log-volume, the entropy rank and the leading value."""
    with torch.no_grad():
        values = torch.linalg.svdvals(vmap(jacfwd(lambda z: net(z[None])[0].flatten()))(latents))
    shares = values / values.sum(-1, keepdim=True)
    return values.log().sum(-1), torch.exp(-(shares * shares.log()).sum(-1)), values[:, 0]


def _surveyed(map: LatentMap, count: int, names: Sequence[str], **given: Any) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        options = {"latents": f"seed:0..{count - 1}", "descriptors": names, **given}
        theodolite.survey(map, None, folder / "run", **options)
    finally:
        shutil.rmtree(folder)


def _one_by_one(map: LatentMap, count: int, names: Sequence[str]) -> None:
    with mock.patch("theodolite.descriptors.groups.batch_size", return_value=1):
        _surveyed(map, count, names)


def self_checks(is_smoke: bool) -> Table:
    """What the self-check of derivatives costs, in forward passes by floating-point operations, and when remembered."""
    layers = [nn.Conv2d(4, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.SiLU(), nn.Upsample(scale_factor=2)]
    layers += [nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(32, 3, 3, padding=1)]
    net, side = nn.Sequential(*layers).eval(), 8 if is_smoke else 16
    latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    rows: dict[str, dict[str, float | None]] = {}
    for name, shape in (("latents of one size", (4, side, side)), ("latents of any size", (4, None, None))):
        map = LatentMap(net, shape)
        with torch.no_grad():
            one, all_of_it = (_operations(partial(work, latents)) for work in (map, partial(_checked, map)))
        rows[name] = {"forward passes": all_of_it / one, "seconds": _seconds(partial(_checked, map, latents))}
    with _cache():
        _remembered(map, latents)
        rows["remembered"] = {"forward passes": 0.0, "seconds": _seconds(lambda: _remembered(map, latents))}
    return Table("The self-check of derivatives", f"A convolutional decoder, 4 x {side} x {side} latents.", rows)


def _checked(map: LatentMap, latents: Tensor) -> None:
    theodolite.derivatives.self_check(map, latents)


def _remembered(map: LatentMap, latents: Tensor) -> None:
    from theodolite.runs.self_checks import self_checked

    self_checked(map, latents, "decoder")


def _cache() -> Any:
    """A cache of its own."""
    return mock.patch.dict("os.environ", {"XDG_CACHE_HOME": tempfile.mkdtemp(), "THEODOLITE_NO_CACHE": ""})


def plans(is_smoke: bool) -> Table:
    """Whole Jacobians and probes for all descriptors at the quick budget, and which one the plan takes."""
    rows: dict[str, dict[str, float | None]] = {}
    for entries in (64,) if is_smoke else (128, 256, 512):
        map, latents = _wide(entries)
        planned = plan_of(EVERY, EFFORTS["quick"], (entries,), map(latents).shape[1:])
        for dense in (True, False):
            chart = Chart(map, latents, effort=EFFORTS["quick"], generator=0, dense=dense)
            psi = measured_at(chart, EVERY, 0).estimates["local_scaling_per_dimension"]
            rows[f"{entries} entries, {'whole' if dense else 'probes'}"] = {
                "passes": chart.operator.passes,
                "local scaling a dimension": psi.item(),
                "its error": psi.stderr.item(),
                "planned": float(planned.dense is dense),
                "foretold": planned.passes_a_sample if planned.dense is dense else planned.instead,
            }
    return Table(
        "Plans", "A linear map and a tenth of a sine; six descriptors, quick budget; 1 marks what is taken.", rows
    )


def _wide(entries: int) -> tuple[LatentMap, Tensor]:
    torch.manual_seed(0)
    inner, outputs = nn.Linear(entries, entries + 60), entries + 60

    def function(z: Tensor) -> Tensor:
        return inner(z) + 0.1 * nn.functional.pad(z, (0, outputs - entries)).sin()

    return LatentMap(function, (entries,)), torch.randn(1, entries, generator=torch.Generator().manual_seed(1))


def requested_errors(is_smoke: bool) -> Table:
    """Passes of a survey of local scaling to a requested error, beside whole Jacobians."""
    side, rows = 8 if is_smoke else 16, dict[str, dict[str, float | None]]()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(4, 12, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(12, 3, 3, padding=1)
    )
    map = LatentMap(lambda z: net(z) + nn.functional.interpolate(z[:, :3], scale_factor=2.0), (4, None, None))
    latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        shape = map(latents).shape[1:]
        exact = torch.linalg.svdvals(theodolite.jacobian(map, latents).dense()[0].double()).log().sum().item()
    dimension = 4 * side * side
    rows["whole Jacobian"] = {"passes": dimension, "stated error": 0.0, "true error": 0.0}
    for rtol in (0.05, 0.02, 0.01):
        effort = replace(EFFORTS["quick"], rtol=rtol)
        plan = plan_of(["local_scaling"], effort, latents.shape[1:], shape)
        own = plan.volume == "preconditioned"
        chart = Chart(map, latents, effort=effort, generator=0, dense=plan.dense, own_volume=own)
        psi = measured_at(chart, ["local_scaling"], 0).estimates["local_scaling"]
        rows[f"survey, rtol {rtol:g}"] = {
            "passes": chart.operator.passes,
            "foretold": plan.passes_a_sample,
            "stated error": psi.stderr.item() / dimension,
            "true error": (psi.item() - exact) / dimension,
        }
    return Table("A requested error", f"A convolutional decoder, 4 x {side} x {side}; errors a dimension.", rows)


def workers(is_smoke: bool) -> Table:
    """Wall-clock of one survey by one process and by two."""
    count = 64 if is_smoke else 2048
    rows: dict[str, dict[str, float | None]] = {}
    for number in (1, 2):
        started = time.perf_counter()
        with _cache():
            _surveyed("benchmarks._speed:mlp", count, EVERY, workers=number)  # type: ignore[arg-type]
        rows[f"--workers {number}"] = {"latents": count, "seconds": time.perf_counter() - started}
    first = rows["--workers 1"]["seconds"] or 0.0
    for row in rows.values():
        row["speed-up"] = first / (row["seconds"] or 1.0)
    return Table(
        "Several processes", "The MLP of the first table; seconds on the clock, start of processes included.", rows
    )


def _alternating(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, taken in turns after one that warms up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, work in ways.items():
            seconds = _seconds(work)
            if turn:
                taken[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def _seconds(work: Callable[[], object]) -> float:
    """Processor time of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _operations(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


TABLES: Mapping[str, Callable[[bool], Table]] = {
    "small_models": small_models,
    "digits": digits,
    "self_checks": self_checks,
    "plans": plans,
    "requested_errors": requested_errors,
    "workers": workers,
}
