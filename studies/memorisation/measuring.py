"""The units: every score at all images of one model and level, and maps of one level; each stored when it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from studies.memorisation.decoders import losses
from theodolite.detection.memorisation import Known, Probe, memorisation_scores
from theodolite.detection.memorisation.where import memorisation_map
from theodolite.estimates import Seeds
from theodolite.zoo.fashion import CLASSES, FashionImages, fashion_images, load_fashion, stamped

PARTS = Path(__file__).parent / "parts"
LEVELS = (0.1, 0.2, 0.4, 0.8, 1.6)
MODELS = ("fashion-duplicated", "fashion-latent", "fashion-plain", "fashion-pasted")
"""Those that memorised, in pixels and in latents, and two that saw every image once: the controls."""

MAP_LEVELS = (0.2, 0.4, 0.8)
DECODER_LEVEL = 0.3
DRAWS, COLOURS, STEPS = 4, 7, 8
"""Within 64 passes an image and level, but for the spectra of the x0-map."""

FEATURES = 32
"""Principal components that stand for features."""

STAMPED = 40
"""Never-seen images of a class that get a stamp; the others of the class say what is usual."""


def units() -> list[str]:
    """All of them, by name."""
    scored = [f"scores {model} {level:g}" for model in MODELS for level in LEVELS]
    maps = [f"maps fashion-pasted {level:g}" for level in MAP_LEVELS]
    return [*scored, f"decoder fashion-latent {DECODER_LEVEL:g}", *maps]


def part_of(unit: str) -> Path:
    """Where a unit is stored."""
    return PARTS / f"{unit.replace(' ', '_')}.safetensors"


def measure(unit: str) -> None:
    """Measure one unit and store it."""
    kind, model, level = unit.split()
    if kind == "decoder":
        tensors, passes = losses(model, float(level))
    else:
        tensors, passes = (scores_of if kind == "scores" else maps_of)(model, float(level))
    PARTS.mkdir(exist_ok=True)
    unfinished = part_of(unit).with_suffix(".unfinished")
    save_file({name: value.contiguous() for name, value in tensors.items()}, unfinished, {"passes": json.dumps(passes)})
    unfinished.replace(part_of(unit))


def stored(unit: str) -> tuple[dict[str, Tensor], dict[str, int]]:
    """A unit that was measured: its tensors, and the passes of each score."""
    from safetensors import safe_open

    with safe_open(part_of(unit), "pt") as file:
        passes = json.loads(file.metadata()["passes"])
    return load_file(part_of(unit)), passes


def scores_of(model: str, level: float) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Value and error of every score at all images, class by class."""
    images, names = fashion_images(), list(memorisation_scores())
    points = _points(model, images)
    known, passes = _known(images, points), dict[str, int]()
    values = {name: torch.zeros(2, len(points), dtype=torch.float64) for name in names}
    for label in CLASSES:
        own = (images.labels == label).nonzero()[:, 0]
        seeds = Seeds([int(place) for place in own], len(own))
        beside = Known(known.points, known.own[own], known.features)
        probe = _probe(model, points[own], level, label, seeds, beside)
        for name in names:
            estimate = memorisation_scores()[name].function(probe)
            values[name][:, own] = torch.stack([estimate.value.double().cpu(), estimate.stderr.double().cpu()])
            passes[name] = estimate.passes
    return values, passes


def maps_of(model: str, level: float) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Maps of never-seen images with the stamp of their class and of others without, and where stamps are."""
    images, tensors, passes = fashion_images(), dict[str, Tensor](), dict[str, int]()
    for label in CLASSES:
        own = images.images[(images.labels == label) & (images.copies == 0)]
        marked, where = stamped(own[:STAMPED], torch.full((STAMPED,), label))
        tensors[f"{label}/where"] = where
        for role, points in (("stamped", marked), ("plain", own[STAMPED:])):
            probe = _probe(model, points, level, label, Seeds(label, len(points)), None)
            for beside in ("noise", "class"):
                estimate = memorisation_map(probe, beside)
                tensors[f"{label}/{role}/{beside}"] = torch.stack([estimate.value, estimate.stderr])
                passes[beside] = estimate.passes
            # as many passes as the contraction takes
            long = _probe(model, points, level, label, Seeds(label, len(points)), None, draws=passes["noise"])
            losses = (long.images - long.denoised).double().square().mean(2)
            # of its logarithm, since losses of one cell spread over factors
            tensors[f"{label}/{role}/loss"] = -losses.mean(0).clamp_min(1e-6).log()[None]
            passes["loss"] = long.draws
    return tensors, passes


def _probe(
    model: str, points: Tensor, level: float, label: int, seeds: Seeds, known: Known | None, draws: int = DRAWS
) -> Probe:
    options = {"draws": draws, "colours": COLOURS, "steps": STEPS}
    return Probe(load_fashion(model), points, level, label, seeds=seeds, known=known, **options)


def _points(model: str, images: FashionImages) -> Tensor:
    """The images that ship as a model saw them, or would: as latents; with stamps, as it saw all of these."""
    if model == "fashion-pasted":
        return stamped(images.images, images.labels)[0]
    autoencoder = load_fashion(model).autoencoder
    with torch.no_grad():
        return images.images if autoencoder is None else autoencoder.encode(images.images)


def _known(images: FashionImages, points: Tensor) -> Known:
    """The training images that ship as the model sees them, and their principal components, whitened, for features."""
    seen = (images.copies > 0).nonzero()[:, 0]
    own = torch.full((len(images.images),), -1)
    own[seen] = torch.arange(len(seen))
    flat = points[seen].flatten(1)
    _, sizes, axes = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    turn = axes[:FEATURES].T / sizes[:FEATURES]
    return Known(points[seen], own, lambda points: (points.flatten(1) - flat.mean(0)) @ turn)


def copies() -> Mapping[str, Tensor]:
    """Of the images that ship: how often each was seen, and its class."""
    images = fashion_images()
    return {"copies": images.copies, "labels": images.labels}
