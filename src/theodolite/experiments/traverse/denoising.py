"""The guided denoiser along its own sampler's way, a seed at one guidance scale at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from theodolite.data.conditions import loaded_diffusion, pictures_of, prompts_of, text_of, word_of
from theodolite.descriptors.chart import Chart
from theodolite.descriptors.together import measured_at
from theodolite.detection import score_norm
from theodolite.detection.evaluation import paired_auroc
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.estimates.groups import difference, group_mean
from theodolite.experiments.traverse.experiment import COMMON, DENOISING, DESCRIPTORS, Points, Traverse, summary
from theodolite.maps import LatentMap
from theodolite.maps.denoisers import as_denoiser, denoiser_map, jacobians_of
from theodolite.maps.denoising import Denoiser, Guided
from theodolite.maps.samplers import way
from theodolite.runs.experiment import Piece, Row, Sitting, number
from theodolite.runs.rows import grouped
from theodolite.runs.run import estimate_of
from theodolite.runs.settings import BUDGET

__all__ = ["DESIGN", "summaries"]

_SIDES = ("normal", "unusual")
_JUDGED = (
    *("local_scaling", "local_scaling_floored", "local_rank", "local_rank_p2", "local_complexity_fraction"),
    *("score_norm", "condition_norm"),
)
"""What AUROC is computed of."""


class AlongDenoising(Traverse):
    """Points of the deterministic sampler; units are seeds at guidance scales, under both conditions."""

    settings = (*DENOISING, replace(BUDGET, default="standard"), *COMMON)

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        seeds, scales = range(self.given["seeds"]), self.given["guidance"]
        self.parts = {f"seed-{seed:03d}-guidance-{g:g}": (seed, g) for seed in seeds for g in scales}
        self.units = [*self.parts]

    def open(self) -> None:
        """Load the model, and run it once under every condition."""
        given = self.given["model"]
        self.model = loaded_diffusion(given, **self.loading())
        named = isinstance(given, str | os.PathLike)
        self.name = os.fspath(given) if named else str(getattr(given, "name", type(given).__name__))
        self.prompts = self._prompts()
        self.given["conditions"] = text_of(self.prompts) if self.prompts else None
        self.seeds = Seeds(self.given["seed"], self.given["seeds"]).base
        self.probes = Seeds(self.probe_seed(), self.given["seeds"]).base
        scale = self.given["guidance"][0]
        denoiser = self._denoiser(self._sides(scale)[0], 0, scale)
        self.levels = denoiser.levels(self.given["steps"])
        self.lowest = min(level for level in self.levels if level > 0)
        self.first = denoiser_map(denoiser, self.lowest, self.given["output"][0])
        self.device = self.first.device
        for place in range(len(self.prompts)):
            for side in _SIDES:
                with torch.no_grad():
                    self._denoiser(side, place, 1.0)(self._noise(0), self.lowest)

    def _prompts(self) -> list[tuple[Any, Any]]:
        """Pairs of conditions; none where the only scale is 1 and the model has none."""
        conditions, scales = self.given["conditions"], self.given["guidance"]
        if conditions is None and not getattr(self.model, "held_out", ()):
            if scales == [1.0]:
                return []
            raise InputError(
                f"conditions expected with guidance {', '.join(f'{scale:g}' for scale in scales)}, and {self.name} "
                "names none; give --conditions NORMAL/UNUSUAL, or --guidance 1 for a model without conditions"
            )
        return prompts_of(self.model, conditions)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        shape = self.first.latent_shape
        known = tuple(size for size in shape if size is not None)
        if len(known) < len(shape):
            raise InputError(f"a denoiser of points of known size expected, got {shape}")
        return known

    def record(self) -> dict[str, Any]:
        """The model, prompts, and noise levels; an infinite one, noise alone, as None."""
        design = {"prompts": [[word_of(side) for side in pair] for pair in self.prompts], "levels": self.levels}
        return {"model": {"name": self.name, "shape": [*self.shape]}, "design": design}

    def content(self) -> dict[str, Any]:
        """The model's fingerprint and the noise levels."""
        return {"design": "denoising", "model": self.first.fingerprint(), "levels": self.levels}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The map of the least noise, at noises of that size."""
        return self.first, torch.cat([self._noise(seed) for seed in range(2)]) * self.lowest, self.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One seed at one guidance scale, under both conditions: every level of the way, and a picture of its end."""
        seed, scale = self.parts[unit]
        points = Points()
        for side in self._sides(scale):
            denoiser = self._denoiser(side, seed, scale)
            levels = denoiser.levels(self.given["steps"])
            prompt = None if side is None else word_of(self._condition(side, seed))
            about = {"guidance": scale, "side": side or "none", "seed": seed, "prompt": prompt}
            with torch.no_grad():
                *stages, end = way(denoiser, levels, self._noise(seed))
            for step, (level, x) in enumerate(zip(levels, stages)):
                if math.isfinite(level):
                    where = [{**about, "step": step, "level": level, "output": name} for name in self.given["output"]]
                    self._add_level(points, denoiser, level, x, where, self.probes[seed])
                    points.rows += self._norms(denoiser, side, seed, level, x, where[0])
            for image in pictures_of(self.model, end):
                points.pictures[side or "none"] = image
        return points.piece()

    def _add_level(
        self, points: Points, denoiser: Denoiser, level: float, x: Tensor, where: Sequence[dict[str, Any]], seed: int
    ) -> None:
        """Add every output at one point; where the Jacobian of the denoised point is built, the others follow from it.

        Delta counts the hyperplanes of the networks whatever the output: it is measured with the first one alone.
        """
        options: dict[str, Any] = {"generator": [seed], "effort": self.effort}
        denoised = Chart(denoiser_map(denoiser, level, "x0"), x, **options)
        for place, coordinates in enumerate(where):
            output = coordinates["output"]
            chart = denoised if output == "x0" else Chart(denoiser_map(denoiser, level, output), x, **options)
            if denoised.is_dense and output != "x0":
                chart.jacobians = jacobians_of(output, denoised.jacobians, level)
            descriptors = DESCRIPTORS if place == 0 else DESCRIPTORS[:2]
            points.add(measured_at(chart, descriptors, chart.seeds.base), [coordinates])

    def _norms(
        self, denoiser: Denoiser, side: str | None, seed: int, level: float, x: Tensor, where: Mapping[str, Any]
    ) -> Iterator[Row]:
        """What geometry has to beat: `||D - x|| / sigma²`, and `||c - u|| / sigma` of both predictions."""
        with torch.no_grad():
            norms = {"score_norm": score_norm((denoiser(x, level) - x) / level**2)}
            if side is not None:
                with_condition, without = (self._denoiser(side, seed, scale)(x, level) for scale in (1.0, 0.0))
                norms["condition_norm"] = score_norm((with_condition - without) / level)
        for passes, (name, norm) in enumerate(norms.items(), 1):
            yield number(name, replace(norm, passes=passes), **where)

    def _denoiser(self, side: str | None, seed: int, guidance: float) -> Denoiser:
        """The denoiser of one side; of one network alone where the scale needs one."""
        if not self.prompts:
            return as_denoiser(self.model)
        denoiser = as_denoiser(self.model, condition=self._condition(side or "normal", seed), guidance=guidance)
        return denoiser.unconditioned if isinstance(denoiser, Guided) and guidance == 0 else denoiser

    def _sides(self, guidance: float) -> tuple[str | None, ...]:
        return _SIDES if self.prompts and guidance != 0 else (None,)

    def _condition(self, side: str, seed: int) -> Any:
        return self.prompts[seed % len(self.prompts)][_SIDES.index(side)]

    def _noise(self, seed: int) -> Tensor:
        draws = Seeds([self.seeds[seed]], 1).normal("noise", *self.shape)
        return draws.to(device=self.first.device, dtype=self.first.dtype)


def summaries(points: Sequence[Row]) -> Iterator[Row]:
    """``mean`` over seeds; ``difference`` (unusual less normal, paired by seed) and ``auroc`` (of the two)."""
    for key, group in grouped(points, "guidance", "output", "step", "level", "quantity"):
        quantity, about = key["quantity"], {name: value for name, value in key.items() if name != "quantity"}
        sides = {side["side"]: {row["seed"]: row for row in rows} for side, rows in grouped(group, "side")}
        for side, rows in sides.items():
            mean = group_mean(estimate_of([*rows.values()]), [*rows])
            yield summary(quantity, mean, **about, side=side, measure="mean")
        seeds = [seed for seed in sides.get("normal", ()) if seed in sides.get("unusual", ())]
        if not seeds:
            continue
        normal, unusual = (estimate_of([sides[side][seed] for seed in seeds]) for side in _SIDES)
        yield summary(quantity, group_mean(difference(normal, unusual), seeds), **about, measure="difference")
        if quantity in _JUDGED:
            yield number(quantity, paired_auroc(normal, unusual), **about, measure="auroc")


DESIGN = AlongDenoising
