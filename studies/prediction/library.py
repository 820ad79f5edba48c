"""The library's own predictors of a design: what `theodolite.diffusability.forecast` is calibrated on.

The frozen formulas (`clouds.py`, `decoding.py`) measured distances in the features of the study's classifier. What
users measure without features of their own is in random convolutions, which know no data set: how the two are related
on each data set is known from here.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from studies.prediction.autoencoders import load_classifier
from studies.prediction.data import images_of
from studies.prediction.designs import Design
from studies.prediction.latent_spaces import in_batches, open_space
from studies.prediction.store import Store
from studies.prediction.truth import reference_moments
from theodolite.diffusability.forecast import measured_inputs
from theodolite.diffusability.predictors import Encoded
from theodolite.diffusability.trainer.judging import SampleJudge

KIND = "library"

IMAGES = 2000
"""Of those for predictors, the first: as many as users are advised to take."""


def measure_library(design: Design, store: Store, images: int = IMAGES, again: bool = False) -> dict[str, Any]:
    """Measure a design whose autoencoder is trained, and store it with the variance of the features that judge.

    `log_rfd` is measured once more in the classifier's features: where it differs from that beside the truth, the
    autoencoder is another one than the truth's.
    """
    outcome = store.read(KIND, design.name)
    if outcome and not again:
        return outcome
    started = time.process_time()
    space, data = open_space(design, store), images_of(design.data)
    x = data.predict[0][:images]
    numbers = measured_inputs(Encoded(space.autoencoder(), x))
    seconds = time.process_time() - started
    outcome = {
        "inputs": {name: {"value": own.item(), "stderr": float(own.stderr)} for name, own in numbers.items()},
        "images": len(x),
        "pixels": _pixels(x),
        "judging_variance": float(reference_moments(design.data, store).covariance.trace()),
        "log_rfd": _log_rfd(design, store, data.judge[0][:IMAGES]),
        "cpu_seconds": seconds,
    }
    store.write(KIND, design.name, outcome)
    return outcome


def _pixels(x: Tensor) -> dict[str, Any]:
    """What tells a data set from others at a glance."""
    return {"shape": [*x.shape[1:]], "mean": float(x.mean()), "std": float(x.std())}


@torch.no_grad()
def _log_rfd(design: Design, store: Store, images: Tensor) -> float:
    space, reference = open_space(design, store), reference_moments(design.data, store)
    judge = SampleJudge(space.decode, load_classifier(design.data, store).features, reference, len(images))
    return judge.reconstruction(in_batches(space.encode, images)).item()
