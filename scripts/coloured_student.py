"""The student of few steps of the coloured digits: its teacher's flow, its steps, and how alike their samples are."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from theodolite.estimates.frechet import Moments, frechet_distance
from theodolite.zoo.coloured import CONDITIONS
from theodolite.zoo.coloured.digits import labels_of
from theodolite.zoo.coloured.models import STUDENT_LEVELS, build
from train_zoo import mse

GUIDANCE = 2.0
"""Of the teacher whose samples the student makes: that of `theodolite decouple`."""

SUBSTEPS = 6
"""Steps of the teacher for one of the student."""

LOWEST = 0.02
"""The teacher's last noise level, over the deviation of its latents."""


@torch.no_grad()
def trajectories(teacher: nn.Module, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Points of the teacher's guided probability flow at the levels of the student, `(levels, n, *shape)`.

    DDIM in `SUBSTEPS` steps from level to level, evenly spaced in the seventh root (Karras et al. 2022, eq. 5).
    """
    points = [STUDENT_LEVELS[0] * torch.randn(len(labels), *teacher.shape, generator=generator)]
    nothing = torch.tensor([[10, 4]]).expand(len(labels), 2)
    for here, there in itertools.pairwise(STUDENT_LEVELS):
        roots = torch.linspace(here ** (1 / 7), max(there, LOWEST) ** (1 / 7), SUBSTEPS + 1, dtype=torch.float64)
        levels, x = [*(roots**7).tolist(), *([] if there else [0.0])], points[-1]
        for sigma, smaller in itertools.pairwise(levels):
            own, none = teacher(torch.cat([x, x]), sigma, torch.cat([labels, nothing])).chunk(2)
            denoised = none + GUIDANCE * (own - none)
            x = denoised + smaller / sigma * (x - denoised)
        points.append(x)
    return torch.stack(points)


def step_of(network: nn.Module, points: Tensor, at: Tensor, labels: Tensor) -> Tensor:
    """The points `(n, *shape)` one DDIM step further, each from the level of the student at its place `at`."""
    sigmas = torch.tensor(STUDENT_LEVELS)
    ratio = (sigmas[at + 1] / sigmas[at])[:, None, None, None]
    stepped: Tensor = ratio * points + (1 - ratio) * network(points, sigmas[at], labels)
    return stepped


@torch.no_grad()
def likeness(
    student: nn.Module, teacher: nn.Module, out: Path, count: int, generator: torch.Generator
) -> dict[str, object]:
    """How near samples of the student are to those of its teacher, from noise and under conditions it was trained on.

    `distance` is the root mean square of their difference over that of two samples of the teacher from different noise;
    `agreement` the share where the classifier sees the same digit and colour in both; `frechet` the distance of
    Gaussians of the classifier's features, beside that of two halves of the teacher's samples.
    """
    labels = labels_of(list(CONDITIONS)).repeat(-(-count // len(CONDITIONS)), 1)[:count]
    points = torch.cat([trajectories(teacher, part, generator) for part in labels.split(250)], 1)
    x, theirs = points[0], points[-1]
    for i in range(len(STUDENT_LEVELS) - 1):
        x = step_of(student, x, torch.full_like(labels[:, 0], i), labels)
    decoder, classifier = restored("autoencoder", out)["decoder"], restored("classifier", out)
    mean, std = (load_file(out / "autoencoder.safetensors")[f"latents_{name}"].float() for name in ("mean", "std"))
    images = [decoder(own * std[:, None, None] + mean[:, None, None]) for own in (x, theirs)]
    seen = [[logits.argmax(1) for logits in classifier(own)] for own in images]
    same = (seen[0][0] == seen[1][0]) & (seen[0][1] == seen[1][1])
    asked = [(digit == labels[:, 0]) & (colour == labels[:, 1]) for digit, colour in seen]
    features = [Moments.of(own) for own in map(classifier.features, (*images, *images[1].chunk(2)))]
    return {
        "distance": round(float((mse(x, theirs) / mse(theirs, theirs.roll(len(CONDITIONS), 0))).sqrt()), 4),
        "agreement": round(float(same.double().mean()), 4),
        "recognised": [round(float(own.double().mean()), 4) for own in asked],
        "frechet": round(float(frechet_distance(*features[:2])), 3),
        "frechet_of_halves": round(float(frechet_distance(*features[2:])), 3),
    }


def restored(name: str, out: Path) -> nn.Module:
    """A model that was trained before, without what else its file holds."""
    module: nn.Module = build(name)
    stored = load_file(out / f"{name}.safetensors")
    module.load_state_dict({key: stored[key].float() for key in module.state_dict()})
    return module.eval()
