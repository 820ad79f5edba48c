"""`traverse_denoising`: psi, nu and delta of a denoiser along its own sampler's way, at several guidance scales."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import torch
from torch import Tensor

from theodolite.data.conditions import loaded_diffusion, pictures_of, prompts_of, text_of, word_of
from theodolite.descriptors.chart import Chart
from theodolite.detection.baselines import score_norm
from theodolite.errors import InputError
from theodolite.estimates import Seeds
from theodolite.maps.denoisers import Output, as_denoiser, denoiser_map, jacobians_of
from theodolite.maps.denoising import Denoiser, Guided
from theodolite.maps.samplers import Sampler
from theodolite.surveys.measure import row_of
from theodolite.surveys.progress import Progress
from theodolite.surveys.traverse import DESCRIPTORS, Shard, Work, checked_settings, opened, run_traverse

if TYPE_CHECKING:
    from theodolite.maps import LatentMap
    from theodolite.surveys.traversed import Traversed

__all__ = ["traverse_denoising"]

_DEFAULTS: Mapping[str, Any] = {
    "conditions": None,
    "guidance": (0.0, 1.0, 2.0, 4.0),
    "output": ("x0", "eps"),
    "steps": 10,
    "seeds": 8,
    "budget": "standard",
    "seed": 0,
    "device": None,
    "dtype": None,
    "subfolder": None,
    "revision": None,
}
_SIDES = ("normal", "unusual")


def traverse_denoising(
    model: Any,
    out: str | os.PathLike[str],
    *,
    conditions: str | Sequence[tuple[Any, Any]] | None = None,
    guidance: Sequence[float] = (0.0, 1.0, 2.0, 4.0),
    output: Sequence[str] = ("x0", "eps"),
    steps: int = 10,
    seeds: int = 8,
    budget: str = "standard",
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Traversed:
    """Local scaling, rank and complexity of the guided denoiser at every step of its deterministic sampler (DDIM).

    At step `k` of the way `x_0, x_1, ...` of one noise, the map is `x -> output of u + g (c - u)` at the noise level
    `sigma_k`, and the point is `x_k`. Each noise is used under a normal and an unusual condition, as `decouple` parses
    them, so that the two are paired; guidance 0 has no condition and one way. Singular values of `eps` are those of
    `(I - J) / sigma` of `x0`'s `J`: which output is asked decides the result. The hyperplanes that `local_complexity`
    counts are those of the networks whatever the output, so it is measured once, with the first output; at guidance
    other than 0 and 1 they are those of two networks at once, whatever the scale: compare its fraction.

    Beside the descriptors stand two plain numbers: `score_norm`, `||D - x|| / sigma²`, and `condition_norm`,
    `||c - u|| / sigma`, how far the condition moves the predicted noise (after Wen et al. 2024).

    Finished seeds of a scale are stored: the same call goes on where it stopped.

    Args:
        model: what `theodolite.load` takes for a diffusion model, one that was loaded, or what `denoiser_map` takes.
        out: the run folder: new, empty, or one of the same configuration.
        conditions: pairs of a normal and an unusual condition, or text such as ``3-red/3-yellow,4-blue/4-red``; by
            default what the zoo's model was trained on and what was held out. Seeds take the pairs in turn.
        guidance: scales, each once; without conditions 1 alone.
        output: what the map returns: some of ``x0``, ``eps``, ``v``, ``score``.
        steps: of the sampler; each level above zero is measured.
        seeds: how many noises, at least two.
        budget: ``quick``, ``standard`` or ``full``, as in a survey.
        seed: of noise and of random draws.
        device: as in torch, for a model that is named.
        dtype: ``float32`` or ``float64``, for a model that is named.
        subfolder: of the model's folder or hub repository.
        revision: of the hub repository.
        progress: called with (done, all, what is done).

    Returns:
        `Traversed`. Cost: for each scale, side, seed and step that of the three descriptors, two passes each counting
        as two where a scale is neither 0 nor 1.

    Raises:
        InputError: before long work: an autoencoder, guidance of a model without conditions, conditions it does not
            take, an unknown output, a run of another configuration in `out`.
        KeyboardInterrupt: on Ctrl-C; what is finished is kept.
    """
    given = {name: value for name, value in locals().items() if name in _DEFAULTS}
    settings = checked_settings(
        {**given, "guidance": _scales(guidance), "output": _outputs(output)}, {"steps": 1, "seeds": 2}
    )
    folder, exists = opened(out)
    loaded = loaded_diffusion(model, subfolder=subfolder, revision=revision, device=device, dtype=dtype)
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else getattr(model, "name", type(model).__name__)
    return run_traverse(_Denoising(loaded, str(name), settings, conditions), folder, exists, progress)


class _Denoising(Work):
    over = "denoising"
    defaults: ClassVar[Mapping[str, Any]] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in _DEFAULTS.items()
    }

    def __init__(self, model: Any, name: str, settings: Mapping[str, Any], conditions: Any) -> None:
        self.model, self.words = model, [name]
        scales = settings["guidance"]
        alone = scales == [1.0] and conditions is None and not getattr(model, "held_out", ())
        self.prompts = [] if alone else self._prompts(conditions, scales)
        self.settings = {**settings, "conditions": text_of(self.prompts) if self.prompts else None}
        self.seeds = Seeds(settings["seed"], settings["seeds"]).base
        self.levels = self._denoiser(None, 0, scales[0])[1]
        self.parts = {f"seed-{seed:03d}-guidance-{g:g}": (seed, g) for seed in range(settings["seeds"]) for g in scales}
        self.units = [*self.parts]
        self._check_conditions()

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one point."""
        known = tuple(size for size in self._first_map.latent_shape if size is not None)
        if len(known) < len(self._first_map.latent_shape):
            raise InputError(f"a denoiser of points of known size expected, got {self._first_map.latent_shape}")
        return known

    @cached_property
    def _first_map(self) -> LatentMap:
        """The first map of the first seed."""
        guidance = self.settings["guidance"][0]
        denoiser, _ = self._denoiser(self._sides(guidance)[0], 0, guidance)
        return denoiser_map(denoiser, self._lowest, self.settings["output"][0])

    @property
    def _lowest(self) -> float:
        return min(level for level in self.levels if level > 0)

    @cached_property
    def first(self) -> tuple[LatentMap, Tensor]:
        """The map of the least noise, at noises of that size."""
        return self._first_map, torch.cat([self._noise(seed) for seed in range(2)]) * self._lowest

    def described(self) -> dict[str, Any]:
        """Model, prompts and noise levels."""
        return {
            "model": {"name": self.words[0], "fingerprint": self._first_map.fingerprint(), "shape": list(self.shape)},
            "design": {
                "prompts": [[word_of(side) for side in pair] for pair in self.prompts],
                "levels": [level if math.isfinite(level) else None for level in self.levels],
            },
        }

    def measured(self, unit: str) -> Shard:
        """One seed at one guidance scale, under both conditions."""
        seed, scale = self.parts[unit]
        shard = Shard()
        for side in self._sides(scale):
            self._follow(shard, unit, side, seed, scale)
        return shard

    def _follow(self, shard: Shard, unit: str, side: str | None, seed: int, guidance: float) -> None:
        """All levels of one way."""
        denoiser, levels = self._denoiser(side, seed, guidance)
        about = {"guidance": guidance, "side": side or "none", "seed": seed, "prompt": self._word(side, seed)}
        with torch.no_grad():
            ways = [*_way(denoiser, levels, self._noise(seed))]
        for step, (level, point) in enumerate(ways[:-1]):
            if not math.isfinite(level):
                continue
            where = {"step": step, "level": level}
            ids = [f"{unit}-{side or 'none'}-{step:02d}-{output}" for output in self.settings["output"]]
            shard.points.update({i: {**about, **where, "output": o} for i, o in zip(ids, self.settings["output"])})
            self._measure(shard, denoiser, level, point, ids, self.seeds[seed])
            shard.rows.extend(self._plain(ids[0], denoiser, self._both(side, seed), level, point))
        pictures = pictures_of(self.model, ways[-1][1])
        shard.pictures.update({f".{side or 'none'}.png": one for one in pictures})

    def _measure(
        self, shard: Shard, denoiser: Denoiser, level: float, point: Tensor, ids: Sequence[str], seed: int
    ) -> None:
        """Every output at one point; where the Jacobian of the denoised point is built, the others follow from it."""
        options: dict[str, Any] = {"generator": [seed], "effort": self.effort}
        denoised = Chart(denoiser_map(denoiser, level, "x0"), point, **options)
        for place, (sample, output) in enumerate(zip(ids, self.settings["output"])):
            chart = denoised if output == "x0" else Chart(denoiser_map(denoiser, level, output), point, **options)
            if denoised.is_dense and output != "x0":
                chart.jacobians = jacobians_of(output, denoised.jacobians, level)
            self.add(shard, chart, [sample], DESCRIPTORS if place == 0 else DESCRIPTORS[:2], output, level)

    def _plain(
        self, sample: str, denoiser: Denoiser, both: Guided | None, level: float, point: Tensor
    ) -> Iterator[dict[str, Any]]:
        """What geometry has to beat: the norm of the score, and how far the condition moves the predicted noise."""
        with torch.no_grad():
            found = {"score_norm": score_norm((denoiser(point, level) - point) / level**2)}
            if both is not None:
                gap = both.conditioned(point, level) - both.unconditioned(point, level)
                found["condition_norm"] = score_norm(gap / level)
        common = {"sample": sample, "map": self.settings["output"][0], "sigma": level}
        for passes, (name, one) in enumerate(found.items(), 1):
            yield {**common, **row_of(name, one), "passes": passes}

    def _both(self, side: str | None, seed: int) -> Guided | None:
        """The denoiser with and without the condition of a side; None where there is none."""
        if not self.prompts or side is None:
            return None
        found = as_denoiser(self.model, condition=self._condition(side, seed), guidance=0.0)
        assert isinstance(found, Guided)
        return found

    def _denoiser(self, side: str | None, seed: int, guidance: float) -> tuple[Denoiser, list[float]]:
        """The denoiser of one side, with its own noise levels; of one network where the scale needs one."""
        both = self._both(side or "normal", seed)
        if both is None:
            found = as_denoiser(self.model)
        else:
            alone = {0.0: both.unconditioned, 1.0: both.conditioned}
            found = alone.get(guidance) or Guided(both.conditioned, both.unconditioned, guidance)
        return found, found.levels(self.settings["steps"])

    def _sides(self, guidance: float) -> tuple[str | None, ...]:
        return _SIDES if self.prompts and guidance != 0 else (None,)

    def _condition(self, side: str, seed: int) -> Any:
        return self.prompts[seed % len(self.prompts)][_SIDES.index(side)]

    def _word(self, side: str | None, seed: int) -> str | None:
        return None if side is None else word_of(self._condition(side, seed))

    def _noise(self, seed: int) -> Tensor:
        draws = Seeds([self.seeds[seed]], 1).normal("noise", *self.shape)
        return draws.to(device=self._first_map.device, dtype=self._first_map.dtype)

    def _prompts(self, conditions: Any, scales: Sequence[float]) -> list[tuple[Any, Any]]:
        try:
            return prompts_of(self.model, conditions)
        except InputError as error:
            if conditions is not None:
                raise
            raise InputError(
                f"conditions expected with guidance {', '.join(f'{g:g}' for g in scales)}, and {self.words[0]} names "
                "none; give --conditions NORMAL/UNUSUAL, or --guidance 1 for a model without conditions"
            ) from error

    def _check_conditions(self) -> None:
        """One pass under every condition, before long work."""
        for place in range(len(self.prompts)):
            for side in _SIDES:
                denoiser, _ = self._denoiser(side, place, 1.0)
                with torch.no_grad():
                    denoiser(self._noise(0), self._lowest)


def _way(denoiser: Denoiser, levels: Sequence[float], noise: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Levels and points of the deterministic sampler, from scaled noise to the sample."""
    stages = Sampler(denoiser, levels, "ddim", None).make_stages()
    yield levels[0], denoiser.start(levels[0]) * noise
    x = noise  # the first stage scales it itself
    for level, stage in zip(levels[1:], stages):
        x = stage(x)
        yield level, x


def _scales(guidance: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(one) for one in guidance)
    told_apart = len({f"{one:g}" for one in found}) == len(found)  # in names of units and of pictures
    if not found or not told_apart or not all(math.isfinite(one) and one >= 0 for one in found):
        raise InputError(
            f"guidance expected as one or more different scales of 0 or more, to six digits, got {list(guidance)}"
        )
    return found


def _outputs(output: Sequence[str]) -> tuple[str, ...]:
    found = (output,) if isinstance(output, str) else tuple(output)
    if not found or len(set(found)) < len(found) or not set(found) <= set(get_args(Output)):
        raise InputError(f"outputs expected as some of {', '.join(get_args(Output))}, got {', '.join(found) or 'none'}")
    return found
