"""A sample's latent turned under one's hands: along singular directions, to another sample, over the plane of three.

Everything here runs in the worker process of the live panel (`theodolite.explorer.worker`).
"""

from __future__ import annotations

import base64
import io
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from theodolite.data.models import opened_map
from theodolite.data.pixels import picture
from theodolite.descriptors import Chart, Effort, local_scaling, location_map
from theodolite.descriptors.effort import EFFORTS
from theodolite.errors import InputError
from theodolite.estimates import Estimate
from theodolite.estimates.streams import Seeds, seed_of
from theodolite.geodesics import decoder_geodesic
from theodolite.report.pictures import heat_uri
from theodolite.runs.registry import read_run
from theodolite.spectrum import leading_subspace

if TYPE_CHECKING:
    from PIL.Image import Image

    from theodolite.runs.run import Run

__all__ = ["Turning"]

SLIDERS = 4
"""Directions at either end of the spectrum that are offered."""

_SPARE, _ROUNDS = 4, 4
"""Vectors beyond those that are wanted, and rounds: 80 products, after which leading values of decoders barely move."""

_DENSE = 512
"""Latent entries up to which the whole Jacobian is taken at once, which trailing directions need: as many passes."""

_REACH = 0.5
"""A slider at its end moves the latent by this share of its own length."""

_SKETCH = Effort(probes=2, depth=4)
_PATIENCE = 0.35
"""Seconds that numbers may take while one moves; where they took longer, they wait until one stops."""

_FORGIVING = 0.9
"""A machine that was busy once is tried again after a few moves."""

_SEGMENTS, _STEPS = 12, 30
"""Of a geodesic: as `theodolite path` draws them, with fewer steps, since somebody waits."""

_MOST_OPEN = 16
"""Samples that stay open; above the three that one request names."""

_FARTHEST = 4.0
_RATED = 5
"""Passes by which the rate of a model is measured."""


@dataclass
class _Base:
    """The latent that is turned, `(1, *latent)`, with its output and directions `(k, *latent)` by end."""

    latent: Tensor
    output: Tensor
    directions: dict[str, list[Tensor]] = field(default_factory=dict)
    geodesics: dict[str, Tensor] = field(default_factory=dict)


class Turning:
    """A model and the samples of runs.

    Args:
        model: what names the model.
        device: where it runs.
        runs: the run folders whose samples are turned.

    Raises:
        InputError: the model cannot be opened, or a folder holds no run.
    """

    def __init__(self, model: str, device: str | None, runs: Sequence[Path]) -> None:
        self.runs: list[Run] = [read_run(path) for path in runs]
        chosen = next(
            (run for run in self.runs if "map" in run.info), self.runs[0]
        )  # one of samples, where there is one
        settings = {**chosen.settings, "device": device}
        options = {name: settings.get(name) for name in ("device", "dtype", "subfolder", "revision")}
        at_images = not (chosen.info.get("data") or {}).get("latents")
        kind = chosen.info.get("map")
        self.subject = opened_map(
            model,
            kind if isinstance(kind, str) else None,
            images=at_images and kind == "denoiser",
            settings={name: value for name, value in settings.items() if name not in ("map", *options)},
            size=settings.get("size"),
            **options,
        )
        self._bases: OrderedDict[tuple[int, str], _Base] = OrderedDict()
        self._seconds = 0.0
        self._sketched = 0.0

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request of the page, ready for JSON.

        Raises:
            InputError: it is no request, or names what is not there.
        """
        acts = {
            "open": self._open,
            "choose": self._choose,
            "turn": self._turn,
            "measure": self._measure,
            "way": self._way,
        }
        act = acts.get(str(request.get("do")))
        if act is None:
            raise InputError(f"`do` expected to be one of {', '.join(acts)}, got {request.get('do')!r}")
        return act(request)

    def _open(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the model is, and whether it is the one that the runs measured."""
        mine = self.subject.fingerprint()
        recorded = [(run.info.get("content") or {}).get("model") for run in self.runs]
        others = [number for number, own in enumerate(recorded) if own not in (mine, None)]
        return {"model": self.subject.name, "map": self.subject.kind, "others": others}

    def _choose(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The sample as the model decodes it, and its singular directions."""
        base, unit = self._base(request), str(request.get("unit"))
        began = time.perf_counter()
        chart = Chart(self.subject.map, base.latent, generator=seed_of(0, unit), dense=True)
        dimension, wanted = chart.operator.latent_dim, bool(request.get("dense"))
        about: dict[str, Any] = {"dimension": dimension, "outputs": chart.operator.output_dim}
        if dimension <= _DENSE or wanted:
            sigma, rows = chart.right
            vectors = rows[0].to(base.latent).reshape(-1, *base.latent.shape[1:])
            ends = {"leading": range(min(SLIDERS, len(vectors))), "trailing": range(len(vectors))[-SLIDERS:][::-1]}
            values = {name: [float(sigma[0, index]) for index in indices] for name, indices in ends.items()}
            base.directions = {name: [vectors[index] for index in indices] for name, indices in ends.items()}
        else:
            space = self._leading(chart, unit)
            base.directions = {"leading": [v.reshape(base.latent.shape[1:]) for v in space.right[0, :SLIDERS]]}
            values = {"leading": space.sigma[0, :SLIDERS].tolist()}
            about["errors"] = space.residual[0, :SLIDERS].tolist()
            seconds = self._rate(base) * dimension
            about["denseSeconds"] = seconds
        return {**self._shown(base, base.latent), "sigma": values, "spent": time.perf_counter() - began, **about}

    def _leading(self, chart: Chart, unit: str) -> Any:
        count = min(SLIDERS + _SPARE, chart.dimension)
        start = Seeds(seed_of(0, unit), 1).normal("turning", count, chart.operator.latent_dim)
        return leading_subspace(chart.flat, start.transpose(0, 1).to(chart.latents), _ROUNDS)

    def _turn(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where one is: decoded, and a sketch of its numbers where the model is fast enough for that."""
        base = self._base(request)
        point = self._point(base, request)
        answer = self._shown(base, point)
        if self._sketched > _PATIENCE:
            self._sketched *= _FORGIVING
            return {**answer, "numbers": None}
        began = time.perf_counter()
        numbers = self._numbers(request, point, _SKETCH)
        self._sketched = time.perf_counter() - began
        return {**answer, "numbers": numbers}

    def _measure(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where one stopped: numbers with their errors, and the gain of every location."""
        base = self._base(request)
        point = self._point(base, request)
        began = time.perf_counter()
        answer = {**self._shown(base, point), "numbers": self._numbers(request, point, EFFORTS["standard"])}
        try:
            located = location_map(self.subject.map, point, generator=seed_of(0, str(request.get("unit"))))
        except InputError:  # a latent, or outputs, without locations
            return {**answer, "spent": time.perf_counter() - began}
        gain = located.gain.value[0].clamp_min(torch.finfo(torch.float64).tiny).sqrt()
        errors = located.gain.stderr[0] / (2 * gain)  # of a square root
        heat = {"picture": heat_uri(gain), "low": float(gain.min()), "high": float(gain.max())}
        heat["stderr"] = float(errors.square().mean().sqrt())
        return {**answer, "gain": {**heat, "status": located.statuses[0]}, "spent": time.perf_counter() - began}

    def _way(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The geodesic to another sample, kept for the slider."""
        base = self._base(request)
        to = request.get("to")
        other = self._base({"run": request.get("run"), "unit": to})
        began = time.perf_counter()

        def decode(latents: Tensor) -> Tensor:
            outputs = self.subject.map(latents)
            return outputs / outputs[0].numel() ** 0.5

        geodesic = decoder_geodesic(decode, base.latent, other.latent, segments=_SEGMENTS, steps=_STEPS, tolerance=1e-4)
        base.geodesics[str(to)] = geodesic.points[0]
        length, straight = float(geodesic.length.value[0]), float(geodesic.straight_length[0])
        answer = {"length": length, "stderr": float(geodesic.length.stderr[0]), "straight": straight}
        return {**answer, "status": geodesic.statuses[0], "spent": time.perf_counter() - began}

    def _base(self, request: Mapping[str, Any]) -> _Base:
        """The sample of a request; those that were used last stay open, with their directions and geodesics.

        A request uses the sample that is turned first and at most two others, so that none of its own is closed.
        """
        number, unit = request.get("run"), request.get("unit")
        if type(number) is not int or not 0 <= number < len(self.runs):
            raise InputError(f"`run` expected to be the number of a run, got {number!r}")
        run = self.runs[number]
        if not isinstance(unit, str) or unit not in run.units:
            raise InputError(f"`unit` expected to be a finished unit of {run.path.name}, got {unit!r}")
        key = number, unit
        if key not in self._bases:
            latent = run.arrays(unit).get("latent")
            if latent is None:
                raise InputError(f"{run.path.name} holds no latent of {unit}; take a run of `survey` or `detect`")
            self.subject.map.check(latent[None])
            placed = self.subject.placed(latent[None])
            self._bases[key] = _Base(placed, self._decoded(placed))
            while len(self._bases) > _MOST_OPEN:
                self._bases.popitem(last=False)
        self._bases.move_to_end(key)
        return self._bases[key]

    def _point(self, base: _Base, request: Mapping[str, Any]) -> Tensor:
        """The latent that sliders and samples lead to, `(1, *latent)`.

        `z + r sum_i a_i v_i`, with `r` half the length of `z`; `z` is replaced by the point on the way to another
        sample, or on the plane `z_0 + s (z_1 - z_0) + t (z_2 - z_0)`.

        Raises:
            InputError: a direction or a geodesic is wanted that was not found before, or an amount is no number.
        """
        point, z = base.latent, base.latent
        if isinstance(to := request.get("to"), Mapping):
            t = _number(to.get("t"))
            curve = _geodesic(base, str(to.get("unit"))) if to.get("way") == "geodesic" else None
            other = self._base({"run": request.get("run"), "unit": to.get("unit")}).latent
            point = z + t * (other - z) if curve is None else _along(curve, t)[None].to(z)
        if isinstance(plane := request.get("plane"), Mapping):
            first, second = (
                self._base({"run": request.get("run"), "unit": plane.get(k)}).latent for k in ("first", "second")
            )
            point = z + _number(plane.get("s")) * (first - z) + _number(plane.get("t")) * (second - z)
        reach = _REACH * z.norm()
        moves = request.get("moves")
        for name, amounts in moves.items() if isinstance(moves, Mapping) else ():
            numbers = [_number(amount) for amount in amounts] if isinstance(amounts, list) else []
            directions = base.directions.get(str(name), [])
            if any(numbers[len(directions) :]):  # sliders that no direction belongs to stand at zero
                raise InputError(
                    f"`moves` expected along {len(directions)} {name} directions, got {len(numbers)}; choose the "
                    "sample again"
                )
            for v, amount in zip(directions, numbers):
                point = point + amount * reach * v
        return point

    def _decoded(self, point: Tensor) -> Tensor:
        began = time.perf_counter()
        outputs = self.subject.outputs(point)
        self._seconds = time.perf_counter() - began
        return outputs

    def _rate(self, base: _Base) -> float:
        """Seconds a pass, the fastest of a few."""
        times = []
        for _ in range(_RATED):
            self._decoded(base.latent)
            times.append(self._seconds)
        return min(times)

    def _shown(self, base: _Base, point: Tensor) -> dict[str, Any]:
        """Output at a point, what changed, and how far both went."""
        outputs = self._decoded(point)
        change = outputs - base.output
        rms = float(change.double().square().mean().sqrt())
        answer = {
            "moved": float((point - base.latent).norm() / base.latent.norm().clamp_min(1e-30)),
            "changed": rms,
            "seconds": self._seconds,
        }
        images, low_high = self.subject.images(outputs), self.subject.output_range
        if images is None:
            return {**answer, "image": None}
        largest = max(float(change.abs().max()), 1e-12)
        return {
            **answer,
            "image": _uri(picture(images[0], low_high)),
            "difference": _uri(picture(change[0] / largest)) if change.shape == images.shape else None,
            "largest": largest,
        }

    def _numbers(self, request: Mapping[str, Any], point: Tensor, effort: Effort) -> list[dict[str, Any]]:
        # One seed a sample: the same probes everywhere, so that numbers change because the point does.
        chart = Chart(self.subject.map, point, effort=effort, generator=seed_of(0, str(request.get("unit"))))
        scaling = local_scaling(self.subject.map, point, chart=chart)
        named = {
            "local scaling, per dimension": ("nats", scaling.parts["local_scaling_per_dimension"]),
            "gain": ("output / latent", scaling.parts["gain"]),
        }
        return [{"label": "local scaling ψ", "unit": "nats", **_as_json(scaling)}] + [
            {"label": label, "unit": unit, **_as_json(estimate)} for label, (unit, estimate) in named.items()
        ]


def _as_json(estimate: Estimate) -> dict[str, Any]:
    value, stderr = float(estimate.value), float(estimate.stderr)
    return {
        "value": value,
        "stderr": stderr,
        "status": estimate.status,
        "message": estimate.message,
        "passes": estimate.passes,
    }


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _FARTHEST:
        raise InputError(f"a number between {-_FARTHEST:g} and {_FARTHEST:g} expected, got {value!r}")
    return float(value)


def _geodesic(base: _Base, unit: str) -> Tensor:
    if unit not in base.geodesics:
        raise InputError(f"a geodesic to {unit[:60]!r} expected, and there is none yet; find it first")
    return base.geodesics[unit]


def _along(curve: Tensor, t: float) -> Tensor:
    """The point at `t` in [0, 1] of a polygon with equal steps; its ends beyond."""
    index = min(max(t, 0.0), 1.0) * (len(curve) - 1)
    below = min(math.floor(index), len(curve) - 2)
    return torch.lerp(curve[below], curve[below + 1], index - below)


def _uri(image: Image) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
