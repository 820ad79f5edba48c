"""`rank`: autoencoders on the same images, each a unit; their order follows from the units."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from theodolite.data.remote import data_of
from theodolite.errors import InputError
from theodolite.experiments import SUMMARIES
from theodolite.experiments.rank.training import (
    TRAINING,
    Training,
    check_images,
    check_training,
    finished,
    trainings_of,
)
from theodolite.experiments.spaces import space_piece, stored_space
from theodolite.runs.experiment import Derived, Experiment, Piece, Sitting, number, numbers
from theodolite.runs.settings import BUDGET, DATA, DEVICE, GROUP, LIMIT, SEED, SIZE, Argument, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from theodolite.diffusability import Ranking
    from theodolite.estimates import Estimate
    from theodolite.estimates.quantity import Quantity
    from theodolite.maps import Autoencoder
    from theodolite.runs.run import Run

__all__ = ["EXPERIMENT", "IMAGES", "Rank", "ranking_of"]

IMAGES = "images"
"""The unit, and the space, of the images themselves."""

_MANY = Argument("models", "Each a folder, a hub id, zoo:NAME, or package.module:factory.", many=True)

FEATURES = Setting(
    name="features",
    help="In which samples will be judged, as module:factory of a function (n, C, H, W) -> (n, k); random convolutions "
    "by default, whose relation to trained ones is known from the study alone.",
    metavar="MODULE:FACTORY",
)


class Rank(Experiment):
    """Put two or more MODELS in order: in whose latents will diffusion train best?

    The order is that of a forecast: the Frechet distance of samples (gFD) after 500, 1,000 and 2,000 steps of a small
    flow model, from reconstruction, the decoder's local rank and the spatial order of the latents. It was fitted to the
    latent spaces of the prediction study (docs/prediction.md), and the report says how well it did where it had not
    seen the shape. Every pair comes with a probability; below 0.95 it is a tie. Models and images unlike those of the
    study are named as such; longer trainings and other networks were not forecast.

    The gap, half the area between the MMSE rates of latents and images over relative noise, describes how alike two
    spaces are to a denoiser: 0 for an isometric embedding, 1 at most. It forecasts little (docs/prediction.md).

    Finished models are kept: after Ctrl-C the same command goes on, and with one more model only that is measured,
    unless its shape changes what all have in common (noise levels, denoisers, the side of crops for penalties).

    Cost: three encoder and three decoder passes an image, up to 256 Jacobian products at each of 24 latents, the
    training of small denoisers in every space (`standard`: three, `quick`: none), and some hundred Jacobian products a
    source for penalties on small crops. Source: Gu et al. 2026 (arXiv 2604.02751) for the gap, whose form is derived
    here; the forecast is derived here.

    Examples:
      theodolite rank --demo
      theodolite rank ./first-vae ./second-vae --data photos --out runs/order
      theodolite rank zoo:patches-kl my_package.models:make --data photos --out runs/order --size 64 --group '^[a-z]+'
      theodolite rank ./first-vae ./second-vae --data photos --out runs/order --budget full --device cuda --json
    """

    kind = "rank"
    family = "rank"
    summary = SUMMARIES["rank"]
    arguments: ClassVar[tuple[Argument, ...]] = (_MANY,)
    settings = (
        DATA,
        replace(LIMIT, default=None, least=2, help="So many images, from their sources in turn; all by default."),
        replace(
            SIZE, help="Centre square, resized to so many pixels; by default images keep their size, cut to what fits."
        ),
        replace(GROUP, role="places"),  # what it says of each image is content: another word for the same is no change
        FEATURES,
        replace(BUDGET, help="quick: no networks; standard: a short training in every space; full: a long one."),
        *TRAINING,
        SEED,
        DEVICE,
    )
    coordinates: ClassVar = {
        **{"space": str, "denoiser": str, "tau": float, "t": float, "first": str, "second": str},
        **{"steps": int, "part": str, "seed": int},
    }
    requires: ClassVar = {"models": list, "effort.resamples": int, "data.groups": dict, "data.shape": list}
    fewest: ClassVar[int] = 2

    @classmethod
    def named_models(cls, given: Mapping[str, Any]) -> list[Any]:
        """The models that were given."""
        models = given["models"]
        if isinstance(models, str) or not isinstance(models, Sequence):
            raise InputError(f"a list of models to rank expected, got {models!r}")
        return list(models)

    @classmethod
    def demonstration(cls) -> Mapping[str, Any]:
        """The patch autoencoders of the zoo on the bundled photographs."""
        from theodolite.zoo import bundled_images

        models = [f"zoo:patches-{name}" for name in ("plain", "kl", "smooth")]
        return {"models": models, "data": str(bundled_images()), "group": "^[a-z]+"}

    def __init__(self, given: Mapping[str, Any]) -> None:
        from theodolite.data.images import sourced_images
        from theodolite.data.models import check_model
        from theodolite.diffusability.measured import checked_groups

        super().__init__(given)
        check_training(given)
        self.named = self.named_models(given)
        if len(self.named) < self.fewest:
            raise InputError(f"two or more models expected, got {len(self.named)}; for one: theodolite diffusability")
        for model in self.named:
            check_model(model)
        folder = data_of(given["data"])
        self.images, self.sources = sourced_images(folder, given["group"], given["limit"], seed=given["seed"])
        if len(self.sources) < 2:
            raise InputError(f"at least two images expected, got {len(self.sources)}; give more data")
        checked_groups(self.sources)
        check_images(given, self.sources)

    def open(self) -> None:
        """Load the models, and check on one image that they take it and give latents that are finite."""
        from theodolite.data.models import opened_autoencoder
        from theodolite.diffusability.models import Comparison, check_alike, labels_of, latents_of

        options = {"device": self.given["device"], "size": self.given["size"] or self.images.common_size}
        self.models: list[Autoencoder] = [opened_autoencoder(model, self.kind, **options) for model in self.named]
        check_alike(self.models)
        self.device = self.models[0].device
        (first,) = self._read(1)
        for model in self.models:
            model.check_images(first[None])
        self._check_features(first)
        self.shape, shapes = tuple(first.shape), [tuple(latents_of(m, first[None]).shape[1:]) for m in self.models]
        drawing = {"budget": self.given["budget"], "seed": self.probe_seed()}
        self.common = Comparison.of(self.models, self.shape, shapes, self.sources, **drawing)
        words = [os.fspath(model) if isinstance(model, str | os.PathLike) else model.name for model in self.named]
        labels = labels_of(self.models, words)
        ids = _ids(labels, [model.fingerprint() for model in self.models])
        self.of = dict(zip(ids, zip(labels, self.models)))
        self.trainings = trainings_of(self.given, ids)
        self.units = (IMAGES, *ids, *self.trainings)

    def _check_features(self, image: Tensor) -> None:
        """Refuse features that cannot be used, before long work."""
        from theodolite.diffusability.predictors.features import feature_map

        if self.given["features"] is not None:
            feature_map(self.given["features"], image.shape[0], 0).of(image[None])

    def _read(self, count: int | None = None) -> Tensor:
        """Some images or all, as every model takes them."""
        import torch

        from theodolite.data.images import load_file

        multiple, size = math.lcm(*(model.downsampling for model in self.models)), self.given["size"]
        if size is None:
            self.images.of_one_size(multiple)
        reading = {"channels": self.models[0].image_channels, "size": size, "multiple": multiple}
        return torch.cat([load_file(image, **reading) for image in self.images.files[:count]])

    @cached_property
    def _batch(self) -> Tensor:
        """All images, as they were when the run began."""
        return self._read()

    def record(self) -> dict[str, Any]:
        """The models, the images with their sources, and what all spaces have in common."""
        models = [{"unit": unit, "label": label, **model.describe()} for unit, (label, model) in self.of.items()]
        files = [
            {"sample": image.sample, "file": image.file, "sha256": image.sha256, "group": source}
            for image, source in zip(self.images.files, self.sources)
        ]
        data = {
            "folder": str(self.images.folder),
            "files": files,
            "skipped": [asdict(image) for image in self.images.skipped],
            "notes": [*self.images.notes],
            "shape": list(self.shape),
            "groups": {name: self.sources.count(name) for name in self.common.names},
        }
        from theodolite.diffusability import PREDICTORS

        shared = self.common
        common: dict[str, Any] = {"effort": asdict(shared.effort), "note": shared.note, "penalty_side": shared.side}
        common["predictors"] = [*PREDICTORS.added()]
        return {"models": models, **common, "data": data}

    def content(self) -> dict[str, Any]:
        """Hashes of the images, and the source of each; models are not among it, so that another may join."""
        hashes = {image.sample: image.sha256 for image in self.images.files}
        return {IMAGES: hashes, "source_of_images": dict(zip(hashes, self.sources))}

    def identity(self, unit: str) -> Any:
        """The model's fingerprint, and what all spaces have in common: images, noise levels, denoisers, crops."""
        if training := self.trainings.get(unit):
            return {**asdict(training), "model": self.of[training.model][1].fingerprint()}
        effort, tau = self.common.effort, self.common.tau
        shared = {"shape": self.shape, "levels": len(tau), "least": float(tau[0]), "networks": bool(effort.steps)}
        own = {} if unit == IMAGES else {"model": self.of[unit][1].fingerprint(), "side": self.common.side}
        return {**shared, **own}

    def needs(self, unit: str) -> list[str]:
        """Of a second training those with the first seed: it is left out where these say that it cannot win."""
        own = self.trainings.get(unit)
        return [other.unit for other in self.trainings.values() if own is not None and own.seed > other.seed == 0]

    def forecast(self) -> Mapping[str, Any]:
        """How many spaces, images and trainings; seconds depend on the size of latents."""
        effort, sources = self.common.effort, len(self.common.names)
        trainings = len(self.units) * min(effort.folds, sources) if effort.steps else 0
        cost = {"spaces": len(self.units), "images": len(self.sources), "sources": sources}
        passes = {"encoder passes": len(self.models) * len(self.sources)}
        if self.trainings:
            passes |= {"reference trainings": len(self.trainings), "steps of each": self.given["train"]}
        return {**cost, "noise levels": len(self.common.tau), "networks to train": trainings, **passes}

    def measure(self, unit: str, sitting: Sitting) -> Piece:
        """One space: the losses of its denoisers; of a model its reconstructions and penalties too."""
        if unit == IMAGES:
            pixels = {"mean": float(self._batch.double().mean()), "std": float(self._batch.double().std())}
            space = self.common.space(IMAGES, self._batch.to(self.device), sitting.tell)
            return space_piece(space, pixels=pixels)
        if training := self.trainings.get(unit):
            return self._trained(training, sitting)
        label, model = self.of[unit]
        ranked = self.common.model(label, model, self._batch, sitting.tell)
        sitting.tell("forecast")
        estimates = {**ranked.quality, **ranked.penalties, **self._inputs(model)}
        predicted, failures = self._predicted(model)
        messages = {name: estimate.message for name, estimate in estimates.items() if estimate.message}
        trouble = str(ranked.description["trouble"])
        failed = [*failures, *([{"what": "penalties", "reason": trouble}] if trouble else [])]
        return space_piece(ranked.space, numbers({**estimates, **predicted}, space=label), failed, messages)

    def _trained(self, training: Training, sitting: Sitting) -> Piece:
        sitting.tell("train")
        others = finished(self.needs(training.unit), sitting)
        return training.measure(*self.of[training.model], self._batch, self.sources, self.given, others)

    def _inputs(self, model: Autoencoder) -> dict[str, Estimate]:
        """What the forecast is made from."""
        from theodolite.diffusability.forecast.models import evidence_of

        options = {"features": self.given["features"], "generator": self.probe_seed()}
        return dict(evidence_of(model, self._batch, self.sources, **options).inputs)

    def _predicted(self, model: Autoencoder) -> tuple[dict[str, Estimate], list[dict[str, str]]]:
        """The numbers of predictors that other packages register, and those that failed."""
        from theodolite.diffusability import PREDICTORS
        from theodolite.errors import in_one_line

        options = {"groups": self.sources, "generator": self.probe_seed()}
        estimates: dict[str, Estimate] = {}
        failed = []
        for name, predictor in PREDICTORS.added().items():
            try:
                estimates[name] = predictor.function(model, self._batch.to(model.device), **options)
            except Exception as error:  # another package's failure must not cost the model its place
                failed.append({"what": name, "reason": in_one_line(error)})
        return estimates, failed

    @classmethod
    def derive(cls, run: Run) -> Derived:
        """Forecasts; curves of every space, the gap of every model, and how sure the order of every pair is."""
        from theodolite.experiments.rank.forecasting import forecast_rows, forecasts_of
        from theodolite.experiments.rank.training import trained_rows

        ranking, forecasts = ranking_of(run), forecasts_of(run)
        rows = [number(name, e, index, **where) for name, e, index, where in ranking.numbers()]
        floors = [number("floor_v", floor, space=name) for name, floor in ranking.floors().items()]
        labels = [model.name for model in ranking.models]
        first = labels[0] if forecasts is None else forecasts.models[forecasts.order[0]].name
        of_forecasts = [] if forecasts is None else [*forecast_rows(forecasts)]
        return Derived([*of_forecasts, *floors, *rows, *trained_rows(run, labels, first)])

    @classmethod
    def quantities(cls) -> Mapping[str, Quantity]:
        """What the numbers of a ranking are called."""
        from theodolite.diffusability import PREDICTORS
        from theodolite.diffusability.forecast import INPUTS
        from theodolite.diffusability.forecast.quantities import QUANTITIES as FORECASTS
        from theodolite.diffusability.quantities import QUANTITIES

        inputs = {name: PREDICTORS[name].quantity for name in INPUTS}
        added = {name: predictor.quantity for name, predictor in PREDICTORS.added().items()}
        return {**FORECASTS, **inputs, **QUANTITIES, **added}


def ranking_of(run: Run) -> Ranking:
    """The ranking of a run's finished models, made again from the losses that it stores.

    Raises:
        InputError: the images or every model are not finished.
    """
    from theodolite.diffusability import Ranked, Ranking
    from theodolite.diffusability.quality import PENALTIES
    from theodolite.estimates import Resamples
    from theodolite.runs.run import estimate_of

    entries = [entry for entry in run.info["models"] if entry["unit"] in run.units]
    if IMAGES not in run.units or not entries:
        reason = next((f"; the first that failed: {entry['reason']}" for entry in run.info["failed"]), "")
        what = "model" if IMAGES in run.units else "space of images"
        raise InputError(
            f"{run.path} holds no finished {what} yet{reason}; run its command again: {run.info['command']}"
        )
    images = stored_space(run, IMAGES, IMAGES)
    models = []
    for entry in entries:
        scalars = {row["quantity"]: estimate_of([row]) for row in run.rows(unit=entry["unit"])}
        quality, penalties = ({n: scalars[n] for n in names if n in scalars} for names in (("psnr", "ssim"), PENALTIES))
        space = stored_space(run, entry["unit"], entry["label"])
        models.append(Ranked(entry["label"], space, quality, penalties, entry))
    resamples = Resamples(len(images.groups), run.info["effort"]["resamples"], run.settings["seed"])
    return Ranking.of(images, models, resamples)


def _ids(labels: Sequence[str], fingerprints: Sequence[str]) -> list[str]:
    """One id a model, safe as a file name; with a part of its fingerprint where two would coincide."""
    plain = [re.sub(r"[^\w.+-]+", "-", label, flags=re.ASCII).strip("-.")[:80] for label in labels]
    taken = [IMAGES, *(name.casefold() for name in plain)]
    return [
        name if name and taken.count(name.casefold()) == 1 else f"{name or 'model'}-{own[:8]}"
        for name, own in zip(plain, fingerprints)
    ]


EXPERIMENT = Rank
