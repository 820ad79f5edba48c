"""One sample: encode its image, and every planned descriptor at its latent."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.data.images import picture
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.descriptor import Descriptor
from theodolite.descriptors.registry import REGISTRY
from theodolite.detection.measuring import floored
from theodolite.errors import InputError
from theodolite.estimates import worse
from theodolite.surveys.plan import Plan, sample_seed

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.estimates import Estimate
    from theodolite.maps import Autoencoder, LatentMap

__all__ = [
    "DOUBTED",
    "AtPoint",
    "Measured",
    "applicable",
    "decoded",
    "described",
    "encoded",
    "lowered",
    "measure",
    "measure_at",
    "notes_of",
    "refusing",
    "row_of",
    "rows_at",
]

DOUBTED = "undetermined"
"""The best status of a number that rests on derivatives which were found wrong."""

_DOUBT = "the derivatives' self-check failed"


@dataclass(frozen=True)
class Measured:
    """What is stored of one sample; the fields are those of `RunFolder.write_shard`."""

    sample: str
    rows: list[dict[str, Any]]
    arrays: dict[str, Tensor]
    pictures: dict[str, Image]
    notes: dict[str, Any] = field(default_factory=dict)


def measure(
    autoencoder: Autoencoder,
    image: Tensor,
    sample: str,
    plan: Plan,
    *,
    exact_first: bool = True,
    exact_second: bool = True,
) -> Measured:
    """Every descriptor of `plan` at the latent of one image `(1, channels, height, width)`.

    A descriptor that fails gives rows of status ``undefined`` and an entry in ``notes["failed"]``; the others stand.

    Args:
        autoencoder: the model.
        image: as `load_image` gives it.
        sample: its id.
        plan: of the survey.
        exact_first: False where the self-check found the first derivative wrong; every row is then at best
            ``undetermined``.
        exact_second: False where it found the second derivative wrong; differences are then taken.
    """
    started = time.perf_counter()
    latents = encoded(autoencoder, image)
    output = decoded(autoencoder, latents)
    seed = sample_seed(plan.seed, sample)
    exact = {"exact_first": exact_first, "exact_second": exact_second}
    there = measure_at(autoencoder.decoder, latents, output.shape[1:], plan, seed, **exact)
    common = {"model": autoencoder.name, "sample": sample, "map": "decoder", "sigma": None}
    pictures = {".png": picture(image[0])}
    if output.ndim == 4 and output.shape[1] in (1, 3):
        pictures[".reconstruction.png"] = picture(output[0], autoencoder.output_range)
    arrays = _arrays(there.chart, latents)
    notes = notes_of([there], sample, time.perf_counter() - started)
    return Measured(sample, [{**common, **row} for row in there.rows], arrays, pictures, notes)


@dataclass(frozen=True)
class AtPoint:
    """Every planned descriptor of one map at one point.

    Attributes:
        rows: quantities with their numbers, without model, sample and map.
        failed: descriptors that failed, with the reason.
        messages: of quantities that have one.
        chart: of the map there.
        status: of the derivatives.
    """

    rows: list[dict[str, Any]]
    failed: list[dict[str, str]]
    messages: dict[str, str]
    chart: Chart
    status: str


def measure_at(
    map: LatentMap,
    point: Tensor,
    output_shape: torch.Size,
    plan: Plan,
    seed: int,
    *,
    exact_first: bool = True,
    exact_second: bool = True,
    floor: float | None = None,
) -> AtPoint:
    """Every descriptor of `plan` of a map at one point `(1, *latent)`.

    Args:
        map: the map.
        point: where.
        output_shape: of one output.
        plan: of the survey.
        seed: of this sample.
        exact_first: as for `measure`.
        exact_second: as for `measure`.
        floor: as for `theodolite.detection.map_scores`.
    """
    chart = Chart(map, point, effort=plan.effort, generator=seed, exact_second=exact_second)
    (rows,), failed, messages = rows_at(chart, applicable(plan.descriptors, output_shape)[0], seed, floor)
    status = chart.operator.status
    if not exact_first:
        messages |= {row["quantity"]: _DOUBT for row in rows if worse(row["status"], DOUBTED) != row["status"]}
        rows, status = lowered(rows), worse(status, DOUBTED)
    return AtPoint(rows, failed, messages, chart, status)


def notes_of(there: Sequence[AtPoint], sample: str, seconds: float) -> dict[str, Any]:
    """What a sample's shard says of how it was measured, over all its maps."""
    return {
        "way": there[0].chart.operator.way,
        "status": reduce(worse, (one.status for one in there)),
        "passes": sum(one.chart.operator.passes for one in there),
        "seconds": round(seconds, 3),
        "messages": {name: text for one in there for name, text in one.messages.items()},
        "failed": [{"sample": sample, **failure} for one in there for failure in one.failed],
    }


def rows_at(
    chart: Chart, descriptors: Iterable[str], seed: int | Sequence[int], floor: float | None = None
) -> tuple[list[list[dict[str, Any]]], list[dict[str, str]], dict[str, str]]:
    """Rows of every descriptor at each latent, which failed and why, and the messages of quantities that have one."""
    rows: list[list[dict[str, Any]]] = [[] for _ in range(chart.n)]
    failed: list[dict[str, str]] = []
    messages: dict[str, str] = {}
    for name in descriptors:
        function = REGISTRY[name].function
        try:
            named = function(chart.map, chart.latents, generator=seed, effort=chart.effort, chart=chart).named(name)
            named |= {} if floor is None else floored(chart, named, floor)
        except Exception as error:  # one descriptor's failure must not cost the others their run
            for own in rows:
                own += _undefined(REGISTRY[name])
            failed.append({"descriptor": name, "reason": described(error)})
            continue
        for place, own in enumerate(rows):
            own += [row_of(quantity, estimate, place) for quantity, estimate in named.items()]
        messages |= {quantity: estimate.message for quantity, estimate in named.items() if estimate.message}
    return rows, failed, messages


def encoded(autoencoder: Autoencoder, image: Tensor) -> Tensor:
    """The normalised latents of an image, where the model lives; of a posterior the mean."""
    with torch.no_grad():
        return autoencoder.encode(image)


def decoded(autoencoder: Autoencoder, latents: Tensor) -> Tensor:
    """What the decoder makes of them."""
    with torch.no_grad():
        return autoencoder.decode(latents)


def applicable(descriptors: tuple[str, ...], output_shape: torch.Size) -> tuple[list[str], list[dict[str, str]]]:
    """The descriptors that have a meaning for outputs of this shape, and the others with the reason."""
    is_spatial = len(output_shape) > 1
    reason = f"needs outputs with spatial axes, (channels, *space), got {tuple(output_shape)}"
    left_out = [name for name in descriptors if REGISTRY[name].spatial and not is_spatial]
    chosen = [name for name in descriptors if name not in left_out]
    return chosen, [{"descriptor": name, "reason": reason} for name in left_out]


def described(error: Exception) -> str:
    """An unexpected error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def refusing(name: str, what: str, fix: str) -> Iterator[None]:
    """Whatever the user's model raises, in one line: its name, what went wrong, and what to do."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name} {what} ({described(error)}); {fix}") from error


def lowered(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows whose status is no better than `DOUBTED`."""
    return [{**row, "status": worse(row["status"], DOUBTED)} for row in rows]


def row_of(quantity: str, estimate: Estimate, place: int = 0) -> dict[str, Any]:
    """The row of a quantity of one of its latents."""
    return {"quantity": quantity, **estimate.entry(place), "passes": estimate.passes}


def _undefined(descriptor: Descriptor) -> Iterator[dict[str, Any]]:
    for quantity in descriptor.quantities:
        empty = {"value": math.nan, "stderr": math.nan, "passes": 0, "n": 0}
        yield {"quantity": quantity.name, **empty, "status": "undefined"}


def _arrays(chart: Chart, latents: Tensor) -> dict[str, Tensor]:
    if not chart.has_spectrum:
        return {"latent": latents[0]}
    spectrum = chart.spectrum
    return {"latent": latents[0], "spectrum/nodes": spectrum.nodes[0], "spectrum/weights": spectrum.weights[0]}
