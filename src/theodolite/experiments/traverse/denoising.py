"""The guided denoiser along its own sampler's way, a seed at one guidance scale at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from theodolite.data.conditions import loaded_diffusion, pictures_of, prompts_of, text_of, word_of
from theodolite.descriptors.chart import Chart
from theodolite.detection import score_norm
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.experiments.traverse.experiment import COMMON, DENOISING, DESCRIPTORS, Points, Traverse
from theodolite.maps import LatentMap
from theodolite.maps.denoisers import as_denoiser, denoiser_map, jacobians_of
from theodolite.maps.denoising import Denoiser, Guided
from theodolite.maps.samplers import way
from theodolite.runs.experiment import Piece, Sitting, number
from theodolite.runs.settings import BUDGET

__all__ = ["DESIGN"]

_SIDES = ("normal", "unusual")


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
        self.model = loaded_diffusion(given, **self.loading)
        self.name = os.fspath(given) if isinstance(given, str | os.PathLike) else _name(given)
        alone = self.given["guidance"] == [1.0] and self.given["conditions"] is None
        self.prompts = [] if alone and not getattr(self.model, "held_out", ()) else self._prompts()
        self.given["conditions"] = text_of(self.prompts) if self.prompts else None
        self.seeds = Seeds(self.given["seed"], self.given["seeds"]).base
        self.probes = Seeds(self.probe_seed(), self.given["seeds"]).base
        self.levels = self._denoiser(None, 0, self.given["guidance"][0])[1]
        self.device = self._first_map.device
        for place in range(len(self.prompts)):
            for side in _SIDES:
                with torch.no_grad():
                    self._denoiser(side, place, 1.0)[0](self._noise(0), self._lowest)

    def _prompts(self) -> list[tuple[Any, Any]]:
        conditions = self.given["conditions"]
        try:
            return prompts_of(self.model, conditions)
        except InputError as error:
            if conditions is not None:
                raise
            scales = ", ".join(f"{scale:g}" for scale in self.given["guidance"])
            raise InputError(
                f"conditions expected with guidance {scales}, and {self.name} names none; give --conditions "
                "NORMAL/UNUSUAL, or --guidance 1 for a model without conditions"
            ) from error

    @cached_property
    def _first_map(self) -> LatentMap:
        """The first map of the first seed, at the least noise."""
        scale = self.given["guidance"][0]
        denoiser, _ = self._denoiser(self._sides(scale)[0], 0, scale)
        return denoiser_map(denoiser, self._lowest, self.given["output"][0])

    @property
    def _lowest(self) -> float:
        return min(level for level in self.levels if level > 0)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one point."""
        shape = self._first_map.latent_shape
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
        return {"design": "denoising", "model": self._first_map.fingerprint(), "levels": self.levels}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The map of the least noise, at noises of that size."""
        return self._first_map, torch.cat([self._noise(seed) for seed in range(2)]) * self._lowest, self.name

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One seed at one guidance scale, under both conditions."""
        seed, scale = self.parts[unit]
        points = Points()
        for side in self._sides(scale):
            self._follow(points, side, seed, scale)
        return points.piece()

    def _follow(self, points: Points, side: str | None, seed: int, guidance: float) -> None:
        """Add every level of one way, and the picture of its end."""
        denoiser, levels = self._denoiser(side, seed, guidance)
        prompt = None if side is None else word_of(self._condition(side, seed))
        about = {"guidance": guidance, "side": side or "none", "seed": seed, "prompt": prompt}
        with torch.no_grad():
            *stages, end = way(denoiser, levels, self._noise(seed))
        for step, (level, x) in enumerate(zip(levels, stages)):
            if math.isfinite(level):
                where = [{**about, "step": step, "level": level, "output": name} for name in self.given["output"]]
                self._add_level(points, denoiser, level, x, where, self.probes[seed])
                self._add_norms(points, denoiser, self._both(side, seed), level, x, where[0])
        for image in pictures_of(self.model, end):
            points.pictures[side or "none"] = image

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
            points.add(chart, [coordinates], DESCRIPTORS if place == 0 else DESCRIPTORS[:2])

    def _add_norms(
        self, points: Points, denoiser: Denoiser, both: Guided | None, level: float, x: Tensor, where: dict[str, Any]
    ) -> None:
        """Add what geometry has to beat: `||D - x|| / sigma²`, and `||c - u|| / sigma` of both predictions."""
        with torch.no_grad():
            norms = {"score_norm": score_norm((denoiser(x, level) - x) / level**2)}
            if both is not None:
                gap = both.conditioned(x, level) - both.unconditioned(x, level)
                norms["condition_norm"] = score_norm(gap / level)
        for passes, (name, norm) in enumerate(norms.items(), 1):
            points.rows.append(number(name, replace(norm, passes=passes), **where))

    def _both(self, side: str | None, seed: int) -> Guided | None:
        """The denoiser with and without the condition of a side; None where there is none."""
        if not self.prompts or side is None:
            return None
        guided = as_denoiser(self.model, condition=self._condition(side, seed), guidance=0.0)
        assert isinstance(guided, Guided)
        return guided

    def _denoiser(self, side: str | None, seed: int, guidance: float) -> tuple[Denoiser, list[float]]:
        """The denoiser of one side, with its own noise levels; of one network where the scale needs one."""
        both = self._both(side or "normal", seed)
        if both is None:
            denoiser = as_denoiser(self.model)
        else:
            alone = {0.0: both.unconditioned, 1.0: both.conditioned}
            denoiser = alone.get(guidance) or Guided(both.conditioned, both.unconditioned, guidance)
        return denoiser, denoiser.levels(self.given["steps"])

    def _sides(self, guidance: float) -> tuple[str | None, ...]:
        return _SIDES if self.prompts and guidance != 0 else (None,)

    def _condition(self, side: str, seed: int) -> Any:
        return self.prompts[seed % len(self.prompts)][_SIDES.index(side)]

    def _noise(self, seed: int) -> Tensor:
        draws = Seeds([self.seeds[seed]], 1).normal("noise", *self.shape)
        return draws.to(device=self._first_map.device, dtype=self._first_map.dtype)


def _name(model: Any) -> str:
    return str(getattr(model, "name", type(model).__name__))


DESIGN = AlongDenoising
