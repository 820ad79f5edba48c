"""`hotspots`: maps of gain, curvature and detail of every output, and the shares that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.remote import DataPath, data_of
from theodolite.errors import InputError, refusing
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import different_folders, in_one
from theodolite.experiments.subjects import SubjectExperiment, drawn_in_roles
from theodolite.runs.experiment import Derived, Piece, Sitting, numbers_each
from theodolite.runs.settings import DATA, GROUP, LATENTS, LIMIT, LOADING, MODEL, OF_MAPS, SEED, SIZE, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.data.latents import LatentSet
    from theodolite.estimates.quantity import Quantity
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "HotspotsExperiment"]

_LIANG = "Liang, Chen and Lai 2026"
_OF_MAPS = ("grid", "dimension", "neighbours", "subspaces")


class HotspotsExperiment(SubjectExperiment):
    """Where does a map of MODEL bend most, and does it bend there to make detail?

    The map is the decoder of an autoencoder (or its encoder), the denoiser of a diffusion model at --sigma, a sampler
    or a generator at --latents. A hotspot is a cell of its output that bends more than 95 % of all cells of the
    reference; it is wasted where its detail is at or below the reference's median. Shares come with 95 % intervals over
    source photographs (over latents), beside what chance would give, and every output with its hotspots drawn over it.
    Maps are those of `theodolite.hotspot_maps`, in a random subspace of latent directions. Cost: subspaces (k +
    6 neighbours + 1) passes a sample, 89 by default.

    Finished samples are kept: after Ctrl-C the same command goes on. MODEL is what `theodolite survey` takes.

    Examples:
      theodolite hotspots ./my-vae --data photos --out runs/hotspots
      theodolite hotspots ./my-vae --data odd --reference photos --size 64 --out runs/odd
      theodolite hotspots my_package.models:gan --latents seed:0..15 --out runs/gan
      theodolite hotspots zoo:patches-kl --data photos --size 32 --grid latent --subspaces 4 --out runs/kl
    """

    kind = "hotspots"
    summary = SUMMARIES["hotspots"]
    arguments = (MODEL,)
    settings = (
        replace(DATA, instead=("latents",)),
        LATENTS,
        Setting(
            name="reference",
            help="Folder of images that thresholds come from, or latents with --latents; by default those that are "
            "measured themselves.",
            metavar="FOLDER|SEEDS|FILE",
            role="places",
        ),
        *OF_MAPS,
        LIMIT,
        replace(SIZE, help="Centre square, resized to so many pixels; by default cut to what the model can take."),
        Setting(
            name="grid",
            help="Cells: pixels of the output, or locations of the latent.",
            default="output",
            choices=("output", "latent"),
        ),
        Setting(
            name="dimension", help="Of the random subspace; at most 64 by default.", kind=int, least=1, metavar="K"
        ),
        Setting(name="neighbours", help="Of the curvature.", kind=int, default=4, least=1),
        Setting(name="subspaces", help="Whose maps are averaged.", kind=int, default=1, least=1),
        GROUP,
        SEED,
        *LOADING,
    )
    coordinates: ClassVar = {"model": str, "sample": str, "map": str, "part": str}

    def find_images(self) -> ImageSet:
        """The images of both folders as one set, from their sources in turn."""
        from theodolite.data.images import sourced_images
        from theodolite.data.sources import several_sources

        limit, group, seed = self.given["limit"], self.given["group"], self.given["seed"]
        folders = self._folders()
        parts = [sourced_images(f, group, limit, name, seed) for f, name in zip(folders, ("data", "reference"))]
        several_sources(parts[-1][1], folders[-1], limit, "--reference or --group")  # thresholds come from them
        sets = [images for images, _ in parts]
        if len(sets) == 1:
            self.roles = {image.sample: "image" for image in sets[0].files}
            return sets[0]
        images, self.roles = in_one(sets, {"image": sets[0].files, "reference": sets[1].files})
        return images

    def find_drawn(self) -> Mapping[str, tuple[LatentSet, str]]:
        """The latents, and those of the reference."""
        latents, reference = self.given["latents"], self.given["reference"]
        specs = {"image": latents} if reference is None else {"image": latents, "reference": str(reference)}
        drawn, self.roles = drawn_in_roles(specs, "leave out the reference")
        if [*self.roles.values()].count([*specs][-1]) < 2:  # thresholds come from the last of them
            raise InputError(f"thresholds of two latents or more expected, got {reference or latents}; e.g. seed:0..15")
        return drawn

    def _folders(self) -> Sequence[DataPath]:
        data, reference = self.given["data"], self.given["reference"]
        if reference is None:
            return [data_of(data)]
        return different_folders(data, reference, ("data", "reference"), "leave out the reference")

    def open(self) -> None:
        """The map, its points, and whether there are locations and a subspace as they are wanted."""
        from theodolite.descriptors.groups import batch_by_work
        from theodolite.descriptors.subspaces import subspace_dimension

        self.open_subject()
        if self.given["grid"] == "latent" and self.latents.ndim != 4:
            raise InputError(
                f"latents (channels, height, width) expected for the grid of latents, {self.subject.name} has "
                f"{tuple(self.latents.shape[1:])}; give --grid output"
            )
        if len(self.output_shape) < 2:
            raise InputError(
                f"outputs with spatial axes, (channels, *space), expected of {self.subject.name}, got vectors of shape "
                f"{self.output_shape}; hotspots are places of an image"
            )
        self.dimension = subspace_dimension(self.given["dimension"], self.latents[0].numel())
        self.together = batch_by_work(self.subject.map, self.latents, self.dimension)

    def record(self) -> dict[str, Any]:
        """Model, samples, and the shape of latents."""
        return {**super().record(), "latent_shape": [*self.latents.shape[1:]]}

    def forecast(self) -> Mapping[str, Any]:
        """Passes of an image, and seconds, from a pass that is timed."""
        from theodolite.descriptors.effort import EFFORTS
        from theodolite.descriptors.forecast import forecast_of

        passes = self.given["subspaces"] * (self.dimension + 6 * self.given["neighbours"] + 1)
        with refusing(self.subject.name, "cannot be differentiated", "it must run in torch operations only"):
            pace = forecast_of((), EFFORTS["quick"], self.subject.map, self.latents, len(self.units)).seconds_a_pass
        costs = {"samples": len(self.units), "dimension": self.dimension, "passes_a_sample": passes}
        return {**costs, "seconds_a_pass": pace, "seconds": round(len(self.units) * passes * pace, 3)}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Maps of one sample, and the scalars beside them."""
        point, image = self.point_of(unit, self.subject)
        return self._measured([unit], point, image, sitting)[unit]

    def measure_together(self, units: Sequence[str], sitting: Sitting) -> Mapping[str, Piece]:
        """Those of several samples."""
        return self._measured(*self.points_of(units), sitting)

    def _measured(
        self, units: Sequence[str], points: Tensor, images: Tensor | None, sitting: Sitting
    ) -> dict[str, Piece]:
        import torch

        from theodolite.descriptors.hotspots import hotspot_maps
        from theodolite.estimates import Seeds

        options = {name: self.given[name] for name in _OF_MAPS}
        seeds = [Seeds(self.probe_seed(unit), 1).base[0] for unit in units]
        with torch.no_grad():
            maps = hotspot_maps(self.subject.map, points, generator=seeds, **options)
        rows = numbers_each(maps.quantities, [{**self.where(unit), "part": None} for unit in units])
        about = {"passes": maps.passes * options["subspaces"], "holds": sitting.first_order_holds}
        pieces = {}
        for index, unit in enumerate(units):
            own = slice(index, index + 1)
            arrays = {quantity.name: getattr(maps, quantity.name)[index].float() for quantity in self.picture_maps()}
            with torch.no_grad():
                pictures = self.pictures(None if images is None else images[own], maps.outputs[own])
            noted = {**about, "leading": maps.statuses[index]}
            pieces[unit] = Piece(rows[index], {"latent": points[index], **arrays}, pictures, noted)
        return pieces

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Thresholds, shares of all images and of each, and overlays."""
        from theodolite.experiments.hotspots.shares import hotspots_of

        hot = hotspots_of(run)
        return Derived(hot.rows(), {}, hot.overlays(), messages=hot.messages())

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """The shares and their thresholds, and what stands beside the maps."""
        from theodolite.descriptors.decoupling import MEANINGS
        from theodolite.estimates.quantity import Quantity
        from theodolite.experiments.hotspots.shares import QUANTITIES

        names = {f"subspace_{name}": text for name, text in MEANINGS.items()}
        scores = {name: Quantity(name, text.label, "", text.formula, _LIANG) for name, text in names.items()}
        return {**QUANTITIES, **scores}

    @classmethod
    def picture_maps(cls) -> Sequence[Quantity]:
        """The three maps that hotspots are judged by."""
        from theodolite.descriptors.hotspots import MAPS

        return MAPS


EXPERIMENT = HotspotsExperiment
