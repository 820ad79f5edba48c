"""Tortuosity and jumps of great-circle paths: by the definition in float64, and in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.ridges import Ridge, network
from theodolite import LatentMap
from theodolite.descriptors.paths import tortuosity, tortuosity_by_twos

ROOM = "descriptors"
_ROUNDING = "the error is a bound of rounding"


def cells() -> Iterator[Cell]:
    """Paths of several lengths, images far from the origin, and both precisions."""
    for n, segments, offset, dtype in (
        (1, 32, 0.0, torch.float64),
        (8, 1, 0.0, torch.float64),
        (8, 32, 0.0, torch.float64),
        (320, 32, 0.0, torch.float64),
        (8, 32, 0.0, torch.float32),
        (8, 256, 0.0, torch.float32),
        (8, 32, 1000.0, torch.float32),
    ):
        regime = f"path through a network{f', images {offset:g} from the origin' if offset else ''}"
        setting = f"segments={segments}, {str(dtype).removeprefix('torch.')}"
        yield Cell(ROOM, regime, n, setting, partial(_through_network, n, segments, offset, dtype), _ROUNDING)
    yield Cell(ROOM, "path on a circle", 2, "segments=32, float64", _on_circle, _ROUNDING)


def _through_network(n: int, segments: int, offset: float, dtype: torch.dtype, seed: int) -> Answers:
    """By the definition, with points by rotation in the plane of the ends."""
    draws = torch.Generator().manual_seed(seed)
    drawn = network("tanh", 2 * n + 3, n, draws, ridges=16)
    ends = torch.randn(2, 1, n, generator=draws, dtype=torch.float64).to(dtype)

    def moved(z: Tensor) -> Tensor:
        return Ridge.__call__(drawn, z) + offset

    if segments == 32:
        found = tortuosity_by_twos(LatentMap(moved, (n,)), ends.flatten(0, 1))
        found = {name: estimate[:1] for name, estimate in found.items()}
    else:
        found = tortuosity(LatentMap(moved, (n,)), *ends, segments=segments).named("tortuosity")
    images = moved(_arc(*ends.double()[:, 0], segments))
    steps = images.diff(dim=0).norm(dim=1)
    truths = {"tortuosity": steps.sum() / (images[-1] - images[0]).norm(), "jump": steps.max() / steps.median()}
    return {name: Answer(found[name], truth.item()) for name, truth in truths.items()}


def _arc(first: Tensor, second: Tensor, segments: int) -> Tensor:
    s = torch.linspace(0, 1, segments + 1, dtype=torch.float64)[:, None]
    radius = (1 - s) * first.norm() + s * second.norm()
    a, b = F.normalize(first, dim=0), F.normalize(second, dim=0)
    across = b - (a @ b) * a
    if across.norm() < 1e-6:
        return radius * ((1 - s) * a + s * b)
    angle = torch.arccos((a @ b).clamp(-1, 1))
    return radius * ((s * angle).cos() * a + (s * angle).sin() * F.normalize(across, dim=0))


def _on_circle(seed: int) -> Answers:
    """Equal chords of an arc of angle `a`: `S sin(a / 2 S) / sin(a / 2)`, and no jump."""
    draws = torch.Generator().manual_seed(seed)
    start, angle = (math.pi * torch.rand(2, generator=draws, dtype=torch.float64)).tolist()
    radius = torch.randn((), generator=draws, dtype=torch.float64).exp()
    ends = radius * torch.tensor([[math.cos(t), math.sin(t)] for t in (start, start + angle)], dtype=torch.float64)
    found = tortuosity(LatentMap(lambda z: z, (2,)), ends[:1], ends[1:])
    truth = 32 * math.sin(angle / 64) / math.sin(angle / 2)
    return {"tortuosity": Answer(found.named("tortuosity")["tortuosity"], truth), "jump": Answer(found["jump"], 1.0)}
