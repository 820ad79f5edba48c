"""What experiments at points of one map have in common: a subject, and its points, of images or of named latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, refusing
from theodolite.experiments.images import ImageExperiment

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.data.latents import LatentSet
    from theodolite.maps import LatentMap
    from theodolite.maps.subject import Subject

__all__ = ["SubjectExperiment", "drawn_in_roles"]

_CONFIRMED_ON = 8
"""Images that a denoiser's convention is held against, see `theodolite.maps.conventions`."""


class SubjectExperiment(ImageExperiment):
    """An experiment at points of one map of a model: of the images of folders, or latents that `latents` names.

    Every point is a unit.

    Attributes:
        subject: the map, once it is opened.
        drawn: of every unit, the latents that it is from and its name there; empty where images are measured.
        latents: the first point `(1, *latent)`, once the map is opened.
        output_shape: of one output.
    """

    subject: Subject
    latents: Tensor
    output_shape: tuple[int, ...]

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.drawn: Mapping[str, tuple[LatentSet, str]] = {}
        super().__init__(given)
        if given.get("latents") is not None:
            self.drawn = self.find_drawn()
            self.units = [*self.drawn]

    def find(self) -> ImageSet:
        """The images; none where latents are given."""
        from theodolite.data.images import ImageSet

        return ImageSet(Path(), (), ()) if self.given.get("latents") is not None else self.find_images()

    def find_images(self) -> ImageSet:
        """The images, before any model is loaded."""
        return super().find()

    def find_drawn(self) -> Mapping[str, tuple[LatentSet, str]]:
        """The latents, before any model is loaded, by unit."""
        from theodolite.data.latents import find_latents
        from theodolite.data.listing import chosen_among, named_samples

        latents = find_latents(self.given["latents"], self.given["limit"])
        only = chosen_among(named_samples(self.given.get("only")), latents.samples, self.given["latents"])
        return {sample: (latents, sample) for sample in latents.samples if not only or sample in set(only)}

    def open_subject(self, **settings: Any) -> None:
        """Open the map, keep the images that it can take, and look at its first output.

        Args:
            settings: in place of those that were given.
        """
        from theodolite.data.models import opened_map

        given, at_images = {**self.given, **settings}, not self.drawn
        options = {name: given[name] for name in self.loading()}
        options["size"] = self.wanted_size() if at_images else given["size"]
        self.subject = opened_map(given["model"], given["map"], images=at_images, settings=given, **options)
        self.device = self.subject.device
        if at_images:
            self.model = self.subject.reader()
            self.accept(self.model)
            self.subject = self.confirmed(self.subject)
        self.latents, output = self._first()
        self.output_shape = tuple(output.shape[1:])

    def confirmed(self, subject: Subject) -> Subject:
        """The same, with a denoiser's convention held against a few of the images."""
        import torch

        if subject.kind != "denoiser" or len(self.units) < 2:  # one image has no scatter to tell conventions apart by
            return subject
        with refusing(subject.name, "failed on noised images", "see that its shape is that of the data"):
            return subject.confirmed(torch.cat([self.picture_of(unit) for unit in self.units[:_CONFIRMED_ON]]))

    def _first(self) -> tuple[Tensor, Tensor]:
        """The first point and its output: what the model cannot do is told before anything is written."""
        if not self.drawn and self.subject.kind == "decoder":
            return self.first_pass()
        for latents, sample in {latents: (latents, sample) for latents, sample in self.drawn.values()}.values():
            latents.latent(sample, self.subject, self.given["size"])  # a wrong file is told before units fail by it
        points, _ = self.point_of(self.units[0], self.subject)
        fix = f"see that it takes such points{self.subject.given}"
        with refusing(self.subject.name, f"failed on the first point, of shape {tuple(points.shape)}", fix):
            return points, self.subject.outputs(points)

    def point_of(self, unit: str, subject: Subject) -> tuple[Tensor, Tensor | None]:
        """Where a map is measured in a unit, `(1, *latent)`, and its image where it has one."""
        import torch

        if self.drawn:
            latents, sample = self.drawn[unit]
            return latents.latent(sample, subject, self.given["size"]), None
        image = self.picture_of(unit)
        with torch.no_grad():
            return subject.points(image, self.noise_seed(unit)), image

    def points_of(self, units: Sequence[str]) -> tuple[list[str], Tensor, Tensor | None]:
        """Where the map is measured in several units, encoded at once: those that can be read, points and images.

        Raises:
            InputError: none can be read, or they have several shapes.
        """
        import torch

        read: dict[str, Tensor] = {}
        for unit in units:
            with suppress(Exception):  # measured alone, it says why
                read[unit] = self._raw(unit)
        if len({each.shape for each in read.values()}) != 1:
            raise InputError(f"points of one shape expected in {units[0]} and the {len(units) - 1} after it")
        together = torch.cat([*read.values()])
        if self.drawn:
            return [*read], self.subject.placed(together), None
        with torch.no_grad():
            if self.subject.kind != "denoiser":
                return [*read], self.subject.points(together), together
            noised = [self.subject.points(image, self.noise_seed(unit)) for unit, image in read.items()]
        return [*read], torch.cat(noised), together

    def _raw(self, unit: str) -> Tensor:
        """The image of a unit, or its latent where it is drawn, before they are where the weights are."""
        if not self.drawn:
            return self.picture_of(unit)
        latents, sample = self.drawn[unit]
        return latents.latent(sample, self.subject, self.given["size"])

    def noise_seed(self, unit: str) -> int:
        """Of the noise of a denoiser's point, which defines it: from the run's own seed, never that of probes."""
        from theodolite.estimates.streams import seed_of

        return seed_of(self.given["seed"], unit)

    def where(self, unit: str) -> dict[str, Any]:
        """Where the numbers of a unit were measured."""
        at = {"model": self.subject.name, "sample": unit, "map": self.subject.kind}
        return {**at, "sigma": self.subject.sigma or None} if "sigma" in self.coordinates else at

    def pictures(self, image: Tensor | None, outputs: Tensor) -> dict[str, Image]:
        """The image of a unit and what the map makes of it; of latents the latter alone, where it is an image."""
        from theodolite.data.pixels import picture

        made = self.subject.images(outputs)
        pictures = {} if image is None else {"": picture(image[0])}
        if made is not None:
            pictures["" if image is None else "reconstruction"] = picture(made[0], self.subject.output_range)
        return pictures

    def record(self) -> dict[str, Any]:
        """Model, map, and images or latents."""
        return {"model": self.subject.describe(), "data": self.data(), "map": self.subject.kind}

    def data(self) -> dict[str, Any]:
        """What a run records of its images or latents."""
        if not self.drawn:
            return super().data()
        files = [self.entry(unit, sample) for unit, (_, sample) in self.drawn.items()]
        return {"latents": self.given["latents"], "files": files, "skipped": []}

    def identities(self) -> dict[str, str]:
        """What decides every sample: the hash of its image, or of its latents."""
        if not self.drawn:
            return super().identities()
        return {unit: latents.identity(sample) for unit, (latents, sample) in self.drawn.items()}

    def content(self) -> dict[str, Any]:
        """The model's fingerprint, and the images or latents."""
        return {"model": self.subject.fingerprint(), "images": self.identities()}

    def checked_map(self) -> tuple[LatentMap, Tensor, str] | None:
        """The map at the first point."""
        return self.subject.map, self.latents, self.subject.name


def drawn_in_roles(specs: Mapping[str, str], fix: str) -> tuple[dict[str, tuple[LatentSet, str]], dict[str, str]]:
    """Latents of one or more roles by unit, as `SubjectExperiment.find_drawn` gives them, and the role of each unit.

    Args:
        specs: what names the latents of each role, as `find_latents` takes it.
        fix: what to give where two roles share latents.

    Raises:
        InputError: one names no latents, or the same latents have two roles.
    """
    from theodolite.data.latents import find_latents

    sets = {role: find_latents(spec) for role, spec in specs.items()}
    identities: Sequence[str] = [s.identity(sample) for s in sets.values() for sample in s.samples]
    if len(set(identities)) < len(identities):
        raise InputError(f"different latents expected in {' and '.join(specs.values())}, which share some; {fix}")
    units = {role: (f"{role}-" if len(sets) > 1 else "", s) for role, s in sets.items()}
    drawn = {f"{start}{sample}": (s, sample) for start, s in units.values() for sample in s.samples}
    roles = {f"{start}{sample}": role for role, (start, s) in units.items() for sample in s.samples}
    return drawn, roles
