"""Where the points of a traverse lie: on a plane, along a sampler's way, at latents of images that get worse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from theodolite.data.conditions import SIDES, Prompted, pictures_of, text_of, word_of
from theodolite.data.images import ImageSet, sourced_images
from theodolite.data.models import opened_denoiser, opened_map
from theodolite.data.pixels import picture
from theodolite.data.plane import CORNERS, Plane, check_anchors
from theodolite.data.remote import data_of
from theodolite.data.sources import several_sources
from theodolite.descriptors.together import charts_alike, charts_of_outputs
from theodolite.detection import CORRUPTIONS, SEVERITIES, corrupt, pixel_energy, reconstruction_error, score_norm
from theodolite.detection.evaluation import paired_auroc
from theodolite.detection.sensitivity import sensitivity, severity_correlation
from theodolite.errors import InputError
from theodolite.estimates import Estimate, Seeds, joined
from theodolite.estimates.groups import difference, group_mean, group_spread
from theodolite.estimates.streams import seed_of
from theodolite.experiments.images import ImageExperiment, usual_size
from theodolite.experiments.points import Points
from theodolite.experiments.traverse.experiment import DESCRIPTORS, DESIGNS, Traverse
from theodolite.maps.denoisers import denoiser_map
from theodolite.maps.samplers import way
from theodolite.runs.experiment import Row, number
from theodolite.runs.rows import grouped, shared
from theodolite.runs.run import estimate_of

__all__ = ["SOURCES", "AlongDenoising", "OverCorruptions", "OverPlane"]

_PICTURES = 7
"""Decoded images along a side of a plane, at most: more are too small to be told apart on a page."""


class OverPlane(Traverse):
    """Points `z0 + a (z1 - z0) + b (z2 - z0)`; units are the anchors, and the rows of the grid."""

    settings = DESIGNS["plane"]

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        check_anchors(self.given["anchor"] or ())
        self.units = ["anchors", *(f"row-{row:03d}" for row in range(self.given["grid"]))]

    def open(self) -> None:
        """Load the model and read the anchors."""
        options = {**self.loading(), "size": self.given["size"]}
        self.model = opened_map(self.given["model"], settings=self.given, **options)
        self.device = self.model.device
        self.plane = Plane(self.model, self.given["anchor"], self.given["size"])
        low, high = -self.given["margin"], 1 + self.given["margin"]
        self.places = torch.linspace(low, high, self.given["grid"], dtype=torch.float64).tolist()
        latents = torch.stack([end.latent for end in self.plane.ends])
        self.rms = math.fsum(latents.double().square().flatten(1).mean(1).sqrt().tolist()) / 3  # in any order the same
        anchors = [{"at": [*at], **anchor} for at, anchor in zip(CORNERS, self.plane.described())]
        design, shape = {"anchors": anchors, "places": self.places}, [*self.plane.shape]
        content = [end.content for end in self.plane.ends]
        self.checked = self.model.map, latents, self.model.name
        self.recorded = {"model": self.model.describe(), "latent_shape": shape, "design": design}
        self.same = {"design": "plane", "model": self.model.fingerprint(), "anchors": content}

    def points(self, unit: str) -> Iterator[Points]:
        """The anchors, or one row of the grid: every `a` at one `b`."""
        where, shown = [{"anchor": e.name, "a": a, "b": b} for e, (a, b) in zip(self.plane.ends, CORNERS)], range(3)
        if unit != "anchors":
            row, step = int(unit.removeprefix("row-")), math.ceil((len(self.places) - 1) / (_PICTURES - 1))
            where = [{"a": a, "b": self.places[row]} for a in self.places]
            shown = range(0, 0 if row % step else len(where), step)
        theta = torch.tensor([[at["a"], at["b"]] for at in where], dtype=torch.float64)
        pictures = {f"{n:03d}": image for n, image in zip(shown, self.plane.pictures(theta[[*shown]], 128))}
        (seed,), decoder = Seeds(self.probe_seed(), 1).base, self.model.map
        for part, chart in charts_alike(decoder, self.plane.latents(theta), seed, self.effort, self.rms):
            yield Points(chart, DESCRIPTORS, where[part], pictures=pictures)


class AlongDenoising(Traverse):
    """Points of the deterministic sampler; units are seeds at guidance scales, under both conditions."""

    settings = DESIGNS["denoising"]

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self.parts = {f"seed-{s:03d}-guidance-{g:g}": (s, g) for s in range(given["seeds"]) for g in given["guidance"]}
        self.units = [*self.parts]

    def open(self) -> None:
        """Load the model, and run it once under every condition."""
        given, bare = self.given, self.given["guidance"] == [1.0]
        opened = opened_denoiser(given["model"], "traverse denoising", **self.loading())
        self.model = Prompted(opened, given["conditions"], bare=bare, unconditional=given["unconditional"])
        given["conditions"] = text_of(self.model.pairs) or None
        self.seeds = Seeds(given["seed"], given["seeds"]).base
        self.probes = Seeds(self.probe_seed(), given["seeds"]).base
        denoiser = self.model.denoiser(0, None, given["guidance"][0])
        self.levels = denoiser.levels(given["steps"])
        lowest = min(level for level in self.levels if level > 0)
        self.first = denoiser_map(denoiser, lowest, given["output"][0])
        self.device, self.shape = self.first.device, [n for n in self.first.latent_shape if n is not None]
        if len(self.shape) < len(self.first.latent_shape):
            raise InputError(f"a denoiser of points of known size expected, got {self.first.latent_shape}")
        with torch.no_grad():
            for seed, side in product(range(len(self.model.pairs)), SIDES):
                self.model.denoiser(seed, side, 1.0)(self._noise(0), lowest)
                for scale in given["guidance"]:  # where guidance starts is asked for before anything is measured
                    self.model.denoiser(seed, side, scale)
        self.starts = self.model.knows_start()
        prompts = [[word_of(side) for side in pair] for pair in self.model.pairs]
        design, model = {"prompts": prompts, "levels": self.levels}, {"name": self.model.name, "shape": self.shape}
        self.checked = self.first, torch.cat([self._noise(seed) for seed in range(2)]) * lowest, self.model.name
        self.recorded = {"model": model, "design": design}  # an infinite level, noise alone, is stored as None
        self.same = {"design": "denoising", "model": self.first.fingerprint(), "levels": self.levels}

    def points(self, unit: str) -> Iterator[Points]:
        """One seed at one guidance scale, under both conditions: every level of the way, and a picture of its end.

        Delta counts the hyperplanes of the networks whatever the output: it is measured with the first one alone, as
        are the numbers that no output decides.
        """
        seed, scale = self.parts[unit]
        options = {"generator": [self.probes[seed]], "effort": self.effort}
        for side in self.model.sides(scale):
            denoiser, condition = self.model.denoiser(seed, side, scale), self.model.condition(seed, side)
            with torch.no_grad():
                *stages, end = way(denoiser, self.levels, self._noise(seed))
            prompt = None if side is None else word_of(condition)
            about = {"guidance": scale, "side": side or "none", "seed": seed, "prompt": prompt}
            pictures = dict(zip([side or "none"], pictures_of(self.model.model, end)))
            for step, (level, x) in enumerate(zip(self.levels, stages)):
                if not math.isfinite(level):
                    continue
                plain = self._norms(denoiser, seed, side, level, x)
                for output, chart in charts_of_outputs(denoiser, level, x, self.given["output"], **options):
                    at = {**about, "step": step, "level": level, "output": output}
                    yield Points(chart, DESCRIPTORS if plain else DESCRIPTORS[:2], [at], plain, pictures)
                    plain = {}

    def _norms(self, denoiser: Any, seed: int, side: str | None, level: float, x: Tensor) -> dict[str, Estimate]:
        """What geometry has to beat: `||D - x|| / sigma²`, and `||c - u|| / sigma` of both predictions."""
        with torch.no_grad():
            norms = {"score_norm": replace(score_norm((denoiser(x, level) - x) / level**2), passes=1)}
            if side is not None and self.starts:
                c, u = (self.model.denoiser(seed, side, scale)(x, level) for scale in (1.0, 0.0))
                norms["condition_norm"] = replace(score_norm((c - u) / level), passes=2)
        return norms

    def _noise(self, seed: int) -> Tensor:
        draws = Seeds([self.seeds[seed]], 1).normal("noise", *self.shape)
        return draws.to(device=self.first.device, dtype=self.first.dtype)

    @staticmethod
    def summaries(points: Sequence[Row]) -> Iterator[Row]:
        """``mean`` over seeds; ``difference`` (unusual less normal, paired by seed) and ``auroc`` (of the two)."""
        for key, group in grouped(points, "guidance", "output", "step", "level", "quantity"):
            sides = {at["side"]: rows for at, rows in grouped(group, "side")}
            for side, rows in sides.items():
                mean = group_mean(estimate_of(rows), [row["seed"] for row in rows])
                yield _summary(mean, **key, side=side, measure="mean")
            pairs = shared([sides.get(side, []) for side in SIDES], "seed")
            if pairs[0]:
                normal, unusual = map(estimate_of, pairs)
                change = group_mean(difference(normal, unusual), [row["seed"] for row in pairs[0]])
                yield _summary(change, **key, measure="difference")
                yield number(estimate=paired_auroc(normal, unusual), **key, measure="auroc")


class OverCorruptions(Traverse, ImageExperiment):
    """Latents of images that are clean, and worse and worse; units are images."""

    settings = DESIGNS["corruptions"]
    verb = "traverse corruptions"

    def find(self) -> ImageSet:
        """Images of several photographs, each in turn; one alone, over which there is no error, is refused."""
        self.given["corruption"] = self.given["corruption"] or [*CORRUPTIONS]
        folder, limit = data_of(self.given["data"]), self.given["limit"]
        images, sources = sourced_images(folder, self.given["group"], limit, seed=self.given["seed"])
        several_sources(sources, folder, limit, "or tell them apart with --group")
        self.sources = dict(zip((image.sample for image in images.files), sources))
        return images

    def side(self) -> int:
        """Pixels that images are resized to."""
        return usual_size(self.model, self.given["size"])

    def open(self) -> None:
        """Load the model, and encode a few images."""
        ImageExperiment.open(self)
        few = self._encoded([self.picture_of(sample) for sample in self.units[:3]])
        formulas = {name: CORRUPTIONS[name].formula for name in self.given["corruption"]}
        more = {"latent_shape": [*few.shape[1:]], "design": {"size": self.side(), "formulas": formulas}}
        self.checked = self.model.decoder, few, self.model.name
        self.recorded = {**ImageExperiment.record(self), **more}
        self.same = {"design": "corruptions", **ImageExperiment.content(self), "side": self.side()}

    def points(self, unit: str) -> Iterator[Points]:
        """One image, clean and corrupted, with the same draws and one radius of delta."""
        seed, source = seed_of(self.given["seed"], unit), self.sources[unit]
        rungs, clean = [(None, 0), *product(self.given["corruption"], SEVERITIES[1:])], self.picture_of(unit)
        images = [clean if name is None else corrupt(clean, name, s, generator=[seed]) for name, s in rungs]
        where = [{"corruption": n, "severity": s, "image": unit, "source": source} for n, s in rungs]
        shown = zip(rungs, images) if unit == self.units[0] else ()
        pictures = {f"{name or 'clean'}-{s}": picture(image[0], longest=128) for (name, s), image in shown}
        latents, probes = self._encoded(images), self.probe_seed(unit)
        rms = float(latents[0].double().square().mean().sqrt())
        for part, chart in charts_alike(self.model.decoder, latents, probes, self.effort, rms):
            errors = joined([reconstruction_error(self.model, image) for image in images[part]])
            plain = {"pixel_energy": pixel_energy(torch.cat(images[part])), "reconstruction_error": errors}
            yield Points(chart, DESCRIPTORS, where[part], plain, pictures)

    def _encoded(self, images: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.model.encode(image) for image in images])

    @staticmethod
    def summaries(points: Sequence[Row]) -> Iterator[Row]:
        """What corruptions change, over source photographs.

        ``clean``: means of clean images; ``change``: from them, paired by image; ``sensitivity``: in units of their
        spread; ``rank_correlation`` with severity.
        """
        for key, group in grouped(points, "quantity"):
            ladders = {at["corruption"]: [*grouped(rows, "severity")] for at, rows in grouped(group, "corruption")}
            ((at, clean),) = ladders.pop(None)
            sources = [row["source"] for row in clean]
            spread = group_spread(estimate_of(clean), sources)
            yield _summary(group_mean(estimate_of(clean), sources), **key, **at, measure="clean")
            for name, ladder in ladders.items():
                for at, rows in ladder:
                    pairs, about = shared([clean, rows], "image"), {**key, **at, "corruption": name}
                    change = group_mean(difference(*map(estimate_of, pairs)), [row["source"] for row in pairs[0]])
                    yield _summary(change, **about, measure="change")
                    yield _summary(sensitivity(change, *spread), **about, measure="sensitivity")
                steps = shared([clean, *(rows for _, rows in ladder)], "image")
                correlation = severity_correlation([*map(estimate_of, steps)], [row["source"] for row in steps[0]])
                yield number(estimate=correlation, **key, corruption=name, measure="rank_correlation")


def _summary(estimate: Estimate, **coordinates: Any) -> Row:
    """The row of a mean over samples: its interval has two sides even where single values are bounds."""
    value, reach = float(estimate.value), 1.96 * float(estimate.stderr)
    return number(estimate=estimate, low=value - reach, high=value + reach, **coordinates)


SOURCES = {"plane": OverPlane, "denoising": AlongDenoising, "corruptions": OverCorruptions}
