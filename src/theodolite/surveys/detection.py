"""`detect`: which images of one folder are unlike those of another, by the local geometry of a model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import InputError, path_of
from theodolite.surveys.engine import Survey, checked_images, loaded
from theodolite.surveys.images import ImageFile, ImageSet, find_images
from theodolite.surveys.labels import read_labels
from theodolite.surveys.plan import Plan, make_plan
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.sources import sources_of, spread
from theodolite.surveys.store import RunFolder, read_info

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.maps import Autoencoder
    from theodolite.surveys.detected import Detection
    from theodolite.surveys.measure import Measured

__all__ = ["HEADLINE", "detect", "usual_size"]

HEADLINE = "departure"
"""The score that orders the images when none is chosen."""

_LEFT_OUT = ("curvature",)
"""Scores that are left out by default: they cost as much as all others together."""

_SMALLEST = 32
_OPTIONS: Mapping[str, Any] = {
    "labels": None,
    "limit": 24,
    "size": None,
    "budget": "quick",
    "scores": None,
    "score": HEADLINE,
    "level": 0.95,
    "group": None,
    "seed": 0,
    "device": None,
    "dtype": None,
    "subfolder": None,
    "revision": None,
}
"""Settings of `detect` with their defaults, in the order of its command line."""


def detect(
    model: str | os.PathLike[str] | Autoencoder,
    reference: str | os.PathLike[str],
    test: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    limit: int | None = 24,
    size: int | None = None,
    budget: str = "quick",
    scores: str | Sequence[str] | None = None,
    score: str = HEADLINE,
    level: float = 0.95,
    group: str | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    subfolder: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Detection:
    """Score the images of a test folder against those of a reference folder, with thresholds from the reference alone.

    Every image is encoded and the descriptors of the decoder are measured at its latent, as in a survey; scores and
    baselines follow (`theodolite.detection.SCORES`, docs/detection.md). The headline is `departure`: how far out an
    image lies in all descriptors, on either side. Thresholds and conformal p-values come from the reference images;
    AUROC is that of test against reference, or of the labels when given. Errors are over source photographs.

    Finished images are stored as they are made: the same call goes on where it stopped. On a complete run, `labels`,
    `group`, `level` and `score` may be changed; nothing is then measured again.

    Args:
        model: what `theodolite.load` takes for an autoencoder, or an `Autoencoder`.
        reference: folder of images that are normal, with its subfolders.
        test: folder of images to judge.
        out: the run folder: new, empty, or one of the same configuration.
        labels: CSV file with the columns `file` (a path inside the test folder) and `label` (0 or normal, 1 or
            unusual).
        limit: images of each folder, taken from its sources (and labels) in turn; None for all.
        size: centre square, resized to so many pixels; by default what the model takes, or four latents a side, at
            least 32 pixels.
        budget: ``quick``, ``standard`` or ``full``, as in a survey.
        scores: names, in a list or separated by commas; by default all but `curvature`.
        score: the one that orders images: `departure` or one of `scores`.
        level: of the thresholds: the share of reference images below them.
        group: regular expression for the part of a file's path that tells its source photograph, the same for both
            folders; by default the name before crop coordinates, each folder on its own.
        seed: of every random draw.
        device: as in torch.
        dtype: ``float32`` or ``float64``.
        subfolder: of the model's folder or hub repository.
        revision: of the hub repository.
        progress: called with (finished, total, sample).

    Returns:
        `Detection`. Cost: a survey of both folders; about 170 decoder passes an image (``quick``, 32 pixels).

    Raises:
        InputError: before long work starts, when any argument cannot be used: a folder that is missing, empty or given
            twice, one source of reference images only, labels of unknown files or of one kind, an unknown score.
        KeyboardInterrupt: on Ctrl-C; what is finished is kept.
    """
    from theodolite.surveys.detected import read_detection, write_tables

    given = {name: value for name, value in locals().items() if name in _OPTIONS}
    evaluation, plan = _planned(model, reference, test, given)
    folder = RunFolder(path_of(out, "the run folder"))
    exists = folder.check()
    images, roles = _images(evaluation, limit)
    autoencoder = loaded(model, plan)
    plan = replace(plan, settings={**plan.settings, "size": usual_size(autoencoder, plan.settings["size"])})
    checked_images(autoencoder, images, plan)
    command = _command(plan.settings["model"], evaluation, out, given)
    _Work(plan, autoencoder, images, folder, roles, {"evaluation": evaluation, "command": command}).run(
        exists, progress or silent
    )
    folder.write_info({**read_info(folder.path), "evaluation": evaluation, "command": command})
    found = read_detection(folder.path)
    write_tables(found)
    return found


class _Work(Survey):
    """A survey of both folders that stores the baselines too."""

    def __init__(
        self,
        plan: Plan,
        autoencoder: Autoencoder,
        images: ImageSet,
        folder: RunFolder,
        roles: Mapping[str, str],
        more: Mapping[str, Any],
    ) -> None:
        super().__init__(plan, autoencoder, images, folder)
        self.roles, self.more = roles, more

    def configuration(self) -> dict[str, Any]:
        """That of a survey, with which folder each image is from and how it will be judged."""
        found = super().configuration()
        files = [{**file, "role": self.roles[file["sample"]]} for file in found["data"]["files"]]
        return {**found, "kind": "detect", "data": {**found["data"], "files": files}, **self.more}

    def measured(self, picture: Tensor, sample: str, **exact: bool) -> Measured:
        """The survey's rows, and those of the baselines that need the image."""
        from theodolite.detection import pixel_energy, reconstruction_error

        found = super().measured(picture, sample, **exact)
        baselines = {"pixel_energy": pixel_energy(picture)}
        if ".reconstruction.png" in found.pictures:
            baselines["reconstruction_error"] = reconstruction_error(self.autoencoder, picture)
        common: dict[str, Any] = {"model": self.autoencoder.name, "sample": sample, "map": "decoder", "sigma": None}
        common |= {"stderr": 0.0, "n": 1, "status": "ok"}
        rows = [
            {**common, "quantity": name, "value": float(one.value), "passes": one.passes}
            for name, one in baselines.items()
        ]
        return replace(found, rows=[*found.rows, *rows])


def _planned(model: Any, reference: Any, test: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], Plan]:
    """How images will be judged, and what will be measured of each."""
    from theodolite.descriptors.registry import REGISTRY
    from theodolite.detection.scores import SCORES, checked_scores, descriptors_for
    from theodolite.surveys.engine import name_of

    folders = [path_of(reference, "the reference folder"), path_of(test, "the test folder")]
    if folders[0].resolve() == folders[1].resolve():
        raise InputError(f"two folders expected, got {folders[0]} as reference and as test; give other images to judge")
    asked = given["scores"]
    if isinstance(asked, str):
        asked = [name.strip() for name in asked.split(",") if name.strip()]
    names = checked_scores([name for name in SCORES if name not in _LEFT_OUT] if asked is None else asked)
    headline, level = given["score"], given["level"]
    if headline not in (HEADLINE, *names):
        raise InputError(f"`score` expected to be {HEADLINE} or one of {', '.join(names)}, got {headline!r}")
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"`level` expected between 0 and 1, got {level!r}; 0.95 flags one reference image in twenty")
    descriptors = descriptors_for(names)
    if not descriptors:
        raise InputError(f"a score of the decoder's geometry expected among scores, got only {', '.join(names)}")
    settings = {
        "model": name_of(model),
        "data": str(folders[0]),
        **{name: given[name] for name in ("limit", "size", "budget", "seed", "subfolder", "revision")},
        "descriptors": descriptors,
        "device": None if given["device"] is None else str(given["device"]),
        "dtype": None if given["dtype"] is None else str(given["dtype"]).removeprefix("torch."),
    }
    evaluation = {
        "reference": str(folders[0]),
        "test": str(folders[1]),
        "labels": None if given["labels"] is None else str(path_of(given["labels"], "the labels file")),
        "labelled": None,
        "scores": names,
        "score": headline,
        "level": float(level),
        "group": given["group"],
    }
    return evaluation, make_plan(settings, list(REGISTRY))


def _images(evaluation: dict[str, Any], limit: int | None) -> tuple[ImageSet, dict[str, str]]:
    """The images of both folders as one set, and which folder each sample is from; labels are read on the way."""
    reference, test = (find_images(Path(evaluation[role])) for role in ("reference", "test"))
    group = evaluation["group"]
    sources = [sources_of([image.file for image in one.files], group) for one in (reference, test)]
    if len(set(sources[0])) < 2:
        raise InputError(
            f"reference images of two sources or more expected, since crops of one photograph are not independent; "
            f"{reference.folder} holds one, {sources[0][0]!r}; give more images, or tell sources apart with --group"
        )
    labels = read_labels(evaluation["labels"], test)
    keys = [(labels.get(image.file), source) for image, source in zip(test.files, sources[1])]
    chosen = {"reference": spread(reference.files, sources[0], limit), "test": spread(test.files, keys, limit)}
    if labels:
        kept = {image.file: labels[image.file] for image in chosen["test"] if image.file in labels}
        if len(set(kept.values())) < 2:
            raise InputError(
                f"labels of both kinds expected among the {len(chosen['test'])} test images, got "
                f"{'only ' + str(*set(kept.values())) if kept else 'none'} in {evaluation['labels']}"
            )
        evaluation["labelled"] = kept
    files = {role: [_renamed(image, role) for image in images] for role, images in chosen.items()}
    skipped = [*reference.skipped, *test.skipped]
    together = ImageSet(reference.folder, (*files["reference"], *files["test"]), tuple(skipped))
    return together, {image.sample: role for role, images in files.items() for image in images}


def _renamed(image: ImageFile, role: str) -> ImageFile:
    return replace(image, sample=f"{role}-{image.sample}")


def usual_size(autoencoder: Autoencoder, size: int | None) -> int:
    """The side of images that is asked for; otherwise what the model takes, or four latents, at least 32 pixels."""
    if size is not None:
        return size
    return min(autoencoder.image_size) if autoencoder.image_size else max(_SMALLEST, 4 * autoencoder.downsampling)


def _command(model: str, evaluation: Mapping[str, Any], out: Any, given: Mapping[str, Any]) -> str:
    """The command line that repeats, and so resumes."""
    words = ["theodolite", "detect", model, "--reference", evaluation["reference"], "--test", evaluation["test"]]
    words += ["--out", os.fspath(out)]
    for name, default in _OPTIONS.items():
        value = given[name]
        if value != default:
            text = ",".join(evaluation["scores"]) if name == "scores" else "0" if value is None else str(value)
            words += [f"--{name}", text.removeprefix("torch.")]
    return shlex.join(words)
