"""Samples of a model: each from its noise, under its condition, as an image in [-1, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from theodolite.data.conditions import value_of, word_of
from theodolite.data.models import opened_model
from theodolite.errors import InputError, refusing
from theodolite.estimates.streams import seed_of
from theodolite.maps.adapters import subject_of
from theodolite.maps.denoisers import denoiser_map
from theodolite.maps.sampling import Sampling
from theodolite.maps.subject import Subject

if TYPE_CHECKING:
    from theodolite.data.latents import LatentSet
    from theodolite.maps import LatentMap

__all__ = ["Draw", "Draws"]

_RANGE_DRAWS = 8
"""Samples by which a generator that names no range is found to draw in [0, 1]."""


class Draw(NamedTuple):
    """One sample.

    Attributes:
        subject: its map.
        latent: the noise, `(1, *latent)`.
        condition: as text; None without.
        output: of the map.
        image: what would be saved of that, `(1, channels, height, width)`, clamped to [-1, 1].
    """

    subject: Subject
    latent: Tensor
    condition: str | None
    output: Tensor
    image: Tensor

    @property
    def asked(self) -> Any:
        """The condition as models take it."""
        return value_of(self.condition)


class Draws:
    """The samples of a model.

    Args:
        given: settings of the experiment.
        latents: the noise.
        loading: options of `theodolite.load`.

    Attributes:
        subject: a map of the model: without a condition, or under the first where that is unknown.
        without: the map without a condition; None where it is unknown, as of texts.
        conditions: as text, of which every sample draws one; empty of a model without.
        notes: how outputs were read.

    Raises:
        InputError: the model has no such map, draws no images, or settings that do not belong to it.
    """

    def __init__(self, given: Mapping[str, Any], latents: LatentSet, loading: Mapping[str, Any]) -> None:
        self.given, self.latents = given, latents
        named: Sequence[str] = given["condition"] or ()
        self.model = opened_model(given["model"], size=given["size"], **loading)
        self.subject, self.without = self._opened(named)
        self.conditions = [*named] or [word_of(own) for own in getattr(self.subject.denoiser, "conditions", ())]
        self._check()
        self.notes: list[str] = []
        self._subjects: dict[str, Subject] = {}
        for condition in named:
            self.under(condition)  # one that the model does not take is told before anything is drawn
        self._range = self._found_range()

    @property
    def why_unmoved(self) -> str:
        """Why it cannot be told how far a condition moves a sample; empty where it can."""
        if not self.conditions:
            return "the model names no conditions, and --condition gives none"
        unknown = "what the model makes without a condition is unknown; give --unconditional with --guidance"
        return unknown if self.without is None else ""

    def _opened(self, named: Sequence[str]) -> tuple[Subject, Subject | None]:
        """A map of the model, and the one without a condition, where the model knows it or guidance says its start."""
        options = {"kind": self.given["map"], "steps": self.given["steps"], "size": self.given["size"]}
        try:
            without = subject_of(self.model, condition=value_of(self.given["unconditional"]), **options)
        except InputError:
            if not named:
                raise
            return subject_of(self.model, condition=value_of(named[0]), **options), None
        return without, without

    def _check(self) -> None:
        """Refuse settings of a conditional model with another one."""
        name, is_diffusion = self.subject.name, self.subject.denoiser is not None
        for setting in ("condition", "guidance", "unconditional", "steps"):
            if self.given[setting] is not None and not is_diffusion:
                raise InputError(f"--{setting} belongs to a diffusion model, got it with {name}; leave it out")
        if self.given["guidance"] is not None and not self.conditions:
            raise InputError(f"--guidance needs conditions, and {name} names none; give --condition")

    def draw(self, unit: str) -> Draw:
        """One sample.

        Raises:
            InputError: the model fails on its noise, or draws no image.
        """
        condition, latent = self.condition(unit), self.latents.latent(unit, self.subject, self.given["size"])
        subject = self.under(condition)
        fix = f"see that it takes such noise{subject.given}"
        with refusing(subject.name, f"failed on noise of shape {tuple(latent.shape)}", fix):
            output = subject.outputs(latent)
        images = subject.images(output)
        if images is None:
            raise InputError(
                f"a model that draws images (1 or 3 channels, height, width) expected, {subject.name} draws "
                f"{tuple(output.shape[1:])}; give it with its autoencoder, or a factory whose model returns images"
            )
        low, high = self._range
        image = (2 * (images - low) / (high - low) - 1).float().cpu().clamp(-1, 1)
        return Draw(subject, latent, condition, output, image)

    def condition(self, unit: str) -> str | None:
        """The condition of a sample as text: the only one, or one that its own stream draws; None without any."""
        if not self.conditions:
            return None
        return self.conditions[seed_of(int(self.given["seed"]), f"condition of {unit}") % len(self.conditions)]

    def under(self, condition: str | None) -> Subject:
        """The map under a condition; that of nothing in particular for None."""
        if condition is None or self.subject.denoiser is None:
            return self.subject
        if condition not in self._subjects:
            options = {name: self.given[name] for name in ("steps", "guidance", "size")}
            options |= {"condition": value_of(condition), "unconditional": value_of(self.given["unconditional"])}
            self._subjects[condition] = subject_of(self.model, "sampler", **options)
        return self._subjects[condition]

    def denoiser(self, draw: Draw, sigma: float) -> LatentMap | None:
        """The denoiser under the condition of a sample at a noise level; None without one, or of another level."""
        sampler = self.subject.map.function
        if not isinstance(sampler, Sampling) or self.subject.denoiser is None:
            return None
        try:
            if draw.condition is None:
                return denoiser_map(sampler.denoiser, sigma)
            return denoiser_map(self.model, sigma, condition=draw.asked)
        except InputError:  # it does not know this level
            return None

    def clean(self, draw: Draw) -> Tensor:
        """The point that the denoiser of a model sees of a sample: of a latent one the latent of the image, clamped."""
        subject = draw.subject
        if subject.autoencoder is None:
            return subject.placed(draw.output)
        with torch.no_grad():
            return subject.placed(subject.autoencoder.encode(subject.placed(draw.image)))

    def _found_range(self) -> tuple[float, float]:
        """Least and largest value of an image: what the model says, or [0, 1] where a generator stays in it."""
        subject = self.subject
        if subject.kind != "generator" or subject.map.output_range is not None:
            return subject.output_range
        units = self.latents.samples[:_RANGE_DRAWS]
        latents = torch.cat([self.latents.latent(unit, subject, self.given["size"]) for unit in units])
        with refusing(subject.name, "failed on the first noises", "see that it takes several at once"):
            outputs = subject.outputs(latents)
        if not bool(((outputs >= 0) & (outputs <= 1)).all()):
            return subject.output_range
        self.notes.append("its samples stay in [0, 1], and are read so; a LatentMap with output_range says what holds")
        return (0.0, 1.0)
