"""What the claims about decoupling rest on: percentile intervals of rank links, of their change and of means."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from studies.coverage.cells import Answer, Answers, Cell
from studies.coverage.laws import stream
from theodolite.detection.claim_columns import auroc_within
from theodolite.estimates import Resamples, rank_correlation

ROOM = "detection"
RESAMPLES = 400


def cells() -> Iterator[Cell]:
    """Pairs of two conditions that share their seeds, alone and with several seeds a prompt."""
    for link in (0.0, 0.5, 0.9):
        for n in (6, 12, 30, 100):
            yield Cell(ROOM, f"claims: link of {link}, then none", n, "pairs", partial(_claims, link, n, 1))
    for n in (6, 12, 40):
        yield Cell(ROOM, "claims: link of 0.5, then none", n, "prompts of 4 seeds", partial(_claims, 0.5, n, 4))
        yield Cell(ROOM, "claims: scores within prompts", n, "prompts of 8 samples", partial(_within, n))


def _claims(link: float, n: int, seeds: int, seed: int) -> Answers:
    """Two quantities linked under one condition and not under the other; a third that rises by a half."""
    draws = stream(seed)
    prompt = torch.repeat_interleave(torch.arange(n), seeds)
    x, y = _linked(link, n, len(prompt), prompt, draws)
    odd = [_of_prompts(n, len(prompt), prompt, draws) for _ in range(2)]
    rise = 0.5 + _of_prompts(n, len(prompt), prompt, draws)
    resamples = Resamples(prompt.tolist(), RESAMPLES, seed)
    normal, other = (rank_correlation(*pair, (), resamples.samples) for pair in ((x, y), odd))
    truth = 6 / math.pi * math.asin(link / 2)
    return {
        "link": Answer(resamples.percentiles(normal, skewed=False), truth),
        "link, none": Answer(resamples.percentiles(other, skewed=False), 0.0),
        "change of the link": Answer(resamples.percentiles(normal - other, skewed=False), truth),
        "mean": Answer(resamples.percentiles(resamples.mean(rise)), 0.5),
    }


def _of_prompts(n: int, count: int, prompt: Tensor, draws: torch.Generator) -> Tensor:
    """Standard normal; half of the variance belongs to the prompt where it has several seeds."""
    own = torch.randn(count, generator=draws, dtype=torch.float64)
    if count == n:
        return own
    return (own + torch.randn(n, generator=draws, dtype=torch.float64)[prompt]) / math.sqrt(2)


def _linked(link: float, n: int, count: int, prompt: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    x, e = (_of_prompts(n, count, prompt, draws) for _ in range(2))
    return x, link * x + math.sqrt(1 - link**2) * e


def _within(n: int, seed: int) -> Answers:
    """Prompts of four samples of either kind, one deviation apart, with levels of their own that play no part."""
    draws = stream(seed)
    labels = torch.arange(8 * n) % 2 == 1
    level = torch.repeat_interleave(3 * torch.randn(n, generator=draws, dtype=torch.float64), 8)
    scores = level + labels + torch.randn(8 * n, generator=draws, dtype=torch.float64)
    found = auroc_within(scores, labels, [str(place // 8) for place in range(8 * n)], seed)
    assert found is not None  # every prompt has both kinds
    return {"auroc within prompts": Answer(found[0], 0.5 * math.erfc(-0.5))}
