"""`find_hotspots`: where the decoder of an autoencoder bends most at the images of a folder, beside a reference."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.data.images import ImageSet, find_images
from theodolite.data.sources import sources_of, spread
from theodolite.errors import InputError, path_of
from theodolite.surveys.engine import checked_images, loaded, name_of
from theodolite.surveys.plan import Plan, make_plan, sample_seed, verb_command
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.store import RunFolder, refuse_another_kind
from theodolite.surveys.two_folders import RoledSurvey, in_one

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.derivatives import SelfCheck
    from theodolite.maps import Autoencoder
    from theodolite.surveys.hotspots_store import HotspotRun
    from theodolite.surveys.measure import Measured

__all__ = ["find_hotspots"]

_DEFAULTS: Mapping[str, Any] = {
    "reference": None,
    "limit": 24,
    "size": None,
    "grid": "output",
    "dimension": None,
    "neighbours": 4,
    "subspaces": 1,
    "group": None,
    "seed": 0,
    "device": None,
    "dtype": None,
    "subfolder": None,
    "revision": None,
}
"""Settings with their defaults, in the order of the command line."""

_OF_MAPS = ("grid", "dimension", "neighbours", "subspaces")
_OF_A_SURVEY = ("limit", "size", "seed", "device", "dtype", "subfolder", "revision")
_TEXTS = ("reference", "device", "dtype")
_ROLES = ("image", "reference")


def find_hotspots(
    model: str | os.PathLike[str] | Autoencoder,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    reference: str | os.PathLike[str] | None = None,
    limit: int | None = 24,
    size: int | None = None,
    grid: str = "output",
    dimension: int | None = None,
    neighbours: int = 4,
    subspaces: int = 1,
    group: str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> HotspotRun:
    """Hotspots of a decoder at the latents of a folder's images: where it bends most, and what of it is off the detail.

    Maps are those of `theodolite.hotspot_maps`, shares and thresholds those of `theodolite.detection.hotspots`, with
    errors over source photographs. Finished images are stored as they are made: the same call goes on where it stopped.

    Args:
        model: what `theodolite.load` takes for an autoencoder, or an `Autoencoder`.
        data: folder of images, with its subfolders.
        out: the run folder: new, empty, or one of the same configuration.
        reference: folder of images that thresholds come from; those of `data` themselves when None.
        limit: images of each folder, from its sources in turn; None for all.
        size: centre square, resized to so many pixels; when None the centre is cut to what the model can take.
        grid: ``output``, or ``latent`` for root mean squares over the pixels of each latent location.
        dimension: of the random subspace, `min(64, D / 4)` by default.
        neighbours: of the curvature.
        subspaces: whose maps are averaged.
        group: regular expression for the part of a file's path that tells its source photograph; by default the name
            before crop coordinates, each folder on its own.
        seed: of every random draw.
        device: as in torch.
        dtype: ``float32`` or ``float64``.
        subfolder: of the model's folder or hub repository.
        revision: of the hub repository.
        progress: called with (finished, total, sample).

    Returns:
        `HotspotRun`. Cost: `subspaces (k + 6 neighbours + 1)` decoder passes an image, 89 by default.

    Raises:
        InputError: before long work starts: images, a model or settings that cannot be used, fewer than two sources of
            reference images, latents without locations on the grid of latents, another run in `out`.
        KeyboardInterrupt: on Ctrl-C; what is finished is kept, with its overlays.
    """
    given = {name: value for name, value in locals().items() if name in _DEFAULTS}
    given |= {name: None if given[name] is None else str(given[name]).removeprefix("torch.") for name in _TEXTS}
    folders = _folders(data, reference)
    plan = _planned(model, folders[0], given)
    folder = RunFolder(path_of(out, "the run folder"))
    exists = folder.check()
    if exists:
        refuse_another_kind(folder.path, "hotspots")
    images, roles = _images(folders, limit, group)
    autoencoder = loaded(model, plan)
    _check_locations(autoencoder, grid)
    images = checked_images(autoencoder, images, plan)
    more = {"kind": "hotspots", "command": _command(plan, folder.path, given)}
    work = _Work(plan, autoencoder, images, folder, roles, more)
    work.run(exists, progress or silent)
    return work.found


class _Work(RoledSurvey):
    """A survey of both folders that measures maps in place of descriptors."""

    found: HotspotRun

    def derive(self) -> None:
        """Shares and overlays of what is finished."""
        from theodolite.surveys.hotspots_store import read_hotspots, write_hotspots

        self.found = read_hotspots(self.folder.path)
        write_hotspots(self.found)

    def _self_checked(self, latents: Tensor) -> SelfCheck:
        from theodolite.descriptors.decoupling import subspace_dimension

        subspace_dimension(self.plan.settings["dimension"], latents[0].numel())
        return super()._self_checked(latents)

    def measured(self, picture: Tensor, sample: str, *, exact_first: bool = True, **_: bool) -> Measured:
        """Maps and the scalars beside them; these are ``undetermined`` where the self-check found derivatives wrong."""
        import torch

        from theodolite.data import images
        from theodolite.descriptors.hotspots import hotspot_maps
        from theodolite.surveys.measure import DOUBTED, Measured, encoded, lowered, row_of

        started, model = time.perf_counter(), self.autoencoder
        latents = encoded(model, picture)
        options = {name: self.plan.settings[name] for name in _OF_MAPS}
        with torch.no_grad():
            found = hotspot_maps(model.decoder, latents, generator=sample_seed(self.plan.seed, sample), **options)
        common = {"model": model.name, "sample": sample, "map": "decoder", "sigma": None}
        rows = [{**common, **row_of(name, one)} for name, one in found.quantities.items()]
        rows = rows if exact_first else lowered(rows)
        maps = {name: getattr(found, name)[0].float() for name in ("gain", "curvature", "detail")}
        pictures = {".png": images.picture(picture[0])}
        if found.outputs.ndim == 4 and found.outputs.shape[1] in (1, 3):
            pictures[".reconstruction.png"] = images.picture(found.outputs[0], model.output_range)
        passes = found.passes * options["subspaces"]
        notes = {
            "way": "",
            "status": "ok" if exact_first else DOUBTED,
            "passes": passes,
            "seconds": round(time.perf_counter() - started, 3),
            "messages": {},
            "failed": [],
            "leading": found.statuses[0],
        }
        return Measured(sample, rows, {"latent": latents[0], **maps}, pictures, notes)


def _folders(data: Any, reference: Any) -> list[Path]:
    """The folder of images, and that of the reference where there is one."""
    folders = [path_of(data, "the image folder")]
    if reference is not None:
        folders.append(path_of(reference, "the reference folder"))
        if folders[0].resolve() == folders[1].resolve():
            raise InputError(f"two folders expected, got {folders[0]} twice; leave out the reference")
    return folders


def _planned(model: Any, data: Path, given: Mapping[str, Any]) -> Plan:
    from theodolite.descriptors.hotspots import check_settings
    from theodolite.descriptors.registry import REGISTRY

    check_settings(given["grid"], given["neighbours"], given["subspaces"])
    settings = {"model": name_of(model), "data": str(data), "budget": "quick", "descriptors": ["detail_energy"]}
    settings |= {name: given[name] for name in _OF_A_SURVEY}
    plan = make_plan(settings, list(REGISTRY))
    return replace(
        plan, settings={**plan.settings, **{name: given[name] for name in (*_OF_MAPS, "reference", "group")}}
    )


def _images(folders: list[Path], limit: int | None, group: str | None) -> tuple[ImageSet, dict[str, str]]:
    """The images of both folders as one set, and the role of each sample: ``image`` or ``reference``."""
    sets = [find_images(folder) for folder in folders]
    sources = [sources_of([image.file for image in one.files], group) for one in sets]
    kept = [spread(one.files, names, limit) for one, names in zip(sets, sources)]
    if len(used := set(spread(sources[-1], sources[-1], limit))) < 2:
        raise InputError(
            f"images of two sources or more expected in {folders[-1]}, since thresholds come from them and crops of "
            f"one photograph are not independent; got one, {used.pop()!r}, of at most {limit or 'all'} images; give "
            "more images, a larger --limit, --reference or --group"
        )
    if len(folders) == 1:
        return replace(sets[0], files=tuple(kept[0])), {image.sample: "image" for image in kept[0]}
    return in_one(sets, dict(zip(_ROLES, kept)))


def _check_locations(autoencoder: Autoencoder, grid: str) -> None:
    if grid == "latent" and len(autoencoder.latent_shape) != 3:
        raise InputError(
            f"latents (channels, height, width) expected for the grid of latents, {autoencoder.name} has "
            f"{autoencoder.latent_shape}; give --grid output"
        )


def _command(plan: Plan, out: Path, given: Mapping[str, Any]) -> str:
    """The command line that repeats, and so resumes."""
    words = [plan.settings["model"], "--data", plan.settings["data"]]
    return verb_command("hotspots", words, out, {**given, "limit": given["limit"] or 0}, _DEFAULTS)
