"""`rank`: autoencoders measured on the same images, one space after the other, and put in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import theodolite
from theodolite.data.images import ImageSet
from theodolite.errors import InputError, path_of
from theodolite.surveys.plan import differences, rank_command, rank_settings
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.ranked_input import (
    batch_of,
    encoded,
    found_images,
    labels_of,
    loaded_models,
    sources_of_images,
)
from theodolite.surveys.store import FORMAT, RunFolder, read_info

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.diffusability.held_out import Effort
    from theodolite.diffusability.ranking import Ranked, Ranking
    from theodolite.maps import Autoencoder

__all__ = ["rank"]


def rank(
    models: Sequence[str | os.PathLike[str] | Autoencoder],
    images: str | os.PathLike[str] | Tensor,
    *,
    groups: Sequence[str] | None = None,
    group: str | None = None,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    size: int | None = None,
    budget: str = "standard",
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Put autoencoders in the order in which diffusion should train well in their latents, and say how sure it is.

    The scalar is `theodolite.diffusability.diffusability`: half the area between the MMSE rates of latents and images
    over relative noise, 0 for an isometric embedding, 1 at most, smaller is better. Latents and images are normalised
    by one scalar each. Denoisers are asked only about sources they never saw, and every error is over sources, since
    crops of one photograph are not independent: models are resampled on the same ones, so that their order can be
    surer than either number. Differences below 0.95 in probability are ties.

    Args:
        models: one or more, each what `theodolite.load` takes, or an `Autoencoder`.
        images: a folder, searched with its subfolders, or a batch `(n, channels, height, width)` in [-1, 1].
        groups: the source of each image of a batch; by default each its own.
        group: for a folder, a regular expression for the part of a file's path that tells its source; by default the
            name before its crop coordinates.
        out: a run folder, new or one to go on with: spaces that it holds are not measured again, and models may join.
        limit: only the first so many images of a folder.
        size: centre square of a folder's images, resized to so many pixels.
        budget: ``quick`` (no networks), ``standard`` or ``full``.
        seed: of noise, training and resampling.
        device: as in torch, for models that are named; others stay where they are.
        progress: called with (steps begun, about how many in all, what begins).

    Returns:
        `theodolite.diffusability.Ranking`, best first. Cost: an encoder and two decoder passes an image, three network
        trainings a space (``standard``), and some hundred Jacobian passes for penalties on small crops.

    Raises:
        InputError: before long work starts: no model, the same twice, one that does not load or does not take these
            images, NaN latents, fewer than two sources, another run in `out`.
        KeyboardInterrupt: on Ctrl-C; in `out` finished spaces are kept.

    Example:
        >>> from theodolite.zoo import bundled_images
        >>> names = ["zoo:patches-plain", "zoo:patches-kl"]
        >>> ranking = rank(names, bundled_images(), group="^[a-z]+", size=32, budget="quick")
        >>> len(ranking.models), len(ranking.images.groups)
        (2, 10)
    """
    settings = rank_settings(limit=limit, size=size, budget=budget, seed=seed, group=group)
    if not isinstance(models, Sequence) or isinstance(models, str) or not models:
        raise InputError(f"a list of models to rank expected, got {models!r}")
    folder = None if out is None else RunFolder(path_of(out, "the run folder"))
    exists = folder is not None and folder.check()
    found = found_images(images, settings, groups)
    autoencoders = loaded_models(models, device)
    given = [os.fspath(one) if isinstance(one, str | os.PathLike) else one.name for one in models]
    batch, files = batch_of(found, images, autoencoders, settings)
    sources = list(groups) if groups is not None else sources_of_images(found, len(batch), group)
    work = _Work(autoencoders, given, batch, sources, settings)
    return work.run(folder, exists, files, found, progress or silent)


class _Work:
    """Models and images that fit together, encoded."""

    def __init__(
        self,
        autoencoders: Sequence[Autoencoder],
        given: Sequence[str],
        images: Tensor,
        sources: Sequence[str],
        settings: Mapping[str, Any],
    ) -> None:
        from theodolite.diffusability.cross_fitting import checked_groups, noise_grid
        from theodolite.diffusability.held_out import checked_effort, without_networks
        from theodolite.surveys.quality import crop_side

        self.autoencoders, self.given, self.images, self.settings = autoencoders, given, images, settings
        self.labels = labels_of(given, autoencoders)
        self.names, self.groups = checked_groups(sources)
        self.latents = [encoded(one, images) for one in autoencoders]
        dimensions = (one[0].numel() for one in (images, *self.latents))
        self.tau = noise_grid(*dimensions)
        shapes = [tuple(one.shape[1:]) for one in (images, *self.latents)]
        self.effort, self.note = without_networks(shapes, self.groups, checked_effort(settings["budget"]))
        self.side = crop_side(autoencoders, *images.shape[2:])

    def run(
        self,
        folder: RunFolder | None,
        exists: bool,
        files: Sequence[Mapping[str, str]],
        found: ImageSet | None,
        progress: Progress,
    ) -> Ranking:
        if folder is None:
            return self._ranking(list(self._measured(None, progress)))
        info = self._record(folder.path, files, found)
        if exists:
            _refuse_another(folder.path, info)
        folder.make()
        with folder.locked():
            folder.tidy()
            folder.write_info({**info, "status": "running"})
            done: list[Ranked] = []
            try:
                done.extend(self._measured(folder.path / "spaces", progress))
            except BaseException:
                folder.write_info({**info, "status": "interrupted"})
                raise
            ranking = self._ranking(done)
            _write(folder, info, ranking)
        return ranking

    def _measured(self, folder: Path | None, progress: Progress) -> Iterator[Ranked]:
        """The images, then every model; one that is stored is read."""
        from theodolite.surveys.ranked_store import IMAGES, read_ranked, write_ranked

        steps = _Steps(progress, self.effort, len(self.autoencoders))
        spaces = [(IMAGES, None, self.images), *zip(self.labels, self.autoencoders, self.latents)]
        for place, (name, autoencoder, cloud) in enumerate(spaces):
            stored = IMAGES if autoencoder is None else autoencoder.fingerprint()
            file = None if folder is None else folder / f"{stored}.safetensors"
            if file is not None and file.is_file():
                yield replace(read_ranked(file), name=name)
                continue
            steps.begin(place, name)
            ranked = self._one(name, autoencoder, cloud, steps.tell)
            if file is not None:
                write_ranked(file, ranked)
            yield ranked
        steps.end()

    def _one(self, name: str, autoencoder: Autoencoder | None, cloud: Tensor, tell: Callable[[str], None]) -> Ranked:
        from theodolite.diffusability.cross_fitting import measured_space
        from theodolite.diffusability.ranking import Ranked
        from theodolite.surveys.quality import one_a_source, penalised, reconstruction

        seed = self.settings["seed"]
        if autoencoder is None:
            cloud = cloud.to(self.autoencoders[0].device)
        space = measured_space(name, cloud, self.names, self.groups, self.tau, self.effort, seed, tell)
        if autoencoder is None:
            return Ranked(name, space)
        tell("reconstruct")
        quality = reconstruction(autoencoder, self.images, cloud, self.groups)
        tell("penalties")
        chosen = self.images[one_a_source(self.groups, self.effort.penalised)]
        penalties, trouble = penalised(autoencoder, chosen, self.side, seed)
        described = {**autoencoder.describe(), "trouble": trouble}
        return Ranked(name, space, quality, penalties, described)

    def _ranking(self, measured: Sequence[Ranked]) -> Ranking:
        from theodolite.diffusability.ranking import Ranking
        from theodolite.estimates import Resamples

        images, *models = measured
        resamples = Resamples(len(self.names), self.effort.resamples, self.settings["seed"])
        return Ranking.of(images.space, models, resamples)

    def _record(self, out: Path, files: Sequence[Mapping[str, str]], found: ImageSet | None) -> dict[str, Any]:
        """What `run.json` says, but for the outcome."""
        from theodolite.surveys.record import machine, now, versions

        models = [one.describe() for one in self.autoencoders]
        folder = None if found is None else str(found.folder)
        sourced = [{**file, "group": self.names[group]} for file, group in zip(files, self.groups)]
        skipped = [] if found is None else [asdict(image) for image in found.skipped]
        return {
            "format": FORMAT,
            "kind": "rank",
            "theodolite": theodolite.__version__,
            "command": rank_command(self.given, folder, out, self.settings),
            "created": now(),
            "settings": dict(self.settings),
            "effort": asdict(self.effort),
            "models": models,
            "note": self.note,
            "penalty_side": self.side,
            "data": {
                "folder": folder,
                "files": sourced,
                "skipped": skipped,
                "shape": list(self.images.shape[1:]),
                "groups": dict(zip(self.names, (self.groups.count(group) for group in range(len(self.names))))),
            },
            "versions": versions(),
            "machine": machine(self.autoencoders[0].device),
        }


class _Steps:
    """Progress over spaces, each of about as many steps."""

    def __init__(self, progress: Progress, effort: Effort, models: int) -> None:
        self.progress = progress
        self.each = effort.folds * (1 + bool(effort.steps) + effort.patches) + 2
        self.total, self.done, self.name = self.each * (1 + models), 0, ""

    def begin(self, place: int, name: str) -> None:
        """The space at a place begins."""
        self.done, self.name = place * self.each, name
        self.progress(self.done, self.total, "")

    def tell(self, what: str) -> None:
        """A step of the space begins."""
        self.done = min(self.done + 1, self.total)
        self.progress(self.done, self.total, f"{self.name}: {what}")

    def end(self) -> None:
        """All is done."""
        self.progress(self.total, self.total, "")


def _write(folder: RunFolder, info: Mapping[str, Any], ranking: Ranking) -> None:
    """Tables, then the record that says the run is complete."""
    from theodolite.surveys.ranked_store import write_tables
    from theodolite.surveys.record import now

    write_tables(folder.path, ranking)
    folder.write_info({**info, "status": "complete", "finished": now()})


def _refuse_another(path: Path, here: Mapping[str, Any]) -> None:
    there = read_info(path)
    if there.get("kind") != "rank":
        raise InputError(f"{path} holds a survey, not a ranking; give another --out")
    any_models = {"model": {"fingerprint": "any"}}
    found = differences({**there, **any_models}, {**here, **any_models})
    if there["data"].get("groups") != here["data"]["groups"]:
        found.append("other groups of images")
    if found:
        raise InputError(
            f"{path} holds a ranking of another configuration ({'; '.join(found)}); give another --out, or repeat its "
            "command to go on"
        )
