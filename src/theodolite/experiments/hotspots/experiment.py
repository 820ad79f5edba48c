"""`hotspots`: maps of gain, curvature and detail at every image, and the shares that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.errors import InputError, path_of, refusing
from theodolite.experiments import SUMMARIES
from theodolite.experiments.images import ImageExperiment, different_folders, in_one
from theodolite.runs.experiment import Derived, Piece, Sitting, numbers
from theodolite.runs.settings import DATA, GROUP, LIMIT, LOADING, MODEL, SEED, SIZE, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.data.images import ImageSet
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import LatentMap
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "HotspotsExperiment"]

_LIANG = "Liang, Chen and Lai 2026"
_OF_MAPS = ("grid", "dimension", "neighbours", "subspaces")


class HotspotsExperiment(ImageExperiment):
    """Where does the decoder of MODEL bend most, and does it bend there to make detail?

    A hotspot is a cell that bends more than 95 % of all cells of the reference; it is wasted where its detail is at or
    below the reference's median. Shares come with 95 % intervals over source photographs, beside what chance would
    give, and every image with its hotspots drawn over it. Maps are those of `theodolite.hotspot_maps`, in a random
    subspace of latent directions. Cost: subspaces (k + 6 neighbours + 1) decoder passes an image, 89 by default.

    Finished images are kept: after Ctrl-C the same command goes on. MODEL is what `theodolite survey` takes.

    Examples:
      theodolite hotspots ./my-vae --data photos --out runs/hotspots
      theodolite hotspots ./my-vae --data odd --reference photos --size 64 --out runs/odd
      theodolite hotspots zoo:patches-kl --data photos --size 32 --grid latent --subspaces 4 --out runs/kl
    """

    kind = "hotspots"
    summary = SUMMARIES["hotspots"]
    arguments = (MODEL,)
    settings = (
        DATA,
        Setting(
            name="reference",
            help="Folder of images that thresholds come from; by default those of --data themselves.",
            metavar="FOLDER",
            role="places",
        ),
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

    def find(self) -> ImageSet:
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

    def _folders(self) -> Sequence[Path]:
        data, reference = self.given["data"], self.given["reference"]
        if reference is None:
            return [path_of(data, "the image folder")]
        return different_folders(data, reference, ("data", "reference"), "leave out the reference")

    def open(self) -> None:
        """The model, its images, and whether there are locations and a subspace as they are wanted."""
        from theodolite.descriptors.subspaces import subspace_dimension

        super().open()
        if self.given["grid"] == "latent" and len(self.model.latent_shape) != 3:
            raise InputError(
                f"latents (channels, height, width) expected for the grid of latents, {self.model.name} has "
                f"{self.model.latent_shape}; give --grid output"
            )
        self.latents, output = self.first_pass()
        if output.ndim < 3:
            raise InputError(
                f"outputs with spatial axes, (channels, *space), expected of {self.model.name}, got vectors of shape "
                f"{tuple(output.shape[1:])}; hotspots are places of an image"
            )
        self.dimension = subspace_dimension(self.given["dimension"], self.latents[0].numel())

    def record(self) -> dict[str, Any]:
        """Model, images, and the shape of latents."""
        return {**super().record(), "latent_shape": [*self.latents.shape[1:]]}

    def checked_map(self) -> tuple[LatentMap, Tensor, str]:
        """The decoder at the first latent."""
        return self.model.decoder, self.latents, self.model.name

    def forecast(self) -> Mapping[str, Any]:
        """Passes of an image, and seconds, from a pass that is timed."""
        from theodolite.descriptors.effort import EFFORTS
        from theodolite.descriptors.forecast import forecast_of

        passes = self.given["subspaces"] * (self.dimension + 6 * self.given["neighbours"] + 1)
        with refusing(self.model.name, "cannot be differentiated", "its decoder must run in torch operations only"):
            pace = forecast_of((), EFFORTS["quick"], self.model.decoder, self.latents, len(self.units)).seconds_a_pass
        told = {"samples": len(self.units), "dimension": self.dimension, "passes_a_sample": passes}
        return {**told, "seconds_a_pass": pace, "seconds": round(len(self.units) * passes * pace, 3)}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """Maps of one image, and the scalars beside them."""
        import torch

        from theodolite.data.pixels import picture
        from theodolite.descriptors.hotspots import hotspot_maps

        image, model = self.picture_of(unit), self.model
        options = {name: self.given[name] for name in _OF_MAPS}
        with torch.no_grad():
            latents = model.encode(image)
            maps = hotspot_maps(model.decoder, latents, generator=self.probe_seed(unit), **options)
        rows = numbers(maps.quantities, model=model.name, sample=unit, map="decoder", part=None)
        arrays = {name: getattr(maps, name)[0].float() for name in ("gain", "curvature", "detail")}
        pictures = {"": picture(image[0])}
        if maps.outputs.ndim == 4 and maps.outputs.shape[1] in (1, 3):
            pictures["reconstruction"] = picture(maps.outputs[0], model.output_range)
        about = {
            "passes": maps.passes * options["subspaces"],
            "leading": maps.statuses[0],
            "holds": sitting.first_order_holds,
        }
        return Piece(rows, {"latent": latents[0], **arrays}, pictures, about)

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
        beside = {name: Quantity(name, text.label, "", text.formula, _LIANG) for name, text in names.items()}
        return {**QUANTITIES, **beside}


EXPERIMENT = HotspotsExperiment
