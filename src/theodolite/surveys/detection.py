"""`detect`: which images of one folder are unlike those of another, by the local geometry of a model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.data.images import ImageSet, find_images
from theodolite.data.labels import read_labels
from theodolite.data.sources import sources_of, spread
from theodolite.errors import InputError, path_of
from theodolite.surveys.detection_plan import HEADLINE, asked_of, planned, subject_of
from theodolite.surveys.engine import checked_images
from theodolite.surveys.plan import Plan
from theodolite.surveys.progress import Progress, silent
from theodolite.surveys.store import RunFolder, read_info
from theodolite.surveys.two_folders import RoledSurvey, in_one

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from theodolite.maps import Autoencoder
    from theodolite.maps.diffusion import Diffusion
    from theodolite.surveys.detected import Detection
    from theodolite.surveys.measure import Measured
    from theodolite.surveys.noised import Noised
    from theodolite.zoo import ConditionalDiffusion

__all__ = ["HEADLINE", "detect"]

_OPTIONS: Mapping[str, Any] = {
    "labels": None,
    "sigma": None,
    "output": None,
    "condition": None,
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
    model: str | os.PathLike[str] | Autoencoder | Diffusion | ConditionalDiffusion,
    reference: str | os.PathLike[str],
    test: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    sigma: Sequence[float] | None = None,
    output: str | None = None,
    condition: Any = None,
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

    With an autoencoder every image is encoded and the descriptors of the decoder are measured at its latent, as in a
    survey. With a diffusion model every image (of a latent one: its latent) is noised at several levels, by one draw an
    image, and the descriptors of the denoiser are measured there; scores then carry their level,
    ``local_scaling@0.4``. Scores and baselines: `theodolite.detection.SCORES`, docs/detection.md. The headline is
    `departure`: how far out an image lies in all descriptors, on either side. Thresholds and conformal p-values come
    from the reference images; AUROC is that of test against reference, or of the labels when given. Errors are over
    source photographs.

    Finished images are stored as they are made: the same call goes on where it stopped. On a complete run, `labels`,
    `group`, `level` and `score` may be changed; nothing is then measured again.

    Args:
        model: what `theodolite.load` takes for an autoencoder or a diffusion model, or one of those. Of a pipeline's
            folder with an autoencoder it is the autoencoder, unless `subfolder` names the network.
        reference: folder of images that are normal, with its subfolders.
        test: folder of images to judge.
        out: the run folder: new, empty, or one of the same configuration.
        labels: CSV file with the columns `file` (a path inside the test folder) and `label` (0 or normal, 1 or
            unusual).
        sigma: noise levels of a denoiser, two or more, in the units of its points; 0.1, 0.4 and 1.6 by default.
        output: which map of the denoiser, ``eps`` (by default) or ``x0``: it decides the result and even its sign.
        condition: of the denoiser, e.g. `(3, "red")` or ``"3-red"``, or a class; None for nothing in particular.
        limit: images of each folder, taken from its sources (and labels) in turn; None for all.
        size: centre square, resized to so many pixels; by default what the model takes, or four latents a side, at
            least 32 pixels.
        budget: ``quick``, ``standard`` or ``full``, as in a survey.
        scores: names, in a list or separated by commas; by default all of a decoder but `curvature`, and of a denoiser
            those that one spectrum gives.
        score: the one that orders images: `departure` or one of `scores`, of a denoiser with its level.
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
        `Detection`. Cost: a survey of both folders; about 170 decoder passes an image (``quick``, 32 pixels), and of a
        denoiser by default some 140 passes an image and level.

    Raises:
        InputError: before long work starts, when any argument cannot be used: a folder that is missing, empty or given
            twice, one source of reference images only, labels of unknown files or of one kind, an unknown score, noise
            levels with a decoder, one level only, a level that is not positive.
        KeyboardInterrupt: on Ctrl-C; what is finished is kept.
    """
    from theodolite.surveys.noised import view_of

    given = {name: value for name, value in locals().items() if name in _OPTIONS}
    evaluation, settings = asked_of(model, reference, test, given)
    folder = RunFolder(path_of(out, "the run folder"))
    exists = folder.check()
    images, roles = _images(evaluation, limit)
    subject = subject_of(model, settings, given)
    plan = planned(subject, settings, evaluation)
    checked_images(view_of(subject), images, plan)
    command = _command(plan.settings["model"], evaluation, out, given)
    work = _Work(plan, subject, images, folder, roles, {"kind": "detect", "evaluation": evaluation, "command": command})
    work.run(exists, progress or silent)
    return work.found


class _Work(RoledSurvey):
    """A survey of both folders, of a decoder or of a denoiser, that stores the baselines too."""

    found: Detection

    def __init__(
        self,
        plan: Plan,
        subject: Autoencoder | Noised,
        images: ImageSet,
        folder: RunFolder,
        roles: Mapping[str, str],
        more: Mapping[str, Any],
    ) -> None:
        from theodolite.surveys.noised import view_of

        super().__init__(plan, view_of(subject), images, folder, roles, more)
        self.subject = subject

    def derive(self) -> None:
        """How the finished images are judged now: scores, thresholds and tables."""
        from theodolite.surveys.detected import read_detection, write_tables

        self.folder.write_info({**read_info(self.folder.path), **self.more})
        self.found = read_detection(self.folder.path)
        write_tables(self.found)

    def measured(self, picture: Tensor, sample: str, **exact: bool) -> Measured:
        """The descriptors' rows, and those of the baselines that need the image."""
        from theodolite.detection import pixel_energy, reconstruction_error
        from theodolite.surveys.measure import row_of
        from theodolite.surveys.noised import Noised, measure_noised

        if isinstance(self.subject, Noised):
            return measure_noised(self.subject, picture, sample, self.plan, **exact)
        found = super().measured(picture, sample, **exact)
        baselines = {"pixel_energy": pixel_energy(picture)}
        if ".reconstruction.png" in found.pictures:
            baselines["reconstruction_error"] = reconstruction_error(self.autoencoder, picture)
        common = {"model": self.autoencoder.name, "sample": sample, "map": "decoder", "sigma": None}
        rows = [{**common, **row_of(name, one)} for name, one in baselines.items()]
        return replace(found, rows=[*found.rows, *rows])


def _images(evaluation: dict[str, Any], limit: int | None) -> tuple[ImageSet, dict[str, str]]:
    """The images of both folders as one set, and which folder each sample is from; labels are read on the way."""
    reference, test = (find_images(Path(evaluation[role])) for role in ("reference", "test"))
    group = evaluation["group"]
    sources = [sources_of([image.file for image in one.files], group) for one in (reference, test)]
    if len(used := set(spread(sources[0], sources[0], limit))) < 2:
        raise InputError(
            f"reference images of two sources or more expected, since crops of one photograph are not independent; got "
            f"one of {reference.folder}, {used.pop()!r}, of at most {limit or 'all'} images; give more images, a "
            "larger --limit, or tell sources apart with --group"
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
    return in_one([reference, test], chosen)


def _command(model: str, evaluation: Mapping[str, Any], out: Any, given: Mapping[str, Any]) -> str:
    """The command line that repeats, and so resumes."""
    from theodolite.data.conditions import word_of

    words = ["theodolite", "detect", model, "--reference", evaluation["reference"], "--test", evaluation["test"]]
    words += ["--out", os.fspath(out)]
    texts = {"scores": ",".join(evaluation["scores"]), "condition": word_of(given["condition"])}
    for name, default in _OPTIONS.items():
        value = given[name]
        if value == default:
            continue
        for one in value if name == "sigma" else [value]:
            text = texts.get(name) or ("0" if one is None else str(one))
            words += [f"--{name}", text.removeprefix("torch.")]
    return shlex.join(words)
