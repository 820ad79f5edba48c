"""All predictors of a design, measured on images that neither autoencoders nor flow models were trained on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from studies.prediction.autoencoders import load_classifier
from studies.prediction.clouds import Cloud, cloud_predictors
from studies.prediction.data import images_of
from studies.prediction.decoding import geometry_predictors, image_predictors
from studies.prediction.designs import Design
from studies.prediction.latent_spaces import LatentSpace, in_batches, open_space
from studies.prediction.probe import probe_predictors
from studies.prediction.store import Store
from theodolite.diffusability.gap import diffusability
from theodolite.diffusability.trainer.frechet import Moments
from theodolite.diffusability.trainer.judging import SampleJudge

KIND = "predictors"


@dataclass(frozen=True)
class Sizes:
    """How much predictors may look at.

    Attributes:
        images: for predictors.
        train: training images, for the probe and for interpolation.
        samples: of Frechet distances.
        gap: images of the gap, whose cost grows with their square.
    """

    images: int = 10_000
    train: int = 10_000
    samples: int = 2000
    gap: int = 1000


@dataclass(frozen=True)
class _Material:
    space: LatentSpace
    cloud: Cloud
    images: Tensor
    train: Tensor
    judge: SampleJudge
    gap: int


def _gap(own: _Material) -> dict[str, float]:
    """The gap of `theodolite.diffusability`, effort quick, and what comes with it."""
    estimate = diffusability(own.cloud.z[: own.gap], own.images[: own.gap], budget="quick")
    parts = {"gap_shift": estimate["shift"], "gap_gaussian": estimate["gaussian"]}
    return {"gap": estimate.item(), **{name: part.item() for name, part in parts.items()}}


GROUPS: Mapping[str, Callable[[_Material], dict[str, float]]] = {
    "cloud": lambda own: cloud_predictors(own.cloud),
    "geometry": lambda own: geometry_predictors(own.space, own.cloud),
    "images": lambda own: image_predictors(own.space, own.cloud, own.images, own.train, own.judge),
    "probe": lambda own: probe_predictors(own.cloud, own.train),
    "gap": _gap,
}
"""Predictors that are measured together, by name."""


def measure(
    design: Design, store: Store, sizes: Sizes, groups: Iterable[str] = tuple(GROUPS), again: bool = False
) -> dict[str, Any]:
    """Measure the groups that are missing, and store each when it is done; failures are stored too."""
    outcome = store.read(KIND, design.name) or {"numbers": {}, "groups": {}}
    missing = [name for name in groups if again or name not in outcome["groups"]]
    if not missing:
        return outcome
    material = _material(design, store, sizes)
    for name in missing:
        started = time.process_time()
        numbers = GROUPS[name](material)
        outcome["numbers"] |= numbers
        outcome["groups"][name] = {"cpu_seconds": time.process_time() - started, "numbers": sorted(numbers)}
        store.write(KIND, design.name, outcome)
    return outcome


def _material(design: Design, store: Store, sizes: Sizes) -> _Material:
    space, images = open_space(design, store), images_of(design.data)
    x, labels = images.predict[0][: sizes.images], images.predict[1][: sizes.images]
    cloud = Cloud(in_batches(space.encode, x), labels)
    train = in_batches(space.encode, images.train[0][-sizes.train :])
    moments = _moments(design.data, store, sizes.images)
    judge = SampleJudge(space.decode, load_classifier(design.data, store).features, moments, sizes.samples)
    return _Material(space, cloud, x, train, judge, sizes.gap)


@cache
def _moments(data: str, store: Store, count: int) -> Moments:
    with torch.no_grad():
        return Moments.of(in_batches(load_classifier(data, store).features, images_of(data).predict[0][:count]))
